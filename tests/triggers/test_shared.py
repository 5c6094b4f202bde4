"""Many waits, one poll: on real sockets, in one event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from airflow_provider_qianfan.api.errors import QianfanTransientError
from airflow_provider_qianfan.api.exchange import RetryPolicy
from airflow_provider_qianfan.api.resource import SERVICE
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import ServiceSpec, TaskSpec
from airflow_provider_qianfan.emulator.steps import ServiceStep, TaskStep
from airflow_provider_qianfan.gate import snapshot
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.resource import Resource
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.snapshot import Query
from airflow_provider_qianfan.triggers import _shared
from airflow_provider_qianfan.triggers._thread import DriverThread
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

LIST = "DescribeModelCompTasks"


@pytest.fixture(autouse=True)
def database(airflow_db: None) -> None:
    """The triggers read their connection through Airflow."""


def trigger(source: str = "amv-1", *, interval: float = 1.0, **arguments: Any) -> QianfanModelCompTaskTrigger:
    now = time.time()
    usual = {
        "target": Selector(source).to_json(),
        "memory": Memory(started=now, deadline=now + 60, last_healthy=now, spoke=now).to_json(),
        "poke_interval": interval,
        "next_look_at": now + interval,
    }
    return QianfanModelCompTaskTrigger(**{**usual, **arguments})


def in_a_loop(steps: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run in an event loop in which nothing may be left behind; nor may a thread be."""

    async def checked() -> Any:
        result = await asyncio.wait_for(steps(), 60)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not _shared._of_loop
        return result

    result = asyncio.run(checked())
    for thread in threading.enumerate():
        if thread.name == "qianfan-account":
            thread.join(5)
            assert not thread.is_alive()
    return result


async def wait_for(made: QianfanModelCompTaskTrigger) -> dict[str, Any]:
    return (await anext(made.run())).payload  # type: ignore[no-any-return]


@asynccontextmanager
async def waiting(
    *triggers: QianfanModelCompTaskTrigger,
) -> AsyncIterator[list[asyncio.Task[dict[str, Any]]]]:
    """Have triggers run in the background; they are cancelled at the end."""
    tasks = [asyncio.create_task(wait_for(made)) for made in triggers]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def intervals(emulator: EmulatorServer, interval: float = 1.0) -> list[Counter[str]]:
    """What was asked for in each interval, by source model; the beginning of the first is the first call."""
    calls = list(emulator.world.calls)
    slots: list[Counter[str]] = []
    began = None
    for call in calls:
        when = call.time.timestamp()
        if began is None or when - began > interval / 2:
            began = when
            slots.append(Counter())
        slots[-1][call.body.get("sourceModelId", "whole")] += 1
    return slots


