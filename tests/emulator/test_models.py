from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.specs import ModelSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, TaskStep
from airflow_provider_qianfan.emulator.world import World
from tests.emulator.client import ask
from tests.emulator.test_app import CREATE

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREATING = (ModelStep(status="Creating"), ModelStep(status="Ready", after=30))


def make(scenario: Any = None) -> World:
    return World(scenario, ManualClock(START))


def described(world: World, model_id: str) -> dict[str, Any]:
    row = ask(world, "DescribeModel", modelId=model_id)
    assert row is not None
    return row


def statuses(world: World, model_id: str, *moments: float) -> list[str]:
    """Return the status of a version at rising world seconds."""
    seen = []
    for moment in moments:
        world.advance(moment - world.elapsed)
        seen.append(described(world, model_id)["status"])
    return seen


def test_row_of_the_documentation() -> None:
    world = make()
    world.models.add(
        ModelSpec(
            id="amv-one", name="one", model_set_id="am-one", source_task_id="task-one", timeline=CREATING
        )
    )
    world.advance(31)
    assert described(world, "amv-one") == {
        "modelSetId": "am-one",
        "modelId": "amv-one",
        "status": "Ready",
        "modelName": "one",
        "model": "emulated-base-model",
        "sourceInfo": {"sourceType": "Train", "taskId": "task-one"},
        "createTime": "2026-01-02T11:04:05+08:00",
        "modifyTime": "2026-01-02T11:04:35+08:00",
        "modelApplicationType": "chat",
        "isSupportModelComp": True,
    }


def test_description_only_if_there_is_one() -> None:
    world = make()
    world.models.add(ModelSpec(id="amv-one", description="mine"))
    assert described(world, "amv-one")["description"] == "mine"
    assert "description" not in described(world, world.models.add(ModelSpec()))


def test_timeline() -> None:
    world = make()
    world.models.add(ModelSpec(id="amv-one", timeline=CREATING))
    assert statuses(world, "amv-one", 0, 29.9, 30, 1e6) == ["Creating", "Creating", "Ready", "Ready"]


def test_a_task_produces_a_version_when_it_succeeds() -> None:
    world = make()
    world.models.add(ModelSpec(id="amv-source", model="base"))
    world.tasks.add(
        TaskSpec(
            "amv-source",
            id="amva-one",
            name="compress",
            model_set_id="am-target",
            timeline=(TaskStep(status="running"), TaskStep(status="succeeded", after=8, model_id="amv-made")),
        )
    )
    world.advance(7.9)
    with pytest.raises(ApiError, match="404 NoSuchKey"):
        ask(world, "DescribeModel", modelId="amv-made")
    world.advance(100)
    row = described(world, "amv-made")
    assert row["status"] == "Ready"
    assert row["sourceInfo"] == {"sourceType": "Acceleration", "taskId": "amva-one"}
    assert (row["modelName"], row["model"], row["modelSetId"]) == ("compress", "base", "am-target")
    assert row["createTime"] == "2026-01-02T11:04:13+08:00"
    assert row["isSupportModelComp"] is False


@pytest.mark.parametrize("end", ["Ready", "Fail"])
def test_a_produced_version_takes_its_time(end: Any) -> None:
    world = make()
    world.tasks.add(
        TaskSpec(
            "amv-source",
            timeline=(
                TaskStep(status="running"),
                TaskStep(
                    status="succeeded",
                    after=8,
                    model_id="amv-made",
                    model_timeline=(ModelStep(status="Creating"), ModelStep(status=end, after=30)),
                ),
            ),
        )
    )
    assert statuses(world, "amv-made", 8, 37.9, 38) == ["Creating", "Creating", end]


def test_a_created_task_hands_its_set_on() -> None:
    world = make()
    ask(world, "CreateModelCompTask", **{**CREATE, "sourceModelId": "amv-source", "modelSetId": "am-target"})
    world.advance(8)
    assert described(world, "amv-produced0001")["modelSetId"] == "am-target"


def test_set_status_of_a_task_with_a_version_that_takes_its_time() -> None:
    world = make()
    task_id = world.tasks.add(TaskSpec("amv-source"))
    world.advance(10)
    world.tasks.change(task_id, TaskStep("succeeded", model_id="amv-made", model_timeline=CREATING))
    assert statuses(world, "amv-made", 10, 40) == ["Creating", "Ready"]


