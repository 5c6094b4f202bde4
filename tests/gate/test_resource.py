from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, Reply, RetryPolicy
from airflow_provider_qianfan.api.resource import MODEL, SERVICE, Absence, Row
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.gate.errors import QianfanResourceFailedError, QianfanResourceNotFoundError
from airflow_provider_qianfan.gate.look import (
    DETAIL_PAUSE,
    Found,
    judge,
    next_target,
    take_look,
    target_from_json,
    target_of,
)
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.resource import Resource, decide_resource
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Fail, Note, Open, Wait
from tests.api.steps import Drive, answer, error, page
from tests.gate.tasks import NOW, SOURCE, made

MODEL_ID, NEW, OLD, SET = "amv-model", "amv-new", "amv-old", "am-set"
MEMORY = Memory(NOW)
A_MODEL = Resource(MODEL, MODEL_ID)
A_SERVICE = Resource(SERVICE, "svco-1", NEW)
SERVING = {
    "serviceId": "svco-1",
    "runStatus": "Serving",
    "updateStatus": "None",
    "modelSetId": SET,
    "modelId": NEW,
}


def model(status: Any, **more: Any) -> Row:
    return Row(MODEL_ID, {"modelId": MODEL_ID, "status": status, **more})


def service(**changed: Any) -> Row:
    """A service that serves the wanted version, but for what is ``changed``; None takes a key away."""
    row = {**SERVING, **changed}
    return Row("svco-1", {key: value for key, value in row.items() if value is not ...})


@pytest.mark.parametrize(
    ("row", "kind", "told"),
    [
        (model("Ready"), Open, ""),
        (model("Creating"), Wait, "model version amv-model is Creating"),
        (model("Fail"), Fail, "Model version amv-model is Fail."),
        (model("ready"), Wait, "unknown status 'ready'"),
        (model("Deleted"), Wait, "unknown status 'Deleted'"),
        (model(""), Wait, "unknown status ''"),
        (model(None), Wait, "unknown status ''"),
        (model(7), Wait, "unknown status '7'"),
        (model("x" * 41), Wait, f"unknown status '{'x' * 40}…'"),
    ],
)
def test_a_model_version(row: Row, kind: type, told: str) -> None:
    verdict = decide_resource(row, A_MODEL, MEMORY, NOW, settle=60)

    assert isinstance(verdict, kind)
    assert told in (verdict.state if isinstance(verdict, Wait) else str(getattr(verdict, "error", "")))


@pytest.mark.parametrize(
    ("row", "kind", "told"),
    [
        (service(), Open, ""),
        (service(updateStatus=None), Open, ""),
        (service(modelId=SET, modelVersionId=NEW), Open, ""),
        (service(runStatus="New"), Wait, "service svco-1 is New"),
        (service(runStatus="Deploying"), Wait, "service svco-1 is Deploying"),
        (service(runStatus="Failed"), Wait, "service svco-1 is Failed"),
        (service(runStatus="Stopped"), Wait, "service svco-1 is Stopped"),
        (service(runStatus="Succeeded"), Wait, "unknown status 'Succeeded'"),
        (service(runStatus=...), Wait, "unknown status ''"),
        (service(updateStatus="Updating"), Wait, "is being updated (Updating)"),
        (service(updateStatus=""), Wait, "is being updated ()"),
        (service(updateStatus="x" * 41), Wait, f"is being updated ({'x' * 40}…)"),
        (service(updateStatus=...), Wait, "does not say whether an update is in progress"),
        (service(modelId=OLD), Wait, "serves amv-old, not amv-new"),
        (service(modelId=OLD, updateStatus="Updating"), Wait, "serves amv-old, not amv-new"),
        (service(modelId=SET, modelVersionId=OLD), Wait, "serves amv-old, not amv-new"),
        (service(modelId=NEW, modelVersionId=OLD), Wait, "serves amv-old, not amv-new"),
        (service(modelId=...), Wait, "serves no model, not amv-new"),
        (service(modelId=None), Wait, "serves no model, not amv-new"),
        (service(modelId="x" * 81), Wait, f"serves {'x' * 80}…, not amv-new"),
    ],
)
def test_a_service(row: Row, kind: type, told: str) -> None:
    verdict = decide_resource(row, A_SERVICE, MEMORY, NOW, settle=60)

    assert isinstance(verdict, kind)
    assert told in (verdict.state if isinstance(verdict, Wait) else str(getattr(verdict, "error", "")))
    if isinstance(verdict, Open):
        assert verdict.model_id == NEW


