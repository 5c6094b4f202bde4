"""How many requests a second one account gets."""

from __future__ import annotations

DEFAULT_RATE = 10.0
"""Requests per second. The platform documents no limit for these actions."""

DEFAULT_BURST = 20


class Budget:
    """
    A token bucket. Times are seconds of any clock that never goes back.

    :param rate: requests per second in the long run.
    :param burst: requests that may follow each other at once after a rest.
    :ivar spent: how many requests were allowed so far.
    """

    def __init__(self, rate: float = DEFAULT_RATE, burst: int = DEFAULT_BURST) -> None:
        self.spent = 0
        self._rate = rate
        self._burst = float(burst)
        self._tokens = self._burst
        self._counted_at = 0.0

    def wait(self, now: float) -> float:
        """Return for how many seconds a request must wait. 0 allows the request, and counts it."""
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate)
        self._counted_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        self.spent += 1
        return 0.0
