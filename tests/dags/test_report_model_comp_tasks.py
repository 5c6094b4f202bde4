"""The report, for tasks of every kind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from airflow_provider_qianfan.emulator.world import World
    from tests.dag_runs import DagRunner

HOUR = 3600


@pytest.fixture
def report(
    emulator: EmulatorServer, load_dag: Callable[[str], Any], dag_runner: DagRunner
) -> Callable[[], str]:
    def report() -> str:
        outcome = dag_runner.run_dag(load_dag("report_model_comp_tasks"))
        text: str = outcome["report"].xcoms["return_value"]
        return text

    return report


def finished(world: World, task_id: str, step: TaskStep, *, created: float, **how: Any) -> None:
    world.tasks.add(
        TaskSpec("amv-1", id=task_id, created=created, timeline=(TaskStep(status="running"), step), **how)
    )


def test_it_reports_tasks_of_every_kind(emulator: EmulatorServer, report: Callable[[], str]) -> None:
    world = emulator.world
    for took, hours_ago in ((HOUR, 2), (2 * HOUR, 30), (6 * HOUR, 50)):
        step = TaskStep(status="succeeded", after=took, model_id="amv-made")
        finished(world, f"amva-good{hours_ago}", step, created=-hours_ago * HOUR)
    good = TaskStep(status="succeeded", after=60, model_id="amv-made")
    finished(world, "amva-no-finish", good, created=-HOUR, omit=("finishTime",))
    finished(world, "amva-no-create", good, created=-HOUR, omit=("createTime",))
    finished(world, "amva-zero", good, created=-HOUR, set={"createTime": "0000-00-00T00:00:00Z"})
    finished(world, "amva-one", good, created=-HOUR, set={"createTime": "0001-01-01T00:00:00Z"})
    finished(world, "amva-naive", good, created=-HOUR, set={"createTime": "2026-01-01T00:00:00"})
    finished(world, "amva-backwards", good, created=-HOUR, set={"finishTime": "2001-01-01T00:00:00Z"})
    failed = TaskStep(status="failed", after=HOUR + 1.0)
    why = replace(failed, failed_reason="the calibration data set is empty")
    finished(world, "amva-failed-late", why, created=-24.5 * HOUR, name="压缩")
    finished(world, "amva-failed-before", failed, created=-26 * HOUR)
    finished(world, "amva-failed-no-finish", failed, created=-2 * HOUR, omit=("finishTime",))
    finished(world, "amva-failed-old", failed, created=-48 * HOUR, omit=("finishTime",))
    finished(world, "amva-failed-when", failed, created=-99 * HOUR, omit=("createTime", "finishTime"))
    world.tasks.add(TaskSpec("amv-2", status="running"))

    text = report()

    counts, _, failures = text.partition("\n\nFailed since ")
    assert counts.splitlines() == [
        "15 model compression tasks",
        "",
        "| status | tasks | with times | median | longest |",
        "|---|---|---|---|---|",
        "| succeeded | 9 | 3 | 2:00:00 | 6:00:00 |",
        "| failed | 5 | 2 | 1:00:01 | 1:00:01 |",
        "| running | 1 | 0 | - | - |",
    ]
    since, _, listed = failures.partition(" UTC, or at an unknown time:\n\n")
    day_ago = datetime.now(UTC) - timedelta(hours=24)
    assert abs(datetime.fromisoformat(f"{since}Z") - day_ago) < timedelta(minutes=5)
    assert sorted(listed.splitlines()) == [
        "- amva-failed-late '压缩', of amv-1: the calibration data set is empty",
        "- amva-failed-no-finish 'amva-failed-no-finish', of amv-1: the platform gives no reason",
        "- amva-failed-when 'amva-failed-when', of amv-1: the platform gives no reason",
    ]


def test_it_reports_an_account_without_tasks(report: Callable[[], str]) -> None:
    text = report()

    assert text.startswith("0 model compression tasks\n")
    assert text.endswith("UTC, or at an unknown time:\n\nnone")


def test_it_says_that_there_may_be_more(emulator: EmulatorServer, report: Callable[[], str]) -> None:
    for _ in range(501):
        emulator.world.tasks.add(TaskSpec("amv-1"))

    assert report().startswith("500 model compression tasks, the newest\n")