@pytest.mark.parametrize(
    ("row", "wanted", "note"),
    [
        pytest.param(
            model("ready"),
            A_MODEL,
            Note(
                "status:ready",
                "Model version amv-model has the undocumented status 'ready' (documented: Creating, Ready,"
                " Fail); the gate stays shut and goes on waiting.",
            ),
            id="status",
        ),
        pytest.param(
            service(modelId="x" * 81, updateStatus=...),
            Resource(SERVICE, "svco-1", "x" * 81),
            Note(
                "updateStatus",
                f"Service svco-1 serves {'x' * 80}…, but the platform does not say whether an update is in"
                " progress (updateStatus); the gate stays shut and goes on waiting.",
            ),
            id="update",
        ),
        pytest.param(
            service(runStatus="Stopped", updateStatus="x" * 41),
            A_SERVICE,
            Note(
                f"Stopped:It is being updated ({'x' * 40}…).",
                f"Service svco-1 is Stopped; failing unless that changes within 1 hour. It is being updated"
                f" ({'x' * 40}…).",
                3600,
            ),
            id="failed, and being updated",
        ),
        pytest.param(
            service(runStatus="Failed"),
            A_SERVICE,
            Note(
                "Failed:An update may not show yet.",
                "Service svco-1 is Failed; failing unless that changes within 1 minute. An update may not"
                " show yet.",
                3600,
            ),
            id="failed",
        ),
        pytest.param(
            None,
            Resource(SERVICE, "x" * 81, NEW),
            Note(
                "absent",
                f"Service {'x' * 80}… is not there; failing unless it appears within 1 minute.",
                3600,
            ),
            id="absent",
        ),
    ],
)
def test_what_a_warning_tells(row: Row | None, wanted: Resource, note: Note) -> None:
    verdict = decide_resource(row, wanted, MEMORY, NOW, settle=60)

    assert isinstance(verdict, Wait)
    assert verdict.notes == (note,)


@pytest.mark.parametrize(
    ("memory", "kind", "told"),
    [
        (Memory(NOW - 999), Wait, "failing unless it appears within 1 minute. The platform said: gone"),
        (Memory(NOW - 999, absent_since=NOW - 20), Wait, "within 40 seconds."),
        (Memory(NOW - 999, absent_since=NOW - 60), Fail, "There is no service svco-1."),
        (Memory(NOW - 999, absent="svco-1", absent_since=NOW - 60), Fail, "There is no service svco-1."),
        (Memory(NOW - 20, forgetful=True), Wait, "within 40 seconds."),
        (Memory(NOW - 60, forgetful=True), Fail, "The platform said: gone"),
    ],
)
def test_one_that_is_not_there(memory: Memory, kind: type, told: str) -> None:
    verdict = decide_resource(None, A_SERVICE, memory, NOW, settle=60, absence=Absence("gone", "r-1"))

    assert isinstance(verdict, kind)
    if isinstance(verdict, Wait):
        assert verdict.absent == "svco-1"
        assert verdict.state == "service svco-1 is not there yet"
        assert told in verdict.notes[0].text
    if isinstance(verdict, Fail):
        assert isinstance(verdict.error, QianfanResourceNotFoundError)
        assert (verdict.error.resource_id, verdict.error.request_id) == ("svco-1", "r-1")
        assert told in str(verdict.error)


