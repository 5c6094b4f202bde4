"""Whatever a server answers, an action ends soon and plainly, and no gate opens without a success."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, Response, RetryPolicy
from airflow_provider_qianfan.api.model_compression import (
    ModelCompTask,
    cancel_task,
    create_task,
    read_task,
    read_tasks,
)
from airflow_provider_qianfan.api.resource import MODEL, SERVICE, find_resource
from airflow_provider_qianfan.api.service import create_service, modify_service
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.cancellation import cancel_unfinished
from airflow_provider_qianfan.changes.readiness import check_source_model, find_model_set
from airflow_provider_qianfan.gate.errors import QianfanGateError
from airflow_provider_qianfan.gate.look import take_look
from airflow_provider_qianfan.gate.memory import Memory, Observer, after_look
from airflow_provider_qianfan.gate.resource import Resource
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.snapshot import Costs, Query, take_snapshot
from airflow_provider_qianfan.gate.verdict import Fail, Open, Wait
from tests.api.steps import Drive
from tests.proof import hostile as h
from tests.proof.record import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.api.exchange import Reply, Request, Steps

NOW = 1_767_225_600.0
SLOW = 2.0
"""Seconds of processor. A machine that does other work may need longer than the milliseconds of most."""

LONGEST_TEXT = 4000
MOST_REQUESTS = 200


def _look(target: Any) -> Callable[[Exchange], Steps[Any]]:
    return lambda exchange: take_look(exchange, target, Memory(NOW), settle=120, clock=lambda: NOW)


QUERIES = (
    Query(source_model_id=h.SOURCE),
    Query(given_id=h.TASK),
    Query(),
    Query.of(Resource(SERVICE, h.SERVICE, h.MADE)),
)
TARGETS: dict[str, Callable[[Exchange], Steps[Any]]] = {
    "look by source model": _look(Selector(h.SOURCE)),
    "look by id": _look(Selector(model_comp_task_id=h.TASK)),
    "look, with the produced model": _look(Selector(h.SOURCE, model_ready=True)),
    "look at a model": _look(Resource(MODEL, h.MADE)),
    "look at a service": _look(Resource(SERVICE, h.SERVICE, h.MADE)),
    "poll": lambda exchange: take_snapshot(exchange, QUERIES, Costs(), NOW),
    "list": read_tasks,
    "detail": lambda exchange: read_task(exchange, h.TASK),
    "service": lambda exchange: find_resource(exchange, SERVICE, h.SERVICE),
    "create": lambda exchange: create_task(exchange, {"name": "n"}),
    "create a service": lambda exchange: create_service(exchange, {"name": "n"}),
    "modify": lambda exchange: modify_service(exchange, h.SERVICE, "am-set", h.MADE),
    "cancel": lambda exchange: cancel_task(exchange, h.TASK),
    "cancel, once": lambda exchange: cancel_unfinished(exchange, h.TASK),
    "the source model": lambda exchange: check_source_model(exchange, h.SOURCE, lambda *_: None),
    "the model set": lambda exchange: find_model_set(exchange, h.MADE),
}


def plain(text: str) -> bool:
    """Tell whether a log may show a text: it has one line, no control characters, and an end."""
    return text.isprintable() and len(text) <= LONGEST_TEXT


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object. None has a key twice."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError(pairs)
    return dict(pairs)


def may_open(opened: Open, bodies: list[bytes]) -> bool:
    """Tell whether some answer has what opens a gate, by Python's own reading of JSON."""

    def rows(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [value, *(row for part in value.values() for row in rows(part))]
        return [row for part in value for row in rows(part)] if isinstance(value, list) else []

    def suits(row: dict[str, Any]) -> bool:
        model_id = row.get("modelVersionId") or row.get("modelId")
        if isinstance(opened.described, ModelCompTask):
            usable = opened.model_id.isprintable() and row.get("sourceModelId") != opened.model_id
            return usable and (row.get("status"), row.get("modelId")) == ("succeeded", opened.model_id)
        if model_id != opened.model_id or model_id != h.MADE:
            return False
        if "serviceId" not in row:
            return row.get("status") == "Ready"
        quiet = "updateStatus" in row and row["updateStatus"] in ("None", None)
        return row["serviceId"] == h.SERVICE and row.get("runStatus") == "Serving" and quiet

    for body in bodies:
        try:
            found = rows(json.loads(body.decode("utf-8-sig"), object_pairs_hook=once))
        except (ValueError, RecursionError):
            continue
        if any(map(suits, found)):
            return True
    return False


def problems(drive: Drive, bodies: list[bytes], took: float) -> list[str]:
    """Say what is wrong with how it ended."""
    found = []
    if drive.error is not None and not isinstance(drive.error, QianfanError | QianfanGateError):
        found.append(f"no named error: {drive.error!r}")
    told = [str(drive.error or "")]
    if isinstance(drive.result, Open | Wait | Fail):
        _, lines = after_look(Memory(NOW), drive.result, NOW, 60, Observer.WORKER)
        told += [line.text for line in lines]
    if isinstance(drive.result, Fail):
        told.append(str(drive.result.error))
    found += [f"not plain: {text!r}" for text in told if not plain(text)]
    if isinstance(drive.result, Open):
        json.dumps(dict(drive.result.described.json), allow_nan=False, ensure_ascii=False).encode()
        if not may_open(drive.result, bodies):
            found.append(f"opened wrongly: {drive.result.model_id!r}")
    if took > SLOW or len(drive.requests) > MOST_REQUESTS:
        found.append(f"{took:.2f} s, {len(drive.requests)} requests")
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_answers(request: pytest.FixtureRequest, name: str) -> None:
    count = Counter({"conversations": 0, "wrong": 0})
    ends = Counter[str]()

    def converse(number: int) -> None:
        chance = random.Random(f"{name} {request.config.getoption('seed')} {number}")
        bodies: list[bytes] = []

        def reply(asked: Request) -> Reply:
            came = h.hostile(chance, asked.url.partition("Action=")[2])
            if isinstance(came, Response):
                bodies.append(came.body)
            return came

        exchange = Exchange(
            Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=2), jitter=lambda: 0.0
        )
        began = time.process_time()
        drive = Drive(TARGETS[name](exchange), reply)
        found = problems(drive, bodies, time.process_time() - began)
        count.update(conversations=1, answers=len(drive.requests), wrong=len(found))
        ends[type(drive.error or drive.result).__name__] += 1
        assert not found, (number, found, bodies)

    try:
        for number in range(4 * request.config.getoption("worlds") // len(TARGETS)):
            converse(number)
    finally:
        record(f"hostile-{[*TARGETS].index(name)}", {**count, "ends": dict(ends)})
