from __future__ import annotations

import asyncio
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.steps import ModelStep, TaskStep
from airflow_provider_qianfan.gate.memory import DEFAULT_SETTLE, Health, Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.triggers import _shared, waiting
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.server import EmulatorServer

SOURCE = "amv-source000001"
LIST = "DescribeModelCompTasks"


def trigger(**arguments: Any) -> QianfanModelCompTaskTrigger:
    now = time.time()
    memory = Memory(started=now, deadline=now + 10, last_healthy=now).to_json()
    usual = {
        "target": Selector(SOURCE).to_json(),
        "memory": memory,
        "poke_interval": 1.0,
        "next_look_at": now,
    }
    return QianfanModelCompTaskTrigger(**{**usual, **arguments})


def fire(made: QianfanModelCompTaskTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        return (await anext(made.run())).payload  # type: ignore[no-any-return]

    return asyncio.run(asyncio.wait_for(first(), 15))


@pytest.fixture(autouse=True)
def database(airflow_db: None) -> None:
    """The trigger reads its connection through Airflow."""


def test_a_finished_task_is_worth_a_look(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            timeline=(TaskStep(status="running"), TaskStep(after=1, status="succeeded", model_id="amv-made")),
        )
    )

    event = fire(trigger())

    assert event["why"] == "it may have come to an end"
    assert event["target"] == Selector(SOURCE).to_json()
    assert emulator.world.count(LIST) >= 2


@pytest.mark.parametrize("newer", ["succeeded", "failed"])
def test_a_newer_task_counts_although_an_older_ones_model_is_not_ready(
    emulator: EmulatorServer, newer: Any
) -> None:
    """As in the other modes, in which each look begins with the task."""
    never = (ModelStep(status="Creating"),)
    older = TaskStep(status="succeeded", model_id="amv-made", model_timeline=never)
    emulator.world.tasks.add(TaskSpec(SOURCE, timeline=(older,), created=-10))

    async def watch() -> Any:
        watching = asyncio.ensure_future(
            anext(trigger(target=Selector(SOURCE, model_ready=True).to_json()).run())
        )
        while emulator.world.count("DescribeModel") < 2:  # noqa: ASYNC110  the emulator runs in a thread
            await asyncio.sleep(0.05)
        assert not watching.done()
        emulator.world.tasks.add(TaskSpec(SOURCE, status=newer))
        return (await watching).payload

    event = asyncio.run(asyncio.wait_for(watch(), 15))

    assert event["why"] == "it may have come to an end"
    assert Memory.from_json(event["memory"], now=0).state == "model version amv-made is Creating"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        pytest.param({}, "it may have come to an end", id="an end"),
        pytest.param({"qianfan_conn_id": "none", "max_unhealthy": 0}, "max_unhealthy", id="trouble"),
        pytest.param({"next_look_at": "soon"}, "watching failed", id="a defect"),
    ],
)
def test_a_triggerer_keeps_a_wait_until_the_executor_has_let_it_go(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], why: str
) -> None:
    """Or the scheduler would take the end of the worker that deferred for that of the one that resumes."""
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    monkeypatch.setattr(waiting, "EXECUTOR_LAG", 2.0)
    made = trigger(**given)

    began = time.monotonic()
    assert why in fire(made)["why"]
    assert time.monotonic() - began < 2

    made.trigger_id = 7  # as a triggerer does
    began = time.monotonic()
    assert why in fire(made)["why"]
    assert 2 <= time.monotonic() - began < 8


@pytest.mark.parametrize("missing_for", [None, 1.0])
def test_the_worker_counts_by_its_own_clock_how_long_a_task_has_been_missing(
    emulator: EmulatorServer, missing_for: float | None
) -> None:
    """If a worker's clock is ahead, a task that the triggerer has just missed would be missing for long."""
    since = None if missing_for is None else time.time() - missing_for
    memory = Memory(started=time.time(), deadline=time.time() + 60, absent_since=since)
    target = Selector(model_comp_task_id="amva-none").to_json()

    event = fire(trigger(target=target, memory=memory.to_json(), settle=1.5))

    assert event["why"] == "it may have come to an end"
    assert Memory.from_json(event["memory"], now=0).absent_since == since


