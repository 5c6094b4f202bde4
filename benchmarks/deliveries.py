"""Five hundred tasks finish within two minutes while the triggerer is killed, or stopped, ten times."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.table import Result
from tests.integration import events_dag
from tests.integration.deliveries import CLOSE, Delivered, How, Load, deliver, watching

TASKS, SECONDS, RESTARTS = 500, 120.0, 10
HOWS: dict[How, str] = {"kill": "`kill -9` of the triggerer", "stop": "graceful restarts of the triggerer"}


def run() -> list[Result]:
    """Deliver with each kind of restart."""
    with (
        tempfile.TemporaryDirectory(prefix="qianfan-bench-", ignore_cleanup_errors=True) as folder,
        watching(Path(folder), "finished", [Path(events_dag.__file__)]) as (services, world),
    ):
        found = {
            how: deliver(services, world, "finished", Load(TASKS, SECONDS, RESTARTS, how)) for how in HOWS
        }
    return [result for how, delivered in found.items() for result in _results(how, delivered)]


def _results(how: How, found: Delivered) -> list[Result]:
    case = f"{TASKS} tasks that finish within {SECONDS:.0f} s, {RESTARTS} × {HOWS[how]}"
    heard = TASKS - len(found.missing)
    known = all(len(ids) == 1 for ids in found.event_ids.values())
    target, met = ("0", not found.repeats) if how == "stop" else ("each with the id of the first", known)
    return [
        Result(
            "tasks in the payloads of DAG runs",
            case,
            heard,
            "tasks that finished",
            TASKS,
            "tasks",
            "all",
            heard == TASKS,
            f"{found.left_behind} events in no run, {found.late} only with the next event",
        ),
        Result(
            "deployment runs, one for each model",
            case,
            sum(found.deployments[model] for model in found.models),
            "models",
            TASKS,
            "runs",
            "exactly one for each model",
            {found.deployments[model] for model in found.models} == {1},
            "with a router and partitions",
        ),
        Result(
            "repeated reports of a task",
            case,
            found.repeats,
            "tasks that finished",
            TASKS,
            "reports",
            target,
            met,
            f"all but {len(found.unexplained)} follow a report less than {CLOSE:.0f} s before a restart, which"
            " Airflow had not yet confirmed to the trigger",
        ),
    ]
