"""Which finished tasks are news, whatever clocks, orders and rows do."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qianfan.gate import finished
from airflow_provider_qianfan.gate.finished import (
    MOST_BYTES,
    MOST_TASKS,
    SKEW,
    Interest,
    Ledger,
    begin,
    begin_again,
    find_news,
    first_batch,
    go_on_beginning,
    named_by,
    tell,
)
from tests.gate.tasks import BEIJING, NOON, NOW, SOURCE, made, task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_qianfan.api.model_compression import ModelCompTask

SUCCEEDED = Interest(("succeeded",))
ALL = Interest(("failed", "stopped", "succeeded"))


def at(seconds: float) -> datetime:
    """A time, as seconds after the beginning of the watch."""
    return datetime.fromtimestamp(NOW + seconds, UTC)


def ended(task_id: str, seconds: float | None, *, created: float | None = None, **more: str) -> ModelCompTask:
    """A task that succeeded so many seconds after the beginning of the watch; None if it does not say."""
    finish = None if seconds is None else at(seconds)
    when = None if created is None else at(created)
    return replace(made(task_id, created=when, **more), finish_time=finish)


def running(task_id: str, *, created: float | None = None) -> ModelCompTask:
    return task(task_id, created=None if created is None else at(created))


class Watcher:
    """A watcher whose events are all stored; it knows only what its ledger says."""

    def __init__(self, interest: Interest = SUCCEEDED, since: float = 0.0) -> None:
        self.interest = interest
        self.since = since
        self.ledger: Ledger | None = None

    def look(
        self, *tasks: ModelCompTask, after: float = 60, stored: bool = True, complete: bool = True
    ) -> list[str]:
        """Look so many seconds after the beginning of the watch; return the ids that are news."""
        now = NOW + after
        if self.ledger is None:
            self.ledger = begin(tasks, self.interest, NOW + self.since, now)
        ledger = go_on_beginning(tasks, self.interest, self.ledger, now, complete=complete)
        news = find_news(tasks, self.interest, ledger, now)
        ledger = news.ledger
        if stored:
            ledger = ledger.with_reported([f"{each.id}:{each.status}" for each in news.tasks])
        self.ledger = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
        return [each.id for each in news.tasks]


def test_first_start_reports_only_what_finishes_from_then_on() -> None:
    watcher = Watcher()
    history = [ended(f"amva-{number}", -10.0 * number) for number in range(1, 1000)]

    assert watcher.look(*history, ended("amva-undated", None)) == []
    assert watcher.look(*history, ended("amva-undated", None), ended("amva-new", 30)) == ["amva-new"]
    assert watcher.look(*history, ended("amva-undated", None), ended("amva-new", 30)) == []


def test_a_task_that_finishes_before_the_first_answer_is_news() -> None:
    assert Watcher().look(ended("amva-new", 5), after=300) == ["amva-new"]


def test_catching_up_reports_what_finished_since_then() -> None:
    tasks = ended("amva-1", -7200), ended("amva-2", -3600), ended("amva-3", -60), ended("amva-4", None)

    assert Watcher(since=-3600).look(*tasks) == ["amva-2", "amva-3"]


def test_two_tasks_finish_in_the_same_second() -> None:
    watcher = Watcher()
    watcher.look()

    assert watcher.look(ended("amva-1", 30)) == ["amva-1"]
    assert watcher.look(ended("amva-1", 30), ended("amva-2", 30)) == ["amva-2"]


@pytest.mark.parametrize(
    ("finish", "create"),
    [(30.0, -86400.0), (None, -86400.0), (None, None), (-86400.0, -86400.0), (9e8, None)],
    ids=["dated", "not dated", "no times", "a clock that is a day late", "a clock in the future"],
)
def test_a_task_that_was_seen_unfinished_is_news_whatever_its_times_say(
    finish: float | None, create: float | None
) -> None:
    watcher = Watcher()
    watcher.look(running("amva-1", created=create))
    watcher.look()  # a list of several pages is no snapshot: a row may be missing

    assert watcher.look(ended("amva-1", finish, created=create), after=90) == ["amva-1"]
    assert watcher.look(ended("amva-1", finish, created=create), after=150) == []


@pytest.mark.parametrize(
    ("finish", "create", "news"),
    [
        (30.0, 10.0, True),
        (None, 10.0, True),
        (None, None, True),
        (-SKEW + 1, None, True),
        (-SKEW - 1, None, False),
        (-SKEW - 1, 10.0, False),
        (9e8, 10.0, True),
        (9e8, -SKEW - 1, False),
    ],
)
def test_a_task_that_was_never_seen_is_news_unless_it_ended_before_the_watch(
    finish: float | None, create: float | None, news: bool
) -> None:
    """It was created and finished between two looks; or a page had lost a row of the history."""
    watcher = Watcher()
    watcher.look()

    assert watcher.look(ended("amva-1", finish, created=create)) == (["amva-1"] if news else [])


def test_a_row_that_a_page_had_lost_is_history() -> None:
    """A list of several pages is no snapshot: a row of the history may be missing when the watch begins."""
    watcher = Watcher()
    history = [ended(f"amva-{number}", -86400.0 * number) for number in range(1, 100)]
    watcher.look(*history[1:], after=10)

    assert watcher.look(*history, ended("amva-new", 90_000), after=90_010) == ["amva-new"]
    assert watcher.look(*history, ended("amva-lost", 90_000 - SKEW - 1), after=90_070) == []


@pytest.mark.parametrize("wrong", [-20_000.0, 20_000.0], ids=["behind", "ahead"])
def test_a_clock_of_ours_that_is_wrong_hides_no_end_that_was_awaited(wrong: float) -> None:
    watcher = Watcher(since=wrong)
    history = [ended(f"amva-old-{number}", -86400.0 * number) for number in range(1, 10)]
    history += [ended("amva-undated", None)]
    watcher.look(*history, running("amva-1", created=-60), after=wrong)

    assert watcher.look(*history, ended("amva-1", 30, created=-60), after=wrong + 60) == ["amva-1"]
    assert watcher.look(*history, ended("amva-1", 30, created=-60), after=wrong + 120) == []


def test_another_account_is_watched_from_the_last_look_on() -> None:
    watcher = Watcher()
    watcher.look(running("amva-1", created=-60), after=60)
    assert watcher.ledger is not None
    others = [ended(f"amva-other-{number}", -86400.0 * number) for number in range(1, 10)]
    others += [ended("amva-other-undated", None), ended("amva-other-recent", 60 - 1801)]
    late = [ended("amva-1", None, created=-60), ended("amva-2", 90)]

    watcher.ledger = begin_again([*others, *late], SUCCEEDED, watcher.ledger, NOW + 120)

    assert sorted(watcher.look(*others, *late, after=120)) == ["amva-1", "amva-2"]
    assert watcher.look(*others, *late, after=180) == []


def test_what_is_known_of_the_account_before_stays_known() -> None:
    before = Ledger(10.0, frozenset({"amva-1"}), frozenset({"amva-2:failed"}), looked_at=NOW)
    again = begin_again([ended("amva-3", None)], SUCCEEDED, before, NOW + 60)

    assert again.unfinished == {"amva-1"}
    assert again.reported == {"amva-2:failed", "amva-3:succeeded"}


@pytest.mark.parametrize(("seconds", "news"), [(30.0, []), (31.0, ["amva-1"])])
def test_what_was_forgotten_stays_history_if_the_key_changes(seconds: float, news: list[str]) -> None:
    """The ledger forgot the reports of the oldest, and its horizon stands for them."""
    before, tasks = Ledger(NOW + 30.001, looked_at=NOW + 60), [ended("amva-1", seconds)]
    again = begin_again(tasks, SUCCEEDED, before, NOW + 120)

    assert [each.id for each in find_news(tasks, SUCCEEDED, again, NOW + 120).tasks] == news


@pytest.mark.parametrize(("seconds", "news"), [(-10.0, []), (0.0, ["amva-1"]), (30.0, ["amva-1"])])
def test_a_key_that_changes_while_a_watch_begins_does_not_lengthen_it(
    seconds: float, news: list[str]
) -> None:
    before, tasks = Ledger(NOW - 3600, looked_at=NOW + 60, beginning_since=NOW), [ended("amva-1", seconds)]
    again = begin_again(tasks, SUCCEEDED, before, NOW + 120)

    assert again.beginning_since == NOW
    assert [each.id for each in find_news(tasks, SUCCEEDED, again, NOW + 120).tasks] == news


def test_a_list_that_is_empty_once_loses_nothing() -> None:
    watcher = Watcher()
    history = [ended(f"amva-{number}", -600.0 * number) for number in range(1, 100)]
    history += [ended("amva-undated", None), running("amva-running")]
    watcher.look(*history)

    assert watcher.look() == []
    assert watcher.look(*history) == []
    assert watcher.look(*history[:-1], ended("amva-running", None)) == ["amva-running"]


def test_a_status_that_goes_back_is_reported_once() -> None:
    watcher = Watcher(ALL)
    watcher.look()
    failed = replace(task("amva-1", "failed"), finish_time=at(30))

    assert watcher.look(failed) == ["amva-1"]
    assert watcher.look(running("amva-1")) == []
    assert watcher.look(failed) == []
    assert watcher.look(running("amva-1")) == []
    assert watcher.look(ended("amva-1", 50)) == ["amva-1"]
    assert watcher.look(failed) == []
    assert watcher.look(ended("amva-1", 50)) == []


def test_deleted_tasks_are_no_news_and_no_trouble() -> None:
    watcher = Watcher()
    watcher.look(running("amva-1"), running("amva-2"))

    assert watcher.look(ended("amva-2", 30)) == ["amva-2"]
    assert watcher.look() == []
    assert watcher.look(ended("amva-2", 30)) == []


def test_nothing_counts_as_reported_before_airflow_has_stored_it() -> None:
    watcher = Watcher()
    watcher.look(running("amva-1", created=-86400))
    late = ended("amva-1", None, created=-86400)

    assert watcher.look(late, stored=False) == ["amva-1"]
    assert watcher.look(late, stored=False) == ["amva-1"]
    assert watcher.look(late) == ["amva-1"]
    assert watcher.look(late) == []


@pytest.mark.parametrize("model", [None, "", " ", SOURCE])
def test_a_success_without_a_model_is_not_news_until_it_names_one(model: str | None) -> None:
    watcher = Watcher()
    nameless = ended("amva-1", 30, model=model)  # type: ignore[arg-type]
    watcher.look()

    assert watcher.look(nameless) == []
    assert watcher.ledger is not None
    found = find_news([nameless], SUCCEEDED, watcher.ledger, NOW + 60)
    assert [each.id for each in found.unnamed] == ["amva-1"]
    assert watcher.look(ended("amva-1", 30)) == ["amva-1"]


def test_a_failure_needs_no_model() -> None:
    watcher = Watcher(ALL)
    watcher.look()

    assert watcher.look(replace(task("amva-1", "failed"), finish_time=at(30))) == ["amva-1"]


@pytest.mark.parametrize(
    ("interest", "names"),
    [
        (Interest(("succeeded",), source_model_id="amv-other"), ["amva-2"]),
        (Interest(("succeeded",), name="nightly-1"), ["amva-3"]),
        (Interest(("succeeded",), name_pattern="nightly-*"), ["amva-3", "amva-4"]),
        (Interest(("succeeded",), name_pattern="NIGHTLY-*"), []),
        (Interest(("succeeded",), name_pattern="?*"), ["amva-1", "amva-2", "amva-3", "amva-4"]),
        (Interest(("succeeded",), name="nightly-1", name_pattern="*-2"), []),
        (Interest(("failed",)), []),
    ],
)
def test_filters(interest: Interest, names: list[str]) -> None:
    watcher = Watcher(interest)
    watcher.look()
    tasks = [
        ended("amva-1", 30),
        ended("amva-2", 30, source="amv-other"),
        ended("amva-3", 30, name="nightly-1"),
        ended("amva-4", 30, name="nightly-2"),
        replace(ended("amva-5", 30), name=None),
    ]

    assert watcher.look(*tasks) == names


def test_news_come_the_oldest_first() -> None:
    watcher = Watcher()
    watcher.look()

    assert watcher.look(ended("amva-1", 50), ended("amva-2", 30), ended("amva-3", None)) == [
        "amva-2",
        "amva-1",
        "amva-3",
    ]


def size(ledger: Ledger) -> int:
    return len(json.dumps(ledger.to_json()).encode())


def test_the_ledger_is_bounded_and_forgets_no_news() -> None:
    """Five thousand tasks, in random order, over days: each is news once, and the ledger fits the store."""
    watcher, order = Watcher(), random.Random(1)
    watcher.look()
    tasks: list[ModelCompTask] = []
    seen: list[str] = []
    for number in range(50):
        tasks += [ended(f"amva-{number:04}-{each:012}", 3600.0 * number + each) for each in range(100)]
        order.shuffle(tasks)
        seen += watcher.look(*tasks, after=3600.0 * (number + 1))
        assert watcher.ledger is not None
        assert size(watcher.ledger) < 65_535

    assert sorted(seen) == sorted(each.id for each in tasks)


def test_deleted_tasks_leave_the_ledger_first() -> None:
    watcher = Watcher()
    watcher.look()
    for number in range(100):
        batch = [ended(f"amva-{number:04}-{each:012}", 60.0 * number) for each in range(100)]
        assert len(watcher.look(*batch, after=60.0 * number)) == 100
    assert watcher.ledger is not None
    assert size(watcher.ledger) < 65_535
    assert watcher.ledger.horizon == NOW + 60 * 99 - SKEW  # of the newest time, not of what was forgotten


def test_too_many_tasks_without_a_time_are_no_news_unless_seen_unfinished() -> None:
    watcher = Watcher()
    history = [ended(f"amva-{number:016}", None) for number in range(5000)]

    assert watcher.look(*history, running("amva-1")) == []
    assert watcher.ledger is not None
    assert size(watcher.ledger) < 65_535
    assert watcher.look(*history, ended("amva-1", None), ended("amva-2", None), ended("amva-3", 70)) == [
        "amva-3",
        "amva-1",
    ]
    assert watcher.look(*history, ended("amva-1", None), ended("amva-2", None), ended("amva-3", 70)) == []


def test_too_many_unfinished_tasks_are_bounded_too() -> None:
    watcher = Watcher()
    watcher.look(*(task(f"amva-{number:016}", "a new status", created=number) for number in range(9000)))

    assert watcher.ledger is not None
    assert size(watcher.ledger) < 65_535


def test_what_a_ledger_forgets_is_still_news_when_it_ends() -> None:
    """Two thousand run while the triggerer is away for hours; most have no finish time."""
    watcher = Watcher()
    watcher.look(
        *(running(f"amva-{number:012}", created=10.0 * number) for number in range(2000)), after=20_010
    )
    ends = [
        ended(f"amva-{number:012}", 30_000.0 if number % 3 else None, created=10.0 * number)
        for number in range(2000)
    ]

    assert len(watcher.look(*ends, after=31_000)) == 2000
    assert watcher.look(*ends, after=31_060) == []


def test_what_the_first_readings_have_left_out_is_history_until_one_is_complete() -> None:
    watcher, old = Watcher(), [ended("amva-old", -600), ended("amva-undated", None)]

    assert watcher.look(running("amva-1"), complete=False) == []
    assert watcher.look(*old[:1], ended("amva-1", None), ended("amva-2", 30), complete=False) == [
        "amva-2",
        "amva-1",
    ]
    assert watcher.look(*old, complete=True) == []
    assert watcher.look(*old, ended("amva-3", None)) == ["amva-3"]


def test_a_long_backlog_is_reported_whole_one_event_at_a_time() -> None:
    watcher, reported = Watcher(since=-200_000), list[str]()
    tasks = [ended(f"amva-{number:012}", -60.0 * number) for number in range(2000)]
    for number in range(30):
        now = NOW + 60 * number
        if watcher.ledger is None:
            watcher.ledger = begin(tasks, SUCCEEDED, NOW - 200_000, now)
        news = find_news(tasks, SUCCEEDED, watcher.ledger, now)
        ids = [told["event_id"] for told in first_batch(news.tasks)]
        reported += ids
        watcher.ledger = news.ledger.with_reported(ids)

    assert len(reported) == len(set(reported)) == 2000


@pytest.mark.parametrize("status", ["", "archived"])
def test_an_old_row_that_has_no_known_status_for_a_moment_is_history(status: str) -> None:
    watcher = Watcher()
    history = [ended(f"amva-{number}", -86400.0 * number) for number in range(1, 50)]
    history += [ended("amva-undated", None)]
    watcher.look(*history)

    assert watcher.look(*(replace(row, status=status) for row in history)) == []
    assert watcher.look(*history) == []


def test_a_full_ledger_survives_an_empty_list() -> None:
    watcher = Watcher()
    watcher.look(running("amva-first"))
    tasks = [ended(f"amva-{number:016}", float(number)) for number in range(1600)]
    assert len(watcher.look(*tasks, after=1700)) == 1600

    assert watcher.look(after=1760) == []
    assert watcher.look(*tasks, after=1820) == []


@pytest.mark.parametrize(
    ("source", "model", "named"),
    [
        (SOURCE, "amv-made", "amv-made"),
        (None, "amv-made", "amv-made"),
        (None, SOURCE, None),
        ("amv-other", "amv-made", None),
        (SOURCE, None, None),
    ],
)
def test_a_detail_names_the_model_only_if_it_is_about_the_same_source(
    source: str | None, model: str | None, named: str | None
) -> None:
    found = named_by(made("amva-1", model, source=source), made("amva-1", ""))

    assert (found and found.model_id) == named


@pytest.mark.parametrize(
    ("name", "listed", "named"),
    [
        ("demo", "demo", "amv-made"),
        (None, "demo", "amv-made"),
        ("demo", None, "amv-made"),
        ("other", "demo", None),
    ],
)
def test_a_detail_with_another_name_is_of_another_task(
    name: str | None, listed: str | None, named: str | None
) -> None:
    found = named_by(made("amva-1", name=name), made("amva-1", "", name=listed))

    assert (found and found.model_id) == named


def test_what_two_triggerers_have_stored_adds_up() -> None:
    one = Ledger(10.0, frozenset({"amva-1"}), frozenset({"amva-1:failed"}))
    other = Ledger(20.0, frozenset({"amva-2"}), frozenset({"amva-2:failed"}), undated=False)

    assert one.merged(other) == Ledger(
        20.0, frozenset({"amva-1"}), frozenset({"amva-1:failed", "amva-2:failed"}), undated=False
    )
    assert (one.merged(other).horizon, other.merged(one).horizon) == (20.0, 20.0)


@pytest.mark.parametrize(
    ("one", "other", "both"), [(5.0, 6.0, 5.0), (5.0, None, None), (None, 6.0, None), (None, None, None)]
)
def test_a_watch_has_begun_for_both_triggerers_once_it_has_for_one(
    one: float | None, other: float | None, both: float | None
) -> None:
    merged = Ledger(1.0, beginning_since=one).merged(Ledger(1.0, beginning_since=other))

    assert merged.beginning_since == both


def test_what_was_stored_and_is_lost_is_news_again() -> None:
    known = Ledger(10.0, frozenset({"amva-1"}), frozenset({"a:b:failed", "amva-2:failed"}), account="k")

    assert known.without_reported(["a:b:failed"]) == Ledger(
        10.0, frozenset({"amva-1", "a:b"}), frozenset({"amva-2:failed"}), account="k"
    )


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "text",
        {},
        {"horizon": True, "unfinished": [], "reported": []},
        {"horizon": 1, "unfinished": [1], "reported": []},
        {"horizon": 1, "unfinished": [], "reported": {}},
    ],
)
def test_a_ledger_that_cannot_be_read_is_none(stored: object) -> None:
    assert Ledger.from_json(stored) is None


def test_a_ledger_of_a_newer_version_is_read() -> None:
    stored = {"version": 2, "horizon": 1, "unfinished": ["amva-1"], "reported": [], "more": 1, "account": 2}

    read = Ledger.from_json(stored)
    assert read == Ledger(1.0, frozenset({"amva-1"}))
    assert (read.horizon, read.looked_at) == (1.0, 0.0)


def batches(tasks: Sequence[ModelCompTask]) -> list[int]:
    left, sizes = list(tasks), []
    while left:
        sizes.append(len(first_batch(left)))
        left = left[sizes[-1] :]
    return sizes


def with_config(length: int, task_id: str = "amva-1") -> ModelCompTask:
    whole = made(task_id)
    return replace(whole, json={**whole.json, "config": {"strategy": "x" * length}})


def test_an_event_has_so_many_tasks_at_most() -> None:
    assert batches([made(f"amva-{number}") for number in range(2 * MOST_TASKS + 1)]) == [
        MOST_TASKS,
        MOST_TASKS,
        1,
    ]


def test_an_event_has_so_many_bytes_at_most() -> None:
    sizes = batches([with_config(3900, f"amva-{number}") for number in range(60)])

    assert sum(sizes) == 60
    assert 20 < max(sizes) < 30
    assert len(json.dumps(first_batch([with_config(3900)] * 60))) < MOST_BYTES * 1.02


@pytest.mark.parametrize(("spare", "kept"), [(0, 2), (-1, 1)])
def test_an_event_may_be_exactly_that_long(spare: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [made("amva-1", name="千帆"), made("amva-2"), made("amva-3")]
    size = sum(len(json.dumps(tell(each), ensure_ascii=False).encode()) for each in tasks[:2])
    monkeypatch.setattr(finished, "MOST_BYTES", size + spare)

    assert first_batch(tasks) == [tell(each) for each in tasks[:kept]]


@pytest.mark.parametrize(("more", "kept"), [(0, True), (1, False)])
def test_a_config_may_be_exactly_that_long(more: int, kept: bool) -> None:
    length = finished._LONGEST_CONFIG - len(json.dumps({"strategy": ""}))

    assert (tell(with_config(length + more))["config"] is not None) is kept


def test_what_an_event_says_of_a_task() -> None:
    told = replace(made(model="amv-made"), finish_time=NOON + timedelta(minutes=5))

    assert tell(told) == {
        "event_id": "amva-1:succeeded",
        "id": "amva-1",
        "status": "succeeded",
        "model_id": "amv-made",
        "source_model_id": SOURCE,
        "name": "demo",
        "create_time": "2026-01-31T12:00:00+00:00",
        "finish_time": "2026-01-31T12:05:00+00:00",
        "config": {"strategy": "Quantization"},
    }
    assert tell(task(status="failed", source=None, name=None, created=None))["model_id"] is None
    assert tell(with_config(5000))["config"] is None


def test_an_event_never_names_the_source_model_as_the_produced_one() -> None:
    assert tell(made(model=SOURCE))["model_id"] is None
    assert tell(made(model=" "))["model_id"] is None


def test_the_times_of_an_event_are_utc_wherever_airflow_runs(in_beijing: None) -> None:
    told = tell(replace(made(), finish_time=NOON.astimezone(BEIJING)))

    assert (told["create_time"], told["finish_time"]) == ("2026-01-31T12:00:00+00:00",) * 2


def test_the_ledger_and_its_json_stay_below_what_airflow_warns_of() -> None:
    assert finished._MOST_REPORTED + finished._MOST_UNFINISHED < 65_000


@pytest.mark.parametrize(
    ("size", "kept"),
    [(0, []), (5, []), (6, ["ab"]), (10, ["ab"]), (11, ["ab", "c"]), (99, ["ab", "c", "千"])],
)
def test_as_many_ids_as_fit_with_their_quotation_marks_and_commas(size: float, kept: list[str]) -> None:
    ids = ["ab", "c", "千"]

    assert finished._as_many(ids, size) == kept
    assert len(json.dumps(ids, ensure_ascii=False).encode()) == finished._size(frozenset(ids))


@pytest.mark.parametrize(("begun", "since"), [(True, 3.5), (False, None)])
def test_a_ledger_is_stored_whole(begun: bool, since: float | None) -> None:
    ledger = Ledger(
        1.5, frozenset({"b", "a"}), frozenset({"d:x", "c:x"}), False, "account", 2.5, begun, since
    )

    assert ledger.to_json() == {
        "version": 1,
        "horizon": 1.5,
        "unfinished": ["a", "b"],
        "reported": ["c:x", "d:x"],
        "undated": False,
        "account": "account",
        "looked_at": 2.5,
        "begun": begun,
        "beginning_since": since,
    }
    read = Ledger.from_json(ledger.to_json())
    assert read == ledger
    assert (read.horizon, read.looked_at) == (1.5, 2.5)


def test_what_is_stored_is_awaited_no_more() -> None:
    """An id with a colon, too."""
    known = Ledger(10.0, frozenset({"a:b", "amva-1"}), frozenset({"amva-2:failed"}))

    assert known.with_reported(["a:b:failed"]) == Ledger(
        10.0, frozenset({"amva-1"}), frozenset({"amva-2:failed", "a:b:failed"})
    )


@pytest.mark.parametrize(("seconds", "news"), [(-1, []), (0, ["amva-1"]), (1, ["amva-1"])])
def test_what_ended_at_the_horizon_is_news(seconds: float, news: list[str]) -> None:
    found = find_news([ended("amva-1", seconds)], SUCCEEDED, Ledger(NOW), NOW + 60)

    assert [task.id for task in found.tasks] == news


def test_a_task_that_needs_no_report_is_awaited_no_more() -> None:
    known = Ledger(NOW, frozenset({"amva-1", "amva-2", "amva-3"}), frozenset({"amva-2:succeeded"}))
    found = find_news([task("amva-1", "failed"), ended("amva-2", 5)], SUCCEEDED, known, NOW + 60)

    assert found.tasks == ()
    assert found.ledger.unfinished == {"amva-3"}


def test_deleted_tasks_are_the_first_that_are_no_longer_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "_MOST_UNFINISHED", 2 * len("amva-1____"))
    known = Ledger(NOW, frozenset({"amva-0", "amva-3"}))
    tasks = [running("amva-1", created=-7200), running("amva-2", created=5)]

    assert find_news(tasks, SUCCEEDED, known, NOW + 60).ledger.unfinished == {"amva-1", "amva-2"}


@pytest.mark.parametrize("room", range(5))
@pytest.mark.parametrize(
    ("undated", "by_importance"),
    [
        (True, ["early", "late-1", "late-2", "no-time", "gone-1", "gone-2"]),
        (False, ["no-time", "early", "late-1", "late-2", "gone-1", "gone-2"]),
    ],
)
def test_what_would_be_news_in_any_case_is_awaited_no_more_if_there_are_too_many(
    room: int, undated: bool, by_importance: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest tasks, and those without a time; but the latter only as long as they are news."""
    tasks = [
        running("late-2", created=9),
        running("late-1", created=9),
        running("no-time"),
        running("early", created=5),
    ]
    monkeypatch.setattr(finished, "_MOST_UNFINISHED", finished._size(frozenset(by_importance[:room])))
    known = Ledger(NOW, frozenset({"gone-1", "gone-2"}), undated=undated)

    assert find_news(tasks, SUCCEEDED, known, NOW + 60).ledger.unfinished == {*by_importance[:room]}


