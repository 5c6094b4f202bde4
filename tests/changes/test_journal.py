"""What a try notes for the next, and when a request may leave."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanConfigurationError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import (
    Sending,
)
from airflow_provider_qianfan.changes.journal import Journal, LastLook, Ports, fingerprint, may_have_arrived

MARK = fingerprint("dag", "run", "compress", -1)


class Kept(dict[str, Any]):
    """A store that anybody may write to."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


@pytest.mark.parametrize(
    "kept", [{}, {"note": {"mark": MARK, "sent_at": 1.0}}, {"note": {"mark": "another"}}]
)
@pytest.mark.parametrize("theirs", [{"mark": MARK, "sent_at": 2.0}, {"mark": MARK, "id": "made-1"}, None])
def test_a_try_that_has_been_replaced_writes_nothing(kept: dict[str, Any], theirs: Any) -> None:
    store = Kept(kept)
    journal = Journal(store, "note", {"mark": MARK}, 1)
    if store.get("note") == theirs:
        store["note"] = {"mark": MARK, "sent_at": 3.0}
    elif theirs is None:
        del store["note"]
    else:
        store["note"] = theirs
    found = dict(store)

    with pytest.raises(QianfanTransientError) as raised:
        journal.write(sent_at=4.0)

    assert str(raised.value) == (
        "This try: another try of this task has taken over: the note that Airflow keeps is no longer the one"
        " of this try. This try sends nothing more."
    )
    assert raised.value.sent is False
    assert store == found
    journal.take_back()
    assert store == found


def test_a_try_goes_on_writing_what_it_alone_writes() -> None:
    store = Kept()
    journal = Journal(store, "note", {"mark": MARK}, 1)

    journal.write(sent_at=1.0)
    journal.take_back()
    assert store == {}
    journal.write(sent_at=2.0)
    journal.write(id="made-1")

    assert store == {"note": {"mark": MARK, "sent_at": 2.0, "id": "made-1"}}


@pytest.mark.parametrize(
    ("kept", "counts"),
    [
        ({"mark": MARK, "sent_at": 1.0}, True),
        ({"mark": MARK}, True),
        ({"mark": "another", "sent_at": 1.0}, False),
        ({"sent_at": 1.0}, False),
        ("sent", False),
        (None, False),
    ],
)
def test_what_is_kept_counts_if_it_is_about_the_same(kept: Any, counts: bool) -> None:
    journal = Journal(Kept(note=kept), "note", {"mark": MARK}, 2)

    assert journal.entry == (kept if counts else {})


def test_what_an_earlier_try_wrote_is_not_taken_back() -> None:
    earlier = {"mark": MARK, "sent_at": 1.0}
    store = Kept(note=earlier)
    journal = Journal(store, "note", {"mark": MARK}, 2)

    journal.take_back()
    assert store == {"note": earlier}
    journal.write(sent_at=2.0)
    journal.take_back()

    assert store == {"note": earlier}


@pytest.mark.parametrize(
    ("settle", "send_by", "expires_in"),
    [(0.0, 2.0, 5), (3.0, 2.0, 5), (6.0, 3.0, 6), (9.9, 4.95, 9), (120.0, 5.0, 120), (1e6, 5.0, 1800)],
)
def test_how_late_a_request_may_leave_and_arrive(settle: float, send_by: float, expires_in: int) -> None:
    ports = Ports(settle, lambda: 0.0, lambda *_: None)

    assert ports.sending(1000.0) == Sending(1000.0 + send_by, expires_in)


@pytest.mark.parametrize(
    ("look", "fresh"),
    [
        (LastLook(990, 1000), True),
        (LastLook(989, 1000), False),
        (LastLook(970, 1000, 3), True),
        (LastLook(999, 995), True),
        (LastLook(994, 994.9), False),
    ],
)
def test_a_look_that_is_out_of_date(look: LastLook, fresh: bool) -> None:
    assert look.is_fresh(1000) is fresh


@pytest.mark.parametrize(
    ("failure", "arrived"),
    [
        (QianfanTransientError("a", "lost"), True),
        (QianfanTransientError("a", "never left", sent=False), False),
        (QianfanProtocolError("no id"), True),
        (QianfanConfigurationError("no such bundle"), False),
        (QianfanRateLimitError("a", code="18"), False),
        (QianfanAPIError("a", code="InappropriateJSON"), False),
        (QianfanError("result: false"), False),
    ],
)
def test_what_may_have_arrived(failure: QianfanError, arrived: bool) -> None:
    assert may_have_arrived(failure) is arrived


def test_the_mark_is_the_same_in_every_version() -> None:
    assert fingerprint("dag", "run", "compress", -1) == "[airflow:be33e1e6b405825c]"
    assert fingerprint("dag", "run", "compress", -1, "again") == "[airflow:7cc33acdf4ce50c3]"


@pytest.mark.parametrize(
    "identity",
    [
        ("dag2", "run", "compress", -1),
        ("dag", "run2", "compress", -1),
        ("dag", "run", "compress2", -1),
        ("dag", "run", "compress", 0),
        ("dag", "run", "compress", -1, "again"),
        ("dag", "run", "compress", -1, ""),
        ("dagr", "un", "compress", -1),
    ],
)
def test_the_mark_tells_task_instances_apart(identity: Any) -> None:
    assert fingerprint(*identity) != MARK
