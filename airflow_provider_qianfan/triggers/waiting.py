"""The trigger that watches the platform for deferred sensors."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from dataclasses import replace
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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_qianfan.triggers._shared import Subscription

SHORTEST_INTERVAL = 1.0
"""Seconds. Nobody gains from more looks."""

EXECUTOR_LAG = 20.0
"""
Seconds after the deferral in which no triggerer calls the sensor. The scheduler first has to hear that the
worker which deferred has ended. If a task resumes before that, the scheduler takes it for a killed one and
fails its try (https://github.com/apache/airflow/issues/67287, 71580, 72716; Airflow 3.3.2 and before).
"""

_MOVED = 60.0
"""
Seconds. If a run begins later than this after the deferral, the wait has moved here from another triggerer.
"""

_PATIENCE = 60.0
"""
The longest delay, in seconds, of an event about the deadline. Airflow ends the deferral ten minutes after it.
"""


class QianfanTrigger(BaseTrigger):
    """
    Watch the platform for a deferred sensor, and say when a look is worthwhile.

    Within a triggerer, all triggers whose connections have the same endpoint and key share one client, one
    request budget, and one reading of the platform per interval.

    The trigger decides nothing. Its one event says "look again", and the sensor looks for itself. The event
    comes at the earliest 20 seconds after the deferral, even if the deadline comes sooner: if a task resumes
    before that, Airflow may take it for a killed one.

    The sensor may be of an older or newer version. So the trigger ignores keyword arguments that it does not
    know, and all that it knows have defaults. It also accepts ``target`` and ``next_look_at`` under their
    older names, ``selector`` and ``next_look``.

    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``.
    :param target: the task or resource to wait for, as JSON.
    :param memory: the memory of the wait, with its deadline, as JSON.
    :param poke_interval: seconds between two looks. Default: 60. In a deferred wait, at least 1.
    :param next_look_at: when to look first, in seconds since the epoch. Default: after one interval.
    :param settle: seconds that the platform may take to show what was just created or changed. Default: 120.
    :param max_unhealthy: seconds that a wait goes on without a healthy answer from the platform. Default:
        3600. In a deferred wait, the worker and the triggerer count separately.
    :param auth_grace: seconds that a wait goes on if the platform refuses a key that has worked, or if the
        proxy or the CA bundle can no longer be used. Default: 600. In a deferred wait, the worker and the
        triggerer count separately.
    :param longest_interval: seconds. Intervals grow with the wait up to this length. Default: intervals do
        not grow.
    :param deferred_at: when the sensor deferred, in seconds since the epoch. Default: when the trigger first
        runs.
    :param called_in_vain: whether the sensor was called before and found that the wait goes on. If so, the
        trigger does not call it again before ``next_look_at``.
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
        self.settle = settle if is_number(settle) else DEFAULT_SETTLE
        self.max_unhealthy = max_unhealthy
        self.auth_grace = auth_grace
        self.longest_interval = longest_interval
        self.deferred_at = deferred_at
        self.called_in_vain = called_in_vain

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path, and the arguments that make the trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "qianfan_conn_id": self.qianfan_conn_id,
                "target": self.target,
                "memory": self.memory,
                "poke_interval": self.poke_interval,
                "next_look_at": self.next_look_at,
                "settle": self.settle,
                "max_unhealthy": self.max_unhealthy,
                "auth_grace": self.auth_grace,
                "longest_interval": self.longest_interval,
                "deferred_at": self.deferred_at,
                "called_in_vain": self.called_in_vain,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch until a look is worthwhile or the deadline is reached. Then yield one event."""
        watching, failed, memory = None, None, self.memory
        try:
            watching = _Watching(self)
            why = await watching.until_a_look_is_worthwhile()
            failed = watching.failed and failure_to_json(watching.failed, watching.run)
        except Exception:
            # Any error: a failed trigger would fail the task. Let the sensor look for itself.
            self.log.exception("Watching failed; the sensor looks for itself.")
            why = "watching failed"
            await (asyncio.sleep(EXECUTOR_LAG) if watching is None else watching.until_it_is_safe())
        if watching is not None:
            memory = watching.memory_for_the_worker.to_json()
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
    Return a value that an event may carry; None for any other, so that the sensor goes by its own arguments.

    A triggerer cannot encode a lone surrogate. It would die of one, with all its waits. Another version may
    have let one in.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return None
    return value


def _workers_time(trigger: QianfanTrigger) -> float:
    """
    Return the time to compare with a time of the worker, in seconds since the epoch.

    If the worker deferred in the future, its clock is ahead of this machine's. If its clock is behind,
    nothing shows it: a wait that has moved here looks the same. A wait that moves while its deferral is in
    the future counts anew from the deferral.
    """
    since = trigger.deferred_at
    return max(time.time(), since) if is_number(since) else time.time()


class _Watching:
    """
    One run of the trigger, and what lasts from answer to answer.

    Thousands of runs wait in one process. So a waiting run keeps only what the wait needs. It drops what it
    needs to judge an answer before it waits for the next one.
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
            # The memory is from the deferral. Since then, another triggerer may have had answers.
            self._memory = self._memory.with_health(Observer.TRIGGERER, Health())
        until = trigger.next_look_at if trigger.called_in_vain else None
        workers_now = _workers_time(trigger)
        left = self._memory.expired_at - workers_now
        held_for = until - workers_now if is_number(until) else 0.0
        # If only this machine's clock says that the deadline is over, do not call the sensor again and again.
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

    @property
    def memory_for_the_worker(self) -> Memory:
        """What the worker gets. By its own clock, the worker counts how long the target has been missing."""
        memory, told = self.memory, Memory.from_json(self._trigger.memory, now=0.0)
        same = memory.absent_since == told.absent_since and told.absent in ("", memory.absent)
        return memory if same else replace(memory, absent="", absent_since=None)

    async def until_a_look_is_worthwhile(self) -> str:
        """Watch. Return why the watching ended."""
        left = self._memory.expired_at - _workers_time(self._trigger)
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
        """Wait until the sensor may be called: not while the executor still holds the task."""
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))

    async def _watch(self) -> str:
        from airflow_provider_qianfan.triggers._shared import SPREAD  # loads urllib3

        self._trigger.qianfan_conn_id.encode()  # rather fail here than in Airflow's own pipe
        due_in, failed_at = self._first_due_in(), -math.inf
        wanted = target = target_from_json(self._trigger.target)
        if wanted is None or target is None:
            await asyncio.sleep(due_in)
            return "what is meant is not known here"
        if due_in <= self._shortest:  # and not because the platform asked to be left alone
            due_in *= 1 - SPREAD * random.random()  # noqa: S311  those who begin together elsewhere part
        while True:
            try:
                subscription = self._subscription or await self._join(Query.of(target), due_in, failed_at)
            except Exception as error:
                answer: Found | QianfanError = reread_failed(error)
            else:
                answer = await subscription.answer(wake_at=self._wake_at())
            if not isinstance(answer, QianfanError):
                go_on = self._go_on(answer, target, wanted)
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
        return self._shortest if due_at is None else max(0.0, due_at - _workers_time(self._trigger))

    def _wake_at(self) -> float:
        """Return when an answer counts even if it says nothing new, in seconds since the epoch."""
        memory = self._memory
        next_line = memory.spoke + HEARTBEAT
        return (
            next_line
            if memory.absent_since is None
            else min(next_line, memory.absent_since + self._trigger.settle)
        )

    async def _join(self, query: Query, due_in: float, fresher_than: float) -> Subscription:
        from airflow_provider_qianfan.triggers._shared import join

        conn_id = self._trigger.qianfan_conn_id
        self._subscription = await join(conn_id, query, self._interval, due_in, fresher_than=fresher_than)
        return self._subscription

    def _go_on(self, answer: Found, target: Target, wanted: Target) -> Target | None:
        """
        Return what to look at next; None if a look of the sensor is worthwhile.

        :param target: what the answer is about: ``wanted``, or what else has to be ready.
        """
        memory, now = self.memory, time.time()
        verdict = judge(target, answer, memory, now, settle=self._trigger.settle)
        more = next_target(target, verdict)
        if more is not None and self._subscription is not None:
            self._subscription.ask_for(Query.of(more), self._subscription.account.now)
            return more
        if not isinstance(verdict, Wait):
            return None
        self._memory, lines = after_look(memory, verdict, now, self._interval(), Observer.TRIGGERER)
        self._say(lines)
        if target != wanted and self._subscription is not None:
            # Meanwhile another task may have become the newest.
            self._subscription.ask_for(Query.of(wanted), self._subscription.due)
        return wanted

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
        """Wait for a random time: one snapshot may call many sensors, and each of them looks."""
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
