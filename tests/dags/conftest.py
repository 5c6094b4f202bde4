"""The example DAGs, as they are in dags/."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dag_runs import AIRFLOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.dag_runs import DagRunner

    Report = Callable[..., None]

NEWER = {"deploy_each_finished_model": (3, 3)}
"""The Airflow that a DAG needs, if it is newer than 3.0."""
FILES = sorted(
    file
    for file in (Path(__file__).parents[2] / "dags").glob("*.py")
    if NEWER.get(file.stem, (3, 0)) <= AIRFLOW
)


@pytest.fixture
def dag_runner(dag_runner: DagRunner) -> DagRunner:
    """Runs them without a logical date, as a run has none that was triggered without one."""
    dag_runner.dated = False
    return dag_runner


@pytest.fixture
def load_dag(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Returns the DAG of a file, new for each test; its gate looks more often than it does in production."""

    def load(name: str) -> Any:
        monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "dags"))
        monkeypatch.delitem(sys.modules, name, raising=False)
        dag = import_module(name).DAG
        for task in dag.tasks:
            if hasattr(task, "poke_interval"):
                task.poke_interval = 0.1
            elif "poke_interval" in getattr(task, "partial_kwargs", {}):  # one that will be mapped
                task.partial_kwargs["poke_interval"] = 0.1
        return dag

    return load


@pytest.fixture
def report(warm_airflow: None) -> Report:
    """Put an event of the watcher into the log of an asset, by the asset's name: so many models finished."""

    def report(asset: str, *models: str) -> None:
        from airflow import settings
        from airflow.models.asset import AssetEvent, AssetModel
        from sqlalchemy import select

        tasks = [
            {
                "event_id": f"task-of-{model}:succeeded",
                "id": f"task-of-{model}",
                "status": "succeeded",
                "model_id": model,
                "source_model_id": "amv-source",
                "create_time": None,
                "finish_time": datetime.now(UTC).isoformat(),
            }
            for model in models
        ]
        extra = {"from_trigger": True, "payload": {"version": 1, "tasks": tasks}}
        with settings.Session() as session:
            found = session.scalars(select(AssetModel).where(AssetModel.name == asset)).one()
            session.add(AssetEvent(asset_id=found.id, extra=extra))
            session.commit()

    return report
