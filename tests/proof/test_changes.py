"""Random worlds: nothing is created or updated twice, nothing wrong is changed, and every try ends."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, note, seed, settings

from tests.proof.changes_oracle import problems
from tests.proof.changes_stage import Stage
from tests.proof.changes_worlds import FOUND, worlds
from tests.proof.record import record

if TYPE_CHECKING:
    from tests.proof.changes_stage import World


WRONG = ("created twice", "updated twice", "sent wrongly", "without end", "other differences")


def test_random_worlds(request: pytest.FixtureRequest) -> None:
    count = Counter[str](dict.fromkeys(WRONG, 0))
    faults, ended = Counter[str](), Counter[str]()

    @seed(request.config.getoption("seed"))
    @settings(
        max_examples=request.config.getoption("worlds"),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds())
    def play(world: World) -> None:
        stage = Stage(world)
        story = stage.play()
        found = list(problems(story))
        for problem in found:
            count[next((wrong for wrong in WRONG if problem.startswith(wrong)), WRONG[-1])] += 1
        if found:
            note("\n".join(stage.story))
            pytest.fail("\n".join(found))
        faults.update(stage.struck)
        count["worlds"] += 1
        count["tries"] += len(story.tries)
        count["requests"] += sum(one.requests for one in story.tries)
        count["changes"] += sum(one.done_at is not None for one in story.changes)
        for one in story.tries:
            ended["died" if one.died else one.error.partition(":")[0] or "result"] += 1

    try:
        play()
    finally:
        record("changes", {**count, "faults": dict(faults), "ends": dict(ended)})


@pytest.mark.parametrize("world", FOUND.values(), ids=FOUND)
def test_a_world_that_was_found(world: World) -> None:
    stage = Stage(world)
    found = list(problems(stage.play()))
    assert not found, "\n".join([*found, *stage.story])
