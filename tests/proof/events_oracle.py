"""
Checks what a watcher has to report, by the promises of docs/howto/event.md.

This file is written from the page alone. It imports nothing of the package. If it and the package differ, one
of them is wrong.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.proof.oracle import UNDER_WAY, Row, is_usable
from tests.proof.qianfan import EPOCH, FOREVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.proof.qianfan import World

MOST_TASKS, MOST_BYTES = 100, 100_000

SKEW = 3500
"""Seconds. If a task ended this long before the newest time in the list, a watcher may take it for old."""

TAKEN_BACK = 12.0
"""Seconds. If Airflow stops a watcher, the next start may report again what was reported this long before."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """
    A watcher, as a DAG author writes it. Times are seconds of the world.

    :param catch_up: ``catch_up_from``.
    """

    statuses: tuple[str, ...] = ("succeeded",)
    source: str | None = None
    name: str | None = None
    pattern: str | None = None
    interval: int = 60
    catch_up: int | None = None
    look_back: int = 3600

    def wants(self, row: Row) -> bool:
        """Tell whether a task matches every filter that is passed."""
        return (
            self.source in (None, row.source)
            and self.name in (None, row.name)
            and (self.pattern is None or fnmatchcase(row.name, self.pattern))
        )


@dataclass(slots=True)
class Event:
    """
    One event. Times are seconds of the world.

    :ivar sent: when the watcher sent it.
    :ivar tasks: what it tells of each task.
    :ivar stored: when Airflow stored it; None if Airflow never did.
    :ivar settled: when the watcher had noted whether Airflow stored it; None if Airflow never said so.
    :ivar noted: whether the watcher could store this note.
    """

    sent: float
    tasks: list[dict[str, Any]]
    stored: float | None = None
    settled: float | None = None
    noted: bool = False


@dataclass(slots=True)
class Life:
    """
    A watcher from a start to its end.

    :ivar stopped: whether Airflow stopped it. Then it takes back what it has just reported.
    """

    began: float
    ended: float = FOREVER
    stopped: bool = False
    events: list[Event] = field(default_factory=list)


class Span(NamedTuple):
    """From when until when the list shows a task with one status."""

    began: float
    ended: float
    rows: tuple[Row, ...]


class Past:
    """
    What the platform showed, and what went wrong, in the time of a watcher.

    :param spoiled: the times at which an answer of the platform was spoiled.
    :param store_spoiled: the times at which a request to Airflow's store was spoiled.
    :param lag: seconds. If nothing disturbs a watcher, it reports within this time what the list shows.
    """

    def __init__(
        self, world: World, spoiled: list[float], store_spoiled: list[float], until: float, lag: float
    ) -> None:
        self.world, self.until, self.lag = world, until, lag
        self.store_spoiled = store_spoiled
        self.moments = [-float(FOREVER), *world.changes()]
        self.lists = [{row.id: row for row in world.listed(at)} for at in self.moments]
        self.details = [world.detailed(at) for at in self.moments]
        self.newest = []
        for rows in self.lists:
            told = [at for row in rows.values() for at in (row.created, row.finished) if at is not None]
            self.newest.append(max([*self.newest[-1:], *told], default=-FOREVER))
        # Pages can hide a row only if there are several, and if something changes or a row cannot be read.
        self.one_page = max(map(len, self.lists)) <= world.page
        unreadable = any(fault == "answer: tasks without an id" for _, fault in world.faults)
        moving = [] if self.one_page else [at for at in self.moments if at >= 0]
        self.exact = self.one_page or (not unreadable and all(at < 0 for at in self.moments))
        self.disturbed = sorted([*spoiled, *store_spoiled, *moving])
        if not self.one_page and unreadable:
            self.exact = False

    def views(self, began: float, ended: float) -> range:
        """Return the indexes of what the platform shows from ``began`` to ``ended``."""
        return range(max(0, bisect_right(self.moments, began) - 1), bisect_right(self.moments, ended))

    def spans(self) -> Iterator[Span]:
        """Yield a span for each time in which the list shows a task with one status."""
        ids = {row_id for rows in self.lists for row_id in rows}
        for row_id in sorted(ids):
            rows: list[Row] = []
            began = 0.0
            for at, shown in zip([*self.moments, FOREVER], [*self.lists, {}], strict=True):
                row = shown.get(row_id)
                if rows and (row is None or row.status != rows[-1].status):
                    yield Span(began, at, tuple(rows))
                    rows = []
                if row is not None:
                    began = began if rows else at
                    rows.append(row)

    def first_listed(self, watcher: Watcher) -> float:
        """Return when the list that a watcher reads has its first task."""
        listed = zip(self.moments, self.lists, strict=True)
        return next(
            (at for at, rows in listed if any(watcher.source in (None, row.source) for row in rows.values())),
            float(FOREVER),
        )

    def quiet(self, began: float, ended: float, *disturbed: tuple[float, float]) -> float | None:
        """Return when the first time begins that is undisturbed for a whole lag; None if there is none."""
        refused, corrected = self.world.refused, self.world.corrected
        breaks = [(at, at) for at in self.disturbed if began <= at < ended]
        breaks = sorted([*breaks, (refused, corrected), *disturbed])
        start = began
        for since, until in breaks:
            if since - start >= self.lag:
                break
            start = max(start, until + 0.001) if until >= start else start
        return start if ended - start >= self.lag else None


def told_end(row: Row) -> int | None:
    """Return when a task ended. If the platform does not say that, return when it was created."""
    return row.created if row.finished is None else row.finished


def problems(past: Past, watcher: Watcher, lives: list[Life], *, keeps: bool) -> Iterator[str]:
    """
    Say what is wrong with the events of a watcher.

    :param keeps: whether Airflow keeps what was reported.
    """
    for number, life in enumerate(lives):
        for event in life.events:
            yield from _problems_of_form(event)
            for told in event.tasks:
                wrong = _untrue(past, watcher, event, told)
                first = lives[0] if keeps else life
                if not wrong and _is_old(past, watcher, first, event, told, keeps=keeps):
                    wrong = "it had finished before"
                if wrong:
                    yield f"reported wrongly at {event.sent:.1f}, in life {number}: {wrong}: {told}"
    yield from _problems_of_ids(lives)
    yield from _twice(past, lives, keeps=keeps)
    yield from _missed(past, watcher, lives, keeps=keeps)


def _problems_of_form(event: Event) -> Iterator[str]:
    size = sum(len(json.dumps(told, ensure_ascii=False).encode()) for told in event.tasks)
    if not event.tasks or len(event.tasks) > MOST_TASKS or (size > MOST_BYTES and len(event.tasks) > 1):
        yield f"an event at {event.sent:.1f} of {len(event.tasks)} tasks and {size} bytes"
    ends = [told["finish_time"] for told in event.tasks if told["finish_time"] is not None]
    if ends != sorted(ends):
        yield f"an event at {event.sent:.1f} that is not in order: {ends}"


def _untrue(past: Past, watcher: Watcher, event: Event, told: dict[str, Any]) -> str:
    """Say why an event may not say this about a task. The text is empty if it may."""
    until = bisect_right(past.moments, event.sent)
    shown = [rows[told["id"]] for rows in past.lists[:until] if told["id"] in rows]
    detailed = [rows[told["id"]] for rows in past.details[:until] if told["id"] in rows]
    rows = [row for row in (*shown, *detailed) if row.status == told["status"]]
    if not rows:
        return "the platform never showed this status"
    if told["status"] not in watcher.statuses or not any(map(watcher.wants, shown)):
        return "nobody asked for it"
    sources = {row.source for row in (*shown, *detailed)} - {""}
    if told["model_id"] not in {row.model for row in rows} or told["source_model_id"] not in sources:
        return "the platform showed other models"
    made = Row(told["id"], told["source_model_id"], told["status"], model=told["model_id"])
    if (told["status"] == "succeeded") != is_usable(made):
        return "no such model is of use"
    times = {(row.created, row.finished) for row in rows}
    if (_seconds(told["create_time"]), _seconds(told["finish_time"])) not in times:
        return "the platform showed other times"
    names = {row.name or None for row in rows}
    return "" if told["name"] in names else "the platform showed another name"


def _seconds(time: str | None) -> int | None:
    return None if time is None else int(datetime.fromisoformat(time).timestamp()) - EPOCH


def _since(watcher: Watcher, life: Life, *, keeps: bool) -> float:
    """Return the time from which finished tasks count, if the life is the first of its watcher."""
    since = life.began if keeps else life.began - watcher.look_back
    return since if watcher.catch_up is None else min(since, watcher.catch_up)


def _is_old(
    past: Past, watcher: Watcher, first: Life, event: Event, told: dict[str, Any], *, keeps: bool
) -> bool:
    """Tell whether the task had finished before the watch began, as far as the list shows."""
    since = _since(watcher, first, keeps=keeps)
    views = past.views(first.began, event.sent)
    if not past.exact:
        return False
    for view in views:
        row = past.lists[view].get(told["id"])
        if row is None or row.status != told["status"]:
            return False
        end = told_end(row)
        if end is not None and end >= since - 1:
            return False
    return True


def _problems_of_ids(lives: list[Life]) -> Iterator[str]:
    known: dict[str, tuple[str, str]] = {}
    for life in lives:
        for event in life.events:
            for told in event.tasks:
                known.setdefault(told["event_id"], (told["id"], told["status"]))
                if known[told["event_id"]] != (told["id"], told["status"]):
                    yield f"an event id for two things: {told}"
    if len(known) != len(set(known.values())):
        yield f"two event ids for one thing: {known}"


def _twice(past: Past, lives: list[Life], *, keeps: bool) -> Iterator[str]:
    reported: dict[str, list[tuple[int, Event]]] = {}
    for number, life in enumerate(lives):
        for event in life.events:
            for told in event.tasks:
                reported.setdefault(told["event_id"], []).append((number, event))
    for event_id, events in reported.items():
        events.sort(key=lambda each: each[1].sent)
        for later, (number, event) in enumerate(events):
            lost = any(life == number and each.stored is None for life, each in events[:later])
            for before, earlier in events[:later]:
                same = before == number
                # If two run at once, and an event of one is lost, this one does not know the other's.
                if lost and not same and lives[before].ended > lives[number].began:
                    continue
                if (same or keeps) and not _may_repeat(past, lives[before], earlier, event, same=same):
                    yield (
                        f"reported twice: {event_id} at {earlier.sent:.1f} in life {before}, and at"
                        f" {event.sent:.1f} in life {number}"
                    )


def _may_repeat(past: Past, life: Life, earlier: Event, later: Event, *, same: bool) -> bool:
    if earlier.stored is None:
        return earlier.settled is None or same is False or earlier.settled <= later.sent
    if same:
        return False
    slack = 10 + 10 * past.world.latency
    if not earlier.noted or earlier.settled is None or earlier.settled > later.sent - slack:
        return True
    if life.stopped and life.ended - earlier.settled <= TAKEN_BACK:
        return True
    return life.ended > later.sent and any(earlier.sent <= at <= later.sent for at in past.store_spoiled)


def _missed(past: Past, watcher: Watcher, lives: list[Life], *, keeps: bool) -> Iterator[str]:
    spans, stored, unstored = list(past.spans()), _stored(lives), _unstored(lives)
    for span in spans:
        row = span.rows[0]
        key = (row.id, row.status)
        if row.status not in watcher.statuses or not watcher.wants(row) or (keeps and key in stored):
            continue
        for number, life in enumerate(lives):
            began, ended = max(span.began, life.began), min(span.ended, life.ended, past.until)
            quiet = past.quiet(began, ended, *unstored.get(key, ()))
            if quiet is None or key in _stored([life]) or not _names_a_model(past, span, quiet):
                continue
            if _is_due(past, watcher, lives[: number + 1], spans, span, quiet, keeps=keeps):
                yield (
                    f"missed: {row} was there from {span.began} to {span.ended}, and life {number} was"
                    f" undisturbed from {quiet:.1f}"
                )


def _stored(lives: list[Life]) -> set[tuple[str, str]]:
    """Return the tasks, each with its status, that are in an event that Airflow stored."""
    events = [event for life in lives for event in life.events if event.stored is not None]
    return {(told["id"], told["status"]) for event in events for told in event.tasks}


def _unstored(lives: list[Life]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return, for each task with its status, when events were under way that Airflow did not store."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for life in lives:
        for event in life.events:
            if event.stored is None:
                settled = life.ended if event.settled is None else event.settled
                for told in event.tasks:
                    found.setdefault((told["id"], told["status"]), []).append((event.sent, settled))
    return found


def _names_a_model(past: Past, span: Span, quiet: float) -> bool:
    """Tell whether the list names a produced model at each look, or else the answer for this task."""
    if span.rows[0].status != "succeeded":
        return True
    during = past.views(quiet, quiet + past.lag)
    if all(is_usable(past.lists[view][span.rows[0].id]) for view in during):
        return True
    for view in past.views(span.began, quiet + past.lag):
        detail = past.details[view].get(span.rows[0].id)
        if detail is None or detail.status != "succeeded" or not detail.model:
            return False
        source = detail.source or span.rows[0].source
        if not is_usable(Row(detail.id, source, "succeeded", model=detail.model)):
            return False
    return True


def _is_due(
    past: Past,
    watcher: Watcher,
    lives: list[Life],
    spans: list[Span],
    span: Span,
    quiet: float,
    *,
    keeps: bool,
) -> bool:
    """Tell whether a finished task is news for the last of these lives."""
    life, end = lives[-1], told_end(span.rows[0])
    place = bisect_left(past.moments, span.began if past.exact else quiet + past.lag) - 1
    recent = end is None or end >= (past.newest[place] if place >= 0 else -FOREVER) - SKEW
    since = _since(watcher, life, keeps=keeps) + 1
    if end is not None and end > since and (recent or quiet == life.began):
        return True
    if past.world.corrected < FOREVER and end is None:
        return False  # the key may belong to another account
    known = lives if keeps else lives[-1:]
    # An empty list may be a mistake. Until there is a task, one without times may be old.
    first = past.first_listed(watcher) if end is None else -float(FOREVER)
    if all(past.quiet(max(each.began, first), min(each.ended, span.began)) is None for each in known):
        return False
    return recent or any(
        other.rows[0].id == span.rows[0].id
        and other.rows[0].status in (*UNDER_WAY, "stopping")
        and past.quiet(max(other.began, each.began), min(other.ended, each.ended, span.began)) is not None
        for other in spans
        for each in known
    )