def test_too_many_unfinished_tasks_are_bounded_if_none_has_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [running("amva-3"), running("amva-2"), running("amva-1")]
    monkeypatch.setattr(finished, "_MOST_UNFINISHED", 2 * len("amva-1____"))
    found = find_news(tasks, SUCCEEDED, Ledger(NOW), NOW + 60)

    assert found.ledger.unfinished == {"amva-1", "amva-2"}
    assert found.ledger.horizon == NOW


def test_deleted_tasks_are_the_first_that_the_ledger_forgets_and_then_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [ended("amva-2", 30), ended("amva-1", 50), ended("amva-3", 40)]
    by_importance = [f"amva-{number}:succeeded" for number in (1, 3, 2, 9)]
    for room in range(1, 5):
        monkeypatch.setattr(finished, "_MOST_REPORTED", room * len("amva-1:succeeded____"))
        known = Ledger(NOW, reported=frozenset(by_importance))

        assert find_news(tasks, SUCCEEDED, known, NOW + 60).ledger.reported == {*by_importance[:room]}


def test_what_the_ledger_forgets_hides_nothing_that_ended_a_second_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watcher = Watcher()
    watcher.look()
    monkeypatch.setattr(finished, "_MOST_REPORTED", 2 * len("amva-1:succeeded____"))
    tasks = [ended("amva-1", 30), ended("amva-2", 40), ended("amva-3", 50)]
    assert watcher.look(*tasks) == ["amva-1", "amva-2", "amva-3"]

    assert watcher.look(*tasks) == []
    assert watcher.look(*tasks, ended("amva-4", 30), ended("amva-5", 31)) == ["amva-5"]


