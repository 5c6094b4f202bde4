"""The results of a benchmark, and how to show them."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Result:
    """
    A figure of ours and one of a peer, from the same run.

    :param row: what is measured.
    :param case: the number of waits, pages or the like.
    :param ours: our figure.
    :param peer: whose figure ours is compared with. A floor says that it is one.
    :param theirs: the peer's figure.
    :param unit: the unit of both figures.
    :param target: the target, in words.
    :param met: whether the target is met; None if the row has no target.
    :param note: why the target is missed, or anything else to know.
    """

    row: str
    case: str
    ours: float
    peer: str
    theirs: float
    unit: str
    target: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else float("inf")


def as_json(results: Sequence[Result]) -> str:
    """Return the results, and the machine that they were measured on."""
    import airflow

    return json.dumps(
        {
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "airflow": airflow.__version__,
            "cores": len(os.sched_getaffinity(0)),
            "results": [{**asdict(result), "ratio": result.ratio} for result in results],
        },
        indent=1,
        ensure_ascii=False,
    )


def as_markdown(results: Sequence[Result]) -> str:
    """Return a table for the documentation."""
    lines = [
        "| what | case | ours | peer | theirs | ours : theirs | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in results:
        met = ": ".join(filter(None, ({True: "yes", False: "**no**", None: ""}[each.met], each.note)))
        lines.append(
            f"| {each.row} | {each.case} | {each.ours:,.3g} {each.unit} | {each.peer}"
            f" | {each.theirs:,.3g} {each.unit} | {each.ratio:.2g} | {each.target} | {met} |"
        )
    return "\n".join(lines)


def write(results: Sequence[Result], json_file: Path, table_file: Path) -> None:
    """Write both."""
    json_file.write_text(as_json(results) + "\n")
    table_file.write_text(as_markdown(results) + "\n")
