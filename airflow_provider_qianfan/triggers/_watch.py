"""
One watch for finished model compression tasks, from its first look until its trigger is cancelled.

It polls through the account that all waits of the triggerer share. It never ends and never raises, whatever
the platform answers: if the trigger of a watcher ends, Airflow starts it again within seconds, each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_qianfan.api.errors import QianfanAuthError, QianfanConfigurationError, QianfanError
from airflow_provider_qianfan.api.text import clean, count_of, duration
from airflow_provider_qianfan.gate.finished import (
    Interest,
    Ledger,
    News,
    begin,
    event_id_of,
    find_news,
    first_batch,
)
from airflow_provider_qianfan.gate.look import DETAIL_TRIES, Found
from airflow_provider_qianfan.gate.memory import HEARTBEAT
from airflow_provider_qianfan.gate.outcome import usable_model_id
from airflow_provider_qianfan.gate.snapshot import Query
from airflow_provider_qianfan.gate.verdict import HOUR
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.hooks._settings import refused_key, reread_failed
from airflow_provider_qianfan.triggers._shared import Subscription, join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow_provider_qianfan.api.model_compression import ModelCompTask

log = logging.getLogger(__name__)

STORE_PATIENCE = 5.0
"""Seconds. A triggerer that stops no longer hears answers about its store, and waits for what runs."""


class Batch(NamedTuple):
    """
    What one event carries.

    :param payload: the payload of the event.
    :param event_ids: the event ids in it.
    """

    payload: dict[str, Any]
    event_ids: tuple[str, ...]


class Watch:
    """
    Reads the list at intervals, and says which tasks are news.

    :param conn_id: ID of a connection of type ``qianfan``.
    :param interest: which tasks to report.
    :param interval: seconds between two looks.
    :param since: a first watch reports what finished from this time on, in seconds since the epoch.
    :param store: keeps values between the runs of the watcher, by asset; None before Airflow 3.3.
    """

    def __init__(self, conn_id: str, interest: Interest, interval: float, since: float, store: Any) -> None:
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
        self._more = False
        self._asked: dict[str, int] = {}
        self._failing_since: float | None = None
        self._spoke_at = self._blamed_store_at = 0.0

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield what each event has to carry. This never ends."""
        try:
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
            self._ledger = self._ledger.with_reported(batch.event_ids)
            await self._write()

    def forget(self, batch: Batch) -> None:
        """Report a batch again: Airflow may not have stored its event."""
        self._under_way.difference_update(batch.event_ids)
        self._look_anyway()

    def _look_anyway(self) -> None:
        """Take the next reading even if it says nothing new."""
        self._more = True
        if self._subscription is not None:
            self._subscription.wake_at = 0.0

    async def _next_batch(self) -> Batch | None:
        if self._ledger is None:
            self._ledger = self._stored = await self._read()
        tasks = await self._list()
        now = time.time()
        if self._ledger is None:
            self._ledger = begin(tasks, self._interest, self._since, now)
        found = find_news(tasks, self._interest, self._ledger, now)
        self._recovered(found, len(tasks))
        self._ledger = found.ledger
        await self._write()
        named = await self._ask_for_models(found.unnamed)
        news = [task for task in (*found.tasks, *named) if event_id_of(task) not in self._under_way]
        told = first_batch(news)
        self._more = len(told) < len(news) or bool(self._askable(found.unnamed)) or self._has_to_write
        if not told:
            return None
        return Batch({"version": 1, "tasks": told}, tuple(task["event_id"] for task in told))

    # -- the platform ------------------------------------------------------------------------------------

    async def _list(self) -> tuple[ModelCompTask, ...]:
        """Return the next reading that differs from the last one; sooner if there is more to report."""
        if self._failing_since is None and time.monotonic() - self._joined_at > HEARTBEAT:
            await self._leave()  # the connection may have been edited
        if self._subscription is None:
            due_in = self._interval if self._joined_at > 0 else 0.0
            self._subscription = await self._join(Query(self._interest.source_model_id), due_in)
            self._joined_at = time.monotonic()
        answer = await self._subscription.answer(0.0 if self._more else time.time() + HEARTBEAT)
        if isinstance(answer, QianfanError):
            raise answer
        return answer.tasks

    async def _ask_for_models(self, unnamed: Sequence[ModelCompTask]) -> list[ModelCompTask]:
        """Ask for tasks that succeeded and name no model in the list. Return those that name one now."""
        asked = self._askable(unnamed)
        answers = await asyncio.gather(*(self._ask(task.id) for task in asked))
        named = []
        for task, answer in zip(asked, answers, strict=True):
            if answer is None:
                continue
            if answer.status == task.status and usable_model_id(answer):
                named.append(answer)
                continue
            self._asked[task.id] = self._asked.get(task.id, 0) + 1
            if self._asked[task.id] == DETAIL_TRIES:
                log.error(
                    "%s: %s succeeded, but the platform names no model that it made. It is not reported"
                    " unless the list names one. Look at it in the Qianfan console.",
                    self,
                    name_of(task),
                )
        return named

    def _askable(self, unnamed: Sequence[ModelCompTask]) -> list[ModelCompTask]:
        return [task for task in unnamed if self._asked.get(task.id, 0) < DETAIL_TRIES]

    async def _ask(self, task_id: str) -> ModelCompTask | None:
        """Ask for one task; None if there is no answer."""
        subscription = await self._join(Query(given_id=task_id, detail=True), 0.0)
        try:
            answer = await subscription.answer(0.0)
        finally:
            await subscription.leave()
        return answer.tasks[0] if isinstance(answer, Found) and answer.tasks else None

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

    async def _read(self) -> Ledger | None:
        if self._store is None:
            return None
        async with asyncio.timeout(STORE_PATIENCE):
            return Ledger.from_json(await self._store.aget(self._store_key))

    @property
    def _has_to_write(self) -> bool:
        return self._store is not None and self._ledger != self._stored

    async def _write(self) -> None:
        """Store what is known, if it has changed. If that fails, the next look tries again."""
        async with self._writing:
            if self._ledger is None or not self._has_to_write:
                return
            try:
                other = await self._read()
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
                    " triggerer ends before that, the same is reported again.",
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
        return f"Watcher ({', '.join(parts)}; connection {clean(self._conn_id, 80)})"

    def _recovered(self, found: News, listed: int) -> None:
        now = time.time()
        if self._failing_since is None and now - self._spoke_at < HOUR:
            return
        lost = ""
        if self._failing_since is not None:
            lost = f"The platform answers again, after {duration(now - self._failing_since)}. "
        self._failing_since, self._spoke_at = None, now
        log.info(
            "%s: %s%s listed, %s not finished, %s to report.",
            self,
            lost,
            count_of(listed, "task"),
            len(found.ledger.unfinished) - len(found.tasks) - len(found.unnamed),
            len(found.tasks),
        )

    async def _after_failure(self, error: Exception) -> None:
        now, expected = time.time(), isinstance(error, QianfanError)
        if isinstance(error, QianfanAuthError):
            error = refused_key(error, self._conn_id)
        if self._failing_since is None or now - self._spoke_at >= HEARTBEAT:
            since = now if self._failing_since is None else self._failing_since
            self._failing_since, self._spoke_at = since, now
            lasting = f" This has lasted for {duration(now - since)}." if now - since >= 1 else ""
            log.error(
                "%s: %s%s The watcher goes on, and reports later what finishes meanwhile.",
                self,
                error,
                lasting,
                exc_info=None if expected else error,
            )
        refused = isinstance(error, QianfanAuthError | QianfanConfigurationError)
        if self._subscription is None or refused or not expected:
            # Read the connection again when the next look is due: it may have been corrected.
            await self._leave()
            await asyncio.sleep(self._interval)
            self._asked_anew_at = asyncio.get_running_loop().time()
