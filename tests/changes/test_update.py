"""A version deployed once: what the operator looks at, when, what it sends, and what it notes."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, NoResponse, Response, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.journal import Journal, Ports
from airflow_provider_qianfan.changes.update import Served, Swap, swap_once
from airflow_provider_qianfan.gate.errors import (
    QianfanModelUnusableError,
    QianfanResourceFailedError,
    QianfanResourceNotFoundError,
)
from tests.api.steps import Drive, answer, error, page
from tests.changes.answers import (
    DETAIL,
    GONE,
    KEY,
    MODEL,
    MODIFY,
    NEW,
    NOW,
    OLD,
    OTHER,
    SERVICE,
    SETS,
    SETTLE,
    model,
    service,
)

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Reply

IDENTITY = {"service_id": SERVICE, "model_id": NEW}
SERVED_OLD, SERVED_NEW = Served(OLD, "am-old"), Served(NEW, "am-new")


def updating(model_id: str = OLD, **changed: Any) -> Reply:
    return service(model_id, updateStatus="Updating", **changed)


DONE = answer({"requestId": "r", "result": True})


def asked(ago: float = 0, *, ours: bool = True, **changed: Any) -> dict[str, Any]:
    """What is written down of an update that was asked for some seconds ago."""
    return {"sent_at": NOW - ago, "previous": [OLD, "am-old"], "update_is_ours": ours, **IDENTITY, **changed}


def noted(after: float = 0, **changed: Any) -> dict[str, Any]:
    """The note before a sending: the request may leave within five seconds."""
    return asked(-after - 5, **changed)


class Update(Drive):
    """
    An update whose requests are answered in turn; its clock moves only when it sleeps, or asks.

    :param kept: what an earlier try has written down.
    :param stored: whether this Airflow keeps that.
    :param takes: seconds that each request takes.
    :ivar journal: what was written down, None for what was removed, with the number of requests sent before.
    :ivar remembered: what was told of the version before, with the number of requests sent before.
    :ivar lines: what was logged.
    """

    def __init__(
        self,
        *replies: Reply,
        model_set_id: str | None = "am-given",
        kept: dict[str, Any] | None = None,
        stored: bool = True,
        try_number: int = 1,
        settle: float = SETTLE,
        takes: float = 0.0,
    ) -> None:
        self.kept = {KEY: kept}
        self.journal: list[tuple[dict[str, Any] | None, int]] = []
        self.remembered: list[tuple[Served, int]] = []
        self.lines: list[tuple[int, str]] = []
        exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
        wanted = Swap(SERVICE, NEW, model_set_id, self.remember)
        journal = Journal(self if stored else None, KEY, IDENTITY, try_number)
        ports = Ports(settle, self.clock, lambda *line: self.lines.append(line))
        self._takes = takes
        super().__init__(swap_once(exchange, wanted, journal, ports), replies)

    def clock(self) -> float:
        return NOW + sum(self.slept) + self._takes * len(self.requests)

    def remember(self, served: Served) -> None:
        self.remembered.append((served, len(self.requests)))

    def get(self, key: str) -> dict[str, Any] | None:
        return self.kept[key]

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.kept[key] = value
        self.journal.append((value, len(self.requests)))

    def delete(self, key: str) -> None:
        if self.kept[key] is not None:
            self.journal.append((None, len(self.requests)))
        self.kept[key] = None

    @property
    def actions(self) -> list[str]:
        return [request.url.rpartition("=")[2] for request in self.requests]

    def logged(self, level: int) -> str:
        return "\n".join(text for at, text in self.lines if at == level)


# -- the first try -----------------------------------------------------------------------------------------


def test_another_version_is_replaced_at_once() -> None:
    drive = Update(service(OLD), DONE)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY]
    assert drive.bodies[0] == {"serviceId": SERVICE}
    assert drive.bodies[1] == {"serviceId": SERVICE, "modelSetId": "am-given", "modelId": NEW}
    assert drive.slept == []
    told = "Service svco-1 ('chat'), which served amv-old, is being updated to amv-new."
    assert drive.lines == [(logging.INFO, told)]


def test_what_it_serves_is_told_and_written_down_before_anything_is_sent() -> None:
    drive = Update(service(OLD), DONE)

    assert drive.remembered == [(SERVED_OLD, 1)]
    assert drive.journal == [(noted(), 1), (noted(), 2)]


def test_what_is_written_down_is_the_time_at_which_it_is_sent() -> None:
    drive = Update(service(OLD), model("Ready"), DONE, model_set_id=None, takes=4.0)

    assert drive.kept[KEY] == noted(8)


@pytest.mark.parametrize(
    ("row", "served"),
    [
        pytest.param(service(OLD, modelSetId=...), Served(OLD), id="the model set is not named"),
        pytest.param(service(OLD, modelSetId=""), Served(OLD), id="the model set is empty"),
        pytest.param(
            service(OLD, modelVersionId=OLD, modelId="am-old", modelSetId=...),
            SERVED_OLD,
            id="the other spelling of the keys",
        ),
    ],
)
def test_what_it_serves_is_told_as_far_as_the_platform_names_it(row: Reply, served: Served) -> None:
    drive = Update(row, DONE)

    assert drive.remembered == [(served, 1)]
    assert drive.kept[KEY] == noted(previous=[served.model_id, served.model_set_id])


@pytest.mark.parametrize(
    "status",
    ["Failed", "Stopped", "New", "Deploying", "Resting", ...],
    ids=["failed", "stopped", "new", "deploying", "of an undocumented status", "of no status"],
)
def test_whether_a_service_with_another_version_can_be_updated_is_for_the_platform_to_say(
    status: Any,
) -> None:
    drive = Update(service(OLD, runStatus=status), DONE)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY]


@pytest.mark.parametrize(
    "status",
    ["Serving", "New", "Deploying", "Resting", ...],
    ids=["serving", "new", "deploying", "of an undocumented status", "of no status"],
)
@pytest.mark.parametrize(
    "update", ["None", None, ...], ids=["the text None", "null", "not whether it is being updated"]
)
def test_nothing_is_sent_if_it_serves_the_version_already(status: Any, update: Any) -> None:
    drive = Update(service(NEW, runStatus=status, updateStatus=update))

    assert drive.error is None
    assert drive.actions == [DETAIL]
    assert drive.remembered == [(SERVED_NEW, 1)]
    assert drive.journal == []
    told = "Nothing is sent: service svco-1 ('chat') serves amv-new already."
    assert drive.lines == [(logging.INFO, told)]


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_service_that_has_the_version_and_does_not_serve_it(status: str) -> None:
    drive = Update(service(NEW, runStatus=status))

    assert type(drive.error) is QianfanResourceFailedError
    told = rf"svco-1 \('chat'\) has the model version amv-new, and is {status}\. Nothing was sent.*console"
    assert re.search(told, str(drive.error))
    assert (drive.error.resource_id, drive.error.status) == (SERVICE, status)
    assert drive.remembered == [(SERVED_NEW, 1)]
    assert drive.actions == [DETAIL]
    assert drive.journal == drive.lines == []


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        pytest.param(GONE, QianfanResourceNotFoundError, "There is no service svco-1", id="is not there"),
        pytest.param(error(404, "NoSuchKey"), QianfanAPIError, "NoSuchKey", id="is not known"),
        pytest.param(error(403, "AccessDenied"), QianfanAuthError, "AccessDenied", id="is not ours"),
        pytest.param(page(503), QianfanTransientError, "HTTP 503", id="cannot be asked for"),
        pytest.param(
            service(serviceId="svco-2"), QianfanProtocolError, "asked for svco-1", id="is another one"
        ),
        pytest.param(
            service(modelId=...),
            QianfanProtocolError,
            "does not say which model version service svco-1 serves. Nothing more was sent",
            id="names no version",
        ),
        pytest.param(service(modelId=""), QianfanProtocolError, "does not say", id="names an empty version"),
    ],
)
def test_nothing_is_sent_to_a_service_that(reply: Reply, kind: type, told: str) -> None:
    drive = Update(reply)

    assert type(drive.error) is kind
    assert told in str(drive.error)
    assert drive.actions == [DETAIL]
    assert drive.journal == drive.remembered == []


@pytest.mark.parametrize(("replies", "missing"), [([GONE], SERVICE), ([service(OLD), GONE], NEW)])
def test_an_error_names_what_is_not_there(replies: list[Reply], missing: str) -> None:
    drive = Update(*replies, model_set_id=None)

    assert isinstance(drive.error, QianfanResourceNotFoundError)
    assert drive.error.resource_id == missing


# -- the model set -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(model("Ready"), id="ready"),
        pytest.param(model(...), id="no status"),
        pytest.param(
            model("Ready", modelVersionId=NEW, modelId="am-new", modelSetId=...), id="the other spelling"
        ),
    ],
)
def test_the_model_set_is_asked_for_if_it_is_not_given(reply: Reply) -> None:
    drive = Update(service(OLD), reply, DONE, model_set_id=None)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODEL, MODIFY]
    assert drive.bodies[1] == {"modelId": NEW}
    assert drive.bodies[2] == {"serviceId": SERVICE, "modelSetId": "am-new", "modelId": NEW}
    assert drive.remembered == [(SERVED_OLD, 2)]
    assert drive.journal == [(noted(), 2), (noted(), 3)]


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        pytest.param(
            model("Fail"),
            QianfanModelUnusableError,
            "amv-new has the status Fail: it was not made, and cannot be deployed. Nothing was sent. Pass"
            " another model_id",
            id="was not made",
        ),
        pytest.param(
            model("Creating", modelName="bot"),
            QianfanTransientError,
            r"^DescribeModel: model version amv-new \('bot'\) has the status 'Creating', and can be deployed"
            r" .* Nothing was sent\. Wait for it with QianfanModelSensor",
            id="is being made",
        ),
        pytest.param(
            model("Resting"), QianfanTransientError, "the status 'Resting'", id="has another status"
        ),
        pytest.param(
            model("Ready", modelSetId=...),
            QianfanProtocolError,
            "names no model set of amv-new. Nothing was sent. Pass model_set_id",
            id="names no model set",
        ),
        pytest.param(GONE, QianfanResourceNotFoundError, "no model version amv-new", id="is not there"),
        pytest.param(error(404, "NoSuchKey"), QianfanAPIError, "NoSuchKey", id="is not known"),
        pytest.param(page(503), QianfanTransientError, "HTTP 503", id="cannot be asked for"),
    ],
)
def test_nothing_is_sent_of_a_version_that(reply: Reply, kind: type, told: str) -> None:
    drive = Update(service(OLD), reply, model_set_id=None)

    assert type(drive.error) is kind
    assert re.search(told, str(drive.error))
    assert drive.actions == [DETAIL, MODEL]
    assert drive.journal == drive.remembered == []


def test_a_version_that_is_being_made_was_certainly_not_deployed() -> None:
    drive = Update(service(OLD), model("Creating"), model_set_id=None)

    assert isinstance(drive.error, QianfanTransientError)
    assert drive.error.sent is False


# -- somebody else's update --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Updating", "Failed", "none", ""], ids=repr)
@pytest.mark.parametrize(
    "first",
    [{}, {"stored": False}, {"try_number": 2}],
    ids=["to the first try", "to the first try without a journal", "to a try after one that sent nothing"],
)
def test_another_update_is_for_the_platform_to_refuse(status: str, first: dict[str, Any]) -> None:
    """Whatever else but ``None`` the status says is not documented."""
    drive = Update(service(OTHER, updateStatus=status), DONE, **first)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY]
    assert drive.remembered == [(Served(OTHER, "am-other"), 1)]
    told = rf"\('chat'\) has updateStatus {status} of an update that this task has not asked for\. .*amv-new"
    assert re.search(told, drive.logged(logging.WARNING))


def test_another_update_is_not_ours_before_the_platform_has_taken_ours() -> None:
    drive = Update(updating(OTHER), DONE)

    before = {"previous": [OTHER, "am-other"]}
    assert drive.journal == [(noted(ours=False, **before), 1), (noted(ours=True, **before), 2)]


@pytest.mark.parametrize(
    ("shown", "try_"),
    [
        pytest.param(NEW, {}, id="it shows the version"),
        pytest.param(NEW, {"stored": False}, id="it shows the version, to a first try"),
        pytest.param(OLD, {"stored": False, "try_number": 2}, id="it may be an earlier try's"),
        pytest.param(NEW, {"stored": False, "try_number": 2}, id="it may be, and shows the version"),
    ],
)
def test_an_update_in_progress_that_may_lead_anywhere(shown: str, try_: dict[str, Any]) -> None:
    drive = Update(updating(shown), **try_)

    assert isinstance(drive.error, QianfanTransientError)
    assert drive.error.sent is False
    told = (
        rf"^ModifyService: service svco-1 \('chat'\) shows {shown} and updateStatus Updating, and .* not say"
        " to which .* Nothing was sent; .*retries"
    )
    assert re.search(told, str(drive.error))
    assert drive.actions == [DETAIL]
    assert drive.slept == drive.journal == drive.remembered == drive.lines == []


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(asked(3600), id="ours, an hour ago"),
        pytest.param(asked(ours=False), id="there before ours"),
        pytest.param({"sent_at": NOW, **IDENTITY}, id="whose is not written down"),
    ],
)
def test_an_update_in_progress_that_shows_the_version_and_is_not_known_to_be_ours(
    kept: dict[str, Any],
) -> None:
    drive = Update(updating(NEW), kept=kept)

    assert "does not say to which version it is updated" in str(drive.error)
    assert drive.actions == [DETAIL]
    assert drive.slept == drive.journal == []


# -- the answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(error(400, "InappropriateJSON"), QianfanAPIError, id="a bad request"),
        pytest.param(error(412, "PreconditionFailed"), QianfanAPIError, id="an update in progress"),
        pytest.param(error(403, "AccessDenied"), QianfanAuthError, id="no permission"),
        pytest.param(error(429, "RateLimited"), QianfanRateLimitError, id="too many requests"),
        pytest.param(answer({"error_code": 6, "error_msg": "m"}), QianfanAPIError, id="the old form"),
        pytest.param(answer({"result": False}), QianfanError, id="result is false"),
        pytest.param(NoResponse("refused", sent=False), QianfanTransientError, id="no connection"),
    ],
)
@pytest.mark.parametrize("before", [service(OLD), updating(OLD)], ids=["idle", "updating"])
def test_what_certainly_began_no_update_is_forgotten(reply: Reply, kind: type, before: Reply) -> None:
    drive = Update(before, reply)

    assert type(drive.error) is kind
    assert drive.actions == [DETAIL, MODIFY]
    assert [(bool(entry), sent) for entry, sent in drive.journal] == [(True, 1), (False, 2)]
    assert drive.kept[KEY] is None
    assert drive.remembered == [(SERVED_OLD, 1)]
    assert drive.slept == []


AHEAD = datetime.now(UTC) + timedelta(minutes=20)
EXPIRED = error(400, "RequestExpired", date=format_datetime(AHEAD, usegmt=True))


def test_what_is_asked_for_again_is_looked_at_again() -> None:
    drive = Update(service(OLD), EXPIRED, service(OTHER), DONE)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY, DETAIL, MODIFY]
    assert drive.remembered == [(SERVED_OLD, 1), (Served(OTHER, "am-other"), 3)]
    assert drive.kept[KEY] == noted(previous=[OTHER, "am-other"])


@pytest.mark.parametrize("stored", [True, False], ids=["notes are kept", "before Airflow 3.3"])
@pytest.mark.parametrize("jumps", [True, False], ids=["it was suspended", "it is always late"])
def test_a_machine_whose_clock_was_suspended_with_it(jumps: bool, stored: bool) -> None:
    """Its own clock holds no value; the platform's, compared with the answer before, does."""
    late = format_datetime(AHEAD if not jumps else datetime.now(UTC), usegmt=True)
    row = service(OLD)
    assert isinstance(row, Response)
    looked = replace(row, headers={**row.headers, "date": late})

    drive = Update(looked, EXPIRED, service(OLD), DONE, stored=stored, takes=2.0)

    if jumps and not stored:
        assert isinstance(drive.error, QianfanTransientError)
        assert str(drive.error).startswith(
            "ModifyService: this process stood still until 2 seconds ago, and "
        )
        assert drive.error.sent is False
        assert drive.actions == [DETAIL, MODIFY, DETAIL]
    else:
        assert drive.error is None
        assert drive.actions == [DETAIL, MODIFY, DETAIL, MODIFY]


