"""The results of a benchmark, and how to show them."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PEER = "HttpSensorTrigger"
HEADLINES = (
    ("list calls per interval", "1,000 waits for 100 source models, 10 pages", _PEER),
    ("processor, merely waiting", "1,000 waits, every 5 s", _PEER),
    ("memory of a wait", "1,000 waits, every 5 s", _PEER),
    (
        "requests within 30 s to a server that answers 429, Retry-After: 30",
        "1,000 source models, each with a wait; one account",
        _PEER,
    ),
    ("success to event, 99th percentile", "1,000 waits for as many source models, every 5 s", _PEER),
)
"""What matters to a user: row, case and peer."""

SIZING = (
    ("list calls per interval", "1,000 waits for 100 source models, 10 pages"),
    ("list calls per interval", "10,000 waits for 1000 source models, 100 pages"),
    ("processor, merely waiting", "3,000 waits, every 5 s"),
    ("memory of a wait", "1,000 waits, every 5 s"),
    ("memory of the trigger runner (RSS)", "1,000 waits, an interval of 5 s"),
    ("from inserted to all triggers running", "1,000 waits, an interval of 5 s"),
    ("from the answer to all events in the database", "1,000 waits, an interval of 5 s"),
    ("from success to the downstream task running", "one wait, an interval of 5 s"),
    (
        "from success to the downstream task running",
        "200 waits at once, until what is after all of them runs, an interval of 5 s",
    ),
    ("calls of the platform while a crowd resumes", "200 waits at once"),
)
"""What a user needs to size a cluster: row and case."""


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


def amount(value: float, unit: str) -> str:
    """Write three digits, without an exponent, and the unit."""
    figure = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{figure} {unit[:-1] if value == 1 and unit in ('calls', 'requests') else unit}"


def as_markdown(results: Sequence[Result]) -> str:
    """Return a table for the documentation."""
    lines = [
        "| what | case | ours | peer | theirs | ours : theirs | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in results:
        met = ": ".join(filter(None, ({True: "yes", False: "**no**", None: ""}[each.met], each.note)))
        lines.append(
            f"| {each.row} | {each.case} | {amount(each.ours, each.unit)} | {each.peer}"
            f" | {amount(each.theirs, each.unit)} | {each.ratio:.2g} | {each.target} | {met} |"
        )
    return "\n".join(lines)


def as_short_markdown(results: Sequence[Result]) -> str:
    """Return a table of what matters to a user, of results that have the same peer."""
    lines = [f"| what | case | this provider | {_PEER} |", "|---|---|---|---|"]
    for each in headlines(results):
        ours, theirs = amount(each.ours, each.unit), amount(each.theirs, each.unit)
        lines.append(f"| {each.row} | {each.case} | {ours} | {theirs} |")
    return "\n".join(lines)


def as_sizing_markdown(results: Sequence[Result]) -> str:
    """Return a table of what a user needs to size a cluster."""
    found = {(each.row, each.case): amount(each.ours, each.unit) for each in results}
    lines = [f"| {row} | {case} | {found[row, case]} |" for row, case in SIZING]
    return "\n".join(["| what | with | measured |", "|---|---|---|", *lines])


def fleets_as_markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of simulated fleets."""
    head = ("fleet", "waits (at a time)", "polls per hour (of each)", "429", "p50", "p99", "max")
    head += ("stale", "stall", "memory", "errors")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for each in found:
        fleet, ends, polls = each["fleet"], each["ends"], each["polls_busiest_hour"]
        failed = sum(count for end, count in ends.items() if end not in ("succeeded", "failed", "stopped"))
        cells = (
            fleet["name"],
            f"{fleet['waits']:,} ({each['most_waits']:,})",
            f"{polls:,} ({polls / fleet['triggerers']:,.0f})",
            f"{each['throttled']:,}",
            *(
                "" if math.isnan(each[key]) else f"{each[key]:,.0f} s"
                for key in ("delay_p50", "delay_p99", "delay_max", "stale")
            ),
            f"{each['stall'] * 1000:,.0f} ms",
            "" if each["resident_most"] < 2**20 else f"{each['resident_most'] / 2**20:,.0f} MiB",
            f"{failed:,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read(json_file: Path) -> list[Result]:
    """Read what :func:`as_json` wrote."""
    rows = json.loads(json_file.read_text(encoding="utf-8"))["results"]
    return [Result(**{each.name: row[each.name] for each in fields(Result)}) for row in rows]


def headlines(results: Sequence[Result]) -> list[Result]:
    """Choose the results that matter to a user."""
    found = {(each.row, each.case, each.peer): each for each in results}
    return [found[headline] for headline in HEADLINES]


def plots(results: Sequence[Result]) -> dict[str, str]:
    """Draw what a picture says better than a table; return SVG, by file name."""
    calls, processor, memory = headlines(results)[:3]
    more = [
        each
        for each in results
        if each.row == calls.row
        and each.peer == calls.peer
        and each.case.endswith("100 source models, 10 pages")
    ]
    return {
        "benchmark-calls.svg": bars(
            "List calls per interval, for 100 source models on 10 pages (logarithmic)",
            [
                (f"{each.case.partition(' waits')[0]} waits, {name}", value, "calls")
                for each in more
                for name, value in (("this provider", each.ours), (each.peer, each.theirs))
            ],
        ),
        "benchmark-processor.svg": bars("Processor while 1,000 waits wait", beside(processor)),
        "benchmark-memory.svg": bars("Memory of one wait, of 1,000", beside(memory)),
    }


def beside(result: Result) -> list[tuple[str, float, str]]:
    """Return the bars of ours and of the peer."""
    return [("this provider", result.ours, result.unit), (result.peer, result.theirs, result.unit)]


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """
    Draw horizontal bars as SVG.

    :param rows: label, value and unit of each; if there are more than two, lengths are logarithmic.
    """
    values = [math.log10(value) + 1 if len(rows) > 2 else value for _, value, _ in rows]
    height = 40 + 26 * len(rows)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="700" height="{height}" font-size="13">',
        f"<title>{title}</title><style>text {{ font-family: sans-serif }}</style>",
        f'<rect width="700" height="{height}" fill="#fff"/>',
        f'<text x="10" y="22" font-weight="bold">{title}</text>',
    ]
    for number, ((label, value, unit), length) in enumerate(zip(rows, values, strict=True)):
        y, width = 36 + 26 * number, max(1.0, 300 * length / max(values))
        colour = "#2a6fdb" if "this provider" in label else "#b0b7c3"
        drawn += [
            f'<text x="240" y="{y + 14}" text-anchor="end">{label}</text>',
            f'<rect x="250" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>',
            f'<text x="{256 + width:.1f}" y="{y + 14}">{amount(value, unit)}</text>',
        ]
    return "\n".join([*drawn, "</svg>", ""])


def write(results: Sequence[Result], json_file: Path) -> None:
    """Write what was measured."""
    json_file.write_text(as_json(results) + "\n", encoding="utf-8")