@pytest.mark.parametrize("model_id", [OLD, NEW])
@pytest.mark.parametrize("status", ["Failed", "Stopped"])
@pytest.mark.parametrize(
    ("memory", "update", "left"),
    [
        (Memory(NOW - 9999), "None", "1 minute"),
        (Memory(NOW - 9999), ..., "1 minute"),
        (Memory(NOW - 9999, absent="svco-1", absent_since=NOW - 59), None, "1 second"),
        (Memory(NOW - 9999, absent="svco-1", absent_since=NOW - 60), "None", ""),
        (Memory(NOW - 9999, absent="svco-1", absent_since=NOW - 60), "Updating", "59 minutes"),
        (Memory(NOW - 9999, absent="svco-1", absent_since=NOW - 3600), "Updating", ""),
        (Memory(NOW - 20, forgetful=True), "None", "40 seconds"),
        (Memory(NOW - 60, forgetful=True), "None", ""),
    ],
)
def test_a_failure_may_be_older_than_an_update(
    memory: Memory, update: Any, left: str, status: str, model_id: str
) -> None:
    row = service(runStatus=status, updateStatus=update, modelId=model_id)

    verdict = decide_resource(row, A_SERVICE, memory, NOW, settle=60)

    if left:
        assert isinstance(verdict, Wait)
        assert verdict.absent == "svco-1"
        assert f"failing unless that changes within {left}." in verdict.notes[0].text
    else:
        assert isinstance(verdict, Fail)
        assert isinstance(verdict.error, QianfanResourceFailedError)
        assert (verdict.error.resource_id, verdict.error.status) == ("svco-1", status)
        assert str(verdict.error).startswith(f"Service svco-1 is {status}.")
        assert verdict.described is row


def test_settle_may_be_longer_than_an_update_lasts() -> None:
    memory = Memory(NOW - 9999, absent="svco-1", absent_since=NOW - 4000)
    row = service(runStatus="Failed", updateStatus="Updating")

    assert isinstance(decide_resource(row, A_SERVICE, memory, NOW, settle=5000), Wait)


@pytest.mark.parametrize("left", [1.0, 0.5])
def test_the_last_second_counts(left: float) -> None:
    for row in (None, service(runStatus="Failed")):
        memory = Memory(NOW - 999, absent="svco-1", absent_since=NOW - 60 + left)

        assert isinstance(decide_resource(row, A_SERVICE, memory, NOW, settle=60), Wait)


@pytest.mark.parametrize("target", [A_MODEL, A_SERVICE, Selector(SOURCE), Selector(SOURCE, model_ready=True)])
def test_a_target_travels(target: Any) -> None:
    assert target_from_json(target.to_json()) == target
    assert target_from_json({**target.to_json(), "new": 1}) == target


@pytest.mark.parametrize(
    "value",
    [
        None,
        "svco-1",
        {"resource": "service", "id": "svco-1"},
        {"resource": "service", "id": "svco-1", "model_id": ""},
        {"resource": "service", "id": "", "model_id": NEW},
        {"resource": "service", "model_id": NEW},
        {"resource": "cluster", "id": "c-1", "model_id": None},
        {"resource": None, "source_model_id": SOURCE},
        {"resource": "model", "id": NEW, "model_id": ["x"]},
        {"resource": ["service"], "id": "svco-1", "model_id": NEW},
    ],
)
def test_a_target_that_is_not_whole(value: Any) -> None:
    assert target_from_json(value) is None


@pytest.mark.parametrize(
    ("event", "target"),
    [({"target": {"id": 1}}, {"id": 1}), ({"selector": {"name": "n"}}, {"name": "n"}), ({"other": 1}, None)],
)
def test_the_target_in_an_event(event: dict[str, Any], target: object) -> None:
    assert target_of(event) == target


def take(target: Any, *replies: Reply, memory: Memory = MEMORY) -> Drive:
    exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
    return Drive(take_look(exchange, target, memory, settle=60, clock=lambda: NOW), replies)


def actions(drive: Drive) -> list[str]:
    return [request.url.partition("/v2/")[2] for request in drive.requests]


