"""
Other people's DAGs: how each class treats the habits of DAG authors.

``--tables`` prints the table: habit, class, what happens.
"""

from __future__ import annotations

import copy
import functools
import os
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, TaskGroup, task

from airflow_provider_qianfan.api.json_values import plain_text
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import ModelSpec, ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, ServiceStep, TaskStep
from airflow_provider_qianfan.operators.model_compression import (
    QianfanCancelModelCompTaskOperator,
    QianfanCreateModelCompTaskOperator,
    QianfanListModelCompTasksOperator,
)
from airflow_provider_qianfan.operators.service import (
    QianfanCreateServiceOperator,
    QianfanModifyServiceOperator,
)
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.sensors.service import QianfanServiceSensor
from tests import public, test_escaping
from tests.dag_runs import AIRFLOW_3, DagRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.dag_runs import Outcome

# Text, each of which native rendering takes for a number.
SOURCE, TASK, NAME, MADE, SERVICE, SET = (
    "20260101",
    "20260102",
    "20260103",
    "20260104",
    "20260105",
    "20260106",
)
CONFIG = {"strategy": "Quantization", "weight": "INT8-PTQ"}
UNITS = [{"instanceId": "20260107", "deploymentReplicasCount": 1}]
GATED = "20260108"
DEPLOYMENT = {"replicasCount": 1, "deploymentComputeUnitList": UNITS}


@dataclass(frozen=True)
class Kind:
    """
    One of our classes.

    :param arguments: what it needs.
    :param key: one of them, which is text.
    :param optional: arguments that may be left out.
    :param structure: an argument that is a list or a dict, and a value of it.
    """

    operator: Any
    arguments: dict[str, Any]
    key: str
    optional: tuple[str, ...] = ()
    structure: tuple[str, Any] | None = None

    @property
    def is_sensor(self) -> bool:
        return self.operator.__name__.endswith("Sensor")

    @property
    def can_wait(self) -> bool:
        """Tell whether it waits, or does so if it is asked to, as a sensor does."""
        return hasattr(self.operator, "execute_complete")

    def waiting(self) -> dict[str, Any]:
        """Return what makes it wait."""
        return {"wait_for_completion": True} if self.can_wait and not self.is_sensor else {}


WAITING = ("settle", "timeout", "max_unhealthy", "auth_grace", "deferrable", "asset", "qianfan_conn_id")
KINDS = {
    "List": Kind(
        QianfanListModelCompTasksOperator,
        {"source_model_id": SOURCE},
        "source_model_id",
        ("statuses", "name", "created_after", "limit", "qianfan_conn_id"),
        ("statuses", ["succeeded", "running"]),
    ),
    "Create": Kind(
        QianfanCreateModelCompTaskOperator,
        {"name": NAME, "source_model_id": SOURCE, "model_set_id": SET, "config": CONFIG},
        "source_model_id",
        ("description", "nonce", "if_exists", "poke_interval", *WAITING),
        ("config", CONFIG),
    ),
    "Cancel": Kind(
        QianfanCancelModelCompTaskOperator,
        {"model_comp_task_id": TASK},
        "model_comp_task_id",
        ("poke_interval", "timeout", "qianfan_conn_id"),
    ),
    "ModifyService": Kind(
        QianfanModifyServiceOperator,
        {"service_id": SERVICE, "model_id": MADE},
        "model_id",
        ("model_set_id", "poke_interval", *WAITING),
    ),
    "CreateService": Kind(
        QianfanCreateServiceOperator,
        {"name": NAME, "url_suffix": NAME, "model_id": MADE, "deployment_config": DEPLOYMENT},
        "model_id",
        ("model_set_id", "description", "protocol_version", "nonce", "if_exists", *WAITING),
        ("deployment_config", DEPLOYMENT),
    ),
    "Gate": Kind(
        QianfanModelCompTaskSensor,
        {"source_model_id": GATED},
        "source_model_id",
        ("model_comp_task_id", "name", "created_after", "if_several", *WAITING),
    ),
    "ModelSensor": Kind(QianfanModelSensor, {"model_id": MADE}, "model_id", WAITING),
    "ServiceSensor": Kind(
        QianfanServiceSensor, {"service_id": SERVICE, "model_id": MADE}, "service_id", WAITING
    ),
}


