"""
Write the generated parts of the documentation into its pages: ``make pages``.

A generated part stands between two comments, and is the same in a checkout and on the built site. A test
compares the pages with what this script would write.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.scenario import builtin_scenarios, load
from airflow_provider_qianfan.get_provider_info import get_provider_info
from benchmarks import table
from scripts import matrix, proof

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CALLS = "calls"
"""What is not a fault in ``docs/cluster.json``."""


def options() -> str:
    """Write the options of airflow.cfg as they are described to Airflow."""
    info: Any = get_provider_info()
    return "\n\n".join(
        f"## `{name}`\n\n"
        f"{' '.join(option['description'].split()).replace('``', '`')}\n\n"
        f"- Section: `[{section}]`\n"
        f"- Environment variable: `AIRFLOW__{section.upper()}__{name.upper()}`\n"
        f"- Default: `{option['default']}`\n"
        f"- Example: `{option['example']}`"
        for section, described in info["config"].items()
        for name, option in described["options"].items()
    )


def emulator_help() -> str:
    """Write what the emulator's command says of its options."""
    command = [sys.executable, "-m", "airflow_provider_qianfan.emulator", "--help"]
    told = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"COLUMNS": "100"}
    ).stdout
    # How the line of usage is broken differs between versions of Python.
    return f"```text\n{told[told.index('options:') :]}```"


def scenarios() -> str:
    """Write what the emulator's own scenarios are about."""
    lines = [f"| `{name}` | {load(name).description} |" for name in builtin_scenarios()]
    return "\n".join(["| scenario | what happens |", "|---|---|", *lines])


def source(file: Path, language: str) -> str:
    """Write the text of a file."""
    return f"```{language}\n{file.read_text(encoding='utf-8').strip()}\n```"


def cluster() -> str:
    """Write what came of each fault of ``make test-cluster``."""
    head = "fault|waits in flight|lost|opened wrongly|failed wrongly|not done once|tries used up"
    keys = ("fault", "in_flight", "lost", "opened_wrongly", "failed_wrongly", "not_once", "tries")
    head += "|recovery p50|recovery max|bounded by"
    rows = [row for key, row in _measured_on_a_cluster().items() if key != CALLS]
    return _table(
        head.split("|"),
        *([*(row[key] for key in keys), f"{row['p50']} s", f"{row['max']} s", row["bound"]] for row in rows),
    )


def triggerers() -> str:
    """Write how many requests an interval costs with several triggerers, as ``make test-cluster`` found."""
    return _table(("triggerers", "requests per interval"), *_measured_on_a_cluster()[CALLS].items())


def proofs(found: dict[str, Any]) -> str:
    """Write what each part of ``make proof`` tried, and how often something was wrong."""
    gates, changes, hostile = found["gates"], found["changes"], found["hostile"]
    left, inside = found["secrets"], found["secrets_in_process"]
    rows = [
        (
            "gates in random worlds",
            (
                f"{gates['worlds']:,} worlds in three modes: {gates['tries']:,} tries,"
                f" {gates['looks']:,} looks, {gates['requests']:,} requests;"
                f" {gates['compared']:,} gates compared between the modes"
            ),
            _wrong(gates, "opened wrongly", "undecided", "modes that differ", "other differences"),
        ),
        (
            "changes in random worlds",
            (
                f"{changes['worlds']:,} worlds: {changes['tries']:,} tries, {changes['requests']:,} requests,"
                f" {changes['changes']:,} changes made"
            ),
            _wrong(
                changes, "created twice", "updated twice", "sent wrongly", "without end", "other differences"
            ),
        ),
        (
            "hostile answers",
            f"{hostile['conversations']:,} conversations, {hostile['answers']:,} answers",
            _wrong(hostile, "wrong"),
        ),
        *(
            ("broken HTTP", f"{sent['conversations']:,} conversations", _wrong(sent, "wrong"))
            for part, sent in found.items()
            if part == "bytes"
        ),
        (
            "secrets that a whole Airflow leaves behind",
            (
                f"{left['signatures']:,} signed requests; {sum(left['searched'].values()):,} values, files,"
                f" and answers searched; {left['found']} of {left['planted']} plants found"
            ),
            _wrong(left, "leaks"),
        ),
        (
            "secrets in errors, logs and objects",
            f"{inside['looks']:,} searches; {inside['timeouts']:,} timeouts raised",
            "all tests passed",
        ),
        *(
            (
                f"mutants of `{layer}`",
                (
                    f"{mutants['mutants']:,} mutants: {mutants['killed']:,} noticed ({mutants['score']} %),"
                    f" {mutants['worded']:,} only in words, {mutants['listed']:,} explained"
                ),
                _wrong(mutants, "unexplained"),
            )
            for layer, mutants in found.get("mutants", {}).items()
        ),
    ]
    if "events" in found:
        events = found["events"]
        tried = (
            f"{events['worlds']:,} worlds: {events['starts']:,} starts of watchers, {events['requests']:,}"
            f" requests, {events['events']:,} events, {events['reported']:,} compressions reported"
        )
        wrong = _wrong(events, "missed", "reported twice", "reported wrongly", "other differences")
        rows.insert(2, ("events in random worlds", tried, wrong))
    return _table(("what", "how much", "wrong"), *rows)


