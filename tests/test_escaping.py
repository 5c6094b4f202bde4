"""
A platform whose every text is hostile, and everything that we write about it.

If you find a name, a reason or a header in a log, you must be able to trust it. So the platform cannot make
up a line, colours, text that runs backwards, or anything that fills the disk.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import unwrap
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from airflow.providers.common.compat.assets import AssetAlias

from airflow_provider_qianfan._reasons import reason
from airflow_provider_qianfan.api.exchange import Reply, Response, Sleep
from airflow_provider_qianfan.api.resource import SERVICE as SERVICE_KIND
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.resource import Resource
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.operators.model_compression import (
    QianfanCancelModelCompTaskOperator,
    QianfanCreateModelCompTaskOperator,
    QianfanListModelCompTasksOperator,
)
from airflow_provider_qianfan.operators.service import (
    QianfanCreateServiceOperator,
    QianfanModifyServiceOperator,
)
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor
from airflow_provider_qianfan.triggers import _shared
from airflow_provider_qianfan.triggers import model_compression as model_compression_trigger
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger
from airflow_provider_qianfan.triggers.waiting import QianfanTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_qianfan.api.exchange import Steps

pytestmark = pytest.mark.faults

SOURCE, TASK, SERVICE, MADE = "amv-source000001", "amva-1", "svco-1", "amv-made00000001"
LONG = "x" * 1500
LONGEST_RUN = "x" * 700
LONGEST_TEXT = 12_000


def evil(what: str) -> str:
    """A text that would write a line of its own, in red, and backwards."""
    return f"{what}\nFORGED \x1b[31mred\x07\u202edrawkcab\u2066\x85\u2028{LONG}"


def evil_id(what: str) -> str:
    """An id, as far as the reading lets one through."""
    return f"{what}\u202edrawkcab\u2066\u2028{LONG}"


HEADERS = {
    "content-type": f"text/\x1b[31mhtml\x85{LONG}",
    "x-bce-request-id": f"r\x1b[31m\x85{LONG}",
    "date": f"\x1b[31m{LONG}",
    "retry-after": f"\x1b[31m{LONG}",
}


def task(status: str = "running", **more: Any) -> dict[str, Any]:
    row = {
        "id": evil_id("amva-"),
        "name": evil("name"),
        "description": evil("description"),
        "status": status,
        "sourceModelId": SOURCE,
        "failedReason": evil("reason"),
        "config": {evil("key"): evil("value"), "strategy": evil("strategy"), "__type": evil("type")},
        "createTime": "2026-01-31T08:00:00Z",
        evil("key"): evil("value"),
    }
    return {**row, **more}


Answer = tuple[int, dict[str, str], Any]


def good(result: Any) -> Answer:
    return 200, HEADERS, {"requestId": evil_id("r"), "result": result}


def page(*rows: Any, key: str = "modelCompTaskList", **info: Any) -> Answer:
    return good({key: list(rows), "pageInfo": {"isTruncated": False, **info}})


def tasks(*rows: dict[str, Any]) -> dict[str, Answer]:
    """Answers to all that is asked about tasks."""
    return {"DescribeModelCompTasks": page(*rows), "DescribeModelCompTask": good(rows[0] if rows else None)}


def with_id(**more: Any) -> dict[str, Answer]:
    return tasks(task(id=TASK, **more))


def error(status: int, code: Any = None, **headers: str) -> dict[str, Answer]:
    """The same error to whatever is asked."""
    said = {"requestId": evil_id("r"), "code": code or evil("Code"), "message": evil("message")}
    return {"": (status, {**HEADERS, **headers}, said)}


def service(**more: Any) -> dict[str, Any]:
    row = {
        "serviceId": SERVICE,
        "name": evil("name"),
        "runStatus": evil("status"),
        "modelId": evil_id("amv-"),
    }
    return {**row, "updateStatus": evil("update"), "modelSetId": evil_id("am-"), **more}


def services(**more: Any) -> dict[str, Answer]:
    row = service(**more)
    return {"DescribeService": good(row), "DescribeServices": page(row, key="serviceList")}


STATUSES = ["creating", "running", "stopping", "succeeded", "failed", "stopped", evil("status"), ""]
LEGACY = {"error_msg": evil("message"), "log_id": evil("r")}
WORLDS: dict[str, dict[str, Answer]] = {
    **{f"a task: {status[:10]!r}": with_id(status=status) for status in STATUSES},
    "a success": with_id(status="succeeded", modelId=evil_id("amv-")),
    "a success without a model": with_id(status="succeeded", modelId=SOURCE),
    "another id": tasks(task()),
    "another source": with_id(sourceModelId=evil_id("amv-")),
    "several": tasks(*(task(id=evil_id(f"amva-{number}")) for number in range(15))),
    "several without a time": tasks(
        *(
            task("succeeded", id=evil_id(f"amva-{n}"), modelId=evil_id(f"amv-{n}"), createTime=evil("t"))
            for n in range(15)
        )
    ),
    "several, not finished": tasks(
        *(task("stopping", id=evil_id(f"amva-{number}"), createTime=evil("t")) for number in range(15))
    ),
    "none that matches": tasks(
        *(task(evil(f"{number}"), sourceModelId=evil_id("amv-")) for number in range(15))
    ),
    "many statuses": tasks(*(task(evil(f"{number}"), id=evil_id(f"amva-{number}")) for number in range(15))),
    "no task": tasks(),
    "a task without an id": tasks(task(id=None)),
    "rows of text": {"": page(evil("row"))},
    "no end": {"": page(task(), isTruncated=True, nextMarker=evil("marker"))},
    "no marker": {"": page(task(), isTruncated=True, nextMarker={evil("marker"): 1})},
    "no page info": {"": good({"modelCompTaskList": [], "pageInfo": {evil("key"): evil("value")}})},
    "a text": {"": good(evil("result"))},
    "an id of text": {"": good(evil_id("result"))},
    "refused": error(400),
    "refused, absent": error(404, "NoSuchKey"),
    "refused key": error(403, "AccessDenied"),
    "expired": error(400, "RequestExpired"),
    "bad marker": error(400, "InvalidMarker"),
    "busy": error(429),
    "down": error(503),
    "legacy": {"": (200, HEADERS, {"error_code": evil("6"), **LEGACY})},
    "legacy, busy": {"": (200, HEADERS, {"error_code": 18, **LEGACY})},
    "only headers": {
        "": (403, {**HEADERS, "x-bce-error-code": evil("c"), "x-bce-error-message": evil("m")}, None)
    },
    "a redirect": {"": (302, {**HEADERS, "location": evil("https://")}, None)},
    "a page": {"": (200, HEADERS, evil("<html>"))},
    "a gateway's page": {"": (404, HEADERS, evil("<html>"))},
    "unreadable": {"": (200, HEADERS, {"result": {evil("key"): {"id": evil("id")}}})},
    "half a pair": {"": (200, HEADERS, {evil("key"): "\ud800"})},
    "a service": services(),
    "a service that is not wanted": services(runStatus="Serving", updateStatus=None),
    "a service that serves": services(runStatus="Serving", updateStatus="None", modelId=MADE),
    "a service in an update": services(runStatus="Serving", modelId=MADE),
    "a service that does not say": services(runStatus="Serving", modelId=MADE, updateStatus={evil("k"): 1}),
    "a service that failed": services(runStatus="Failed", modelId=MADE, updateStatus=None),
    "a service without a model": services(modelId=None),
    "a service with another id": {"DescribeService": good(service(serviceId=evil_id("svco-")))},
    "a model that is ready": {"DescribeModel": good({"modelId": MADE, "status": "Ready", "name": evil("n")})},
    "a model of any status": {"DescribeModel": good({"modelId": MADE, "status": evil("status")})},
    "a model that failed": {"DescribeModel": good({"modelId": MADE, "status": "Fail"})},
    "a model with another id": {"DescribeModel": good({"modelId": evil_id("amv-")})},
    "an update that was not done": {**services(), "ModifyService": good(False)},
    "an update that does not say": {**services(), "ModifyService": good(evil("result"))},
}
WORLDS["a task that is adopted"] = with_id(status="failed", description="", name=evil("n"))


MODEL = {"modelSetId": evil_id("am-"), "name": evil("name"), "status": "Ready", "isSupportModelComp": True}


class Platform:
    """Answers what a world says; otherwise as one on which all goes well."""

    def __init__(self, world: dict[str, Answer]) -> None:
        self._world = world

    def answer(self, url: str, sent: bytes) -> Response:
        (action,) = parse_qs(urlsplit(url).query)["Action"]
        status, headers, document = (
            self._world.get(action) or self._world.get("") or self._usual(action, json.loads(sent))
        )
        body = document if isinstance(document, str) else json.dumps(document or {})
        return Response(status, headers, body.encode())

    def _usual(self, action: str, asked: dict[str, Any]) -> Answer:
        usual: dict[str, Answer] = {
            **tasks(task("succeeded", id=TASK, modelId=evil_id("amv-"))),
            **services(runStatus="Serving", updateStatus="None"),
            "DescribeModel": good({**MODEL, "modelId": asked.get("modelId")}),
            "CreateModelCompTask": good(f"amva-new{LONG}"),
            "CreateService": good({"serviceId": f"svco-new{LONG}"}),
            "ModifyService": good(True),
            "CancelModelCompTask": good(None),
        }
        return usual[action]


class Heard(logging.Handler):
    """All that was logged, in words."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        if record.exc_info:
            self.texts += words_of(record.exc_info[1])


