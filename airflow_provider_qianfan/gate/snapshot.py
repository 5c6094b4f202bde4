"""
One reading of the platform that answers many waits, at the lower of two prices.

The list can be read for each source model, or as a whole. The whole list is the history of the account. Which
way is cheaper is measured. A task with a given id is taken from what was read for the others. If it is not
there, it is asked for by itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_qianfan.api.errors import (
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanRateLimitError,
    QianfanTransientError,
    is_transient,
    retry_after,
)
from airflow_provider_qianfan.api.model_compression import read_task, read_tasks, read_tasks_within
from airflow_provider_qianfan.api.paging import Scan
from airflow_provider_qianfan.api.resource import KINDS, Absence, Kind, Row, find_resource
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.look import Found, Target, add_source, read_given
from airflow_provider_qianfan.gate.selection import Selector

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from airflow_provider_qianfan.api.exchange import Exchange, Steps
    from airflow_provider_qianfan.api.model_compression import ModelCompTask

MEASURED_FOR = 3600.0
"""Seconds for which the page count of the whole list is trusted without another reading."""

MOST_FAILURES = 2
"""Failed requests in a row. After them, a snapshot makes no more requests."""


class Query(NamedTuple):
    """
    What to read for one wait: all tasks, those of a source model, or the task or resource with an id.

    :param source_model_id: the source model. Without it and without an id, the query is for all tasks.
    :param given_id: the id of a task, or of a resource of ``kind``.
    :param kind: the name of the kind; empty for a task.
    :param detail: whether the list may not answer for the task, because the list lacks something.
    """

    source_model_id: str | None = None
    given_id: str | None = None
    kind: str = ""
    detail: bool = False

    @property
    def is_for_all(self) -> bool:
        return self.source_model_id is None and self.given_id is None

    @classmethod
    def of(cls, target: Target) -> Query:
        """Return what to read for a wait."""
        if not isinstance(target, Selector):
            return cls(None, target.id, target.kind.name)
        if target.model_comp_task_id is not None:
            return cls(None, target.model_comp_task_id)
        return cls(target.source_model_id)


@dataclass(slots=True)
class Costs:
    """
    How many requests each reading takes, as far as that was counted.

    :ivar of_source: pages of a source model's tasks; 1 until they have been counted.
    :ivar whole: pages of the whole list; None until they have been counted.
    :ivar whole_at_least: the least number of pages that the whole list has.
    :ivar counted_at: when the whole list was counted, in seconds of any one clock.
    :ivar covered: given tasks that came with the tasks of a source model.
    :ivar listed: pages of the lists of other kinds; inf if a list is not worth reading.
    :ivar filtered: whether the platform filters by source model when it is asked to.
    """

    of_source: dict[str, int] = field(default_factory=dict)
    whole: int | None = None
    whole_at_least: float = 1
    counted_at: float = -math.inf
    covered: set[str] = field(default_factory=set)
    listed: dict[str, float] = field(default_factory=dict)
    filtered: bool = True

    def worthwhile(self, queries: Collection[Query], now: float) -> float:
        """Return how many pages of the whole list are worth reading; 0 if single questions are cheaper."""
        if now - self.counted_at > MEASURED_FOR:
            self.whole, self.whole_at_least, self.counted_at = None, 1, now
            self.listed.clear()
            self._forget_others(queries)
        if self.whole_at_least == math.inf:
            return 0
        if not self.filtered and any(query.source_model_id for query in queries):
            return math.inf
        one_by_one = sum(map(self._alone, queries))
        if self.whole is None:
            return one_by_one if one_by_one > self.whole_at_least else 0
        return math.inf if self.whole <= one_by_one else 0

    def _alone(self, query: Query) -> int:
        if query.given_id is not None:
            return query.given_id not in self.covered
        return self.of_source.get(query.source_model_id or "", 1)

    def _forget_others(self, queries: Collection[Query]) -> None:
        """Forget what nobody asks for any more: an account may live for months."""
        sources = {query.source_model_id for query in queries}
        self.of_source = {source: pages for source, pages in self.of_source.items() if source in sources}
        self.covered &= {query.given_id for query in queries if query.given_id is not None}

    def whole_is_longer(self, than: float) -> None:
        """Remember that the whole list has more pages than this; ``inf`` if it cannot be read at all."""
        self.whole, self.whole_at_least = None, than + 1


class Snapshot:
    """
    What was read, and what could not be read.

    :ivar whole: whether the whole list was read.
    :ivar retry_after: seconds to leave the platform alone.
    :ivar throttled: whether the platform asked for fewer requests.
    """

    def __init__(self) -> None:
        self.whole = False
        self.retry_after = 0.0
        self.throttled = False
        self._tasks: dict[str, ModelCompTask] = {}
        self._all: tuple[ModelCompTask, ...] = ()
        self._by_source: dict[str, tuple[ModelCompTask, ...]] = {}
        self._told: dict[Query, Found | QianfanError] = {}

    def answer(self, query: Query) -> Found | QianfanError | None:
        """Return what was read for a query, or why reading failed; None if nothing was read for it."""
        if query in self._told:
            return self._told[query]
        if query.given_id is not None:
            task = None if query.kind or query.detail else self._tasks.get(query.given_id)
            return Found((task,)) if task else None
        if query.is_for_all:
            return Found(self._all) if self.whole else None
        tasks = self._by_source.get(query.source_model_id or "", () if self.whole else None)
        return None if tasks is None else Found(tasks)

    def add(self, tasks: Iterable[ModelCompTask]) -> None:
        """Add the tasks of the whole list."""
        self.whole = True
        groups: defaultdict[str, list[ModelCompTask]] = defaultdict(list)
        for task in tasks:
            self._tasks[task.id] = task
            groups[task.source_model_id or ""].append(task)
        for source, group in groups.items():
            self._by_source[source] = _in_order(group)
        self._all = _in_order(self._tasks.values())

    def add_source(self, source_model_id: str, tasks: Iterable[ModelCompTask]) -> None:
        """Add the tasks of a source model."""
        own = _in_order(task for task in tasks if task.source_model_id == source_model_id)
        self._by_source[source_model_id] = own
        self._tasks.update((task.id, task) for task in own)

    def __contains__(self, query: Query) -> bool:
        return query in self._told

    def tell(self, query: Query, answer: Found | QianfanError) -> None:
        """Add what was found for a given id, or why a query could not be read."""
        self._told[query] = answer

    def sizes(self) -> dict[str, int]:
        """Count the tasks of each source model."""
        return {source: len(tasks) for source, tasks in self._by_source.items()}


def _in_order(tasks: Iterable[ModelCompTask]) -> tuple[ModelCompTask, ...]:
    """Sort, so that equal readings are equal: the platform's order is not documented."""
    return tuple(sorted(tasks, key=lambda task: task.id))


