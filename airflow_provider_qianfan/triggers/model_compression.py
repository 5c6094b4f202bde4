"""The trigger that watches a model compression task for a deferred sensor."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_qianfan.api.errors import QianfanAuthError, QianfanError
from airflow_provider_qianfan.api.exchange import LONGEST_PAUSE, RetryPolicy, retry_after
from airflow_provider_qianfan.gate.look import watch
from airflow_provider_qianfan.gate.memory import (
    DEFAULT_AUTH_GRACE,
    DEFAULT_MAX_UNHEALTHY,
    Limits,
    Line,
    Memory,
    after_failure,
    after_look,
)
from airflow_provider_qianfan.gate.outcome import DEFAULT_SETTLE
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import NeedDetail, Verdict, Wait
from airflow_provider_qianfan.hooks.qianfan import QianfanHook, reread_failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHORTEST_INTERVAL = 1.0
"""Seconds; watching more often would help nobody."""


class QianfanModelCompTaskTrigger(BaseTrigger):
    """
    Watch a model compression task, and say when it is worth a look.

    It decides nothing: its one event says "look again", and the sensor looks for itself. So it may meet
    a sensor of an older or newer version: keyword arguments it does not know are ignored, and all have
    defaults.

    :param qianfan_conn_id: a connection of type ``qianfan``.
    :param selector: which task is meant, as JSON.
    :param memory: what the wait remembers, its deadline among it, as JSON.
    :param poke_interval: seconds between two looks, at least 1.
    :param next_look: when to look first, in seconds since the epoch. Default: after one interval.
    :param settle: seconds for which a given task id may be missing.
    :param max_unhealthy: seconds without a healthy answer after which the sensor is called.
    :param auth_grace: seconds of refused keys after which the sensor is called.
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

    async def _watch(self, memory: Memory) -> tuple[Memory, str]:
        interval = max(SHORTEST_INTERVAL, self.poke_interval)
        next_look = time.time() + interval if self.next_look is None else self.next_look
        if time.time() >= memory.expired_at:
            # The worker that deferred had time left, by its clock; do not send it back and forth.
            await asyncio.sleep(interval)
            return memory, "the deadline is reached"
        hook = self._hook()
        try:
            while True:
                await asyncio.sleep(max(0.0, min(next_look, memory.expired_at) - time.time()))
                if time.time() >= memory.expired_at:
                    return memory, "the deadline is reached"
                selector = Selector.from_json(self.selector)
                if selector is None:
                    return memory, "which task is meant is not known here"
                next_look = time.time() + interval
                try:
                    verdict = await self._look(hook, selector, memory)
                except QianfanError as error:
                    limits = Limits(self.max_unhealthy, self.auth_grace)
                    try:
                        memory, lines = after_failure(memory, error, time.time(), limits)
                    except QianfanError as final:
                        return memory, str(final)
                    next_look = max(next_look, time.time() + retry_after(error))
                    if isinstance(error, QianfanAuthError):
                        await hook.aclose()
                        hook = self._hook()  # reads the connection again: the key may have been rotated
                else:
                    if not isinstance(verdict, Wait):
                        return memory, "the task may have finished"
                    memory, lines = after_look(memory, verdict, time.time(), interval)
                self._say(lines)
        finally:
            await hook.aclose()

    def _hook(self) -> QianfanHook:
        return QianfanHook(self.qianfan_conn_id, retry=RetryPolicy(patience=LONGEST_PAUSE))

    async def _look(self, hook: QianfanHook, selector: Selector, memory: Memory) -> Verdict | NeedDetail:
        try:
            exchange = await hook.aconnect()
        except Exception as error:
            raise reread_failed(error) from error
        return await hook.arun(watch(exchange, selector, memory, settle=self.settle, clock=time.time))

    def _say(self, lines: list[Line]) -> None:
        for line in lines:
            self.log.log(line.level, "%s", line.text)
