"""What every change needs: its mark, the note for the next try, and the limits of a sending."""

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
"""Seconds between two looks for the effect of a request whose answer was lost."""

PAGE_LASTS = 10.0
"""Seconds for each page of a look, on average. A slower look may have been interrupted."""

SHORTEST_SENDING = 2.0
"""Seconds that are allowed between note and sending, even if ``settle`` is shorter."""

SHORTEST_EXPIRY = 5.0
"""Seconds for which a signature is valid, even if ``settle`` is shorter."""


def fingerprint(
    dag_id: str, run_id: str, task_id: str, map_index: int | None, nonce: str | None = None
) -> str:
    """Make the mark of a task instance: ``[airflow:<16 hex digits>]``. All its tries have the same mark."""
    identity = json.dumps([dag_id, run_id, task_id, map_index, *([] if nonce is None else [nonce])])
    return f"[airflow:{hashlib.sha256(identity.encode()).hexdigest()[:16]}]"


def may_have_arrived(error: QianfanError) -> bool:
    """Tell whether the platform may have carried out a request that ended in this error."""
    return isinstance(error, QianfanProtocolError) or (
        isinstance(error, QianfanTransientError) and error.sent
    )


def pause_until_next_look(until: float, now: float) -> float:
    """Return for how many seconds to pause before the next look. The last look is at ``until``."""
    return max(0.01, min(LOOK_AGAIN, until - now))


class Store(Protocol):
    """Where Airflow keeps JSON values of a task instance over its tries, by key."""

    def get(self, key: str) -> Any: ...
    def set(self, key: str, value: Any) -> None: ...
    def delete(self, key: str) -> None: ...


class Journal:
    """
    The notes of a try for the next one, where Airflow keeps them (3.3 and newer).

    The journal also tells whether another try has taken over. Airflow hides its notes from a try that was
    replaced, and the new try writes its own.

    :param store: where Airflow keeps values; None if it keeps none.
    :param identity: what a note has to be about. Other notes do not count.
    :ivar entry: the note; empty if there is none.
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
        """Whether Airflow keeps notes, so that two tries know of each other."""
        return self._store is not None

    @property
    def knows(self) -> bool:
        """Whether this try knows what earlier tries did: Airflow keeps notes, or there was no earlier try."""
        return self.lasts or self._first_try

    def sent_at(self, now: float) -> float | None:
        """Return the latest time at which an earlier try may have sent the request; None if none has."""
        return self.entry.get("sent_at") if self.knows else now

    def away_until(self, standstill: Standstill) -> float | None:
        """Return until when another try may have begun unnoticed; None if none can have."""
        return None if self.lasts else standstill.ended

    def check_ours(self) -> None:
        """
        Check that no other try has written since.

        :raises QianfanTransientError: if one has. Then that try counts, and this one does not.
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
        Check that no other try has taken over, if there is nothing to write.

        :raises Exception: Airflow's own or ours, if one has.
        """
        self.check_ours()
        if self._store is not None and self._kept is None:
            # To a replaced try, Airflow shows no notes, and does not say why. It refuses this call.
            self._store.delete(self._key)

    def write(self, **values: Any) -> None:
        """
        Add to the note.

        :raises QianfanTransientError: if another try has taken over.
        """
        self.check_ours()
        self._before, self.entry = self.entry, {**self.entry, **values, **self._identity}
        self._keep()

    def take_back(self) -> None:
        """Take back the last addition: nothing was done. The notes of an earlier try stay."""
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
    What a change gets from outside.

    :param settle: seconds that the platform may take to show what was just created or changed.
    :param clock: returns the time, in seconds since the epoch.
    :param say: writes a line to the log.
    """

    settle: float
    clock: Callable[[], float]
    say: Say

    def sending(self, noted: float) -> Sending:
        """
        Return by when a request has to leave, and for how long its signature is valid.

        The next try counts ``settle`` from the note. So the request leaves at once, or not at all. If the
        network delays it, the platform refuses it once ``settle`` is over.

        :param noted: when the request was noted, in seconds since the epoch.
        """
        within = min(MOMENT, max(self.settle / 2, SHORTEST_SENDING))
        return Sending(noted + within, int(min(max(self.settle, SHORTEST_EXPIRY), EXPIRES_IN)))


@dataclass(frozen=True, slots=True)
class LastLook:
    """
    The last look at the platform before a request.

    :param began: when the look began, in seconds since the epoch.
    :param ended: when the look ended, in seconds since the epoch.
    :param pages: how many pages the look read.
    """

    began: float
    ended: float
    pages: int = 1

    def is_fresh(self, now: float) -> bool:
        """Tell whether the look still counts: nothing interrupted it, and little time has passed since."""
        return now - self.ended <= MOMENT and self.ended - self.began <= PAGE_LASTS * self.pages


def out_of_date(action: str, look: LastLook, now: float) -> QianfanTransientError:
    """Say that the last look was too long ago when the request should have left."""
    return QianfanTransientError(
        action,
        f"nothing was sent: the look before it took {duration(look.ended - look.began)} and ended"
        f" {duration(now - look.ended)} ago. Either this process was interrupted, or the platform is slow.",
        sent=False,
    )
