"""
One poll for all waits of a triggerer.

All waits of an event loop whose connections are the same share an account: one thread for requests, one
request budget, and one snapshot per interval. The account lives as long as somebody waits, and leaves nothing
behind.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_qianfan._compat import conf, metrics, read_connection
from airflow_provider_qianfan.api.budget import DEFAULT_BURST, DEFAULT_RATE, Budget
from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.exchange import LONGEST_PAUSE, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import forgotten_locals
from airflow_provider_qianfan.api.text import clean, count_of, duration
from airflow_provider_qianfan.gate.look import Found
from airflow_provider_qianfan.gate.memory import HEARTBEAT
from airflow_provider_qianfan.gate.snapshot import Costs, Query, Snapshot, take_snapshot
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.triggers._thread import DriverThread

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

DEFAULT_SHORTEST_INTERVAL = 1.0
"""Seconds from the beginning of one snapshot to the beginning of the next."""

FRESH = 5.0
"""Seconds for which a connection is not read again."""

GATHER = 0.1
"""Seconds by which a snapshot may be early, so that waits that are due at about the same time share it."""

SPREAD = 0.1
"""If one snapshot calls several waits, they are spread over this part of an interval."""

_SLICE = 10.0
"""Waits to wake before other work of the event loop gets its turn. Waking one takes about 0.1 ms."""

_TOLD, _LOOKS_AT = 0.05, 0.01
"""What a wait that is told and not woken counts for, and what each task that a woken one looks at."""

_DAY = 86400.0


@dataclass(slots=True, eq=False)
class Subscription:
    """
    One wait's share of an account.

    :param account: the account.
    :param query: what to read.
    :param interval: returns, in seconds, how old an answer may get.
    :param due: when the first answer is due, in the event loop's time.
    :ivar healthy_at: when the platform last answered, in seconds since the epoch; None if it has not yet.
    :ivar wake_at: from when on an answer counts even if it says nothing new, in seconds since the epoch.
    """

    account: Account
    query: Query
    interval: Callable[[], float]
    due: float
    healthy_at: float | None = None
    wake_at: float = 0.0
    _seen: Found | None = None
    _answer: Found | Exception | None = None
    _waiter: asyncio.Future[None] | None = None

    async def answer(self, wake_at: float) -> Found | QianfanError:
        """
        Wait for an answer that differs from the last one.

        :param wake_at: when to return even without one, in seconds since the epoch.
        :raises Exception: if reading failed for another reason than the platform.
        """
        self.wake_at = wake_at
        if self._answer is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        answer, self._answer = self._answer, None
        if isinstance(answer, Found):
            return answer
        error = answer or RuntimeError("woken without an answer")
        error.__traceback__ = None  # other waits raise the same object, and each would add its own traceback
        if isinstance(error, QianfanError):
            return error
        raise error

    def tell(self, answer: Found | Exception, now: float) -> bool:
        """Take an answer. Return whether it is worth waking the wait."""
        if isinstance(answer, Found):
            self.healthy_at = now
            if answer is self._seen and now < self.wake_at:
                return False
            self._seen = answer
        self._answer = answer
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return True

    @property
    def spread(self) -> float:
        """Seconds over which to spread the waits that the same snapshot called."""
        return min(self.account.called / self.account.rate, SPREAD * self.interval())

    def ask_for(self, query: Query, due: float) -> None:
        """Wait for something else from now on. The first answer is due at a time of the event loop."""
        self.query = query
        self.due = due
        self._seen = None
        self.account.hurry(self.due)

    async def leave(self) -> None:
        """End the subscription. The last one to leave an account closes it."""
        await self.account.leave(self)


class Account:
    """One endpoint and key, as seen from one event loop. It polls for all its waits."""

    def __init__(self, shared: _Shared, settings: Settings) -> None:
        self.settings = settings
        self.rate = _option("requests_per_second", DEFAULT_RATE, 0.01)
        self.called = 0
        self._shared = shared
        self._floor = _option("shortest_interval", DEFAULT_SHORTEST_INTERVAL, 0.1)
        self._budget = Budget(self.rate, int(_option("request_burst", DEFAULT_BURST, 1)))
        self._loop = asyncio.get_running_loop()
        self._thread = DriverThread(settings)
        self._exchange = Exchange(
            settings.endpoint,
            settings.credentials,
            retry=RetryPolicy(patience=LONGEST_PAUSE),
            pace=lambda: self._budget.wait(time.monotonic()),
        )
        self._costs = Costs()
        self._last: dict[Query, Found] = {}
        self._waits: dict[Subscription, None] = {}
        self._next_due = math.inf
        self._not_before = -math.inf
        self._slow_since = -math.inf
        self._joined = asyncio.Event()
        # In a context of its own: its log lines belong to no single task.
        self._polling = self._loop.create_task(self._poll(), context=Context(), name="qianfan-account")

    def join(self, query: Query, interval: Callable[[], float], due: float) -> Subscription:
        """Subscribe a wait."""
        subscription = Subscription(self, query, interval, due)
        self._waits[subscription] = None
        self.hurry(due)
        return subscription

    def hurry(self, due: float) -> None:
        """Take the next snapshot by this time."""
        if due < self._next_due:
            self._next_due = due
            self._joined.set()

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def clock_ahead(self) -> float:
        """Seconds by which the platform's clock is ahead of ours, as far as the platform has said so."""
        return self._exchange.server_ahead.total_seconds()

    async def leave(self, subscription: Subscription) -> None:
        """Unsubscribe a wait."""
        self._waits.pop(subscription, None)
        self._shared.release()
        if not self._waits:
            self._shared.accounts.pop(self.settings, None)
            self._polling.cancel()
            self._thread.stop()
            await asyncio.wait([self._polling])

    async def _poll(self) -> None:
        while True:
            await self._until_due()
            try:
                await self._take_round()
            except Exception as error:
                log.exception("Polling failed. Each wait looks for itself.")
                for wait in self._waits:
                    wait.tell(error, time.time())

    async def _take_round(self) -> None:
        began, spent = self._loop.time(), self._budget.spent
        self._not_before = began + self._floor
        # Waits that are due before the next snapshot join this one: no later one would be in time.
        horizon = began + min(wait.interval() for wait in self._waits)
        queries = list({wait.query for wait in self._waits if wait.due < horizon})
        random.shuffle(queries)  # if readings end halfway, no query is always among the last
        steps = take_snapshot(self._exchange, queries, self._costs, began)
        snapshot = await self._thread.run(steps)
        ended = self._loop.time()
        self._not_before = max(self._not_before, ended + snapshot.retry_after)
        told = await self._tell_all(snapshot, began)
        self._next_due = min((wait.due for wait in self._waits), default=math.inf)
        self._report(snapshot, self._budget.spent - spent, told, ended - began)

    async def _until_due(self) -> None:
        while (pause := max(self._next_due - GATHER, self._not_before) - self._loop.time()) > 0:
            self._joined.clear()
            try:
                async with asyncio.timeout(min(pause, _DAY)):
                    await self._joined.wait()
            except TimeoutError:
                continue

    async def _tell_all(self, snapshot: Snapshot, began: float) -> int:
        """Tell all waits that the snapshot concerns. Return how many there were."""
        now, told, answers = time.time(), 0, dict[Query, Found | QianfanError | None]()
        self.called, work = 0, 0.0
        for wait in list(self._waits):
            if work >= _SLICE:
                await asyncio.sleep(0)
                work = 0.0
            if wait.query not in answers:
                answer, last = snapshot.answer(wait.query), self._last.get(wait.query)
                # The same object says that nothing has changed.
                answers[wait.query] = last if answer == last else answer
            if (found := answers[wait.query]) is not None and wait in self._waits:
                wait.due = began + wait.interval()
                told += 1
                if wait.tell(found, now):
                    self.called += 1
                    work += 1 + _LOOKS_AT * (len(found.tasks) if isinstance(found, Found) else 0)
            work += _TOLD
        kept = {
            query: self._last[query] for query in answers if answers[query] is None and query in self._last
        }
        self._last = kept | {query: found for query, found in answers.items() if isinstance(found, Found)}
        return told

    def _report(self, snapshot: Snapshot, calls: int, told: int, took: float) -> None:
        interval = min((wait.interval() for wait in self._waits), default=math.inf)
        now = self._loop.time()
        if took > interval and now - self._slow_since >= HEARTBEAT:
            self._slow_since = now
            log.warning(
                "A snapshot of %s took %s (%s), longer than the shortest interval, %s. The next begins"
                " after it.",
                self.settings.endpoint.url,
                duration(took),
                count_of(calls, "request"),
                duration(interval),
            )
        stats = metrics()
        stats.incr("qianfan.calls", calls)
        stats.incr("qianfan.calls_saved", max(0, told - calls))
        stats.incr("qianfan.throttled", int(snapshot.throttled))
        stats.gauge("qianfan.snapshot_age", took)
        stats.gauge("qianfan.waits", self._shared.users)


