"""Random worlds: no gate opens wrongly, none waits for ever, and all modes end as the tables say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, note, seed, settings

from tests.proof.judge import problems, settled
from tests.proof.oracle import NOT_FOUND, SETTLE
from tests.proof.play import MODES, Play
from tests.proof.qianfan import FOREVER
from tests.proof.record import record
from tests.proof.worlds import stages

if TYPE_CHECKING:
    from tests.proof.play import End, Gate
    from tests.proof.qianfan import World


PARTS = 4
"""They run side by side."""


@pytest.mark.parametrize("part", range(PARTS))
def test_random_worlds(request: pytest.FixtureRequest, part: int) -> None:
    count, faults, ended = Counter[str](), Counter[str](), Counter[str]()

    @seed(PARTS * request.config.getoption("seed") + part)
    @settings(
        max_examples=request.config.getoption("worlds") // PARTS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(stages())
    def play(drawn: tuple[World, list[Gate]]) -> None:
        world, gates = drawn
        by_mode: dict[str, list[list[End]]] = {}
        for mode in MODES:
            stage = Play(world, mode)
            by_mode[mode] = stage.run(gates)
            found = list(stage.mishaps)
            for gate, ends in zip(gates, by_mode[mode], strict=True):
                found += problems(world, gate, mode, ends, stage.quiet_since)
                ended.update(end.name for end in ends)
                count["looks"] += sum(len(end.looks) for end in ends)
            if found:
                note("\n".join([f"In {mode} mode:", *stage.story]))
                pytest.fail("\n".join(found))
            faults.update(stage.struck)
            count["requests"] += stage.asked
        count["worlds"] += 1
        for number, gate in enumerate(gates):
            says = settled(world, gate, gate.began)
            in_time = says != NOT_FOUND or gate.timeout > SETTLE + 2 * gate.poke_interval
            if world.faults or world.refused < FOREVER or says is None or not in_time:
                continue
            count["compared"] += 1
            still = max(world.changes(), default=0) <= gate.began
            last = [by_mode[mode][number][-1] for mode in MODES]
            told = [(end.name, end.value, end.xcoms if still else {}) for end in last]
            assert told == told[:1] * len(MODES), f"the modes differ: {last}"

    play()
    record(f"gates-{part}", {**count, "ends": dict(ended), "faults": dict(faults)})
