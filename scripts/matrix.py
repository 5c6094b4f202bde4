"""
Make the table of test results.

The sessions of ``noxfile.py`` leave reports. This script moves them into ``docs/matrix.json``, prints the
table, and writes it into its page. Cells without a new report stay as they are.

If ``quick`` has run on each Airflow, this script also reports its coverage of ``_compat.py``. If no Airflow
runs a line or branch, the script fails. Remove the code, or test it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from airflow_provider_qianfan._compat import FEATURES

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "build" / "matrix"
RESULTS = ROOT / "docs" / "matrix.json"
AIRFLOWS = ("2.11", "3.0", "3.1", "3.2", "3.3")
PARTS = ("tests", "faults", "integration")


def read(report: Path) -> dict[str, Any]:
    """Count the results in a report of pytest."""
    (suite,) = ElementTree.parse(report).getroot()  # noqa: S314  we wrote it
    reasons = Counter(skipped.get("message", "") for skipped in suite.iter("skipped"))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return {
        "passed": int(suite.get("tests", 0)) - failed - sum(reasons.values()),
        "failed": failed,
        "skipped": dict(sorted(reasons.items())),
        "seconds": round(float(suite.get("time", 0))),
        "on": suite.get("timestamp", "")[:10],
    }


def collect(results: dict[str, Any]) -> None:
    """Move the reports into the results. Reports of a selection do not count."""
    for report in sorted(REPORTS.glob("*.xml")):
        cell, _, part = report.stem.rpartition(".")
        if part in PARTS:
            results.setdefault(cell, {})[part] = read(report)
        report.unlink()


def in_words(result: dict[str, Any] | None) -> str:
    """Write a cell of the table."""
    if result is None:
        return "–"
    counts = {**result, "skipped": sum(result["skipped"].values())}
    said = [f"{counts[what]:,} {what}" for what in ("passed", "failed", "skipped") if counts[what]]
    return f"{', '.join(said)}; {result['seconds']} s"


def by_version(cell: str) -> tuple[list[int], str]:
    """Sort 3.10 after 3.9; cells without a version come last."""
    return [int(number) for number in re.findall(r"\d+", cell)] or [99], cell


def matrix(results: dict[str, Any]) -> str:
    """Write the table of results, and the reasons for skips."""
    lines = [f"| Airflow, Python | {' | '.join(PARTS)} | on |", "|" + "---|" * (len(PARTS) + 2)]
    why: dict[str, set[str]] = {}
    for cell in sorted(results, key=by_version):
        name = re.sub(r"airflow-(.*)-(.*)", r"\1, \2", cell)
        parts = results[cell]
        day = min(part["on"] for part in parts.values())
        lines.append(f"| {name} | {' | '.join(in_words(parts.get(part)) for part in PARTS)} | {day} |")
        for part in parts.values():
            for reason in part["skipped"]:
                why.setdefault(reason, set()).add(name)
    lines += ["", *(f"- Skipped on {'; '.join(sorted(why[reason]))}: {reason}" for reason in sorted(why))]
    return "\n".join(lines).rstrip()


def features() -> str:
    """Write the table of features that some Airflows lack."""
    lines = [f"| | {' | '.join(AIRFLOWS)} | where it is missing |", "|" + "---|" * (len(AIRFLOWS) + 2)]
    for feature in FEATURES:
        there = ["–" if airflow in feature.lacking else "✓" for airflow in AIRFLOWS]
        lines.append(f"| {feature.name} | {' | '.join(there)} | {feature.without} |")
    return "\n".join(lines)


def left_out() -> int:
    """
    Report the lines of ``_compat.py`` that no Airflow has run.

    :returns: their share in percent; 0 if an Airflow has no report.
    """
    measured = sorted(REPORTS.glob("*.quick.coverage"))
    names = {each.name.split("-")[1] for each in measured if each.name.startswith("airflow-")}
    if not names.issuperset(AIRFLOWS):
        print("\nThe coverage of _compat.py is not known: that takes the part quick of each Airflow.")
        return 0
    from coverage import Coverage  # which the tests that read this script need not have

    everything = Coverage(data_file=None, config_file=str(ROOT / "pyproject.toml"))
    everything.combine(map(str, measured), keep=True)
    print(f"\n_compat.py on Airflow {', '.join(sorted(names))}:")
    covered = everything.report(show_missing=True)
    return 100 - int(covered)


def main() -> int:
    """Make the table. Return what :func:`left_out` returns."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    collect(results)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(matrix(results))
    subprocess.run([sys.executable, "-m", "scripts.pages"], check=True, cwd=ROOT)
    return left_out()


if __name__ == "__main__":
    sys.exit(main())