def take_snapshot(
    exchange: Exchange, queries: Collection[Query], costs: Costs, now: float
) -> Steps[Snapshot]:
    """
    Read what all ``queries`` need. The snapshot also holds the errors.

    Some errors end the snapshot: an error about the key, or one of a platform that does not answer or asks
    for fewer requests. Everything that has not been read then fails with this error. Any other error concerns
    its own query alone.

    :param now: the time, in seconds of the clock of ``costs``.
    """
    snapshot, failures = Snapshot(), 0
    error = yield from _read_lists(exchange, queries, costs, now, snapshot)
    if error is not None:
        return _end(snapshot, queries, error)
    # Source models first: their tasks may include a given one. What watchers ask for comes last.
    for query in sorted(queries, key=lambda query: (query.detail, query.given_id is not None)):
        if snapshot.answer(query) is not None:
            if query.given_id is not None and not query.kind and not query.detail and not snapshot.whole:
                costs.covered.add(query.given_id)
            continue
        try:
            yield from _read_one(exchange, query, costs, now, snapshot)
            failures = 0
        except ValueError as error:  # an id that cannot be sent; another version may have let it in
            snapshot.tell(query, QianfanError(clean(error)))
        except QianfanError as error:
            failures += is_transient(error) and not query.detail
            if failures >= MOST_FAILURES or (_concerns_all(error) and not _is_blip(error)):
                return _end(snapshot, queries, error)
            snapshot.tell(query, error)
    return snapshot


def _read_lists(
    exchange: Exchange, queries: Collection[Query], costs: Costs, now: float, snapshot: Snapshot
) -> Steps[QianfanError | None]:
    """Read the lists that are worth it. Return an error that concerns everything, if there was one."""
    waits = [query for query in queries if not (query.kind or query.detail or query.is_for_all)]
    for_watchers, most_pages = Query() in queries, costs.worthwhile(waits, now)
    for kind in KINDS.values():
        error = yield from _read_listing(exchange, kind, queries, costs, snapshot)
        if error is not None and _concerns_all(error):
            return error
    if not most_pages and not for_watchers:
        return None
    error = yield from _read_whole(exchange, math.inf if for_watchers else most_pages, costs, now, snapshot)
    if error is None:
        return None
    if for_watchers:
        if Query() not in snapshot:
            snapshot.tell(Query(), error)
        # The waits may need only some of the pages.
        return error if _concerns_all(error) and (most_pages or not _is_blip(error)) else None
    return error if _concerns_all(error) else None


