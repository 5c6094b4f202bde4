"""Plays worlds with the provider's own sensors, triggers and polls. Time moves only when they wait."""

from __future__ import annotations

import asyncio
import json
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from airflow_provider_qianfan._compat import AirflowFailException, AirflowSensorTimeout, running
from airflow_provider_qianfan.api.exchange import Endpoint, NoResponse, Request, Response, Sleep
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.gate.verdict import Open, Wait
from airflow_provider_qianfan.hooks import _driver
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from airflow_provider_qianfan.triggers import _shared
from airflow_provider_qianfan.triggers.waiting import QianfanTrigger
from tests.proof.clock import Clock, Loop
from tests.proof.oracle import SETTLE, Answer, Question
from tests.proof.qianfan import EPOCH, World, answer, spoiled

MODES = ("poke", "reschedule", "deferrable")
ENDPOINT = Endpoint.parse("https://qianfan.example.com")

MOST_REQUESTS = 5000
"""Far more than any gate needs before its timeout."""

SCHEDULER = 2.0
"""Seconds that Airflow takes to start a task."""


@dataclass(frozen=True, slots=True)
class Gate:
    """
    A gate, as a DAG author writes it. Times are seconds. ``began`` counts from the beginning of the world.

    :param longest_interval: with ``exponential_backoff``, the longest time between two looks.
    """

    question: Question
    began: int = 0
    poke_interval: int = 30
    timeout: int = 300
    max_unhealthy: int = 120
    auth_grace: int = 60
    longest_interval: int | None = None
    retries: int = 0
    soft_fail: bool = False


@dataclass(slots=True)
class Look:
    """One look of a worker. Times are seconds of the world. ``error`` is set if there was no verdict."""

    began: float
    ended: float
    answer: Answer | None
    error: BaseException | None = None
    struck: tuple[str, ...] = ()


@dataclass(slots=True)
class End:
    """How one try of a gate ended. If the task is skipped, ``error`` is the reason."""

    began: float
    ended: float
    error: BaseException | None
    value: Any = None
    xcoms: dict[str, Any] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    skipped: bool = False

    @property
    def name(self) -> str:
        return "success" if self.error is None else type(self.error).__name__