def _faults(found: dict[str, Any]) -> str:
    rows = ((where, what, f"{times:,}") for where, what, times in proof.faults(found))
    return _table(("where", "what went wrong", "times"), *rows)


def _wrong(figures: dict[str, Any], *kinds: str) -> str:
    return ", ".join(f"{kind}: {figures[kind]}" for kind in kinds)


def _measured_on_a_cluster() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "cluster.json").read_text(encoding="utf-8"))
    return found


def _table(head: Sequence[str], *rows: Sequence[object]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


def parts() -> dict[Path, dict[str, str]]:
    """Make the generated parts of each page, by their names."""
    dags = {file.stem: source(file, "python") for file in sorted((ROOT / "dags").glob("*.py"))}
    demo = ROOT / "airflow_provider_qianfan" / "emulator" / "scenarios" / "demo.yaml"
    measured = table.read(ROOT / "benchmarks" / "results.json")
    fleets = json.loads((ROOT / "benchmarks" / "fleet.json").read_text(encoding="utf-8"))
    proven = json.loads(proof.KEPT.read_text(encoding="utf-8"))
    results = json.loads(matrix.RESULTS.read_text(encoding="utf-8"))
    return {
        DOCS / "versions.md": {"features": matrix.features(), "matrix": matrix.matrix(results)},
        DOCS / "dags.md": dags,
        DOCS / "emulator.md": {
            "help": emulator_help(),
            "scenarios": scenarios(),
            "demo": source(demo, "yaml"),
        },
        DOCS / "reference" / "configuration.md": {"options": options()},
        DOCS / "scaling.md": {
            "benchmarks": table.as_short_markdown(measured),
            "preloading": source(DOCS / "deploy" / "airflow_local_settings.py", "python"),
            "fleet": table.fleets_as_markdown(fleets),
            "sizing": table.as_sizing_markdown(measured),
            "triggerers": triggerers(),
        },
        DOCS / "cluster.md": {"cluster": cluster()},
        DOCS / "reliability.md": {
            "proof": proofs(proven),
            "faults": _faults(proven),
        },
        DOCS / "benchmarks-table.md": {"benchmarks": table.as_markdown(measured)},
    }


def fill(text: str, made: dict[str, str]) -> str:
    """
    Put the parts between their comments.

    :raises ValueError: if a part has no place, or a place no part.
    """
    filled = set()

    def put(place: re.Match[str]) -> str:
        filled.add(place[2])
        return place[1] + made.get(place[2], "") + place[3]

    place = r"(<!-- (\S+): made by make pages -->\n).*?(\n<!-- end of \2 -->)"
    text = re.sub(place, put, text, flags=re.DOTALL)
    if filled != set(made):
        raise ValueError(f"places and parts differ: {sorted(filled ^ set(made))}")
    return text


def main() -> None:
    """Write the pages and the plots."""
    for page, made in parts().items():
        page.write_text(fill(page.read_text(encoding="utf-8"), made), encoding="utf-8")
    for name, plot in table.plots(table.read(ROOT / "benchmarks" / "results.json")).items():
        (DOCS / "images" / name).write_text(plot, encoding="utf-8")


if __name__ == "__main__":
    main()
