"""Times as Qianfan and HTTP write them. Reading them never raises."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_EARLIEST = 2000
"""Years before this are placeholders: Qianfan's siblings write 0000-00-00, others 0001-01-01."""


_LONGEST = 86400.0 * 365
"""Seconds. A timedelta may not hold a longer time."""


def parse_time(value: object) -> datetime | None:
    """
    Read a ``createTime`` or ``finishTime``.

    The documentation shows ``2024-03-22T17:13:33+08:00``. Sibling actions write ``…Z``; for an unknown time
    they write a zero date or nothing. A time without an offset may be Beijing time or UTC, so it counts as
    unknown.

    :returns: the instant in UTC; None if the value names no instant.
    """
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        if parsed.tzinfo is None or parsed.year < _EARLIEST:
            return None
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_http_date(value: str | None) -> datetime | None:
    """Read an HTTP ``Date`` header; None if it is missing or unreadable."""
    if not value:
        return None
    try:
        parsed = parsedate_to_datetime(value)
        # The year 9999 is beyond the calendar in UTC if its offset is west of Greenwich.
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """
    Read a ``Retry-After`` header, in seconds or as a date.

    :param now: the server's time, if it is known: a date is in the server's time.
    :returns: seconds from ``now``, never negative; None if the header is missing or unreadable.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST)
    when = parse_http_date(text)
    return None if when is None else min(max(0.0, (when - now).total_seconds()), _LONGEST)
