"""Watchers on real sockets, in one event loop, as a triggerer runs them."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan._compat import RECEIPTS, WATCHERS
from airflow_provider_qianfan.api.model_compression import ModelCompTask
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import Patch, TaskStep
from airflow_provider_qianfan.gate.finished import Interest
from airflow_provider_qianfan.gate.look import Found
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.triggers import _shared, model_compression
from airflow_provider_qianfan.triggers._watch import Batch, Watch
from airflow_provider_qianfan.triggers.model_compression import (
    QianfanModelCompTaskEventTrigger,
    QianfanModelCompTaskTrigger,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


pytestmark = pytest.mark.skipif(not WATCHERS.is_there(), reason="Airflow 2.11 has no asset watchers")

LIST, DETAIL = "DescribeModelCompTasks", "DescribeModelCompTask"
SOURCE = "amv-source000001"


INTERVAL = 0.3
"""Seconds. Users cannot have a shorter interval than a second; these tests need not wait for it."""


@pytest.fixture(autouse=True)
def database(airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The triggers read their connection through Airflow."""
    monkeypatch.setenv("AIRFLOW__QIANFAN__SHORTEST_INTERVAL", "0.1")
    monkeypatch.setenv("AIRFLOW__QIANFAN__REQUESTS_PER_SECOND", "100")
    monkeypatch.setattr(model_compression, "SHORTEST_INTERVAL", INTERVAL)
    monkeypatch.setattr("airflow_provider_qianfan.triggers._watch.HANDOVER", 0.0)


class Store:
    """Airflow's store of an asset, which outlives the triggers."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.broken = False

    async def aget(self, key: str, default: Any = None) -> Any:
        if self.broken:
            raise RuntimeError("the store is broken")
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        if self.broken:
            raise RuntimeError("the store is broken")
        self.values[key] = json.dumps(value)


Made = QianfanModelCompTaskEventTrigger


def trigger(store: Store | None = None, **arguments: Any) -> Made:
    made = Made(**{"poke_interval": INTERVAL, **arguments})
    made.asset_state_store = store  # type: ignore[assignment]
    return made


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the emulator runs in a thread
            await asyncio.sleep(0.02)


class Events:
    """The events of a trigger that runs in the background."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []

    @property
    def ids(self) -> list[str]:
        return [task["id"] for payload in self.payloads for task in payload["tasks"]]

    async def have(self, number: int, seconds: float = 30) -> list[str]:
        """Wait until so many tasks were reported."""
        await until(lambda: len(self.ids) >= number, seconds)
        return self.ids