def test_what_somebody_else_has_done_meanwhile_is_not_asked_for_again() -> None:
    drive = Update(service(OLD), EXPIRED, service(NEW))

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY, DETAIL]
    assert drive.remembered == [(SERVED_OLD, 1)]
    assert drive.kept[KEY] is None


def test_an_update_leaves_at_once_and_expires() -> None:
    drive = Update(service(OLD), DONE)

    assert [request.send_by for request in drive.requests] == [None, NOW + 5]
    lifetimes = [request.headers["Authorization"].split("/")[3] for request in drive.requests]
    assert lifetimes == ["1800", "12"]


@pytest.mark.parametrize(
    ("shown", "sent"), [(service(NEW), []), (service(OLD), [MODIFY])], ids=["the version", "another"]
)
def test_after_a_slow_question_for_the_model_set_the_service_is_looked_at_again(
    shown: Reply, sent: list[str]
) -> None:
    drive = Update(service(OLD), model("Ready"), shown, DONE, model_set_id=None, takes=6.0)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODEL, DETAIL, *sent]


def test_nothing_is_sent_after_a_look_that_took_too_long() -> None:
    drive = Update(service(OLD), DONE, takes=11.0)

    assert isinstance(drive.error, QianfanTransientError)
    told = "ModifyService: nothing was sent: the look before it took 11 seconds and ended 0 seconds ago. "
    assert str(drive.error).startswith(told)
    assert drive.error.sent is False
    assert drive.actions == [DETAIL]
    assert drive.journal == drive.remembered == []


