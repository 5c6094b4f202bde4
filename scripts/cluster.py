"""
A cluster on this machine, to look at in a browser: ``make cluster``. ``make cluster-down`` ends it.

It has an API server, two schedulers, a DAG processor, two Celery workers, two triggerers, PostgreSQL, Redis,
and the emulator over TLS. Everything is on loopback and in a temporary folder. Nobody has to log in: this is
not for production.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil

from airflow_provider_qianfan.emulator.server import EmulatorServer
from scripts.airflow_standalone import check_ports, make_parser, say
from tests.cluster.cluster import COMPONENTS, QUEUES, cluster
from tests.faults.tls import certified

if TYPE_CHECKING:
    from tests.integration.services import Services

ROOT = Path(__file__).resolve().parent.parent
RUNNING = ROOT / "build" / "cluster.pid"
"""Holds the process of this script while the cluster is up."""


def main() -> int:
    """Start the cluster and stop it; or stop the one that runs."""
    parser = make_parser("make cluster", __doc__)
    parser.add_argument("--down", action="store_true", help="end the cluster that runs, and return")
    options = parser.parse_args()
    if options.down:
        return down()
    if (other := running()) is not None:
        parser.exit(2, f"A cluster runs already, as process {other.pid}. To end it: make cluster-down\n")
    if shutil.which("redis-server") is None:
        parser.exit(2, "There is no redis-server. As root on Debian, `make redis` installs it.\n")
    check_ports(parser, options)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    os.environ |= {"no_proxy": "*", "NO_PROXY": "*"}  # everything is on loopback
    RUNNING.parent.mkdir(exist_ok=True)
    RUNNING.write_text(str(os.getpid()))
    try:
        with tempfile.TemporaryDirectory(prefix="qianfan-cluster-", ignore_cleanup_errors=True) as home:
            show(Path(home), options, stop)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    finally:
        RUNNING.unlink(missing_ok=True)
    return 0


def show(home: Path, options: argparse.Namespace, stop: threading.Event) -> None:
    """Run the cluster until it is to stop."""
    authority, *tls = certified(home)
    with EmulatorServer(options.scenario, port=options.emulator_port, tls=(tls[0], tls[1])) as emulator:
        join = "&" if "?" in emulator.connection_uri else "/?"
        uri = f"{emulator.connection_uri}{join}verify={quote(str(authority), safe='')}"
        say(f"The emulator is at {emulator.url}. To trust it, use the CA bundle {authority}.")
        say(f"The cluster is starting. This takes about a minute. Its logs are in {home}.")
        environment = {
            "AIRFLOW_CONN_QIANFAN_DEFAULT": uri,
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        }
        with cluster(home, environment, options.port) as (services, _):
            say(f"Airflow is ready at {services.url}. To end it, press Ctrl-C, or type: make cluster-down")
            say(f"To restart the scenario:  curl --cacert {authority} -X POST {emulator.url}/_emulator/reset")
            say(f"For a DAG of your own, save its file in {ROOT / 'dags'}. It appears within a minute.")
            for number, queue in enumerate(QUEUES, 1):
                say(f"Worker {number} takes the queue {queue}.")
            for name in COMPONENTS:
                say(f"  {name:14} is process {services.pid(name)}")
            watch(services, stop)
            say("The cluster is stopping.")


def watch(services: Services, stop: threading.Event) -> None:
    """Restart each component of Airflow that has ended, until the cluster is to stop."""
    while not stop.wait(2):
        for name in COMPONENTS:
            if not services.running(name):
                say(f"{name} has ended, and is started again as process {services.start(name).pid}.")


def down() -> int:
    """End the cluster that runs."""
    process = running()
    if process is None:
        say("No cluster runs.")
        return 0
    process.terminate()
    process.wait(120)
    return 0


def running() -> psutil.Process | None:
    """Return the process of a cluster that runs."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int(RUNNING.read_text()))
        if any("scripts.cluster" in argument for argument in process.cmdline()):
            return process
    return None


if __name__ == "__main__":
    sys.exit(main())
