"""A real Airflow for the benchmarks. It can defer tasks without a worker for each."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import psycopg2
from psycopg2.extras import execute_values

from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger
from tests.integration.services import Services

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.triggers.base import BaseTrigger

HERE = Path(__file__).parent


@contextmanager
def airflow(dag: str, components: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[Services]:
    """Start these components, with one DAG file of this folder."""
    with tempfile.TemporaryDirectory(prefix="qianfan-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "dags").mkdir()
        shutil.copy(HERE / dag, home / "dags")
        more = {"BENCH_HOME": folder, "PYTHONPATH": str(HERE.parent), **environment}
        with Services(home, more, {name: (name,) for name in components}) as services:
            yield services


def our_trigger(conn_id: str, source_model_id: str, interval: float) -> BaseTrigger:
    """Make the trigger of a sensor that has just looked, and will wait for up to an hour."""
    now = time.time()
    return QianfanModelCompTaskTrigger(
        qianfan_conn_id=conn_id,
        target=Selector(source_model_id=source_model_id).to_json(),
        memory=Memory(started=now, deadline=now + 3600).to_json(),
        poke_interval=interval,
    )


class Database:
    """Facts that Airflow's API does not tell, or not fast enough."""

    def __init__(self, services: Services) -> None:
        self._connection = psycopg2.connect(services.database_url.replace("+psycopg2", ""))
        self._connection.autocommit = True

    def defer(self, triggers: Mapping[tuple[str, str], BaseTrigger]) -> float:
        """
        Defer these tasks of these runs by writing what workers would write. Return when that was.

        Workers start about five tasks a second here. A thousand sensors would take minutes to defer.
        """
        now = datetime.now(UTC)
        rows = []
        for (run, task_id), trigger in triggers.items():
            path, arguments = trigger.serialize()
            rows.append((_run_id(run), task_id, path, json.dumps(arguments)))
        with self._connection.cursor() as cursor:
            cursor.execute("BEGIN")
            made = execute_values(
                cursor,
                "INSERT INTO trigger (classpath, kwargs, created_date) VALUES %s RETURNING id",
                [(path, arguments, now) for _, _, path, arguments in rows],
                page_size=len(rows),
                fetch=True,
            )
            execute_values(
                cursor,
                "UPDATE task_instance AS ti SET state = 'deferred', trigger_id = made.id,"
                " start_date = made.now, next_method = 'execute_complete', next_kwargs = '{}', try_number = 1"
                " FROM (VALUES %s) AS made (id, task_id, now, run_id)"
                " WHERE ti.task_id = made.task_id AND ti.run_id = made.run_id",
                [(made[number][0], row[1], now, row[0]) for number, row in enumerate(rows)],
                page_size=len(rows),
            )
            cursor.execute("COMMIT")
        return time.time()

    def deferred(self) -> int:
        """Count the deferred tasks."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM task_instance WHERE state = 'deferred'")
            return int(cursor.fetchone()[0])

    def assigned(self) -> int:
        """Count the triggers that a triggerer has."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM trigger WHERE triggerer_id IS NOT NULL")
            return int(cursor.fetchone()[0])


def _run_id(run: str) -> str:
    return unquote(run.rpartition("/")[2])


def started(home: Path, runs: list[str]) -> list[float]:
    """Read from the triggers' logs when each trigger of these runs began."""
    times = []
    folders = {f"run_id={_run_id(run)}" for run in runs}
    for parent, _, files in os.walk(home / "logs"):
        if folders.isdisjoint(Path(parent).parts):
            continue
        for name in files:
            if ".trigger." in name:
                for line in (Path(parent) / name).read_text().splitlines():
                    entry: dict[str, Any] = json.loads(line)
                    if "starting" in str(entry.get("event")):
                        times.append(datetime.fromisoformat(entry["timestamp"]).timestamp())
                        break
    return times


def until(condition: Any, timeout: float, what: str, every: float = 0.1) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {timeout:.0f} s")
        time.sleep(every)