def test_nothing_is_noted_that_cannot_be_sent() -> None:
    drive = Update(service(OLD), DONE, model_set_id="am-\ud800")

    assert isinstance(drive.error, ValueError)
    assert str(drive.error).startswith("model_set_id has half of a character")
    assert drive.actions == [DETAIL]
    assert drive.journal == drive.remembered == []


LOST = {
    "no answer": NoResponse("reset", sent=True),
    "a gateway's page": page(502),
    "an internal error": error(500, "InternalError"),
    "not JSON": page(200),
    "no result": answer({"requestId": "r"}),
    "a result that is neither true nor false": answer({"result": "ok"}),
    "a redirect": answer({}, 302, location="https://elsewhere"),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
@pytest.mark.parametrize("shown", [updating(OLD), service(NEW), updating(NEW)], ids=["update", "new", "both"])
def test_a_lost_answer_is_looked_for_and_never_sent_again(lost: Reply, shown: Reply) -> None:
    drive = Update(service(OLD), lost, service(OLD), service(OLD), shown)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY, DETAIL, DETAIL, DETAIL]
    assert drive.slept == [5.0, 5.0]
    assert drive.journal == [(noted(), 1), (asked(), 2), (asked(), 5)]
    assert drive.remembered == [(SERVED_OLD, 1)]
    told = r"^The answer was lost. Looking for 12 .* service svco-1 is being updated\. ModifyService: "
    assert re.search(told, drive.logged(logging.WARNING))
    told = "Service svco-1 ('chat'), which served amv-old, is being updated to amv-new."
    assert drive.lines[-1] == (logging.INFO, told)


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_that_leaves_no_trace(lost: Reply) -> None:
    drive = Update(service(OLD), lost, *[service(OLD)] * 4)

    assert isinstance(drive.error, QianfanTransientError)
    assert drive.error.sent is True
    told = (
        "^ModifyService: it is not known whether service svco-1 is to be updated to amv-new, .*For 12 seconds"
        " .* shown amv-old and no update. The next try looks again.*If there are no retries left, look in the"
        r" Qianfan console before you clear this task\.$"
    )
    assert re.search(told, str(drive.error))
    assert str(drive.error.__cause__).startswith("ModifyService: ")
    assert drive.slept == [5.0, 5.0, 2.0]
    assert drive.actions == [DETAIL, MODIFY, *[DETAIL] * 4]
    assert drive.journal == [(noted(), 1), (asked(), 2), (asked(ours=False), 6)]


