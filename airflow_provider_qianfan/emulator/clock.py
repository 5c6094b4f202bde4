"""World time: the emulated platform's idea of now, always an aware UTC datetime."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

# What a datetime holds, with a day to spare for time zones.
_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_LAST = datetime(9999, 12, 30, tzinfo=UTC)


def shifted(moment: datetime, seconds: float) -> datetime:
    """Return the moment so many seconds later. Times are cut to the years 1 to 9999."""
    try:
        return min(max(moment + timedelta(seconds=seconds), _FIRST), _LAST)
    except OverflowError:
        return _LAST if seconds > 0 else _FIRST


class Clock(Protocol):
    """What :class:`.world.World` needs of a clock."""

    def now(self) -> datetime:
        """Return world time (aware, UTC)."""

    def advance(self, seconds: float) -> None:
        """Move world time forward by ``seconds``."""


class RealClock:
    """
    World time that runs by itself.

    :param speed: world seconds per real second. Default: 1.
    :raises ValueError: if ``speed`` is not above 0.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if not 0 < speed < math.inf:
            raise ValueError(f"the clock's speed must be above 0, not {speed}")
        self.speed = speed
        self._start = datetime.now(UTC)
        self._zero = time.monotonic()
        self._skipped = 0.0

    def now(self) -> datetime:
        """Return world time (aware, UTC)."""
        passed = (time.monotonic() - self._zero) * self.speed
        return shifted(self._start, passed + self._skipped)

    def advance(self, seconds: float) -> None:
        """Skip ``seconds`` of world time."""
        _check_forward(self.now(), seconds)
        self._skipped += seconds


class ManualClock:
    """
    World time that stands still until you move it.

    :param start: the first instant, with a time zone. Default: the real time, cut to whole seconds.
    :raises ValueError: if ``start`` has no time zone.
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
        _check_forward(self._now, seconds)
        self._now = shifted(self._now, seconds)


class LeapingClock(ManualClock):
    """
    World time that stands still, and leaps to the next change as soon as a client waits for one.

    A client waits if it asks the same question again, and has changed nothing in between. So a compression of
    an hour takes as many looks as it has steps, and each step is seen.

    :param start: see :class:`ManualClock`.
    """

    def __init__(self, start: datetime | None = None) -> None:
        super().__init__(start)
        self._asked: set[tuple[str, str, bytes]] = set()

    def waits(self, path: str, action: str, body: bytes) -> bool:
        """Take note of a request; return whether its client waits."""
        if not action.startswith("Describe"):
            self._asked.clear()
            return False
        question = (path, action, body)
        waits = question in self._asked
        self._asked.add(question)
        return waits

    def advance(self, seconds: float) -> None:
        """Move world time forward by ``seconds``."""
        super().advance(seconds)
        self._asked.clear()


def _check_forward(now: datetime, seconds: float) -> None:
    if not seconds >= 0:
        raise ValueError(f"time only moves forward, not by {seconds} s")
    if shifted(now, seconds) == _LAST:
        raise ValueError(f"world time ends with the year 9999, so it cannot move by {seconds} s")
