"""Where a secret could be after an Airflow has run: its files, its database, its API. All of it, as bytes."""

from __future__ import annotations

import json
import urllib.error
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import psycopg2
import yaml

from tests.integration.services import API

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.services import Services

Left = tuple[str, bytes]
"""What was found: where, and the whole of it."""

OWN = {("connection", "password"), ("connection", "extra")}
"""
The columns, by table, in which a connection keeps its secrets. Airflow encrypts them, and also the arguments
of triggers and the values of variables. The search decrypts all of these but the first.
"""


def files(services: Services) -> Iterator[Left]:
    """Yield the logs: those of tasks, triggers and DAG files, and what each service printed."""
    for path in (*services.home.glob("*.log"), *services.home.glob("logs/**/*")):
        if path.is_file():
            yield str(path.relative_to(services.home)), path.read_bytes()


def statements(services: Services) -> Left:
    """Return all that was ever written to the database, as it was written."""
    return "all", services.database_log.read_bytes()


def tables(services: Services) -> Iterator[Left]:
    """Yield each value of each table."""
    with psycopg2.connect(services.database_url.replace("+psycopg2", "", 1)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{table}"')
            names = [column.name for column in cursor.description or ()]
            for row in cursor:
                for name, value in zip(names, row, strict=True):
                    yield f"{table}.{name}", as_bytes(value)
    connection.close()


def as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


class Crawler:
    """Calls everything of Airflow's API that can be read, for each DAG, run, task, try, XCom and so on."""

    def __init__(self, services: Services, runs: list[str]) -> None:
        self._services = services
        self._runs = [tuple(map(unquote, run.split("/")[2::2])) for run in runs]
        public = json.loads(services.read("/openapi.json", "application/json"))["paths"]
        of_the_ui = resources.files("airflow.api_fastapi.core_api.openapi") / "_private_ui.yaml"
        private = yaml.safe_load(of_the_ui.read_text(encoding="utf-8"))["paths"]
        self._paths = [
            path
            for path, methods in {**public, **private}.items()
            if "get" in methods and not path.endswith("/logout")
        ]

    def answers(self) -> Iterator[Left]:
        """Yield each answer."""
        for path in self._paths:
            for filled in self._filled(path):
                yield from self._answer(filled)

    def _answer(self, path: str) -> Iterator[Left]:
        for accept in ("application/json", "text/plain") if "/logs/" in path else ("application/json",):
            try:
                found = self._services.read(f"{path}?limit=1000&full_content=true", accept)
            except urllib.error.HTTPError as error:
                found = error.read()
            yield f"GET {path.removeprefix(API)}", found

    def _filled(self, path: str) -> Iterator[str]:
        """Yield the path with values in place of its parameters."""
        names = {name.partition("}")[0] for name in path.split("{")[1:]}
        for values in self._values(names):
            filled = path
            for name, value in values.items():
                filled = filled.replace(f"{{{name}}}", quote(str(value), safe=""))
            if "{" not in filled:
                yield filled

    def _values(self, names: set[str]) -> Iterator[dict[str, Any]]:
        if not names:
            yield {}
        elif names <= {"dag_id"}:
            yield from ({"dag_id": dag_id} for dag_id in self._ids("/dags", "dags", "dag_id"))
        elif "dag_id" in names:
            for dag_id, run_id in self._runs:
                yield from self._of_run(
                    {"dag_id": dag_id, "dag_run_id": run_id, "run_id": run_id, "map_index": -1}, names
                )
        else:
            yield from self._of_list(names)

    def _of_run(self, run: dict[str, Any], names: set[str]) -> Iterator[dict[str, Any]]:
        if "task_id" not in names:
            yield run
            return
        path = f"/dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances"
        for task in self._services.get(f"{path}?limit=1000")["task_instances"]:
            of_task = {**run, "task_id": task["task_id"], "try_number": 1, "task_try_number": 1}
            if "xcom_key" not in names:
                yield of_task
                continue
            entries = self._services.get(f"{path}/{task['task_id']}/xcomEntries?limit=1000")["xcom_entries"]
            yield from ({**of_task, "xcom_key": entry["key"]} for entry in entries)

    LISTS = (
        ("connection_id", "/connections", "connections", "connection_id"),
        ("variable_key", "/variables", "variables", "key"),
        ("pool_name", "/pools", "pools", "name"),
        ("asset_id", "/assets", "assets", "id"),
        ("event_log_id", "/eventLogs", "event_logs", "event_log_id"),
        ("import_error_id", "/importErrors", "import_errors", "import_error_id"),
    )

    def _of_list(self, names: set[str]) -> Iterator[dict[str, Any]]:
        for name, path, rows, key in self.LISTS:
            if names == {name}:
                yield from ({name: value} for value in self._ids(path, rows, key))

    def _ids(self, path: str, rows: str, key: str) -> list[Any]:
        return [row[key] for row in self._services.get(f"{path}?limit=1000")[rows]]
