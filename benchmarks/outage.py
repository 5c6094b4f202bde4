"""The triggerer's log after an hour in which the platform answers 503. It takes the whole hour."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.table import Result
from tests.integration import events_dag
from tests.integration.deliveries import INTERVAL, watching
from tests.integration.outage import go_through

SECONDS = 3600.0
HANDFUL = 20


def run() -> list[Result]:
    """Wait for the end of the hour, and count the lines."""
    with (
        tempfile.TemporaryDirectory(prefix="qianfan-bench-", ignore_cleanup_errors=True) as folder,
        watching(Path(folder), "outage", [Path(events_dag.__file__)]) as (services, world),
    ):
        outage = go_through(services, world, "outage", SECONDS)
    print(*outage.ours, sep="\n")
    case = f"{SECONDS / 3600:g} h of answers with 503, a watcher with an interval of {INTERVAL:g} s"
    peer, calls = "lines of Airflow itself", f"{outage.calls:,} calls of the platform"
    if not outage.heard:
        raise RuntimeError("the watcher does not report what finished afterwards")
    return [
        Result(
            "lines in the triggerer's log",
            case,
            len(outage.ours),
            peer,
            len(outage.others),
            "lines",
            f"≤ {HANDFUL}",
            len(outage.ours) <= HANDFUL,
            calls,
        ),
        Result(
            "starts of the watcher",
            case,
            len(outage.starts),
            peer,
            len(outage.others),
            "lines",
            "0",
            not outage.starts,
        ),
    ]
