"""Random worlds for what changes the platform."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.proof.changes_oracle import Wish
from tests.proof.changes_stage import DONE, NEW, NOT_DONE, OLD, OTHER, READS, SERVICE, SLOW, TASK, World

SUBJECTS = ("compression", "service", "update", "cancel")
PAUSES = st.sampled_from([1.0, 1.0, 10.0, 60.0, 400.0])
STANDS = st.sampled_from([0.0, 0.0, 0.0, -1.0, 3.0, 20.0, 50.0, 100.0, 400.0, 1000.0])
SENDINGS = st.lists(st.sampled_from(["", *NOT_DONE, *DONE, *DONE, *SLOW, *SLOW[:2]]), max_size=6).map(tuple)
READINGS = st.dictionaries(st.integers(1, 40), st.sampled_from(READS), max_size=4)
MOMENTS = st.one_of(st.sampled_from(["send", "answered", "set", "kept"]), st.integers(1, 40))
MISHAPS = st.lists(st.tuples(st.sampled_from([0, 0, 1, 2]), MOMENTS, STANDS), max_size=3).map(tuple)


@st.composite
def _wishes(draw: st.DrawFn, subject: str) -> tuple[tuple[float, Wish], ...]:
    usual = {
        "compression": Wish("amv-one"),
        "service": Wish("chat", NEW),
        "update": Wish(SERVICE, NEW),
        "cancel": Wish(TASK),
    }[subject]
    unusual = {
        "compression": [Wish("amv-two"), Wish("amv-one", nonce="2")],
        "service": [Wish("talk", NEW), Wish("chat", OTHER), Wish("chat", NEW, "2")],
        "update": [Wish("svco-two", NEW), Wish(SERVICE, OTHER)],
        "cancel": [],
    }[subject]
    count = draw(st.integers(1, 5))
    mixed = draw(st.integers(0, 5)) == 5
    return tuple(
        (draw(PAUSES), draw(st.sampled_from([usual, *unusual])) if mixed else usual) for _ in range(count)
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world."""
    subject = draw(st.sampled_from(SUBJECTS))
    settle = draw(st.sampled_from([12.0, 6.0, 12.0, 30.0, 12.0, 120.0]))
    late = st.sampled_from(
        [0.0, 0.0, 1.0, settle / 2, settle - 1, settle - 1, settle - 1, settle + 3, settle * 4]
    )
    some = draw(st.booleans())
    hands: list[tuple[float, str]] = []
    if draw(st.integers(0, 3)) >= (2 if subject == "update" else 3):
        what = {"update": [OTHER, OLD, NEW], "cancel": ["finishes"]}.get(subject, ["deletes"])
        hands = draw(
            st.lists(
                st.tuples(st.sampled_from([0.5, 0.5, 5.0, 30.0, 100.0, 400.0]), st.sampled_from(what)),
                max_size=2,
            )
        )
    return World(
        subject,
        stored=draw(st.booleans()),
        settle=settle,
        list_late=draw(late),
        detail_late=draw(late),
        lasts=draw(st.sampled_from([0.0, 0.0, 20.0, 300.0, 5000.0])),
        reverts=draw(st.integers(0, 7)) == 7,
        refuses_more=draw(st.booleans()),
        bare=subject == "service" and draw(st.booleans()),
        rows=draw(st.sampled_from([0, 0, 1, 5])),
        page=draw(st.sampled_from([100, 100, 1, 2])),
        oldest_first=draw(st.booleans()),
        repeats=False,
        filtered=draw(st.booleans()),
        absent=draw(st.sampled_from(["404", "400", "null"])),
        latency=draw(st.sampled_from([0.1, 0.1, 0.1, 1.0, 4.0, 9.0])),
        ahead=draw(st.sampled_from([0.0] * 6 + [20.0, 4000.0])),
        heartbeat=draw(st.sampled_from([300.0, 90.0, 30.0])),
        sendings=draw(SENDINGS),
        reads=tuple(sorted(draw(READINGS).items())) if some else (),
        mishaps=draw(MISHAPS),
        wishes=draw(_wishes(subject)),
        rivals=draw(_wishes(subject))[:2] if draw(st.integers(0, 4)) == 4 else (),
        hands=tuple(sorted(hands)),
    )


_CHAT, _TALK, _SWAP = Wish("chat", NEW), Wish("talk", NEW), Wish(SERVICE, NEW)
FOUND = {
    "a service of another name": World("service", wishes=((1.0, _CHAT), (1.0, _TALK))),
    "a service that leaves late": World(
        "service",
        list_late=11.0,
        detail_late=11.0,
        sendings=("network: connection takes 4 s",),
        wishes=((1.0, _CHAT), (1.0, _CHAT)),
    ),
    "an update that leaves late": World(
        "update",
        detail_late=11.0,
        sendings=("network: connection takes 4 s",),
        mishaps=((0, "answered", 0.0),),
        wishes=((1.0, _SWAP), (1.0, _SWAP)),
    ),
    "a detail behind the list": World(
        "service", stored=False, detail_late=15.0, bare=True, wishes=((1.0, _CHAT), (1.0, _CHAT))
    ),
    "an update that another one hides": World(
        "update", lasts=300.0, hands=((0.5, OTHER),), wishes=((1.0, _SWAP), (1.0, _SWAP))
    ),
}
"""Worlds in which something went wrong once, or would go wrong without a line of the package."""
