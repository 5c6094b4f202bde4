"""The moments at which a creation's worker is killed, and the ways in which users end a creation."""

from __future__ import annotations

SETTLE = 12.0
"""Seconds."""

LIST_LAG = 4.0
"""Seconds in which a new task is not in the list."""

ANSWERS = {
    "while_it_looks": "DescribeModelCompTasks",
    "before_the_call": "DescribeModel",
    "before_the_answer": "CreateModelCompTask",
    "while_waiting": "DescribeModelCompTask",
}
"""The answers that never arrive: the platform has done what was asked, and the worker is dead."""

MOMENTS = (*ANSWERS, "about_to_call", "while_the_platform_works", "before_it_is_stored")

ENDS = ("failed_in_a_worker", "failed_when_deferred", "cleared_when_deferred")
