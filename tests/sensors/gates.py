"""What the tests of the gate share: making a gate, and reading how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.dag_runs import Outcome


SOURCE = "amv-source000001"


MADE = "amv-made00000001"


LIST, DETAIL = "DescribeModelCompTasks", "DescribeModelCompTask"


EMPTY_LIST = {"modelCompTaskList": [], "pageInfo": {"isTruncated": False}}


MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}


def sensor(**arguments: Any) -> QianfanModelCompTaskSensor:
    usual = {"task_id": "gate", "source_model_id": SOURCE, "poke_interval": 0.1, "timeout": 20}
    return QianfanModelCompTaskSensor(**{**usual, **arguments})


def opened(outcome: Outcome, model_id: str = MADE) -> bool:
    """Tell whether the gate opened, for that model, and says so in all its XComs."""
    assert outcome.state == "success", outcome
    assert outcome.xcoms["return_value"] == outcome.xcoms["modelId"] == model_id
    assert outcome.xcoms["model_comp_task"]["modelId"] == model_id
    return True


def shut(outcome: Outcome, error: type[BaseException], state: str = "failed") -> str:
    """Check that the gate stayed shut for that reason, and return it."""
    assert outcome.state == state, outcome
    assert not {"return_value", "modelId"} & outcome.xcoms.keys()
    assert type(outcome.error) is error, outcome.error
    return str(outcome.error)


def finishing(*, after: float = 1.0, **step: Any) -> tuple[TaskStep, ...]:
    """A timeline that waits first."""
    return TaskStep(status="running"), TaskStep(after=after, **step)


def finish_after_the_first_look(emulator: EmulatorServer, **step: Any) -> None:
    task_id = emulator.world.tasks.add(TaskSpec(SOURCE))
    emulator.world.on_call = lambda call: emulator.world.tasks.change(task_id, TaskStep(**step))
