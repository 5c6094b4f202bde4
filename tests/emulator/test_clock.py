from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_qianfan.emulator.clock import LeapingClock, ManualClock, RealClock


def test_clocks() -> None:
    with pytest.raises(ValueError, match="time zone"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="only moves forward"):
        ManualClock().advance(-1)
    with pytest.raises(ValueError, match="speed"):
        RealClock(0)
    clock = RealClock(speed=1000)
    start = clock.now()
    clock.advance(3600)
    assert clock.now() - start > timedelta(hours=1)
    assert clock.now().tzinfo is UTC


def test_a_leaping_clock_knows_who_waits() -> None:
    clock = LeapingClock()
    ask = ("/v2/model", "DescribeModelCompTask", b"{}")

    assert [clock.waits(*ask), clock.waits(*ask)] == [False, True]
    assert not clock.waits("/v2/model", "DescribeModelCompTask", b"another")
    assert not clock.waits("/v2/model", "CancelModelCompTask", b"{}")
    assert not clock.waits(*ask), "what was asked before a change is asked anew"
    clock.advance(1)
    assert not clock.waits(*ask), "and so is what was asked before a leap"
