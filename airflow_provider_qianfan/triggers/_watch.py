"""
What a watcher does, from its first look until Airflow cancels its trigger.

A watcher polls through the account that all waits of the triggerer share. It never ends and never raises,
whatever the platform answers: if the trigger of a watcher ended, Airflow would start it again within seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import deque
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_qianfan.api.errors import QianfanAuthError, QianfanConfigurationError, QianfanError
from airflow_provider_qianfan.api.text import capital, clean, count_of, duration, sentence
from airflow_provider_qianfan.gate.finished import (
    Interest,
    Ledger,
    begin,
    begin_again,
    event_id_of,
    find_news,
    first_batch,
    go_on_beginning,
    in_order,
    named_by,
)
from airflow_provider_qianfan.gate.look import DETAIL_TRIES, Found
from airflow_provider_qianfan.gate.memory import HEARTBEAT
from airflow_provider_qianfan.gate.snapshot import Query
from airflow_provider_qianfan.gate.verdict import HOUR
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.hooks._settings import refused_key, reread_failed
from airflow_provider_qianfan.triggers._shared import Subscription, join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow_provider_qianfan.api.model_compression import ModelCompTask

log = logging.getLogger(__name__)

FIRST_PATIENCE = 60.0
"""Seconds. If a triggerer has just started, its first answer about the store may take long."""

HANDOVER = 3.0
"""
Seconds before a watch begins, if there is a store. Airflow starts a changed trigger before it cancels the old
one, which may have something to take back.
"""

_UNSURE = 10.0
"""Seconds. If Airflow cancels a watcher, it may have ignored these last events, and yet confirmed them."""

_ASK_AGAIN = 0.9
"""Intervals until a watcher asks again for the details of a task. Looks come a little early at times."""

_NAMED = 3
"""How many tasks the log names when they are reported."""

STORE_PATIENCE = 5.0
"""Seconds. If a triggerer stops, it gets no more answers about the store, but waits for what still runs."""


class Batch(NamedTuple):
    """
    The content of one event.

    :param payload: the payload of the event.
    :param event_ids: the event ids in it.
    """

    payload: dict[str, Any]
    event_ids: tuple[str, ...]


class Watch:
    """
    Reads the list at intervals, and finds the tasks to report.

    :param name: what the log calls the watcher.
    :param conn_id: ID of a connection of type ``qianfan``.
    :param interest: which tasks to report.
    :param interval: seconds between two looks.
    :param since: seconds since the epoch. The first start reports what finished from this time on.
    :param store: the store of the watcher's asset, which keeps values between starts; None before Airflow
        3.3.
    """

    def __init__(
        self, name: str, conn_id: str, interest: Interest, interval: float, since: float, store: Any
    ) -> None:
        self._name = name
        self._conn_id = conn_id
        self._interest = interest
        self._interval = interval
        self._since = since
        self._store = store
        identity = json.dumps([conn_id, asdict(interest)], sort_keys=True)
        self._store_key = f"qianfan_watch_{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        self._subscription: Subscription | None = None
        self._joined_at = self._asked_anew_at = float("-inf")
        self._ledger: Ledger | None = None
        self._stored: Ledger | None = None
        self._writing = asyncio.Lock()
        self._under_way: set[str] = set()
        self._kept: deque[tuple[float, tuple[str, ...]]] = deque(maxlen=20)
        self._more = False
        self._asked: dict[str, int] = {}
        self._asked_at: dict[str, float] = {}
        self._failing_since: float | None = None
        self._spoke_at = self._complained_at = self._blamed_store_at = 0.0

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield the content of each event. This never ends."""
        try:
            if self._store is not None:
                await asyncio.sleep(HANDOVER)
            while True:
                try:
                    batch = await self._next_batch()
                except Exception as error:
                    await self._after_failure(error)
                else:
                    if batch is not None:
                        self._under_way.update(batch.event_ids)
                        yield batch
        finally:
            await self._leave()

    async def keep(self, batch: Batch) -> None:
        """Remember that Airflow has stored the event of a batch. This does not raise."""
        self._under_way.difference_update(batch.event_ids)
        if self._ledger is not None:
            self._kept.append((time.monotonic(), batch.event_ids))
            self._ledger = self._ledger.with_reported(batch.event_ids)
            await self._write()

    async def take_back(self) -> None:
        """
        Have the next start report again what was reported last. This does not raise.

        If nobody watches any more, Airflow ignores events for a second or two, and yet confirms them.
        """
        since = time.monotonic() - _UNSURE
        event_ids = [event_id for kept_at, ids in self._kept if kept_at >= since for event_id in ids]
        if self._ledger is not None and event_ids:
            self._ledger = self._ledger.without_reported(event_ids)
            await self._write()

    def forget(self, batch: Batch) -> None:
        """Report a batch again: Airflow may not have stored its event."""
        self._under_way.difference_update(batch.event_ids)
        self._look_anyway()

    def _look_anyway(self) -> None:
        """Use the next reading even if nothing in it is new."""
        self._more = True
        if self._subscription is not None:
            self._subscription.wake_at = 0.0

    async def _next_batch(self) -> Batch | None:
        if self._ledger is None:
            self._ledger = self._stored = await self._read(FIRST_PATIENCE)
        read = await self._list()
        tasks = read.tasks
        ahead, account = self._clock_ahead, self._account
        now = time.time() + ahead
        if self._ledger is None:
            self._ledger = Ledger(self._since + ahead, account=account, begun=False)
        if not self._ledger.begun and not tasks:
            # It may be a mistake: let the watch begin when there is something.
            self._ledger = replace(self._ledger, looked_at=now)
            self._recovered("no task listed yet")
            await self._write()
            return None
        if not self._ledger.begun:
            since = min(self._ledger.horizon, self._since + ahead)
            self._ledger = begin(tasks, self._interest, since, now)
        elif self._ledger.account not in ("", account):
            self._ledger = begin_again(tasks, self._interest, self._ledger, now)
            log.warning(
                "%s: the connection has another key. If it belongs to another account, the watcher does not"
                " report what finished there before its last look.",
                self,
            )
        complete = bool(tasks) and not read.left_out  # an empty list may be a mistake
        self._ledger = go_on_beginning(tasks, self._interest, self._ledger, now, complete=complete)
        self._ledger = replace(self._ledger, account=account)
        found = find_news(tasks, self._interest, self._ledger, now)
        to_come = len(found.ledger.unfinished) - len(found.tasks) - len(found.unnamed)
        self._recovered(
            f"{count_of(len(tasks), 'task')} listed, {to_come} not finished, {len(found.tasks)} to report"
        )
        self._ledger = found.ledger
        await self._write()
        named = await self._ask_for_models(found.unnamed)
        # Meanwhile, Airflow may have stored the event of an earlier batch.
        done = self._under_way | self._ledger.reported
        found_now = in_order((*found.tasks, *named), now)
        news = [task for task in found_now if event_id_of(task) not in done]
        told = first_batch(news)
        self._more = len(told) < len(news) or bool(self._askable(found.unnamed)) or self._has_to_write
        if not told:
            return None
        more = ", …" if len(told) > _NAMED else ""
        names = ", ".join(name_of(task) for task in news[:_NAMED])
        log.info("%s: reports %s: %s%s.", self, count_of(len(told), "task"), names, more)
        return Batch({"version": 1, "tasks": told}, tuple(task["event_id"] for task in told))

    # -- the platform ------------------------------------------------------------------------------------

    async def _list(self) -> Found:
        """Return the next reading that differs from the last one. If there is more to report, return any."""
        if self._failing_since is None and time.monotonic() - self._joined_at > HEARTBEAT:
            await self._leave()  # the connection may have been edited
        if self._subscription is None:
            due_in = self._interval if self._joined_at > 0 else 0.0
            self._subscription = await self._join(Query(self._interest.source_model_id), due_in)
            self._joined_at = time.monotonic()
        answer = await self._subscription.answer(0.0 if self._more else time.time() + HEARTBEAT)
        if isinstance(answer, QianfanError):
            raise answer
        return answer

    async def _ask_for_models(self, unnamed: Sequence[ModelCompTask]) -> list[ModelCompTask]:
        """Ask for the details of tasks that name no model in the list. Return those that name one now."""
        for known in (self._asked, self._asked_at):
            for gone in known.keys() - {task.id for task in unnamed}:
                del known[gone]
        now = time.monotonic()
        # Each question brings a new list with it. So another look begins at once.
        again = now - _ASK_AGAIN * self._interval
        asked = [task for task in self._askable(unnamed) if self._asked_at.get(task.id, again) <= again]
        self._asked_at.update((task.id, now) for task in asked)
        answers = await asyncio.gather(*(self._ask(task.id) for task in asked))
        named = []
        for task, answer in zip(asked, answers, strict=True):
            if answer is None:
                continue
            whole = named_by(answer, task)
            if whole is not None:
                named.append(whole)
                continue
            self._asked[task.id] = self._asked.get(task.id, 0) + 1
            if self._asked[task.id] == DETAIL_TRIES:
                log.error(
                    "%s: %s succeeded, but the platform names no produced model. The watcher reports this"
                    " task only if the list names a model later. Look at the task in the Qianfan console.",
                    self,
                    name_of(task),
                )
        return named

    def _askable(self, unnamed: Sequence[ModelCompTask]) -> list[ModelCompTask]:
        return [
            task
            for task in unnamed
            if self._asked.get(task.id, 0) < DETAIL_TRIES and event_id_of(task) not in self._under_way
        ]

    async def _ask(self, task_id: str) -> ModelCompTask | None:
        """Ask for the details of one task; None if there is no answer."""
        subscription = await self._join(Query(given_id=task_id, detail=True), 0.0)
        try:
            answer = await subscription.answer(0.0)
        finally:
            await subscription.leave()
        return answer.tasks[0] if isinstance(answer, Found) and answer.tasks else None

    @property
    def _clock_ahead(self) -> float:
        """Seconds by which the platform's clock is ahead of ours, as far as the platform has said so."""
        return 0.0 if self._subscription is None else self._subscription.account.clock_ahead

    @property
    def _account(self) -> str:
        """The endpoint and the Access Key ID, as a short hash."""
        if self._subscription is None:
            return ""
        settings = self._subscription.account.settings
        named = f"{settings.endpoint.url} {settings.credentials.access_key_id}"
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    async def _join(self, query: Query, due_in: float) -> Subscription:
        try:
            return await join(
                self._conn_id, query, lambda: self._interval, due_in, fresher_than=self._asked_anew_at
            )
        except Exception as error:
            raise reread_failed(error) from None

    async def _leave(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await subscription.leave()

    # -- the store ---------------------------------------------------------------------------------------

    async def _read(self, patience: float) -> Ledger | None:
        if self._store is None:
            return None
        async with asyncio.timeout(patience):
            return Ledger.from_json(await self._store.aget(self._store_key))

    @property
    def _has_to_write(self) -> bool:
        if self._store is None or self._ledger is None:
            return False
        stored = self._stored
        return (
            stored is None or self._ledger != stored or self._ledger.looked_at - stored.looked_at >= HEARTBEAT
        )

    async def _write(self) -> None:
        """Store what is known, if it has changed. If that fails, the next look tries again."""
        async with self._writing:
            if self._ledger is None or not self._has_to_write:
                return
            try:
                other = await self._read(STORE_PATIENCE)
                if other is not None and other != self._stored:  # another triggerer runs the watcher, too
                    self._ledger = self._ledger.merged(other)
                ledger = self._ledger
                async with asyncio.timeout(STORE_PATIENCE):
                    await self._store.aset(self._store_key, ledger.to_json())
                self._stored = ledger
            except Exception as error:
                self._look_anyway()
                if time.time() - self._blamed_store_at < HEARTBEAT:
                    return
                self._blamed_store_at = time.time()
                log.error(  # noqa: TRY400  its text may quote a request of Airflow's own
                    "%s: Airflow did not store what was reported (%s). The next look tries again. If the"
                    " triggerer ends before that, the watcher reports the same tasks again.",
                    self,
                    type(error).__name__,
                )

    # -- the log -----------------------------------------------------------------------------------------

    def __str__(self) -> str:
        of = self._interest
        parts = [" or ".join(of.statuses)]
        if of.source_model_id:
            parts.append(f"source model {clean(of.source_model_id, 80)}")
        if of.name:
            parts.append(f"name {clean(of.name, 80)!r}")
        if of.name_pattern:
            parts.append(f"name like {clean(of.name_pattern, 80)!r}")
        watched = f"{', '.join(parts)}; connection {clean(self._conn_id, 80)}"
        return f"Watcher {clean(self._name, 80)} ({watched})"

    def _recovered(self, found: str) -> None:
        """Log what was found, if the platform was lost before, and once an hour."""
        now = time.time()
        lost = ""
        if self._failing_since is not None and self._complained_at >= self._failing_since:
            lost = f"The platform answers again, after {duration(now - self._failing_since)}. "
        self._failing_since = None
        if not lost and now - self._spoke_at < HOUR:
            return
        self._spoke_at = now
        log.info("%s: %s%s.", self, lost, capital(found))

    async def _after_failure(self, error: Exception) -> None:
        now, expected = time.time(), isinstance(error, QianfanError)
        if isinstance(error, QianfanAuthError):
            error = refused_key(error, self._conn_id)
        if self._failing_since is None:
            self._failing_since = now
        if now - self._complained_at >= HEARTBEAT:
            self._complained_at = now
            lasted = now - self._failing_since
            lasting = f" This has lasted for {duration(lasted)}." if lasted >= 1 else ""
            log.error(
                "%s: %s%s The watcher goes on, and reports later what finishes meanwhile.",
                self,
                sentence(str(error) or type(error).__name__),
                lasting,
                exc_info=None if expected else error,
            )
        refused = isinstance(error, QianfanAuthError | QianfanConfigurationError)
        if self._subscription is None or refused or not expected:
            # Read the connection again when the next look is due: it may have been corrected.
            await self._leave()
            await asyncio.sleep(self._interval)
            self._asked_anew_at = asyncio.get_running_loop().time()
