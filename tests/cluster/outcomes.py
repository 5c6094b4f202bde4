"""How the compressions of the fleet end."""

from __future__ import annotations

import os
from enum import StrEnum


class Outcome(StrEnum):
    """The end of a compression, and of its gate."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    NEVER = "never"


_TEN = (*[Outcome.SUCCEEDED] * 7, Outcome.FAILED, Outcome.STOPPED, Outcome.NEVER)

_SHARE = float(os.environ.get("FLEET", "1"))

GATES = _TEN * round(20 * _SHARE)
CREATIONS = round(12 * _SHARE)
UPDATES = round(12 * _SHARE)

TIMEOUT = 240.0
"""Seconds that a gate waits whose compression never ends."""
