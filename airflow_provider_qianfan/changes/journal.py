"""What every change needs: its mark, the note for the next try, and when a request may still be sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_qianfan.api.errors import QianfanError, QianfanProtocolError, QianfanTransientError
from airflow_provider_qianfan.api.exchange import Sending
from airflow_provider_qianfan.api.signing import EXPIRES_IN
from airflow_provider_qianfan.api.text import duration
from airflow_provider_qianfan.changes.standstill import MOMENT, Standstill

Say = Callable[[int, str], None]

CONSOLE = "If there are no retries left, look in the Qianfan console before you clear this task."

LOOK_AGAIN = 5.0
"""Seconds between two looks for what a lost request may have done."""

PAGE_LASTS = 10.0
"""Seconds for each page of a look, on average; one that takes longer may have been interrupted."""

SHORTEST_SENDING = 2.0
"""Seconds that may lie between note and sending, however short ``settle`` is."""

SHORTEST_EXPIRY = 5.0
"""Seconds that a signature is valid however short ``settle`` is."""


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


def pause_until_next_look(until: float, now: float) -> float:
    """Tell for how many seconds to pause before the next look, the last of which is at ``until``."""
    return max(0.01, min(LOOK_AGAIN, until - now))


class Store(Protocol):
    """Where Airflow keeps values of a task instance over its tries: plain JSON, by key."""

    def get(self, key: str) -> Any: ...
    def set(self, key: str, value: Any) -> None: ...
    def delete(self, key: str) -> None: ...


class Journal:
    """
    What a try writes down for the next, where Airflow keeps it: 3.3 and newer.

    It also tells whether another try has taken over: Airflow hides what it keeps from a try that has been
    replaced, and the try that replaces it writes down something else.

    :param store: None where Airflow keeps nothing.
    :param identity: what an entry has to be about. One about something else does not count.
    :ivar entry: what was written; empty if nothing was, or is kept.
    """

    def __init__(self, store: Store | None, key: str, identity: Mapping[str, str], try_number: int) -> None:
        self._store = store
        self._key = key
        self._identity = dict(identity)
        self._first_try = try_number == 1
        self.entry: dict[str, Any] = {}
        self._kept = self._read()
        if isinstance(self._kept, Mapping) and self._identity.items() <= self._kept.items():
            self.entry = dict(self._kept)
        self._before = self.entry

    def _read(self) -> Any:
        return self._store.get(self._key) if self._store is not None else None

    @property
    def lasts(self) -> bool:
        """Whether Airflow keeps it, so that two tries know of each other."""
        return self._store is not None

    @property
    def knows(self) -> bool:
        """Whether it is known what earlier tries have done: there was none, or this would say so."""
        return self.lasts or self._first_try

    def sent_at(self, now: float) -> float | None:
        """Tell when an earlier try may have sent the request, at the latest; None if none has."""
        return self.entry.get("sent_at") if self.knows else now

    def away_until(self, standstill: Standstill) -> float | None:
        """Tell until when another try may have begun unnoticed; None if none can have."""
        return None if self.lasts else standstill.ended

    def check_ours(self) -> None:
        """
        Check that no other try has written anything since.

        :raises QianfanTransientError: if one has. It is the one that counts now.
        """
        if self._read() != self._kept:
            raise QianfanTransientError(
                "This try",
                "another try of this task has taken over: the note that Airflow keeps is no longer the one of"
                " this try. This try sends nothing more.",
                sent=False,
            )

    def check_not_replaced(self) -> None:
        """
        Check, where nothing is to be written, that no other try has taken over.

        :raises Exception: Airflow's own or ours, if one has.
        """
        self.check_ours()
        if self._store is not None and self._kept is None:
            # Airflow shows nothing to a try that has been replaced, as if nothing was kept. It refuses this.
            self._store.delete(self._key)

    def write(self, **values: Any) -> None:
        """
        Add to the entry.

        :raises QianfanTransientError: if another try has taken over.
        """
        self.check_ours()
        self._before, self.entry = self.entry, {**self.entry, **values, **self._identity}
        self._keep()

    def take_back(self) -> None:
        """Take back what was written last, as nothing was done; what an earlier try wrote stays."""
        if self._read() == self._kept:
            self.entry = self._before
            self._keep()

    def _keep(self) -> None:
        if self._store is None:
            return
        if self.entry:
            self._store.set(self._key, self.entry)
        else:
            self._store.delete(self._key)
        self._kept = self.entry or None


@dataclass(frozen=True, slots=True)
class Ports:
    """
    What a change is given from outside.

    :param settle: seconds within which what was done becomes visible.
    :param clock: tells the time, in seconds since the epoch.
    :param say: writes a line to the log.
    """

    settle: float
    clock: Callable[[], float]
    say: Say

    def sending(self, noted: float) -> Sending:
        """
        Tell by when a request has to leave, and for how long it is valid.

        The next try counts ``settle`` from the note. So the request leaves at once, or not at all. If the
        network holds it up, the platform refuses it when ``settle`` is over.

        :param noted: when the request was noted, in seconds since the epoch.
        """
        within = min(MOMENT, max(self.settle / 2, SHORTEST_SENDING))
        return Sending(noted + within, int(min(max(self.settle, SHORTEST_EXPIRY), EXPIRES_IN)))


@dataclass(frozen=True, slots=True)
class LastLook:
    """
    When the platform was last looked at before a request, and how long that took.

    :param began: in seconds since the epoch.
    :param ended: likewise.
    :param pages: how many pages it took.
    """

    began: float
    ended: float
    pages: int = 1

    def is_fresh(self, now: float) -> bool:
        """Tell whether it still counts: it was not interrupted, and little time has passed since."""
        return now - self.ended <= MOMENT and self.ended - self.began <= PAGE_LASTS * self.pages


def out_of_date(action: str, look: LastLook, now: float) -> QianfanTransientError:
    """Say that the platform could not be looked at immediately before the request was to leave."""
    return QianfanTransientError(
        action,
        f"nothing was sent: the look before it took {duration(look.ended - look.began)} and ended"
        f" {duration(now - look.ended)} ago. Either this process was interrupted, or the platform is slow.",
        sent=False,
    )
