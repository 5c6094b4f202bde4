from __future__ import annotations

import pendulum
import pytest

from airflow_provider_qianfan.api.text import clean, count_of, duration, sentence


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 seconds"),  # of a clock that was set back
        (0, "0 seconds"),
        (0.6, "1 second"),
        (61.2, "1 minute 1 second"),
        (90000, "1 day 1 hour"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_durations_are_english_whatever_the_dag_speaks() -> None:
    spoken = pendulum.get_locale()
    pendulum.set_locale("de")
    try:
        assert duration(61) == "1 minute 1 second"
    finally:
        pendulum.set_locale(spoken)


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("it failed", "it failed."),
        ("it failed. ", "it failed."),
        (" it failed", " it failed."),
        ("X", "X."),
        ("why?", "why?"),
        ("为什么？", "为什么？"),
        ("", ""),
    ],
)
def test_sentence(text: str, ended: str) -> None:
    assert sentence(text) == ended


@pytest.mark.parametrize(("number", "words"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks")])
def test_count_of(number: int, words: str) -> None:
    assert count_of(number, "task") == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 千帆", "plain 千帆"),
        ("two\nlines\x1b[31m", r"two\nlines\x1b[31m"),
        ("turned \u202e round", r"turned \u202e round"),
        ("x" * 11, "x" * 10 + "…"),
        ("x" * 10, "x" * 10),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text, 10 if text.startswith("x") else 300) == shown
