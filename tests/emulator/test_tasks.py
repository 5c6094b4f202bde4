from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_qianfan.emulator.clock import ManualClock
from airflow_provider_qianfan.emulator.errors import ApiError
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import Patch, TaskStep
from airflow_provider_qianfan.emulator.world import World
from tests.emulator.client import ask
from tests.emulator.test_app import CREATE

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


SOURCE = "amv-source000001"


def make(scenario: Any = None) -> World:
    return World(scenario, ManualClock(START))


def statuses(world: World, *moments: float) -> list[str]:
    """Return the status of the only task at rising world seconds."""
    seen = []
    for moment in moments:
        world.advance(moment - world.elapsed)
        (row,) = ask(world, "DescribeModelCompTasks")["modelCompTaskList"]
        seen.append(row["status"])
    return seen


TIMELINE = (
    TaskStep(status="creating"),
    TaskStep(status="running", after=2),
    TaskStep(status="succeeded", after=8, model_id="amv-produced0001"),
)


def test_timeline() -> None:
    world = make()
    world.tasks.add(TaskSpec(SOURCE, timeline=TIMELINE))
    expected = ["creating", "creating", "running", "running", "succeeded", "succeeded"]
    assert statuses(world, 0, 1.9, 2, 7.9, 8, 1e6) == expected


def test_row_of_the_documentation() -> None:
    world = make()
    task_id = world.tasks.add(TaskSpec(SOURCE, timeline=TIMELINE, name="demo", description="test"))
    world.advance(10)
    expected = {
        "id": task_id,
        "name": "demo",
        "description": "test",
        "status": "succeeded",
        "sourceModelId": SOURCE,
        "modelId": "amv-produced0001",
        "config": {"strategy": "Quantization", "weight": "INT8-PTQ"},
        "createTime": "2026-01-02T11:04:05+08:00",
        "finishTime": "2026-01-02T11:04:13+08:00",
    }
    assert ask(world, "DescribeModelCompTasks") == {
        "modelCompTaskList": [expected],
        "pageInfo": {"marker": "", "maxKeys": 10, "isTruncated": False},
    }
    assert ask(world, "DescribeModelCompTask", modelCompTaskId=task_id) == expected


def test_failed_reason_is_in_the_detail_only() -> None:
    world = make()
    task_id = world.tasks.add(TaskSpec(SOURCE, status="failed", failed_reason="out of memory"))
    detail = ask(world, "DescribeModelCompTask", modelCompTaskId=task_id)
    assert detail is not None
    assert detail["failedReason"] == "out of memory"
    assert "failedReason" not in ask(world, "DescribeModelCompTasks")["modelCompTaskList"][0]


