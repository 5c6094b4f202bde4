"""A clock that only moves when somebody waits: for code that sleeps, and for an event loop."""

from __future__ import annotations

import asyncio
import selectors
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import time_machine

from tests.proof.qianfan import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURN = 1e-6
"""Seconds. A turn of the loop takes at least this: a wait for a rounding error would never end."""


class Clock:
    """
    The time of a world.

    A worker is a process of its own. While it takes a look, its time goes on, and the loop's does not.

    :ivar now: seconds since the world began.
    :ivar ahead: seconds by which the clock of the machine whose code runs is ahead of ``now``.
    """

    def __init__(self) -> None:
        self.now = self.ahead = 0.0
        self._traveller: Any = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have all code go by this clock."""
        with (
            time_machine.travel(EPOCH, tick=False) as self._traveller,
            patch.object(time, "monotonic", lambda: self.now),
            patch.object(time, "sleep", self.sleep),
        ):
            yield

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.move_to(self.now + max(0.0, seconds))

    def move_to(self, now: float) -> None:
        """Move to a time, maybe back: to another process, whose time is earlier."""
        self.now = now
        self._traveller.move_to(EPOCH + now + self.ahead)

    @contextmanager
    def wrong_by(self, seconds: float) -> Iterator[None]:
        """Run code on a machine whose clock is so many seconds ahead."""
        self.ahead = seconds
        self.move_to(self.now)
        try:
            yield
        finally:
            self.ahead = 0.0
            self.move_to(self.now)


class Loop(asyncio.SelectorEventLoop):
    """An event loop that goes by a clock, and never waits."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0 if timeout is not None else None)
        if not found and timeout:
            self._clock.sleep(max(timeout, _TURN))
        return found
