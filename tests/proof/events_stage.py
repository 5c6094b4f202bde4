"""Plays worlds with watchers: the provider's own event triggers and polls, and an Airflow around them."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome

from airflow_provider_qianfan.triggers import _watch
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger
from tests.proof.clock import Loop
from tests.proof.events_oracle import Event, Life, Past, Watcher
from tests.proof.play import Play, _Log
from tests.proof.qianfan import EPOCH, FOREVER, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from airflow_provider_qianfan.api.exchange import NoResponse, Request, Response
    from tests.proof.play import End, Gate

UNHEEDED = 2.0
"""Seconds before Airflow stops a watcher. In these, Airflow confirms its events, but does not store them."""

LOST = 300.0
"""Seconds after which Airflow says that it did not store an event."""

TAKES = {"dies": 0.0, "is stopped": 0.0, "is replaced": 1.0, "is not alone": 100.0}
"""
How a watcher ends, and how long it goes on beside its successor.

``dies``: the triggerer is killed. ``is stopped``: all DAGs are paused. ``is replaced``: Airflow starts the
changed trigger before it cancels the old one. ``is not alone``: two triggerers run the watcher for a while.
"""

LARGEST = 65_535
"""Bytes. Airflow warns of a larger value in its store."""


@dataclass(frozen=True, slots=True)
class Stage:
    """
    A world, its watchers, and the Airflow that runs them. Times are seconds of the world.

    :param gate: a gate that waits in the same triggerer.
    :param keeps: what Airflow keeps. ``kept``: what was reported. ``several``: nothing, because a trigger
        watches for several assets. ``older``: nothing, because the Airflow is older than 3.3.
    :param ends: when the watchers end, how, and how long Airflow takes to start them again.
    :param began: when the watchers start.
    :param lost: which events Airflow does not store, counted from 1.
    :param store: what happens to which request to Airflow's store, counted from 1.
    :param storing: seconds until Airflow stores an event.
    :param confirming: seconds until Airflow then tells the watcher so.
    """

    world: World
    watchers: tuple[Watcher, ...] = (Watcher(),)
    gate: Gate | None = None
    keeps: str = "kept"
    ends: tuple[tuple[int, str, int], ...] = ()
    began: int = 0
    lost: tuple[int, ...] = ()
    store: tuple[tuple[int, str], ...] = ()
    storing: float = 0.5
    confirming: float = 1.0

    def lag(self, watcher: Watcher) -> float:
        """Return the seconds that a watcher may take if nothing disturbs it."""
        world, sources = self.world, {each.source for each in self.watchers}
        pages = 2 + len(world.tasks) // world.page
        one_round = world.latency * 2 * (len(sources) + 2) * (pages + 1)
        more = 4 if len(world.tasks) > 20 else 0
        return (2.2 + more) * max(watcher.interval, one_round) + one_round + 150

    @property
    def until(self) -> float:
        """The time at which all has been quiet for long enough."""
        still: list[float] = [*self.world.changes()]
        still += [at + takes + TAKES[how] for at, how, takes in self.ends]
        still += [at for at in (self.world.refused, self.world.corrected) if at < FOREVER]
        return max([self.began, *still]) + LOST * bool(self.lost) + 1.1 * max(map(self.lag, self.watchers))


class EventsPlay(Play):
    """
    A stage that is played.

    :ivar lives: the lives of each watcher.
    :ivar ends: how the tries of the gate ended.
    :ivar readings: how often each list was read.
    :ivar mishandled: the faults of the triggerer and of Airflow that happened.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.world, "deferrable")
        self.stage = stage
        self.lives: list[list[Life]] = [[] for _ in stage.watchers]
        self.ends: list[End] = []
        self.stores = [_Store(self) for _ in stage.watchers]
        self.spoiled: list[float] = []
        self.store_spoiled: list[float] = []
        self.store_asked = 0
        self.store_faults = dict(stage.store)
        self.events = 0
        self.readings = Counter[str]()
        self.mishandled: list[str] = []

    def play(self) -> None:
        """Play it."""
        random.seed(0)
        with self._staged(), asyncio.Runner(loop_factory=lambda: Loop(self.clock)) as runner:
            runner.run(self._all())

    def too_many(self) -> list[str]:
        """Say which list was read far more often than an interval allows."""
        stage, spoiled = self.stage, len(self.spoiled) + len(self.store_spoiled)
        intervals = [watcher.interval for watcher in stage.watchers]
        if stage.gate is not None:
            intervals.append(stage.gate.poke_interval)
        looks = 4 * max(stage.until, self.clock.now) / min(intervals) + 20
        looks += 6 * (spoiled + sum(map(len, self.lives)))
        if len(stage.world.tasks) > stage.world.page:
            looks *= 2  # a list that changes is read again
        return [f"{asked} {number} times" for asked, number in self.readings.items() if number > looks]

    def past(self, watcher: Watcher) -> Past:
        """Return what happened around a watcher."""
        return Past(self.world, self.spoiled, self.store_spoiled, self.stage.until, self.stage.lag(watcher))

    async def _all(self) -> None:
        watching = [self._watcher(number) for number in range(len(self.stage.watchers))]
        if self.stage.gate is not None:
            *_, self.ends = await asyncio.gather(*watching, self._deferred(self.stage.gate))
        else:
            await asyncio.gather(*watching)
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            self.mishaps.append(f"left behind: {left}")

    @contextmanager
    def _staged(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(super()._staged())
            stack.enter_context(patch.object(_watch, "log", _WatchLog(self)))
            stack.enter_context(patch.object(QianfanModelCompTaskEventTrigger, "log", _Log(self)))
            yield

    def reply(self, request: Request, key: str) -> Response | NoResponse:
        before, now, asked = len(self.struck), self.clock.now, request.body.decode()
        self.readings[asked] += "marker" not in asked and "modelCompTaskId" not in asked
        came = super().reply(request, key)
        if len(self.struck) > before:
            self.spoiled.append(now)
        return came

    def tell(self, text: str) -> None:
        self.story.append(f"{self.clock.now:7.1f} {text}")

    # -- Airflow -----------------------------------------------------------------------------------------

    async def _watcher(self, number: int) -> None:
        """Run a watcher in all its lives."""
        await self._until(self.stage.began)
        running = _Running(self, number)
        for at, how, takes in self.stage.ends:
            if how == "is stopped":
                await self._until(at - UNHEEDED)
                running.heeded = False
            await self._until(at)
            successor = None
            if TAKES[how]:
                successor = _Running(self, number)
                running.heeded = how == "is not alone"
                await self._until(at + TAKES[how])
            await running.end(stopped=how != "dies")
            self.mishandled.append(f"triggerer: {how}")
            if successor is None:
                await asyncio.sleep(takes)
                successor = _Running(self, number)
            running = successor
        await self._until(self.stage.until)
        await running.end(stopped=False)

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self.clock.now))

    def trigger(self, number: int) -> QianfanModelCompTaskEventTrigger:
        """Make a trigger, as Airflow makes it from its database."""
        watcher = self.stage.watchers[number]
        catch_up = None
        if watcher.catch_up is not None:
            catch_up = datetime.fromtimestamp(EPOCH + watcher.catch_up, UTC)
        made = QianfanModelCompTaskEventTrigger(
            statuses=watcher.statuses,
            source_model_id=watcher.source,
            name=watcher.name,
            name_pattern=watcher.pattern,
            poke_interval=watcher.interval,
            catch_up_from=catch_up,
            look_back=watcher.look_back,
            watcher=f"dag.py {number}",
        )
        made = QianfanModelCompTaskEventTrigger(**json.loads(json.dumps(made.serialize()[1])))
        store: Any = self.stores[number] if self.stage.keeps == "kept" else None
        made.asset_state_store = store
        return made


