"""Random worlds, and random gates in them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.proof.oracle import Question
from tests.proof.play import Gate
from tests.proof.qianfan import ENDS, FOREVER, READS_AGAIN, Task, World

SOURCES = ("amv-one", "amv-two")
NAMES = ("", "run-1", "run-2")
PATHS = (
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "stopping", "stopped"),
    ("running",),
    (),
    ("succeeded",),
    ("queueing", "running", "succeeded"),
    ("running", "failed", "running", "succeeded"),
)
MODELS = (*["made"] * 6, "same", "same", "source", None, "", " amv-blank ", "null", "am-set")
MOMENTS = st.integers(-10, 20).map(lambda tens: 10 * tens)
LASTS = st.sampled_from([1, 3, 20, 60, 150])


@st.composite
def _tasks(draw: st.DrawFn) -> tuple[Task, ...]:
    found = []
    for number in range(draw(st.integers(0, 4))):
        source, created, steps = draw(st.sampled_from(SOURCES)), draw(MOMENTS), []
        at = created
        for status in draw(st.sampled_from(PATHS)):
            at += draw(LASTS)
            steps.append((at, status))
        kind = draw(st.sampled_from(MODELS))
        known = {"made": f"amv-made{number}", "same": "amv-same", "source": source}
        deleted = created + draw(st.integers(1, 30)) * 10 if draw(st.integers(0, 7)) == 7 else FOREVER
        found.append(
            Task(
                f"amva-{number}",
                source,
                draw(st.sampled_from(NAMES)),
                created,
                tuple(steps),
                known.get(kind or "", kind),
                draw(st.integers(0, 7)) < 7,
                deleted,
                draw(st.sampled_from([0, 0, 0, 3, 40])),
                end_told=draw(st.booleans()),
                model_shown=draw(st.sampled_from([0, 0, 0, 30, FOREVER])),
                model_lasts=draw(st.sampled_from([0, 0, 20, 150, FOREVER])),
                model_ends=draw(st.sampled_from(["Ready", "Ready", "Ready", "Fail"])),
            )
        )
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world. In a quarter of them, nothing goes wrong."""
    late = draw(st.sampled_from([(0, 0), (0, 0), (5, 0), (60, 0), (0, 5), (0, 60)]))
    refused = draw(st.sampled_from([FOREVER] * 12 + [-100, 50, 150]))
    kinds = st.sampled_from(draw(st.sampled_from([READS_AGAIN] * 7 + [ENDS])))
    numbers = st.one_of(st.integers(1, 12), st.integers(1, 60))
    lacks = draw(st.sampled_from([""] * 6 + ["models", "models, sources"]))
    world = World(
        tasks=draw(_tasks()),
        page=draw(st.sampled_from([100, 1, 2, 3])),
        marker=draw(st.sampled_from(["first", "last"])),
        end=draw(st.sampled_from(["documented"] * 4 + ["marked", "only marked"])),
        order=draw(st.sampled_from(["newest", "oldest", "changed"])),
        filtered=draw(st.booleans()),
        lacks=lacks,
        not_found=draw(st.sampled_from(["404", "400", "null"])),
        list_late=late[0],
        detail_late=late[1],
        latency=draw(st.sampled_from([0.1, 0.1, 1.0, 7.0])),
        faults=tuple(sorted(draw(st.dictionaries(numbers, kinds, max_size=8)).items())),
        refused=refused,
        corrected=refused + draw(st.sampled_from([0, 40, 200, FOREVER])),
        worker_ahead=draw(st.sampled_from([0] * 6 + [1200, -1200, 4000, -4000])),
        deaths=tuple(sorted(draw(st.lists(st.integers(1, 40), max_size=2)))),
    )
    return (
        replace(world, faults=(), refused=FOREVER, worker_ahead=0) if draw(st.integers(0, 3)) == 3 else world
    )


@st.composite
def gates(draw: st.DrawFn, world: World) -> Gate:
    """Draw a gate. Some task of the world matches, or nearly matches, what it asks for."""
    none = Task("amva-none", "amv-none")
    meant = draw(st.sampled_from([*world.tasks, none] if world.tasks else [none]))
    kind = draw(st.sampled_from(["source", "source", "name", "after", "both", "id", "id and source"]))
    question = Question(
        source=None if kind == "id" else draw(st.sampled_from([meant.source, meant.source, *SOURCES])),
        id=meant.id if kind.startswith("id") else None,
        name=draw(st.sampled_from([meant.name or None, *NAMES[1:]])) if kind in ("name", "both") else None,
        created_after=meant.created + draw(st.integers(-2, 1)) if kind in ("after", "both") else None,
        if_several=draw(st.sampled_from(["fail", "newest"])),
        model_ready=draw(st.integers(0, 2)) == 2,
    )
    return Gate(
        question,
        began=draw(st.integers(0, 10)) * 10,
        poke_interval=draw(st.sampled_from([60, 20, 120])),
        timeout=draw(st.sampled_from([*[300] * 5, 150, 150, 45, 1200])),
        longest_interval=draw(st.sampled_from([None, None, None, 120])),
        retries=draw(st.integers(0, 1)),
        soft_fail=draw(st.integers(0, 3)) == 3,
    )


@st.composite
def stages(draw: st.DrawFn) -> tuple[World, list[Gate]]:
    """Draw a world, and gates in it."""
    world = draw(worlds())
    return world, [draw(gates(world)) for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3])))]
