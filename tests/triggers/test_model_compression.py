"""A user ends a deferred task: Airflow 3.3 tells its trigger."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.gate.selection import Selector
from tests.triggers.test_waiting import SOURCE, trigger

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer


@pytest.fixture(autouse=True)
def database(airflow_db: None) -> None:
    """The trigger reads its connection through Airflow."""


def kill(
    monkeypatch: pytest.MonkeyPatch, state: str | None, *, map_index: int = -1, **arguments: Any
) -> None:
    """Do what Airflow 3.3 does when a trigger is not needed any more; ``state`` is that of its task."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    def get_task_states(**asked: Any) -> dict[str, dict[str, str | None]]:
        assert asked == {"dag_id": "d", "task_ids": ["t"], "run_ids": ["r"], "map_index": map_index}
        return {"r": {"t" if map_index < 0 else f"t_{map_index}": state}}

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", get_task_states)
    selector = Selector(SOURCE, "amva-1").to_json()
    made = trigger(**{"target": selector, "cancel_on_kill": True, **arguments})
    made.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=map_index)  # type: ignore[assignment]
    asyncio.run(made.on_kill())


@pytest.mark.parametrize(
    ("state", "cancels"),
    [
        ("failed", True),
        ("success", True),
        ("skipped", True),
        ("deferred", False),  # another triggerer has taken it over
        ("scheduled", False),  # and has resumed it
        ("running", False),
        ("up_for_retry", False),
        (None, False),  # it was cleared
    ],
)
@pytest.mark.parametrize("map_index", [-1, 3])
def test_a_kill_cancels_if_the_task_has_ended(
    emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    state: str | None,
    cancels: bool,
    map_index: int,
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

    kill(monkeypatch, state, map_index=map_index)

    assert emulator.world.count("CancelModelCompTask") == cancels


def test_a_kill_cancels_whatever_else_another_version_has_written(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

    kill(monkeypatch, "failed", target={**Selector(SOURCE, "amva-1").to_json(), "name": 5})

    assert emulator.world.count("CancelModelCompTask") == 1


@pytest.mark.parametrize(
    "arguments", [{"cancel_on_kill": False}, {"target": Selector(SOURCE).to_json()}, {"target": None}]
)
def test_a_kill_cancels_only_what_was_created_here(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

    kill(monkeypatch, "failed", **arguments)

    assert emulator.world.calls == []
