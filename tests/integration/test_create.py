"""One compression for each creation, at whatever moment its worker is killed, on real services."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan._compat import KILL
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import ModelSpec
from airflow_provider_qianfan.emulator.steps import TaskStep
from tests.dag_runs import AIRFLOW, AIRFLOW_3
from tests.emulator.client import ask
from tests.integration.cells import MADE, SOURCE
from tests.integration.moments import ANSWERS, ENDS, LIST_LAG, MOMENTS
from tests.integration.services import wait_until
from tests.integration.stage import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.world import World
    from tests.integration.services import Services

pytestmark = pytest.mark.integration

NEVER_ENDING = {"created_tasks": {"timeline": [{"status": "running"}]}}
CREATE, DETAIL, CANCEL = "CreateModelCompTask", "DescribeModelCompTask", "CancelModelCompTask"


@contextlib.contextmanager
def platforms(services: Services, *task_ids: str) -> Iterator[dict[str, World]]:
    """A platform for each task; a new task is missing in its list for a while."""
    with contextlib.ExitStack() as stack:
        worlds = {}
        for task_id in task_ids:
            server = stack.enter_context(EmulatorServer(NEVER_ENDING))
            worlds[task_id] = server.world
            server.world.models.add(ModelSpec(id=SOURCE))
            server.world.behaviour.list_lag = LIST_LAG
            account = server.world.account
            services.call("POST", "/connections", connection(task_id, server.url, account))
        yield worlds


def clear(services: Services, run: str, **arguments: Any) -> None:
    """Clear tasks of a run."""
    document = {"dry_run": False, "dag_run_id": services.get(run)["dag_run_id"], **arguments}
    services.call("POST", f"{run.partition('/dagRuns')[0]}/clearTaskInstances", document)


# -- the worker dies ---------------------------------------------------------------------------------------


class Deaths:
    """What came of the tasks whose workers were killed."""

    def __init__(self, services: Services, worlds: dict[str, World]) -> None:
        self.worlds = worlds
        self._home = services.home
        works = Fault(action=CREATE, latency=3, calls=(1,))
        worlds["while_the_platform_works"].faults.append(works)
        for moment, action in ANSWERS.items():
            worlds[moment].on_call = self._kill_at(moment, action)
        run = services.trigger("create_and_die")
        wait_until(lambda: works.seen)
        self._kill("while_the_platform_works")
        for moment in ("about_to_call", "before_it_is_stored"):
            wait_until((self._home / f"{moment}.stopped").exists)
            self._kill(moment)
        wait_until(lambda: worlds["while_waiting"].count(CREATE))
        services.wait(run, 240)
        if AIRFLOW == (3, 0):  # tries no killed task again: https://github.com/apache/airflow/issues/55753
            clear(services, run, only_failed=True)
            services.wait(run, 240)
        self.instances = {task["task_id"]: task for task in services.task_instances(run)}
        self.xcoms = {moment: services.xcoms(run, moment) for moment in worlds}

    def _kill_at(self, moment: str, action: str) -> Callable[[Any], None]:
        def on_call(call: Any) -> None:
            if call.action == action:
                world = self.worlds[moment]
                world.on_call = None
                self._kill(moment)
                if moment == "while_waiting":
                    (task_id,) = world.tasks
                    world.tasks.change(task_id, TaskStep("succeeded", model_id=MADE))

        return on_call

    def _kill(self, moment: str) -> None:
        pid: Path = self._home / f"{moment}.pid"
        os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def deaths(services: Services) -> Iterator[Deaths]:
    with platforms(services, *MOMENTS) as worlds:
        yield Deaths(services, worlds)


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_compression_wherever_the_worker_dies(deaths: Deaths, moment: str) -> None:
    world, instance, xcoms = deaths.worlds[moment], deaths.instances[moment], deaths.xcoms[moment]

    assert instance["state"] == "success"
    assert instance["try_number"] == 2
    (task_id,) = world.tasks
    assert world.count(CREATE) == 1
    assert xcoms["model_comp_task_id"] == task_id
    assert xcoms["return_value"] == (MADE if moment == "while_waiting" else task_id)


# -- a user ends it ----------------------------------------------------------------------------------------


def is_told(task_id: str) -> bool:
    """Tell whether Airflow says that the task was ended: to a trigger only from 3.3 on."""
    return "deferred" not in task_id or KILL.is_there()


@pytest.fixture(scope="module")
def ended(services: Services) -> Iterator[dict[str, World]]:
    """Two tasks are marked as failed while they wait; one is cleared, and then succeeds."""
    with platforms(services, *ENDS) as worlds:
        run = services.trigger("create_and_be_ended")

        def states() -> dict[str, str]:
            return {task["task_id"]: task["state"] for task in services.task_instances(run)}

        wait_until(lambda: Counter(states().values()) == {"deferred": 2, "running": 1})
        # Until the trigger, and the worker, look: a kill before that would reach nobody.
        wait_until(lambda: all(world.count(DETAIL) > 1 for world in worlds.values()))
        document = {"new_state": "failed"} | ({} if AIRFLOW_3 else {"dry_run": False})
        for task_id in ENDS[:2]:
            services.call("PATCH", f"{run}/taskInstances/{task_id}", document)
        clear(services, run, only_failed=False, task_ids=["cleared_when_deferred"])
        wait_until(lambda: all(worlds[task_id].count(CANCEL) for task_id in ENDS[:2] if is_told(task_id)))
        cleared = worlds["cleared_when_deferred"]
        wait_until(lambda: states()["cleared_when_deferred"] == "deferred")
        (task_id,) = cleared.tasks
        cleared.tasks.change(task_id, TaskStep("succeeded", model_id=MADE))
        services.wait(run, 120)
        assert list(map(states().get, ENDS)) == ["failed", "failed", "success"]
        yield worlds


@pytest.mark.parametrize("end", ENDS[:2])
def test_a_task_that_is_marked_as_failed_cancels_its_compression(ended: dict[str, World], end: str) -> None:
    world = ended[end]
    (task_id,) = world.tasks

    assert world.count(CANCEL) == is_told(end)
    status = (ask(world, "DescribeModelCompTask", modelCompTaskId=task_id) or {})["status"]
    assert status in ("stopping", "stopped") if is_told(end) else status == "running"


def test_a_task_that_is_cleared_goes_on_with_the_same_compression(ended: dict[str, World]) -> None:
    world = ended["cleared_when_deferred"]

    assert world.count(CANCEL) == 0
    assert world.count(CREATE) == len(world.tasks) == 1
