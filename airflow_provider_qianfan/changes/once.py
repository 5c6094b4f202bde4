"""
How to create a compression task or a service once.

The platform has no idempotency keys: two requests create two. So the description carries a mark, which is the
same in all tries of an Airflow task.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanError,
    QianfanTransientError,
    is_transient,
)
from airflow_provider_qianfan.api.exchange import Exchange, Sending, Sleep, Steps
from airflow_provider_qianfan.api.json_values import check_json
from airflow_provider_qianfan.api.model_compression import ModelCompTask
from airflow_provider_qianfan.api.resource import Row
from airflow_provider_qianfan.api.text import clean, duration
from airflow_provider_qianfan.changes.journal import (
    CONSOLE,
    Journal,
    LastLook,
    Ports,
    Say,
    may_have_arrived,
    out_of_date,
    pause_until_next_look,
)
from airflow_provider_qianfan.changes.standstill import Standstill
from airflow_provider_qianfan.gate.wording import name_of

if TYPE_CHECKING:
    from airflow_provider_qianfan.gate.arguments import IfExists
    from airflow_provider_qianfan.gate.errors import QianfanGateError

Made = TypeVar("Made", ModelCompTask, Row)


class New(Protocol[Made]):
    """
    A task or service to create once.

    :ivar noun: its name in messages.
    :ivar mark: the mark, from :func:`.fingerprint`.
    :ivar again: how a user creates another one.
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
        """Read the ones with our mark. Return them and the number of pages of the list."""

    def prepare(self, exchange: Exchange, say: Say) -> Steps[Mapping[str, Any]]:
        """Check what can be checked, and return the body of the request."""

    def create(self, exchange: Exchange, body: Mapping[str, Any], sending: Sending) -> Steps[str]:
        """Create the new one, and return its id."""

    def known(self, made: Made) -> Mapping[str, str | None]:
        """Return the attributes of an error about the new one."""

    def describe(self, made: Made) -> str:
        """Write what distinguishes the new one from similar ones."""

    def surprises(self, made: Made) -> Iterable[str]:
        """Write how the new one differs from what was asked for."""


def create_once(
    exchange: Exchange, new: New[Made], if_exists: IfExists, journal: Journal, ports: Ports
) -> Steps[str]:
    """
    Create a task or service unless it is there. Return its id.

    Before each request, this function looks for what is there, and notes that the request may have been sent.

    :raises QianfanGateError: final: it cannot be created, or several carry our mark.
    :raises QianfanError: not final. The journal knows whether one may have been created.
    """
    standstill = Standstill(ports.clock)
    creation = _Creation(exchange, new, journal, ports, standstill)
    created_id = yield from standstill.watch(creation.steps(if_exists))
    if journal.entry.get("id") != created_id:
        journal.write(id=created_id)
    return created_id


@dataclass(frozen=True, slots=True)
class _Creation(Generic[Made]):
    """One try to create a task or service."""

    exchange: Exchange
    new: New[Made]
    journal: Journal
    ports: Ports
    standstill: Standstill

    def steps(self, if_exists: IfExists) -> Steps[str]:
        """Create the task or service unless it is there. Return its id."""
        body: Mapping[str, Any] | None = None
        attempt = 1
        found, look = yield from self._find_earlier()
        while found is None:
            if body is None:
                body = yield from self.new.prepare(self.exchange, self.ports.say)
                check_json("body", body)
            if look is None or not self._counts(look):
                found, look = yield from self._look()
                if found is not None:
                    break
            outcome = yield from self._send(body, look)
            if isinstance(outcome, str):
                return outcome
            yield from pause_before_next(self.exchange, outcome, attempt, self.ports, self.standstill)
            attempt += 1
            look = None
        _adopt(found, self.new, if_exists, self.ports.say)
        return found.id

    def _find_earlier(self) -> Steps[tuple[Made | None, LastLook | None]]:
        known_id = self.journal.entry.get("id")
        if isinstance(known_id, str):
            # The list may lag behind.
            found = yield from self.new.read(self.exchange, known_id)
            if found is not None:
                return found, None
            told = f"An earlier try created {clean(known_id, 80)}, which is no longer there."
            self.ports.say(logging.WARNING, told)
        return (yield from self._look())

    def _look(self) -> Steps[tuple[Made | None, LastLook]]:
        left = self._until() - self.ports.clock()
        if left > 0:
            away = self.journal.away_until(self.standstill) is not None
            why = "This process stood still, and another try" if away else "An earlier try"
            self.ports.say(
                logging.INFO,
                f"{why} may have created the {self.new.noun}. Looking for it for {duration(left)} before"
                " another is created.",
            )
        return (yield from find_ours(self.exchange, self.new, self._until, self.ports.clock))

    def _until(self) -> float:
        """Return the time from which a look shows what another try may have created."""
        sent_at = self.journal.sent_at(self.standstill.began)
        last = -math.inf if sent_at is None else min(sent_at, self.standstill.began)
        if (away_until := self.journal.away_until(self.standstill)) is not None:
            last = away_until
        return last + self.ports.settle

    def _counts(self, look: LastLook) -> bool:
        return look.is_fresh(self.ports.clock()) and look.began >= self._until()

    def _send(self, body: Mapping[str, Any], look: LastLook) -> Steps[str | QianfanError]:
        """Send the request once. Return the id, or the error if nothing was done."""
        noted = self.ports.clock()
        if not self._counts(look):
            return out_of_date(f"Creating a {self.new.noun}", look, noted)
        sending = self.ports.sending(noted)
        # It may leave as late as that, and the next try counts from there.
        self.journal.write(sent_at=sending.send_by, id=None)
        try:
            return (yield from self.new.create(self.exchange, body, sending))
        except QianfanError as error:
            if not may_have_arrived(error):
                self.journal.take_back()
                return error
            lost = clean(error)
        return (yield from self._find_lost(lost))

    def _find_lost(self, lost: str) -> Steps[str]:
        """Look for what may have been created although no answer came. Return its id."""
        self.journal.write(sent_at=self.ports.clock())  # until now, the request may have taken effect
        until, wait = self.ports.clock() + self.ports.settle, duration(self.ports.settle)
        self.ports.say(
            logging.WARNING,
            f"The answer was lost. Looking for {wait} for the {self.new.noun} that may have been created."
            f" {lost}",
        )
        try:
            found, _ = yield from find_ours(self.exchange, self.new, lambda: until, self.ports.clock)
        except QianfanError as error:
            raise _not_known(self.new, "it could not be looked for", f"{lost} {error}") from None
        if found is None:
            raise _not_known(self.new, f"none with the mark {self.new.mark} has appeared in {wait}", lost)
        self.ports.say(logging.INFO, f"The answer was lost, but {name_of(found)} was created.")
        return found.id


