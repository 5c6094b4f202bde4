"""How many tasks the DAGs of the failure suite have, and how the compressions of the gates end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The end of a compression, and of its gate."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    NEVER = "never"


@dataclass(frozen=True)
class Fleet:
    """
    The tasks of a DAG.

    :param gates: how the compression of each gate ends.
    :param creations: how many tasks create a compression and wait for it.
    :param updates: how many tasks update a service and wait for it.
    """

    gates: tuple[Outcome, ...]
    creations: int = 0
    updates: int = 0


_NINE = (*[Outcome.SUCCEEDED] * 7, Outcome.FAILED, Outcome.STOPPED)

FLEETS = {
    "standing": Fleet(_NINE * round(23 * float(os.environ.get("FLEET", "1")))),
    "fleet": Fleet((*_NINE, Outcome.NEVER) * 4, creations=6, updates=6),
}
"""
``standing`` waits through all faults, and ends after the last one. For each fault, one run of ``fleet``
begins and ends.
"""

TIMEOUT = 110.0
"""Seconds that a gate waits whose compression never ends."""

POKE_INTERVAL = 10
"""Seconds."""