def _read_listing(
    exchange: Exchange, kind: Kind, queries: Collection[Query], costs: Costs, snapshot: Snapshot
) -> Steps[QianfanError | None]:
    """Read the list of a kind if there is one, and if it has fewer pages than resources to read."""
    wanted = {query.given_id: query for query in queries if query.kind == kind.name}
    if kind.listing is None or costs.listed.get(kind.name, 1) >= len(wanted):
        return None
    action, rows_key = kind.listing
    scan, rows = Scan(exchange, kind.path, action, rows_key), dict[str, Row]()
    try:
        while not scan.finished and scan.pages < len(wanted):
            for json in (yield from scan.next_page(rows)):
                row_id = json.get(kind.id_key)
                if isinstance(row_id, str) and row_id in wanted:
                    rows[row_id] = Row(row_id, json)
    except QianfanError as error:
        # The policies of services differ: a key may describe a service, but not list services.
        if isinstance(error, QianfanAuthError) or not _concerns_all(error):
            costs.listed[kind.name] = math.inf
            return None
        return error
    costs.listed[kind.name] = scan.pages if scan.finished else math.inf
    for row in rows.values():
        if row.is_complete(kind):
            snapshot.tell(wanted[row.id], Found(row=row))
    return None


def _concerns_all(error: QianfanError) -> bool:
    return is_transient(error) or isinstance(error, QianfanAuthError | QianfanConfigurationError)


def _is_blip(error: QianfanError) -> bool:
    """Tell whether the next request may succeed."""
    return isinstance(error, QianfanTransientError) and not error.retry_after


def _end(snapshot: Snapshot, queries: Iterable[Query], error: QianfanError) -> Snapshot:
    for query in queries:
        if snapshot.answer(query) is None:
            snapshot.tell(query, error)
    snapshot.retry_after = retry_after(error)
    snapshot.throttled = isinstance(error, QianfanRateLimitError)
    return snapshot


def _read_whole(
    exchange: Exchange, most_pages: float, costs: Costs, now: float, snapshot: Snapshot
) -> Steps[QianfanError | None]:
    """Read the whole list, unless it has more pages than allowed. Return the error, if there was one."""
    try:
        reading = yield from read_tasks_within(exchange, most_pages)
    except QianfanError as error:
        if not _concerns_all(error):
            # A row or page is not as documented. The waits may not need that row.
            costs.whole_is_longer(math.inf)
        return error
    costs.counted_at = now
    if reading is None:
        costs.whole_is_longer(most_pages)
        return None
    if reading.unreadable is not None:
        # A watcher reports what can be read. The waits may not need that row: each asks for its own.
        snapshot.tell(Query(), Found(_in_order(reading.tasks), left_out=True))
        costs.whole_is_longer(math.inf)
        return reading.unreadable
    snapshot.add(reading.tasks)
    costs.covered.clear()
    costs.whole = reading.pages
    page = max(1, math.ceil(len(reading.tasks) / reading.pages))
    costs.of_source = {source: math.ceil(size / page) for source, size in snapshot.sizes().items()}
    return None


def _read_one(exchange: Exchange, query: Query, costs: Costs, now: float, snapshot: Snapshot) -> Steps[None]:
    if query.kind:
        found = yield from find_resource(exchange, KINDS[query.kind], query.given_id or "")
        snapshot.tell(query, Found(row=found) if isinstance(found, Row) else Found(absence=found))
        return
    if query.detail:
        task = yield from read_task(exchange, query.given_id or "")
        snapshot.tell(query, Found((task,)) if task else Found(absence=Absence()))
        return
    if query.given_id is not None:
        yield from _read_given(exchange, query.given_id, costs, now, snapshot)
        return
    source = query.source_model_id or ""
    reading = yield from read_tasks(exchange, source)
    snapshot.add_source(source, reading.tasks)
    costs.of_source[source] = reading.pages
    if costs.filtered and any(task.source_model_id not in (None, source) for task in reading.tasks):
        # The platform ignored the filter, which newer pages do not document. It would do so each time.
        costs.filtered = False
        error = yield from _read_whole(exchange, math.inf, costs, now, snapshot)
        if error is not None and _concerns_all(error):
            raise error


def _read_given(
    exchange: Exchange, task_id: str, costs: Costs, now: float, snapshot: Snapshot
) -> Steps[None]:
    costs.covered.discard(task_id)
    query = Query(None, task_id)

    def find_in_list() -> Steps[ModelCompTask | None]:
        if not snapshot.whole:
            trouble = yield from _read_whole(exchange, math.inf, costs, now, snapshot)
            if trouble is not None:
                raise trouble
        found = snapshot.answer(query)
        return found.tasks[0] if isinstance(found, Found) else None

    found = yield from read_given(exchange, task_id, find_in_list)
    found = yield from add_source(found, find_in_list)
    snapshot.tell(query, found)
