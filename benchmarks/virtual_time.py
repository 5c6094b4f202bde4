"""
An event loop whose time jumps to the next timer, and what carries out requests in it.

The code that runs in such a loop is the code that runs in a triggerer. It never waits for real: a day takes
as long as its work.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_provider_qianfan.api.exchange import Reply, Request, Sleep
from benchmarks.waits import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from airflow_provider_qianfan.api.exchange import Steps, T
    from airflow_provider_qianfan.hooks._settings import Settings

    Answer = Callable[[Request, str], Coroutine[Any, Any, Reply]]

EPOCH = 1_767_225_600.0
"""The beginning of the simulated time: 2026-01-01 00:00:00 UTC, in seconds since the epoch."""

_TURN = 1e-6
"""Seconds. A turn of the loop takes at least this: a wait for a rounding error would never end."""

_now = time.thread_time  # of the processor: neither virtual, nor held up by other processes


class _Selector(selectors.SelectSelector):
    """Instead of waiting, it moves the time on."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        self.loop.count()
        found = super().select(0 if timeout is not None else None)
        if not found:
            self.loop.now += max(timeout or 0.0, _TURN)
        self.loop.resumed, self.loop.elsewhere = _now(), 0.0
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    An event loop with its own time.

    :ivar now: seconds since the loop began.
    :ivar busy: seconds of processor that the loop itself has used.
    :ivar longest: the longest time, in seconds of processor, in which nothing else got its turn.
    """

    def __init__(self) -> None:
        selector = _Selector()
        selector.loop = self
        self.now, self.busy, self.longest = 0.0, 0.0, 0.0
        self.resumed, self.elsewhere = _now(), 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def count(self) -> None:
        """Count one turn of the loop."""
        took = _now() - self.resumed - self.elsewhere
        self.busy += took
        self.longest = max(self.longest, took)

    @contextmanager
    def in_a_thread(self) -> Iterator[None]:
        """Leave out what another thread or process would do."""
        began, before = _now(), self.elsewhere
        try:
            yield
        finally:
            self.elsewhere = before + _now() - began


class Wire:
    """
    Carries out steps in virtual time, as a thread of an account does in real time.

    :param answer: what the platform answers to a request with a key.
    :param key: the Access Key ID.
    """

    def __init__(self, answer: Answer, key: str) -> None:
        self._answer = answer
        self._key = key
        self._loop: Any = asyncio.get_running_loop()

    async def run(self, steps: Steps[T]) -> T:
        """Carry out ``steps``. They include the parsing of answers."""
        reply: Reply = None
        while True:
            with self._loop.in_a_thread():
                try:
                    effect = steps.send(reply)
                except StopIteration as finished:
                    result: T = finished.value
                    return result
            if isinstance(effect, Sleep):
                await asyncio.sleep(effect.seconds)
                reply = None
            else:
                reply = await self._answer(effect, self._key)

    def stop(self) -> None:
        """End nothing: who waits for the steps ends them."""


def run(main: Coroutine[Any, Any, T], answer: Answer, settings: Callable[[str], Settings], seed: int) -> T:
    """
    Run in virtual time, with the code of a triggerer.

    :param answer: what the platform answers to a request with a key.
    :param settings: the settings of each connection.
    """

    async def read_settings(conn_id: str) -> Settings:
        return settings(conn_id)

    def wire(of: Settings) -> Wire:
        return Wire(answer, of.credentials.access_key_id)

    random.seed(seed)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        with (
            patch.object(time, "time", lambda: EPOCH + loop.time()),
            patch.object(time, "monotonic", loop.time),
            patch.object(shared, "DriverThread", wire),
            patch.object(shared, "read_settings", read_settings),
        ):
            return runner.run(main)