def test_waits_for_one_source_model_cost_one_call_an_interval(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1"))

    async def steps() -> None:
        async with waiting(*(trigger() for _ in range(50))):
            await asyncio.sleep(3.5)

    in_a_loop(steps)

    slots = intervals(emulator)
    assert 3 <= len(slots) <= 4
    assert all(slot == {"amv-1": 1} for slot in slots)


def test_waits_for_many_source_models_cost_the_pages_of_the_list(emulator: EmulatorServer) -> None:
    for number in range(150):
        emulator.world.tasks.add(TaskSpec(f"amv-{number}"))

    async def steps() -> None:
        async with waiting(*(trigger(f"amv-{number}") for number in range(150))):
            await asyncio.sleep(3.5)

    in_a_loop(steps)

    slots = intervals(emulator)
    assert 3 <= len(slots) <= 4
    assert all(slot == {"whole": 2} for slot in slots)


def test_a_key_that_may_not_list_services_watches_them_one_by_one(emulator: EmulatorServer) -> None:
    world = emulator.world
    world.account.permission = "service_read"
    ids = [world.services.add(ServiceSpec("amv-old")) for _ in range(2)]
    targets = [Resource(SERVICE, service_id, "amv-new").to_json() for service_id in ids]

    async def steps() -> list[bool]:
        async with waiting(*(trigger(target=target) for target in targets)) as events:
            await asyncio.sleep(2.5)
            world.services.change(ids[0], ServiceStep(model_id="amv-new"))
            event = await asyncio.wait_for(events[0], 10)
            assert event["target"] == targets[0]
            return [waited.done() for waited in events]

    assert in_a_loop(steps) == [True, False]
    assert world.count("DescribeServices") == 1
    assert world.count("DescribeService") >= 4


def test_a_poke_interval_means_no_later_than(emulator: EmulatorServer) -> None:
    """A patient wait rides along with a hasty one, and costs nothing."""
    emulator.world.tasks.add(TaskSpec("amv-1", id="amva-1"))

    async def steps() -> float:
        async with waiting(trigger(), trigger(interval=60)) as (_, patient):
            await asyncio.sleep(1.5)
            emulator.world.tasks.change("amva-1", TaskStep("succeeded", model_id="amv-made"))
            began = time.time()
            assert (await patient)["why"] == "it may have come to an end"
            return time.time() - began

    assert in_a_loop(steps) < 8
    assert all(slot == {"amv-1": 1} for slot in intervals(emulator))


def test_a_patient_wait_is_not_read_for_at_each_hasty_interval(emulator: EmulatorServer) -> None:
    emulator.world.behaviour.ignore_source_filter = False
    for number in range(300):
        emulator.world.tasks.add(TaskSpec("amv-other", id=f"amva-{number}"))

    async def steps() -> None:
        async with waiting(trigger("amv-hasty"), trigger("amv-patient", interval=3)):
            await asyncio.sleep(6.5)

    in_a_loop(steps)

    asked = Counter(call.body.get("sourceModelId", "whole") for call in emulator.world.calls)
    assert asked["amv-hasty"] >= 5
    assert 1 <= asked["amv-patient"] <= 3


def test_each_wait_hears_of_its_own_task(emulator: EmulatorServer) -> None:
    for number in range(3):
        emulator.world.tasks.add(TaskSpec(f"amv-{number}", id=f"amva-{number}"))

    async def steps() -> None:
        async with waiting(*(trigger(f"amv-{number}") for number in range(3))) as tasks:
            await asyncio.sleep(1.5)
            emulator.world.tasks.change("amva-1", TaskStep("failed"))
            event = await tasks[1]
            assert Memory.from_json(event["memory"], now=0).selected == "amva-1"
            await asyncio.sleep(1)
            assert [task.done() for task in tasks] == [False, True, False]

    in_a_loop(steps)


def test_cancelling_one_does_not_disturb_the_others(emulator: EmulatorServer) -> None:
    """Not even the one whose coming began the request that is under way."""
    emulator.world.tasks.add(TaskSpec("amv-1", status="succeeded"))
    emulator.world.faults.append(Fault(latency=1))

    async def steps() -> list[str]:
        async with waiting(*(trigger(next_look_at=time.time()) for _ in range(5))) as tasks:
            await asyncio.sleep(0.6)
            tasks[0].cancel()
            return [event["why"] for event in await asyncio.gather(*tasks[1:])]

    assert in_a_loop(steps) == ["it may have come to an end"] * 4
    assert emulator.world.count(LIST) == 1


def test_the_last_one_ends_the_request_that_is_under_way(emulator: EmulatorServer) -> None:
    emulator.world.faults.append(Fault(latency=30))

    async def steps() -> None:
        async with waiting(*(trigger(next_look_at=time.time()) for _ in range(5))):
            await asyncio.sleep(0.6)

    began = time.time()
    in_a_loop(steps)

    assert emulator.world.count(LIST) <= 1
    assert time.time() - began < 10


def test_a_wait_that_is_cancelled_twice_ends_the_thread_all_the_same(emulator: EmulatorServer) -> None:
    emulator.world.faults.append(Fault(latency=30))

    async def steps() -> None:
        task = asyncio.create_task(wait_for(trigger(next_look_at=time.time())))
        await asyncio.sleep(0.6)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.1)

    in_a_loop(steps)