class _Running:
    """
    A watcher that runs.

    :ivar heeded: whether Airflow stores its events.
    """

    def __init__(self, play: EventsPlay, number: int) -> None:
        self.play, self.heeded = play, True
        self.life = Life(play.clock.now)
        self.name = f"watcher {number}, life {len(play.lives[number])}"
        play.lives[number].append(self.life)
        play.tell(f"{self.name} begins")
        self.trigger = play.trigger(number)
        self._sent: asyncio.Queue[tuple[Event, Any]] = asyncio.Queue()
        self._producer: Any = None
        if play.stage.keeps != "older":
            assert self.trigger.shared_stream_key()
            self._producer = self.trigger.create_shared_stream_producer(self.trigger.serialize()[1])
        self._tasks = [asyncio.create_task(self._stream()), asyncio.create_task(self._store())]

    async def end(self, *, stopped: bool) -> None:
        if stopped and self._producer is not None:
            self.life.stopped = True
            await self.trigger.on_kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self.life.ended = self.play.clock.now
        self.play.tell(f"{self.name} {'is stopped' if stopped else 'ends'}")

    async def _stream(self) -> None:
        try:
            async for payload, receipt in self._payloads():
                event = Event(self.play.clock.now, json.loads(json.dumps(payload))["tasks"])
                self.life.events.append(event)
                self.play.tell(f"{self.name} reports {[task['event_id'] for task in event.tasks][:9]}")
                self._sent.put_nowait((event, receipt))
        except Exception as error:
            self.play.mishaps.append(f"{self.name} raised {error!r}")
        else:
            self.play.mishaps.append(f"{self.name} ended by itself")

    async def _payloads(self) -> AsyncIterator[tuple[Any, Any]]:
        if self._producer is None:
            async for event in self.trigger.run():
                yield event.payload, None
            return
        async for raw, receipt in self._producer.open_stream():
            async for event in self.trigger.filter_shared_stream(_one(raw)):
                yield event.payload, receipt

    async def _store(self) -> None:
        """Store events, and then tell the trigger."""
        play = self.play
        while True:
            event, receipt = await self._sent.get()
            play.events += 1
            lost = play.events in play.stage.lost and receipt is not None
            play.mishandled += ["triggerer: Airflow loses an event"] * lost
            await asyncio.sleep(play.stage.storing)
            if self.heeded and not lost:
                event.stored = play.clock.now
            play.tell(f"{self.name}: the event is {'lost' if event.stored is None else 'stored'}")
            if receipt is None:
                continue
            await asyncio.sleep(LOST if lost else play.stage.confirming)
            told = play.clock.now
            await self._producer.advance([AdvanceItem(receipt, AdvanceOutcome(int(not lost), int(lost)))])
            event.settled = play.clock.now
            event.noted = not any(at >= told for at in play.store_spoiled)