class _Shared:
    """What the waits of one event loop share."""

    def __init__(self) -> None:
        self.users = 0
        self.accounts: dict[Settings, Account] = {}
        self._connections: dict[str, tuple[float, asyncio.Task[Settings]]] = {}

    async def settings(self, conn_id: str, fresher_than: float) -> Settings:
        """Read a connection: once for all that ask at the same time."""
        now = asyncio.get_running_loop().time()
        begun, reading = self._connections.get(conn_id, (-math.inf, None))
        if reading is None or begun < max(fresher_than, now - FRESH) or _failed(reading):
            reading = asyncio.create_task(read_settings(conn_id), name="qianfan-connection")
            self._connections[conn_id] = (now, reading)
        return await asyncio.shield(reading)

    def release(self) -> None:
        """Release one account. With the last one, everything goes."""
        self.users -= 1
        if not self.users:
            for _, reading in self._connections.values():
                reading.cancel()
            self._connections.clear()
            _of_loop.pop(asyncio.get_running_loop(), None)


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


async def join(
    conn_id: str,
    query: Query,
    interval: Callable[[], float],
    due_in: float,
    *,
    fresher_than: float = -math.inf,
) -> Subscription:
    """
    Wait for answers together with all others that have the same endpoint and key.

    :param conn_id: ID of a connection of type ``qianfan``.
    :param query: what to read.
    :param interval: returns, in seconds, how old an answer may get.
    :param due_in: seconds until the first answer is due.
    :param fresher_than: a reading of the connection from before this, in the event loop's time, does not
        count.
    :raises Exception: if reading the connection fails.
    """
    loop = asyncio.get_running_loop()
    due, shared = loop.time() + due_in, _of_loop.setdefault(loop, _Shared())
    shared.users += 1
    try:
        settings = await shared.settings(conn_id, fresher_than)
        if settings not in shared.accounts:
            shared.accounts[settings] = Account(shared, settings)
        return shared.accounts[settings].join(query, interval, due)
    except BaseException:
        shared.release()
        raise


async def read_settings(conn_id: str) -> Settings:
    """
    Read a connection.

    :raises Exception: if that fails.
    """
    with forgotten_locals():
        return Settings.read(*await read_connection(conn_id))


def _failed(reading: asyncio.Task[Settings]) -> bool:
    return reading.done() and (reading.cancelled() or reading.exception() is not None)


def _option(name: str, default: float, least: float) -> float:
    """Read an option. An invalid one is no reason to stop waiting."""
    text = conf.get("qianfan", name, fallback=str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value >= least and value < math.inf:
        return value
    log.error("[qianfan] %s=%s is not a number from %s up; using %s.", name, clean(text), least, default)
    return default
