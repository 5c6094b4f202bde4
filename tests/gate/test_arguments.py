"""Checks of the arguments that a DAG author gives."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pendulum
import pytest

from airflow_provider_qianfan.gate.arguments import (
    check_config,
    check_deployment_config,
    check_if_exists,
    check_if_several,
    check_literal,
    check_rendered,
    check_seconds,
    check_text,
    check_time,
    read_since,
)
from airflow_provider_qianfan.gate.selection import Selector
from tests.gate.tasks import BEIJING, NOON, SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("value", ["", "  ", "None", "none", "NULL", "nan", "undefined", None, 7, [], b"x"])
def test_what_is_no_id(value: object) -> None:
    with pytest.raises(
        ValueError, match=rf"^source_model_id={re.escape(repr(value))} .* leave source_model_id out"
    ):
        check_text("source_model_id", value)


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        (
            "source_model_id",
            "am-1",
            "is the id of a model set (am-…). Pass the id of a model version (amv-…).",
        ),
        ("source_model_id", "amva-1", "is the id of a model compression task (amva-…)."),
        ("model_id", "svco-1", "is the id of a service (svco-…)."),
        ("model_set_id", "amv-1", "is the id of a model version (amv-…). Pass the id of a model set (am-…)."),
        ("model_comp_task_id", "amv-1", "Pass the id of a model compression task (amva-…)."),
        ("service_id", "amv-1", "Pass the id of a service (svco-…)."),
    ],
)
def test_an_id_of_something_else(argument: str, value: str, told: str) -> None:
    for check in (check_literal, check_text):
        with pytest.raises(ValueError, match=re.escape(f"{argument}='{value}' ") + ".*" + re.escape(told)):
            check(argument, value)


@pytest.mark.parametrize("value", ["amv-1", "ft-1", "amv", "AM-1", "amvx-1"])
def test_an_id_of_its_own_or_of_no_known_form(value: str) -> None:
    assert check_text("source_model_id", value) == value
    assert check_text("name", "am-1") == "am-1"


def test_an_id_with_blanks_around_it() -> None:
    with pytest.raises(ValueError, match="source_model_id='amv-1 ' begins or ends with blanks"):
        check_text("source_model_id", "amv-1 ")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("source_model_id", "amv-\n1"),
        ("source_model_id", "amv-\x00"),
        ("source_model_id", "amv-\x7f1"),
        ("source_model_id", "amv-\x9b1"),
        ("source_model_id", "amv-\ud800"),
        ("source_model_id", "amv-\u202e1"),
        ("source_model_id", "amv-\u200b1"),
        ("qianfan_conn_id", "qianfan\tdefault"),
        ("name", "a\nb"),
        ("name", "a\ud800"),
        ("nonce", "a\x1b[31m"),
        ("description", "a\ud800"),
        ("description", "a\x00b"),
    ],
)
def test_what_nobody_can_carry(argument: str, value: str) -> None:
    told = f"^{argument}={re.escape(repr(value))} holds control characters"
    with pytest.raises(ValueError, match=told) as refused:
        check_text(argument, value)

    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("name", "压缩\u3000“1”"),
        ("name", "👩\u200d🔬"),
        ("description", "one\n\ttwo"),
        ("source_model_id", "amv-1 千"),
    ],
)
def test_what_everybody_can_carry(argument: str, value: str) -> None:
    assert check_text(argument, value) == value


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


@pytest.mark.parametrize(
    ("value", "last"),
    [
        *[
            (value, "or pass a date, a datetime, or a timedelta before the run's start.")
            for value in ("", "None", "12:00", "yesterday", None)
        ],
        *[(value, "turned its text into that.") for value in (1700000000, ["2026-01-31"])],
    ],
)
def test_what_is_no_time(value: object, last: str) -> None:
    told = rf"^created_after={re.escape(repr(value))} is not a time. Write ISO 8601.* {re.escape(last)}$"
    with pytest.raises(ValueError, match=told):
        check_time("created_after", value)


def test_a_span_counts_back_from_the_start_of_the_run() -> None:
    span = timedelta(hours=24)
    check_literal("created_after", span)
    selector = Selector.check(source_model_id=SOURCE, created_after=span, run_started=NOON)

    assert selector.created_after == NOON - span


@pytest.mark.parametrize(
    ("span", "started", "told"),
    [
        (timedelta(hours=24), None, "counts back .* Airflow does not say when that was. Pass a time .*"),
        (timedelta(seconds=-1), NOON, "is not a number of seconds, or a timedelta, from 0 up."),
        (timedelta.max, NOON, "is out of range."),
    ],
)
def test_a_span_that_tells_no_time(span: timedelta, started: datetime | None, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^created_after={re.escape(repr(span))} {told}$"):
        Selector.check(source_model_id=SOURCE, created_after=span, run_started=started)
    if started is not None:
        with pytest.raises(ValueError, match=rf"^created_after={re.escape(repr(span))} {told}$"):
            check_literal("created_after", span)


def test_a_span_of_no_time() -> None:
    assert read_since("created_after", timedelta(0), NOON) == NOON


def test_a_time_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"created_after='0001-01-01T00:00:00\+14:00' is out of range"):
        check_time("created_after", "0001-01-01T00:00:00+14:00")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 60), (0, 0), (0.5, 0.5), (90, 90), (timedelta(minutes=2, milliseconds=500), 120.5)],
)
def test_spans_of_time(value: Any, seconds: float) -> None:
    checked = check_seconds("settle", value, 60.0)

    assert isinstance(checked, float)
    assert checked == seconds


def test_no_span_of_time_is_none_at_all() -> None:
    assert check_seconds("settle", None) == 0


@pytest.mark.parametrize("value", [-0.5, timedelta(seconds=-1), float("nan"), True, "5", [5]])
def test_what_is_no_span_of_time(value: Any) -> None:
    told = f"^settle={re.escape(repr(value))} is not a number of seconds, or a timedelta, from 0 up.$"
    with pytest.raises(ValueError, match=told):
        check_seconds("settle", value, 60.0)


@pytest.mark.parametrize("value", ["2026-01-31T12:00:00", "2026-01-31T20:00:00+08:00"])
def test_times_are_utc_wherever_the_machine_is(in_beijing: None, value: str) -> None:
    assert check_time("created_after", value).isoformat() == "2026-01-31T12:00:00+00:00"


def test_what_a_dag_author_gave() -> None:
    selector = Selector.check(source_model_id=SOURCE, created_after="2026-01-31T20:00:00+08:00")

    assert selector == Selector(SOURCE, created_after=NOON, if_several="fail")


@pytest.mark.parametrize("value", ["latest", "", None, True])
def test_what_is_no_if_several(value: object) -> None:
    with pytest.raises(ValueError, match=f"if_several={value!r} is neither 'fail' nor 'newest'"):
        check_if_several(value)


class Result:
    """An upstream task's result, as Airflow's XComArg."""

    def resolve(self) -> None: ...


@pytest.mark.parametrize("value", ["{{ params.source }}", "{% if a %}b{% endif %}", "{# a #}", Result(), len])
@pytest.mark.parametrize("argument", ["source_model_id", "created_after"])
def test_templates_are_checked_when_they_are_rendered(argument: str, value: object) -> None:
    check_literal(argument, value)


@pytest.mark.parametrize(
    ("argument", "good", "bad"),
    [
        ("source_model_id", "amv-1", "None"),
        ("model_comp_task_id", "amva-1", " "),
        ("name", "demo", "null"),
        ("name", "demo", 7),
        ("created_after", "2026-01-31", "yesterday"),
    ],
)
def test_literals_are_checked_at_once(argument: str, good: str, bad: object) -> None:
    check_literal(argument, good)
    for check in (partial(check_literal, argument, bad), partial(Selector.check, **{argument: bad})):
        with pytest.raises(ValueError, match=f"^{argument}={bad!r}"):
            check()


def test_what_was_given_must_not_come_out_as_none() -> None:
    check_rendered({"name": None, "source_model_id": "amv-1"}, {"source_model_id"})
    with pytest.raises(ValueError, match="model_comp_task_id, name came out as None"):
        check_rendered({"model_comp_task_id": None, "name": None}, {"model_comp_task_id", "name"})


UNITS = "deploymentComputeUnitList"
UNIT = {"instanceId": "unit-1", "deploymentReplicasCount": 1}


LATER = SimpleNamespace(resolve="an upstream task's result")


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({UNITS: [UNIT], "replicasCount": 1}, id="one unit"),
        pytest.param({UNITS: (UNIT, UNIT), "anything": 1}, id="a tuple, and what is not known"),
        pytest.param({UNITS: "{{ params.units }}"}, id="a template of the units"),
        pytest.param({UNITS: LATER}, id="the units of an upstream task"),
        pytest.param("{{ params.config }}", id="a template of the whole"),
        pytest.param(LATER, id="an upstream task's result"),
    ],
)
def test_deployment_configs(config: Any) -> None:
    check_deployment_config(config)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        pytest.param(None, "=None is not a dict, such as {'replicasCount'", id="none"),
        pytest.param("unit-1", "deployment_config='unit-1' is not a dict", id="a text"),
        pytest.param([UNIT], "deployment_config=[{'instanceId': 'unit-1', ", id="a list"),
        pytest.param({}, "={}: deploymentComputeUnitList names no compute unit. Write it as {", id="empty"),
        pytest.param({UNITS: []}, "names no compute unit", id="an empty list"),
        pytest.param({UNITS: ()}, "names no compute unit", id="an empty tuple"),
        pytest.param({UNITS: "unit-1"}, "names no compute unit", id="a unit's name"),
        pytest.param({UNITS: UNIT}, "names no compute unit", id="a unit that is in no list"),
        pytest.param(
            {UNITS: [UNIT], "resourceConfig": None}, "resourceConfig buys resources. That costs", id="buys"
        ),
        pytest.param({UNITS: LATER, "billing": None}, "billing buys resources", id="pays"),
        pytest.param({UNITS: [UNIT], "a": {1}}, "deployment_config['a'] is a set, which JSON", id="a set"),
    ],
)
def test_bad_deployment_configs(config: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        check_deployment_config(config)


def test_units_that_a_template_rendered_to() -> None:
    config = {UNITS: json.dumps([UNIT]), "replicasCount": 1}

    assert check_deployment_config(config, rendered=True) == {UNITS: [UNIT], "replicasCount": 1}
    told = rf"^deployment_config\['{UNITS}'\]='\[unit-1\]' is not a list, but text that is not JSON"
    with pytest.raises(ValueError, match=told):
        check_deployment_config({UNITS: "[unit-1]"}, rendered=True)


@pytest.mark.parametrize("config", ["{{ params.config }}", LATER], ids=["a template", "an upstream task's"])
@pytest.mark.parametrize("check", [check_config, check_deployment_config])
def test_a_config_that_comes_later_is_left_as_it_is(
    check: Callable[[object], object], config: object
) -> None:
    assert check(config) is config


@pytest.mark.parametrize(
    "config",
    [
        {"strategy": "Quantization", "weight": "INT8-PTQ"},
        {"strategy": "Quantization", "weight": "int8-ptq", "anything": 1},
        {"strategy": "Sparsity"},
        {"strategy": "Sparsity", "sparsityRatio": 0.5},
        {"strategy": "{{ params.strategy }}"},
        {"strategy": "Quantization", "weight": "{{ params.weight }}"},
        {"strategy": "Quantization", "weight": SimpleNamespace(resolve="an upstream task's result")},
        "{{ params.config }}",
        {"strategy": "Sparsity", "more": [LATER, "{{ x }}", (1, 2.5, None, True), range(3)]},
    ],
)
def test_configs(config: Any) -> None:
    check_config(config)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("Quantization", "config='Quantization' is not a dict"),
        (None, "config=None is not a dict, such as {'strategy'"),
        (["Quantization"], r"config=\['Quantization'\] is not a dict"),
        ({}, "strategy is one of Quantization, Sparsity"),
        ({"strategy": "quantization"}, "config={'strategy': 'quantization'}: strategy is one of"),
        ({"strategy": "Quantization"}, "config={'strategy': 'Quantization'}: Quantization needs a weight"),
        ({"strategy": "Quantization", "weight": ""}, r"^config\['weight'\]='' holds no value"),
        ({"strategy": "Quantization", "weight": 8}, "is not text, but of type int"),
        ({"strategy": "Sparsity", "ratio": Decimal("0.5")}, r"config\['ratio'\] is a Decimal, which JSON"),
        ({"strategy": "{{ x }}", "since": date(2026, 1, 1)}, r"config\['since'\] is a date, .*isoformat"),
        ({"strategy": "Sparsity", "a": [{"b": {1}}]}, r"config\['a'\]\[0\]\['b'\] is a set"),
    ],
)
def test_bad_configs(config: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_config(config)


@pytest.mark.parametrize("value", [LATER, Path("a"), "{{ x }}"], ids=["an object", "a path", "a template"])
def test_when_templates_have_been_rendered_nothing_comes_later(value: Any) -> None:
    config = {"strategy": "Sparsity", "more": value}

    check_config(config)
    if isinstance(value, str):
        check_config(config, rendered=True)
    else:
        with pytest.raises(ValueError, match=r"^config\['more'\] is a"):
            check_config(config, rendered=True)
        with pytest.raises(ValueError, match=r"^deployment_config\['more'\] is a"):
            check_deployment_config({UNITS: [UNIT], "more": value}, rendered=True)
    with pytest.raises(ValueError, match="is not a dict"):
        check_config("{{ x }}", rendered=True)


def test_if_exists() -> None:
    assert check_if_exists("adopt") == "adopt"
    assert check_if_exists("fail") == "fail"
    with pytest.raises(ValueError, match="if_exists='create' is neither 'adopt' nor 'fail'"):
        check_if_exists("create")
