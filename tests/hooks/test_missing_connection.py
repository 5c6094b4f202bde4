"""Airflow's messages about a missing connection, which docs/troubleshooting.md quotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan.operators.model_compression import QianfanListModelCompTasksOperator
from tests.docs.pages import ROOT, rows

if TYPE_CHECKING:
    from tests.dag_runs import DagRunner

_FOUND = rows(ROOT / "docs" / "troubleshooting.md")
_START = _FOUND.index(["`AIRFLOW_CONN_QIANFAN_DEFAULT`", "the error"]) + 2
ROWS = [row for row in _FOUND[_START : _START + 6] if len(row) == 2]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_words(row: list[str], dag_runner: DagRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, told = (cell.strip("`") for cell in row)
    monkeypatch.delenv("AIRFLOW_CONN_QIANFAN_DEFAULT", raising=False)
    # Nobody listens there: if the connection can be read, this is what is found out.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    if uri != "not set":
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", uri)

    error = dag_runner.run(lambda: QianfanListModelCompTasksOperator(task_id="list"))["list"].error

    if told == "none":
        told = "DescribeModelCompTasks: connecting to the proxy 127.0.0.1:1"
    assert str(error).startswith(told)
    assert f"{type(error).__name__}: {error}" in dag_runner.log
    assert uri.rpartition(":")[2].strip("@") not in dag_runner.log


def test_all_of_them_are_there() -> None:
    assert [row[1] == "none" for row in ROWS] == [False] * 5 + [True]