@pytest.mark.parametrize(
    ("settle", "slept"), [(0.0, []), (5.0, [5.0]), (7.0, [5.0, 2.0]), (10.0, [5.0, 5.0])]
)
def test_it_is_looked_for_until_the_last_moment(settle: float, slept: list[float]) -> None:
    looks = [service(OLD)] * len(slept)

    found = Update(service(OLD), page(502), *looks, service(NEW), settle=settle)
    missed = Update(service(OLD), page(502), *looks, service(OLD), service(NEW), settle=settle)

    assert found.error is None
    assert found.slept == missed.slept == slept
    assert "it is not known whether" in str(missed.error)


def test_the_last_look_does_not_begin_before_the_last_moment() -> None:
    drive = Update(service(OLD), page(502), service(OLD), service(NEW), settle=3.0, takes=4.0)

    assert drive.error is None
    assert drive.slept == [0.01]


def test_a_failed_look_that_began_before_the_last_moment_is_not_the_last() -> None:
    drive = Update(service(OLD), page(502), page(503), service(NEW), settle=3.0, takes=4.0)

    assert drive.error is None
    assert drive.slept == [0.01]


@pytest.mark.parametrize(
    "away",
    [page(502), NoResponse("reset", sent=True), NoResponse("refused", sent=False), error(429, "RateLimited")],
    ids=["a gateway's page", "no answer", "no connection", "too many requests"],
)
def test_looking_outlasts_a_platform_that_is_away(away: Reply) -> None:
    drive = Update(service(OLD), page(502), away, away, away, service(NEW))

    assert drive.error is None
    assert drive.slept == [5.0, 5.0, 2.0]
    assert drive.kept[KEY] == asked()