def test_all_operators_and_sensors_are_here() -> None:
    assert {kind.operator for kind in KINDS.values()} == public.tasks(), "give the new one a line in KINDS"
    escaping = {type(make()) for make in test_escaping.MAKERS.values()}
    assert escaping == public.tasks(), "give the new one a line in MAKERS of test_escaping.py"


SENSORS = [name for name, kind in KINDS.items() if kind.is_sensor]
CAN_WAIT = [name for name, kind in KINDS.items() if kind.can_wait]


# -- at parse ----------------------------------------------------------------------------------------------


class Word(str, Enum):  # noqa: UP042  as it was written before Python 3.11
    """Text as an enum."""

    RESCHEDULE = "reschedule"
    SOURCE = SOURCE
    GATED = GATED
    TASK = TASK
    MADE = MADE
    SERVICE = SERVICE
    SUCCEEDED = "succeeded"
    STRATEGY = "Quantization"
    UNITS = "deploymentComputeUnitList"


def made(kind: Kind, *, group: dict[str, Any] | None = None, inherited: Any = None, **written: Any) -> Any:
    """Make a task in a DAG, and maybe in a task group, with ``default_args``."""
    with DAG("d", schedule=None, default_args=inherited or {}):
        if group is None:
            return kind.operator(task_id="t", **{**kind.arguments, **written})
        with TaskGroup("g", default_args=group):
            return kind.operator(task_id="t", **{**kind.arguments, **written})


def unmapped(kind: Kind, *, inherited: dict[str, Any], **written: Any) -> Any:
    """Make a task as Airflow does when it runs one of ``partial().expand()``."""
    others = {name: value for name, value in kind.arguments.items() if name != kind.key}
    with DAG("d", schedule=None, default_args=inherited):
        partial = kind.operator.partial(task_id="t", **others, **written)
        mapped = partial.expand(**{kind.key: [kind.arguments[kind.key]]})
    return mapped.unmap({kind.key: kind.arguments[kind.key]})


def how(make: Callable[[], Any]) -> str:
    """Say how a task waits, if it does."""
    try:
        made = make()
    except Exception as error:
        return f"refused: {error}"
    if getattr(made, "deferrable", False):
        longest = getattr(made, "max_wait", None)
        return "defers" + (f", looks within {longest}" if longest else "")
    return plain_text(getattr(made, "mode", "does not defer"))


DEFER, RESCHEDULE = {"deferrable": True}, {"mode": "reschedule"}
GROWING = {"exponential_backoff": True}
EVERYTHING = {
    **DEFER,
    **RESCHEDULE,
    **GROWING,
    "poke_interval": timedelta(seconds=1),
    "timeout": timedelta(seconds=30),
    "retry_delay": timedelta(seconds=1),
    "wait_for_model_ready": True,
    "cancel_on_kill": True,
}


@dataclass(frozen=True)
class AtParse:
    """
    A habit that shows when a DAG is parsed, and what the classes it concerns make of it.

    :param others: what all other classes do; None if it cannot be written on them.
    """

    make: Callable[[Kind], Any]
    kinds: list[str]
    happens: str
    others: str | None = "does not defer"
    default_deferrable: bool = False


