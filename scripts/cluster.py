"""
A cluster on this machine, to look at in a browser: ``make cluster``. ``make cluster-down`` ends it.

It has an API server, two schedulers, a DAG processor, two Celery workers, two triggerers, PostgreSQL, Redis,
and the emulator over TLS. Everything is on loopback and in a temporary folder. Nobody has to log in: this is
not for production.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from urllib.parse import quote

from airflow_provider_qianfan.emulator.server import EmulatorServer
from scripts.airflow_standalone import check_ports, make_parser, say
from tests.cluster.cluster import COMPONENTS, QUEUES, cluster
from tests.faults.tls import certified
from tests.integration.services import end_all, wait_until

if TYPE_CHECKING:
    from tests.cluster.cluster import Redis
    from tests.integration.services import Services

ROOT = Path(__file__).resolve().parent.parent
RUNNING = ROOT / "build" / "cluster.pid"
"""Holds the number of this script's process, and the cluster's folder. The script locks it while it runs."""
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PATIENCE = 60.0
"""Seconds for the cluster to stop. Then it is ended by force."""


def main() -> int:
    """Start the cluster and stop it; or stop the one that runs."""
    parser = make_parser("make cluster", __doc__)
    parser.add_argument("--down", action="store_true", help="end the cluster that runs, and return")
    options = parser.parse_args()
    RUNNING.parent.mkdir(exist_ok=True)
    with RUNNING.open("a+") as record:
        if options.down:
            return down(record)
        if not lock(record):
            process, logs = read(record)
            told = f"A cluster runs, as process {process}. Its logs are in {logs}."
            parser.exit(2, f"{told} To end it: make cluster-down\n")
        if read(record)[1].is_dir():
            parser.exit(2, "A cluster was killed, and left its services. To end them: make cluster-down\n")
        if shutil.which("redis-server") is None:
            parser.exit(2, "There is no redis-server. As root on Debian, `make redis` installs it.\n")
        check_ports(parser, options)
        os.environ |= {"no_proxy": "*", "NO_PROXY": "*"}  # everything is on loopback
        home = Path(tempfile.mkdtemp(prefix="qianfan-cluster-"))
        write(record, home)
        try:
            for number in STOPPING:
                signal.signal(number, stop)
            show(home, options)
        except KeyboardInterrupt:
            shutil.rmtree(home, ignore_errors=True)
            with contextlib.suppress(OSError):  # the terminal may be gone
                say("The cluster has ended. Its logs are deleted.")
        except (OSError, RuntimeError, ValueError) as error:
            record.truncate(0)
            parser.exit(2, f"{error}\nThe cluster has ended. All of its logs are in {home}.\n")
        record.truncate(0)
    return 0


def stop(*_: object) -> None:
    """Stop what is being done. While the cluster then ends, nothing stops that."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(1, b"The cluster is stopping. This takes up to 20 seconds.\n")
    raise KeyboardInterrupt


def show(home: Path, options: argparse.Namespace) -> None:
    """Run the cluster until somebody stops it."""
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
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "builtins.str",  # none: so nobody asks for a log server
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        }
        with cluster(home, environment, options.port) as (services, redis):
            say(f"Airflow is ready at {services.url}. To end it, press Ctrl-C, or type: make cluster-down")
            say("What to try is in docs/cluster.md.")
            reset = f"curl -sS -o /dev/null --cacert {authority} -X POST {emulator.url}/_emulator/reset"
            say(f"To restart the scenario:  {reset}")
            say(f"For a DAG of your own, save its file in {ROOT / 'dags'}. It appears within a minute.")
            for number, queue in enumerate(QUEUES, 1):
                say(f"Worker {number} takes the queue {queue}.")
            for name in COMPONENTS:
                say(f"  {name:14} is process {services.pid(name)}")
            watch(services, redis)


def watch(services: Services, redis: Redis) -> None:
    """Restart each component of Airflow that has ended, ever later if it does so again and again."""
    started = dict.fromkeys(COMPONENTS, time.monotonic())
    pauses = dict.fromkeys(COMPONENTS, 0.0)
    stores = {
        "PostgreSQL": (services.database_answers, services.database_log),
        "Redis": (redis.answers, redis.log),
    }
    away: set[str] = set()
    while True:
        time.sleep(2)
        for name, (answers, log) in stores.items():
            if answers() == (name in away):
                say(f"{name} is back." if name in away else f"{name} does not answer. Its log is {log}.")
                away ^= {name}
        for name in services.ended():
            lived = time.monotonic() - started[name]
            if lived >= pauses[name]:
                pauses[name] = min(max(10, 2 * pauses[name]), 60) if lived < 120 else 0
                started[name] = time.monotonic()
                say(f"{name} had ended, and is started again as process {services.start(name).pid}.")
                say(f"  Its log is {services.log_of(name)}.")


def down(record: TextIO) -> int:
    """End the cluster that runs, or what is left of one."""
    if not lock(record):
        if process := read(record)[0]:  # else it begins, or ends, at this moment
            say(f"The cluster of process {process} is stopping. This takes up to 20 seconds.")
            os.kill(process, signal.SIGTERM)
        try:
            wait_until(lambda: lock(record), PATIENCE)
        except TimeoutError:
            say(f"The cluster has not stopped within {PATIENCE:g} s. It is ended by force.")
            os.kill(read(record)[0], signal.SIGKILL)
            wait_until(lambda: lock(record))
    elif not read(record)[1].is_dir():
        say("No cluster runs.")
    home = read(record)[1]
    if home.is_dir():  # it was killed
        end_all(home)
        shutil.rmtree(home, ignore_errors=True)
        say("What was left of the cluster has ended.")
    record.truncate(0)
    return 0


def lock(record: TextIO) -> bool:
    """Lock the record, and put this process on it. Return whether no other has locked it."""
    try:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    write(record, read(record)[1])
    return True


def read(record: TextIO) -> tuple[int, Path]:
    """Return the process that has locked the record, and the folder of the cluster, if there is one."""
    record.seek(0)
    process, home, *_ = [*record.read().splitlines(), "0", "/nowhere"]
    return int(process), Path(home)


def write(record: TextIO, home: Path) -> None:
    """Put this process, and the cluster's folder, on record."""
    record.truncate(0)
    record.write(f"{os.getpid()}\n{home}\n")
    record.flush()


if __name__ == "__main__":
    sys.exit(main())
