from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_qianfan.api.times import parse_http_date, parse_retry_after, parse_time

NOON = datetime(2024, 3, 22, 9, 13, 33, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2024-03-22T17:13:33+08:00", NOON),
        ("2024-03-22T09:13:33Z", NOON),
        (" 2024-03-22 09:13:33+00:00 ", NOON),
        ("2024-03-22T17:13:33+0800", NOON),
        ("2024-03-22T09:13:33.250Z", NOON.replace(microsecond=250_000)),
        ("2024-03-22T17:13:33", None),  # Beijing's or UTC?
        ("2024-03-22", None),
        ("0000-00-00T00:00:00Z", None),
        ("0000-00-00 00:00:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("1999-12-31T23:59:59Z", None),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", None),  # out of range in UTC
        ("", None),
        ("soon", None),
        (None, None),
        (1711098813, None),
        ({}, None),
    ],
)
def test_parse_time(value: object, instant: datetime | None) -> None:
    parsed = parse_time(value)
    assert parsed == instant
    assert parsed is None or parsed.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("Fri, 22 Mar 2024 09:13:33 GMT", NOON),
        ("Fri, 22 Mar 2024 09:13:33 -0000", NOON),
        ("Fri, 22 Mar 2024 17:13:33 +0800", NOON),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),  # out of range in UTC
        ("Fri, 31 Dec 9999 23:59:59 GMT", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_parse_http_date(value: str | None, instant: datetime | None, in_beijing: None) -> None:
    parsed = parse_http_date(value)
    assert parsed == instant
    assert parsed is None or parsed.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Fri, 22 Mar 2024 09:14:33 GMT", 60.0),
        ("Fri, 22 Mar 2024 09:00:00 GMT", 0.0),
        ("9" * 500, 365 * 86400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 365 * 86400.0),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_parse_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOON) == seconds


numbers = st.integers(-1, 10_000).map(lambda number: f"{number:02d}") | st.text("0123456789+-.", max_size=5)
offsets = st.sampled_from(
    ["GMT", "UTC", "-0000", "+0100", "-0100", "+9999", "-2359", "EST", "Z", "-99999999"]
)
http_dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Fri", "", "x"]),
    numbers,
    st.sampled_from(["Jan", "Feb", "Dec", "december", "x"]),
    numbers,
    numbers,
    numbers,
    numbers,
    offsets,
)
iso_times = st.builds("{}-{}-{}T{}:{}:{}{}".format, *[numbers] * 6, offsets | st.just("+23:59"))
anything = st.text() | http_dates | iso_times


@given(anything)
@example("Fri, 31 Dec 9999 23:59:59 -0100")
@example("Sat, 01 Jan 0100 00:00:00 +9999")
@example("9999-12-31T23:59:59-23:59")
@example("0001-01-01T00:00:00+23:59")
def test_whatever_is_written_nothing_is_raised(text: str) -> None:
    read = [parse_time(text), parse_http_date(text)]
    seconds = parse_retry_after(text, datetime.min.replace(tzinfo=UTC))

    assert all(instant is None or instant.tzinfo is UTC for instant in read)
    assert seconds is None or 0 <= seconds <= 365 * 86400
