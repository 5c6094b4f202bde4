from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.sensors.gates import (
    MODES,
    sensor,
)

if TYPE_CHECKING:
    from tests.dag_runs import DagRunner


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


@pytest.fixture
def gate(dag_runner: DagRunner, mode: dict[str, Any]) -> Any:
    """Run one sensor, in each mode."""
    return lambda **arguments: dag_runner.run(lambda: sensor(**{**mode, **arguments}))["gate"]


@pytest.fixture
def look(dag_runner: DagRunner) -> Any:
    """Run one sensor in poke mode, for what does not depend on the mode: they all take the same look."""
    return lambda **arguments: dag_runner.run(lambda: sensor(deferrable=False, **arguments))["gate"]