@pytest.mark.parametrize(
    ("target", "action", "body", "row"),
    [
        (A_MODEL, "model?Action=DescribeModel", {"modelId": MODEL_ID}, model("Ready")),
        (A_SERVICE, "service?Action=DescribeService", {"serviceId": "svco-1"}, service()),
    ],
)
def test_a_look_is_one_call(target: Resource, action: str, body: dict[str, str], row: Row) -> None:
    drive = take(target, answer({"result": dict(row.json)}))

    assert drive.result == Open(row)
    assert actions(drive) == [action]
    assert drive.bodies == [body]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(403, "AccessDenied"), QianfanAuthError),
        (error(429, "Busy"), QianfanRateLimitError),
        (error(400, "MalformedJSON"), QianfanAPIError),
        (answer({"error_code": 6, "error_msg": "no permission"}), QianfanAPIError),
        (page(502), QianfanTransientError),
        (answer({"result": {**SERVING, "serviceId": "svco-2"}}), QianfanProtocolError),
    ],
)
def test_a_look_that_fails_is_no_verdict(reply: Reply, kind: type[Exception]) -> None:
    assert type(take(A_SERVICE, reply).error) is kind


MISSED = Memory(NOW - 99, absent_since=NOW - 20)
LEFT = "is not there; failing unless it appears within 40 seconds."


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (
            error(404, "NoSuchKey"),
            " The platform said: DescribeService: HTTP 404 NoSuchKey (request id r-1).",
        ),
        (
            error(400, "InappropriateJSON"),
            " The platform said: DescribeService: HTTP 400 InappropriateJSON (request id r-1).",
        ),
        (answer({"result": None}), ""),
        (answer({"result": {}}), ""),
    ],
)
def test_a_look_at_what_is_not_there(reply: Reply, said: str) -> None:
    drive = take(A_SERVICE, reply, memory=MISSED)

    assert isinstance(drive.result, Wait)
    assert drive.result.absent == "svco-1"
    assert drive.result.notes == (Note("absent", f"Service svco-1 {LEFT}{said}", 3600),)


@pytest.mark.parametrize(
    ("target", "found", "verdict"),
    [
        (Selector(SOURCE), Found((made(),)), Open(made())),
        (A_MODEL, Found(row=model("Ready")), Open(model("Ready"))),
        (
            Selector(SOURCE, "amva-1"),
            Found(absence=Absence("gone")),
            Wait(
                "amva-1 is not there yet",
                (Note("absent", f"Model compression task amva-1 {LEFT} The platform said: gone", 3600),),
                absent="amva-1",
            ),
        ),
        (
            A_SERVICE,
            Found(absence=Absence("gone")),
            Wait(
                "service svco-1 is not there yet",
                (Note("absent", f"Service svco-1 {LEFT} The platform said: gone", 3600),),
                absent="svco-1",
            ),
        ),
    ],
)
def test_what_was_read_for_many(target: Any, found: Found, verdict: object) -> None:
    assert judge(target, found, MISSED, NOW, settle=60) == verdict


def test_an_unreadable_refusal_is_not_an_absence() -> None:
    assert not isinstance(take(A_SERVICE, page(404)).error, QianfanAPIError)
    assert isinstance(take(A_SERVICE, page(404)).error, QianfanTransientError)


LISTED = {
    "result": {
        "modelCompTaskList": [
            {
                "id": "amva-1",
                "sourceModelId": SOURCE,
                "status": "succeeded",
                "modelId": MODEL_ID,
                "createTime": "2026-01-31T12:00:00Z",
            }
        ],
        "pageInfo": {"isTruncated": False},
    }
}


@pytest.mark.parametrize(
    ("status", "kind"), [("Ready", Open), ("Creating", Wait), ("Fail", Fail), ("unheard of", Wait)]
)
def test_the_gate_waits_for_the_produced_model(status: str, kind: type) -> None:
    ready = answer({"result": {"modelId": MODEL_ID, "status": status}})

    drive = take(Selector(SOURCE, model_ready=True), answer(LISTED), ready)

    assert isinstance(drive.result, kind)
    assert actions(drive) == ["model?Action=DescribeModelCompTasks", "model?Action=DescribeModel"]
    if isinstance(drive.result, Open):
        assert drive.result.described.id == "amva-1"


