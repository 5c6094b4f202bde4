"""One task for each creation: what is looked for, when, and what is sent."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, NoResponse, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.compression import NewTask
from airflow_provider_qianfan.changes.journal import Journal, Ports, fingerprint
from airflow_provider_qianfan.changes.once import create_once
from airflow_provider_qianfan.gate.errors import (
    QianfanModelUnusableError,
    QianfanTaskAmbiguousError,
    QianfanTaskExistsError,
)
from tests.api.steps import Drive, answer, error, page
from tests.gate.tasks import SOURCE

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Reply

MARK = fingerprint("dag", "run", "compress", -1)
CONFIG = {"strategy": "Quantization", "weight": "INT8-PTQ"}
NEW = NewTask("demo", SOURCE, "am-1", CONFIG, MARK, "nightly")
OURS = {
    "id": "amva-1",
    "name": "demo",
    "status": "running",
    "sourceModelId": SOURCE,
    "description": f"nightly {MARK}",
    "config": CONFIG,
}
READY = answer({"result": {"modelId": SOURCE, "status": "Ready", "isSupportModelComp": True}})
MADE = answer({"result": "amva-9"})
GONE = error(404, "NoSuchKey")
LIST, DETAIL, MODEL = "DescribeModelCompTasks", "DescribeModelCompTask", "DescribeModel"
CREATE = "CreateModelCompTask"
NOTHING: dict[str, Any] = {}
SETTLE = 12.0
NOW = 1000.0
LATER = SimpleNamespace(resolve="an upstream task's result")


def listing(*rows: dict[str, Any], more: str | None = None) -> Reply:
    info = {"isTruncated": more is not None, "nextMarker": more}
    return answer({"result": {"modelCompTaskList": list(rows), "pageInfo": info}})


class Creation(Drive):
    """
    A creation whose requests are answered in turn; its clock moves only when it sleeps.

    :param earlier: what an earlier try has written down; None if this Airflow keeps nothing.
    :ivar written: what was written down, with the number of requests sent before.
    :ivar lines: what was logged.
    """

    def __init__(
        self,
        *replies: Reply,
        earlier: dict[str, Any] | None = NOTHING,
        try_number: int = 2,
        new: NewTask = NEW,
        if_exists: Any = "adopt",
    ) -> None:
        self.written: list[tuple[Any, int]] = []
        self.lines: list[tuple[int, str]] = []
        self._kept = {"mark": MARK, **earlier} if earlier else None
        exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
        ports = Ports(SETTLE, lambda: NOW + sum(self.slept), lambda *line: self.lines.append(line))
        store = None if earlier is None else self
        journal = Journal(store, "creation", {"mark": MARK}, try_number)
        super().__init__(create_once(exchange, new, if_exists, journal, ports), replies)

    def get(self, key: str) -> dict[str, Any] | None:
        return self._kept

    def set(self, key: str, value: dict[str, Any]) -> None:
        self._kept = value
        self.written.append((value["id"] or value["sent_at"], len(self.requests)))

    def delete(self, key: str) -> None:
        self._kept = None
        self.written.append(("nothing", len(self.requests)))

    @property
    def actions(self) -> list[str]:
        return [request.url.rpartition("=")[2] for request in self.requests]

    @property
    def warnings(self) -> str:
        return "\n".join(text for level, text in self.lines if level == logging.WARNING)


# -- the mark ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("description", "sent"), [("nightly", f"nightly {MARK}"), ("", MARK), (None, MARK)])
def test_the_mark_comes_after_the_users_text(description: str | None, sent: str) -> None:
    drive = Creation(listing(), READY, MADE, new=NewTask("n", SOURCE, "am-1", CONFIG, MARK, description))

    assert drive.bodies[2]["description"] == sent


# -- the first try -----------------------------------------------------------------------------------------


def test_the_first_try_looks_once_and_does_not_wait() -> None:
    drive = Creation(listing(), READY, MADE)

    assert drive.result == "amva-9"
    assert drive.actions == [LIST, MODEL, CREATE]
    assert drive.bodies[0]["sourceModelId"] == SOURCE
    assert drive.bodies[1] == {"modelId": SOURCE}
    assert drive.bodies[2] == {
        "name": "demo",
        "description": f"nightly {MARK}",
        "sourceModelId": SOURCE,
        "modelSetId": "am-1",
        "config": CONFIG,
    }
    assert drive.slept == []
    assert drive.written == [(NOW, 2), ("amva-9", 3)]
    assert drive.warnings == ""


@pytest.mark.parametrize(
    "row",
    [
        OURS | {"description": "nightly"},
        OURS | {"description": fingerprint("dag", "run", "compress", 1)},
        {key: value for key, value in OURS.items() if key != "description"},
        OURS | {"sourceModelId": "amv-other"},  # whose filter the platform ignored
    ],
)
def test_other_tasks_are_not_ours(row: dict[str, Any]) -> None:
    assert Creation(listing(row), READY, MADE).result == "amva-9"


@pytest.mark.parametrize(
    "row",
    [
        OURS,
        OURS | {"description": MARK},
        OURS | {"description": f"{MARK} (edited)"},
        {key: value for key, value in OURS.items() if key != "sourceModelId"},
        {"id": "amva-1", "description": MARK},
    ],
)
def test_a_task_with_our_mark_is_adopted(row: dict[str, Any]) -> None:
    drive = Creation(listing(OURS | {"id": "amva-2", "description": ""}, row))

    assert drive.result == "amva-1"
    assert drive.actions == [LIST]
    assert drive.written == [("amva-1", 1)]
    assert drive.warnings == ""
    ((level, text),) = drive.lines
    assert level == logging.INFO
    assert "an earlier try has created amva-1" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": "failed"}, "amva-1 is failed. To create another one, trigger another run"),
        ({"status": "stopped"}, "amva-1 is stopped."),
        ({"name": "was"}, "amva-1 has name 'was' rather than 'demo'."),
        (
            {"config": {"strategy": "Sparsity", "weight": "W8A16C16"}},
            "strategy 'Sparsity' rather than 'Quantization', weight 'W8A16C16' rather than 'INT8-PTQ'",
        ),
        ({"config": {"strategy": "Quantization", "weight": "int8-ptq"}}, ""),
        ({"config": {"strategy": "Quantization", "quantConf": "wint8"}}, ""),
        ({"config": "?"}, ""),
    ],
)
def test_what_may_surprise_in_an_adopted_task_is_warned_about(change: dict[str, Any], told: str) -> None:
    drive = Creation(listing(OURS | change))

    assert drive.result == "amva-1"
    assert told in drive.warnings
    assert bool(told) == bool(drive.warnings)


def test_if_exists_fail() -> None:
    drive = Creation(listing(OURS), if_exists="fail")

    assert type(drive.error) is QianfanTaskExistsError
    assert "amva-1" in str(drive.error)
    assert CREATE not in drive.actions


def test_several_with_our_mark_are_a_matter_for_a_person() -> None:
    drive = Creation(listing(OURS, OURS | {"id": "amva-2", "status": "failed"}))

    assert type(drive.error) is QianfanTaskAmbiguousError
    assert (drive.error.source_model_id, drive.error.model_comp_task_id) == (SOURCE, None)
    assert "amva-1" in str(drive.error)
    assert "amva-2" in str(drive.error)
    assert drive.actions == [LIST]


def test_no_list_no_creation() -> None:
    drive = Creation(page(503))

    assert type(drive.error) is QianfanTransientError
    assert drive.actions == [LIST]


def test_a_list_of_several_pages_is_read_twice_before_there_is_none() -> None:
    pages = (listing({"id": "amva-2"}, more="amva-2"), listing())

    assert Creation(*pages, *pages, READY, MADE).result == "amva-9"
    assert Creation(*pages, listing(OURS)).result == "amva-1"


# -- the source model --------------------------------------------------------------------------------------


NOT_READY, NOT_YET = QianfanModelUnusableError, QianfanTransientError


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        ({"status": "Fail", "isSupportModelComp": True}, NOT_READY, "status Fail"),
        ({"status": "Ready", "isSupportModelComp": False}, NOT_READY, "isSupportModelComp: false"),
        ({"isSupportModelComp": False}, NOT_READY, "isSupportModelComp: false"),
        ({"status": "Creating", "isSupportModelComp": True}, NOT_YET, "status 'Creating'"),
        ({"status": "Creating", "isSupportModelComp": False}, NOT_YET, "status 'Creating'"),
        ({"status": "Resting", "isSupportModelComp": True}, NOT_YET, "status 'Resting'"),
    ],
)
def test_a_model_that_cannot_be_compressed(model: dict[str, Any], kind: type, told: str) -> None:
    drive = Creation(listing(), answer({"result": {"modelId": SOURCE, **model}}))

    assert type(drive.error) is kind
    assert told in str(drive.error)
    assert SOURCE in str(drive.error)
    if isinstance(drive.error, QianfanTransientError):
        assert str(drive.error).startswith("Creating a model compression task: ")
        assert not drive.error.sent
    assert drive.actions == [LIST, MODEL]
    assert drive.written == []


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (answer({"result": {"modelId": SOURCE, "status": "Ready"}}), "does not say isSupportModelComp of"),
        (answer({"result": {"modelId": SOURCE, "isSupportModelComp": True}}), "does not say status of"),
        (
            answer({"result": {"modelId": SOURCE, "status": 1, "isSupportModelComp": None}}),
            "does not say isSupportModelComp of",
        ),
        (answer({"result": None}), "does not say status and isSupportModelComp of"),
        (answer({"result": {"status": "Fail"}}), "does not say status and isSupportModelComp of"),
        (answer({"result": {"modelId": "amv-2", "status": "Fail"}}), "does not say status and"),
        (error(403, "AccessDenied"), "which the key may not see"),
    ],
)
def test_what_is_not_said_of_the_model_is_left_to_the_platform(reply: Reply, told: str) -> None:
    drive = Creation(listing(), reply, MADE)

    assert drive.result == "amva-9"
    assert told in drive.warnings


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(404, "NoSuchKey"), QianfanAPIError),
        (error(400, "SignatureDoesNotMatch"), QianfanAuthError),
        (page(502), QianfanTransientError),
    ],
)
def test_a_model_that_cannot_be_asked_for(reply: Reply, kind: type) -> None:
    drive = Creation(listing(), reply)

    assert type(drive.error) is kind
    assert drive.written == []


# -- the creation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(400, "InappropriateJSON"), QianfanAPIError),
        (error(403, "AccessDenied"), QianfanAuthError),
        (error(429, "RateLimited"), QianfanAPIError),
        (answer({"error_code": 6, "error_msg": "m"}), QianfanAPIError),
        (NoResponse("refused", sent=False), QianfanTransientError),
        (NoResponse("no such bundle", sent=False, permanent=True), QianfanConfigurationError),
    ],
)
def test_what_certainly_created_nothing_is_written_down(reply: Reply, kind: type) -> None:
    drive = Creation(listing(), READY, reply)

    assert isinstance(drive.error, kind)
    assert drive.actions == [LIST, MODEL, CREATE]
    assert drive.written == [(NOW, 2), ("nothing", 3)]


LOST = {
    "no answer": NoResponse("reset", sent=True),
    "a gateway's page": page(502),
    "an internal error": error(500, "InternalError"),
    "not JSON": page(200),
    "no id": answer({"result": None}),
    "no result": answer({"requestId": "r"}),
    "a redirect": answer({}, 302, location="https://elsewhere"),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_is_looked_for_and_never_sent_again(lost: Reply) -> None:
    drive = Creation(listing(), READY, lost, listing(), listing(), listing(OURS))

    assert drive.result == "amva-1"
    assert drive.actions == [LIST, MODEL, CREATE, LIST, LIST, LIST]
    assert drive.slept == [5.0, 5.0]
    assert drive.written == [(NOW, 2), (NOW, 3), ("amva-1", 6)]
    assert "Looking for 12 seconds" in drive.warnings
    assert drive.lines[-1] == (logging.INFO, "The answer was lost, but amva-1 ('demo') was created.")


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_that_leaves_no_trace(lost: Reply) -> None:
    drive = Creation(listing(), READY, lost, *[listing()] * 4)

    assert type(drive.error) is QianfanTransientError
    assert "it is not known whether 'demo' was created" in str(drive.error)
    assert MARK in str(drive.error)
    assert drive.slept == [5.0, 5.0, 2.0]
    assert drive.actions.count(CREATE) == 1
    assert drive.written == [(NOW, 2), (NOW, 3)]
    assert "look before you repeat it" not in str(drive.error)  # advice for others


def test_looking_outlasts_a_platform_that_is_away() -> None:
    drive = Creation(listing(), READY, page(502), page(502), error(429, "RateLimited"), listing(OURS))

    assert drive.result == "amva-1"


@pytest.mark.parametrize(
    "replies", [[page(502)] * 4, [listing(), listing(), listing(), page(502)], [error(400, "MalformedJSON")]]
)
def test_a_lost_answer_that_cannot_be_looked_for(replies: list[Reply]) -> None:
    drive = Creation(listing(), READY, page(502), *replies)

    assert type(drive.error) is QianfanTransientError
    assert "it is not known whether" in str(drive.error)
    assert "was lost, and it could not be looked for. " in str(drive.error)
    assert "CreateModelCompTask: HTTP 502" in str(drive.error)
    assert str(drive.error).count("DescribeModelCompTasks: HTTP") == 1


def test_two_after_a_lost_answer() -> None:
    drive = Creation(listing(), READY, page(502), listing(OURS, OURS | {"id": "amva-2"}))

    assert type(drive.error) is QianfanTaskAmbiguousError


def test_what_this_try_created_is_adopted_even_if_nothing_else_may_be() -> None:
    assert Creation(listing(), READY, page(502), listing(OURS), if_exists="fail").result == "amva-1"


# -- a later try -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent_ago", "slept"),
    [(0, [5, 5, 2]), (5, [5, 2]), (11, [1]), (12, []), (900, []), (-3, [5, 5, 2])],
)
def test_a_creation_that_may_have_been_sent_is_waited_for(sent_ago: float, slept: list[float]) -> None:
    looks = [listing()] * (len(slept) + 1)

    drive = Creation(*looks, READY, MADE, earlier={"sent_at": NOW - sent_ago})

    assert drive.result == "amva-9"
    assert drive.slept == slept
    left = f"Looking for it for {sum(slept)} second{'s' * (sum(slept) > 1)}" if slept else ""
    assert left in "".join(text for level, text in drive.lines if level == logging.INFO)
    assert bool(drive.lines) == bool(slept)
    assert drive.actions == [LIST] * len(looks) + [MODEL, CREATE]


def test_where_nothing_is_kept_any_later_try_waits() -> None:
    first = Creation(listing(), READY, MADE, earlier=None, try_number=1)
    second = Creation(*[listing()] * 4, READY, MADE, earlier=None)

    assert (first.result, first.slept) == ("amva-9", [])
    assert (second.result, second.slept) == ("amva-9", [5, 5, 2])


def test_it_is_adopted_when_it_appears() -> None:
    drive = Creation(listing(), listing(OURS), earlier={"sent_at": NOW})

    assert drive.result == "amva-1"
    assert drive.actions == [LIST, LIST]


def test_no_creation_without_a_look_at_the_end() -> None:
    drive = Creation(listing(), listing(), listing(), page(503), earlier={"sent_at": NOW})

    assert type(drive.error) is QianfanTransientError
    assert CREATE not in drive.actions


def test_a_known_task_is_asked_for_by_its_id() -> None:
    drive = Creation(answer({"result": OURS}), earlier={"sent_at": NOW, "id": "amva-1"})

    assert drive.result == "amva-1"
    assert drive.actions == [DETAIL]
    assert drive.written == []


def test_a_known_task_that_only_the_list_has() -> None:
    drive = Creation(GONE, listing(OURS), earlier={"sent_at": NOW, "id": "amva-1"})

    assert drive.result == "amva-1"
    assert drive.actions == [DETAIL, LIST]


def test_a_known_task_that_is_gone_makes_room_for_another() -> None:
    drive = Creation(GONE, listing(), listing(), READY, MADE, earlier={"sent_at": NOW - 60, "id": "amva-1"})

    assert drive.result == "amva-9"
    assert "created amva-1, which is no longer there" in drive.warnings


def test_a_platform_that_is_away_does_not_make_room() -> None:
    drive = Creation(page(503), earlier={"sent_at": NOW - 60, "id": "amva-1"})

    assert type(drive.error) is QianfanTransientError
    assert drive.actions == [DETAIL]


# -- what is sent, and when -------------------------------------------------------------------------------


def test_nothing_is_noted_that_cannot_be_sent() -> None:
    drive = Creation(listing(), READY, MADE, new=replace(NEW, config={"ratio": Decimal(1)}))

    assert isinstance(drive.error, ValueError)
    assert "body['config']['ratio'] is a Decimal" in str(drive.error)
    assert drive.actions == [LIST, MODEL]
    assert drive.written == []


def test_a_refusal_for_the_time_is_sent_again_at_once_after_another_look() -> None:
    later = datetime.now(UTC) + timedelta(minutes=20)
    expired = error(400, "RequestExpired", date=format_datetime(later, usegmt=True))

    drive = Creation(listing(), READY, expired, listing(), MADE)

    assert drive.result == "amva-9"
    assert drive.actions == [LIST, MODEL, CREATE, LIST, CREATE]
    assert drive.slept == [0.0]
    assert drive.written == [(NOW, 2), ("nothing", 3), (NOW, 4), ("amva-9", 5)]
    signed_at = datetime.fromisoformat(drive.requests[-1].headers["x-bce-date"])
    assert abs(signed_at - later) < timedelta(minutes=1)


def test_a_creation_leaves_at_once_and_expires() -> None:
    drive = Creation(listing(), READY, MADE)

    assert [request.send_by for request in drive.requests] == [None, None, NOW + 5]
    lifetimes = [request.headers["Authorization"].split("/")[3] for request in drive.requests]
    assert lifetimes == ["1800", "1800", "12"]