@pytest.mark.parametrize(
    ("looks", "slept", "told"),
    [
        pytest.param([page(503)] * 4, 12, "HTTP 503", id="the platform is away"),
        pytest.param([*[service(OLD)] * 3, page(503)], 12, "HTTP 503", id="it is away at the end"),
        pytest.param([error(403, "AccessDenied")], 0, "AccessDenied", id="the key may not look"),
        pytest.param([error(404, "NoSuchKey")], 0, "NoSuchKey", id="the service is not known"),
        pytest.param([service(serviceId="svco-2")], 0, "asked for svco-1", id="it is another one"),
        pytest.param([service(modelId=...)], 0, "does not say which", id="it names no version"),
        pytest.param([service(OLD), error(404, "NoSuchKey")], 5, "NoSuchKey", id="it is known no more"),
        pytest.param([GONE], 0, "There is no service svco-1", id="it is not there"),
    ],
)
def test_a_lost_answer_that_cannot_be_looked_for(looks: list[Reply], slept: float, told: str) -> None:
    drive = Update(service(OLD), page(502), *looks)

    assert type(drive.error) is QianfanTransientError
    told = (
        f"it is not known whether .* The search for it failed, too. .* before you clear this task. .*{told}"
    )
    assert re.search(told, str(drive.error))
    assert "HTTP 502" in str(drive.error.__cause__)
    assert sum(drive.slept) == slept
    assert drive.journal == [(noted(), 1), (asked(), 2)]


