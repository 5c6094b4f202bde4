"""
A thread for the requests of an account, so that no event loop waits for a request.

The triggers load ``requests`` before anybody waits: if a thread loaded it later, the waits would be held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.hooks._driver import Driver

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Steps, T
    from airflow_provider_qianfan.hooks._settings import Settings


class StoppedError(Exception):
    """Nobody waits for the result any more."""


class DriverThread:
    """
    Carries out steps one after the other, in a daemon thread that nothing ever waits for.

    Cancelling :meth:`run` returns at once. :meth:`stop` also ends the current request.
    """

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[tuple[Steps[Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._driver = Driver(settings, self._sleep)
        threading.Thread(target=self._serve, name="qianfan-account", daemon=True).start()

    async def run(self, steps: Steps[T]) -> T:
        """Carry out ``steps``. They include the parsing of answers."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._work.put((steps, done))
        return await done

    def stop(self) -> None:
        """End the thread and its connection."""
        self._stopped.set()
        self._driver.wire.abort()
        self._work.put(None)

    def _serve(self) -> None:
        with self._driver:
            while (work := self._work.get()) is not None and not self._stopped.is_set():
                steps, done = work
                result, error = None, None
                try:
                    result = self._driver.run(steps)
                except Exception as failure:
                    error = failure
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(_finish, done, result, error)
                del work, steps, done, result, error

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise StoppedError


def _finish(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