@pytest.mark.parametrize(
    ("deferred_for", "least", "most"),
    [(0.0, 2, 8), (1.5, 0.5, 2), (60.0, 0, 2), (-3600.0, 2, 8), ("never", 2, 8)],
)
def test_it_keeps_it_from_the_deferral(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, deferred_for: Any, least: float, most: float
) -> None:
    """A wait that moves to another triggerer has been kept already; a clock that is wrong does not count."""
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    monkeypatch.setattr(waiting, "EXECUTOR_LAG", 2.0)
    monkeypatch.setattr(_shared, "SPREAD", 0.0)
    now = time.time()
    made = trigger(deferred_at=deferred_for if isinstance(deferred_for, str) else now - deferred_for)
    made.trigger_id = 7

    began = time.monotonic()
    fire(made)

    assert least <= time.monotonic() - began < most


@pytest.mark.parametrize(("in_vain", "least"), [(False, 0.0), (True, 3.0)])
@pytest.mark.parametrize("trigger_id", [None, 7])
def test_a_sensor_that_was_called_in_vain_is_not_called_before_the_next_look(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, in_vain: bool, least: float, trigger_id: Any
) -> None:
    """A snapshot that others have asked for may come sooner."""
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    monkeypatch.setattr(waiting, "EXECUTOR_LAG", 0.0)
    now = time.time()
    other = trigger()
    made = trigger(next_look_at=now + 3, called_in_vain=in_vain, poke_interval=5.0)
    made.trigger_id = trigger_id

    async def both() -> float:
        began = time.monotonic()
        asking = asyncio.create_task(anext(other.run()))
        await anext(made.run())
        took = time.monotonic() - began
        await asking
        return took

    took = asyncio.run(asyncio.wait_for(both(), 15))
    assert least <= took
    assert in_vain or took < 3


def refuse_once(emulator: EmulatorServer) -> None:
    """Refuse the key of the next call, and of no other."""
    accounts = emulator.world.accounts
    emulator.world.accounts = [Account(access_key_id="new-id", secret_access_key="new-secret")]

    def accept(call: Any) -> None:
        emulator.world.accounts = accounts

    emulator.world.on_call = accept


def test_a_run_counts_health_from_its_own_beginning(emulator: EmulatorServer) -> None:
    """What it remembers is as old as the deferral: since then another triggerer may have seen well."""
    refuse_once(emulator)
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    long_ago = time.time() - 7200
    ill = Health(healthy_at=long_ago, lost_since=long_ago, refused_since=long_ago)
    memory = Memory(started=long_ago, deadline=time.time() + 60, last_healthy=long_ago, triggerer=ill)

    event = fire(trigger(memory=memory.to_json(), deferred_at=long_ago))

    assert event["why"] == "it may have come to an end"
    assert event["failed"] is None


@pytest.mark.parametrize(
    ("deferred_for", "failed"),
    [pytest.param(0, True, id="deferred just now"), pytest.param(7200, False, id="moved here")],
)
def test_a_triggerer_that_was_excused_has_one_more_look(
    emulator: EmulatorServer, deferred_for: float, failed: bool
) -> None:
    refuse_once(emulator)
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    now = time.time()
    excused = Health(refused_since=now - 60, excused=True)
    memory = Memory(started=now, deadline=now + 60, last_healthy=now, triggerer=excused)

    event = fire(trigger(memory=memory.to_json(), deferred_at=now - deferred_for))

    assert bool(event["failed"]) is failed
    assert Memory.from_json(event["memory"], now=0).triggerer.excused is failed
    if failed:
        assert event["failed"]["kind"] == "refused"
        assert "in the triggerer on" in event["failed"]["text"]


@pytest.mark.parametrize("status", ["succeeded", "failed", "stopped"])
def test_whatever_the_end_is_it_is_left_to_the_sensor(emulator: EmulatorServer, status: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status=status))

    assert fire(trigger())["why"] == "it may have come to an end"
    assert [call.action for call in emulator.world.calls] == [LIST]


def test_the_deadline_is_kept(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE))
    now = time.time()

    event = fire(
        trigger(memory=Memory(started=now, deadline=now + 0.5).to_json(), poke_interval=60, next_look_at=None)
    )

    assert event["why"] == "the deadline is reached"
    assert 0.4 < time.time() - now < 5
    assert emulator.world.calls == []