def test_a_failed_poll_reaches_each_once(emulator: EmulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="succeeded"))
    emulator.world.faults.append(Fault(legacy_error=6, calls=(1,)))

    async def steps() -> Counter[str]:
        async with waiting(*(trigger() for _ in range(20))) as tasks:
            return Counter(event["why"] for event in await asyncio.gather(*tasks))

    (why,) = in_a_loop(steps).items()

    assert "HTTP 200 6" in why[0]
    assert why[1] == 20
    assert emulator.world.count(LIST) == 1


def test_a_platform_that_is_away_is_warned_of_by_each_once(
    emulator: EmulatorServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Airflow's own logger of a trigger does not write where pytest listens.
    monkeypatch.setattr(QianfanModelCompTaskTrigger, "logger", lambda _: logging.getLogger("waits"))
    emulator.world.tasks.add(TaskSpec("amv-1", status="succeeded"))
    emulator.world.faults.append(Fault(status=429, calls=(1, 2, 3, 4)))  # all tries of the first look

    async def steps() -> None:
        async with waiting(*(trigger() for _ in range(20))) as tasks:
            await asyncio.gather(*tasks)

    in_a_loop(steps)

    assert sum("gave no healthy answer" in record.message for record in caplog.records) == 20


def test_one_that_fails_does_not_spoil_the_others(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(
        TaskSpec("amv-1", timeline=(TaskStep(status="running"), TaskStep(after=2.5, status="failed")))
    )
    contradiction = Fault(action="DescribeModelCompTask", status=200, body={"result": {"id": "amva-another"}})
    emulator.world.faults.append(contradiction)

    async def steps() -> list[str]:
        asked_for = Selector(None, "amva-this").to_json()
        async with waiting(trigger("amv-1"), trigger(target=asked_for)) as (good, bad):
            return [(await bad)["why"], (await good)["why"]]

    bad, good = in_a_loop(steps)

    assert "asked for amva-this, answered amva-another" in bad
    assert good == "it may have come to an end"


@pytest.mark.parametrize("number", [1, 100])
def test_retry_after_stops_all(emulator: EmulatorServer, number: int) -> None:
    for source in range(number):
        emulator.world.tasks.add(TaskSpec(f"amv-{source}"))
    emulator.world.faults.append(Fault(rate_limit=True, retry_after=40))

    async def steps() -> None:
        sources = [trigger(f"amv-{source}", next_look_at=time.time()) for source in range(number)]
        async with waiting(*sources):
            await asyncio.sleep(4)

    in_a_loop(steps)

    assert emulator.world.count(LIST) == 1


def test_a_reading_that_ends_halfway_starves_nobody(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shared, "RetryPolicy", lambda **_: RetryPolicy(tries=1))
    monkeypatch.setenv("AIRFLOW__QIANFAN__SHORTEST_INTERVAL", "0.1")
    sources = [f"amv-{number}" for number in range(6)]
    for source in sources:
        emulator.world.tasks.add(TaskSpec(source))
    for number in range(700):
        emulator.world.tasks.add(TaskSpec("amv-other", id=f"amva-{number}"))

    async def steps() -> None:
        waits = [await _shared.join("qianfan_default", Query(source), lambda: 0.2, 0.0) for source in sources]
        await asyncio.gather(*(wait.answer(wake_at=math.inf) for wait in waits))
        # From now on, each reading gets one answer.
        emulator.world.faults.append(Fault(rate_limit=True, calls=tuple(range(2, 1000, 2))))
        began = time.time()
        for _ in range(200):
            await asyncio.sleep(0.1)
            if all((wait.healthy_at or 0.0) >= began for wait in waits):
                break
        else:
            pytest.fail("some were not answered")
        await asyncio.gather(*(wait.leave() for wait in waits))

    in_a_loop(steps)


def test_sources_that_always_fail_starve_no_other(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two failures in a row end a reading."""
    monkeypatch.setenv("AIRFLOW__QIANFAN__SHORTEST_INTERVAL", "0.1")
    sources = [f"amv-{number}" for number in range(8)]
    for source in sources:
        emulator.world.tasks.add(TaskSpec(source))
    for number in range(1500):
        emulator.world.tasks.add(TaskSpec("amv-other", id=f"amva-{number}"))
    failing: set[str | None] = set()
    read = snapshot.read_tasks

    def read_tasks(exchange: Any, source: str | None) -> Any:
        if source in failing:
            raise QianfanTransientError("DescribeModelCompTasks", "HTTP 500")
        return (yield from read(exchange, source))

    monkeypatch.setattr(snapshot, "read_tasks", read_tasks)

    async def steps() -> None:
        waits = [await _shared.join("qianfan_default", Query(source), lambda: 0.2, 0.0) for source in sources]
        await asyncio.gather(*(wait.answer(wake_at=math.inf) for wait in waits))
        failing.update(sources[4:6])
        began = time.time() + 1
        for _ in range(200):
            await asyncio.sleep(0.1)
            if sum((wait.healthy_at or 0.0) >= began for wait in waits) == len(sources) - len(failing):
                break
        else:
            pytest.fail("some were not answered")
        await asyncio.gather(*(wait.leave() for wait in waits))

    in_a_loop(steps)


def test_the_rate_is_kept(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__QIANFAN__REQUESTS_PER_SECOND", "4")
    monkeypatch.setenv("AIRFLOW__QIANFAN__REQUEST_BURST", "2")
    for source in range(10):
        emulator.world.tasks.add(TaskSpec(f"amv-{source}"))
    for number in range(2500):
        emulator.world.tasks.add(TaskSpec("amv-other", id=f"amva-{number}"))

    async def steps() -> None:
        sources = [trigger(f"amv-{source}", next_look_at=time.time()) for source in range(10)]
        async with waiting(*sources):
            await asyncio.sleep(4)

    in_a_loop(steps)

    times = [call.time.timestamp() for call in emulator.world.calls]
    assert len(times) > 8
    assert len(times) <= 2 + 4 * (times[-1] - times[0]) + 1


def test_the_shortest_interval_is_kept(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__QIANFAN__SHORTEST_INTERVAL", "2")
    emulator.world.tasks.add(TaskSpec("amv-1"))

    async def steps() -> None:
        async with waiting(trigger(), trigger()):
            await asyncio.sleep(5)

    in_a_loop(steps)

    assert 2 <= emulator.world.count(LIST) <= 3


@pytest.mark.parametrize("value", ["", "0", "-1", "nan", "inf", "ten"])
def test_an_option_that_cannot_be_meant(
    emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    monkeypatch.setenv("AIRFLOW__QIANFAN__REQUESTS_PER_SECOND", value)
    emulator.world.tasks.add(TaskSpec("amv-1", status="succeeded"))

    async def steps() -> str:
        return (await wait_for(trigger()))["why"]  # type: ignore[no-any-return]

    assert in_a_loop(steps) == "it may have come to an end"
    assert f"requests_per_second={value} is not a number" in caplog.text


def test_a_slow_snapshot_is_logged_and_never_overlapped(
    emulator: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is about no task in particular: Airflow's log handlers read whose it is from the context."""
    emulator.world.tasks.add(TaskSpec("amv-1"))
    emulator.world.faults.append(Fault(latency=1.5))
    task: ContextVar[str] = ContextVar("task", default="none")
    whose: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        whose.append(task.get())
        return True

    async def steps() -> None:
        task.set("the wait's")
        _shared.log.addFilter(note)
        try:
            async with waiting(trigger(), trigger()):
                await asyncio.sleep(6)
        finally:
            _shared.log.removeFilter(note)

    in_a_loop(steps)

    assert 3 <= emulator.world.count(LIST) <= 4
    assert sum("longer than the shortest interval" in record.message for record in caplog.records) == 1
    assert whose == ["none"]


def test_who_has_the_same_key_shares_whatever_the_connection_is_called(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", emulator.connection_uri)
    with EmulatorServer() as elsewhere:
        monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", elsewhere.connection_uri)
        emulator.world.tasks.add(TaskSpec("amv-1"))

        async def steps() -> None:
            names = ("qianfan_default", "other", "elsewhere")
            async with waiting(*(trigger(qianfan_conn_id=name) for name in names)):
                await asyncio.sleep(2.5)

        in_a_loop(steps)

        assert all(slot == {"amv-1": 1} for slot in intervals(emulator))
        assert emulator.world.count(LIST) in (2, 3)
        assert elsewhere.world.count(LIST) in (2, 3)


def test_a_refused_key_is_told_of_with_the_name_of_its_connection(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", emulator.connection_uri)
    emulator.world.faults.append(Fault(status=403, body={"code": "AccessDenied"}))

    async def steps() -> list[str]:
        names = ("qianfan_default", "other")
        async with waiting(*(trigger(qianfan_conn_id=name, auth_grace=0) for name in names)) as tasks:
            return [event["why"] for event in await asyncio.gather(*tasks)]

    mine, other = in_a_loop(steps)

    assert "'qianfan_default'" in mine
    assert "'other'" not in mine
    assert "'other'" in other
    assert emulator.world.count(LIST) == 1


def test_a_connection_is_read_once_for_all(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1"))
    read: list[str] = []

    async def counted(conn_id: str, read_connection: Any = _shared.read_connection) -> Any:
        read.append(conn_id)
        return await read_connection(conn_id)

    monkeypatch.setattr(_shared, "read_connection", counted)

    async def steps() -> None:
        async with waiting(*(trigger() for _ in range(30))):
            await asyncio.sleep(1.5)

    in_a_loop(steps)

    assert read == ["qianfan_default"]


def test_others_get_their_turn_while_many_hear_of_many_tasks(emulator: EmulatorServer) -> None:
    """Each of them looks at all tasks when it is told."""
    for number in range(1000):
        emulator.world.tasks.add(TaskSpec("amv-1", id=f"amva-{number}"))
    turns: list[int] = []

    async def wait(subscription: _shared.Subscription, turn: list[None]) -> None:
        await subscription.answer(wake_at=float("inf"))
        turns.append(len(turn))
        await subscription.leave()

    async def others(turn: list[None]) -> None:
        while len(turns) < 40:
            turn.append(None)
            await asyncio.sleep(0)

    async def steps() -> None:
        turn: list[None] = []
        query = Query("amv-1")
        waits = [await _shared.join("qianfan_default", query, lambda: 60.0, 0.0) for _ in range(40)]
        await asyncio.gather(others(turn), *(wait(each, turn) for each in waits))

    in_a_loop(steps)

    assert max(Counter(turns).values()) <= 2


def test_nothing_is_left_after_the_last(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1", status="succeeded"))

    async def steps() -> None:
        async with waiting(*(trigger() for _ in range(3))) as tasks:
            await asyncio.gather(*tasks)

    def ours() -> list[object]:
        gc.collect()
        kinds = (_shared.Account, _shared.Subscription, _shared._Shared, DriverThread)
        # By its type: isinstance would also ask the class of other libraries' lazy proxies, which then load.
        return [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]

    before = ours()  # the traceback of another test may hold some
    in_a_loop(steps)
    assert [thing for thing in ours() if not any(thing is each for each in before)] == []
    connections = psutil.Process().net_connections("tcp")
    assert [each for each in connections if each.raddr and each.raddr.port == emulator.port] == []


def test_a_wait_that_slows_down(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec("amv-1"))

    async def steps() -> None:
        async with waiting(trigger(longest_interval=4)):
            await asyncio.sleep(10)

    in_a_loop(steps)

    times = [call.time.timestamp() for call in emulator.world.calls]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps == pytest.approx([1, 2, 4], abs=0.8)
