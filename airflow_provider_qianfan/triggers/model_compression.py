"""The trigger that watches a model compression task for a deferred sensor."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_qianfan._compat import read_connection, task_state_of
from airflow_provider_qianfan.api.errors import QianfanAuthError, QianfanError
from airflow_provider_qianfan.api.exchange import Exchange, RetryPolicy
from airflow_provider_qianfan.gate.cancellation import cancel_unfinished
from airflow_provider_qianfan.gate.memory import (
    DEFAULT_AUTH_GRACE,
    DEFAULT_MAX_UNHEALTHY,
    HEARTBEAT,
    Limits,
    Line,
    Memory,
    after_failure,
    after_look,
    interval_after,
)
from airflow_provider_qianfan.gate.outcome import DEFAULT_SETTLE, decide
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.snapshot import Wish
from airflow_provider_qianfan.gate.verdict import Wait
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.hooks.qianfan import QianfanHook, Settings, refused_key, reread_failed
from airflow_provider_qianfan.triggers._shared import SPREAD, Subscription, join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_qianfan.gate.look import Found

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States that Airflow does not leave by itself."""

KILL_PATIENCE = 4.0
"""Seconds of a pause at most: Airflow gives a trigger 30 for its end."""

SHORTEST_INTERVAL = 1.0
"""Seconds; watching more often would help nobody."""


