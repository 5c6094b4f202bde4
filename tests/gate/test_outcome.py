"""The tables of the documentation: which task is meant, and what its status means for the wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.exceptions import (
    QianfanGateError,
    QianfanModelIdMissingError,
    QianfanTaskAmbiguousError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
)
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.outcome import decide
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Fail, NeedDetail, Open, Wait
from tests.gate.tasks import NOON, NOW, SOURCE, made, task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_qianfan.api.model_compression import ModelCompTask


@dataclass
class Opens:
    model_id: str = "amv-made"


@dataclass
class Waits:
    about: str = ""


@dataclass
class Fails:
    error: type[QianfanGateError]
    told: tuple[str, ...] = ()


@dataclass
class Asks:
    task_id: str = "amva-1"
    required: bool = True


@dataclass
class Row:
    name: str
    tasks: Sequence[ModelCompTask]
    expected: Any
    selector: dict[str, Any] = field(default_factory=dict)
    details: dict[str, ModelCompTask | None] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check(row: Row) -> None:
    selector = Selector(**{"source_model_id": SOURCE, **row.selector})
    memory = Memory(**{"started": NOW, **row.memory})
    verdict = decide(row.tasks, selector, memory, NOW, details=row.details, settle=120)
    match row.expected:
        case Opens(model_id):
            assert isinstance(verdict, Open), verdict
            assert verdict.model_id == model_id
        case Waits(about):
            assert isinstance(verdict, Wait), verdict
            assert about in verdict.state
        case Fails(error, told):
            assert isinstance(verdict, Fail), verdict
            assert type(verdict.error) is error
            assert [text for text in told if text not in str(verdict.error)] == []
        case Asks(task_id, required):
            assert verdict == NeedDetail(task_id, required)
    given = [note.key for note in getattr(verdict, "notes", ())]
    assert given == list(row.notes)


OUTCOME = [
    Row("absent", [], Waits("no task fits yet"), notes=("absent",)),
    Row("creating", [task(status="creating")], Waits("amva-1 ('demo') is creating")),
    Row("running", [task(status="running")], Waits("is running")),
    Row("stopping", [task(status="stopping")], Waits("is stopping")),
    Row(
        "unknown status", [task(status="paused")], Waits("unknown status 'paused'"), notes=("status:paused",)
    ),
    Row("no status", [task(status="")], Waits("unknown status ''"), notes=("status:",)),
    Row("another case", [task(status="Succeeded", model="amv-made")], Waits(), notes=("status:Succeeded",)),
    Row("succeeded", [made()], Opens()),
    *[
        Row(f"succeeded with modelId {model!r}", [made(model=model)], Asks())
        for model in (None, " ", " amv-made", SOURCE)
    ],
    Row(
        "succeeded without modelId, the detail names it",
        [made(model=None)],
        Opens("amv-late"),
        details={"amva-1": made(model="amv-late")},
    ),
    *[
        Row(f"succeeded without modelId, {name}", [made(model=None)], expected, details={"amva-1": detail})
        for name, detail, expected in (
            ("no detail", None, Fails(QianfanModelIdMissingError, ("amva-1", "console"))),
            ("nor in the detail", made(model=None), Fails(QianfanModelIdMissingError)),
            ("the detail names the source", made(model=SOURCE), Fails(QianfanModelIdMissingError)),
            ("the detail is of another source", made(source="amv-x"), Fails(QianfanModelIdMissingError)),
            ("the detail says running", task(status="running"), Waits("is running")),
            ("the detail says failed", task(status="failed"), Fails(QianfanTaskFailedError)),
            ("the detail says stopped", task(status="stopped"), Fails(QianfanTaskFailedError)),
        )
    ],
    Row("failed", [task(status="failed")], Asks(required=False)),
    Row(
        "failed, with a reason in the list",
        [task(status="failed", reason="no data")],
        Fails(QianfanTaskFailedError, ("amva-1", "no data")),
    ),
    Row(
        "failed, with a reason in the detail",
        [task(status="failed")],
        Fails(QianfanTaskFailedError, ("no data",)),
        details={"amva-1": task(status="failed", reason="no data")},
    ),
    Row(
        "failed, with no detail",
        [task(status="failed")],
        Fails(QianfanTaskFailedError, ("gives no reason",)),
        details={"amva-1": None},
    ),
    Row(
        "failed, whatever the detail says",
        [task(status="failed")],
        Fails(QianfanTaskFailedError),
        details={"amva-1": made()},
    ),
    Row(
        "failed, with a model",
        [task(status="failed", model="amv-x", reason="r")],
        Fails(QianfanTaskFailedError),
    ),
    Row("stopped", [task(status="stopped")], Fails(QianfanTaskFailedError, ("amva-1", "stopped"))),
    Row("stopped, with a model", [task(status="stopped", model="amv-x")], Fails(QianfanTaskFailedError)),
]


@pytest.mark.parametrize("row", OUTCOME, ids=lambda row: row.name)
def test_outcome(row: Row) -> None:
    check(row)


PIN = {"model_comp_task_id": "amva-1"}
PINNED = [
    Row("there", [made()], Opens(), PIN),
    Row("there, without a source to check", [made()], Opens(), PIN | {"source_model_id": None}),
    Row("next to newer ones", [made(), task("amva-2", created=99)], Opens(), PIN),
    Row("of another source", [made(source="amv-x")], Fails(QianfanTaskNotFoundError, ("amv-x",)), PIN),
    Row("of no source", [made(source=None)], Fails(QianfanTaskNotFoundError), PIN),
    Row("of another name", [made()], Fails(QianfanTaskNotFoundError), PIN | {"name": "x"}),
    Row(
        "too old",
        [made()],
        Fails(QianfanTaskNotFoundError),
        PIN | {"created_after": NOON + timedelta(seconds=1)},
    ),
    Row("its model is the source given", [made(model=SOURCE)], Asks(), PIN),
    Row("not there yet", [task("amva-2")], Waits("not there yet"), PIN, notes=("absent",)),
    Row(
        "not there for 119 s",
        [],
        Waits("not there yet"),
        PIN,
        memory={"absent_since": NOW - 119},
        notes=("absent",),
    ),
    Row(
        "not there for 120 s",
        [],
        Fails(QianfanTaskNotFoundError, ("amva-1", "2 minutes")),
        PIN,
        memory={"absent_since": NOW - 120},
    ),
]


@pytest.mark.parametrize("row", PINNED, ids=lambda row: row.name)
def test_pinned(row: Row) -> None:
    check(row)


AFTER = {"created_after": NOON - timedelta(hours=1)}
NEWEST = {"if_several": "newest"}
AMBIGUOUS = Fails(QianfanTaskAmbiguousError, ("amva-1", "amva-2", "model_comp_task_id"))
SELECTION = [
    Row("a stale success next to a newer running task", [made(created=-9), task("amva-2")], Waits("amva-2")),
    Row("the same, in the other order", [task("amva-2"), made(created=-9)], Waits("amva-2")),
    Row(
        "a stale failure next to a newer success",
        [task(status="failed", created=-9), made("amva-2")],
        Opens(),
    ),
    Row(
        "a success older than created_after",
        [made(created=-3601)],
        Waits("no task"),
        AFTER,
        notes=("absent",),
    ),
    Row(
        "tasks of other sources, as if the filter was ignored",
        [made(source="amv-x"), task("amva-2")],
        Waits("amva-2"),
    ),
    Row("two running", [task(), task("amva-2", created=5)], AMBIGUOUS),
    Row("creating and running", [task(status="creating"), task("amva-2", created=5)], AMBIGUOUS),
    Row(
        "two running, told apart by name", [task(name="x"), task("amva-2")], Waits("amva-2"), {"name": "demo"}
    ),
    Row("two running, one of them too old", [task(created=-3601), task("amva-2")], Waits("amva-2"), AFTER),
    Row("running and stopping", [task(status="stopping"), task("amva-2", created=5)], Waits("amva-2")),
    Row(
        "two running, the newest counts",
        [task(created=5), task("amva-2")],
        Waits("amva-1"),
        NEWEST,
        notes=("several",),
    ),
    Row(
        "two running, and a newer success counts",
        [task(), task("amva-2", created=1), made("amva-3", created=5)],
        Opens(),
        NEWEST,
        notes=("several",),
    ),
    Row(
        "undated, created_after given",
        [made(created=None)],
        Waits("no task"),
        AFTER,
        notes=("undated", "absent"),
    ),
    Row(
        "undated next to dated, created_after given",
        [made(created=None), made("amva-2")],
        Opens(),
        AFTER,
        notes=("undated",),
    ),
    Row("one undated alone", [made(created=None)], Opens()),
    Row("undated and dated agree", [made(created=None), made("amva-2")], Opens()),
    Row("undated and dated disagree", [made(created=None), made("amva-2", "amv-else")], AMBIGUOUS),
    Row("undated failed", [task(status="failed", created=None, reason="r"), made("amva-2")], AMBIGUOUS),
    Row(
        "undated failed, its reason not asked for",
        [task(status="failed", created=None), made("amva-2")],
        AMBIGUOUS,
    ),
    Row("undated running", [task(created=None), made("amva-2")], Waits("all of"), notes=("tied",)),
    Row(
        "undated of unknown status",
        [task(status="odd", created=None), made("amva-2")],
        Waits(),
        notes=("tied", "status:odd"),
    ),
    Row("undated without a model", [made(created=None, model=None), made("amva-2")], Asks()),
    Row(
        "undated without a model, the detail agrees",
        [made(created=None, model=None), made("amva-2")],
        Opens(),
        details={"amva-1": made(created=None)},
    ),
    Row(
        "undated without a model, nor in the detail",
        [made(created=None, model=None), made("amva-2")],
        AMBIGUOUS,
        details={"amva-1": None},
    ),
    Row(
        "an old one that disagrees with undated does not count",
        [made(created=None), made("amva-2"), made("amva-3", "amv-old", created=-9)],
        Opens(),
    ),
    Row("at the same instant, and agree", [made(), made("amva-2")], Opens()),
    Row("at the same instant, and disagree", [made(), made("amva-2", "amv-else")], AMBIGUOUS),
    Row(
        "at the same instant, one still stopping",
        [made(), task("amva-2", "stopping")],
        Waits("all of"),
        notes=("tied",),
    ),
    Row(
        "another one than before",
        [task("amva-2")],
        Waits("amva-2"),
        memory={"selected": "amva-1"},
        notes=("selected:amva-2",),
    ),
    Row(
        "older than the DAG run",
        [task()],
        Waits(),
        {"run_started": NOON + timedelta(seconds=1)},
        notes=("older:amva-1",),
    ),
    Row("of the DAG run's second", [task()], Waits(), {"run_started": NOON + timedelta(seconds=0.9)}),
    Row(
        "older than the DAG run, but not than created_after",
        [task()],
        Waits(),
        AFTER | {"run_started": NOON + timedelta(hours=1)},
    ),
]


@pytest.mark.parametrize("row", SELECTION, ids=lambda row: row.name)
def test_selection(row: Row) -> None:
    check(row)


def test_the_failed_tasks_json_tells_the_reason_of_the_detail() -> None:
    verdict = decide(
        [task(status="failed")],
        Selector(SOURCE),
        Memory(NOW),
        NOW,
        details={"amva-1": task(status="failed", reason="no data")},
    )

    assert isinstance(verdict, Fail)
    assert verdict.task
    assert verdict.task.json["failedReason"] == "no data"


def test_what_the_platform_said_of_a_missing_id_is_passed_on() -> None:
    verdict = decide(
        [], Selector(SOURCE, "amva-1"), Memory(NOW, absent_since=0), NOW, absence="404 NoSuchKey"
    )

    assert isinstance(verdict, Fail)
    assert "404 NoSuchKey" in str(verdict.error)


def test_an_ambiguous_selection_tells_the_tasks_apart() -> None:
    verdict = decide([task(), task("amva-2", name="other", created=5)], Selector(SOURCE), Memory(NOW), NOW)

    assert isinstance(verdict, Fail)
    assert str(verdict.error) == (
        "2 model compression tasks are under way at once: amva-1 ('demo'), running, created"
        ' 2026-01-31T12:00:00+00:00, config {"strategy": "Quantization"};'
        " amva-2 ('other'), running, created"
        ' 2026-01-31T12:00:05+00:00, config {"strategy": "Quantization"}. Say which one is meant by'
        " model_comp_task_id, or narrow them down by name or created_after."
    )