class Play:
    """
    One world, with gates in one mode.

    :ivar story: what was asked, what came back, and what was logged, in order.
    :ivar struck: the faults that changed an answer.
    :ivar mishaps: unexpected errors that the provider logged before it went on.
    :ivar quiet_since: when the last answer was spoiled, in seconds of the world.
    :ivar asked: how many requests there were.
    """

    def __init__(self, world: World, mode: str, seed: int = 0) -> None:
        self.world = world
        self.mode = mode
        self.clock = Clock()
        self.story: list[str] = []
        self.struck: list[str] = []
        self.mishaps: list[str] = []
        self.quiet_since = 0.0
        self.asked = 0
        self._faults = dict(world.faults)
        self._looks: list[Look] = []
        self._seed = seed

    def run(self, gates: list[Gate]) -> list[list[End]]:
        """Play all gates. Return, for each, how its tries ended."""
        random.seed(self._seed)
        with self._staged():
            if self.mode == "deferrable":
                with asyncio.Runner(loop_factory=lambda: Loop(self.clock)) as runner:
                    return runner.run(self._together(gates))
            return [self._alone(gate) for gate in gates]

    @contextmanager
    def _staged(self) -> Iterator[None]:
        async def read_settings(_conn_id: str) -> Settings:
            return self.settings

        with ExitStack() as stack:
            stack.enter_context(self.clock.running())
            for place, name, value in (
                (_driver, "Driver", lambda settings: _Worker(self, settings)),
                (_shared, "DriverThread", lambda settings: _Thread(self, settings)),
                (_shared, "read_settings", read_settings),
                (_shared, "log", _Log(self)),
                (QianfanHook, "settings", property(lambda _hook: self.settings)),
                (QianfanModelCompTaskSensor, "log", _Log(self)),
                (QianfanTrigger, "logger", lambda _trigger: _Log(self)),
            ):
                stack.enter_context(patch.object(place, name, value))
            yield

    @property
    def settings(self) -> Settings:
        """The connection as it is now."""
        key = "old" if self.clock.now < self.world.corrected else "new"
        return Settings(ENDPOINT, Credentials(key, "secret"))

    # -- the modes ---------------------------------------------------------------------------------------

    def _alone(self, gate: Gate) -> list[End]:
        """Play a gate that holds its worker, or comes back to one."""
        self.clock.move_to(gate.began)
        self.asked = 0
        ends: list[End] = []
        while not ends or (self._may_retry(ends[-1]) and len(ends) <= gate.retries):
            began, xcoms = self.clock.now, dict[str, Any]()
            self._looks, first, end = [], None, None
            while end is None:
                again, end = self._in_worker(
                    gate, xcoms, lambda sensor, context: sensor.execute(context), first
                )
                if end is None:
                    first = first or datetime.fromtimestamp(EPOCH + began + self.world.worker_ahead, UTC)
                    self.clock.move_to(max(self.clock.now, again.reschedule_date.timestamp() - EPOCH))
                    self.clock.sleep(SCHEDULER)
            end.began = began
            ends.append(end)
            self.clock.sleep(SCHEDULER)
        return ends

    async def _together(self, gates: list[Gate]) -> list[list[End]]:
        """Play gates that wait in one triggerer."""
        return list(await asyncio.gather(*map(self._deferred, gates)))

    async def _deferred(self, gate: Gate) -> list[End]:
        await asyncio.sleep(gate.began)
        ends: list[End] = []
        while not ends or (self._may_retry(ends[-1]) and len(ends) <= gate.retries):
            began, xcoms, looks = self.clock.now, dict[str, Any](), list[Look]()
            step: Callable[[Any, Any], Any] = lambda sensor, context: sensor.execute(context)  # noqa: E731
            while True:
                here, self._looks = self.clock.now, looks
                deferral, end = self._in_worker(gate, xcoms, step, None)
                there = self.clock.now
                self.clock.move_to(here)
                await asyncio.sleep(there - here)
                if end is not None:
                    break
                event = await self._watch(deferral)
                await asyncio.sleep(SCHEDULER)
                step = lambda sensor, context, event=event: sensor.execute_complete(context, event)  # noqa: E731
            end.began = began
            ends.append(end)
            await asyncio.sleep(SCHEDULER)
        return ends

    async def _watch(self, deferral: Any) -> Any:
        """Run a trigger as a triggerer does, until its one event; an error if Airflow had to end it."""
        deaths = [10.0 * death for death in self.world.deaths if 10.0 * death > self.clock.now]
        async with asyncio.timeout(deferral.timeout.total_seconds()):
            while True:
                try:
                    async with asyncio.timeout_at(deaths.pop(0) if deaths else None):
                        return await self._watch_once(deferral.trigger)
                except TimeoutError:
                    if asyncio.current_task().cancelling():
                        raise

    async def _watch_once(self, deferred: Any) -> Any:
        path, arguments = deferred.serialize()
        module, _, name = path.rpartition(".")
        trigger = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))
        trigger.trigger_id = 1
        events = trigger.run()
        try:
            return json.loads(json.dumps((await anext(aiter(events))).payload))
        finally:
            await events.aclose()

    def _in_worker(
        self, gate: Gate, xcoms: dict[str, Any], step: Callable[[Any, Any], Any], first: datetime | None
    ) -> tuple[Any, End | None]:
        """Run a step of a task. Return the exception that interrupts it, or how it ended."""
        sensor = self._sensor(gate)
        now = datetime.fromtimestamp(EPOCH + self.clock.now + self.world.worker_ahead, UTC)
        ti = SimpleNamespace(
            xcom_push=lambda *, key, value: xcoms.update({key: value}),
            get_first_reschedule_date=lambda _context: first,
            start_date=now,
            try_number=1,
        )
        context: Any = {"ti": ti, "dag_run": None}
        try:
            with running(sensor), self.clock.wrong_by(self.world.worker_ahead):
                value = step(sensor, context)
        except (TaskDeferred, AirflowRescheduleException) as interruption:
            return interruption, None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            skipped = isinstance(error, AirflowSkipException)
            reason = error.__cause__ if skipped else error
            return None, End(0.0, self.clock.now, reason, None, xcoms, self._looks, skipped)
        return None, End(0.0, self.clock.now, None, value, xcoms, self._looks)

    def _sensor(self, gate: Gate) -> QianfanModelCompTaskSensor:
        asked = gate.question
        after = asked.created_after
        more: dict[str, Any] = {}
        if gate.longest_interval is not None:
            more = {"exponential_backoff": True, "max_wait": timedelta(seconds=gate.longest_interval)}
        return QianfanModelCompTaskSensor(
            task_id="gate",
            source_model_id=asked.source,
            model_comp_task_id=asked.id,
            name=asked.name,
            created_after=None if after is None else datetime.fromtimestamp(EPOCH + after, UTC),
            if_several=asked.if_several,
            wait_for_model_ready=asked.model_ready,
            poke_interval=gate.poke_interval,
            timeout=gate.timeout,
            settle=SETTLE,
            max_unhealthy=gate.max_unhealthy,
            auth_grace=gate.auth_grace,
            soft_fail=gate.soft_fail,
            deferrable=self.mode == "deferrable",
            mode="reschedule" if self.mode == "reschedule" else "poke",
            **more,
        )

    @staticmethod
    def _may_retry(end: End) -> bool:
        final = AirflowFailException | AirflowSensorTimeout
        return end.error is not None and not end.skipped and not isinstance(end.error, final)

    # -- the network -------------------------------------------------------------------------------------

    def looked(self, look: Look) -> None:
        self._looks.append(look)

    def reply(self, request: Request, key: str) -> Response | NoResponse:
        """Answer a request at this time."""
        self.asked += 1
        if self.asked > MOST_REQUESTS:
            raise AssertionError("the gate goes on without end")
        action = request.url.partition("Action=")[2]
        asked = json.loads(request.body)
        now = self.clock.now
        honest = answer(self.world, now, action, asked, datetime.fromisoformat(request.headers["x-bce-date"]))
        fault = self._faults.get(self.asked)
        came = honest if fault is None else spoiled(fault, honest, now, action)
        if came == honest and key == "old" and now >= self.world.refused:
            fault = "key: refused"
            came = spoiled(fault, honest, now, action)
        if fault is not None and came != honest:
            self.struck.append(fault)
            self.quiet_since = now
        told = came if isinstance(came, bool) else came[2].decode()[:300]
        self.story.append(f"{now:7.1f} {action} {request.body.decode()}: {fault or 'ok'}: {told}")
        if isinstance(came, bool):
            return NoResponse(fault or "", sent=came)
        return Response(*came)


