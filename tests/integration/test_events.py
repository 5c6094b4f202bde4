"""Tasks finish while the triggerer dies and comes back: every one reaches a DAG run, on real services."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan._compat import RECEIPTS
from tests.integration.deliveries import INTERVAL, PARTITIONS, Delivered, How, Load, deliver, watching
from tests.integration.outage import Outage, go_through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_qianfan.emulator.server import EmulatorServer
    from tests.integration.services import Services

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
HOWS: tuple[How, ...] = ("kill", "stop")
TASKS, SECONDS, RESTARTS = 100, 20, 2
"""What ``make bench ARGS=deliveries`` does with five times as many, for two minutes."""

OUTAGE = 120.0
"""Seconds of what ``make bench ARGS=outage`` does for an hour."""


@pytest.fixture(scope="module")
def outage(services: Services, refusing: EmulatorServer) -> Iterator[Future[Outage]]:
    """What the log of a triggerer holds that nobody restarts, while the other one is."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(go_through, services, refusing.world, "refused", OUTAGE)


@pytest.fixture(scope="module")
def delivered(outage: Future[Outage], tmp_path_factory: pytest.TempPathFactory) -> dict[How, Delivered]:
    """What one DAG was told while its triggerer was killed, and then while it was stopped."""
    home = tmp_path_factory.mktemp("events")
    with watching(home, "finished", [HERE / "events_dag.py"]) as (running, world):
        return {how: deliver(running, world, "finished", Load(TASKS, SECONDS, RESTARTS, how)) for how in HOWS}


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


@pytest.mark.skipif(not RECEIPTS.is_there(), reason="before Airflow 3.3, a trigger repeats what it finds")
@pytest.mark.parametrize("how", HOWS)
def test_nothing_is_repeated_but_what_was_reported_just_before_the_end(
    delivered: dict[How, Delivered], how: How
) -> None:
    assert delivered[how].unexplained == set()


@pytest.mark.skipif(not PARTITIONS, reason="before Airflow 3.3, no task names partitions")
@pytest.mark.parametrize("how", HOWS)
def test_each_model_has_one_run_of_its_own(delivered: dict[How, Delivered], how: How) -> None:
    found = delivered[how]

    assert len(found.models) == TASKS
    assert {model: found.deployments[model] for model in found.models} == dict.fromkeys(found.models, 1)
    assert set(found.deployments.values()) == {1}  # those of an earlier load, too


def test_an_outage_of_the_platform_restarts_no_watcher_and_fills_no_log(outage: Future[Outage]) -> None:
    found = outage.result()

    assert found.calls > OUTAGE / INTERVAL / 2
    assert found.heard
    assert found.starts == []
    assert 1 <= len(found.ours) <= 3, found.ours
