"""What each part of the proof found. ``make proof`` keeps it in docs/proof.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOUND = Path(__file__).parents[2] / "build" / "proof"


def record(part: str, figures: dict[str, Any]) -> None:
    """Keep what a part found, and forget what it found before."""
    FOUND.mkdir(parents=True, exist_ok=True)
    (FOUND / f"{part}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
