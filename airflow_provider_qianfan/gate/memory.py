"""What a wait remembers between its looks, its limits, and the lines that it logs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from socket import gethostname
from typing import Any, NamedTuple, TypeGuard

from airflow_provider_qianfan.api.errors import (
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanTransientError,
    is_transient,
)
from airflow_provider_qianfan.api.text import capital, clean, duration
from airflow_provider_qianfan.gate.verdict import Note, Verdict, Wait

HEARTBEAT = 600.0
"""Seconds between two lines while nothing changes."""

ALARM = 300.0
"""Seconds between two lines while the platform gives no healthy answer."""

DEFAULT_POKE_INTERVAL = 60.0
"""Seconds between two looks."""

DEFAULT_SETTLE = 120.0
"""Seconds that the platform may take to show what was just created or changed."""

DEFAULT_MAX_UNHEALTHY = 3600.0
DEFAULT_AUTH_GRACE = 600.0
"""Seconds."""

_HOST = clean(gethostname(), 80)
_ACTION = "Waiting for the platform"
_NOTES_KEPT = 50


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number, and so may be a time."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


_FITS: dict[str, Callable[[object], bool]] = {
    "float": is_number,
    "float | None": is_number,
    "int | None": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "Mapping[str, float]": lambda value: isinstance(value, dict) and all(map(is_number, value.values())),
    "Health": lambda value: isinstance(value, dict),
}
"""Checks of a value, by the type of its field."""


class Observer(StrEnum):
    """Who looks at the platform for a wait. Two observers may have different networks and connections."""

    WORKER = "worker"
    TRIGGERER = "triggerer"


@dataclass(frozen=True, slots=True)
class Health:
    """
    What one observer gets from the platform. All times are seconds since the epoch.

    :param healthy_at: when the observer last got a complete answer.
    :param lost_since: since when it gets no answer; None while it gets answers.
    :param refused_since: since when the platform refuses its key.
    :param unusable_since: since when the settings of its connection or environment cannot be used.
    :param got: where the observer runs, and its last error.
    :param excused: whether the observer's time was up while another one got answers. If its next look fails
        in the same way, that is final.
    :param again_at: when the observer will look again; None if nothing is planned.
    """

    healthy_at: float | None = None
    lost_since: float | None = None
    refused_since: float | None = None
    unusable_since: float | None = None
    got: str = ""
    excused: bool = False
    again_at: float | None = None

    @property
    def failing_since(self) -> float | None:
        """Since when something is wrong; None while all is well."""
        times = (self.lost_since, self.refused_since, self.unusable_since)
        return min((time for time in times if time is not None), default=None)


_UNSEEN = Health()


@dataclass(frozen=True, slots=True)
class Memory:
    """
    The memory of one wait. All times are seconds since the epoch.

    It travels as JSON from the worker to the trigger and back. The two may run different versions of this
    provider. The JSON leaves out defaults. So never change a default here or in :class:`Health`.

    :param started: when this try first looked.
    :param deadline: when the wait must end; None if another version did not say.
    :param deadline_is_execution_timeout: whether the deadline comes from ``execution_timeout``, not
        ``timeout``.
    :param forgetful: whether the looks before this one left nothing but ``started``.
    :param state: what was last seen.
    :param said: the subject of the last line.
    :param selected: the task that counted at the last look.
    :param last_healthy: when any observer last got a complete answer; None if none has yet.
    :param absent_since: since when the task or resource that is ``absent`` has been missing, or an update of
        it has not shown; None while neither is so.
    :param worker: what the workers get.
    :param triggerer: what the triggerer gets.
    :param spoke: when the last line was written.
    :param noted: when each warning was last given.
    :param try_number: the number of the try; None if another version did not say.
    :param absent: the id of what is missing, or of a service whose update does not show. Empty: nothing is,
        or another version did not say.
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
    worker: Health = _UNSEEN
    triggerer: Health = _UNSEEN
    spoke: float = 0.0
    noted: Mapping[str, float] = field(default_factory=dict)
    try_number: int | None = None
    absent: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without defaults: Airflow stores and sends thousands of memories."""
        return {"started": self.started, **_changed(self, Memory(self.started))}

    @classmethod
    def from_json(cls, value: object, *, now: float) -> Memory:
        """Read what :meth:`to_json` wrote, maybe in another version. Unknown keys are ignored."""
        known = _known(cls, value)
        for observer in Observer:
            if observer in known:
                known[observer] = Health(**_known(Health, known[observer]))
        return cls(**{"started": now, **known})

    def health_of(self, observer: Observer) -> Health:
        """Return what an observer gets."""
        return self.worker if observer is Observer.WORKER else self.triggerer

    def with_health(self, observer: Observer, health: Health) -> Memory:
        """Remember what an observer gets."""
        if observer is Observer.WORKER:
            return replace(self, worker=health)
        return replace(self, triggerer=health)

    def answered(self, observer: Observer, at: float) -> Memory:
        """Remember a complete answer."""
        return replace(self.with_health(observer, Health(healthy_at=at)), last_healthy=at)

    def missing_since(self, absent: str) -> float | None:
        """Return since when the task or resource with this id has been missing; None if it was there."""
        if self.forgetful:
            return self.started
        return self.absent_since if self.absent in ("", absent) else None

    @property
    def expired_at(self) -> float:
        return float("inf") if self.deadline is None else self.deadline


def _changed(now: Memory | Health, before: Memory | Health) -> dict[str, Any]:
    """Return what differs, as plain JSON values."""
    changed: dict[str, Any] = {}
    for each in fields(now):
        value, was = getattr(now, each.name), getattr(before, each.name)
        if value != was:
            changed[each.name] = _changed(value, was) if isinstance(value, Health) else value
    return changed


def _known(cls: type[Memory | Health], value: object) -> dict[str, Any]:
    """Take the known and valid values from what any version wrote."""
    given = value if isinstance(value, Mapping) else {}
    return {
        each.name: given[each.name] for each in fields(cls) if _FITS[str(each.type)](given.get(each.name))
    }


class Run(NamedTuple):
    """
    One run of an observer, in which it takes its looks.

    :param began: when the run began, in seconds since the epoch.
    """

    observer: Observer
    began: float

    @property
    def place(self) -> str:
        """Where the run takes place."""
        return f"the {self.observer} on {_HOST}"


class Limits(NamedTuple):
    """
    How long trouble may last. Each observer counts by itself.

    :param max_unhealthy: seconds without a healthy answer. If nothing is remembered, only ``timeout`` counts.
    :param auth_grace: seconds for which a key that has worked may be refused, and seconds for which settings
        that have worked may be unusable. If nothing is remembered, both count from the first look.
    """

    max_unhealthy: float = DEFAULT_MAX_UNHEALTHY
    auth_grace: float = DEFAULT_AUTH_GRACE


class Line(NamedTuple):
    """A line for the log."""

    level: int
    text: str


def after_look(
    memory: Memory, verdict: Verdict, now: float, next_look_in: float, observer: Observer
) -> tuple[Memory, list[Line]]:
    """
    Remember a healthy look, and return the lines that are worth logging.

    :param next_look_in: seconds to the next look.
    :param observer: who took the look.
    """
    memory, lines = _give_notes(memory, verdict.notes, now)
    memory = memory.answered(observer, now)
    if not isinstance(verdict, Wait):
        return memory, lines
    absent_since = (memory.missing_since(verdict.absent) or now) if verdict.absent else None
    memory = replace(memory, absent=verdict.absent, absent_since=absent_since)
    memory = replace(memory, selected=verdict.selected or memory.selected)
    if verdict.state != memory.said and not memory.forgetful:
        lines.insert(
            0, Line(logging.INFO, f"Waiting: {verdict.state}. Next look in {duration(next_look_in)}.")
        )
    elif now - memory.spoke >= HEARTBEAT:
        elapsed = duration(now - memory.started)
        text = f"Still waiting after {elapsed}: {verdict.state}. Next look in {duration(next_look_in)}."
        lines.insert(0, Line(logging.INFO, text))
    else:
        return memory, lines
    return replace(memory, state=verdict.state, said=verdict.state, spoke=now), lines


def after_failure(
    memory: Memory, error: QianfanError, now: float, limits: Limits, run: Run
) -> tuple[Memory, list[Line]]:
    """
    Remember a failed look.

    ``max_unhealthy`` counts separately for each observer, from its first failed look since its last healthy
    answer: while it did not look, it was not without answers. If a worker failed, and is called again long
    after its next look was due, it begins to count anew.

    :param run: the run that the look was a part of.
    :raises QianfanError: if the wait must not go on. Either the error is about the request; or the key was
        refused, or the settings were unusable, before they ever worked or for longer than ``auth_grace``; or
        there was no healthy answer for ``max_unhealthy``.
    """
    health = memory.health_of(run.observer)
    if health.again_at is not None and run.began > health.again_at + HEARTBEAT:
        health = Health(healthy_at=health.healthy_at)
    health = replace(health, got=f"{run.place}: {error}")
    if isinstance(error, QianfanAuthError):
        since = memory.started if memory.forgetful else health.refused_since or now
        excused = health.excused and health.refused_since is not None
        failing = memory.with_health(run.observer, replace(health, refused_since=since, excused=excused))
        return _to_be_corrected(failing, error, since, "the key is refused", now, limits, run)
    if isinstance(error, QianfanConfigurationError):
        since = memory.started if memory.forgetful else health.unusable_since or now
        excused = health.excused and health.unusable_since is not None
        failing = memory.with_health(run.observer, replace(health, unusable_since=since, excused=excused))
        return _to_be_corrected(failing, error, since, "the settings cannot be used", now, limits, run)
    if not is_transient(error):
        raise error
    since = health.lost_since or now
    excused = health.excused and health.lost_since is not None
    memory = memory.with_health(run.observer, replace(health, lost_since=since, excused=excused))
    if (now - since >= limits.max_unhealthy or excused) and not memory.forgetful:
        raise QianfanTransientError(
            _ACTION,
            f"no healthy answer for {duration(now - since)} (max_unhealthy) in {run.place}."
            f" The last look: {error}",
        ) from None
    answers = _answers(memory, run.observer, now)
    text = f"The platform gave no healthy answer ({answers}); looking again. {error}"
    level = logging.WARNING
    first = memory.last_healthy is None and health.lost_since is None and not memory.forgetful
    if first and isinstance(error, QianfanTransientError) and not error.sent:
        text += " This request did not reach it. Check the connection's host and proxy."
        level = logging.ERROR
    return _alarm(memory, "the platform gives no healthy answer", level, text, now)


def _to_be_corrected(
    memory: Memory, error: QianfanError, since: float, trouble: str, now: float, limits: Limits, run: Run
) -> tuple[Memory, list[Line]]:
    """
    If the wait has worked before, go on for a while, so that somebody can correct the key or the setting.

    :raises QianfanError: if the wait never worked, or the time to correct it is over.
    """
    if memory.last_healthy is None and not memory.forgetful:
        raise error
    told = capital(trouble)
    if now - since >= limits.auth_grace or memory.health_of(run.observer).excused:
        lasts = duration(now - since)
        raise reworded(error, f"{told} in {run.place}, now for {lasts} (auth_grace). {error}") from None
    left = duration(limits.auth_grace - (now - since))
    text = f"{told}; reading the connection again, failing in {left} unless that helps. {error}"
    return _alarm(memory, trouble, logging.ERROR, text, now)


def excuse(health: Health, failure: QianfanError, now: float) -> Health:
    """Overlook a failure once. The memory may not have noted it yet: it ended the run."""
    if isinstance(failure, QianfanAuthError):
        return replace(health, excused=True, refused_since=health.refused_since or now)
    if isinstance(failure, QianfanConfigurationError):
        return replace(health, excused=True, unusable_since=health.unusable_since or now)
    return replace(health, excused=True, lost_since=health.lost_since or now)


def reworded(error: QianfanError, text: str) -> QianfanError:
    """Return the same error with another text."""
    other = copy(error)
    other.args = (text,)
    return other


def failure_to_json(error: QianfanError, run: Run) -> dict[str, Any] | None:
    """
    Tell another observer the error that a run ended with.

    :returns: plain JSON values; None if the error is not about the network, the key or the settings. Then the
        other observer has to look for itself.
    """
    told = f"{error}" if run.place in str(error) else f"In {run.place}: {error}"
    if isinstance(error, QianfanAuthError):
        return {"kind": "refused", "code": error.code, "status": error.http_status, "text": told}
    if isinstance(error, QianfanConfigurationError):
        return {"kind": "unusable", "text": told}
    return {"kind": "lost", "text": told} if is_transient(error) else None


def failure_from_json(value: object) -> QianfanError | None:
    """Read what :func:`failure_to_json` wrote, maybe in another version."""
    given = value if isinstance(value, Mapping) else {}
    kind, text = given.get("kind"), clean(given.get("text"), 2000)
    if kind == "refused":
        status, code = given.get("status"), str(given.get("code"))
        refused = QianfanAuthError(_ACTION, code=code, http_status=status if isinstance(status, int) else 403)
        return reworded(refused, text)
    if kind == "unusable":
        return QianfanConfigurationError(text)
    return reworded(QianfanTransientError(_ACTION, ""), text) if kind == "lost" else None


def backoff(health: Health, now: float, limits: Limits) -> float:
    """
    Return for how many seconds to leave a failing observer alone; 0 if all is well.

    The time is as long as the observer has failed so far, but at most ten minutes, and never beyond the
    moment at which the wait fails.
    """
    if health.failing_since is None:
        return 0.0
    ends = [
        since + limit
        for since, limit in (
            (health.lost_since, limits.max_unhealthy),
            (health.refused_since, limits.auth_grace),
            (health.unusable_since, limits.auth_grace),
        )
        if since is not None
    ]
    return max(0.0, min(now - health.failing_since, HEARTBEAT, min(ends) - now))


def interval_after(elapsed: float, shortest: float, longest: float | None) -> float:
    """
    Return how many seconds may lie between two looks.

    :param elapsed: seconds since the first look.
    :param shortest: seconds; no interval is shorter.
    :param longest: seconds. Up to this length, each interval is as long as all before it together. None:
        intervals do not grow.
    """
    return shortest if longest is None else max(shortest, min(longest, elapsed))


def _answers(memory: Memory, observer: Observer, now: float) -> str:
    """Say when an observer last got a healthy answer, and when any observer did."""
    health = memory.health_of(observer)
    if memory.last_healthy is None or health.healthy_at == memory.last_healthy or health.lost_since is None:
        return _last_answer(memory, now)
    since = f" for {duration(now - health.lost_since)}" if now - health.lost_since >= 1 else ""
    return f"none in this {observer}{since}; elsewhere {_last_answer(memory, now)}"


def _last_answer(memory: Memory, now: float) -> str:
    if memory.last_healthy is None and memory.forgetful:
        return "not known, as nothing is remembered between two looks"
    if memory.last_healthy is None:
        return f"none in the {duration(now - memory.started)} since the first look"
    return f"the last one was {duration(now - memory.last_healthy)} ago"


def timeout_message(memory: Memory, now: float, limit: str) -> str:
    """Say what was known of the wait when its time was up. ``limit`` names the argument that limits it."""
    text = (
        f"Timed out after {duration(now - memory.started)} ({limit}); the gate stays shut."
        f" Last seen: {memory.state or 'nothing'}. Healthy answers: {_last_answer(memory, now)}."
    )
    for health in (memory.worker, memory.triggerer):
        if health.failing_since is not None:
            text += f" None for {duration(now - health.failing_since)} in {health.got}"
    return text


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
