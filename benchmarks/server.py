"""
A fast stand-in for the platform and for the peers' services, in its own process.

It checks nothing, and knows only what the benchmarks ask for. So its own speed is not what limits them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from typing import Self

PAGE = 100
OTHERS = "amv-others"
FIRST_CREATED = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=8)))


class Call(NamedTuple):
    """An answered request."""

    time: float
    """In seconds since the epoch."""
    path: str
    source: str
    """The requested source model; empty if there was none."""
    marker: str
    """Where the requested page begins; empty for a first page."""


@dataclass(frozen=True)
class World:
    """
    What the server answers.

    :param sources: the list has tasks of the source models 0 to ``sources - 1``, evenly.
    :param own: how many tasks these source models have together.
    :param others: how many tasks another source model has.
    :param latency: seconds until a request is answered.
    :param throttle: refuse every request, with this many seconds in ``Retry-After``; None: answer.
    :param finish_at: when the tasks of each source model succeed, in seconds since the epoch; never, if a
        source model is not in it.
    """

    sources: int = 1
    own: int = 1
    others: int = 0
    latency: float = 0.0
    throttle: int | None = None
    finish_at: list[float] = field(default_factory=list)

    def is_finished(self, number: int) -> bool:
        return number < len(self.finish_at) and self.finish_at[number] <= time.time()

    def rows(self, source: str) -> list[tuple[int, str]]:
        """Return the tasks of a source model, or all tasks, each with its source model."""
        own = [(number, source_of(number % self.sources)) for number in range(self.own)]
        rows = own + [(self.own + number, OTHERS) for number in range(self.others)]
        return [row for row in rows if row[1] == source] if source else rows


def source_of(number: int) -> str:
    """Name the source model of a wait."""
    return f"amv-{number:08}"


class Server:
    """The server. It runs while its context lasts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise TypeError("no pipes")
        print(json.dumps(asdict(self._world)), file=self._process.stdin, flush=True)
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self, kind: str, login: str = "id") -> str:
        """Return an Airflow connection of that type, as a URI."""
        return f"{kind}://{login}:secret@{quote(self.url, safe='')}"

    def calls(self) -> list[Call]:
        """Return the requests up to now. Do not call this on a measured event loop: it blocks."""
        connection = HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", "/calls")
            return [Call(*call) for call in json.load(connection.getresponse())]
        finally:
            connection.close()


class _Answers:
    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: dict[str, list[tuple[int, str]]] = {}
        self.calls: list[Call] = []

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/calls":
            return 200, self.calls
        asked = json.loads(body) if body else {}
        self.calls.append(Call(time.time(), path, asked.get("sourceModelId", ""), asked.get("marker", "")))
        if self._world.throttle is not None:
            return 429, {"requestId": "r", "code": "TooManyRequests", "message": "slow down"}
        kind, _, last = path.partition("?")[0].rpartition("/")
        if kind == "/v2":
            return 200, {"requestId": "r", "result": self._page(asked)}
        if kind == "/wait":
            return (200, {}) if self._world.is_finished(int(last)) else (404, {})
        if kind == "/jobs":
            return 200, {
                "connectionId": "c",
                "jobId": int(last),
                "jobType": "sync",
                "startTime": "t",
                "status": "running",
            }
        if kind == "/batches":
            return 200, {
                "id": last,
                "object": "batch",
                "status": "in_progress",
                "completion_window": "24h",
                "created_at": 0,
                "endpoint": "/v1/embeddings",
                "input_file_id": "f",
            }
        return 404, {}

    def _page(self, asked: dict[str, Any]) -> dict[str, Any]:
        source = asked.get("sourceModelId", "")
        if source not in self._rows:
            self._rows[source] = self._world.rows(source)
        rows, begin = self._rows[source], int(asked.get("marker", "0").removeprefix("amva-"))
        page_info: dict[str, Any] = {"maxKeys": PAGE, "isTruncated": begin + PAGE < len(rows)}
        if page_info["isTruncated"]:
            page_info["nextMarker"] = f"amva-{begin + PAGE:08}"
        tasks = [self._task(*row) for row in rows[begin : begin + PAGE]]
        return {"modelCompTaskList": tasks, "pageInfo": page_info}

    def _task(self, number: int, source: str) -> dict[str, Any]:
        """Make a task. A source model's newest task runs until it succeeds; all others failed long ago."""
        newest = self._world.own - self._world.sources <= number < self._world.own
        finished = newest and self._world.is_finished(number % self._world.sources)
        status = "succeeded" if finished else "running" if newest else "failed"
        created = FIRST_CREATED + timedelta(minutes=number)
        return {
            "id": f"amva-{number:08}",
            "name": f"compress-{number}",
            "description": "",
            "status": status,
            "sourceModelId": source,
            "config": {"strategy": "Quantization", "quantConf": "wint8"},
            "createTime": created.isoformat(),
            **({"modelId": f"amv-made{number:08}"} if finished else {}),
        }


class _Connection(asyncio.Protocol):
    def __init__(self, answers: _Answers, world: World) -> None:
        self._answers = answers
        self._world = world
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        if len(rest) < int(headers.get("content-length", 0)):
            return
        self._buffer = b""
        path = lines[0].split(" ")[1]
        latency = 0 if path == "/calls" else self._world.latency
        asyncio.get_running_loop().call_later(latency, self._send, path, rest)

    def _send(self, path: str, body: bytes) -> None:
        status, answer = self._answers.answer(path, body)
        text = json.dumps(answer).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        )
        if status == 429:
            head += f"Retry-After: {self._world.throttle}\r\n"
        self._transport.write(head.encode() + b"\r\n" + text)


async def _serve(world: World) -> None:
    answers = _Answers(world)
    server = await asyncio.get_running_loop().create_server(
        partial(_Connection, answers, world), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(World(**json.loads(sys.stdin.readline()))))
