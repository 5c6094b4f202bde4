"""What a gate that resumes needs of the processor, beside a sensor that trusts its event."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi

from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from benchmarks.downstream import PEER, PRELOADING
from benchmarks.table import Result
from tests.faults.tls import TlsServer

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
ROUNDS = 15
UNMEASURED = 2
"""Rounds in which bytecode is compiled."""

CONN_ID = "qianfan_many"


class Worker:
    """
    A worker with an Airflow home of its own.

    :param bundle: the CA bundle of all connections.
    """

    def __init__(self, home: Path, bundle: Path) -> None:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "BENCH_HOME": str(home),
            "BENCH_INTERVAL": "5",
            "BENCH_LOG": "task.log",
            "BENCH_WAITS": "1",
            "PYTHONPATH": str(HERE.parent),
            "PYTHONWARNINGS": "ignore",
            "REQUESTS_CA_BUNDLE": str(bundle),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.resume_worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def resume(self, dag_id: str, event: Mapping[str, Any], connection: Mapping[str, Any]) -> float:
        """Resume a task. Return the milliseconds of processor that it took."""
        wanted = {"dag_id": dag_id, "event": event, "connection": connection}
        print(json.dumps(wanted), file=self._process.stdin, flush=True)
        for line in self._process.stdout or ():
            if line.startswith("DONE "):
                done = json.loads(line.removeprefix("DONE "))
                if "success" not in done["asked"]:
                    raise SystemExit(f"the task did not succeed: {done}")
                return float(done["child"] + done["self"])
        raise SystemExit("the worker has ended")

    def close(self) -> None:
        self._process.communicate()


def run() -> list[Result]:
    """Resume tasks of both kinds in turn, in Airflow as it comes, and in one that imports before it forks."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmulatorServer() as emulator,
        TlsServer(emulator.url, Path(folder)) as tls,
    ):
        bundle = Path(folder) / "bundle.pem"  # as long as the one that most use
        bundle.write_text(Path(certifi.where()).read_text() + tls.certificate.read_text())
        homes = [Path(folder) / name for name in ("usual", "preloading")]
        (homes[0]).mkdir()
        (homes[1] / "config").mkdir(parents=True)
        shutil.copy(PRELOADING, homes[1] / "config")
        emulator.world.tasks.add(TaskSpec("amv-source0", status="succeeded", model_id="amv-made"))
        now = time.time()
        event = {
            "version": 1,
            "why": "it may have come to an end",
            "qianfan_conn_id": CONN_ID,
            "failed": None,
            "target": Selector("amv-source0").to_json(),
            "memory": Memory(started=now, deadline=now + 86400).to_json(),
        }
        account = emulator.world.accounts[0]
        connection = {
            "conn_id": CONN_ID,
            "conn_type": "qianfan",
            "host": tls.url,
            "login": account.access_key_id,
            "password": account.secret_access_key,
            **dict.fromkeys(("description", "schema", "port", "extra")),
        }
        workers = {home.name: Worker(home, bundle) for home in homes}
        took: dict[tuple[str, str], list[float]] = {}
        for number in range(UNMEASURED + ROUNDS):
            for name, worker in workers.items():
                for dag_id in ("many_floor", "many_ours"):
                    used = worker.resume(dag_id, event, connection)
                    if number >= UNMEASURED:
                        took.setdefault((name, dag_id), []).append(used)
        for worker in workers.values():
            worker.close()
    return [
        Result(
            "processor of a task that resumes",
            case,
            min(took[name, "many_ours"]),
            PEER,
            min(took[name, "many_floor"]),
            "ms",
            note=f"least of {ROUNDS}: what else runs here makes it more, never less",
        )
        for name, case in (
            ("usual", "one look over TLS"),
            ("preloading", "one look over TLS; `airflow_local_settings.py` preloads"),
        )
    ]