def words_of(error: BaseException | None) -> Iterator[str]:
    """Write an error and all that it came from."""
    if error is not None:
        yield f"{error} {error!r}"
        yield from words_of(error.__cause__)
        yield from words_of(error.__context__)


def check(text: str) -> None:
    assert "\nFORGED" not in text
    assert text.replace("\n", "").isprintable(), ascii(text)
    assert LONGEST_RUN not in text
    assert len(text) <= LONGEST_TEXT


COMMON: dict[str, Any] = {"task_id": "t"}
SENSOR: dict[str, Any] = {**COMMON, "timeout": 0, "settle": 0, "deferrable": False}
ONCE: dict[str, Any] = {**COMMON, "settle": 0, "timeout": 0, "deferrable": False, "wait_for_completion": True}
UNITS = {"deploymentComputeUnitList": [{"instanceId": "unit-1"}]}
COMPRESSION: dict[str, Any] = {
    "name": "n",
    "source_model_id": SOURCE,
    "model_set_id": "am-1",
    "config": {"strategy": "Quantization", "weight": "INT8-PTQ"},
}
MAKERS: dict[str, Callable[[], Any]] = {
    "the gate": lambda: QianfanModelCompTaskSensor(**SENSOR, source_model_id=SOURCE),
    "the gate, newest": lambda: QianfanModelCompTaskSensor(
        **SENSOR, source_model_id=SOURCE, if_several="newest", name="n", created_after="2026-01-01"
    ),
    "the gate, by id": lambda: QianfanModelCompTaskSensor(
        **SENSOR, source_model_id=SOURCE, model_comp_task_id=TASK, wait_for_model_ready=True
    ),
    "the gate, an asset": lambda: QianfanModelCompTaskSensor(
        **SENSOR, source_model_id=SOURCE, asset=AssetAlias("a")
    ),
    "the model sensor": lambda: QianfanModelSensor(**SENSOR, model_id=MADE),
    "the service sensor": lambda: QianfanServiceSensor(**SENSOR, service_id=SERVICE, model_id=MADE),
    "list": lambda: QianfanListModelCompTasksOperator(**COMMON),
    "create": lambda: QianfanCreateModelCompTaskOperator(**ONCE, **COMPRESSION, cancel_on_kill=True),
    "cancel": lambda: QianfanCancelModelCompTaskOperator(
        **COMMON, model_comp_task_id=TASK, wait_for_completion=True, timeout=0
    ),
    "modify a service": lambda: QianfanModifyServiceOperator(**ONCE, service_id=SERVICE, model_id=MADE),
    "create a service": lambda: QianfanCreateServiceOperator(
        **ONCE, name="nn", url_suffix="uu", model_id=MADE, deployment_config=UNITS
    ),
}


