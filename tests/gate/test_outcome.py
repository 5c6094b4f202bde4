"""The tables of the documentation: which task is meant, and what its status means for the wait."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.api.resource import Absence
from airflow_provider_qianfan.gate.errors import (
    QianfanGateError,
    QianfanModelIdMissingError,
    QianfanTaskAmbiguousError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
    of_task,
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
    task_id: str = "amva-1"


@dataclass
class Waits:
    about: str = ""


@dataclass
class Fails:
    error: type[QianfanGateError]
    told: tuple[str, ...] = ()
    task_id: str | None = "amva-1"


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


def attributes(described: Any, selector: Selector) -> dict[str, str | None]:
    """What an error says beside its message: of the task or, if there is none, of what was asked for."""
    said = {"resource_id": None, "status": None, "reason": None, "request_id": None}
    if described is None:
        asked = {key: getattr(selector, key) for key in ("model_comp_task_id", "source_model_id")}
        return said | asked
    return said | {
        "model_comp_task_id": described.id,
        "source_model_id": described.source_model_id,
        "status": described.status,
        "reason": described.json.get("failedReason"),
    }


def check(row: Row) -> None:
    selector = Selector(**{"source_model_id": SOURCE, **row.selector})
    memory = Memory(**{"started": NOW, **row.memory})
    verdict = decide(row.tasks, selector, memory, NOW, details=row.details, settle=120)
    match row.expected:
        case Opens(model_id, task_id):
            assert isinstance(verdict, Open), verdict
            assert (verdict.model_id, verdict.described.id) == (model_id, task_id)
        case Waits(about):
            assert isinstance(verdict, Wait), verdict
            assert about in verdict.state
            assert verdict.absent == ("amva-1" if "there yet" in verdict.state else "")
        case Fails(error, told, task_id):
            assert isinstance(verdict, Fail), verdict
            assert type(verdict.error) is error
            assert [text for text in told if text not in str(verdict.error)] == []
            assert (verdict.described.id if verdict.described else None) == task_id
            assert vars(verdict.error) == attributes(verdict.described, selector)
        case Asks(task_id, required):
            assert verdict == NeedDetail(task_id, required)
    notes = getattr(verdict, "notes", ())
    assert [note.key for note in notes] == list(row.notes)
    assert [note.again_after for note in notes] == [3600 if key == "absent" else None for key in row.notes]


OUTCOME = [
    Row("absent", [], Waits("no task matches yet"), notes=("absent",)),
    Row("creating", [task(status="creating")], Waits("amva-1 ('demo') is creating")),
    Row("running", [task(status="running")], Waits("is running")),
    Row("stopping", [task(status="stopping")], Waits("is stopping")),
    Row(
        "unknown status", [task(status="paused")], Waits("unknown status 'paused'"), notes=("status:paused",)
    ),
    Row(
        "a long status",
        [task(status="x" * 41)],
        Waits(f"unknown status '{'x' * 40}…'"),
        notes=(f"status:{'x' * 40}…",),
    ),
    Row("no status", [task(status="")], Waits("unknown status ''"), notes=("status:",)),
    Row("another case", [task(status="Succeeded", model="amv-made")], Waits(), notes=("status:Succeeded",)),
    Row("succeeded", [made()], Opens()),
    *[
        # mutmut does not find tests with a backslash in their names again
        Row(f"succeeded with modelId {model!r}".replace("\\", ""), [made(model=model)], Asks())
        for model in (
            None,
            "",
            " ",
            " amv-made",
            SOURCE,
            f"{SOURCE}\u200b",
            "amv-\u202emade",
            "amv\u3000made",
            "None",
            "NULL",
            "undefined",
            "am-set",
            "amva-1",
            "svco-1",
        )
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
            ("nor in the detail", made(model=None), Fails(QianfanModelIdMissingError, ("modelId 'None'",))),
            (
                "the detail names the source",
                made(model=SOURCE),
                Fails(QianfanModelIdMissingError, (f"modelId '{SOURCE}', source model '{SOURCE}'",)),
            ),
            (
                "the detail is of another source",
                made(source="amv-x"),
                Fails(QianfanModelIdMissingError, ("modelId 'amv-made', source model 'amv-x'",)),
            ),
            (
                "the detail has another name",
                made(name="other"),
                Fails(
                    QianfanModelIdMissingError,
                    (f"The list says something else (name 'demo', source model '{SOURCE}'). Look at it",),
                ),
            ),
            ("the detail has no name", made(name=None), Opens()),
            ("the detail has no source", made(source=None), Opens()),
            (
                "the detail has no source, and names it as the model",
                made(model=SOURCE, source=None),
                Fails(QianfanModelIdMissingError, (f"modelId '{SOURCE}', source model '{SOURCE}'). Look",)),
            ),
            (
                "the detail has long ids",
                made(model="m" * 81, source="s" * 81),
                Fails(QianfanModelIdMissingError, (f"'{'m' * 80}…', source model '{'s' * 80}…'",)),
            ),
            ("the detail says running", task(status="running"), Waits("is running")),
            ("the detail says failed", task(status="failed"), Fails(QianfanTaskFailedError)),
            ("the detail says stopped", task(status="stopped"), Fails(QianfanTaskFailedError)),
        )
    ],
    Row(
        "succeeded without modelId and name, the detail has both",
        [made(model=None, name=None)],
        Opens(),
        details={"amva-1": made()},
    ),
    Row("failed", [task(status="failed")], Asks(required=False)),
    Row(
        "failed, with a reason in the list",
        [task(status="failed", reason="no data")],
        Fails(QianfanTaskFailedError, ("amva-1", "no data")),
    ),
    Row(
        "failed, with a reason that is a sentence",
        [task(status="failed", reason="size exceeds MAX。")],
        Fails(QianfanTaskFailedError, ("failed: size exceeds MAX. The gate stays shut",)),
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
        Fails(QianfanTaskFailedError, ("failed: the platform gives no reason.",)),
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
    Row(
        "of another source",
        [made(source="amv-x")],
        Fails(
            QianfanTaskNotFoundError,
            (f"does not match (model compression task amva-1, source model {SOURCE})", "amv-x."),
        ),
        PIN,
    ),
    Row(
        "of another source with a long id",
        [made(source="s" * 81)],
        Fails(QianfanTaskNotFoundError, (f"source model {'s' * 80}….",)),
        PIN,
    ),
    Row(
        "of no source",
        [made(source=None)],
        Fails(
            QianfanTaskNotFoundError, ("task amva-1 is there", "it is amva-1 ('demo'), succeeded, created")
        ),
        PIN,
    ),
    Row("of another name", [made()], Fails(QianfanTaskNotFoundError, ("name 'x'",)), PIN | {"name": "x"}),
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
        memory={"absent": "amva-1", "absent_since": NOW - 119},
        notes=("absent",),
    ),
    Row(
        "not there for 120 s",
        [],
        Fails(QianfanTaskNotFoundError, ("amva-1", "2 minutes"), None),
        PIN,
        memory={"absent": "amva-1", "absent_since": NOW - 120},
    ),
    Row(
        "not there 119 s after the first look, nothing remembered",
        [],
        Waits("not there yet"),
        PIN,
        memory={"started": NOW - 119, "forgetful": True},
        notes=("absent",),
    ),
    Row(
        "not there 120 s after the first look, nothing remembered",
        [],
        Fails(QianfanTaskNotFoundError, ("no model compression task amva-1. Check the id",), None),
        PIN,
        memory={"started": NOW - 120, "forgetful": True},
    ),
]


@pytest.mark.parametrize("row", PINNED, ids=lambda row: row.name)
def test_pinned(row: Row) -> None:
    check(row)


AFTER = {"created_after": NOON - timedelta(hours=1)}
NEWEST = {"if_several": "newest"}
AMBIGUOUS = Fails(QianfanTaskAmbiguousError, ("amva-1", "amva-2", "model_comp_task_id"), None)
DISAGREE = Fails(
    QianfanTaskAmbiguousError, ("tasks might each be the newest, and they do not agree: amva-",), None
)
SELECTION = [
    Row("a stale success next to a newer running task", [made(created=-9), task("amva-2")], Waits("amva-2")),
    Row("the same, in the other order", [task("amva-2"), made(created=-9)], Waits("amva-2")),
    Row(
        "a stale failure next to a newer success",
        [task(status="failed", created=-9), made("amva-2")],
        Opens(task_id="amva-2"),
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
        Opens(task_id="amva-3"),
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
        Opens(task_id="amva-2"),
        AFTER,
        notes=("undated",),
    ),
    Row(
        "undated of another source next to dated, created_after given",
        [made(created=None, source="amv-x"), made("amva-2")],
        Opens(task_id="amva-2"),
        AFTER,
    ),
    Row(
        "undated of another name next to dated, created_after given",
        [made(created=None, name="x"), made("amva-2")],
        Opens(task_id="amva-2"),
        AFTER | {"name": "demo"},
    ),
    Row(
        "undated of that name next to dated, created_after given",
        [made(created=None), made("amva-2")],
        Opens(task_id="amva-2"),
        AFTER | {"name": "demo"},
        notes=("undated",),
    ),
    Row(
        "undated next to two running, created_after given",
        [task(), task("amva-2", created=5), made("amva-3", created=None)],
        AMBIGUOUS,
        AFTER,
        notes=("undated",),
    ),
    Row(
        "undated next to two running, created_after given, the newest counts",
        [task(), task("amva-2", created=5), made("amva-3", created=None)],
        Waits("amva-2"),
        AFTER | NEWEST,
        notes=("undated", "several"),
    ),
    Row("one undated alone", [made(created=None)], Opens()),
    Row("undated and dated agree", [made(created=None), made("amva-2")], Opens(task_id="amva-2")),
    Row("undated and dated disagree", [made(created=None), made("amva-2", "amv-else")], DISAGREE),
    Row("undated failed", [task(status="failed", created=None, reason="r"), made("amva-2")], DISAGREE),
    Row(
        "undated failed, its reason not asked for",
        [task(status="failed", created=None), made("amva-2")],
        DISAGREE,
    ),
    Row(
        "undated failed, and dated without a model: neither is asked for",
        [task(status="failed", created=None), made("amva-2", None)],
        DISAGREE,
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
        Opens(task_id="amva-2"),
        details={"amva-1": made(created=None)},
    ),
    Row(
        "undated without a model, nor in the detail",
        [made(created=None, model=None), made("amva-2")],
        DISAGREE,
        details={"amva-1": None},
    ),
    Row(
        "an old one that disagrees with undated does not count",
        [made(created=None), made("amva-2"), made("amva-3", "amv-old", created=-9)],
        Opens(task_id="amva-2"),
    ),
    Row("at the same instant, and agree", [made(), made("amva-2")], Opens()),
    Row("at the same instant, and disagree", [made(), made("amva-2", "amv-else")], DISAGREE),
    Row(
        "at the same instant, next to undated, created_after given",
        [made(), made("amva-2"), made("amva-3", created=None)],
        Opens(),
        AFTER,
        notes=("undated",),
    ),
    Row(
        "at the same instant, one still stopping, next to undated, created_after given",
        [made(), task("amva-2", "stopping"), made("amva-3", created=None)],
        Waits("all of"),
        AFTER,
        notes=("undated", "tied"),
    ),
    Row(
        "at the same instant, and disagree, next to undated, created_after given",
        [made(), made("amva-2", "amv-else"), made("amva-3", created=None)],
        DISAGREE,
        AFTER,
        notes=("undated",),
    ),
    Row(
        "at the same instant, one still stopping",
        [made(), task("amva-2", "stopping")],
        Waits("all of"),
        notes=("tied",),
    ),
    Row("the same one as before", [task()], Waits("amva-1"), memory={"selected": "amva-1"}),
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
    Row(
        "another one than before, and older than the DAG run",
        [task("amva-2")],
        Waits("amva-2"),
        {"run_started": NOON + timedelta(seconds=1)},
        memory={"selected": "amva-1"},
        notes=("selected:amva-2", "older:amva-2"),
    ),
    Row("undated in a DAG run", [task(created=None)], Waits(), {"run_started": NOON}),
    Row(
        "another one than before, of unknown status",
        [task("amva-2", "odd")],
        Waits("amva-2"),
        memory={"selected": "amva-1"},
        notes=("selected:amva-2", "status:odd"),
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


@pytest.mark.parametrize(
    ("tasks", "selector", "state", "selected"),
    [
        ([], {}, f"no task matches yet (source model {SOURCE})", ""),
        ([], PIN, "amva-1 is not there yet", ""),
        ([task(status="stopping")], {}, "amva-1 ('demo') is stopping", "amva-1"),
        ([task(status="odd")], {}, "amva-1 ('demo') has the unknown status 'odd'", "amva-1"),
        ([made(), task("amva-2")], {}, "waiting for all of amva-1 ('demo'), amva-2 ('demo')", ""),
    ],
)
def test_a_wait_tells_its_state_and_which_task_counts(
    tasks: list[ModelCompTask], selector: dict[str, Any], state: str, selected: str
) -> None:
    verdict = decide(tasks, Selector(**{"source_model_id": SOURCE, **selector}), Memory(NOW), NOW)

    assert isinstance(verdict, Wait)
    assert (verdict.state, verdict.selected) == (state, selected)


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        pytest.param(made(), None, id="open"),
        pytest.param(made(model=None), made(), id="open by the detail"),
        pytest.param(made(model=None), None, id="no model"),
        pytest.param(made(model=None), task(), id="running by the detail"),
        pytest.param(task(status="failed"), None, id="failed"),
        pytest.param(task(status="stopped"), None, id="stopped"),
    ],
)
def test_a_warning_comes_with_every_verdict(found: ModelCompTask, detail: ModelCompTask | None) -> None:
    verdict = decide(
        [found], Selector(SOURCE), Memory(NOW, selected="amva-0"), NOW, details={"amva-1": detail}
    )

    assert not isinstance(verdict, NeedDetail)
    assert [note.key for note in verdict.notes] == ["selected:amva-1"]


LISTED = (
    'amva-1 (\'demo\'), running, created 2026-01-31T12:00:00+00:00, config {"strategy": "Quantization"};'
    " amva-2 ('demo'), running, created 2026-01-31T12:00:05+00:00"
)


@pytest.mark.parametrize(
    ("tasks", "selector", "memory", "told"),
    [
        pytest.param(
            [task(source="amv-x")],
            {},
            {},
            [f"yet: the platform lists no task of source model {SOURCE}", "1 task of others"],
            id="absent",
        ),
        pytest.param(
            [],
            PIN,
            {"absent_since": NOW - 20},
            ["task amva-1 is", "within 1 minute 40 seconds."],
            id="pinned",
        ),
        pytest.param([], PIN, {}, ["within 2 minutes."], id="pinned, at first"),
        pytest.param(
            [task(), task("amva-2", created=5)],
            NEWEST,
            {},
            ["2 tasks", f"newest counts: {LISTED}"],
            id="several",
        ),
        pytest.param(
            [*(task(f"amva-{n}", name=None, created=None) for n in range(6)), task()],
            AFTER,
            {},
            ["Left out", ": amva-0, amva-1, amva-2, amva-3, amva-4."],
            id="undated",
        ),
        pytest.param(
            [task("amva-2")],
            {},
            {"selected": "amva-1"},
            ["now amva-2 ('demo'); it was amva-1."],
            id="selected",
        ),
        pytest.param(
            [task()],
            {"run_started": NOON + timedelta(hours=1)},
            {},
            ["amva-1 ('demo') was created 1 hour before this DAG run started.", "set created_after"],
            id="older",
        ),
        pytest.param(
            [task(status="paused")],
            {},
            {},
            ["amva-1 ('demo')", "'paused'", "creating, running, succeeded, failed, stopping, stopped"],
            id="status",
        ),
        pytest.param(
            [made(), task("amva-2")], {}, {}, ["must finish: amva-1 ('demo'), amva-2 ('demo')."], id="tied"
        ),
    ],
)
def test_what_a_warning_tells(
    tasks: list[ModelCompTask], selector: dict[str, Any], memory: dict[str, Any], told: list[str]
) -> None:
    verdict = decide(
        tasks, Selector(**{"source_model_id": SOURCE, **selector}), Memory(**{"started": NOW, **memory}), NOW
    )

    assert isinstance(verdict, Wait)
    (note,) = verdict.notes
    assert [text for text in told if text not in note.text] == []


def test_the_failed_tasks_json_tells_the_reason_of_the_detail() -> None:
    verdict = decide(
        [task(status="failed")],
        Selector(SOURCE),
        Memory(NOW),
        NOW,
        details={"amva-1": task(status="failed", reason="no data")},
    )

    assert isinstance(verdict, Fail)
    assert verdict.described
    assert verdict.described.json == {**task(status="failed").json, "failedReason": "no data"}


def test_a_failed_tasks_json_without_a_reason_is_as_it_came() -> None:
    verdict = decide([task(status="failed")], Selector(SOURCE), Memory(NOW), NOW, details={"amva-1": None})

    assert isinstance(verdict, Fail)
    assert verdict.described
    assert verdict.described.json == task(status="failed").json


@pytest.mark.parametrize(
    ("absence", "last"),
    [
        (Absence("404 NoSuchKey", "r-1"), "owns it. The platform said: 404 NoSuchKey"),
        (Absence(), "owns it."),
        (None, "owns it."),
    ],
)
def test_what_the_platform_said_of_a_missing_id_is_passed_on(absence: Absence | None, last: str) -> None:
    verdict = decide([], Selector(SOURCE, "amva-1"), Memory(NOW, absent_since=0), NOW, absence=absence)

    assert isinstance(verdict, Fail)
    assert str(verdict.error).endswith(last)
    assert verdict.error.request_id == (absence.request_id if absence else None)


def test_an_ambiguous_selection_tells_the_tasks_apart() -> None:
    verdict = decide([task(), task("amva-2", name="other", created=5)], Selector(SOURCE), Memory(NOW), NOW)

    assert isinstance(verdict, Fail)
    assert str(verdict.error) == (
        "2 model compression tasks are under way at once: amva-1 ('demo'), running, created"
        ' 2026-01-31T12:00:00+00:00, config {"strategy": "Quantization"};'
        " amva-2 ('other'), running, created"
        ' 2026-01-31T12:00:05+00:00, config {"strategy": "Quantization"}. The gate stays shut.'
        " Pass model_comp_task_id, or narrow the choice down by name or created_after."
    )


@pytest.mark.parametrize(("words", "told"), [(None, "shut"), ("shut, again", "shut, again")])
def test_an_error_of_another_class_keeps_what_is_known(words: str | None, told: str) -> None:
    error = QianfanTaskFailedError("shut", model_comp_task_id="amva-1", reason="no data")

    again = error.made(QianfanTaskNotFoundError, words)

    assert type(again) is QianfanTaskNotFoundError
    assert (str(again), vars(again)) == (told, vars(error))


def test_an_error_says_no_status_where_there_is_none() -> None:
    assert of_task(task(status="")) == {
        "model_comp_task_id": "amva-1",
        "source_model_id": SOURCE,
        "status": None,
    }


@pytest.mark.parametrize("number", [10, 11])
def test_an_ambiguous_selection_names_ten(number: int) -> None:
    verdict = decide([task(f"amva-{n}") for n in range(number)], Selector(SOURCE), Memory(NOW), NOW)

    assert isinstance(verdict, Fail)
    told = str(verdict.error)
    assert told.startswith(f"{number} model")
    assert re.findall(r"amva-\d+", told) == [f"amva-{n}" for n in range(10)]
    assert ("}; …. The gate stays shut. Pass" in told) is (number > 10)