def test_a_lost_answer_that_another_update_hides() -> None:
    drive = Update(updating(OLD), page(502), *[updating(OLD)] * 4)

    assert type(drive.error) is QianfanTransientError
    assert "it is not known whether" in str(drive.error)
    assert "The update that was in progress before hides it. The next try looks again" in str(drive.error)
    assert drive.slept == [5.0, 5.0, 2.0]
    assert drive.journal == [(noted(ours=False), 1), (asked(ours=False), 2)]


@pytest.mark.parametrize("shown", [service(NEW), updating(NEW)], ids=["served", "still updating"])
def test_a_lost_answer_that_another_update_hid_until_the_version_showed(shown: Reply) -> None:
    drive = Update(updating(OLD), page(502), updating(OLD), shown)

    assert drive.error is None
    assert drive.slept == [5.0]
    assert drive.journal == [(noted(ours=False), 1), (asked(ours=False), 2), (asked(ours=True), 4)]


# -- a later try, where Airflow keeps what the earlier has written down ------------------------------------


@pytest.mark.parametrize("try_number", [1, 2])
def test_nothing_written_down_nothing_was_sent(try_number: int) -> None:
    drive = Update(service(OLD), DONE, try_number=try_number)

    assert drive.actions == [DETAIL, MODIFY]
    assert drive.slept == []


@pytest.mark.parametrize(
    "other",
    [{"model_id": OTHER}, {"service_id": "svco-2"}],
    ids=["to another version", "of another service"],
)
def test_what_was_written_down_of_another_update_does_not_count(other: dict[str, str]) -> None:
    sent = Update(service(OLD), DONE, kept=asked(**other))
    served = Update(service(NEW), kept=asked(**other))

    assert sent.slept == []
    assert sent.kept[KEY] == noted()
    assert served.remembered == [(SERVED_NEW, 1)]


@pytest.mark.parametrize(
    ("ago", "slept"),
    [
        pytest.param(0, [5, 5, 2], id="sent now"),
        pytest.param(5, [5, 2], id="sent a moment ago"),
        pytest.param(11, [1], id="sent almost too long ago"),
        pytest.param(12, [], id="sent too long ago"),
        pytest.param(900, [], id="sent long ago"),
        pytest.param(-3, [5, 5, 2], id="sent later, by a clock that is ahead"),
    ],
)
@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        pytest.param(True, service(OLD), id="nothing shows"),
        pytest.param(False, updating(OLD), id="another update hides it"),
    ],
)
def test_an_update_that_may_have_been_asked_for_is_looked_for(
    ago: float, slept: list[float], ours: bool, shown: Reply
) -> None:
    looks = [shown] * (1 + len(slept) + bool(slept))

    drive = Update(*looks, DONE, kept=asked(ago, ours=ours))

    assert drive.error is None
    assert drive.slept == slept
    assert drive.actions == [DETAIL] * len(looks) + [MODIFY]
    assert drive.journal[0] == (noted(sum(slept), ours=ours), len(looks))
    left = f"Looking for it for {sum(slept)} second"
    assert (left in drive.logged(logging.INFO)) == bool(slept)
    assert ("An earlier try may have asked" in drive.logged(logging.INFO)) == bool(slept)


@pytest.mark.parametrize("ago", [0, 11, 12, 900])
def test_an_update_that_is_served_by_now(ago: float) -> None:
    drive = Update(service(NEW), kept=asked(ago))

    assert drive.error is None
    assert drive.actions == [DETAIL]
    assert drive.remembered == [(SERVED_OLD, 0)]  # and not the present version, which is our own doing
    assert drive.journal == []


