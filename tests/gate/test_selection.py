"""Which task is meant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_qianfan.gate.selection import Selector, describe_seen, matches, newest
from tests.gate.tasks import BEIJING, NOON, SOURCE, task


@pytest.mark.parametrize(
    ("criteria", "row", "matched"),
    [
        pytest.param({}, {}, True, id="source"),
        pytest.param({}, {"source": "amv-other"}, False, id="another source"),
        pytest.param({}, {"source": None}, False, id="no source"),
        pytest.param({"name": "demo"}, {}, True, id="name"),
        pytest.param({"name": "demo"}, {"name": "Demo"}, False, id="name in another case"),
        pytest.param({"name": "demo"}, {"name": None}, False, id="no name"),
        pytest.param({"model_comp_task_id": "amva-1"}, {}, True, id="id"),
        pytest.param({"model_comp_task_id": "amva-2"}, {}, False, id="another id"),
        pytest.param({"created_after": NOON}, {"created": 0}, True, id="created at that second"),
        pytest.param({"created_after": NOON}, {"created": 1}, True, id="created after"),
        pytest.param({"created_after": NOON}, {"created": -1}, False, id="created before"),
        pytest.param({"created_after": NOON}, {"created": None}, False, id="created nobody knows when"),
        pytest.param(
            {"created_after": NOON.replace(microsecond=900_000)}, {"created": 0.1}, True, id="whole seconds"
        ),
        pytest.param(
            {"created_after": datetime(2026, 1, 31, 20, tzinfo=BEIJING)},
            {"created": 0},
            True,
            id="another zone",
        ),
    ],
)
def test_matches(criteria: dict[str, Any], row: dict[str, Any], matched: bool) -> None:
    assert matches(task(**row), Selector(**{"source_model_id": SOURCE, **criteria})) is matched


@pytest.mark.parametrize(
    ("created", "candidates"),
    [
        pytest.param([0, 5, 3], [1], id="the newest, not the first or last"),
        pytest.param(
            [datetime(2026, 1, 31, 19, 30, tzinfo=BEIJING), NOON], [1], id="by instant, not by clock face"
        ),
        pytest.param([5, 5, 0], [0, 1], id="at the same instant"),
        pytest.param([0, 5, None], [1, 2], id="undated might be newer"),
        pytest.param([None, None], [0, 1], id="all undated"),
    ],
)
def test_newest(created: list[Any], candidates: list[int]) -> None:
    tasks = [task(f"amva-{number}", created=when) for number, when in enumerate(created)]

    assert newest(tasks) == [tasks[number] for number in candidates]


@pytest.mark.parametrize(
    ("tasks", "criteria", "told"),
    [
        ([], {}, "the platform lists no task …"),
        (
            [task(source="amv-other")],
            {},
            "the platform lists no task …, though 1 task of others",
        ),
        (
            [task("amva-2", "failed", created=-90000), task("amva-1", "succeeded", created=-3)],
            {"created_after": NOON},
            (
                "2 tasks … (1 failed, 1 succeeded); nearest: amva-1 ('demo') was created"
                " 3 seconds before created_after; amva-2 ('demo') was created 1 day 1 hour before"
                " created_after"
            ),
        ),
        (
            [task("amva-1", name="other")],
            {"name": "demo"},
            "1 task … (1 running); nearest: amva-1 ('other') has another name",
        ),
        (
            [task("amva-1", name="other", created=-2), task("amva-2", created=-3)],
            {"name": "demo", "created_after": NOON},
            (
                "2 tasks … (2 running); nearest: amva-2 ('demo') was created 3 seconds"
                " before created_after; amva-1 ('other') has another name and was created 2 seconds"
                " before created_after"
            ),
        ),
        (
            [task("amva-1", name="other", created=None)],
            {"name": "demo"},
            "1 task … (1 running); nearest: amva-1 ('other') has another name",
        ),
        (
            [task("amva-1", name="other", created=5)],
            {"name": "demo", "created_after": NOON},
            "1 task … (1 running); nearest: amva-1 ('other') has another name",
        ),
        (
            [task(f"amva-{number}", "", name=None, created=number or None) for number in range(5)],
            {"name": "demo"},
            (
                "5 tasks … (5 no status); nearest: amva-4 has another name; amva-3 has"
                " another name; amva-2 has another name"
            ),
        ),
        (
            [task("amva-1", "x" * 41, name="other")],
            {"name": "demo"},
            f"1 task … (1 {'x' * 40}…); nearest: amva-1 ('other') has another name",
        ),
        (
            [task(f"amva-{number}", f"s{number}") for number in range(10)],
            {},
            f"10 tasks … ({', '.join(f'1 s{number}' for number in range(10))})",
        ),
        (
            [task(f"amva-{number}", f"s{number:02}") for number in range(11)],
            {},
            f"11 tasks … ({', '.join(f'1 s{number:02}' for number in range(10))}, …)",
        ),
        (
            [task("amva-1", created=None)],
            {"created_after": NOON},
            ("1 task … (1 running); nearest: amva-1 ('demo') does not say when it was created"),
        ),
    ],
)
def test_describe_seen(tasks: list[Any], criteria: dict[str, Any], told: str) -> None:
    seen = describe_seen(tasks, Selector(source_model_id=SOURCE, **criteria))

    assert seen.replace(f"of source model {SOURCE}", "…") == told


@pytest.mark.parametrize(
    "selector",
    [
        Selector(SOURCE),
        Selector(model_comp_task_id="amva-1"),
        Selector(SOURCE, "amva-1", "demo", NOON, "newest", NOON - timedelta(hours=1)),
    ],
)
def test_a_selector_survives_json(selector: Selector) -> None:
    assert Selector.from_json(selector.to_json()) == selector


def test_a_selector_of_a_dag_run() -> None:
    assert Selector.check(source_model_id=SOURCE, run_started=NOON) == Selector(SOURCE, run_started=NOON)


def test_a_selector_of_a_version_that_did_not_say_when_the_run_started() -> None:
    value = Selector(SOURCE).to_json()
    del value["run_started"]

    assert Selector.from_json(value) == Selector(SOURCE)


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        (Selector(SOURCE), "source model amv-source000001"),
        (Selector(model_comp_task_id="amva-1"), "model compression task amva-1"),
        (
            Selector(SOURCE, "amva-1", "demo", NOON),
            (
                "model compression task amva-1, source model amv-source000001, name 'demo', created at or"
                " after 2026-01-31T12:00:00+00:00"
            ),
        ),
        (
            Selector("s" * 81, "a" * 81, "n" * 81),
            f"model compression task {'a' * 80}…, source model {'s' * 80}…, name '{'n' * 80}…'",
        ),
    ],
)
def test_a_selector_in_words(selector: Selector, words: str) -> None:
    assert str(selector) == words


@pytest.mark.parametrize(
    "lost", ["source_model_id", "model_comp_task_id", "name", "created_after", "if_several", "model_ready"]
)
def test_a_selector_that_lost_a_criterion_is_none(lost: str) -> None:
    value = Selector(SOURCE, "amva-1", "demo", NOON).to_json()
    del value[lost]

    assert Selector.from_json(value) is None


@pytest.mark.parametrize(
    "damaged",
    [
        {"model_ready": None},
        {"model_ready": "True"},
        {"name": 5},
        {"created_after": "soon"},
        {"if_several": []},
    ],
)
def test_a_selector_that_was_damaged_is_none(damaged: dict[str, Any]) -> None:
    """The gate then goes by its own arguments; without the criterion it could open for another task."""
    assert Selector.from_json({**Selector(SOURCE, model_ready=True).to_json(), **damaged}) is None


@pytest.mark.parametrize("value", [None, [], {}, Selector(name="demo").to_json()])
def test_what_is_no_selector(value: object) -> None:
    assert Selector.from_json(value) is None


def test_unknown_keys_of_a_newer_selector_are_ignored() -> None:
    assert Selector.from_json({**Selector(SOURCE).to_json(), "colour": "red"}) == Selector(SOURCE)
