"""
The cases of two observers, a worker and a triggerer. One may see what the other does not.

The test reads them to play the platform, and the DAG file reads them to wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Observer = Literal["worker", "triggerer"]
Trouble = Literal["unreachable", "refused key", "unusable settings"]

OBSERVERS: tuple[Observer, ...] = ("worker", "triggerer")
TROUBLES: tuple[Trouble, ...] = ("unreachable", "refused key", "unusable settings")

LIMITS: dict[str, Any] = {"max_unhealthy": 20, "auth_grace": 15}
"""
Seconds. A gate stays deferred for at least 20, so that a worker which does not see the platform has its first
look before these are over, and its second look after them.
"""

TIMEOUT = 300
"""Seconds; no case may need it."""


@dataclass(frozen=True)
class Eyes:
    """
    A gate whose worker and triggerer have connections of their own, under one id.

    :param trouble: what begins when the gate has been deferred.
    :param blind: who has it.
    :param ends: whether the task succeeds meanwhile; if not, it runs for ever.
    """

    trouble: Trouble
    blind: tuple[Observer, ...]
    ends: bool

    @property
    def name(self) -> str:
        who = " and ".join(self.blind)
        return f"{who}: {self.trouble}; the task {'succeeds' if self.ends else 'runs'}"

    @property
    def task_id(self) -> str:
        words = (*self.trouble.split(), *self.blind, "ends" if self.ends else "runs")
        return "_".join(words)

    @property
    def limit(self) -> str:
        return "max_unhealthy" if self.trouble == "unreachable" else "auth_grace"

    @property
    def starts(self) -> int:
        """How many workers are started: the first looks, and the others are called."""
        if self.blind == ("worker",):
            return 3  # what it meets is given time once
        if self.blind == ("triggerer",) and not self.ends:
            return 3  # it may try once more when a worker has seen that the task runs
        return 2

    @property
    def says(self) -> str:
        """What is found in the message of a gate that fails; its group is how long it failed."""
        blind = "worker" if self.blind == ("worker",) else "triggerer"
        told = {
            "unreachable": r"no healthy answer for (.*?) \(max_unhealthy\) in PLACE\. ",
            "refused key": r"The key is refused in PLACE, now for (.*?) \(auth_grace\)\. Connection ",
            "unusable settings": r"The settings cannot be used in PLACE, now for (.*?) \(auth_grace\)\. ",
        }
        meanwhile = {
            ("worker",): r"(?!.*Meanwhile)",
            ("triggerer",): r".* Meanwhile the worker on \S+ gets answers\.$",
            ("worker", "triggerer"): r".* Meanwhile the worker on \S+ got: ",
        }
        return told[self.trouble].replace("PLACE", rf"the {blind} on \S+") + meanwhile[self.blind]

    @property
    def opens(self) -> bool:
        """Whether the worker sees that the task succeeded, however late it is called."""
        return self.ends and "worker" not in self.blind


# A worker that does not see the platform is not called while the triggerer sees that the task runs.
EYES = [
    Eyes(trouble, blind, ends)
    for trouble in TROUBLES
    for blind, ends in (
        (("worker",), True),
        (("triggerer",), False),
        (("triggerer",), True),
        (("worker", "triggerer"), False),
    )
]

MOVED = {"moved_while_away": "the platform away", "moved_with_news": "the task has succeeded"}
"""Gates whose triggerer dies, and what has happened when the next one looks first."""

MOVED_LIMIT = 30
"""Seconds of ``max_unhealthy``, after which the triggerer dies."""