def test_the_ledger_is_bounded_if_too_many_tasks_have_a_time_and_too_many_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watcher = Watcher()
    watcher.look()
    monkeypatch.setattr(finished, "_MOST_REPORTED", 2 * len("amva-1:succeeded____"))
    tasks = [ended(f"amva-{number}", 10.0 * number if number < 4 else None) for number in range(1, 7)]
    assert len(watcher.look(*tasks)) == 6

    assert watcher.look(*tasks) == []
    assert watcher.ledger == Ledger(
        0.0, reported=frozenset({"amva-2:succeeded", "amva-3:succeeded"}), undated=False
    )


def test_what_was_seen_unfinished_is_kept_first_while_the_watch_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finished, "_MOST_UNFINISHED", len("amva-1____"))
    watcher = Watcher()
    watcher.look(running("amva-1"), running("amva-2", created=5), complete=False)

    assert watcher.look(ended("amva-1", None), ended("amva-2", 50)) == ["amva-2", "amva-1"]


def test_both_bounds_at_once_lose_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same look, tasks without a time cease to be news, and not all unfinished tasks can be kept."""
    watcher, history = Watcher(), [ended("amva-1", None), ended("amva-2", None)]
    watcher.look()
    assert watcher.look(*history) == ["amva-1", "amva-2"]
    monkeypatch.setattr(finished, "_MOST_REPORTED", len("amva-1:succeeded____"))
    monkeypatch.setattr(finished, "_MOST_UNFINISHED", len("amva-3____"))
    watcher.look(*history, running("amva-3"), running("amva-4", created=5))

    assert watcher.look(*history, ended("amva-3", None), ended("amva-4", 50)) == ["amva-4", "amva-3"]


@pytest.mark.parametrize(("ahead", "news", "horizon"), [(SKEW, ["amva-1"], 0), (SKEW + 1, [], -10)])
def test_a_time_that_is_too_far_ahead_counts_as_unknown(ahead: float, news: list[str], horizon: int) -> None:
    known = Ledger(NOW - 10)
    found = find_news([ended("amva-1", ahead, created=-20)], SUCCEEDED, known, NOW)

    assert [task.id for task in found.tasks] == news
    assert found.ledger.horizon == NOW + horizon


def test_all_watchers_share_the_times_of_a_list() -> None:
    tasks = [ended("amva-1", 30)]
    times = finished._times_of(tasks)

    assert finished._times_of(tasks) is times
    assert finished._times_of([ended("amva-1", 31)]) != times