def pause_before_next(
    exchange: Exchange, error: QianfanError, attempt: int, ports: Ports, standstill: Standstill
) -> Steps[None]:
    """
    Pause after a request that certainly did nothing. After the pause, everything begins again with a look.

    If our clock has fallen behind, this machine was suspended. Only the platform's refusal tells.

    :raises QianfanError: the error itself, if there is no next time.
    """
    if isinstance(error, QianfanAPIError) and error.clock_jumped:
        standstill.ended = ports.clock()
    pause = exchange.pause_after(error, attempt)
    if pause is None:
        raise error
    told = f"Nothing was done. Looking again, and asking again, in {duration(pause)}. {error}"
    ports.say(logging.INFO, told)
    yield Sleep(pause)


def _not_known(new: New[Made], told: str, lost: str) -> QianfanTransientError:
    return QianfanTransientError(
        f"Creating a {new.noun}",
        f"it is not known whether {new.name!r} was created, as the answer was lost, and {told}. The next try"
        f" looks again, and creates only if there is none. {CONSOLE} {lost}",
    )


def find_ours(
    exchange: Exchange, new: New[Made], until: Callable[[], float], clock: Callable[[], float]
) -> Steps[tuple[Made | None, LastLook]]:
    """
    Look for the one with our mark, at least once. Return it, or None, and the last look.

    :param until: returns the time of the last look, in seconds since the epoch. The time may move.
    :raises QianfanGateError: if there are several.
    :raises QianfanError: if the platform gave no complete answer in the end.
    """
    read_twice = False
    while True:
        began, pages = clock(), 0
        try:
            ours, pages = yield from new.read_ours(exchange)
        except QianfanError as error:
            if began >= until() or not is_transient(error):
                raise
        else:
            if len(ours) > 1:
                raise new.ambiguous_error(
                    f"{len(ours)} {new.noun}s carry this task's mark {new.mark}:"
                    f" {'; '.join(map(new.describe, ours[:10]))}. Nothing more is created. Remove those"
                    " that are not wanted, in the Qianfan console, then clear this task.",
                    **_in_common(list(map(new.known, ours))),
                )
            if ours:
                return ours[0], LastLook(began, clock(), pages)
        if pages and began >= until():
            # Pages are no snapshot: ours may have moved to a page that was already read.
            if pages == 1 or read_twice:
                return None, LastLook(began, clock(), pages)
            read_twice = True
        else:
            yield Sleep(pause_until_next_look(until(), clock()))


def _in_common(known: Sequence[Mapping[str, str | None]]) -> Mapping[str, str | None]:
    return {key: value for key, value in known[0].items() if all(one[key] == value for one in known)}


def _adopt(found: Made, new: New[Made], if_exists: IfExists, say: Say) -> None:
    if if_exists == "fail":
        raise new.exists_error(
            f"{name_of(found)} was created by an earlier try of this task, and if_exists='fail'. {new.again}",
            **new.known(found),
        )
    say(logging.INFO, f"Nothing is created: an earlier try has created {new.describe(found)}.")
    for surprise in new.surprises(found):
        say(logging.WARNING, f"{surprise} {new.again}")
