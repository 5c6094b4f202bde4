"""What it takes to do once what the platform would do again if it were asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_qianfan.api.errors import (
    QianfanError,
    QianfanProtocolError,
    QianfanTransientError,
    clean,
)

IfExists = Literal["adopt", "fail"]
Say = Callable[[int, str], None]

LOOK_AGAIN = 5.0
"""Seconds between two looks for what a lost request may have done."""


def fingerprint(
    dag_id: str, run_id: str, task_id: str, map_index: int | None, nonce: str | None = None
) -> str:
    """Make the mark of one task instance, the same in each of its tries: ``[airflow:<16 hex digits>]``."""
    identity = json.dumps([dag_id, run_id, task_id, map_index, *([] if nonce is None else [nonce])])
    return f"[airflow:{hashlib.sha256(identity.encode()).hexdigest()[:16]}]"


def check_if_exists(value: object) -> IfExists:
    """
    Check ``if_exists``.

    :raises ValueError: if it is neither of its values.
    """
    if value == "adopt":
        return "adopt"
    if value == "fail":
        return "fail"
    raise ValueError(f"if_exists={clean(repr(value))} is neither 'adopt' nor 'fail'.")


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

    @property
    def knows(self) -> bool:
        """Whether it is known what earlier tries have done: there was none, or this would say so."""
        return self._store is not None or self._first_try

    def sent_at(self, now: float) -> float | None:
        """Tell when an earlier try may have sent the request, at the latest; None if none has."""
        return self.entry.get("sent_at") if self.knows else now

    def write(self, **values: Any) -> None:
        """Add to the entry."""
        self.entry = {**self.entry, **values, **self._identity}
        if self._store is not None:
            self._store.set(self._key, self.entry)

    def forget(self) -> None:
        """Remove the entry: nothing was done."""
        self.entry = {}
        if self._store is not None:
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
