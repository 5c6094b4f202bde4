"""The tables of docs/concepts.md: each row is what the gate decides."""

from __future__ import annotations

import pytest

from airflow_provider_qianfan import exceptions
from airflow_provider_qianfan._compat import AirflowFailException, AirflowSensorTimeout
from airflow_provider_qianfan.api.model_compression import STATUSES
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.outcome import decide
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Fail, NeedDetail, Open, Wait
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.docs.pages import ROOT, code_spans, rows
from tests.gate.tasks import NOW, SOURCE, task

FOUND = rows(ROOT / "docs" / "concepts.md")


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this heading."""
    start = [row[0] for row in FOUND].index(heading) + 2
    width = len(FOUND[start])
    rulers = [n for n, row in enumerate(FOUND) if n > start and set(row[0]) == {"-"}]
    return [row for row in FOUND[start : rulers[0] - 1 if rulers else None] if len(row) == width]


OUTCOMES = table("the task is")


def verdict(status: str | None, model_id: str | None = None) -> object:
    tasks = [] if status is None else [task(status=status, model=model_id)]
    details = {each.id: each for each in tasks}
    return decide(tasks, Selector(source_model_id=SOURCE), Memory(started=NOW), NOW, details=details)


@pytest.mark.parametrize("row", OUTCOMES, ids=lambda row: row[0])
def test_what_the_gate_does(row: list[str]) -> None:
    what, does, pushes = row
    statuses: list[str | None] = [name for name in code_spans(what) if name in STATUSES]
    statuses = statuses or [None if what == "not there" else "not_documented"]
    expected = {"waits": Wait, "**opens**": Open, "fails": Fail, "asks": Fail}[
        does.partition(" ")[0].strip(";,")
    ]

    for status in statuses:
        met = verdict(status, "amv-made" if "is not the source" in what else SOURCE)

        assert type(met) is expected
        if isinstance(met, Fail):
            assert met.described is not None
            assert code_spans(pushes) == [QianfanModelCompTaskSensor.described_as]


def test_it_asks_first() -> None:
    succeeded = [task(status="succeeded", model=SOURCE)]

    met = decide(succeeded, Selector(source_model_id=SOURCE), Memory(started=NOW), NOW)

    assert isinstance(met, NeedDetail)
    assert met.required


def test_each_status_has_a_row() -> None:
    named = [name for row in OUTCOMES for name in code_spans(row[0]) if name in STATUSES]

    assert set(named) == set(STATUSES)


@pytest.mark.parametrize("row", table("the task fails with"), ids=lambda row: row[0])
def test_what_a_failure_means(row: list[str]) -> None:
    names, retried, soft = row
    for name in code_spans(names):
        if name == "timeout":
            continue
        error = getattr(exceptions, name, None) or AirflowSensorTimeout
        final = issubclass(error, AirflowFailException | AirflowSensorTimeout)

        assert retried == ("no" if final else "yes")
        assert soft == ("skipped" if final else "**failed**")
