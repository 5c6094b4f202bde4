"""Values that JSON can hold, and the messages about those that it cannot."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest

from airflow_provider_qianfan.api.json_values import DEEPEST, check_json


class Colour(StrEnum):
    RED = "red"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.extend([CYCLE, {"again": CYCLE}])
EXPLODING: Any = [1]
for _ in range(40):
    EXPLODING = [EXPLODING, EXPLODING]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        "",
        "千",
        "\U0001f600",
        [],
        (),
        {},
        {"a": [1, (2, {"b": None})]},
        Colour.RED,
        2**1024 - 1,
        nested(DEEPEST),
        [0] * 99_999,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_can_hold(value: Any) -> None:
    check_json("config", value)
    json.dumps(value, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            {"ratio": Decimal("0.5")},
            "config['ratio'] is a Decimal, which JSON cannot hold. Pass a number or text.",
        ),
        ({"on": date(2026, 1, 1)}, "config['on'] is a date, which JSON cannot hold. Pass text, such as"),
        (
            {"at": datetime(2026, 1, 1, tzinfo=UTC)},
            "config['at'] is a datetime, which JSON cannot hold. Pass text, such as value",
        ),
        ([1, {"a": {2}}], "config[1]['a'] is a set, which JSON cannot hold. Pass a list."),
        (b"x", "config is a bytes, which JSON cannot hold. Pass text."),
        (object(), "config is a object, which JSON cannot hold. Pass text, numbers,"),
        (frozenset(), "config is a frozenset, which JSON cannot hold. Pass a list."),
        (float("nan"), "config is nan, which JSON cannot hold"),
        ((1.0, float("-inf")), "config[1] is -inf"),
        ({"a": {1: 2}}, "config['a'] has the key 1, a int. The keys of JSON are text."),
        ({None: 2}, "config has the key None"),
        ("a\ud800", r"config has half of a character (a lone surrogate) at position 1: 'a\ud800'"),
        ({"\udfff": 1}, "a key of config has half of a character"),
        (range(3), "config is a range, which JSON cannot hold"),
        (2**1024, "config is a number of 1025 bits"),
        (nested(DEEPEST + 1), "config is nested deeper than 50 levels, or contains itself"),
        (CYCLE, "config is nested deeper than 50 levels, or contains itself"),
        ([0] * 100_000, "config holds more than 100000 values"),
        (EXPLODING, "config holds more than 100000 values"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) and value.isascii() else "",
)
def test_what_json_cannot_hold(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        check_json("config", value)


def test_what_is_not_known_yet_is_skipped() -> None:
    later = object()

    check_json("config", {"a": [later, 1]}, skip=lambda value: value is later)