class _Log:
    """Tells the story what gates log."""

    def __init__(self, play: Play) -> None:
        self._play = play

    def log(self, _level: int, text: str, *values: object) -> None:
        self._play.story.append(f"{self._play.clock.now:7.1f} log: {text % values if values else text}")

    def info(self, text: str, *values: object) -> None:
        self.log(0, text, *values)

    debug = warning = error = info

    def exception(self, text: str, *values: object) -> None:
        self.log(0, f"{text}\n{traceback.format_exc()}", *values)
        self._play.mishaps.append(text)


class _Worker:
    """Stands for the driver of a worker."""

    def __init__(self, play: Play, settings: Settings) -> None:
        self._play, self._key = play, settings.credentials.access_key_id
        self.wire = SimpleNamespace(close=lambda: None)

    def run(self, steps: Any) -> Any:
        play, reply = self._play, None
        began, struck = play.clock.now, len(play.struck)
        look = Look(began, began, None)
        try:
            while True:
                try:
                    effect = steps.send(reply)
                except StopIteration as finished:
                    look.answer = _answer_of(finished.value)
                    return finished.value
                if isinstance(effect, Sleep):
                    play.clock.sleep(effect.seconds)
                    reply = None
                    continue
                play.clock.sleep(play.world.latency / 2)
                reply = play.reply(effect, self._key)
                play.clock.sleep(play.world.latency / 2)
        except Exception as error:
            look.error = error
            raise
        finally:
            look.ended, look.struck = play.clock.now, tuple(play.struck[struck:])
            play.looked(look)


class _Thread:
    """Stands for the thread of an account."""

    def __init__(self, play: Play, settings: Settings) -> None:
        self._play, self._key = play, settings.credentials.access_key_id

    async def run(self, steps: Any) -> Any:
        reply = None
        while True:
            try:
                effect = steps.send(reply)
            except StopIteration as finished:
                return finished.value
            if isinstance(effect, Sleep):
                await asyncio.sleep(effect.seconds)
                reply = None
                continue
            await asyncio.sleep(self._play.world.latency / 2)
            reply = self._play.reply(effect, self._key)
            await asyncio.sleep(self._play.world.latency / 2)

    def stop(self) -> None:
        """Do nothing: the code that waits for the steps ends them."""


def _answer_of(verdict: Any) -> Answer:
    if isinstance(verdict, Open):
        return Answer("opens", verdict.model_id)
    if isinstance(verdict, Wait):
        return Answer("waits")
    return Answer("fails", type(verdict.error).__name__.removeprefix("Qianfan").removesuffix("Error"))