def test_no_version_of_a_future_that_was_dropped_or_has_not_come() -> None:
    world = make()
    late = TaskStep(status="succeeded", model_id="amv-late")
    world.tasks.add(TaskSpec("amv-source", created=50, timeline=(late,)))
    task_id = world.tasks.add(
        TaskSpec("amv-source", timeline=(TaskStep(status="running"), TaskStep(status="running", after=5)))
    )
    world.tasks.change(task_id, TaskStep(status="succeeded", after=8, model_id="amv-made"))
    world.tasks.change(task_id, TaskStep("failed"))
    world.advance(20)
    assert world.models.existing() == []
    world.advance(30)
    assert [model.id for model in world.models.existing()] == ["amv-late"]


def test_set_model_status_and_divert() -> None:
    world = make()
    world.tasks.add(TaskSpec("amv-source", status="succeeded", model_id="amv-made"))
    world.models.change("amv-made", ModelStep("Creating", set={"more": 1}, omit=("model",)))
    row = described(world, "amv-made")
    assert (row["status"], row["more"], "model" in row) == ("Creating", 1, False)
    world.models.change("amv-made", ModelStep(status="Fail", after=5))
    assert statuses(world, "amv-made", 4.9, 5) == ["Creating", "Fail"]
    with pytest.raises(KeyError):
        world.models.change("amv-nobody", ModelStep("Ready"))


@pytest.mark.parametrize(("takes", "left"), [(False, ["amv-made"]), (True, [])])
def test_deleting_the_task(takes: bool, left: list[str]) -> None:
    world = make()
    world.behaviour.delete_takes_model = takes
    task_id = world.tasks.add(TaskSpec("amv-source", status="succeeded", model_id="amv-made"))
    ask(world, "DeleteModelCompTask", modelCompTaskId=task_id)
    assert [model.id for model in world.models.existing()] == left


def test_keys_of_the_source_and_support_are_switches() -> None:
    world = make()
    world.behaviour.source_type_key, world.behaviour.source_task_key = "type", "compTaskId"
    world.behaviour.produced_supports_compression = True
    task_id = world.tasks.add(TaskSpec("amv-source", status="succeeded", model_id="amv-made"))
    row = described(world, "amv-made")
    assert row["sourceInfo"] == {"type": "Acceleration", "compTaskId": task_id}
    assert row["isSupportModelComp"] is True


@pytest.mark.parametrize(
    ("switch", "error"),
    [
        ("no_such_key", "404 NoSuchKey"),
        ("inappropriate_json", "400 InappropriateJSON"),
        ("internal_error", "500 InternalError"),
    ],
)
def test_not_found(switch: Any, error: str) -> None:
    world = make()
    world.behaviour.not_found = switch
    with pytest.raises(ApiError, match=error):
        ask(world, "DescribeModel", modelId="amv-nobody")


def test_not_found_as_null() -> None:
    world = make()
    world.behaviour.not_found = "null_result"
    assert ask(world, "DescribeModel", modelId="amv-nobody") is None


def test_a_version_that_was_removed_stays_away() -> None:
    world = make()
    task_id = world.tasks.add(TaskSpec("amv-source", status="succeeded", model_id="amv-made"))
    world.models.remove("amv-made")
    assert world.models.existing() == []
    world.tasks.change(task_id, TaskStep("succeeded", model_id="amv-other"))
    assert [model.id for model in world.models.existing()] == ["amv-other"]
    world.models.add(ModelSpec(id="amv-made"))
    assert described(world, "amv-made")["status"] == "Ready"


def test_a_row_is_nobody_elses() -> None:
    world = make({"tasks": [{"id": "amva-1", "source_model_id": "amv-source"}]})
    ask(world, "DescribeModelCompTask", modelCompTaskId="amva-1")["config"]["mine"] = 1
    world.reset()
    assert "mine" not in ask(world, "DescribeModelCompTask", modelCompTaskId="amva-1")["config"]


def test_a_version_in_the_scenario_is_not_produced() -> None:
    task = {"source_model_id": "amv-source", "status": "succeeded", "model_id": "amv-made"}
    world = make({"models": [{"id": "amv-made", "status": "Fail"}], "tasks": [task]})
    assert described(world, "amv-made")["status"] == "Fail"


def test_a_version_that_is_there_is_not_produced() -> None:
    world = make()
    world.models.add(ModelSpec(id="amv-made", status="Fail"))
    world.tasks.add(TaskSpec("amv-source", status="succeeded", model_id="amv-made"))
    assert described(world, "amv-made")["status"] == "Fail"
    with pytest.raises(ValueError, match="already a model version 'amv-made'"):
        world.models.add(ModelSpec(id="amv-made"))
