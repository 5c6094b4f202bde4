"""Random worlds: watchers report what finishes, once and truly, however they end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from tests.proof.events_oracle import Watcher, problems
from tests.proof.events_stage import EventsPlay, Stage
from tests.proof.judge import problems as problems_of_gate
from tests.proof.qianfan import FOREVER, Task
from tests.proof.record import record
from tests.proof.worlds import NAMES, SOURCES, gates, worlds

SHARE = 4
"""Of ``--worlds``, this test plays one in so many."""

WRONG = ("missed", "reported twice", "reported wrongly", "other differences")
STATUSES = (*[("succeeded",)] * 3, ("failed", "stopped"), ("succeeded", "failed", "stopped"))
PATTERNS = (None, None, None, "run-*", "*-[1]", "RUN-?", "*")
ENDS = ("dies", "dies", "dies", "is stopped", "is replaced", "is not alone")
USUAL = (
    (20, ((25, "running"), (90, "succeeded"))),
    (150, ((151, "succeeded"),)),
    (-100, ((-95, "running"), (60, "succeeded"))),
)
"""Creation and steps of three tasks: a common one, one that succeeds between two looks, and a long one."""

CROWDS = {"": (0, 0, 0), "many": (130, 0, 0), "long names": (130, 0, 1500), "a huge name": (2, 0, 110_000)}
CROWDS |= {"long ids": (130, 300, 0)}
"""For each crowd: how many more tasks there are, and by how many letters ids and names are longer."""


@st.composite
def _watchers(draw: st.DrawFn, tasks: tuple[Task, ...], scale: int) -> Watcher:
    meant = draw(st.sampled_from(tasks)) if tasks else Task("amva-none", "amv-none")
    return Watcher(
        draw(st.sampled_from(STATUSES)),
        draw(st.sampled_from([None, None, meant.source, *SOURCES])),
        draw(st.sampled_from([None, None, None, meant.name or None, NAMES[1]])),
        draw(st.sampled_from(PATTERNS)),
        draw(st.sampled_from([60, 120, 60, 20])) * (10 if scale > 1 else 1),
        draw(st.sampled_from([None, None, None, -80, 60])),
        draw(st.sampled_from([3600, 100, 10])),
    )


@st.composite
def _crowd(draw: st.DrawFn, scale: int) -> tuple[Task, ...]:
    """Draw many tasks that finish together, or in three groups."""
    number, longer_id, longer_name = CROWDS[draw(st.sampled_from([*[""] * 60, *CROWDS]))]
    first, later = draw(st.sampled_from([(-90, 0), (20, 0), (20, 90)]))
    dated, told = draw(st.sampled_from([(True, True), (True, True), (True, False), (False, False)]))
    return tuple(
        Task(
            f"amva-crowd{each:03}" + "x" * longer_id,
            SOURCES[0],
            "run-1" + "x" * longer_name,
            -100 * scale,
            ((-100 * scale, "running"), ((first + later * (each % 3)) * scale, "succeeded")),
            f"amv-crowd{each}",
            dated,
            end_told=told,
        )
        for each in range(number)
    )


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    """Draw a world, and watchers in it."""
    world = draw(worlds())
    scale = draw(st.sampled_from([1, 1, 40]))
    created, steps = draw(st.sampled_from(USUAL))
    usual = Task("amva-usual", SOURCES[0], "run-1", created, steps, "amv-usual")
    tasks: list[Task] = []
    for task in (*world.tasks, *[usual] * draw(st.booleans())):
        steps = tuple((at * scale, status) for at, status in task.steps)
        deleted = min(FOREVER, task.deleted * scale)
        dated, told = draw(
            st.sampled_from([(True, True)] * 3 + [(True, False), (False, True), (False, False)])
        )
        late = draw(st.sampled_from([0, 0, 0, 0, 200]))
        tasks.append(
            replace(
                task,
                created=task.created * scale,
                steps=steps,
                deleted=deleted,
                dated=dated,
                end_told=told,
                late=late,
            )
        )
    lacks = draw(st.sampled_from([""] * 6 + ["models", "models, sources"]))
    ends = tuple(
        (10 * at * scale, draw(st.sampled_from(ENDS)), draw(st.sampled_from([5, 30, 400])) * scale)
        for at in world.deaths
    )
    crowd = draw(_crowd(scale))
    world = replace(
        world,
        tasks=(*tasks, *crowd),
        page=100 if crowd else world.page,
        corrected=min(FOREVER, 2 * world.corrected) if world.corrected > 10**6 else world.corrected,
        lacks=lacks,
        deaths=(),
    )
    watchers = tuple(
        draw(_watchers(world.tasks, scale)) for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3])))
    )
    gate = draw(gates(world)) if scale == 1 and not lacks and draw(st.integers(0, 3)) == 3 else None
    faults = st.sampled_from(["fails", "is slow", "answers late"])
    return Stage(
        world,
        watchers,
        gate,
        draw(st.sampled_from(["kept", "kept", "kept", "several", "older"])),
        ends,
        draw(st.sampled_from([0, 0, 50])) * scale,
        (draw(st.integers(1, 2)),) if draw(st.integers(0, 4)) == 4 else (),
        tuple(sorted(draw(st.dictionaries(st.integers(1, 40), faults, max_size=3)).items())),
        draw(st.sampled_from([0.5, 0.5, 3.0])),
        draw(st.sampled_from([1.0, 1.0, 4.0])),
    )


def found_in(play: EventsPlay) -> list[str]:
    """Return what is wrong with what watchers did."""
    stage, found = play.stage, [*play.mishaps, *play.too_many()]
    for watcher, lives in zip(stage.watchers, play.lives, strict=True):
        found += problems(play.past(watcher), watcher, lives, keeps=stage.keeps == "kept")
    if stage.gate is not None:
        found += problems_of_gate(stage.world, stage.gate, play.mode, play.ends, play.quiet_since)
    return found


def test_random_worlds(request: pytest.FixtureRequest) -> None:
    count = Counter[str](dict.fromkeys(WRONG, 0))
    faults = Counter[str]()

    @seed(request.config.getoption("seed"))
    @settings(
        max_examples=request.config.getoption("worlds") // SHARE,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(stages())
    def play(stage: Stage) -> None:
        played = EventsPlay(stage)
        played.play()
        found = found_in(played)
        for problem in found:
            count[next((wrong for wrong in WRONG if problem.startswith(wrong)), WRONG[-1])] += 1
        if found:
            note("\n".join(played.story))
            pytest.fail("\n".join(found))
        faults.update(played.struck)
        faults.update(played.mishandled)
        lives = [life for each in played.lives for life in each]
        count["worlds"] += 1
        count["starts"] += len(lives)
        count["events"] += sum(len(life.events) for life in lives)
        count["reported"] += sum(len(event.tasks) for life in lives for event in life.events)
        count["requests"] += played.asked

    try:
        play()
    finally:
        record("events", {**count, "faults": dict(faults)})