class QianfanModelCompTaskTrigger(BaseTrigger):
    """
    Watch a model compression task, and say when it is worth a look.

    Within a triggerer, all triggers whose connections have the same endpoint and key share one client, one
    request budget, and one reading of the platform per interval.

    It decides nothing: its one event says "look again", and the sensor looks for itself. So it may meet
    a sensor of an older or newer version: keyword arguments it does not know are ignored, and all have
    defaults.

    :param qianfan_conn_id: a connection of type ``qianfan``.
    :param selector: which task is meant, as JSON.
    :param memory: what the wait remembers, its deadline among it, as JSON.
    :param poke_interval: seconds, at least 1; no later than this after an answer comes the next.
    :param next_look: when to look first, in seconds since the epoch. Default: after one interval.
    :param settle: seconds for which a given task id may be missing.
    :param max_unhealthy: seconds without a healthy answer after which the sensor is called.
    :param auth_grace: seconds of refused keys after which the sensor is called.
    :param longest_interval: seconds; up to this, intervals grow with the wait. Default: they do not grow.
    :param cancel_on_kill: cancel the compression if a user ends the deferred task (Airflow 3.3 and newer).
    """

    def __init__(
        self,
        *,
        qianfan_conn_id: str = QianfanHook.default_conn_name,
        selector: dict[str, Any] | None = None,
        memory: dict[str, Any] | None = None,
        poke_interval: float = 60.0,
        next_look: float | None = None,
        settle: float = DEFAULT_SETTLE,
        max_unhealthy: float = DEFAULT_MAX_UNHEALTHY,
        auth_grace: float = DEFAULT_AUTH_GRACE,
        longest_interval: float | None = None,
        cancel_on_kill: bool = False,
        **_unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.qianfan_conn_id = qianfan_conn_id
        self.selector = selector
        self.memory = memory
        self.poke_interval = poke_interval
        self.next_look = next_look
        self.settle = settle
        self.max_unhealthy = max_unhealthy
        self.auth_grace = auth_grace
        self.longest_interval = longest_interval
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and what the trigger is made from again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "qianfan_conn_id": self.qianfan_conn_id,
                "selector": self.selector,
                "memory": self.memory,
                "poke_interval": self.poke_interval,
                "next_look": self.next_look,
                "settle": self.settle,
                "max_unhealthy": self.max_unhealthy,
                "auth_grace": self.auth_grace,
                "longest_interval": self.longest_interval,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch until a look is worthwhile or the deadline is there, then yield one event."""
        memory = Memory.from_json(self.memory, now=time.time())
        try:
            memory, why = await self._watch(memory)
        except Exception:
            # Whatever it is, a failed trigger would fail the task: let the sensor look for itself.
            self.log.exception("Watching failed; the sensor looks for itself.")
            why = "watching failed"
        yield TriggerEvent({"version": 1, "why": why, "selector": self.selector, "memory": memory.to_json()})

    async def on_kill(self) -> None:
        """
        Cancel the compression if that is asked for, and a user has ended the task.

        Airflow 3.3 also calls this when the task is cleared, of which the next try takes the compression
        over; and when another triggerer has taken this trigger over, and maybe has resumed the task.
        """
        selector = Selector.from_json(self.selector) if self.cancel_on_kill else None
        if selector is None or selector.model_comp_task_id is None:
            return
        state = await task_state_of(self.task_instance)
        if state not in ENDED:
            self.log.info("%s goes on: this Airflow task has not ended.", selector.model_comp_task_id)
            return
        from airflow_provider_qianfan.hooks import _httpx  # loads httpx

        settings = Settings.read(*await read_connection(self.qianfan_conn_id))
        exchange = Exchange(
            settings.endpoint, settings.credentials, retry=RetryPolicy(patience=KILL_PATIENCE)
        )
        async with _httpx.make_client(settings) as client:
            steps = cancel_unfinished(exchange, selector.model_comp_task_id)
            task = await _httpx.run(steps, client, settings)
        self.log.info("Cancelled, as this Airflow task is %s: %s.", state, name_of(task))

    async def _watch(self, memory: Memory) -> tuple[Memory, str]:
        interval = max(SHORTEST_INTERVAL, self.poke_interval)
        due_in = interval if self.next_look is None else max(0.0, self.next_look - time.time())
        left = memory.expired_at - time.time()
        if left <= 0:
            # The worker that deferred had time left, by its clock; do not send it back and forth.
            await asyncio.sleep(interval)
            return memory, "the deadline is reached"
        watching = _Watching(self, memory, interval)
        limit = asyncio.timeout(left if left < float("inf") else None)
        try:
            async with limit:
                why = await watching.until_a_look_is_worthwhile(due_in)
        except TimeoutError:
            if not limit.expired():
                raise
            why = "the deadline is reached"
        return watching.memory, why


class _Watching:
    """One run of the trigger: what lasts from answer to answer."""

    def __init__(self, trigger: QianfanModelCompTaskTrigger, memory: Memory, interval: float) -> None:
        self._trigger = trigger
        self._shortest = interval
        self._subscription: Subscription | None = None
        self._memory = memory

    @property
    def memory(self) -> Memory:
        healthy_at = self._subscription and self._subscription.healthy_at
        return replace(self._memory, last_healthy=healthy_at) if healthy_at else self._memory

    async def until_a_look_is_worthwhile(self, due_in: float) -> str:
        trigger = self._trigger
        selector = Selector.from_json(trigger.selector)
        if selector is None:
            await asyncio.sleep(due_in)
            return "which task is meant is not known here"
        if due_in <= self._shortest:  # and not because the platform wants to be left alone
            due_in *= 1 - SPREAD * random.random()  # noqa: S311  those who begin together elsewhere part
        try:
            return await self._watch(selector, due_in)
        finally:
            await self._leave()

    async def _watch(self, selector: Selector, due_in: float) -> str:
        failed_at = -math.inf
        while True:
            answer = await self._answer(Wish.of(selector), due_in, failed_at)
            memory, now = self.memory, time.time()
            if isinstance(answer, QianfanError):
                try:
                    limits = Limits(self._trigger.max_unhealthy, self._trigger.auth_grace)
                    self._memory, lines = after_failure(memory, answer, now, limits)
                except QianfanError as final:
                    return str(final)
                self._say(lines)
                if self._subscription is None or isinstance(answer, QianfanAuthError):
                    # Read the connection again when the next look is due: the key may have been rotated.
                    failed_at = asyncio.get_running_loop().time()
                    await self._leave()
                    await asyncio.sleep(self._interval())
                    due_in = 0.0
                continue
            settle, absence = self._trigger.settle, answer.absence or ""
            verdict = decide(answer.tasks, selector, memory, now, settle=settle, absence=absence)
            if not isinstance(verdict, Wait):
                await self._step_aside()
                return "the task may have finished"
            self._memory, lines = after_look(memory, verdict, now, self._interval())
            self._say(lines)

    async def _answer(self, wish: Wish, due_in: float, fresher_than: float) -> Found | QianfanError:
        if self._subscription is None:
            conn_id = self._trigger.qianfan_conn_id
            try:
                self._subscription = await join(
                    conn_id, wish, self._interval, due_in, fresher_than=fresher_than
                )
            except Exception as error:
                return reread_failed(error)
        answer = await self._subscription.answer(wake_at=self._memory.spoke + HEARTBEAT)
        if isinstance(answer, QianfanAuthError):
            return refused_key(answer, self._trigger.qianfan_conn_id)
        return answer

    async def _step_aside(self) -> None:
        """Resume a little later than others whom the same snapshot calls: each of them takes a look."""
        if self._subscription is not None:
            spread = self._subscription.spread
            self._memory = self.memory
            await self._leave()
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
            self._trigger.log.log(line.level, "%s", line.text)
