"""Listing 10,000 tasks: ours, a bare loop over the same pages, and Baidu's own SDK."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from benchmarks.table import Result

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS = 10_000
ROUNDS = 31
MOST = 1.2
"""Ours may take at most this many times the floor."""

HERE = Path(__file__).parent
URL = "/v2/model?Action=DescribeModelCompTasks"
KINDS = ("ours", "requests", "http.client", "sdk")


def run() -> list[Result]:
    """List with each of them in turn."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.listing_server", str(TASKS)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
    ) as server:
        try:
            return _compare(int(_pipe(server.stdout).readline()))
        finally:
            server.kill()


def _compare(port: int) -> list[Result]:
    os.environ["AIRFLOW_CONN_QIANFAN_DEFAULT"] = (
        f"qianfan://id:secret@{quote(f'http://127.0.0.1:{port}', '')}"
    )
    readers = {"ours": _hook(), "requests": _session(port), "http.client": _bare(port)}
    with _sdk(port) as sdk:
        readers["sdk"] = _asking(sdk)
        took: dict[str, list[float]] = {name: [] for name in readers}
        for number in range(ROUNDS + 1):
            for name, read in readers.items():
                began = time.perf_counter()
                told = read()
                seconds = told if isinstance(told, float) else time.perf_counter() - began
                if number:  # not the first, which loads what it needs
                    took[name].append(seconds * 1000)
        sdk.kill()
    mine, session, bare, theirs = (min(took[name]) for name in KINDS)
    row, case = "listing all tasks", f"{TASKS:,} tasks on {TASKS // 100} pages"
    # Other processes can only add to the time.
    best = f"the fastest of {ROUNDS} rounds"
    signed = f"{best}; ours signs, checks and parses each row"
    return [
        Result(
            row,
            case,
            mine,
            "a loop of `requests.Session` and `json.loads` (floor)",
            session,
            "ms",
            f"≤ {MOST} × the floor",
            mine <= MOST * session,
            signed,
        ),
        Result(row, case, mine, "a loop of `http.client` and `json.loads`", bare, "ms", note=signed),
        Result(row, case, mine, "the `qianfan` SDK", theirs, "ms", "faster", mine < theirs, best),
    ]


def _hook() -> Callable[[], None]:
    from airflow_provider_qianfan.hooks.qianfan import QianfanHook

    hook = QianfanHook()

    def read() -> None:
        _check(len(hook.list_model_comp_tasks()))

    return read


def _session(port: int) -> Callable[[], None]:
    session = requests.Session()

    def page(body: dict[str, Any]) -> Any:
        return json.loads(session.post(f"http://127.0.0.1:{port}{URL}", json=body, timeout=30).content)

    return lambda: _check(_loop(page))


def _bare(port: int) -> Callable[[], None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def page(body: dict[str, Any]) -> Any:
        connection.request("POST", URL, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    return lambda: _check(_loop(page))


def _loop(page: Callable[[dict[str, Any]], Any]) -> int:
    rows: list[Any] = []
    body: dict[str, Any] = {"maxKeys": 100}
    while True:
        result = page(body)["result"]
        rows += result["modelCompTaskList"]
        if not result["pageInfo"]["isTruncated"]:
            return len(rows)
        body["marker"] = result["pageInfo"]["nextMarker"]


def _sdk(port: int) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QIANFAN_")}
    return subprocess.Popen(
        [Path(f"{sys.prefix}-sdk", "bin", "python"), HERE / "listing_sdk.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment
        | {
            "QIANFAN_ACCESS_KEY": "id",
            "QIANFAN_SECRET_KEY": "secret",
            "QIANFAN_CONSOLE_API_BASE_URL": f"http://127.0.0.1:{port}",
        },
    )


def _asking(sdk: subprocess.Popen[str]) -> Callable[[], float]:
    asked, answers = _pipe(sdk.stdin), _pipe(sdk.stdout)

    def read() -> float:
        asked.write("\n")
        asked.flush()
        seconds, count = answers.readline().split()
        _check(int(count))
        return float(seconds)

    return read


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise SystemExit("no pipe")
    return pipe


def _check(count: int) -> None:
    if count != TASKS:
        raise SystemExit(f"{count} tasks instead of {TASKS}")
