"""World time: the emulated platform's idea of now, always an aware UTC datetime."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What :class:`.world.World` needs of a clock."""

    def now(self) -> datetime:
        """Return world time (aware, UTC)."""

    def advance(self, seconds: float) -> None:
        """Move world time forward by ``seconds``."""


class RealClock:
    """
    World time that runs by itself.

    :param speed: world seconds per real second; default 1.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError(f"the clock's speed must be above 0, not {speed}")
        self.speed = speed
        self._start = datetime.now(UTC)
        self._zero = time.monotonic()
        self._skipped = 0.0

    def now(self) -> datetime:
        """Return world time (aware, UTC)."""
        passed = (time.monotonic() - self._zero) * self.speed
        return self._start + timedelta(seconds=passed + self._skipped)

    def advance(self, seconds: float) -> None:
        """Skip ``seconds`` of world time."""
        self._skipped += _forward(seconds)


class ManualClock:
    """
    World time that stands still until it is told to move.

    :param start: the first instant, aware; default: the real time, cut to whole seconds.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is None:
            start = datetime.now(UTC).replace(microsecond=0)
        if start.tzinfo is None:
            raise ValueError("the start of a ManualClock needs a time zone")
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """Return world time (aware, UTC)."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move world time forward by ``seconds``."""
        self._now += timedelta(seconds=_forward(seconds))


def _forward(seconds: float) -> float:
    if seconds < 0:
        raise ValueError(f"time only moves forward, not by {seconds} s")
    return seconds
