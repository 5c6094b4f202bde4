"""One task for each creation: what the operator looks for, when, and what it sends."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, NoResponse, Response, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.compression import NewTask
from airflow_provider_qianfan.changes.journal import Journal, Ports, fingerprint
from airflow_provider_qianfan.changes.once import create_once, find_ours
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
LEAVES = NOW + 5.0
"""The latest moment at which a request leaves that is noted at ``NOW``."""


def exchange() -> Exchange:
    return Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))


def listing(*rows: dict[str, Any], more: str | None = None) -> Reply:
    info = {"isTruncated": more is not None, "nextMarker": more}
    return answer({"result": {"modelCompTaskList": list(rows), "pageInfo": info}})


class Creation(Drive):
    """
    A creation whose requests are answered in turn; its clock moves only when it sleeps, or asks.

    :param earlier: what an earlier try has written down; None if this Airflow keeps nothing.
    :param takes: seconds that each request takes.
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
        takes: float = 0.0,
    ) -> None:
        self.written: list[tuple[Any, int]] = []
        self.lines: list[tuple[int, str]] = []
        self._kept = {"mark": MARK, **earlier} if earlier else None
        self._takes = takes
        ports = Ports(SETTLE, self.clock, lambda *line: self.lines.append(line))
        store = None if earlier is None else self
        journal = Journal(store, "creation", {"mark": MARK}, try_number)
        super().__init__(create_once(exchange(), new, if_exists, journal, ports), replies)

    def clock(self) -> float:
        return NOW + sum(self.slept) + self._takes * len(self.requests)

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
    assert drive.written == [(LEAVES, 2), ("amva-9", 3)]
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
    assert (drive.error.model_comp_task_id, drive.error.source_model_id) == ("amva-1", SOURCE)
    assert drive.error.status == "running"
    assert CREATE not in drive.actions


def test_several_with_our_mark_are_a_matter_for_a_person() -> None:
    drive = Creation(listing(OURS, OURS | {"id": "amva-2", "status": "failed"}))

    assert type(drive.error) is QianfanTaskAmbiguousError
    assert (drive.error.source_model_id, drive.error.model_comp_task_id) == (SOURCE, None)
    assert "amva-1" in str(drive.error)
    assert "amva-2" in str(drive.error)
    assert drive.actions == [LIST]


def test_of_many_with_our_mark_ten_are_named() -> None:
    drive = Creation(listing(*[OURS | {"id": f"amva-{number}"} for number in range(11)]))

    assert str(drive.error).startswith("11 model compression tasks carry this task's mark ")
    assert str(drive.error).count("amva-") == 10


def test_no_list_no_creation() -> None:
    drive = Creation(page(503))

    assert type(drive.error) is QianfanTransientError
    assert drive.actions == [LIST]


def test_a_list_of_several_pages_is_read_twice_before_there_is_none() -> None:
    pages = (listing({"id": "amva-2"}, more="amva-2"), listing())

    assert Creation(*pages, *pages, READY, MADE).result == "amva-9"
    assert Creation(*pages, listing(OURS)).result == "amva-1"


def test_a_list_of_more_pages_may_take_longer() -> None:
    pages = (listing({"id": "amva-2"}, more="amva-2"), listing({"id": "amva-3"}, more="amva-3"), listing())

    drive = Creation(*pages, *pages, READY, MADE, takes=4.0)

    assert drive.result == "amva-9"
    assert drive.actions == [LIST] * 6 + [MODEL, CREATE]


# -- the source model --------------------------------------------------------------------------------------


NOT_MADE = (
    f"Model version {SOURCE} has the status Fail: it was not made, and cannot be compressed. Nothing was"
    " sent. Pass another source_model_id."
)
NOT_SUPPORTED = (
    f"Model version {SOURCE} cannot be compressed: the platform says isSupportModelComp: false. Nothing was"
    " sent. Pass a model version of a model that supports compression."
)


@pytest.mark.parametrize(
    ("model", "status", "told"),
    [
        ({"status": "Fail", "isSupportModelComp": True}, "Fail", NOT_MADE),
        ({"status": "Fail", "isSupportModelComp": False}, "Fail", NOT_MADE),
        ({"status": "Ready", "isSupportModelComp": False}, "Ready", NOT_SUPPORTED),
        ({"status": 1, "isSupportModelComp": False}, None, NOT_SUPPORTED),
        ({"isSupportModelComp": False}, None, NOT_SUPPORTED),
    ],
)
def test_a_model_that_can_never_be_compressed(model: dict[str, Any], status: str | None, told: str) -> None:
    drive = Creation(listing(), answer({"result": {"modelId": SOURCE, **model}}))

    assert type(drive.error) is QianfanModelUnusableError
    assert str(drive.error) == told
    assert (drive.error.resource_id, drive.error.status) == (SOURCE, status)
    assert drive.actions == [LIST, MODEL]
    assert drive.written == []


