"""
Run the benchmarks: ``make bench``, or some of them: ``make bench ARGS="calls signing"``.

Each benchmark is a module of this package with a function ``run() -> list[Result]``. It runs in its own
process, so that none measures the leftovers of another. If one fails, the others still run. What they
measured is shown, and kept in ``build/``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.table import Result, as_markdown, write

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
NAMES = [
    "calls",
    "stall",
    "load",
    "throttle",
    "latency",
    "triggerer",
    "resume",
    "burst",
    "downstream",
    "watchers",
    "starts",
    "deliveries",
    "fleet",
    "listing",
    "signing",
    "imports",
]
LONG = ["outage"]
"""These run only if they are asked for: it takes an hour."""


def main() -> int:
    """Run the chosen benchmarks. Write the files of the documentation only if all ran."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(NAMES + LONG)} (default: all but {', '.join(LONG)})",
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        results = importlib.import_module(f"benchmarks.{options.one}").run()
        print("RESULTS " + json.dumps([asdict(result) for result in results]))
        return 0
    if unknown := [name for name in options.names if name not in NAMES + LONG]:
        parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join(NAMES + LONG)}")
    measured = {name: _run(name) for name in options.names or NAMES}
    results = [result for found in measured.values() for result in found]
    failed = [name for name, found in measured.items() if not found]
    print(as_markdown(results))
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    if options.names or failed:
        BUILD.mkdir(exist_ok=True)
        write(results, BUILD / "benchmarks.json")
    else:
        write(results, HERE / "results.json")
        subprocess.run([sys.executable, "-m", "scripts.pages"], check=True, cwd=HERE.parent)
    return 1 if failed else 0


def _run(name: str) -> list[Result]:
    """Run one benchmark. Return its results; none if it failed."""
    print(f"=== {name}", flush=True)
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--one", name],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
    ) as process:
        results: list[Result] = []
        for line in process.stdout or ():
            if line.startswith("RESULTS "):
                results = [Result(**each) for each in json.loads(line.removeprefix("RESULTS "))]
            else:
                print(line, end="", flush=True)
    return [] if process.returncode else results


if __name__ == "__main__":
    sys.exit(main())