@pytest.mark.parametrize(
    ("ours", "first", "then", "told"),
    [
        pytest.param(True, service(OLD), service(NEW), "serves amv-new already", id="it is served"),
        pytest.param(True, service(OLD), updating(OLD), "an earlier try has asked", id="it is in progress"),
        pytest.param(
            False, updating(OLD), service(NEW), "serves amv-new already", id="the other update ends"
        ),
    ],
)
def test_an_update_that_appears(ours: bool, first: Reply, then: Reply, told: str) -> None:
    drive = Update(first, first, then, kept=asked(ours=ours))

    assert drive.error is None
    assert drive.actions == [DETAIL] * 3
    assert drive.slept == [5.0]
    assert drive.remembered == [(SERVED_OLD, 0)]
    assert drive.journal == []
    assert told in drive.lines[-1][1]


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_an_update_after_which_the_service_failed(status: str) -> None:
    drive = Update(service(NEW, runStatus=status), kept=asked(60))

    assert type(drive.error) is QianfanResourceFailedError
    assert drive.remembered == [(SERVED_OLD, 0)]


@pytest.mark.parametrize(
    "previous",
    [None, [], [OLD], [OLD, "am-old", "?"], "on", {"model_id": OLD, "model_set_id": "am-old"}],
    ids=["none", "empty", "without a set", "with too much", "a text of two letters", "an object"],
)
def test_a_previous_version_that_cannot_be_read_is_the_present_one(previous: Any) -> None:
    drive = Update(service(NEW), kept=asked(60, previous=previous))

    assert drive.remembered == [(SERVED_NEW, 1)]


@pytest.mark.parametrize("reply", [page(503), error(403, "AccessDenied"), GONE, updating(NEW)])
def test_a_later_try_tells_what_it_knows_even_if_it_fails(reply: Reply) -> None:
    drive = Update(reply, kept=asked(3700), try_number=2)

    assert drive.error is not None
    assert drive.remembered == [(SERVED_OLD, 0)]


def test_a_refusal_does_not_forget_what_an_earlier_try_has_asked_for() -> None:
    second = Update(service(OLD), error(412, "PreconditionFailed"), kept=asked(60), try_number=2)
    third = Update(service(NEW), kept=second.kept[KEY], try_number=3)

    assert second.kept[KEY] == asked(60)
    assert third.remembered == [(SERVED_OLD, 0)]


def test_an_update_that_shows_long_after_its_answer_was_lost_is_not_taken_for_ours() -> None:
    first = Update(service(OLD), page(502), *[service(OLD)] * 4)
    kept = {**(first.kept[KEY] or {}), "sent_at": NOW - 60}
    second = Update(updating(OTHER), error(412, "PreconditionFailed"), kept=kept, try_number=2)

    assert second.actions == [DETAIL, MODIFY]
    assert type(second.error) is QianfanAPIError


def test_a_previous_version_without_a_model_set() -> None:
    drive = Update(service(NEW), kept=asked(60, previous=[OLD, None]))

    assert drive.remembered == [(Served(OLD), 0)]


@pytest.mark.parametrize("ago", [-60, 0, 12, 3599])
@pytest.mark.parametrize("shown", [OLD, NEW, OTHER])
def test_our_update_in_progress_is_not_asked_for_again(ago: float, shown: str) -> None:
    drive = Update(updating(shown), kept=asked(ago))

    assert drive.error is None
    assert drive.actions == [DETAIL]
    assert drive.slept == []
    assert drive.remembered == [(SERVED_OLD, 0)]
    assert drive.journal == []
    told = r"^Nothing is sent: an earlier try has asked .*svco-1 \('chat'\) has updateStatus Updating\.$"
    ((level, text),) = drive.lines
    assert level == logging.INFO
    assert re.search(told, text)


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(asked(3600), id="ours, an hour ago"),
        pytest.param(asked(7200), id="ours, long ago"),
        pytest.param(asked(60, ours=False), id="there before ours"),
        pytest.param({"sent_at": NOW, **IDENTITY}, id="whose is not written down"),
    ],
)
def test_an_update_in_progress_that_is_not_known_to_be_ours_is_asked_for_again(kept: dict[str, Any]) -> None:
    drive = Update(updating(OLD), DONE, kept=kept)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY]
    assert drive.slept == []
    assert drive.journal == [(noted(ours=False), 1), (noted(ours=True), 2)]
    ours = kept.get("update_is_ours")
    told = (
        "that may be the one that this task asked for more than 1 hour ago" if ours else "has not asked for"
    )
    assert told in drive.logged(logging.WARNING)