@pytest.mark.parametrize(
    ("target", "replies", "missing"),
    [
        pytest.param(
            Selector(SOURCE, "amva-1"),
            (answer({"result": None}), answer({"result": {"pageInfo": {"isTruncated": False}}})),
            "Model compression task amva-1",
            id="the task",
        ),
        pytest.param(
            Selector(SOURCE, model_ready=True),
            (answer(LISTED), answer({"result": None})),
            "Model version amv-model",
            id="the produced model",
        ),
    ],
)
def test_how_long_what_the_gate_waits_for_may_be_missing(
    target: Selector, replies: tuple[Reply, ...], missing: str
) -> None:
    drive = take(target, *replies, memory=MISSED)

    assert isinstance(drive.result, Wait)
    assert [note.text for note in drive.result.notes] == [f"{missing} {LEFT}"]


MISSING = answer({"result": None})
FINISHED_AT = datetime.fromtimestamp(NOW - 20, UTC).isoformat()


@pytest.mark.parametrize(
    ("memory", "finished", "left"),
    [
        pytest.param(
            Memory(NOW - 999, absent="amva-1", absent_since=NOW - 900), None, "1 minute", id="first the task"
        ),
        pytest.param(Memory(NOW - 999, forgetful=True), FINISHED_AT, "40 seconds", id="reschedule"),
        pytest.param(Memory(NOW - 999, forgetful=True), None, "1 minute", id="reschedule, when is not told"),
    ],
)
def test_a_model_is_not_missing_for_as_long_as_its_task_was(
    memory: Memory, finished: str | None, left: str
) -> None:
    listed = json.loads(json.dumps(LISTED))
    listed["result"]["modelCompTaskList"][0]["finishTime"] = finished

    drive = take(Selector(SOURCE, model_ready=True), answer(listed), *[MISSING] * 3, memory=memory)

    assert isinstance(drive.result, Wait), drive.result
    assert f"failing unless it appears within {left}." in drive.result.notes[0].text
    assert drive.result.absent == MODEL_ID


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        pytest.param([MISSING, answer({"result": dict(model("Ready").json)})], Open, id="a blip"),
        pytest.param([MISSING] * 3, Fail, id="it is gone"),
    ],
)
def test_one_miss_proves_nothing_if_nothing_is_remembered(replies: list[Reply], kind: type) -> None:
    drive = take(A_MODEL, *replies, memory=Memory(NOW - 999, forgetful=True))

    assert isinstance(drive.result, kind)
    assert drive.slept == [DETAIL_PAUSE] * (len(replies) - 1)


@pytest.mark.parametrize("status", ["Creating", "Fail"])
def test_what_the_gate_tells_of_the_task_while_its_model_is_not_ready(status: str) -> None:
    started = datetime(2026, 2, 1, tzinfo=UTC)
    selector = Selector(SOURCE, model_ready=True, run_started=started)

    drive = take(selector, answer(LISTED), answer({"result": dict(model(status).json)}))

    assert [note.key for note in drive.result.notes] == ["older:amva-1"]
    if isinstance(drive.result, Fail):
        assert drive.result.described is not None
        assert drive.result.described.id == "amva-1"
    else:
        assert drive.result.selected == "amva-1"


def test_the_gate_does_not_ask_for_the_model_unless_told_to() -> None:
    drive = take(Selector(SOURCE), answer(LISTED))

    assert isinstance(drive.result, Open)
    assert len(drive.requests) == 1


def test_what_comes_next() -> None:
    opened = Open(made())

    assert next_target(Selector(SOURCE, model_ready=True), opened) == Resource(MODEL, "amv-made")
    assert next_target(Selector(SOURCE), opened) is None
    assert next_target(Selector(SOURCE, model_ready=True), Wait("")) is None
    assert next_target(A_MODEL, Open(model("Ready"))) is None
