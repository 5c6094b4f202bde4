from __future__ import annotations

import math

import pytest

from airflow_provider_qianfan.emulator.behaviour import Account, Behaviour
from airflow_provider_qianfan.emulator.clock import LeapingClock
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.world import World
from tests.emulator.client import ask
from tests.emulator.test_app import CREATE
from tests.emulator.test_tasks import SOURCE, make, statuses


def test_created_tasks_follow_the_scenario() -> None:
    world = make({"created_tasks": {"timeline": [{"status": "failed", "failed_reason": "no"}]}})
    task_id = ask(world, "CreateModelCompTask", **CREATE)
    detail = ask(world, "DescribeModelCompTask", modelCompTaskId=task_id)
    assert detail is not None
    assert (detail["status"], detail["failedReason"]) == ("failed", "no")


def test_remove_and_duplicate() -> None:
    world = make()
    world.tasks.add(TaskSpec(SOURCE, id="amva-one"))
    with pytest.raises(ValueError, match="already a task 'amva-one'"):
        world.tasks.add(TaskSpec(SOURCE, id="amva-one"))
    world.tasks.remove("amva-one")
    assert world.tasks == {}


def test_reset_restores_the_scenario() -> None:
    world = make("stormy")
    world.advance(20)
    world.account.secret_access_key = "other"
    world.behaviour.marker = "exclusive"
    world.tasks.add(TaskSpec(SOURCE))
    world.due_faults("DescribeModelCompTasks")
    world.faults.append(Fault(latency=1))
    world.reset()
    assert statuses(world, 0, 3) == ["creating", "running"]
    assert world.account == Account()
    assert world.behaviour == Behaviour()
    assert [fault.seen for fault in world.faults] == [0, 0, 0, 0]


def test_worlds_of_one_scenario_do_not_share() -> None:
    one, other = make("demo"), make("demo")
    one.account.secret_access_key = "other"
    one.behaviour.order = "oldest_first"
    assert other.account == Account()
    assert other.behaviour == Behaviour()


def test_a_world_leaps_to_the_next_change_of_anything() -> None:
    made = {"after": 3600, "status": "succeeded", "model_id": "amv-made"}
    world = World(
        {
            "tasks": [{"source_model_id": SOURCE, "timeline": [{"status": "running"}, made]}],
            "services": [{"model_id": "amv-old", "created": 900}],
            "faults": [{"server_error": 503, "after": 300, "until": 600}],
            "behaviour": {"list_lag": 60},
        },
        LeapingClock(),
    )
    moments = set()

    while world.next_change() is not None:
        world.asked("/v2/model", "DescribeModelCompTasks", b"{}")
        moments.add(math.floor(world.elapsed))

    assert moments == {0, 60, 300, 600, 900, 960, 3600, 3660}