@pytest.mark.parametrize(
    ("status", "supported"), [("Creating", True), ("Creating", False), ("Creating", None), ("Resting", True)]
)
def test_a_model_that_cannot_be_compressed_yet(status: str, supported: bool | None) -> None:
    model = {"modelId": SOURCE, "status": status, "isSupportModelComp": supported}

    drive = Creation(listing(), answer({"result": model}))

    assert type(drive.error) is QianfanTransientError
    assert str(drive.error) == (
        f"Creating a model compression task: model version {SOURCE} has the status {status!r}, and can be"
        " compressed when it is Ready. Nothing was sent. Set retries and retry_delay to wait for that."
    )
    assert drive.error.sent is False
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
    assert drive.written == [(LEAVES, 2), ("nothing", 3)]


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
    assert drive.written == [(LEAVES, 2), (NOW, 3), ("amva-1", 6)]
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
    assert drive.written == [(LEAVES, 2), (NOW, 3)]
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
    told = (
        "An earlier try may have created the model compression task. Looking for it for"
        f" {sum(slept)} second{'s' * (sum(slept) > 1)} before another is created."
    )
    assert drive.lines == [(logging.INFO, told)] * bool(slept)
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


AHEAD = datetime.now(UTC) + timedelta(minutes=20)
EXPIRED = error(400, "RequestExpired", date=format_datetime(AHEAD, usegmt=True))


def test_a_refusal_for_the_time_is_sent_again_at_once_after_another_look() -> None:
    drive = Creation(listing(), READY, EXPIRED, listing(), MADE)

    assert drive.result == "amva-9"
    assert drive.actions == [LIST, MODEL, CREATE, LIST, CREATE]
    assert drive.slept == [0.0]
    assert drive.written == [(LEAVES, 2), ("nothing", 3), (LEAVES, 4), ("amva-9", 5)]
    ((level, text),) = drive.lines
    assert level == logging.INFO
    assert text.startswith(
        "Nothing was done. Looking again, and asking again, in 0 seconds. CreateModelCompTask: "
    )
    signed_at = datetime.fromisoformat(drive.requests[-1].headers["x-bce-date"])
    assert abs(signed_at - AHEAD) < timedelta(minutes=1)


def test_what_shows_before_it_is_sent_again_is_adopted() -> None:
    drive = Creation(listing(), READY, EXPIRED, listing(OURS))

    assert drive.result == "amva-1"
    assert drive.actions == [LIST, MODEL, CREATE, LIST]
    assert drive.written == [(LEAVES, 2), ("nothing", 3), ("amva-1", 4)]
    assert "an earlier try has created amva-1" in drive.lines[-1][1]


@pytest.mark.parametrize("stored", [True, False], ids=["notes are kept", "before Airflow 3.3"])
@pytest.mark.parametrize("jumps", [True, False], ids=["it was suspended", "it is always late"])
def test_a_machine_whose_clock_was_suspended_with_it(jumps: bool, stored: bool) -> None:
    """Its own clock holds no value; the platform's, compared with the answer before, does."""
    assert isinstance(READY, Response)
    date = format_datetime(AHEAD if not jumps else datetime.now(UTC), usegmt=True)
    ready = replace(READY, headers={**READY.headers, "date": date})
    slept = [5.0, 5.0, 2.0] if jumps and not stored else []

    drive = Creation(
        listing(),
        ready,
        EXPIRED,
        *[listing()] * (len(slept) + 1),
        MADE,
        earlier=NOTHING if stored else None,
        try_number=1,
    )

    assert drive.result == "amva-9"
    assert drive.slept == [0.0, *slept]
    told = (
        "This process stood still, and another try may have created the model compression task. Looking for"
        " it for 12 seconds before another is created."
    )
    assert drive.lines[1:] == [(logging.INFO, told)] * bool(slept)


def test_a_creation_leaves_at_once_and_expires() -> None:
    drive = Creation(listing(), READY, MADE)

    assert [request.send_by for request in drive.requests] == [None, None, NOW + 5]
    lifetimes = [request.headers["Authorization"].split("/")[3] for request in drive.requests]
    assert lifetimes == ["1800", "1800", "12"]


# -- a look without a creation -----------------------------------------------------------------------------


class Search(Drive):
    """A look for a task, for so many seconds; its clock moves only when it sleeps."""

    def __init__(self, *replies: Reply, seconds: float) -> None:
        steps = find_ours(exchange(), NEW, lambda: NOW + seconds, lambda: NOW + sum(self.slept))
        super().__init__(steps, replies)


@pytest.mark.parametrize(("seconds", "slept"), [(12, [5, 5, 2]), (5, [5]), (0, []), (-3, [])])
def test_it_is_looked_for_until_then_and_at_least_once(seconds: float, slept: list[float]) -> None:
    looks = [listing()] * len(slept)

    missed = Search(*looks, listing(), seconds=seconds)
    found = Search(*looks, listing(OURS), seconds=seconds)

    assert missed.error is found.error is None
    assert missed.result[0] is None
    assert found.result[0].id == "amva-1"
    assert missed.slept == found.slept == slept
    assert found.bodies[-1]["sourceModelId"] == SOURCE


def test_two_with_our_mark_are_not_told_apart() -> None:
    drive = Search(listing(), listing(OURS, OURS | {"id": "amva-2"}), seconds=12)

    assert type(drive.error) is QianfanTaskAmbiguousError


def test_a_look_without_an_answer_never_says_that_there_is_none() -> None:
    """Not even if its time is up all at once."""
    until = iter([NOW + 60])
    steps = find_ours(exchange(), NEW, lambda: next(until, 0), lambda: NOW)
    drive = Drive(steps, [page(502), listing(OURS)])

    assert drive.error is None
    assert drive.result[0].id == "amva-1"
