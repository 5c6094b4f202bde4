"""
Write what ``make proof`` or ``make mutants`` found into ``docs/proof.json``. Both run this script at the end.

If a part has not run, its figures stay. ``make pages`` writes them into ``docs/reliability.md``.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.proof.record import FOUND

KEPT = Path(__file__).parents[1] / "docs" / "proof.json"
PLACES = ("network", "HTTP", "answer", "key", "clock", "worker", "triggerer")
"""Where a fault can happen. The name of a fault begins with its place: ``HTTP: 503``."""


def gather() -> dict[str, Any]:
    """Return the figures of each part: those of this run, else those that are kept."""
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    found: dict[str, Any] = {}
    for file in sorted(FOUND.glob("*.json")):
        part = file.stem.partition("-")[0]  # gates-0, gates-1, …
        found[part] = _sum(found.get(part, {}), json.loads(file.read_text(encoding="utf-8")))
    return dict(sorted({**kept, **found}.items()))


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    total: dict[str, Any] = dict(one)
    for key, value in other.items():
        total[key] = _sum(total.get(key, {}), value) if isinstance(value, dict) else total.get(key, 0) + value
    return total


def faults(found: dict[str, Any]) -> list[tuple[str, str, int]]:
    """
    Count the faults in all random worlds.

    :return: where a fault happened, what happened, and how often. In each place, the commonest comes first.
    """
    total = Counter[str]()
    for part in found.values():
        total.update(part.get("faults", {}))
    rows = []
    for name, times in total.items():
        where, what = name.split(": ", 1)
        rows.append((where, what, times))
    return sorted(rows, key=lambda row: (PLACES.index(row[0]), -row[2], row[1]))


def main() -> None:
    """Keep what was found."""
    found = gather()
    KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for part, figures in found.items():
        print(part, json.dumps({key: value for key, value in figures.items() if key != "faults"}))
    print("These figures go into docs/proof.json and docs/reliability.md. To drop them: git checkout docs")


if __name__ == "__main__":
    main()
