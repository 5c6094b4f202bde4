"""The tables of docs/concepts.md: each row is what the gate decides."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_qianfan import exceptions
from airflow_provider_qianfan._compat import AirflowFailException, AirflowSensorTimeout
from airflow_provider_qianfan.api.errors import is_transient
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, Reply, RetryPolicy
from airflow_provider_qianfan.api.model_compression import STATUSES
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.gate.look import take_look
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.outcome import decide
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Fail, NeedDetail, Open, Wait
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.api.steps import Drive, answer, error
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


def verdict(status: str | None, model_id: str | None, *, asked: bool) -> object:
    """Judge a list with one task, before or after the answer for the one task."""
    tasks = [] if status is None else [task(status=status, model=model_id)]
    details = {each.id: each for each in tasks if asked}
    return decide(tasks, Selector(source_model_id=SOURCE), Memory(started=NOW), NOW, details=details)


@pytest.mark.parametrize("row", OUTCOMES, ids=lambda row: row[0])
def test_what_the_gate_does(row: list[str]) -> None:
    what, does, pushes = row
    statuses: list[str | None] = [name for name in code_spans(what) if name in STATUSES]
    statuses = statuses or [None if what == "not there" else "not_documented"]
    expected = {"waits": Wait, "**opens**": Open, "fails": Fail, "asks": NeedDetail}[
        does.partition(" ")[0].strip(";,")
    ]

    for status in statuses:
        model_id = SOURCE if "without a usable" in what else "amv-made"
        met = verdict(status, model_id, asked=expected is not NeedDetail)

        assert type(met) is expected
        assert expected is not NeedDetail or met.required
        if isinstance(met, Fail):
            assert met.described is not None
            assert code_spans(pushes) == [QianfanModelCompTaskSensor.described_as]


def told(**changed: Any) -> Reply:
    """The answer for the one task, which the list shows as succeeded, without a usable model."""
    return answer({"result": {**SUCCEEDED, **changed}})


SUCCEEDED = {"id": "amva-1", "sourceModelId": SOURCE, "name": "nightly", "status": "succeeded"}
ANSWERS: dict[str, list[list[Reply]]] = {
    "has a usable `modelId`": [
        [told(modelId="amv-made")],
        [told(), told(), told(modelId="amv-made")],
        [told(modelId="amv-made", sourceModelId=None, name=None)],
    ],
    "has another status than `succeeded`": [
        [told(status="creating")],
        [told(status="running")],
        [told(status="stopping")],
    ],
    "has no usable `modelId`, three times": [[told(modelId=SOURCE)] * 3],
    "has another source model or another name than the list": [
        [told(modelId="amv-made", sourceModelId="amv-other")],
        [told(modelId="amv-made", name="other")],
    ],
    "has no task, or refuses the request": [
        [answer({"result": None})] * 3,
        [error(404, "NoSuchKey")] * 3,
    ],
    "is about another task": [[told(id="amva-2")]],
}


@pytest.mark.parametrize("row", table("the answer"), ids=lambda row: row[0])
def test_what_the_answer_for_the_one_task_changes(row: list[str]) -> None:
    what, does, pushes = row
    listed = answer({"result": {"modelCompTaskList": [SUCCEEDED], "pageInfo": {"isTruncated": False}}})
    expected = {"**opens**": Open, "fails": Fail, "does": Wait, "goes": None, "ends": None}[
        does.partition(" ")[0]
    ]

    for replies in ANSWERS[what]:
        exchange = Exchange(Endpoint.parse("https://h"), Credentials("a", "b"), retry=RetryPolicy(tries=1))
        look = take_look(exchange, Selector(SOURCE), Memory(NOW), settle=120, clock=lambda: NOW)
        drive = Drive(look, [listed, *replies])

        if expected is None:
            assert is_transient(drive.error) == does.startswith("goes on")
            assert isinstance(drive.error, exceptions.QianfanError)
            continue
        assert type(drive.result) is expected, drive.error
        if expected is Fail:
            assert drive.result.described is not None
            assert code_spans(pushes) == [QianfanModelCompTaskSensor.described_as]


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