@pytest.mark.parametrize("shown", [OLD, OTHER])
def test_an_update_that_was_taken_back_is_asked_for_again(shown: str) -> None:
    drive = Update(service(shown), DONE, kept=asked(60))

    assert drive.error is None
    assert drive.remembered == [(SERVED_OLD, 0), (Served(shown, SETS[shown]), 1)]
    assert drive.kept[KEY] == noted(previous=[shown, SETS[shown]])


def test_a_later_try_looks_past_a_platform_that_is_away() -> None:
    drive = Update(service(OLD), page(502), error(429, "RateLimited"), service(NEW), kept=asked())

    assert drive.error is None
    assert drive.slept == [5.0, 5.0]


@pytest.mark.parametrize(
    ("looks", "kind", "slept"),
    [
        pytest.param([*[service(OLD)] * 3, page(503)], QianfanTransientError, 12, id="without a last look"),
        pytest.param([error(403, "AccessDenied")], QianfanAuthError, 0, id="if the key may not look"),
        pytest.param([service(modelId=...)], QianfanProtocolError, 0, id="if it names no version"),
        pytest.param([GONE], QianfanResourceNotFoundError, 0, id="if it is gone"),
    ],
)
def test_nothing_is_asked_for_again(looks: list[Reply], kind: type, slept: float) -> None:
    drive = Update(service(OLD), *looks, kept=asked())

    assert type(drive.error) is kind
    assert MODIFY not in drive.actions
    assert sum(drive.slept) == slept
    assert drive.kept[KEY] == asked()


# -- a later try, where Airflow keeps nothing --------------------------------------------------------------


def later(*replies: Reply, **more: Any) -> Update:
    return Update(*replies, stored=False, try_number=2, **more)


def test_without_a_journal_the_first_try_asks_at_once() -> None:
    drive = Update(service(OLD), DONE, stored=False)

    assert drive.error is None
    assert drive.actions == [DETAIL, MODIFY]
    assert drive.slept == []
    assert drive.remembered == [(SERVED_OLD, 1)]


def test_without_a_journal_the_first_try_knows_what_was_served_before() -> None:
    drive = Update(service(NEW), stored=False)

    assert drive.remembered == [(SERVED_NEW, 1)]
    assert drive.logged(logging.WARNING) == ""


@pytest.mark.parametrize(("settle", "slept"), [(12.0, [5, 5, 2]), (0.0, [])])
def test_without_a_journal_any_earlier_try_may_have_asked_a_moment_ago(
    settle: float, slept: list[float]
) -> None:
    looks = [service(OLD)] * (5 if slept else 1)

    drive = later(*looks, DONE, settle=settle)

    assert drive.error is None
    assert drive.slept == slept
    assert drive.actions == [DETAIL] * len(looks) + [MODIFY]
    assert drive.remembered == [(SERVED_OLD, len(looks))]
    assert ("Looking for it for 12 seconds" in drive.logged(logging.INFO)) == bool(slept)


@pytest.mark.parametrize(
    ("looks", "slept"),
    [
        pytest.param([service(NEW)], [], id="at the first look"),
        pytest.param([service(OLD), service(OLD), service(NEW)], [5], id="later"),
    ],
)
def test_without_a_journal_what_was_served_before_is_not_known(
    looks: list[Reply], slept: list[float]
) -> None:
    drive = later(*looks)

    assert drive.error is None
    assert drive.actions == [DETAIL] * len(looks)
    assert drive.slept == slept
    assert drive.remembered == []
    told = (
        "^It is not known what the service served before this task: an earlier try may have changed it, and"
        ".* No previous_model_id is pushed"
    )
    assert re.search(told, drive.logged(logging.WARNING))


def test_without_a_journal_an_update_that_appears_may_lead_anywhere() -> None:
    drive = later(service(OLD), service(OLD), updating(OLD))

    assert "does not say to which version it is updated" in str(drive.error)
    assert drive.slept == [5.0]
    assert drive.actions == [DETAIL] * 3


@pytest.mark.parametrize("try_number", [1, 2])
def test_without_a_journal_a_lost_answer_is_looked_for_just_so(try_number: int) -> None:
    begun = (service(OLD), page(502))

    found = Update(*begun, updating(OLD), settle=0.0, stored=False, try_number=try_number)
    missed = Update(*begun, service(OLD), settle=0.0, stored=False, try_number=try_number)

    assert found.error is None
    assert "it is not known whether" in str(missed.error)
