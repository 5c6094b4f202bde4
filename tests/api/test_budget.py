from __future__ import annotations

import pytest

from airflow_provider_qianfan.api.budget import Budget


def test_a_burst_and_then_the_rate() -> None:
    budget, now, sent = Budget(rate=2, burst=3), 100.0, []

    while now < 105:
        if wait := budget.wait(now):
            now += wait
        else:
            sent.append(now)

    assert sent == pytest.approx([100, 100, 100, *(100 + 0.5 * number for number in range(1, 10))])
    assert budget.spent == len(sent)


def test_rest_does_not_add_up_to_more_than_a_burst() -> None:
    budget = Budget(rate=1, burst=2)

    assert [budget.wait(1e6) for _ in range(3)] == [0, 0, pytest.approx(1)]


def test_those_who_ask_and_do_not_wait_gain_nothing() -> None:
    budget = Budget(rate=1, burst=1)
    assert budget.wait(0) == 0

    assert [budget.wait(0.25) for _ in range(3)] == pytest.approx([0.75] * 3)
    assert budget.wait(1) == 0
