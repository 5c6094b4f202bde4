"""A platform that asks to be left alone for long, on real services: no gate holds a worker slot meanwhile."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.integration.cells import MODES

if TYPE_CHECKING:
    from tests.integration.conftest import Slots

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("mode", MODES)
def test_retry_after_is_obeyed(slots: Slots, mode: str) -> None:
    tasks = slots.finished()
    calls = slots.worlds[mode].calls

    assert tasks[f"gate_{mode}"]["state"] == "success"
    assert (calls[1].time - calls[0].time).total_seconds() >= 299


@pytest.mark.parametrize("mode", ["reschedule", "deferrable"])
def test_another_task_gets_the_slot_meanwhile(slots: Slots, mode: str) -> None:
    ended = datetime.fromisoformat(slots.finished()[f"next_{mode}"]["end_date"])
    first, second = (call.time for call in slots.worlds[mode].calls[:2])

    assert first < ended < second