def test_a_deadline_that_is_over_by_this_clock_is_not_told_at_once(emulator: EmulatorServer) -> None:
    now = time.time()

    event = fire(trigger(memory=Memory(started=now - 9, deadline=now - 5).to_json()))

    assert event["why"] == "the deadline is reached"
    assert time.time() - now >= 0.9


def test_a_deadline_that_is_over_is_told_before_airflow_ends_the_deferral(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_PATIENCE", 0.5)
    now = time.time()

    event = fire(trigger(memory=Memory(started=now - 9, deadline=now - 5).to_json(), poke_interval=86400.0))

    assert event["why"] == "the deadline is reached"


@pytest.mark.parametrize("interval", [None, "60", [60], {}, 10**400])
def test_an_interval_that_is_none_is_the_usual_one(emulator: EmulatorServer, interval: Any) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))

    assert fire(trigger(poke_interval=interval))["why"] == "it may have come to an end"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"next_look_at": 10**400, "called_in_vain": True}, "watching failed"),
        ({"deferred_at": 10**400}, "it may have come to an end"),
        ({"longest_interval": "60"}, "watching failed"),
    ],
)
def test_a_number_that_is_none_does_not_fail_the_task(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], why: str
) -> None:
    monkeypatch.setattr(waiting, "EXECUTOR_LAG", 0.1)
    emulator.world.tasks.add(
        TaskSpec(SOURCE, status="running" if "longest_interval" in given else "succeeded")
    )
    made = trigger(**given)
    made.trigger_id = 7

    assert fire(made)["why"] == why


def test_a_watch_that_failed_calls_the_sensor_by_its_deadline(emulator: EmulatorServer) -> None:
    """Later, Airflow would end the deferral, and nobody would look."""
    now = time.time()
    memory = Memory(started=now, deadline=now + 1).to_json()

    event = fire(trigger(memory=memory, qianfan_conn_id=5, next_look_at=now + 7200, called_in_vain=True))

    assert event["why"] == "watching failed"
    assert time.time() - now < 5


@pytest.mark.parametrize("deadline", [-5, 60], ids=["over by this clock", "ahead"])
def test_a_sensor_that_was_called_in_vain_is_not_called_again_and_again(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch, deadline: float
) -> None:
    """Each call starts a worker, and clocks may differ."""
    monkeypatch.setattr(waiting, "EXECUTOR_LAG", 0.1)
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    now = time.time()
    memory = Memory(started=now - 9, deadline=now + deadline).to_json()
    made = trigger(memory=memory, next_look_at=now + 2, called_in_vain=True)
    made.trigger_id = 7

    fire(made)

    assert 1.9 < time.time() - now < 5


@pytest.mark.parametrize(
    ("deadline", "given", "why"),
    [
        pytest.param(-5, {}, "the deadline is reached", id="over"),
        pytest.param(0.3, {"next_look_at": None}, "the deadline is reached", id="while it watches"),
        pytest.param(0.3, {}, "the deadline is reached", id="after an end"),
        pytest.param(0.3, {"next_look_at": "soon"}, "watching failed", id="after a defect"),
        pytest.param(0.3, {"called_in_vain": True}, "the deadline is reached", id="called in vain"),
    ],
)
def test_a_deadline_is_not_told_before_the_executor_has_let_the_task_go(
    emulator: EmulatorServer,
    monkeypatch: pytest.MonkeyPatch,
    deadline: float,
    given: dict[str, Any],
    why: str,
) -> None:
    """If it were, the scheduler would use up a try."""
    monkeypatch.setattr(waiting, "EXECUTOR_LAG", 2.0)
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    now = time.time()
    given = {"next_look_at": now + 60, **given} if given.get("called_in_vain") else given
    memory = Memory(started=now - 9, deadline=now + deadline).to_json()
    made = trigger(**{"memory": memory, "deferred_at": now, **given})
    made.trigger_id = 7

    event = fire(made)
    assert 1.9 < time.time() - now < 5
    assert event["why"] == why


def test_a_deadline_long_after_the_deferral_is_told_at_once(emulator: EmulatorServer) -> None:
    now = time.time()
    memory = Memory(started=now - 90, deadline=now + 1).to_json()
    made = trigger(memory=memory, deferred_at=now - 60, next_look_at=None, poke_interval=60)
    made.trigger_id = 7

    assert fire(made)["why"] == "the deadline is reached"
    assert 0.9 < time.time() - now < 5