AT_PARSE = {
    "default_args: deferrable": AtParse(lambda kind: made(kind, inherited=DEFER), SENSORS, "defers"),
    "default_args: deferrable, and there is something to wait for": AtParse(
        lambda kind: made(kind, inherited=DEFER, **kind.waiting()), CAN_WAIT, "defers"
    ),
    "default_args of a task group: deferrable": AtParse(
        lambda kind: made(kind, group=DEFER), SENSORS, "defers"
    ),
    "default_args of the task: deferrable": AtParse(
        lambda kind: made(kind, default_args=DEFER), SENSORS, "defers"
    ),
    "default_args: deferrable, mapped": AtParse(
        lambda kind: unmapped(kind, inherited=DEFER), SENSORS, "defers"
    ),
    "default_args: deferrable and reschedule": AtParse(
        lambda kind: made(kind, inherited={**DEFER, **RESCHEDULE}), SENSORS, "defers"
    ),
    "default_args: everything": AtParse(
        lambda kind: made(kind, inherited=EVERYTHING), SENSORS, "defers, looks within 1:00:00"
    ),
    "default_args: everything, mapped": AtParse(
        lambda kind: unmapped(kind, inherited=EVERYTHING), SENSORS, "defers, looks within 1:00:00"
    ),
    "default_args: deferrable; written: reschedule": AtParse(
        lambda kind: made(kind, inherited=DEFER, **RESCHEDULE), SENSORS, "reschedule", None
    ),
    "default_args: reschedule; written: deferrable": AtParse(
        lambda kind: made(kind, inherited=RESCHEDULE, **DEFER, **kind.waiting()), CAN_WAIT, "defers", None
    ),
    "default_args: reschedule; written: deferrable, mapped": AtParse(
        lambda kind: unmapped(kind, inherited=RESCHEDULE, **DEFER, **kind.waiting()), CAN_WAIT, "defers", None
    ),
    "default_args: backoff; written: deferrable": AtParse(
        lambda kind: made(kind, inherited=GROWING, **DEFER), SENSORS, "defers, looks within 1:00:00", None
    ),
    "default_args: deferrable; written: backoff": AtParse(
        lambda kind: made(kind, inherited=DEFER, **GROWING), SENSORS, "defers, looks within 1:00:00", None
    ),
    "default_args: deferrable; written: False": AtParse(
        lambda kind: made(kind, inherited=DEFER, deferrable=False), SENSORS, "poke", None
    ),
    "written: deferrable, and nothing to wait for": AtParse(
        lambda kind: made(kind, inherited=DEFER, **DEFER),
        [name for name in CAN_WAIT if name not in SENSORS],
        "refused: deferrable=True needs wait_for_completion=True",
        None,
    ),
    "written: deferrable and reschedule": AtParse(
        lambda kind: made(kind, inherited=EVERYTHING, **DEFER, **RESCHEDULE),
        SENSORS,
        "refused: deferrable=True and mode='reschedule' contradict",
        None,
    ),
    "written: deferrable and backoff": AtParse(
        lambda kind: made(kind, **DEFER, **GROWING), SENSORS, "refused: exponential_backoff=True", None
    ),
    "default_deferrable": AtParse(made, SENSORS, "defers", default_deferrable=True),
    "default_deferrable, and there is something to wait for": AtParse(
        lambda kind: made(kind, **kind.waiting()), CAN_WAIT, "defers", default_deferrable=True
    ),
    "default_deferrable; default_args: reschedule": AtParse(
        lambda kind: made(kind, inherited=RESCHEDULE), SENSORS, "reschedule", default_deferrable=True
    ),
    "default_deferrable; default_args: backoff": AtParse(
        lambda kind: made(kind, inherited=GROWING),
        SENSORS,
        "defers, looks within 1:00:00",
        default_deferrable=True,
    ),
    "default_deferrable; written: backoff": AtParse(
        lambda kind: made(kind, **GROWING),
        SENSORS,
        "defers, looks within 1:00:00",
        None,
        default_deferrable=True,
    ),
    "an enum: mode": AtParse(lambda kind: made(kind, mode=Word.RESCHEDULE), SENSORS, "reschedule", None),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("habit", AT_PARSE)
def test_at_parse(habit: str, name: str, record_property: Callable[[str, object], None]) -> None:
    row, kind = AT_PARSE[habit], KINDS[name]
    expected = row.happens if name in row.kinds else row.others
    with patch.dict(os.environ, {"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": str(row.default_deferrable)}):
        told = how(lambda: row.make(kind))
    record_property("habits", (habit, name, told.partition(". ")[0]))

    if expected is None:
        if kind.is_sensor or name not in CAN_WAIT:
            return  # its parameters are not there, or mean something else
        assert told.startswith(("refused: ", "does not defer")), told
    else:
        assert told.startswith(expected), told
        assert expected.startswith("refused") or told == expected


@pytest.mark.parametrize("name", ["Create"])
def test_what_comes_with_a_wait_is_not_inherited_without_one(name: str) -> None:
    made_so = made(KINDS[name], inherited={"cancel_on_kill": True, "wait_for_model_ready": True})

    assert (made_so.cancel_on_kill, made_so.wait_for_model_ready) == (False, False)


def test_a_value_that_a_subclass_passes_is_not_inherited() -> None:
    class Rescheduled(QianfanModelSensor):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(mode="reschedule", **arguments)

    kind = Kind(Rescheduled, {"model_id": MADE}, "model_id")

    assert how(lambda: made(kind, inherited={**DEFER, "mode": "poke"})) == "reschedule"
    assert how(lambda: made(kind, inherited={"mode": "poke"}, **DEFER)).startswith("refused")


SPANS = ("settle", "max_unhealthy", "auth_grace", "poke_interval", "timeout")
LONG = {"a timedelta": timedelta(minutes=3), "a duration": pendulum.duration(minutes=3)}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("span", LONG)
def test_spans_of_time(span: str, name: str, record_property: Callable[[str, object], None]) -> None:
    kind = KINDS[name]
    named = [each for each in SPANS if kind.can_wait or (each in kind.optional and name != "List")]
    waiting: dict[str, Any] = {**dict.fromkeys(named, LONG[span]), **kind.waiting()}
    if kind.is_sensor:
        waiting |= {"exponential_backoff": True, "max_wait": LONG[span], "deferrable": True}
    task = made(kind, execution_timeout=LONG[span], retry_delay=LONG[span], **waiting)

    seconds = {getattr(task, each) for each in named}

    record_property("habits", (f"{span}: {', '.join(named)}", name, str(seconds or "no such argument")))
    assert seconds == ({180.0} if named else set())


@pytest.mark.parametrize("name", SENSORS)
def test_the_longest_of_all_spans(name: str) -> None:
    task = made(KINDS[name], timeout=timedelta.max, deferrable=True)

    assert pendulum.now("UTC") + timedelta(seconds=task.timeout) < pendulum.datetime(9000, 1, 1)


# -- when a task runs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InARun:
    """
    A habit that shows when a task runs.

    :param build: makes the task of a class.
    :param happens: what happens to it: its state, and what its error says.
    :param but: what else happens to some classes; None if the habit is none of theirs.
    :param dag: arguments of the DAG.
    """

    build: Callable[[str, Kind], Any]
    happens: tuple[str, ...] = ("success",)
    but: dict[str, tuple[str, ...] | None] | None = None
    dag: dict[str, Any] | None = None

    def expected(self, name: str) -> tuple[str, ...] | None:
        return (self.but or {}).get(name, self.happens)


def plain(name: str, kind: Kind, /, **arguments: Any) -> Any:
    return kind.operator(task_id=name, **{**kind.arguments, **arguments})


def mapped(name: str, kind: Kind, over: str, values: Any, /, **arguments: Any) -> Any:
    others = {key: value for key, value in {**kind.arguments, **arguments}.items() if key != over}
    return kind.operator.partial(task_id=name, **others).expand(**{over: values})


@task
def upstream(value: Any) -> Any:
    return value


UPSTREAM: dict[str, Any] = {}


def returning(value: Any) -> Any:
    """Return what an upstream task returns: one in a DAG for all that want the same."""
    if repr(value) not in UPSTREAM:
        UPSTREAM[repr(value)] = upstream(value)
    return UPSTREAM[repr(value)]


def each_returning(name: str, values: list[Any]) -> Any:
    """Return what a mapped task returns, which Airflow reads item by item."""
    return upstream.override(task_id=f"{name}_upstream").expand(value=values)


def structured(name: str, kind: Kind, value: Any) -> Any:
    return plain(name, kind, **{kind.structure[0]: value}) if kind.structure else None


def lazy(name: str, kind: Kind) -> Any:
    if name == "List":
        return structured(name, kind, each_returning(name, ["succeeded", "running"]))
    if name == "Create":
        return structured(name, kind, {**CONFIG, "layers": each_returning(name, [1, 2])})
    units = each_returning(name, UNITS)
    return name == "CreateService" and structured(
        name, kind, {**DEPLOYMENT, "deploymentComputeUnitList": units}
    )


def from_params(kind: Kind, template: str) -> str:
    return template.replace("structure", kind.structure[0] if kind.structure else "")


UNSTRUCTURED = {name: None for name, kind in KINDS.items() if kind.structure is None}
PARAMS = {
    **{kind.structure[0]: kind.structure[1] for kind in KINDS.values() if kind.structure},
    **{f"{name}_{key}": value for name, kind in KINDS.items() for key, value in kind.arguments.items()},
    "conn": "qianfan_other",
    "nothing": None,
}
NATIVE: dict[str, Any] = {"render_template_as_native_obj": True, "params": PARAMS}
HINT = ("failed", "render_template_as_native_obj=True", "tojson")
LOST = ("failed", "came out as None")

IN_A_RUN = {
    "partial().expand()": InARun(
        lambda name, kind: mapped(name, kind, kind.key, [kind.arguments[kind.key]]),
        dag={"default_args": EVERYTHING},
    ),
    "a literal None": InARun(lambda name, kind: plain(name, kind, **dict.fromkeys(kind.optional))),
    "a literal None in partial()": InARun(
        lambda name, kind: mapped(
            name, kind, kind.key, returning([kind.arguments[kind.key]]), **dict.fromkeys(kind.optional)
        )
    ),
    "a literal None in expand()": InARun(lambda name, kind: mapped(name, kind, "qianfan_conn_id", [None])),
    "an upstream's None": InARun(
        lambda name, kind: plain(name, kind, **{kind.key: returning(None)}),
        LOST,
        {"ModifyService": ("failed", "model_id=None"), "CreateService": ("failed", "model_id=None")},
    ),
    "an upstream's None, mapped": InARun(
        lambda name, kind: mapped(name, kind, "qianfan_conn_id", returning([None])), LOST
    ),
    "an upstream's None in a list or dict": InARun(
        lambda name, kind: (
            structured(
                name,
                kind,
                [returning(None)] if name == "List" else {**kind.structure[1], "x": returning(None)},
            )
            if kind.structure
            else None
        ),
        LOST,
        UNSTRUCTURED,
    ),
    "lazy sequences": InARun(lazy, but=UNSTRUCTURED),
    "native rendering of a template": InARun(
        lambda name, kind: plain(
            name, kind, **{argument: f"{{{{ params.{name}_{argument} }}}}" for argument in kind.arguments}
        ),
        dag=NATIVE,
    ),
    "native rendering of literals, and a templated connection, mapped": InARun(
        lambda name, kind: mapped(
            name, kind, kind.key, [kind.arguments[kind.key]], qianfan_conn_id="{{ params.conn }}"
        ),
        dag=NATIVE,
    ),
    "native rendering of None": InARun(
        lambda name, kind: plain(name, kind, qianfan_conn_id="{{ params.nothing }}"), LOST, dag=NATIVE
    ),
    "a number from upstream": InARun(
        lambda name, kind: plain(name, kind, **{kind.key: returning(7)}),
        ("failed", "is not text, but of type int", "render_template_as_native_obj=True"),
    ),
    "JSON text": InARun(
        lambda name, kind: structured(name, kind, from_params(kind, "{{ params.structure | tojson }}")),
        but=UNSTRUCTURED,
        dag={"params": PARAMS},
    ),
    "a templated connection": InARun(
        lambda name, kind: plain(name, kind, qianfan_conn_id="{{ params.conn }}"), dag={"params": PARAMS}
    ),
    "an enum for an id, a callable for a template": InARun(
        lambda name, kind: plain(
            name,
            kind,
            qianfan_conn_id=lambda context, jinja_env: "qianfan_other",
            **{kind.key: Word(kind.arguments[kind.key])},
        )
    ),
    "an enum: in a list or dict": InARun(
        lambda name, kind: structured(
            name,
            kind,
            {
                "List": [Word.SUCCEEDED],
                "Create": {**CONFIG, "strategy": Word.STRATEGY},
                "CreateService": {**DEPLOYMENT, Word.UNITS: UNITS},
            }.get(name),
        ),
        but=UNSTRUCTURED,
    ),
    "text that is not JSON": InARun(
        lambda name, kind: structured(name, kind, from_params(kind, "{{ params.structure }}")),
        HINT,
        UNSTRUCTURED,
        dag={"params": PARAMS},
    ),
}


def a_world(server: EmulatorServer) -> None:
    """Everything that the tasks ask for, and as they want it."""
    server.world.models.add(ModelSpec(id=SOURCE, model_set_id=SET))
    server.world.models.add(ModelSpec(id=MADE, model_set_id=SET))
    server.world.models.add(ModelSpec(id=GATED, model_set_id=SET))
    server.world.services.add(ServiceSpec(MADE, id=SERVICE))
    server.world.tasks.add(TaskSpec(GATED, id=TASK, status="succeeded", model_id=MADE, created=-60))


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer() as server:
        uri = server.connection_uri
        connections = {"AIRFLOW_CONN_QIANFAN_DEFAULT": uri, "AIRFLOW_CONN_QIANFAN_OTHER": uri}
        with patch.dict(os.environ, connections):
            yield server


@pytest.fixture(scope="module")
def outcomes(warm_airflow: None, server: EmulatorServer) -> Callable[[str], dict[str, Any]]:
    """Run all classes in one DAG for each habit: a run of its own for each would take minutes."""

    @functools.cache
    def run(habit: str) -> dict[str, Any]:
        row = IN_A_RUN[habit]
        server.world.reset()
        a_world(server)

        def build() -> None:
            UPSTREAM.clear()
            for name, kind in KINDS.items():
                if row.expected(name) is not None:
                    row.build(name, kind)

        return DagRunner(lambda: "").run(build, **(row.dag or {}))

    return run


def what_happened(outcome: Any) -> str:
    first: Outcome = outcome[0] if isinstance(outcome, dict) else outcome
    return first.state if first.error is None else f"{first.state}: {first.error}"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("habit", IN_A_RUN)
def test_in_a_run(
    habit: str,
    name: str,
    outcomes: Callable[[str], dict[str, Any]],
    record_property: Callable[[str, object], None],
) -> None:
    expected = IN_A_RUN[habit].expected(name)
    if expected is None:
        record_property("habits", (habit, name, "no such argument"))
        return
    told = what_happened(outcomes(habit)[name])
    record_property("habits", (habit, name, told.partition(". ")[0]))

    assert told.startswith(expected[0]), told
    assert all(part in told for part in expected), told


# -- a class that is made from ours ------------------------------------------------------------------------

LAYERS: list[str] = []
CONNECTIONS: list[str] = []


def decorated(method: Any) -> Any:
    @functools.wraps(method)
    def wrapper(self: Any, context: Any, *arguments: Any, **more: Any) -> Any:
        LAYERS.append(f"decorator of {method.__name__}")
        assert len(LAYERS) < 100, "the wait does not end"
        return method(self, copy.copy(context), *arguments, **more)

    return wrapper


def theirs(operator: Any) -> Any:
    """Make a class of one of ours that overrides and decorates what can be, and copies the context."""

    class Theirs(operator):  # type: ignore[misc]
        def __init__(self, *, theirs: str, name: Any = None, **arguments: Any) -> None:
            if "name" in operator._TEXTS:
                arguments["name"] = name
            super().__init__(**arguments)
            self.theirs = theirs

        @decorated
        def execute(self, context: Any) -> Any:
            LAYERS.append("execute")
            return super().execute(copy.copy(context))

        @decorated
        def poke(self, context: Any) -> Any:
            LAYERS.append("poke")
            return super().poke(copy.copy(context))

        @decorated
        def execute_complete(self, context: Any, event: Any = None) -> Any:
            LAYERS.append("execute_complete")
            return super().execute_complete(context, event)

        def defer(self, *, trigger: Any, **arguments: Any) -> Any:
            CONNECTIONS.append(trigger.qianfan_conn_id)
            super().defer(trigger=trigger, **arguments)

    return Theirs


def layers_of(name: str) -> list[str]:
    return [f"decorator of {name}", name]


def after_the_first_look(world: Any) -> None:
    """Have everything that is waited for come about after the first look at it."""
    world.tasks.change(TASK, TaskStep(status="running"))
    world.models.change(MADE, ModelStep(status="Creating"))
    world.services.change(SERVICE, ServiceStep(run_status="Deploying"))

    def divert(call: Any) -> None:
        world.tasks.change(TASK, TaskStep(status="succeeded", model_id=MADE))
        world.models.change(MADE, ModelStep(status="Ready"))
        world.services.change(SERVICE, ServiceStep(run_status="Serving"))

    world.on_call = divert


MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False, "poke_interval": 0.4},
    "reschedule": {"mode": "reschedule", "poke_interval": 0.4},
    "deferrable": {"deferrable": True, "poke_interval": 1},
}