class Store(dict[str, Any]):
    set, delete = dict.__setitem__, dict.__delitem__


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Listen to what our operators and sensors log."""
    from airflow_provider_qianfan._compat import BaseOperator

    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", "qianfan://ak:sk@127.0.0.1")
    handler, logger = Heard(), logging.getLogger("hostile")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    monkeypatch.setattr(BaseOperator, "log", logger)
    yield handler
    logger.removeHandler(handler)


def meet(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all hooks talk to that platform, without a pause."""

    def run(hook: QianfanHook, steps: Steps[Any]) -> Any:
        reply: Reply = None
        while True:
            try:
                effect = steps.send(reply)
            except StopIteration as finished:
                return finished.value
            reply = None if isinstance(effect, Sleep) else platform.answer(effect.url, effect.body)

    monkeypatch.setattr(QianfanHook, "run", run)


def carry_out(made: Any, pushed: dict[str, Any], kept: Store) -> Iterator[str]:
    """Run a task, and give the words of its error."""
    ti = SimpleNamespace(
        dag_id="d",
        run_id="r",
        task_id="t",
        map_index=-1,
        try_number=1,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    context = {
        "ti": ti,
        "task_state_store": kept,
        "dag_run": SimpleNamespace(start_date=None),
        "outlet_events": MagicMock(),
    }
    try:
        pushed["return_value"] = unwrap(type(made).execute)(made, context)
    except Exception as error:  # whatever it is
        yield from words_of(error)
        yield reason(error)
    made.on_kill()


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        yield from itertools.chain.from_iterable(map(keys_of, value.values()))
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(keys_of, value))


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_nothing_raw_gets_out(
    world: dict[str, Answer], maker: Callable[[], Any], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet(Platform(world), monkeypatch)
    pushed, kept = dict[str, Any](), Store()
    errors = [*carry_out(maker(), pushed, kept), *carry_out(maker(), pushed, kept)]

    for text in [*heard.texts, *errors]:
        check(text)
    assert heard.texts or errors
    assert not [key for key in keys_of(pushed) if key.startswith("__") and not key.startswith("___")]


# -- the triggers ------------------------------------------------------------------------------------------

WATCHED = {
    name: world
    for name, world in WORLDS.items()
    if name.startswith(
        ("a task", "a service", "refused", "several", "no", "busy", "down", "a model", "a page", "un")
    )
}
TARGETS = {
    "the source": Selector(SOURCE),
    "the task": Selector(SOURCE, TASK),
    "the service": Resource(SERVICE_KIND, SERVICE, MADE),
}
WATCH_FOR = 9.0
"""Seconds; time enough for four tries."""


class Handler(BaseHTTPRequestHandler):
    """Which world is meant, the key tells: each has an account of its own."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        number = int(self.headers["Authorization"].split("/")[1].removeprefix("ak"))
        reply = Platform([*WATCHED.values()][number]).answer(self.path, sent)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            # As far as HTTP lets it through.
            self.send_header(name, value.encode("latin-1", "ignore").decode("latin-1").replace("\n", "\t"))
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def conn_ids(airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Connections to all worlds that are watched, on one real socket."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        serving = Thread(target=server.serve_forever)
        serving.start()
        host = quote(f"http://127.0.0.1:{server.server_port}", safe="")
        for number in range(len(WATCHED)):
            monkeypatch.setenv(f"AIRFLOW_CONN_W{number}", f"qianfan://ak{number}:sk@{host}")
        yield [f"w{number}" for number in range(len(WATCHED))]
        server.shutdown()
        serving.join()


@pytest.fixture
def heard_in_triggerer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Listen to what our triggers log and measure."""
    handler, logger = Heard(), logging.getLogger("airflow_provider_qianfan")
    logger.addHandler(handler)
    monkeypatch.setattr(QianfanTrigger, "log", logger)
    monkeypatch.setattr(QianfanTrigger, "logger", lambda *_: logger)

    def note(name: str, *_: Any) -> None:
        handler.texts.append(name)

    stats = SimpleNamespace(incr=note, gauge=note, timing=note)
    monkeypatch.setattr(_shared, "metrics", lambda: stats)
    yield handler
    logger.removeHandler(handler)


def test_triggers_let_nothing_raw_out(
    conn_ids: list[str], heard_in_triggerer: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    memory = Memory(started=now, deadline=now + WATCH_FOR, last_healthy=now).to_json()
    states = itertools.cycle(["failed", "running"])

    async def task_state_of(_: object) -> str:
        return next(states)

    monkeypatch.setattr(model_compression_trigger, "task_state_of", task_state_of)

    async def watch(conn_id: str, target: Any) -> list[str]:
        made = QianfanModelCompTaskTrigger(
            qianfan_conn_id=conn_id,
            target=target.to_json(),
            memory=memory,
            poke_interval=1.0,
            next_look_at=now,
            cancel_on_kill=True,
        )
        event = (await anext(made.run())).payload
        seen = Memory.from_json(event["memory"], now=now)
        told = [event["why"], seen.state, seen.said, *seen.noted]
        if target == TARGETS["the task"]:
            try:
                await made.on_kill()
            except Exception as error:  # whatever it is
                told += words_of(error)
        return told

    async def watch_all() -> list[list[str]]:
        return await asyncio.gather(*(watch(*each) for each in itertools.product(conn_ids, TARGETS.values())))

    events = asyncio.run(asyncio.wait_for(watch_all(), 120))

    assert any("undocumented status" in text for text in heard_in_triggerer.texts)
    assert any("gave no healthy answer" in text for text in heard_in_triggerer.texts)
    assert any("Cancelled" in text for text in heard_in_triggerer.texts)
    assert "qianfan.calls" in heard_in_triggerer.texts
    for text in [*heard_in_triggerer.texts, *itertools.chain.from_iterable(events)]:
        check(text)