@pytest.mark.parametrize(
    ("given", "deadline", "why"),
    [
        pytest.param({}, 3600, "it may have come to an end", id="the first reading"),
        pytest.param({"called_in_vain": True}, 3600, "it may have come to an end", id="called in vain"),
        pytest.param(
            {"poke_interval": 60, "next_look_at": None}, 1, "the deadline is reached", id="the deadline"
        ),
        pytest.param({"target": None}, 3600, "what is meant is not known here", id="an unknown target"),
    ],
)
def test_a_worker_whose_clock_is_ahead_delays_nothing(
    emulator: EmulatorServer, given: dict[str, Any], deadline: float, why: str
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    began = time.time()
    workers = began + 1200
    memory = Memory(started=workers, deadline=workers + deadline).to_json()
    usual = {"memory": memory, "deferred_at": workers, "next_look_at": workers + 1}

    assert fire(trigger(**{**usual, **given}))["why"] == why
    assert 0.8 < time.time() - began < 5


def test_a_clock_that_goes_back_does_not_put_a_deadline_off(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody watches any more, and ten minutes later Airflow would end the deferral."""
    now, began = time.time(), time.monotonic()
    memory = Memory(started=now - 90, deadline=now + 1).to_json()
    made = trigger(memory=memory, deferred_at=now - 60, next_look_at=now + 3600, called_in_vain=True)
    made.trigger_id = 7
    correct = time.time
    monkeypatch.setattr(time, "time", lambda: correct() - (1800 if time.monotonic() > began + 0.5 else 0))

    assert fire(made)["why"] == "the deadline is reached"
    assert time.monotonic() - began < 5


def test_memory_travels_on(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(
        TaskSpec(
            SOURCE,
            id="amva-1",
            timeline=(TaskStep(status="running"), TaskStep(after=1, status="succeeded", model_id="amv-made")),
        )
    )

    memory = Memory.from_json(fire(trigger())["memory"], now=0)

    assert memory.selected == "amva-1"
    assert memory.state == "amva-1 ('amva-1') is running"


def test_a_rotated_key_is_read_again(emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id="amv-made"))
    emulator.world.accounts = [Account(access_key_id="new-id", secret_access_key="new-secret")]

    def rotate(call: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", emulator.connection_uri)

    emulator.world.on_call = rotate

    assert fire(trigger())["why"] == "it may have come to an end"
    assert [call.access_key_id for call in emulator.world.calls] == ["emulator-access-key-id", "new-id"]


def test_a_connection_that_went_away_is_waited_for(
    emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded", model_id="amv-made"))
    monkeypatch.delenv("AIRFLOW_CONN_QIANFAN_DEFAULT")
    waiting = trigger()

    async def come_back() -> dict[str, Any]:
        async def later() -> None:
            await asyncio.sleep(0.5)
            monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", emulator.connection_uri)

        restored = asyncio.create_task(later())
        event = await anext(waiting.run())
        await restored
        return event.payload  # type: ignore[no-any-return]

    assert asyncio.run(asyncio.wait_for(come_back(), 15))["why"] == "it may have come to an end"


def test_trouble_that_lasts_calls_the_sensor(emulator: EmulatorServer) -> None:
    emulator.world.faults.append(Fault(legacy_error=6))
    assert "HTTP 200 6" in fire(trigger())["why"]

    emulator.world.faults[:] = [Fault(status=429)]
    assert "max_unhealthy" in fire(trigger(max_unhealthy=0))["why"]


def test_retry_after_is_obeyed(emulator: EmulatorServer) -> None:
    emulator.world.faults.append(Fault(rate_limit=True, retry_after=60))

    event = fire(trigger(memory=Memory(time.time(), deadline=time.time() + 3).to_json()))

    assert event["why"] == "the deadline is reached"
    assert emulator.world.count(LIST) == 1


def test_it_is_made_again_from_its_kwargs() -> None:
    path, kwargs = trigger().serialize()

    assert path == "airflow_provider_qianfan.triggers.model_compression.QianfanModelCompTaskTrigger"
    assert QianfanModelCompTaskTrigger(**kwargs).serialize() == (path, kwargs)


def test_kwargs_that_only_a_newer_version_knows(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    _, kwargs = trigger().serialize()
    selector, memory = {**kwargs["target"], "colour": "red"}, {**kwargs["memory"], "colour": "red"}

    made = QianfanModelCompTaskTrigger(**{**kwargs, "target": selector, "memory": memory}, colour="red")

    assert fire(made)["why"] == "it may have come to an end"


@pytest.mark.parametrize(
    "missing",
    [
        "qianfan_conn_id",
        "memory",
        "poke_interval",
        "next_look_at",
        "settle",
        "max_unhealthy",
        "auth_grace",
    ],
)
def test_kwargs_that_an_older_version_did_not_give(emulator: EmulatorServer, missing: str) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE, status="succeeded"))
    _, kwargs = trigger().serialize()

    del kwargs[missing]

    assert fire(QianfanModelCompTaskTrigger(**kwargs))["why"] == "it may have come to an end"


@pytest.mark.parametrize("settle", [None, "120", True, math.nan])
def test_a_settle_that_is_no_number_is_the_default(settle: Any) -> None:
    _, kwargs = trigger().serialize()

    assert QianfanModelCompTaskTrigger(**{**kwargs, "settle": settle}).settle == DEFAULT_SETTLE


def test_without_any_kwargs_the_sensor_is_called() -> None:
    assert fire(QianfanModelCompTaskTrigger(poke_interval=1))["why"] == "what is meant is not known here"


def test_several_event_loops_in_one_process(emulator: EmulatorServer) -> None:
    """As in ``dag.test()``, one after the other, and at once in threads."""
    emulator.world.tasks.add(
        TaskSpec(SOURCE, timeline=(TaskStep(status="running"), TaskStep(after=1, status="failed")))
    )

    with ThreadPoolExecutor() as threads:
        events = list(threads.map(lambda _: fire(trigger()), range(3)))

    assert {event["why"] for event in [*events, fire(trigger())]} == {"it may have come to an end"}


def test_without_a_selector_the_sensor_is_called_but_not_at_once() -> None:
    now = time.time()

    assert fire(trigger(target=None, next_look_at=now + 0.5))["why"] == "what is meant is not known here"
    assert time.time() - now >= 0.4


def test_cancelling_closes_what_is_open(emulator: EmulatorServer) -> None:
    emulator.world.tasks.add(TaskSpec(SOURCE))
    emulator.world.faults.append(Fault(latency=5))

    async def cancel() -> None:
        watching = asyncio.create_task(anext(trigger().run()))  # type: ignore[arg-type]
        await asyncio.sleep(0.5)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(cancel())


HALF = "amv-\ud800"
MADE_ELSEWHERE = {
    "a source": {"target": {**Selector(SOURCE).to_json(), "source_model_id": HALF}},
    "a task": {"target": {**Selector(SOURCE).to_json(), "model_comp_task_id": HALF}},
    "a service": {"target": {"resource": "service", "id": HALF, "model_id": "amv-1"}},
    "a model": {"target": {"resource": "model", "id": HALF}},
    "a served model": {"target": {"resource": "service", "id": "svco-1", "model_id": HALF}},
    "a connection": {"qianfan_conn_id": HALF},
    "what was seen": {"memory": {"started": 0.0, "deadline": 1.0, "state": HALF, "noted": {HALF: 0.0}}},
    "what nobody can encode": {"target": {**Selector(SOURCE).to_json(), "more": {1, 2}}},
}


@pytest.mark.parametrize("given", MADE_ELSEWHERE.values(), ids=MADE_ELSEWHERE)
def test_a_wait_that_cannot_be_carried_harms_no_other(
    emulator: EmulatorServer, given: dict[str, Any]
) -> None:
    """A triggerer that cannot encode an event dies, and all its waits with it."""
    emulator.world.tasks.add(
        TaskSpec(SOURCE, timeline=(TaskStep(status="running"), TaskStep(after=1, status="stopped")))
    )

    async def both() -> list[Any]:
        waits = [trigger(), trigger(**given), trigger()]
        return [event.payload for event in await asyncio.gather(*(anext(wait.run()) for wait in waits))]

    ours, theirs, others = asyncio.run(asyncio.wait_for(both(), 20))

    assert ours["why"] == others["why"] == "it may have come to an end"
    assert json.dumps(theirs, ensure_ascii=False).encode()
    assert theirs["version"] == 1
    assert None in (theirs["target"], theirs["memory"]) or "qianfan_conn_id" in given
