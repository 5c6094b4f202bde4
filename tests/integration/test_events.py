"""Tasks finish while the triggerer dies and comes back: every one reaches a DAG run, on real services."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dag_runs import AIRFLOW
from tests.integration.deliveries import Delivered, How, Load, deliver, watching

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
HOWS: tuple[How, ...] = ("kill", "stop")
TASKS, SECONDS, RESTARTS = 100, 20, 2
"""What ``make bench ARGS=deliveries`` does with five times as many, for two minutes."""


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> dict[How, Delivered]:
    """What one DAG was told while its triggerer was killed, and then while it was stopped."""
    home = tmp_path_factory.mktemp("events")
    with watching(home, "finished", [HERE / "events_dag.py"]) as (services, world):
        return {
            how: deliver(services, world, "finished", Load(TASKS, SECONDS, RESTARTS, how)) for how in HOWS
        }


@pytest.mark.parametrize("how", HOWS)
def test_a_run_hears_of_every_task(delivered: dict[How, Delivered], how: How) -> None:
    found = delivered[how]

    assert len(found.finished) == TASKS
    assert found.unlogged == found.missing == set()


@pytest.mark.parametrize("how", HOWS)
def test_a_repeat_has_the_id_of_the_first(delivered: dict[How, Delivered], how: How) -> None:
    assert all(ids == {f"{task_id}:succeeded"} for task_id, ids in delivered[how].event_ids.items())


@pytest.mark.parametrize("how", HOWS)
def test_what_finished_before_the_first_look_is_no_news(delivered: dict[How, Delivered], how: How) -> None:
    assert delivered[how].history == set()


def test_nothing_is_repeated_after_a_graceful_restart(delivered: dict[How, Delivered]) -> None:
    assert delivered["stop"].repeats == 0 or AIRFLOW < (3, 3)  # which have no store
