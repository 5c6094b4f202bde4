"""The platform of the simulated fleet: it answers from memory, after a while, and in virtual time."""

from __future__ import annotations

import asyncio
import json
import math
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_provider_qianfan.api import exchange
from airflow_provider_qianfan.api.exchange import NoResponse, Response
from airflow_provider_qianfan.api.model_compression import ModelCompTask
from benchmarks.virtual_time import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_qianfan.api.exchange import Reply, Request

PAGE = 100
CREATING = 60.0
"""Seconds."""
TIMEOUT = 30.0
"""Seconds after which a request without an answer is given up."""


@dataclass(slots=True, eq=False)
class Task:
    """
    A model compression task. Times are virtual seconds.

    :param outcome: the status in which it ends.
    """

    number: int
    source: str
    created: float
    ended: float
    outcome: str = "succeeded"
    row: tuple[str, dict[str, Any]] = ("", {})

    @property
    def id(self) -> str:
        return f"amva-{self.number:08}"

    @property
    def name(self) -> str:
        return f"compress-{self.number}"

    def status(self, now: float) -> str:
        if now >= self.ended:
            return self.outcome
        return "running" if now >= self.created + CREATING else "creating"

    def as_row(self, now: float) -> dict[str, Any]:
        """Make a row of the list: the same object as long as the status is the same."""
        status = self.status(now)
        if self.row[0] != status:
            row: dict[str, Any] = {
                "id": self.id,
                "name": self.name,
                "description": "",
                "status": status,
                "sourceModelId": self.source,
                "config": {"strategy": "Quantization", "quantConf": "wint8"},
                "createTime": _time(self.created),
                "creator": "0123456789abcdef0123456789abcdef",
                "sourceModelName": f"model-{self.source}",
            }
            if status == self.outcome:
                row["finishTime"] = _time(self.ended)
            if status == "succeeded":
                row |= {"modelId": f"amv-made{self.number:08}", "modelSetId": "am-made"}
            self.row = status, row
        return self.row[1]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(EPOCH + seconds, UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Outage:
    """
    A time without answers.

    :param silent: whether requests get no answer at all. Otherwise they get a 503.
    """

    begins: float
    lasts: float
    silent: bool = False


class Decoded(bytes):
    """An answer that needs no decoding."""

    document: dict[str, Any]


def _decoded(result: dict[str, Any]) -> Decoded:
    body = Decoded()
    body.document = {"requestId": "r", "result": result}
    return body


@dataclass(slots=True)
class Platform:
    """
    The platform.

    :param tasks: all tasks, by the time of their creation.
    :param filtered: whether the list can be asked for one source model.
    :param limit: requests per second, of all keys together; more get a 429.
    :param retry_after: the ``Retry-After`` of a 429, in seconds.
    :ivar calls: how many requests there were, by key and hour.
    :ivar throttled: how many of them got a 429.
    :ivar seconds: how many requests there were in each second.
    """

    tasks: Sequence[Task]
    filtered: bool = True
    limit: int | None = None
    retry_after: int = 1
    outages: Sequence[Outage] = ()
    seed: int = 1
    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    throttled: int = 0
    _lists: dict[str, tuple[list[Task], list[float]]] = field(default_factory=dict)
    _by_id: dict[str, Task] = field(default_factory=dict)
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        """Sort the tasks, as an index of the platform does."""
        self._chance.seed(self.seed)
        lists = defaultdict[str, list[Task]](list)
        for task in self.tasks:
            lists[""].append(task)
            lists[task.source].append(task)
            self._by_id[task.id] = task
        self._lists = {name: (tasks, [task.created for task in tasks]) for name, tasks in lists.items()}

    async def answer(self, request: Request, key: str) -> Reply:
        """Answer a request as of when it was sent, after a while."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.calls[key, int(now // 3600)] += 1
        self.seconds[int(now)] += 1
        outage = next((each for each in self.outages if 0 <= now - each.begins < each.lasts), None)
        if outage is not None and outage.silent:
            await asyncio.sleep(TIMEOUT)
            return NoResponse("there was no answer", sent=True)
        with loop.in_a_thread():  # type: ignore[attr-defined]
            reply = self._reply(request, now, unavailable=outage is not None)
        await asyncio.sleep(self._chance.lognormvariate(math.log(0.08), 0.6))
        return reply

    def _reply(self, request: Request, now: float, *, unavailable: bool) -> Response:
        if unavailable:
            return Response(503, {}, b'{"requestId":"r","code":"ServiceUnavailable","message":"try later"}')
        if self.limit is not None and self.seconds[int(now)] > self.limit:
            self.throttled += 1
            headers = {"retry-after": str(self.retry_after)}
            return Response(429, headers, b'{"requestId":"r","code":"TooManyRequests","message":"slow down"}')
        asked = json.loads(request.body)
        if (task_id := asked.get("modelCompTaskId")) is None:
            return Response(200, {}, self._page(asked, now))
        task = self._by_id.get(task_id)
        if task is None or task.created > now:
            return Response(400, {}, b'{"requestId":"r","code":"NotFound","message":"no such task"}')
        return Response(200, {}, _decoded(task.as_row(now)))

    def _page(self, asked: dict[str, Any], now: float) -> Decoded:
        source = asked.get("sourceModelId", "") if self.filtered else ""
        begin = int(asked.get("marker", 0))
        tasks, created = self._lists.get(source, ([], []))
        known = bisect_right(created, now)
        page_info: dict[str, Any] = {"maxKeys": PAGE, "isTruncated": begin + PAGE < known}
        if page_info["isTruncated"]:
            page_info["nextMarker"] = str(begin + PAGE)
        rows = [task.as_row(now) for task in tasks[begin : min(begin + PAGE, known)]]
        return _decoded({"modelCompTaskList": rows, "pageInfo": page_info})


@contextmanager
def parsed_once() -> Iterator[None]:
    """Hand on each row without JSON, and parse it once per status: otherwise, this would take hours."""
    read, parse = exchange.read_object, ModelCompTask.parse
    parsed: dict[int, tuple[Mapping[str, Any], ModelCompTask]] = {}

    def read_once(body: bytes) -> dict[str, Any]:
        return body.document if isinstance(body, Decoded) else read(body)

    def parse_once(row: Mapping[str, Any]) -> ModelCompTask:
        if id(row) not in parsed:
            parsed[id(row)] = row, parse(row)
        return parsed[id(row)][1]

    with (
        patch.object(exchange, "read_object", read_once),
        patch.object(ModelCompTask, "parse", parse_once),
    ):
        yield