async def _one(raw: Any) -> AsyncIterator[Any]:
    yield raw


class _Store:
    """Airflow's store of an asset."""

    def __init__(self, play: EventsPlay) -> None:
        self._play = play
        self._values: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return await self._ask(lambda: json.loads(self._values[key]) if key in self._values else default)

    async def aset(self, key: str, value: Any) -> None:
        text = json.dumps(value)
        if len(text) > LARGEST:
            self._play.mishaps.append(f"{len(text)} bytes to store")
        await self._ask(lambda: self._values.update({key: text}))

    async def _ask(self, carry_out: Callable[[], Any]) -> Any:
        play = self._play
        play.store_asked += 1
        fault = play.store_faults.get(play.store_asked, "")
        if fault:
            play.tell(f"the store: {fault}")
            play.mishandled.append(f"triggerer: Airflow's store {fault}")
            play.store_spoiled.append(play.clock.now)
        await asyncio.sleep(20.0 if fault == "is slow" else 0.05)
        if fault == "fails":
            raise RuntimeError("the store fails")
        found = carry_out()
        await asyncio.sleep(20.0 if fault == "answers late" else 0.05)
        return found


class _WatchLog(_Log):
    """Tells the story what watchers log."""

    def error(self, text: str, *values: object, exc_info: BaseException | None = None) -> None:
        self.log(0, text, *values)
        told = exc_info is None or "the store fails" in str(exc_info) or isinstance(exc_info, TimeoutError)
        if not told:
            self._play.mishaps.append(f"{exc_info!r}")
