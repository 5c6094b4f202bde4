"""
How something is done once that the platform would do again if it were asked again.

There are no idempotency keys. What tells our new task or service from all others is a mark in its
description, made from what Airflow keeps over all tries of a task.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider_qianfan.api.errors import (
    QianfanError,
    QianfanProtocolError,
    QianfanTransientError,
    clean,
    is_transient,
)
from airflow_provider_qianfan.api.exchange import Exchange, Sleep, Steps
from airflow_provider_qianfan.api.model_compression import ModelCompTask
from airflow_provider_qianfan.gate.resource import Row
from airflow_provider_qianfan.gate.wording import duration, name_of

if TYPE_CHECKING:
    from airflow_provider_qianfan.exceptions import QianfanGateError
    from airflow_provider_qianfan.gate.arguments import IfExists

Say = Callable[[int, str], None]

CONSOLE = "If there are no retries left, look in the Qianfan console before you clear this task."

LOOK_AGAIN = 5.0
"""Seconds between two looks for what a lost request may have done."""


def fingerprint(
    dag_id: str, run_id: str, task_id: str, map_index: int | None, nonce: str | None = None
) -> str:
    """Make the mark of one task instance, the same in each of its tries: ``[airflow:<16 hex digits>]``."""
    identity = json.dumps([dag_id, run_id, task_id, map_index, *([] if nonce is None else [nonce])])
    return f"[airflow:{hashlib.sha256(identity.encode()).hexdigest()[:16]}]"


def may_have_arrived(error: QianfanError) -> bool:
    """Tell whether the platform may have done what it was asked for although this came of it."""
    return isinstance(error, QianfanProtocolError) or (
        isinstance(error, QianfanTransientError) and error.sent
    )


def next_look(until: float, now: float) -> float:
    """Tell for how many seconds to pause before the next look, the last of which is at ``until``."""
    return max(0.01, min(LOOK_AGAIN, until - now))


class Journal:
    """
    What a try writes down for the next, where Airflow keeps it: 3.3 and newer.

    :param store: ``get``, ``set`` and ``delete`` of JSON values by key; None where Airflow keeps nothing.
    :param identity: what an entry has to be about. One about something else does not count.
    :ivar entry: what was written; empty if nothing was, or is kept.
    """

    def __init__(self, store: Any, key: str, identity: Mapping[str, str], try_number: int) -> None:
        self._store = store
        self._key = key
        self._identity = dict(identity)
        self._first_try = try_number == 1
        self.entry: dict[str, Any] = {}
        kept = store.get(key) if store is not None else None
        if isinstance(kept, Mapping) and self._identity.items() <= kept.items():
            self.entry = dict(kept)
        self._before = self.entry

    @property
    def knows(self) -> bool:
        """Whether it is known what earlier tries have done: there was none, or this would say so."""
        return self._store is not None or self._first_try

    def sent_at(self, now: float) -> float | None:
        """Tell when an earlier try may have sent the request, at the latest; None if none has."""
        return self.entry.get("sent_at") if self.knows else now

    def write(self, **values: Any) -> None:
        """Add to the entry."""
        self._before, self.entry = self.entry, {**self.entry, **values, **self._identity}
        if self._store is not None:
            self._store.set(self._key, self.entry)

    def take_back(self) -> None:
        """Take back what was written last, as nothing was done; what an earlier try wrote stays."""
        self.entry = self._before
        if self._store is None:
            return
        if self.entry:
            self._store.set(self._key, self.entry)
        else:
            self._store.delete(self._key)


@dataclass(frozen=True, slots=True)
class Manner:
    """
    How to do it.

    :param settle: seconds within which what was done becomes visible.
    :param clock: tells the time, in seconds since the epoch.
    :param say: writes a line to the log.
    """

    settle: float
    clock: Callable[[], float]
    say: Say


Made = TypeVar("Made", ModelCompTask, Row)


class New(Protocol[Made]):
    """
    What is to be created once.

    :ivar noun: what it is.
    :ivar mark: what :func:`fingerprint` made.
    :ivar again: how a user gets another one.
    """

    @property
    def noun(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def mark(self) -> str: ...
    @property
    def again(self) -> str: ...
    @property
    def exists_error(self) -> type[QianfanGateError]: ...
    @property
    def ambiguous_error(self) -> type[QianfanGateError]: ...

    def read(self, exchange: Exchange, known_id: str) -> Steps[Made | None]:
        """Ask for the one that an earlier try created; None if it is gone."""

    def read_ours(self, exchange: Exchange) -> Steps[tuple[list[Made], int]]:
        """Read those with our mark, and tell how many pages the list has."""

    def prepare(self, exchange: Exchange, say: Say) -> Steps[Mapping[str, Any]]:
        """Check what can be checked, and return the body of the request."""

    def create(self, exchange: Exchange, body: Mapping[str, Any]) -> Steps[str]:
        """Create it, and return its id."""

    def describe(self, made: Made) -> str:
        """Write what tells it from its like."""

    def surprises(self, made: Made) -> Iterable[str]:
        """Write what is not as it was asked for."""


def create_once(
    exchange: Exchange, new: New[Made], if_exists: IfExists, journal: Journal, manner: Manner
) -> Steps[str]:
    """
    Create it, unless it is there; return its id.

    :raises QianfanGateError: for good: it cannot be created, or it is not clear which one is ours.
    :raises QianfanError: for now. Whether one may have been created is in the journal.
    """
    found = yield from _find_earlier(exchange, new, journal, manner)
    if found is not None:
        _adopt(found, new, if_exists, manner.say)
        created_id = found.id
    else:
        created_id = yield from _create(exchange, new, journal, manner)
    if journal.entry.get("id") != created_id:
        journal.write(id=created_id)
    return created_id


def _find_earlier(exchange: Exchange, new: New[Made], journal: Journal, manner: Manner) -> Steps[Made | None]:
    known_id = journal.entry.get("id")
    if isinstance(known_id, str):
        # The list may lag behind.
        found = yield from new.read(exchange, known_id)
        if found is not None:
            return found
        manner.say(
            logging.WARNING, f"An earlier try created {clean(known_id, 80)}, which is no longer there."
        )
    until = manner.clock()
    sent_at = journal.sent_at(until)
    if sent_at is not None:
        until = min(sent_at, until) + manner.settle
        left = until - manner.clock()
        if left > 0:
            manner.say(
                logging.INFO,
                f"An earlier try may have created the {new.noun}. Looking for it for {duration(left)} before"
                " another is created.",
            )
    return (yield from find_ours(exchange, new, until, manner.clock))


def _create(exchange: Exchange, new: New[Made], journal: Journal, manner: Manner) -> Steps[str]:
    body = yield from new.prepare(exchange, manner.say)
    sent_at = manner.clock()
    journal.write(sent_at=sent_at, id=None)
    try:
        return (yield from new.create(exchange, body))
    except QianfanError as error:
        if not may_have_arrived(error):
            journal.take_back()
            raise
        lost = clean(error.__cause__ or error)
    wait = duration(manner.settle)
    manner.say(
        logging.WARNING,
        f"The answer was lost: {lost} Looking for {wait} for the {new.noun} that was maybe created.",
    )
    try:
        found = yield from find_ours(exchange, new, sent_at + manner.settle, manner.clock)
    except QianfanError as error:
        raise _not_known(new, "it could not be looked for", f"{lost} {error}") from None
    if found is None:
        raise _not_known(new, f"none with the mark {new.mark} has appeared in {wait}", lost)
    manner.say(logging.INFO, f"The answer was lost, but {name_of(found)} was created.")
    return found.id


def _not_known(new: New[Made], told: str, lost: str) -> QianfanTransientError:
    return QianfanTransientError(
        f"Creating a {new.noun}",
        f"it is not known whether {new.name!r} was created, as the answer was lost, and {told}. The next try"
        f" looks again, and creates only if there is none. {CONSOLE} {lost}",
    )


def find_ours(
    exchange: Exchange, new: New[Made], until: float, clock: Callable[[], float]
) -> Steps[Made | None]:
    """
    Look for the one with our mark until then, in seconds since the epoch; at least once.

    :raises QianfanGateError: if there are several.
    :raises QianfanError: if the platform gave no complete answer in the end.
    """
    read_twice = False
    while True:
        began, pages = clock(), 0
        try:
            ours, pages = yield from new.read_ours(exchange)
        except QianfanError as error:
            if began >= until or not is_transient(error):
                raise
        else:
            if len(ours) > 1:
                raise new.ambiguous_error(
                    f"{len(ours)} {new.noun}s carry this task's mark {new.mark}:"
                    f" {'; '.join(map(new.describe, ours[:10]))}. Nothing was created. Remove those that"
                    " are not wanted, in the Qianfan console, then clear this task."
                )
            if ours:
                return ours[0]
        if pages and began >= until:
            # Pages are no snapshot: it may have moved to one that had been read.
            if pages == 1 or read_twice:
                return None
            read_twice = True
        else:
            yield Sleep(next_look(until, clock()))


def _adopt(found: Made, new: New[Made], if_exists: IfExists, say: Say) -> None:
    if if_exists == "fail":
        raise new.exists_error(
            f"{name_of(found)} was created by an earlier try of this task, and if_exists='fail'. {new.again}"
        )
    say(logging.INFO, f"Nothing is created: an earlier try has created {new.describe(found)}.")
    for surprise in new.surprises(found):
        say(logging.WARNING, f"{surprise} {new.again}")
