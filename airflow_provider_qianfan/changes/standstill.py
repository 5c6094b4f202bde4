"""
Whether this process has stood still.

A process may stop for minutes between any two lines: by SIGSTOP, or because its machine is suspended. Airflow
then believes that the task is dead, and starts the next try. When the process goes on, its answers are
outdated, and the next try may already have sent the same request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.exchange import Sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.api.exchange import Reply, Steps, T

MOMENT = 5.0
"""Seconds. A step that needs no time was interrupted if it took longer than this."""

REQUEST_LASTS = 60.0
"""Seconds. A slower request cannot be told from an interrupted one."""


class Standstill:
    """
    Watches steps, and notices interruptions.

    :param clock: returns the time, in seconds since the epoch.
    :ivar began: when the watching began.
    :ivar ended: when the last standstill ended; None if there was none.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen = self.began = clock()
        self.ended: float | None = None

    def watch(self, steps: Steps[T]) -> Steps[T]:
        """Carry out the steps unchanged, and watch the clock."""
        reply: Reply = None
        while True:
            try:
                effect = steps.send(reply)
            except StopIteration as finished:
                result: T = finished.value
                return result
            self._saw(MOMENT)
            reply = yield effect
            self._saw(MOMENT + (effect.seconds if isinstance(effect, Sleep) else REQUEST_LASTS))

    def _saw(self, within: float) -> None:
        """Note the time. If more than ``within`` seconds have passed since, that was a standstill."""
        now = self._clock()
        if now > self._seen + within:
            self.ended = now
        self._seen = now