@pytest.fixture
def other_connection(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the connection that the run names leads to the platform."""
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_OTHER", emulator.connection_uri)
    monkeypatch.delenv("AIRFLOW_CONN_QIANFAN_DEFAULT")
    LAYERS.clear()
    CONNECTIONS.clear()
    a_world(emulator)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("Gate", "poke"), ("Gate", "reschedule"), *((name, "deferrable") for name in SENSORS)],
)
def test_all_layers_of_a_sensor(
    name: str,
    mode: str,
    other_connection: None,
    emulator: EmulatorServer,
    dag_runner: DagRunner,
    record_property: Callable[[str, object], None],
) -> None:
    kind = KINDS[name]
    after_the_first_look(emulator.world)

    def build() -> None:
        theirs(kind.operator)(
            task_id="t",
            theirs="x",
            qianfan_conn_id="{{ params.conn }}",
            timeout=20,
            **MODES[mode],
            **kind.arguments,
        )

    outcome = dag_runner.run(build, params=PARAMS)["t"]

    habit = f"a subclass, decorated, with a templated connection: {mode}"
    record_property("habits", (habit, name, outcome.state))
    assert outcome.state == "success", outcome
    first, again = layers_of("execute"), layers_of("execute")
    if mode == "deferrable":
        again = layers_of("execute_complete") + again
    elif mode == "poke":
        again = []
    assert first + layers_of("poke") + again + layers_of("poke") == LAYERS
    assert (["qianfan_other"] if mode == "deferrable" else []) == CONNECTIONS
    assert not AIRFLOW_3 or "cannot be called outside" not in dag_runner.log


def test_a_copy_of_the_context_begins_no_new_wait(
    other_connection: None, emulator: EmulatorServer, dag_runner: DagRunner
) -> None:
    emulator.world.tasks.change(TASK, TaskStep(status="running"))

    def build() -> None:
        arguments = {**KINDS["Gate"].arguments, "qianfan_conn_id": "qianfan_other"}
        theirs(QianfanModelCompTaskSensor)(
            task_id="t", theirs="x", timeout=2, poke_interval=1, deferrable=True, **arguments
        )

    outcome = dag_runner.run(build)["t"]

    assert outcome.state == "failed"
    assert type(outcome.error).__name__ == "AirflowSensorTimeout", outcome.error


def test_a_poke_that_forgets_its_return_is_told(
    other_connection: None, emulator: EmulatorServer, dag_runner: DagRunner
) -> None:
    class Forgetful(QianfanModelCompTaskSensor):
        def poke(self, context: Any) -> Any:
            super().poke(context)

    def build() -> None:
        arguments = {**KINDS["Gate"].arguments, "qianfan_conn_id": "qianfan_other"}
        Forgetful(task_id="t", timeout=20, poke_interval=0.4, **arguments)

    outcome = dag_runner.run(build)["t"]

    assert outcome.state == "failed"
    assert "did not return what super().poke() had returned. Return that value." in str(outcome.error)


class Deaf:
    """A mixin whose ``__new__`` does not hand its arguments on."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)


class HalfDeaf:
    """A mixin whose ``__new__`` hands on one of its arguments."""

    def __new__(cls, *_: Any, task_id: Any = None, **__: Any) -> Any:
        return super().__new__(cls, task_id=task_id)  # type: ignore[call-arg]


@pytest.mark.parametrize("mixin", [Deaf, HalfDeaf])
def test_a_none_of_an_upstream_task_is_found_also_if_it_is_not_known_what_is_written(
    other_connection: None, emulator: EmulatorServer, dag_runner: DagRunner, mixin: Any
) -> None:
    """Taken for one that was left out, it would let another task open the gate."""

    class Mixed(mixin, QianfanModelCompTaskSensor):  # type: ignore[misc]
        pass

    def build() -> None:
        @task
        def names() -> list[Any]:
            return [None]

        arguments = {**KINDS["Gate"].arguments, "qianfan_conn_id": "qianfan_other"}
        Mixed.partial(task_id="t", timeout=20, poke_interval=0.4, **arguments).expand(name=names())

    outcome = dag_runner.run(build)["t"][0]

    assert outcome.state == "failed"
    assert "name" in str(outcome.error)


@pytest.mark.parametrize("argument", ["timeout", "max_wait", "soft_fail"])
def test_a_none_for_an_argument_of_airflows_sensor_is_found(
    emulator: EmulatorServer, dag_runner: DagRunner, argument: str
) -> None:
    """Taken for one that was left out, it would wait for a week."""

    def build() -> None:
        @task
        def values() -> list[Any]:
            return [{argument: None}]

        arguments = {**KINDS["Gate"].arguments, "poke_interval": 0.4}
        QianfanModelCompTaskSensor.partial(task_id="t", **arguments).expand_kwargs(values())

    outcome = dag_runner.run(build)["t"][0]

    assert outcome.state == "failed"
    assert argument in str(outcome.error)
