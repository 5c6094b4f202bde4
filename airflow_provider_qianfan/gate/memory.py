"""What one wait remembers between its looks, the limits it keeps, and the lines it writes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from airflow_provider_qianfan.api.errors import (
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanTransientError,
    is_transient,
)
from airflow_provider_qianfan.gate.verdict import Note, Verdict, Wait
from airflow_provider_qianfan.gate.wording import duration

HEARTBEAT = 600.0
"""Seconds between two lines while nothing changes."""

ALARM = 300.0
"""Seconds between two lines while the platform is lost."""

DEFAULT_SETTLE = 120.0
"""Seconds in which a task id that was just given out may still be missing."""

DEFAULT_MAX_UNHEALTHY = 3600.0
DEFAULT_AUTH_GRACE = 600.0
"""Seconds."""

_NOTES_KEPT = 50
_KINDS: dict[str, tuple[type, ...]] = {
    "float": (int, float),
    "float | None": (int, float),
    "bool": (bool,),
    "str": (str,),
    "Mapping[str, float]": (dict,),
}


@dataclass(frozen=True, slots=True)
class Memory:
    """
    The memory of one wait. All times are seconds since the epoch.

    It travels from the worker to the trigger and back as JSON, between versions of this provider that may
    differ.

    :param started: when the first look of this try was taken.
    :param deadline: when the wait must end; None if another version did not say.
    :param deadline_is_execution_timeout: which limit the deadline comes from.
    :param forgetful: whether nothing but ``started`` was remembered from the looks before this one.
    :param state: what was last seen.
    :param said: what the last line was about.
    :param selected: the task that counted at the last look.
    :param last_healthy: when the platform last gave a complete answer; None if it has not yet.
    :param absent_since: since when no task fits; None while one does.
    :param auth_failing_since: since when the key is refused; None while it is not.
    :param unusable_since: since when the connection's settings, or the environment's, cannot be used.
    :param spoke: when the last line was written.
    :param noted: when each warning was last given.
    """

    started: float
    deadline: float | None = None
    deadline_is_execution_timeout: bool = False
    forgetful: bool = False
    state: str = ""
    said: str = ""
    selected: str = ""
    last_healthy: float | None = None
    absent_since: float | None = None
    auth_failing_since: float | None = None
    unusable_since: float | None = None
    spoke: float = 0.0
    noted: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object, *, now: float) -> Memory:
        """Read what :meth:`to_json` wrote, maybe in another version: unknown keys are ignored."""
        given = value if isinstance(value, Mapping) else {}
        known = {
            each.name: given[each.name]
            for each in fields(cls)
            if isinstance(given.get(each.name), _KINDS[str(each.type)])
        }
        return cls(**{"started": now, **known})

    @property
    def expired_at(self) -> float:
        return float("inf") if self.deadline is None else self.deadline


class Limits(NamedTuple):
    """
    How long trouble may last.

    :param max_unhealthy: seconds without one healthy answer; where nothing is remembered, ``timeout`` alone
        counts.
    :param auth_grace: seconds for which a key that once worked may be refused, and seconds for which settings
        that once worked may be unusable; where nothing is remembered, they count from the first look.
    """

    max_unhealthy: float = DEFAULT_MAX_UNHEALTHY
    auth_grace: float = DEFAULT_AUTH_GRACE


class Line(NamedTuple):
    """A line for the log."""

    level: int
    text: str


def after_look(memory: Memory, verdict: Verdict, now: float, next_look: float) -> tuple[Memory, list[Line]]:
    """
    Remember a healthy look that left the gate shut or ended the wait, and say what is worth saying.

    :param next_look: seconds to the next look.
    """
    memory, lines = _give_notes(memory, verdict.notes, now)
    memory = replace(memory, last_healthy=now, auth_failing_since=None, unusable_since=None)
    if not isinstance(verdict, Wait):
        return memory, lines
    absent_since = (memory.absent_since or now) if verdict.absent else None
    memory = replace(memory, absent_since=absent_since, selected=verdict.selected or memory.selected)
    if verdict.state != memory.said and not memory.forgetful:
        lines.insert(0, Line(logging.INFO, f"Waiting: {verdict.state}. Next look in {duration(next_look)}."))
    elif now - memory.spoke >= HEARTBEAT:
        elapsed = duration(now - memory.started)
        text = f"Still waiting after {elapsed}: {verdict.state}. Next look in {duration(next_look)}."
        lines.insert(0, Line(logging.INFO, text))
    else:
        return memory, lines
    return replace(memory, state=verdict.state, said=verdict.state, spoke=now), lines


def after_failure(
    memory: Memory, error: QianfanError, now: float, limits: Limits
) -> tuple[Memory, list[Line]]:
    """
    Remember a look that failed.

    :raises QianfanError: if the wait must not go on: the error is about the request, the key was refused or
        the settings were unusable before they ever worked or for longer than ``auth_grace``, or there was no
        healthy answer for ``max_unhealthy``.
    """
    if isinstance(error, QianfanAuthError):
        since = memory.started if memory.forgetful else memory.auth_failing_since or now
        failing = replace(memory, auth_failing_since=since)
        return _to_be_corrected(failing, error, since, "the key is refused", now, limits)
    if isinstance(error, QianfanConfigurationError):
        since = memory.started if memory.forgetful else memory.unusable_since or now
        unusable = replace(memory, unusable_since=since)
        return _to_be_corrected(unusable, error, since, "the settings cannot be used", now, limits)
    if not is_transient(error):
        raise error
    lost_for = now - (memory.last_healthy or memory.started)
    if lost_for >= limits.max_unhealthy and not memory.forgetful:
        raise QianfanTransientError(
            "Waiting for a model compression task",
            f"no healthy answer from the platform for {duration(lost_for)} (max_unhealthy). The last"
            f" look: {error}",
        ) from None
    text = f"The platform gave no healthy answer ({health(memory, now)}); looking again. {error}"
    return _alarm(memory, "the platform gives no healthy answer", logging.WARNING, text, now)


def _to_be_corrected(
    memory: Memory, error: QianfanError, since: float, trouble: str, now: float, limits: Limits
) -> tuple[Memory, list[Line]]:
    """
    If the wait has worked before, go on for a while, so that somebody can correct the key or the setting.

    :raises QianfanError: if it never worked, or the time for that is over.
    """
    if memory.last_healthy is None and not memory.forgetful:
        raise error
    if now - since >= limits.auth_grace:
        raise error
    left = duration(limits.auth_grace - (now - since))
    text = (
        f"{trouble[0].upper()}{trouble[1:]}; reading the connection again, failing in {left} unless that"
        f" helps. {error}"
    )
    return _alarm(memory, trouble, logging.ERROR, text, now)


def interval_after(elapsed: float, shortest: float, longest: float | None) -> float:
    """
    Tell how many seconds may lie between two looks.

    :param elapsed: seconds since the first look.
    :param shortest: seconds; the interval of a wait that does not slow down.
    :param longest: seconds; each interval of one that does is as long as all before it together, up to this.
    """
    return shortest if longest is None else max(shortest, min(longest, elapsed))


def health(memory: Memory, now: float) -> str:
    """Say how long ago the platform last gave a healthy answer."""
    if memory.last_healthy is None and memory.forgetful:
        return "not known, as nothing is remembered between two looks"
    if memory.last_healthy is None:
        return f"none in the {duration(now - memory.started)} since the first look"
    return f"the last one was {duration(now - memory.last_healthy)} ago"


def timeout_message(memory: Memory, now: float, limit: str) -> str:
    """Say what the wait ended with when its time was up; ``limit`` is the argument that said so."""
    return (
        f"Timed out after {duration(now - memory.started)} ({limit}); the gate stays shut."
        f" Last seen: {memory.state or 'nothing'}. Healthy answers: {health(memory, now)}."
    )


def _alarm(memory: Memory, about: str, level: int, text: str, now: float) -> tuple[Memory, list[Line]]:
    if about == memory.said and now - memory.spoke < ALARM:
        return memory, []
    return replace(memory, said=about, spoke=now), [Line(level, text)]


def _give_notes(memory: Memory, notes: tuple[Note, ...], now: float) -> tuple[Memory, list[Line]]:
    noted, lines = dict(memory.noted), []
    for note in notes:
        last = noted.get(note.key)
        if last is None or (note.again_after is not None and now - last >= note.again_after):
            noted[note.key] = now
            lines.append(Line(logging.WARNING, note.text))
    return replace(memory, noted=dict(list(noted.items())[-_NOTES_KEPT:])), lines