@asynccontextmanager
async def watching(*triggers: Made) -> AsyncIterator[list[Events]]:
    """Have triggers run in the background, as a triggerer does without a shared stream."""

    async def collect(made: Made, events: Events) -> None:
        async for event in made.run():
            events.payloads.append(event.payload)

    heard = [Events() for _ in triggers]
    tasks = [asyncio.create_task(collect(*pair)) for pair in zip(triggers, heard, strict=True)]
    try:
        yield heard
        assert not any(task.done() for task in tasks), [task.exception() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture(autouse=True)
def history(emulator: EmulatorServer) -> None:
    """While the list is empty, no watch begins."""
    old = {"createTime": "2026-01-01T00:00:00Z", "finishTime": "2026-01-01T00:00:00Z"}
    emulator.world.tasks.add(
        TaskSpec(SOURCE, id="amva-history", status="succeeded", model_id="amv-history", set=old)
    )


def in_a_loop(steps: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run in an event loop in which nothing may be left behind."""

    async def checked() -> Any:
        result = await asyncio.wait_for(steps(), 60)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not _shared._of_loop
        return result

    return asyncio.run(checked())


def succeed(emulator: EmulatorServer, task_id: str, model: str | None = None) -> None:
    step = TaskStep("succeeded", model_id=model or f"amv-of-{task_id}")
    emulator.world.tasks.change(task_id, step)


async def looked(emulator: EmulatorServer, times: int = 1) -> None:
    """Wait for so many more looks."""
    number = emulator.world.count(LIST) + times
    await until(lambda: emulator.world.count(LIST) >= number, 20)


def test_a_task_that_finishes_is_reported_once(emulator: EmulatorServer) -> None:
    tasks = emulator.world.tasks
    tasks.add(TaskSpec(SOURCE, id="amva-old", status="succeeded", model_id="amv-old"))
    tasks.add(TaskSpec(SOURCE, id="amva-1", name="demo", config={"strategy": "Quantization"}))

    async def steps() -> list[dict[str, Any]]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            succeed(emulator, "amva-1", "amv-made")
            await events.have(1)
            await looked(emulator, 2)
            return events.payloads

    (payload,) = in_a_loop(steps)
    assert payload["version"] == 1
    (told,) = payload["tasks"]
    assert told["event_id"] == "amva-1:succeeded"
    assert told["model_id"] == "amv-made"
    assert told["source_model_id"] == SOURCE


def test_all_that_finish_between_two_looks_come_in_one_event(emulator: EmulatorServer) -> None:
    """Airflow starts one run for two events within milliseconds, and that run sees only the first."""

    async def steps() -> list[dict[str, Any]]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            for number in range(5):
                emulator.world.tasks.add(
                    TaskSpec(SOURCE, id=f"amva-{number}", status="succeeded", model_id=f"amv-{number}")
                )
            await events.have(5)
            return events.payloads

    payloads = in_a_loop(steps)
    assert len(payloads) <= 2  # a look may come between two of them
    assert sorted(told["id"] for payload in payloads for told in payload["tasks"]) == [
        f"amva-{number}" for number in range(5)
    ]


def test_while_the_list_is_empty_no_watch_begins(emulator: EmulatorServer) -> None:
    """It may be a mistake: the history would be new afterwards."""
    emulator.world.faults.append(Fault(action=LIST, null_list=True, count=1))
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            id="amva-undated",
            status="succeeded",
            model_id="amv-undated",
            set={"createTime": None, "finishTime": None},
        )
    )

    async def steps() -> list[str]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator, 4)
            return events.ids

    assert in_a_loop(steps) == []


def test_a_start_goes_on_with_a_watch_that_found_nothing(emulator: EmulatorServer) -> None:
    """The first task of a source model may finish while no triggerer runs."""
    store, new = Store(), "amv-new00000001"

    async def steps() -> list[str]:
        async with watching(trigger(store, source_model_id=new)) as (events,):
            await looked(emulator, 2)
            await until(lambda: bool(store.values), 20)
        assert events.ids == []
        await asyncio.sleep(1.1)  # the platform's times are whole seconds
        emulator.world.tasks.add(TaskSpec(new, id="amva-1", status="succeeded", model_id="amv-1"))
        async with watching(trigger(store, source_model_id=new)) as (events,):
            await events.have(1)
            await looked(emulator, 2)
        async with watching(trigger(store, source_model_id=new)) as (again,):
            await looked(emulator, 2)
        return [*events.ids, *again.ids]

    assert in_a_loop(steps) == ["amva-1"]


class Shown(Watch):
    """A watch that is shown a list, with the key of an account."""

    read = Found()
    key = "one"

    async def _list(self) -> Found:
        return self.read

    @property
    def _account(self) -> str:
        return self.key


@pytest.mark.parametrize("anew", [False, True])
def test_a_key_that_changes_before_there_is_a_task_does_not_shorten_the_watch(anew: bool) -> None:
    store, since = Store(), time.time() - 10 * 86400
    ended = datetime.fromtimestamp(since + 86400, UTC)

    def begin() -> Shown:
        return Shown("w", "qianfan_default", Interest(("succeeded",)), 60, since, store)

    async def steps() -> Batch | None:
        watch = begin()
        assert await watch._next_batch() is None
        watch = begin() if anew else watch
        watch.key = "another"
        watch.read = Found((succeeded("amva-1", finish_time=ended),))
        return await watch._next_batch()

    batch = in_a_loop(steps)
    assert batch is not None
    assert batch.event_ids == ("amva-1:succeeded",)


def succeeded(task_id: str, **more: Any) -> ModelCompTask:
    return ModelCompTask(task_id, status="succeeded", source_model_id=SOURCE, model_id="amv-made", **more)


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "reported"),
    [
        pytest.param(Found(), Found(), ["amva-2", "amva-3"], id="all was read"),
        pytest.param(Found(left_out=True), Found(), ["amva-3"], id="a row was left out"),
        pytest.param(Found(left_out=True), Found(left_out=True), [], id="a row was left out twice"),
        pytest.param(Found(), Found(left_out=True), ["amva-2", "amva-3"], id="a row was left out later"),
    ],
)
def test_what_the_first_reading_left_out_is_not_reported(
    anew: bool, first: Found, second: Found, reported: list[str]
) -> None:
    """A task without any time that appears later had been there before the watch, as far as one can tell."""
    store, since = Store(), time.time()

    def begin() -> Shown:
        return Shown("w", "qianfan_default", Interest(("succeeded",)), 60, since, store)

    async def steps() -> list[str]:
        watch, events = begin(), list[str]()
        for number, found in enumerate((first, second, Found()), 2):
            watch.read = replace(found, tasks=tuple(succeeded(f"amva-{each}") for each in range(1, number)))
            batch = await watch._next_batch()
            if batch is not None:
                events += batch.event_ids
                await watch.keep(batch)
            watch = begin() if anew else watch
        return events

    assert in_a_loop(steps) == [f"{task_id}:succeeded" for task_id in reported]


def test_an_empty_list_does_not_end_the_beginning() -> None:
    async def steps() -> list[Batch | None]:
        watch, batches = Shown("w", "qianfan_default", Interest(("succeeded",)), 60, time.time(), None), []
        tasks = (succeeded("amva-1"), succeeded("amva-2"))
        for found in (Found(tasks[:1], left_out=True), Found(), Found(tasks)):
            watch.read = found
            batches.append(await watch._next_batch())
        return batches

    assert in_a_loop(steps) == [None] * 3


def test_a_receipt_that_comes_during_a_look_is_heard(emulator: EmulatorServer) -> None:
    class SlowStore(Store):
        async def aset(self, key: str, value: Any) -> None:
            await asyncio.sleep(2 * INTERVAL)
            await super().aset(key, value)

    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-2"))

    async def steps() -> list[str]:
        made = trigger(SlowStore())
        watch, ids = made._watch(), []

        async def receive() -> None:
            async for batch in watch.batches():
                ids.extend(batch.event_ids)
                kept.append(asyncio.create_task(watch.keep(batch)))

        kept: list[asyncio.Task[None]] = []
        receiving = asyncio.create_task(receive())
        await looked(emulator, 2)
        succeed(emulator, "amva-1")
        await looked(emulator)
        succeed(emulator, "amva-2")
        await looked(emulator, 10)
        receiving.cancel()
        await asyncio.wait([receiving, *kept])
        return ids

    assert sorted(in_a_loop(steps)) == ["amva-1:succeeded", "amva-2:succeeded"]


def test_a_row_without_an_id_hides_no_other(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-bad", in_list=Patch(omit=("id",))))

    async def steps() -> list[str]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            succeed(emulator, "amva-1")
            return await events.have(1)

    assert in_a_loop(steps) == ["amva-1"]


def test_a_platform_that_fails_every_second_look_fills_no_log(
    emulator: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def steps() -> None:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            emulator.world.faults.append(Fault(action=LIST, legacy_error=6, calls=tuple(range(1, 20, 2))))
            await looked(emulator, 16)
            assert events.ids == []

    in_a_loop(steps)
    said = [record.levelname for record in caplog.records if record.name.endswith("_watch")]
    assert said == ["INFO", "ERROR", "INFO"]


def test_a_long_list_is_spread_over_the_looks(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_qianfan.gate.finished.MOST_TASKS", 2)

    async def steps() -> tuple[list[int], list[float]]:
        began = []
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            for number in range(5):
                emulator.world.tasks.add(
                    TaskSpec(SOURCE, id=f"amva-{number}", status="succeeded", model_id=f"amv-{number}")
                )
            for number in (2, 4, 5):
                await events.have(number)
                began.append(time.monotonic())
            return [len(payload["tasks"]) for payload in events.payloads], began

    sizes, began = in_a_loop(steps)
    assert sizes in ([2, 2, 1], [1, 2, 2])
    assert all(later - earlier > INTERVAL / 2 for earlier, later in pairwise(began))


def test_a_restart_reports_what_finished_meanwhile_and_nothing_twice(emulator: EmulatorServer) -> None:
    tasks, store = emulator.world.tasks, Store()
    for number in range(3):
        tasks.add(TaskSpec(SOURCE, id=f"amva-{number}", set={"createTime": None, "finishTime": None}))

    async def steps() -> list[list[str]]:
        heard = []
        for number in range(3):
            async with watching(trigger(store)) as (events,):
                await looked(emulator)
                if number < 2:
                    succeed(emulator, f"amva-{number}")
                await events.have(1 if number < 2 else 2)
                await looked(emulator)
            heard.append(events.ids)
            if number == 1:
                succeed(emulator, "amva-2")
                tasks.add(TaskSpec(SOURCE, id="amva-3", status="succeeded", model_id="amv-3"))
        async with watching(trigger(store)) as (events,):
            await looked(emulator, 2)
        return [*heard, events.ids]

    assert [sorted(ids) for ids in in_a_loop(steps)] == [["amva-0"], ["amva-1"], ["amva-2", "amva-3"], []]


def test_without_a_store_a_start_reports_again_what_finished_lately(emulator: EmulatorServer) -> None:
    """Airflow before 3.3: rather twice than never."""
    tasks = emulator.world.tasks
    tasks.add(TaskSpec(SOURCE, id="amva-1", status="succeeded", model_id="amv-1"))
    tasks.add(
        TaskSpec(
            SOURCE,
            id="amva-2",
            status="succeeded",
            model_id="amv-2",
            set={"createTime": "2026-01-01T00:00:00Z", "finishTime": "2026-01-01T00:00:00Z"},
        )
    )

    async def steps() -> list[dict[str, Any]]:
        payloads = []
        for _ in range(2):
            async with watching(trigger()) as (events,):
                await events.have(1)
                await looked(emulator)
                payloads += events.payloads
        async with watching(trigger(look_back=0)) as (events,):
            await looked(emulator, 2)
        assert events.payloads == []
        return payloads

    first, second = in_a_loop(steps)
    assert first == second
    assert [told["event_id"] for told in first["tasks"]] == ["amva-1:succeeded"]


def test_catching_up_happens_once(emulator: EmulatorServer) -> None:
    store = Store()
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            id="amva-1",
            status="succeeded",
            model_id="amv-1",
            set={"finishTime": "2026-01-31T12:00:00Z"},
        )
    )

    async def steps() -> list[str]:
        made = trigger(store, catch_up_from="2026-01-31")
        async with watching(made) as (events,):
            await events.have(1)
        async with watching(made) as (again,):
            await looked(emulator, 2)
        return [*events.ids, *again.ids]

    assert in_a_loop(steps) == ["amva-1"]


def test_catching_up_does_not_shorten_the_look_back(emulator: EmulatorServer) -> None:
    finished = datetime.now(UTC) - timedelta(minutes=30)
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            id="amva-1",
            status="succeeded",
            model_id="amv-1",
            set={"finishTime": finished.isoformat()},
        )
    )

    async def steps() -> list[str]:
        async with watching(trigger(catch_up_from=datetime.now(UTC))) as (events,):
            return await events.have(1)

    assert in_a_loop(steps) == ["amva-1"]


def test_a_success_without_a_model_is_asked_for(emulator: EmulatorServer) -> None:
    tasks = emulator.world.tasks
    tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> list[dict[str, Any]]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            tasks.change(
                "amva-1", TaskStep("succeeded", model_id="amv-made", in_list=Patch(set={"modelId": ""}))
            )
            await events.have(1)
            return events.payloads

    (payload,) = in_a_loop(steps)
    assert payload["tasks"][0]["model_id"] == "amv-made"
    assert emulator.world.count(DETAIL) == 1


def test_a_success_that_never_names_a_model_is_said_once_and_not_reported(
    emulator: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = emulator.world.tasks
    tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> list[str]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            tasks.change("amva-1", TaskStep("succeeded", set={"modelId": SOURCE}))
            await until(lambda: "names no produced model" in caplog.text, 20)
            await looked(emulator, 3)
            assert events.ids == []
            assert emulator.world.count(DETAIL) == 3
            succeed(emulator, "amva-1")
            return await events.have(1)

    assert in_a_loop(steps) == ["amva-1"]
    said = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1
    assert "succeeded, but the platform names no produced model." in said[0]


def test_nothing_is_remembered_of_a_task_that_was_gone(emulator: EmulatorServer) -> None:
    tasks = emulator.world.tasks
    unnamed = TaskStep("succeeded", set={"modelId": SOURCE})
    tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> None:
        async with watching(trigger(Store())):
            await looked(emulator)
            tasks.change("amva-1", unnamed)
            await until(lambda: emulator.world.count(DETAIL) == 3, 20)
            tasks.remove("amva-1")
            await looked(emulator, 2)
            tasks.add(TaskSpec(SOURCE, id="amva-1"))
            tasks.change("amva-1", unnamed)
            await until(lambda: emulator.world.count(DETAIL) == 6, 20)

    in_a_loop(steps)


def test_detail_requests_that_fail_are_no_answer(emulator: EmulatorServer) -> None:
    tasks = emulator.world.tasks
    tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> list[str]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            emulator.world.faults.append(Fault(action=DETAIL, calls=(1, 2, 3, 4), legacy_error=6))
            tasks.change(
                "amva-1", TaskStep("succeeded", model_id="amv-made", in_list=Patch(set={"modelId": ""}))
            )
            return await events.have(1, 20)

    assert in_a_loop(steps) == ["amva-1"]


def test_a_key_that_may_not_ask_for_details_asks_once_per_interval(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_compression, "SHORTEST_INTERVAL", 1.0)
    emulator.world.faults.append(Fault(action=DETAIL, legacy_error=6))
    tasks = emulator.world.tasks
    tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> None:
        async with watching(trigger(Store(), poke_interval=1.0)):
            await looked(emulator)
            tasks.change("amva-1", TaskStep("succeeded", in_list=Patch(set={"modelId": ""})))
            await until(lambda: emulator.world.count(DETAIL) > 0, 20)
            lists, details = emulator.world.count(LIST), emulator.world.count(DETAIL)
            await asyncio.sleep(3.5)
            assert 1 <= emulator.world.count(DETAIL) - details <= 4
            assert emulator.world.count(LIST) - lists <= 9

    in_a_loop(steps)


@pytest.mark.parametrize(
    "fault",
    [
        {"server_error": 503},
        {"rate_limit": True, "retry_after": 1},
        {"not_json": True},
        {"legacy_error": 6},
        {"status": 403, "body": {"code": "AccessDenied", "message": "no", "requestId": "r"}},
        {"endless_paging": "same_marker"},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_whatever_the_platform_answers_the_watcher_goes_on(
    emulator: EmulatorServer, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> list[str]:
        async with watching(trigger(Store())) as (events,):
            await looked(emulator)
            emulator.world.faults.append(Fault(action=LIST, **fault, count=5))
            await looked(emulator, 5)
            succeed(emulator, "amva-1")
            return await events.have(1, 30)

    assert in_a_loop(steps) == ["amva-1"]
    said = [record for record in caplog.records if record.name.endswith("_watch")]
    assert [record.levelno for record in said] == [logging.INFO, logging.ERROR, logging.INFO, logging.INFO]
    assert said[1].exc_info is None
    assert "The watcher goes on, and reports later what finishes meanwhile." in said[1].message
    assert "The platform answers again" in said[2].message
    assert ": reports 1 task: amva-1 (" in said[3].message


def test_a_connection_that_is_not_there_yet(emulator: EmulatorServer, monkeypatch: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> list[str]:
        async with watching(trigger(Store(), qianfan_conn_id="later")) as (events,):
            await asyncio.sleep(3 * INTERVAL)
            monkeypatch.setenv("AIRFLOW_CONN_LATER", emulator.connection_uri)
            await looked(emulator)
            succeed(emulator, "amva-1")
            return await events.have(1)

    assert in_a_loop(steps) == ["amva-1"]


def test_a_connection_that_is_edited_leads_to_another_account(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the other account finished before is left alone."""
    monkeypatch.setattr("airflow_provider_qianfan.triggers._watch.HEARTBEAT", 0.5)
    monkeypatch.setattr(_shared, "FRESH", 0.0)
    store = Store()

    async def steps() -> list[str]:
        with EmulatorServer() as other:
            old = {"createTime": "2026-01-01T00:00:00Z", "finishTime": "2026-01-01T00:00:00Z"}
            other.world.tasks.add(
                TaskSpec(SOURCE, id="amva-old", status="succeeded", model_id="amv-old", set=old)
            )
            async with watching(trigger(store)) as (events,):
                await looked(emulator)
                monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", other.connection_uri)
                await until(lambda: "another key" in caplog.text, 20)
                other.world.tasks.add(TaskSpec(SOURCE, id="amva-new", status="succeeded", model_id="amv-new"))
                return await events.have(1)

    assert in_a_loop(steps) == ["amva-new"]


def test_a_store_that_fails_loses_nothing(emulator: EmulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is known before the store was read; what could not be stored is stored later."""
    store = Store()
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> list[str]:
        store.broken = True
        async with watching(trigger(store)) as (events,):
            await asyncio.sleep(3 * INTERVAL)
            assert emulator.world.count(LIST) == 0
            store.broken = False
            await looked(emulator)
            store.broken = True
            succeed(emulator, "amva-1")
            await events.have(1)
            await looked(emulator)
            store.broken = False
            await looked(emulator, 2)
        async with watching(trigger(store)) as (again,):
            await looked(emulator, 2)
        return [*events.ids, *again.ids]

    assert in_a_loop(steps) == ["amva-1"]
    assert "Airflow did not store what was reported (RuntimeError)." in caplog.text


def test_what_is_stored_stays_small(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_qianfan.gate.finished._MOST_REPORTED", 300)
    store = Store()

    async def steps() -> None:
        async with watching(trigger(store)) as (events,):
            await looked(emulator)
            for number in range(40):
                finish = datetime.now(UTC) + timedelta(seconds=number)
                emulator.world.tasks.add(
                    TaskSpec(
                        SOURCE,
                        id=f"amva-{number}",
                        status="succeeded",
                        model_id=f"amv-{number}",
                        set={"finishTime": finish.isoformat()},
                    )
                )
                if number % 10 == 9:
                    await events.have(number + 1)
            await looked(emulator, 2)
            assert len(events.ids) == 40

    in_a_loop(steps)
    (stored,) = store.values.values()
    assert "amva-39:succeeded" in stored
    assert len(stored) < 800


def test_two_triggerers_run_the_same_watcher_for_a_moment(emulator: EmulatorServer) -> None:
    """Both report, with the same event id; neither forgets what the other has stored."""
    store = Store()
    for number in range(3):
        emulator.world.tasks.add(TaskSpec(SOURCE, id=f"amva-{number}"))

    async def steps() -> tuple[list[str], list[str], list[str]]:
        async with watching(trigger(store), trigger(store)) as (one, two):
            await looked(emulator)
            for number in range(3):
                succeed(emulator, f"amva-{number}")
                await asyncio.gather(one.have(number + 1), two.have(number + 1))
            await looked(emulator, 2)
        async with watching(trigger(store)) as (again,):
            await looked(emulator, 2)
        return one.ids, two.ids, again.ids

    one, two, again = in_a_loop(steps)
    assert one == two == ["amva-0", "amva-1", "amva-2"]
    assert again == []


def test_a_hundred_watchers_beside_a_hundred_waits_cost_one_reading(emulator: EmulatorServer) -> None:
    for number in range(100):
        emulator.world.tasks.add(TaskSpec(f"amv-{number}", id=f"amva-{number}"))
    now = time.time()
    waits = [
        QianfanModelCompTaskTrigger(
            target=Selector(f"amv-{number}").to_json(),
            memory=Memory(started=now, deadline=now + 60, last_healthy=now, spoke=now).to_json(),
            poke_interval=1.0,
            next_look_at=now,
        )
        for number in range(100)
    ]

    async def steps() -> list[list[str]]:
        running = [asyncio.create_task(anext(made.run())) for made in waits]  # type: ignore[arg-type]
        try:
            async with watching(*(trigger(Store(), poke_interval=1) for _ in range(100))) as heard:
                await looked(emulator, 4)
                succeed(emulator, "amva-7")
                await asyncio.gather(*(events.have(1, 20) for events in heard))
                return [events.ids for events in heard]
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    assert in_a_loop(steps) == [["amva-7"]] * 100
    calls = emulator.world.calls
    lasted = (calls[-1].time - calls[0].time).total_seconds()
    assert len(calls) <= 2 * lasted + 6  # some more while they join, one by one
    assert not any(call.body.get("sourceModelId") for call in emulator.world.calls)


def test_a_watcher_of_a_source_model_reads_its_tasks_only(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

    async def steps() -> list[str]:
        async with watching(trigger(Store(), source_model_id=SOURCE)) as (events,):
            await looked(emulator)
            succeed(emulator, "amva-1")
            return await events.have(1)

    assert in_a_loop(steps) == ["amva-1"]
    assert {call.body.get("sourceModelId") for call in emulator.world.calls} == {SOURCE}


@pytest.mark.skipif(not RECEIPTS.is_there(), reason="only Airflow 3.3 and newer confirm events")
class TestReceipts:
    """Airflow's own shared streams, and a triggerer that stores events, or dies before."""

    def run(
        self,
        emulator: EmulatorServer,
        store: Store,
        steps: Callable[[Events], Coroutine[Any, Any, None]],
        *,
        confirm: Callable[[int], bool] = lambda _: True,
        killed: bool = False,
    ) -> list[str]:
        """Run a trigger as the triggerer of Airflow 3.3 does; ``confirm`` tells which events are stored."""
        from airflow.triggers.shared_stream import SharedStreamManager

        async def triggerer() -> list[str]:
            manager = SharedStreamManager(ack_timeout=2)
            made, events = trigger(store), Events()
            key = made.shared_stream_key()
            assert key is not None
            stream = manager.subscribe(trigger_id=1, trigger=made, key=key)

            async def drive() -> None:
                try:
                    async for event in made.filter_shared_stream(stream):
                        seq = manager.bind_pending_event(trigger_id=1, key=key)
                        events.payloads.append(event.payload)
                        assert seq is not None
                        if confirm(len(events.payloads)):
                            asyncio.get_running_loop().call_later(0.1, manager.confirm_persisted, [seq])
                finally:
                    await manager.unsubscribe(1, key)

            driving = asyncio.create_task(drive())
            try:
                await steps(events)
                if killed:
                    await made.on_kill()
            finally:
                driving.cancel()
                await asyncio.wait([driving])
            return events.ids

        return in_a_loop(triggerer)  # type: ignore[no-any-return]

    def test_what_airflow_has_stored_is_not_reported_again(self, emulator: EmulatorServer) -> None:
        store = Store()
        emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

        async def finish(events: Events) -> None:
            await looked(emulator)
            succeed(emulator, "amva-1")
            await events.have(1)
            await looked(emulator, 2)

        async def wait(_: Events) -> None:
            await looked(emulator, 2)

        assert self.run(emulator, store, finish) == ["amva-1"]
        assert self.run(emulator, store, wait) == []

    def test_what_was_reported_just_before_a_pause_is_reported_again(self, emulator: EmulatorServer) -> None:
        """Airflow ignores an event that nobody watches for any more, and confirms it all the same."""
        store = Store()
        emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1"))

        async def finish(events: Events) -> None:
            await looked(emulator)
            succeed(emulator, "amva-1")
            await events.have(1)
            await looked(emulator, 2)

        assert self.run(emulator, store, finish, killed=True) == ["amva-1"]
        assert self.run(emulator, store, lambda _: looked(emulator, 3)) == ["amva-1"]
        assert self.run(emulator, store, lambda _: looked(emulator, 2), killed=True) == []

    def test_what_a_dead_triggerer_had_not_stored_is_reported_again(self, emulator: EmulatorServer) -> None:
        store = Store()
        emulator.world.tasks.add(TaskSpec(SOURCE, id="amva-1", set={"createTime": None}))

        async def die(events: Events) -> None:
            await looked(emulator)
            succeed(emulator, "amva-1")
            await events.have(1)
            await looked(emulator)
            assert events.ids == ["amva-1"]  # and not again while Airflow has not answered

        async def wait(events: Events) -> None:
            await events.have(1)
            await looked(emulator, 2)

        assert self.run(emulator, store, die, confirm=lambda _: False) == ["amva-1"]
        assert self.run(emulator, store, wait) == ["amva-1"]
        assert self.run(emulator, store, lambda _: looked(emulator, 2)) == []


@pytest.mark.parametrize("folder", ["team_a/", "5f0a1bc/"])
def test_two_equal_triggers_are_told_apart_and_each_parse_names_them_alike(
    tmp_path: Any, folder: str
) -> None:
    """The folder of a Git bundle is named after the commit."""
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader

    (tmp_path / folder).mkdir()
    file = tmp_path / folder / "some_dag.py"
    folder = folder if folder == "team_a/" else ""
    file.write_text(
        "from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger\n"
        "def make(**arguments):\n"
        "    return QianfanModelCompTaskEventTrigger(**arguments)\n"
        "made = [make(), make(), make(name='other'), *(make() for _ in range(2))]\n"
    )

    def parse() -> list[str]:
        loader = SourceFileLoader("some_dag", str(file))
        spec = spec_from_loader("some_dag", loader)
        assert spec is not None
        module = module_from_spec(spec)
        loader.exec_module(module)
        return [made.watcher for made in module.made]

    name = f"{folder}some_dag.py"
    assert parse() == [name, f"{name} 2", name, f"{name} 3", f"{name} 4"]
    assert parse() == parse()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {
            "statuses": ["stopped", "failed", "succeeded"],
            "source_model_id": SOURCE,
            "name": "a",
            "name_pattern": "a*",
            "catch_up_from": "2026-01-31T00:00:00+08:00",
            "poke_interval": 5,
            "look_back": 60,
        },
    ],
)
def test_arguments_survive_airflows_database(arguments: dict[str, Any]) -> None:
    """If they came back otherwise, Airflow would take each parse for a new trigger."""
    from airflow.models.trigger import Trigger
    from airflow.triggers.base import BaseEventTrigger

    path, kwargs = Made(**arguments).serialize()
    row = Trigger(classpath=path, kwargs=kwargs)

    assert json.loads(json.dumps(kwargs)) == kwargs
    assert BaseEventTrigger.hash(path, row.kwargs) == BaseEventTrigger.hash(path, kwargs)
    assert Made(**kwargs).serialize() == (path, kwargs)


def test_a_row_of_a_newer_version_is_understood() -> None:
    assert Made(watcher="a", more=1).serialize()[1]["watcher"] == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statuses": ()}, r"statuses has \(\)\. Pass one or more of"),
        ({"statuses": ["running"]}, "statuses has 'running'. Pass one or more of"),
        ({"statuses": "success"}, "statuses has 'success'. Pass one or more of"),
        ({"source_model_id": "am-1"}, "is the id of a model set"),
        ({"source_model_id": "{{ var.value.source }}"}, "is a template. Nothing renders it: pass a value."),
        ({"name": " "}, "holds no value"),
        ({"name_pattern": "a\n*"}, "holds control characters"),
        ({"qianfan_conn_id": "None"}, "holds no value"),
        ({"poke_interval": -1}, "is not a number of seconds"),
        ({"look_back": "long"}, "is not a number of seconds"),
        ({"poke_interval": math.inf}, "is more than a year"),
        ({"catch_up_from": "yesterday"}, "is not a time"),
    ],
)
def test_invalid_arguments_are_refused_at_parse(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Made(**arguments)


def test_unknown_arguments_are_refused_at_parse() -> None:
    with pytest.raises(TypeError, match="does not know source_model"):
        Made(source_model=SOURCE)
