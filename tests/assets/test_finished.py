"""Which finished tasks a DAG run gets, from the events that started it and from the event log."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset

from airflow_provider_qianfan.assets.finished import REMEMBERED, finished_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHED, TAKEN = Asset("finished"), Asset("taken")
DAG = "deploy"
NOW = datetime.now(UTC)


def row(model: str, **changed: Any) -> dict[str, Any]:
    """Return a task as the trigger reports it."""
    return {
        "event_id": f"amva-{model}:succeeded",
        "id": f"amva-{model}",
        "status": "succeeded",
        "model_id": f"amv-{model}",
        "source_model_id": "amv-source",
        "name": "nightly",
        "create_time": "2024-05-01T10:00:00+00:00",
        "finish_time": "2024-05-01T11:00:00+00:00",
        "config": {"strategy": "Quantization"},
        **changed,
    }


@dataclass
class Event:
    """An asset event as Airflow hands it to a task."""

    extra: Any
    timestamp: datetime
    asset: Asset = WATCHED
    source_dag_id: str | None = None
    source_run_id: str | None = None


def report(*rows: Any, ago: float = 0, **payload: Any) -> Event:
    """Return an event of the trigger. Rows may be names of models."""
    tasks = [row(each) if isinstance(each, str) else each for each in rows]
    extra = {"from_trigger": True, "payload": {"version": 1, "tasks": tasks, **payload}}
    return Event(extra, NOW - timedelta(seconds=ago))


class Query:
    """The events of an inlet, as Airflow has them since 3.2."""

    def __init__(self, events: list[Event]) -> None:
        self._events = sorted(events, key=lambda event: event.timestamp)

    def after(self, time: datetime) -> Query:
        return Query([event for event in self._events if event.timestamp >= time])

    def ascending(self, ascending: bool) -> Query:
        assert not ascending
        return self

    def limit(self, limit: int) -> Query:
        return Query(self._events[-limit:])

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)


@dataclass
class Airflow:
    """
    What Airflow does with events.

    :param queries: whether the log can be asked for a part of it, as since Airflow 3.2.
    """

    queries: bool = True
    log: list[Event] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)

    def report(self, *rows: Any, **arguments: Any) -> Event:
        self.log.append(report(*rows, **arguments))
        return self.log[-1]

    def take(self, *started: Event, run: str = "run", succeeds: bool = True, **task: Any) -> list[str]:
        """Run a task that takes, in a run that these events started, and return the models that it gets."""
        events = {WATCHED: self.log, TAKEN: self.notes}
        outlet = SimpleNamespace(extra={})
        context = {
            "task": SimpleNamespace(
                **{
                    "task_id": "take",
                    "inlets": [WATCHED, TAKEN],
                    "outlets": [TAKEN],
                    "max_active_tis_per_dag": 1,
                    **task,
                }
            ),
            "dag_run": SimpleNamespace(dag_id=DAG, run_id=run),
            "triggering_asset_events": {WATCHED: list(started)},
            "inlet_events": {
                asset: Query(of_asset) if self.queries else of_asset for asset, of_asset in events.items()
            },
            "outlet_events": {TAKEN: outlet},
        }
        found = finished_tasks(context, taken=TAKEN)
        if succeeds:  # only then does Airflow store the event
            self.notes.append(Event(outlet.extra, datetime.now(UTC), TAKEN, DAG, run))
        return [str(task["model_id"]).removeprefix("amv-") for task in found]


@pytest.fixture(params=[True, False], ids=["since 3.2", "before 3.2"])
def airflow(request: pytest.FixtureRequest) -> Airflow:
    return Airflow(request.param)


def ids(*events: Any) -> list[str]:
    """Return the models in the events that started a run."""
    found = finished_tasks({"triggering_asset_events": {WATCHED: list(events)}})
    return [str(task["model_id"]).removeprefix("amv-") for task in found]


def test_a_task_is_handed_on_as_it_was_reported() -> None:
    assert finished_tasks({"triggering_asset_events": {WATCHED: [report("a")]}}) == [row("a")]


def test_the_oldest_finish_comes_first_and_unknown_ones_last() -> None:
    undated = row("undated", finish_time=None)
    broken = row("broken", finish_time="soon")
    late, early = (row(name, finish_time=f"2024-05-0{n}T11:00:00+00:00") for name, n in [("l", 3), ("e", 2)])

    assert ids(report(undated, late), report(broken, early)) == ["e", "l", "undated", "broken"]


def test_each_event_id_counts_once() -> None:
    assert ids(report("a", "b"), report("a"), report("b", "c")) == ["a", "b", "c"]


def test_a_later_version_with_the_same_keys_is_read() -> None:
    assert ids(report(row("a", colour="blue"), version=2)) == ["a"]


@pytest.mark.parametrize(
    "extra",
    [
        None,
        {},
        {"payload": None},
        {"payload": ["a"]},
        {"payload": {"tasks": [row("x")]}},
        {"payload": {"version": "1", "tasks": [row("x")]}},
        {"payload": {"version": 1, "tasks": "x"}},
    ],
)
def test_another_event_is_ignored_with_a_line(extra: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert ids(Event(extra, NOW), report("a")) == ["a"]
    assert caplog.text.count("Ignored the event of") == 1


@pytest.mark.parametrize(
    "broken", [None, 7, {}, row("x", event_id=None), row("x", id=1), row("x", status=[])]
)
def test_a_task_without_ids_is_ignored_with_a_line(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert ids(report(broken, "a")) == ["a"]
    assert caplog.text.count("Ignored a task") == 1


def test_a_run_that_nothing_started_gets_nothing() -> None:
    assert ids() == []


def test_what_is_reported_again_is_taken_once(airflow: Airflow) -> None:
    first = airflow.report("a", "b", ago=60)
    assert airflow.take(first, run="1") == ["a", "b"]

    again = airflow.report("b", "c", ago=30)

    assert airflow.take(again, run="2") == ["c"]


def test_what_no_run_was_started_for_is_taken_by_the_next_run(airflow: Airflow) -> None:
    first = airflow.report("a", ago=60)
    airflow.take(first, run="1")
    airflow.report("left behind", ago=50)

    assert airflow.take(airflow.report("c", ago=40), run="2") == ["left behind", "c"]


def test_what_reached_the_log_late_is_taken(airflow: Airflow) -> None:
    airflow.take(airflow.report("a", ago=600), run="1")
    airflow.report("late", ago=300)  # it bears a time before the first taking

    assert airflow.take(run="2") == ["late"]


def test_two_runs_for_one_event_take_it_once(airflow: Airflow) -> None:
    event = airflow.report("a")

    assert [airflow.take(event, run="1"), airflow.take(event, run="2")] == [["a"], []]


def test_a_task_that_fails_has_taken_nothing(airflow: Airflow) -> None:
    event = airflow.report("a")
    airflow.take(event, run="1", succeeds=False)

    assert airflow.take(event, run="1") == ["a"]


def test_after_a_final_failure_the_next_run_takes_what_was_left(airflow: Airflow) -> None:
    airflow.take(airflow.report("a", ago=600), run="1")
    failed = airflow.report("b", ago=500)
    airflow.take(failed, run="2", succeeds=False)

    assert airflow.take(airflow.report("c", ago=400), run="3") == ["b", "c"]


def test_a_cleared_task_gets_its_own_ones_again(airflow: Airflow) -> None:
    for n, name in enumerate("abc"):
        event = airflow.report(name, ago=90000 - 20000 * n)
        airflow.take(event, run=name)
        note = airflow.notes[-1]
        note.timestamp = event.timestamp
        note.extra["read"] = event.timestamp.isoformat()  # so long ago that nobody looks back so far

    assert airflow.take(run="b") == ["b"]
    assert airflow.take(run="b") == ["b"]
    assert airflow.take(run="d") == []


def test_the_first_run_leaves_history_alone_and_says_so(
    airflow: Airflow, caplog: pytest.LogCaptureFixture
) -> None:
    # Before Airflow 3.3, all events that the asset ever had start the first run.
    history = airflow.report("history", ago=300)
    event = airflow.report("a", ago=60)
    airflow.report("later", ago=50)

    assert airflow.take(history, event, run="1") == ["a", "later"]
    assert "1 events that started this run" in caplog.text
    assert airflow.take(airflow.report("c", ago=40), run="2") == ["c"]


def test_the_first_run_by_hand_begins_with_what_is_reported_next(airflow: Airflow) -> None:
    history = airflow.report("history", ago=300)
    assert airflow.take(run="1") == []

    event = airflow.report("a", ago=-20)

    assert airflow.take(history, event, run="2") == ["a"]


def test_events_of_one_moment_are_all_taken_at_first(airflow: Airflow) -> None:
    first = airflow.report("a", row("a2"), ago=60.02)
    second = airflow.report("b", ago=60)

    assert airflow.take(first, second) == ["a", "a2", "b"]


def test_a_first_run_that_failed_gets_what_started_it_when_it_is_cleared(airflow: Airflow) -> None:
    failed = airflow.report("a", ago=600)
    airflow.take(failed, run="1", succeeds=False)
    airflow.take(airflow.report("b", ago=300), run="2")

    assert airflow.take(failed, run="1") == ["a"]


def test_the_log_is_not_read_from_its_beginning() -> None:
    airflow = Airflow()
    airflow.take(airflow.report("a", ago=86400), run="0")
    airflow.notes[-1].extra["read"] = (NOW - timedelta(hours=20)).isoformat()
    old = airflow.report("old", ago=80000)
    del old.extra  # to read it would raise

    assert airflow.take(airflow.report("b"), run="1") == ["b"]


def test_so_many_takings_are_remembered() -> None:
    airflow = Airflow()
    event = airflow.report("a", ago=60)
    airflow.take(event, run="0")
    note = airflow.notes[0]
    for n in range(1, REMEMBERED):
        airflow.notes.append(Event({**note.extra, "event_ids": []}, NOW, TAKEN, DAG, str(n)))
    note.timestamp = NOW - timedelta(days=1)
    assert airflow.take(event, run="again") == []

    assert airflow.take(event, run="again and again") == ["a"]


def test_a_foreign_note_is_ignored_with_a_line(airflow: Airflow, caplog: pytest.LogCaptureFixture) -> None:
    airflow.notes.append(Event({"from_rest_api": True}, NOW, TAKEN))

    assert airflow.take(airflow.report("a")) == ["a"]
    assert "does not say what was taken" in caplog.text


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ({"max_active_tis_per_dag": None}, "max_active_tis_per_dag=1"),
        ({"inlets": [WATCHED]}, "'taken' among its inlets"),
        ({"outlets": []}, "'taken' among its outlets"),
        ({"inlets": [TAKEN]}, "the watched asset among its inlets"),
    ],
)
def test_a_task_that_cannot_take_is_told_what_it_needs(task: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Airflow().take(**task)
