"""What holds for every example DAG."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dags.conftest import FILES

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]

every_dag = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@every_dag
def test_it_parses_without_a_connection(file: Path) -> None:
    subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:airflow_provider_qianfan", file], check=True
    )


@every_dag
def test_it_is_documented_and_retried(load_dag: Callable[[str], Any], file: Path) -> None:
    dag = load_dag(file.stem)

    assert dag.dag_id == file.stem
    assert dag.doc_md
    assert all(task.retries for task in dag.tasks)
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.description
        assert param.schema["title"]


@every_dag
def test_its_gate_waits_cheaply_for_a_task_of_this_run(load_dag: Callable[[str], Any], file: Path) -> None:
    for task in load_dag(file.stem).tasks:
        if task.task_type == "QianfanModelCompTaskSensor":
            assert task.deferrable
            assert task.model_comp_task_id is not None or task.created_after == timedelta(hours=24)
            assert not task.soft_fail


@every_dag
def test_the_page_of_dags_lists_it(file: Path) -> None:
    assert f"](../dags/{file.name})" in (ROOT / "docs" / "dags.md").read_text(encoding="utf-8")
