"""From a success on the platform to a running downstream task, with a real scheduler and triggerer."""

from __future__ import annotations

import random
import shutil
import statistics
import time
from collections import Counter
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.triggers.waiting import EXECUTOR_LAG
from benchmarks.flag import FlagTrigger
from benchmarks.stage import Database, airflow, our_trigger, until
from benchmarks.table import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.services import Services

INTERVAL = 5.0
"""Seconds."""

MANY = 200
ROUNDS = 3

SETTLED = EXECUTOR_LAG + 5
"""Seconds after which a wait no longer counts as one that has just begun."""

ROW, EVERY = "from success to the downstream task running", f"an interval of {INTERVAL:.0f} s"
PRELOADING = Path(__file__).parents[1] / "docs" / "deploy" / "airflow_local_settings.py"

PEER = "a sensor whose trigger fires at that moment and that does not look again (floor)"


def run() -> list[Result]:
    """Measure one by one, ours and the floor in turn. Then measure all at once, the floor first, twice."""
    with EmulatorServer() as one, EmulatorServer() as many:
        environment = {
            "AIRFLOW_CONN_QIANFAN_ONE": one.connection_uri,
            "AIRFLOW_CONN_QIANFAN_MANY": many.connection_uri,
            "BENCH_INTERVAL": str(INTERVAL),
            "BENCH_WAITS": str(MANY),
        }
        parts = ("api-server", "dag-processor", "triggerer")
        with airflow("downstream_dag.py", parts, environment) as services:
            return _measure(services, one, many)


def _measure(services: Services, one: EmulatorServer, many: EmulatorServer) -> list[Result]:
    services.start("scheduler")
    singly: dict[str, list[float]] = {"ours": [], "floor": []}
    for _ in range(ROUNDS):
        singly["floor"].append(_one(services, "one_floor"))
        gate = one.world.tasks.add(TaskSpec("amv-source0", status="running"))
        success = TaskStep(status="succeeded", model_id="amv-made0")
        finish = partial(one.world.tasks.change, gate, success)
        singly["ours"].append(_one(services, "one_ours", finish))
    print(singly)
    single, base = statistics.median(singly["ours"]), statistics.median(singly["floor"])
    results = [
        Result(
            ROW,
            f"one wait, {EVERY}",
            single,
            PEER,
            base,
            "s",
            "≤ 1 interval more",
            single - base <= INTERVAL,
            f"median of {ROUNDS}",
        )
    ]
    services.stop("scheduler")
    at_once = _at_once(services, many, "")
    (services.home / "config").mkdir()
    shutil.copy(PRELOADING, services.home / "config")
    return [*results, *at_once, *_at_once(services, many, "; `airflow_local_settings.py` preloads")]


def _at_once(services: Services, many: EmulatorServer, how: str) -> list[Result]:
    """Let many gates end at once: first the floor's, then ours."""
    many.world.reset()
    flag = services.home / "many"
    flag.unlink(missing_ok=True)
    tasks = [
        many.world.tasks.add(TaskSpec(f"amv-source{number}", status="running")) for number in range(MANY)
    ]
    ours, floor = services.trigger("many_ours"), services.trigger("many_floor")
    # Deferred before the scheduler starts: its workers would defer only five a second.
    Database(services).defer(
        {
            (ours, f"gate_{number}"): our_trigger("qianfan_many", f"amv-source{number}", INTERVAL)
            for number in range(MANY)
        }
        | {(floor, f"gate_{number}"): FlagTrigger(path=str(flag), every=0.05) for number in range(MANY)}
    )
    services.start("scheduler")
    time.sleep(SETTLED)

    began = time.time()
    flag.touch()
    least = _running(services, floor) - began
    calls = len(many.world.calls)
    began = time.time()
    for number, task in enumerate(tasks):
        many.world.tasks.change(task, TaskStep(status="succeeded", model_id=f"amv-made{number}"))
    mine = _running(services, ours) - began
    services.stop("scheduler")
    made = list(many.world.calls)[calls:]
    per_second = Counter(int(call.time.timestamp()) for call in made)
    return [
        Result(
            ROW,
            f"{MANY} waits at once, until what is after all of them runs, {EVERY}{how}",
            mine,
            PEER,
            least,
            "s",
            "≤ 1 interval more",
            mine - least <= INTERVAL,
            "each of ours takes a look of its own before it opens:"
            f" {(mine - least) / MANY * 1000:.0f} ms more a task",
        ),
        Result(
            "calls of the platform while a crowd resumes",
            f"{MANY} waits at once{how}",
            len(made),
            "one look for each",
            MANY,
            "calls",
            note=f"at most {max(per_second.values())} in a second",
        ),
    ]


def _one(services: Services, dag_id: str, finish: Callable[[], object] | None = None) -> float:
    """Run one gate. Without ``finish``, make its file appear."""
    run = services.trigger(dag_id)
    until(lambda: _state(services, run, "gate_0") == "deferred", 120, "deferred")
    time.sleep(SETTLED + random.random() * INTERVAL)  # noqa: S311  it may be any moment of an interval
    began = time.time()
    (finish or (services.home / unquote(run.rpartition("/")[2])).touch)()
    return _running(services, run) - began


def _running(services: Services, run: str) -> float:
    """Wait until the task after the gates has begun. Return the time of that."""
    ended = ("running", "success", "failed", "upstream_failed")
    until(lambda: _state(services, run, "after") in ended, 240, "downstream", every=0.5)
    after = services.get(f"{run}/taskInstances/after")
    if after["state"] not in ended[:2]:
        raise SystemExit(f"{run}: the downstream task is {after['state']}")
    began: str = after["start_date"]
    return datetime.fromisoformat(began).timestamp()


def _state(services: Services, run: str, task_id: str) -> str | None:
    state: str | None = services.get(f"{run}/taskInstances/{task_id}")["state"]
    return state
