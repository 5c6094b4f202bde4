from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pendulum
import pytest

from airflow_provider_qianfan.gate.selection import (
    Selector,
    check_if_several,
    check_literal,
    check_rendered,
    check_text,
    check_time,
    describe_seen,
    matches,
    newest,
)
from tests.gate.tasks import NOON, SOURCE, task

BEIJING = timezone(timedelta(hours=8))


@pytest.mark.parametrize("value", ["", "  ", "None", "none", "NULL", "nan", "undefined", None, 7, [], b"x"])
def test_what_is_no_id(value: object) -> None:
    with pytest.raises(ValueError, match=r"source_model_id=.* tells nothing"):
        check_text("source_model_id", value)


def test_an_id_with_blanks_around_it() -> None:
    with pytest.raises(ValueError, match="blanks"):
        check_text("source_model_id", "amv-1 ")


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2026-01-31T20:00:00+08:00", NOON),
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31 12:00:00+00:00", NOON),
        ("20260131T120000", NOON),  # {{ ts_nodash }}; UTC
        ("2026-01-31T12:00:00", NOON),
        ("2026-01-31", NOON.replace(hour=0)),  # {{ ds }}
        (date(2026, 1, 31), NOON.replace(hour=0)),
        (datetime(2026, 1, 31, 12), NOON),  # noqa: DTZ001  naive on purpose
        (datetime(2026, 1, 31, 20, tzinfo=BEIJING), NOON),
        (pendulum.datetime(2026, 1, 31, 20, tz="Asia/Shanghai"), NOON),
    ],
)
def test_check_time(value: object, instant: datetime) -> None:
    assert check_time("created_after", value) == instant


@pytest.mark.parametrize("value", ["", "None", "12:00", "yesterday", 1700000000, None, ["2026-01-31"]])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match=r"created_after=.* is not a time. Write ISO 8601"):
        check_time("created_after", value)


def test_a_time_out_of_range() -> None:
    with pytest.raises(ValueError, match="out of range"):
        check_time("created_after", "0001-01-01T00:00:00+14:00")


@pytest.mark.parametrize("value", ["latest", "", None, True])
def test_what_is_no_if_several(value: object) -> None:
    with pytest.raises(ValueError, match="neither 'fail' nor 'newest'"):
        check_if_several(value)


@pytest.mark.parametrize("value", ["{{ params.source }}", "{% if a %}b{% endif %}"])
@pytest.mark.parametrize("argument", ["source_model_id", "created_after"])
def test_templates_are_checked_when_they_are_rendered(argument: str, value: str) -> None:
    check_literal(argument, value)


def test_what_was_given_must_not_come_out_as_none() -> None:
    check_rendered({"name": None, "source_model_id": "amv-1"}, {"source_model_id"})
    with pytest.raises(ValueError, match="model_comp_task_id, name came out as None"):
        check_rendered({"model_comp_task_id": None, "name": None}, {"model_comp_task_id", "name"})


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
        ([], {}, "the platform lists no task of this source model"),
        (
            [task(source="amv-other")],
            {},
            "the platform lists no task of this source model, though 1 task of others",
        ),
        (
            [task("amva-1", "succeeded", created=-3), task("amva-2", "failed", created=-90000)],
            {"created_after": NOON},
            (
                "2 tasks of this source model (1 failed, 1 succeeded); nearest: amva-1 ('demo') was created"
                " 3 seconds too early; amva-2 ('demo') was created 1 day 1 hour too early"
            ),
        ),
        (
            [task("amva-1", name="other")],
            {"name": "demo"},
            "1 task of this source model (1 running); nearest: amva-1 ('other') has another name",
        ),
        (
            [task("amva-1", created=None)],
            {"created_after": NOON},
            (
                "1 task of this source model (1 running); nearest: amva-1 ('demo') does not say when it was"
                " created"
            ),
        ),
    ],
)
def test_describe_seen(tasks: list[Any], criteria: dict[str, Any], told: str) -> None:
    assert describe_seen(tasks, Selector(source_model_id=SOURCE, **criteria)) == told


def test_a_selector_survives_json() -> None:
    selector = Selector(SOURCE, "amva-1", "demo", NOON, "newest", NOON - timedelta(hours=1))

    assert Selector.from_json(selector.to_json()) == selector


@pytest.mark.parametrize(
    "lost", ["source_model_id", "model_comp_task_id", "name", "created_after", "if_several"]
)
def test_a_selector_that_lost_a_criterion_is_none(lost: str) -> None:
    value = Selector(SOURCE, "amva-1", "demo", NOON).to_json()
    del value[lost]

    assert Selector.from_json(value) is None


@pytest.mark.parametrize("value", [None, [], {}, Selector(name="demo").to_json()])
def test_what_is_no_selector(value: object) -> None:
    assert Selector.from_json(value) is None


def test_unknown_keys_of_a_newer_selector_are_ignored() -> None:
    assert Selector.from_json({**Selector(SOURCE).to_json(), "colour": "red"}) == Selector(SOURCE)


def test_times_are_utc() -> None:
    assert Selector.check(
        source_model_id=SOURCE, created_after="2026-01-31T20:00:00+08:00"
    ).created_after == (NOON.astimezone(UTC))
