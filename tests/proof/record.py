"""What each part of the proof found. ``make proof`` keeps it in docs/proof.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOUND = Path(__file__).parents[2] / "build" / "proof"


def record(part: str, figures: dict[str, Any]) -> None:
    """Keep what a part found in this process, and forget what it found before."""
    process = os.environ.get("PYTEST_XDIST_WORKER", "main")
    FOUND.mkdir(parents=True, exist_ok=True)
    (FOUND / f"{part}-{process}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
