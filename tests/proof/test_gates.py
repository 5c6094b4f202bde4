"""Random worlds: no gate opens wrongly, none waits for ever, and all modes end as the tables say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, note, seed, settings

from tests.proof.judge import longest_decision, problems, settled
from tests.proof.oracle import NOT_FOUND, Question
from tests.proof.play import MODES, Gate, Play
from tests.proof.qianfan import FOREVER, Task, World
from tests.proof.record import record
from tests.proof.worlds import stages

if TYPE_CHECKING:
    from tests.proof.play import End


PARTS = 4
"""They run side by side."""

WRONG = ("opened wrongly", "undecided", "modes that differ", "other differences")


@pytest.mark.parametrize("part", range(PARTS))
def test_random_worlds(request: pytest.FixtureRequest, part: int) -> None:
    count = Counter[str](dict.fromkeys(WRONG, 0))
    faults, ended = Counter[str](), Counter[str]()

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
        count["worlds"] += 1
        by_mode: dict[str, list[list[End]]] = {}
        for mode in MODES:
            stage = Play(world, mode)
            by_mode[mode] = stage.run(gates)
            faults.update(stage.struck)
            count["requests"] += stage.asked
            found = list(stage.mishaps)
            for gate, ends in zip(gates, by_mode[mode], strict=True):
                found += problems(world, gate, mode, ends, stage.quiet_since)
                ended.update(end.name for end in ends)
                count["tries"] += len(ends)
                count["looks"] += sum(len(end.looks) for end in ends)
            for problem in found:
                count[next((wrong for wrong in WRONG if problem.startswith(wrong)), WRONG[-1])] += 1
            if found:
                note("\n".join([f"In {mode} mode:", *stage.story]))
                pytest.fail("\n".join(found))
        for number, gate in enumerate(gates):
            if not _is_clear(world, gate):
                continue
            count["compared"] += 1
            still = max(world.changes(), default=0) <= gate.began
            last = [by_mode[mode][number][-1] for mode in MODES]
            told = [(end.name, end.value, end.xcoms if still else {}) for end in last]
            count["modes that differ"] += told != told[:1] * len(MODES)
            assert told == told[:1] * len(MODES), f"the modes differ: {last}"

    try:
        play()
    finally:
        record(f"gates-{part}", {**count, "ends": dict(ended), "faults": dict(faults)})


MADE = Task("amva-0", "amv-s", steps=((1, "succeeded"),), model="amv-m")
NEWER = Task("amva-1", "amv-s", steps=((12, "running"), (60, "failed")))
FOUND = {
    "a success that is only listed": (
        World(
            (Task("amva-0", "amv-s", steps=((1, "succeeded"),), model="amv-m", model_after=40),),
            detail_late=60,
        ),
        Gate(Question("amv-s"), poke_interval=20),
    ),
    "a success that is deleted before it is asked for": (
        World((replace(MADE, model="amv-s", deleted=10),), latency=7.0),
        Gate(Question("amv-s"), poke_interval=20),
    ),
    "an interval longer than the timeout": (
        World(),
        Gate(Question(id="amva-none"), poke_interval=120, timeout=45),
    ),
    "a look after the timeout that needs two requests": (
        World(
            (Task("amva-0", "amv-s", created=70, steps=((71, "succeeded"),), model="amv-s"),), detail_late=60
        ),
        Gate(Question(id="amva-0"), poke_interval=120, timeout=150),
    ),
    "a newer task moves to a page that has been read": (
        World(
            (replace(MADE, created=-100, steps=((5, "succeeded"),)), NEWER),
            page=1,
            marker="last",
            order="changed",
            latency=7.0,
        ),
        Gate(Question("amv-s"), began=5, poke_interval=20),
    ),
    "a newer task while the model of an older one is not ready": (
        World(
            (
                replace(MADE, model_lasts=FOREVER),
                replace(MADE, id="amva-1", created=70, steps=((90, "failed"),)),
            )
        ),
        Gate(Question("amv-s", model_ready=True), poke_interval=20, timeout=1200),
    ),
    "a model that is late": (
        World((replace(MADE, steps=((2, "running"), (200, "succeeded")), model_shown=50, end_told=True),)),
        Gate(Question("amv-s", model_ready=True), poke_interval=20),
    ),
    "a model that is late, after a long interval": (
        World((replace(MADE, created=150, steps=((151, "succeeded"),), model_shown=50),)),
        Gate(Question(id="amva-0", model_ready=True), began=40, poke_interval=125),
    ),
}
"""Worlds in which a gate ended otherwise than its tables say, or would without one of its precautions."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("world", "gate"), FOUND.values(), ids=FOUND)
def test_a_world_that_was_found(world: World, gate: Gate, mode: str) -> None:
    stage = Play(world, mode)
    (ends,) = stage.run([gate])

    found = problems(world, gate, mode, ends, stage.quiet_since)
    assert not found, "\n".join([*found, *stage.story])


def _is_clear(world: World, gate: Gate) -> bool:
    """Tell whether the tables say one thing all the time, and nothing is in the way."""
    says = settled(world, gate, gate.began)
    in_time = says != NOT_FOUND or gate.timeout > longest_decision(world, gate)
    return (
        says is not None
        and in_time
        and not world.faults
        and not world.worker_ahead
        and world.refused == FOREVER
    )
