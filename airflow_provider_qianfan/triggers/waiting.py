"""The trigger that watches the platform for deferred sensors."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_qianfan.api.errors import QianfanAuthError, QianfanConfigurationError, QianfanError
from airflow_provider_qianfan.gate.look import Found, Target, judge, next_target, target_from_json
from airflow_provider_qianfan.gate.memory import (
    DEFAULT_AUTH_GRACE,
    DEFAULT_MAX_UNHEALTHY,
    DEFAULT_POKE_INTERVAL,
    DEFAULT_SETTLE,
    HEARTBEAT,
    Health,
    Limits,
    Line,
    Memory,
    Observer,
    Run,
    after_failure,
    after_look,
    failure_to_json,
    interval_after,
    is_number,
)
from airflow_provider_qianfan.gate.snapshot import Query
from airflow_provider_qianfan.gate.verdict import Wait
from airflow_provider_qianfan.hooks._settings import refused_key, reread_failed
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from airflow_provider_qianfan.triggers._shared import SPREAD, Subscription, join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHORTEST_INTERVAL = 1.0
"""Seconds; watching more often would help nobody."""

EXECUTOR_LAG = 20.0
"""
Seconds after the deferral in which no triggerer calls the sensor. The scheduler first has to hear that the
worker which deferred has ended. Until then it takes a task that resumes for one that was killed, and fails
its try (https://github.com/apache/airflow/issues/67287, 71580, 72716; Airflow 3.3.2 and before).
"""

_MOVED = 60.0
"""Seconds after the deferral; a run that begins later is taken for one that moved here."""

_PATIENCE = 60.0
"""The longest delay, in seconds, of a deadline's event: ten minutes after it, Airflow ends the deferral."""


class QianfanTrigger(BaseTrigger):
    """
    Watch what a deferred sensor waits for, and say when it is worth a look.

    Within a triggerer, all triggers whose connections have the same endpoint and key share one client, one
    request budget, and one reading of the platform per interval.

    Its event comes no sooner than 20 seconds after the deferral, even if the deadline comes sooner. If a task
    resumes sooner, Airflow may take it for one that was killed.

    The trigger decides nothing: its one event says "look again", and the sensor looks for itself. The sensor
    may be of an older or newer version. So the trigger ignores keyword arguments that it does not know, and
    all that it knows have defaults. It also takes ``target`` and ``next_look_at`` by their older names,
    ``selector`` and ``next_look``.

    :param qianfan_conn_id: a connection of type ``qianfan``.
    :param target: what is waited for, as JSON.
    :param memory: what the wait remembers, its deadline among it, as JSON.
    :param poke_interval: seconds, at least 1; the longest time between two answers, unless intervals grow.
    :param next_look_at: when to look first, in seconds since the epoch. Default: after one interval.
    :param settle: seconds for which what is given by its id may be missing.
    :param max_unhealthy: after so many seconds without a healthy answer in this triggerer, the sensor is
        called.
    :param auth_grace: if the key is refused, or the settings cannot be used, the sensor is called after so
        many seconds.
    :param longest_interval: seconds; up to this, intervals grow with the wait. Default: they do not grow.
    :param deferred_at: when the sensor deferred, in seconds since the epoch. Default: when it is run first.
    :param called_in_vain: whether the sensor was called before, and found that the wait goes on. It is not
        called again before ``next_look_at``.
    """

    def __init__(
        self,
        *,
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        target: dict[str, Any] | None = None,
        memory: dict[str, Any] | None = None,
        poke_interval: float = DEFAULT_POKE_INTERVAL,
        next_look_at: float | None = None,
        settle: float = DEFAULT_SETTLE,
        max_unhealthy: float = DEFAULT_MAX_UNHEALTHY,
        auth_grace: float = DEFAULT_AUTH_GRACE,
        longest_interval: float | None = None,
        deferred_at: float | None = None,
        called_in_vain: bool = False,
        **others: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.qianfan_conn_id = qianfan_conn_id
        self.target = others.get("selector") if target is None else target
        self.memory = memory
        self.poke_interval = poke_interval
        self.next_look_at = others.get("next_look") if next_look_at is None else next_look_at
        self.settle = settle
        self.max_unhealthy = max_unhealthy
        self.auth_grace = auth_grace
        self.longest_interval = longest_interval
        self.deferred_at = deferred_at
        self.called_in_vain = called_in_vain

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and what the trigger is made from again."""
        names = QianfanTrigger.__init__.__kwdefaults__ or ()  # all that it knows have defaults
        arguments = {name: getattr(self, name) for name in names}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch until a look is worthwhile or the deadline is there, then yield one event."""
        watching, failed, memory = None, None, self.memory
        try:
            watching = _Watching(self)
            why = await watching.until_a_look_is_worthwhile()
            failed = watching.failed and failure_to_json(watching.failed, watching.run)
        except Exception:
            # Whatever it is, a failed trigger would fail the task: let the sensor look for itself.
            self.log.exception("Watching failed; the sensor looks for itself.")
            why = "watching failed"
            await (asyncio.sleep(EXECUTOR_LAG) if watching is None else watching.until_it_is_safe())
        if watching is not None:
            memory = watching.memory.to_json()
        event = {
            "version": 1,
            "why": why,
            "qianfan_conn_id": _sendable(self.qianfan_conn_id),
            "failed": _sendable(failed),
            "target": _sendable(self.target),
            "memory": _sendable(memory),
        }
        yield TriggerEvent(event)


def _sendable(value: Any) -> Any:
    """
    Return what an event may carry; None for what it may not, so that the sensor goes by its own arguments.

    A triggerer cannot encode a lone surrogate, and dies of it, with all its waits. Another version
    may have let one in.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return None
    return value


class _Watching:
    """
    One run of the trigger: what lasts from answer to answer.

    Thousands of them wait in one process, so that only what the wait needs is kept while it waits: what it
    takes to judge an answer is gone before the next one is waited for.
    """

    __slots__ = ("_memory", "_not_before", "_shortest", "_subscription", "_trigger", "failed", "run")

    def __init__(self, trigger: QianfanTrigger) -> None:
        now = time.time()
        self.run = Run(Observer.TRIGGERER, now)
        self.failed: QianfanError | None = None
        self._trigger = trigger
        interval = trigger.poke_interval
        self._shortest = max(SHORTEST_INTERVAL, interval if is_number(interval) else DEFAULT_POKE_INTERVAL)
        self._subscription: Subscription | None = None
        self._memory = Memory.from_json(trigger.memory, now=now)
        since = trigger.deferred_at
        deferred_for = max(0.0, now - since) if is_number(since) else 0.0
        if deferred_for >= _MOVED or not self._memory.triggerer.excused:
            # What is remembered is the deferral's: since then this wait may have been healthy elsewhere.
            self._memory = self._memory.with_health(Observer.TRIGGERER, Health())
        until = trigger.next_look_at if trigger.called_in_vain else None
        held_for, left = until - now if is_number(until) else 0.0, self._memory.expired_at - now
        # A deadline that is over by this clock alone is not told at once, again and again.
        held_for = min(held_for, left) if left > 0 else min(max(held_for, self._shortest), _PATIENCE)
        in_triggerer = trigger.trigger_id is not None  # dag.test() runs it without one: no executor
        lag = EXECUTOR_LAG - deferred_for if in_triggerer else 0.0
        self._not_before = time.monotonic() + max(held_for, lag)

    @property
    def memory(self) -> Memory:
        healthy_at = self._subscription and self._subscription.healthy_at
        if healthy_at and healthy_at > (self._memory.triggerer.healthy_at or 0.0):
            return self._memory.answered(Observer.TRIGGERER, healthy_at)
        return self._memory

    async def until_a_look_is_worthwhile(self) -> str:
        """Watch, and tell why it ended."""
        left = self._memory.expired_at - time.time()
        if left <= 0:
            await self.until_it_is_safe()
            return "the deadline is reached"
        limit = asyncio.timeout(left if left < math.inf else None)
        try:
            async with limit:
                why = await self._watch()
                await self._step_aside()
                return why
        except TimeoutError:
            if not limit.expired():
                raise
            await self._leave()
            await self.until_it_is_safe()
            return "the deadline is reached"
        finally:
            await self._leave()

    async def until_it_is_safe(self) -> None:
        """Wait until the sensor may be called: by its deadline, but not while the executor holds the task."""
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))

    async def _watch(self) -> str:
        self._trigger.qianfan_conn_id.encode()  # rather fail here than in Airflow's own pipe
        due_in, failed_at = self._first_due_in(), -math.inf
        target = target_from_json(self._trigger.target)
        if target is None:
            await asyncio.sleep(due_in)
            return "what is meant is not known here"
        if due_in <= self._shortest:  # and not because the platform wants to be left alone
            due_in *= 1 - SPREAD * random.random()  # noqa: S311  those who begin together elsewhere part
        while True:
            try:
                subscription = self._subscription or await self._join(Query.of(target), due_in, failed_at)
            except Exception as error:
                answer: Found | QianfanError = reread_failed(error)
            else:
                answer = await subscription.answer(wake_at=self._memory.spoke + HEARTBEAT)
            if not isinstance(answer, QianfanError):
                go_on = self._go_on(answer, target)
                if go_on is None:
                    return "it may have come to an end"
                target = go_on
                continue
            self.failed = self._after_failure(answer)
            if self.failed is not None:
                return str(self.failed)
            refused = isinstance(answer, QianfanAuthError | QianfanConfigurationError)
            if self._subscription is None or refused:
                # Read the connection again when the next look is due: it may have been corrected.
                failed_at = asyncio.get_running_loop().time()
                await self._leave()
                await asyncio.sleep(self._interval())
                due_in = 0.0

    def _first_due_in(self) -> float:
        due_at = self._trigger.next_look_at
        return self._shortest if due_at is None else max(0.0, due_at - time.time())

    async def _join(self, query: Query, due_in: float, fresher_than: float) -> Subscription:
        conn_id = self._trigger.qianfan_conn_id
        self._subscription = await join(conn_id, query, self._interval, due_in, fresher_than=fresher_than)
        return self._subscription

    def _go_on(self, answer: Found, target: Target) -> Target | None:
        """Tell what to go on waiting for; None if a look is worthwhile."""
        memory, now = self.memory, time.time()
        verdict = judge(target, answer, memory, now, settle=self._trigger.settle)
        more = next_target(target, verdict)
        if more is not None and self._subscription is not None:
            self._subscription.ask_for(Query.of(more))
            return more
        if not isinstance(verdict, Wait):
            return None
        self._memory, lines = after_look(memory, verdict, now, self._interval(), Observer.TRIGGERER)
        self._say(lines)
        return target

    def _after_failure(self, error: QianfanError) -> QianfanError | None:
        """Return the error to end with; None to go on."""
        if isinstance(error, QianfanAuthError):
            error = refused_key(error, self._trigger.qianfan_conn_id)
        try:
            limits = Limits(self._trigger.max_unhealthy, self._trigger.auth_grace)
            self._memory, lines = after_failure(self.memory, error, time.time(), limits, self.run)
        except QianfanError as final:
            return final
        self._say(lines)
        return None

    async def _step_aside(self) -> None:
        """Resume a little later than others whom the same snapshot calls: each of them takes a look."""
        spread = self._subscription.spread if self._subscription is not None else 0.0
        await self._leave()
        await self.until_it_is_safe()
        await asyncio.sleep(spread * random.random())  # noqa: S311

    async def _leave(self) -> None:
        if self._subscription is not None:
            self._memory = self.memory
            subscription, self._subscription = self._subscription, None
            await subscription.leave()

    def _interval(self) -> float:
        elapsed = time.time() - self._memory.started
        return interval_after(elapsed, self._shortest, self._trigger.longest_interval)

    def _say(self, lines: list[Line]) -> None:
        for line in lines:
            # The class's logger: one for each trigger would take more memory than all that it remembers.
            self._trigger.logger().log(line.level, "%s", line.text)