def test_model_id_of_a_task_without_one() -> None:
    world = make()
    for status in ("failed", "running", "succeeded"):
        world.tasks.add(TaskSpec(SOURCE, status=status))
    assert all("modelId" not in row for row in ask(world, "DescribeModelCompTasks")["modelCompTaskList"])
    world.behaviour.failed_model_id = "empty"
    assert [row["modelId"] for row in ask(world, "DescribeModelCompTasks")["modelCompTaskList"]] == [
        "",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("time_format", "create", "finish"),
    [
        ("offset", "2026-01-02T11:04:05+08:00", "2026-01-02T11:04:05+08:00"),
        ("z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("absent", None, None),
        ("zero", "0000-00-00T00:00:00Z", "0000-00-00T00:00:00Z"),
        ("empty", "", ""),
    ],
)
def test_time_format(time_format: Any, create: str | None, finish: str | None) -> None:
    world = make()
    world.tasks.add(TaskSpec(SOURCE, status="failed"))
    world.behaviour.time_format = time_format
    (row,) = ask(world, "DescribeModelCompTasks")["modelCompTaskList"]
    assert (row.get("createTime"), row.get("finishTime")) == (create, finish)


@pytest.mark.parametrize(
    ("switch", "text"), [("absent", None), ("zero", "0000-00-00T00:00:00Z"), ("empty", "")]
)
def test_finish_time_of_an_unfinished_task(switch: Any, text: str | None) -> None:
    world = make()
    world.behaviour.unfinished_time = switch
    world.tasks.add(TaskSpec(SOURCE))
    assert ask(world, "DescribeModelCompTasks")["modelCompTaskList"][0].get("finishTime") == text


def test_set_and_omit() -> None:
    world = make()
    task_id = world.tasks.add(
        TaskSpec(
            SOURCE,
            timeline=(
                TaskStep(status="running", set={"status": "pondering"}),
                TaskStep(status="succeeded", after=5, model_id="amv-x", in_list=Patch(omit=("modelId",))),
            ),
            set={"createTime": "soon", "more": [1]},
            omit=("config",),
            in_detail=Patch(set={"only": "here"}),
        )
    )
    (row,) = ask(world, "DescribeModelCompTasks")["modelCompTaskList"]
    assert (row["status"], row["createTime"], row["more"]) == ("pondering", "soon", [1])
    assert "config" not in row
    assert "only" not in row
    world.advance(5)
    (row,), detail = (
        ask(world, "DescribeModelCompTasks")["modelCompTaskList"],
        ask(world, "DescribeModelCompTask", modelCompTaskId=task_id),
    )
    assert detail is not None
    assert "modelId" not in row
    assert (detail["modelId"], detail["only"]) == ("amv-x", "here")


def test_a_task_of_the_future_does_not_exist_yet() -> None:
    world = make()
    task_id = world.tasks.add(TaskSpec(SOURCE, created=5))
    assert ask(world, "DescribeModelCompTasks")["modelCompTaskList"] == []
    with pytest.raises(ApiError, match="404 NoSuchKey"):
        ask(world, "DescribeModelCompTask", modelCompTaskId=task_id)
    world.advance(5)
    assert len(ask(world, "DescribeModelCompTasks")["modelCompTaskList"]) == 1


def test_created_as_a_time() -> None:
    world = make()
    world.tasks.add(TaskSpec(SOURCE, created=datetime(2025, 6, 1, 20, tzinfo=timezone(timedelta(hours=8)))))
    assert (
        ask(world, "DescribeModelCompTasks")["modelCompTaskList"][0]["createTime"]
        == "2025-06-01T20:00:00+08:00"
    )


def test_list_lag() -> None:
    world = make()
    world.behaviour.list_lag = 30
    task_id = world.tasks.add(TaskSpec(SOURCE))
    assert ask(world, "DescribeModelCompTasks")["modelCompTaskList"] == []
    assert ask(world, "DescribeModelCompTask", modelCompTaskId=task_id) is not None
    world.advance(30)
    assert len(ask(world, "DescribeModelCompTasks")["modelCompTaskList"]) == 1


def test_create() -> None:
    world = make()
    config: dict[str, object] = {"strategy": "Sparsity"}
    ids = [ask(world, "CreateModelCompTask", **{**CREATE, "config": config}) for _ in range(2)]
    world.advance(8)
    rows = {row["id"]: row for row in ask(world, "DescribeModelCompTasks")["modelCompTaskList"]}
    assert ids == ["amva-created0001", "amva-created0002"]
    assert [rows[task_id]["modelId"] for task_id in ids] == ["amv-produced0001", "amv-produced0002"]
    assert rows[ids[0]]["config"] == config


@pytest.mark.parametrize("status", ["creating", "running"])
def test_cancel(status: Any) -> None:
    world = make()
    task_id = world.tasks.add(
        TaskSpec(SOURCE, timeline=(TaskStep(status=status), TaskStep(status="succeeded", after=5)))
    )
    world.advance(1)
    ask(world, "CancelModelCompTask", modelCompTaskId=task_id)
    ask(world, "CancelModelCompTask", modelCompTaskId=task_id)
    assert statuses(world, 1, 2.9, 3, 10) == ["stopping", "stopping", "stopped", "stopped"]
    detail = ask(world, "DescribeModelCompTask", modelCompTaskId=task_id)
    assert detail is not None
    assert detail["finishTime"] == "2026-01-02T11:04:08+08:00"


REFUSALS = [
    ("accepted", None),
    ("inappropriate_json", "400 InappropriateJSON"),
    ("precondition_failed", "412 PreconditionFailed"),
]


@pytest.mark.parametrize(("switch", "error"), REFUSALS)
def test_cancel_of_a_finished_task(switch: Any, error: str | None) -> None:
    world = make()
    world.behaviour.cancel_finished = switch
    task_id = world.tasks.add(TaskSpec(SOURCE, status="failed"))
    if error is None:
        ask(world, "CancelModelCompTask", modelCompTaskId=task_id)
    else:
        with pytest.raises(ApiError, match=error):
            ask(world, "CancelModelCompTask", modelCompTaskId=task_id)
    assert statuses(world, 100) == ["failed"]


@pytest.mark.parametrize(("switch", "error"), REFUSALS)
def test_delete_of_an_unfinished_task(switch: Any, error: str | None) -> None:
    world = make()
    world.behaviour.delete_unfinished = switch
    task_id = world.tasks.add(TaskSpec(SOURCE))
    if error is None:
        ask(world, "DeleteModelCompTask", modelCompTaskId=task_id)
        assert world.tasks == {}
        return
    with pytest.raises(ApiError, match=error):
        ask(world, "DeleteModelCompTask", modelCompTaskId=task_id)
    assert statuses(world, 0) == ["running"]


@pytest.mark.parametrize(
    ("switch", "error"),
    [
        ("no_such_key", "404 NoSuchKey"),
        ("inappropriate_json", "400 InappropriateJSON"),
        ("internal_error", "500 InternalError"),
    ],
)
@pytest.mark.parametrize("action", ["DescribeModelCompTask", "CancelModelCompTask", "DeleteModelCompTask"])
def test_not_found(switch: Any, error: str, action: str) -> None:
    world = make()
    world.behaviour.not_found = switch
    with pytest.raises(ApiError, match=error):
        ask(world, action, modelCompTaskId="amva-nobody")


def test_not_found_as_null() -> None:
    world = make()
    world.behaviour.not_found = "null_result"
    assert ask(world, "DescribeModelCompTask", modelCompTaskId="amva-nobody") is None
    ask(world, "CancelModelCompTask", modelCompTaskId="amva-nobody")
    ask(world, "DeleteModelCompTask", modelCompTaskId="amva-nobody")


def test_set_status_drops_the_future() -> None:
    world = make()
    task_id = world.tasks.add(TaskSpec(SOURCE, timeline=TIMELINE))
    world.advance(3)
    world.tasks.change(task_id, TaskStep("failed", failed_reason="now"))
    assert statuses(world, 3, 100) == ["failed", "failed"]
    detail = ask(world, "DescribeModelCompTask", modelCompTaskId=task_id)
    assert detail is not None
    assert detail["finishTime"] == "2026-01-02T11:04:08+08:00"
    with pytest.raises(KeyError):
        world.tasks.change("amva-nobody", TaskStep("failed"))


def test_divert() -> None:
    world = make()
    task_id = world.tasks.add(TaskSpec(SOURCE))
    world.advance(10)
    world.tasks.change(task_id, TaskStep(status="succeeded", after=5, model_id="amv-x"))
    assert statuses(world, 14.9, 15) == ["running", "succeeded"]


def test_step_rules() -> None:
    with pytest.raises(ValueError, match="needs status succeeded"):
        make().tasks.add(TaskSpec(SOURCE, status="failed", model_id="amv-x"))


def test_finish_time_is_when_the_last_end_began() -> None:
    world = make()
    task_id = world.tasks.add(
        TaskSpec(
            SOURCE,
            timeline=(TaskStep(status="succeeded"), TaskStep(status="succeeded", after=5, model_id="amv-x")),
        )
    )

    def finish_time() -> Any:
        return ask(world, "DescribeModelCompTasks")["modelCompTaskList"][0].get("finishTime")

    world.advance(10)
    assert finish_time() == "2026-01-02T11:04:05+08:00"
    world.tasks.change(task_id, TaskStep("running"))
    assert finish_time() is None
    world.advance(1)
    world.tasks.change(task_id, TaskStep("failed"))
    assert finish_time() == "2026-01-02T11:04:16+08:00"
