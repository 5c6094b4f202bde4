"""A whole cluster on this machine: Airflow's services with Celery, PostgreSQL and Redis."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from tests.integration.services import START_TIMEOUT, Services, tail, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

QUEUES = ("default", "second")
"""The queue of each worker. Airflow sends a task without a queue to the first."""

SLOTS = 4
"""Tasks that a worker runs at a time."""


def _components() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {"api-server": ("api-server",), "dag-processor": ("dag-processor",)}
    for number, queue in enumerate(QUEUES, 1):
        for name in ("scheduler", "triggerer"):
            found[f"{name}-{number}"] = (name, "--skip-serve-logs")
        found[f"worker-{number}"] = (
            *("celery", "worker", "--queues", queue, "--concurrency", str(SLOTS)),
            *("--celery-hostname", f"worker-{number}@%h", "--pid", f"worker-{number}.pid"),
            "--skip-serve-logs",
        )
    return found


COMPONENTS = _components()


class Redis:
    """A Redis on a loopback port, as a context manager. It keeps its queues when it is restarted."""

    def __init__(self, folder: Path) -> None:
        if (server := shutil.which("redis-server")) is None:
            raise RuntimeError("There is no redis-server. As root on Debian, `make redis` installs it.")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            *(server, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder)),
            *("--appendonly", "yes"),
        ]
        self.log = folder / "redis.log"

    def __enter__(self) -> Redis:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it. Return once it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.answers() or self._process.poll() is not None, 30)
        if not self.answers():
            raise RuntimeError(f"Redis did not start.{tail(self.log)}")

    def answers(self) -> bool:
        """Tell whether it takes a connection."""
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def stop(self) -> None:
        """End it as a service manager does."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def cluster(home: Path, environment: Mapping[str, str], port: int = 0) -> Iterator[tuple[Services, Redis]]:
    """
    Start the services, and wait until all of them are healthy.

    :param home: Airflow's folder; its DAGs are in ``dags``.
    :param environment: more environment variables, connections among them.
    :param port: the API server's port. Default: any free one.
    """
    (home / "redis").mkdir()
    with Redis(home / "redis") as redis:
        settings = {
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL": "True",
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__FERNET_KEY": _fernet_key(),
            "AIRFLOW__OPERATORS__DEFAULT_QUEUE": QUEUES[0],
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
            **environment,
        }
        services = Services(
            home,
            settings,
            COMPONENTS,
            database="max_connections = 300\nfsync = off\n",
            port=port,
        )
        with services:
            deadline = time.monotonic() + START_TIMEOUT
            while parts := missing(services, redis):
                if (ended := services.ended()) or time.monotonic() > deadline:
                    raise services.failure(*(ended or parts))
                time.sleep(0.5)
            yield services, redis


def is_complete(services: Services, redis: Redis) -> bool:
    """Tell whether both schedulers, triggerers and workers are alive."""
    return not missing(services, redis)


def missing(services: Services, redis: Redis) -> list[str]:
    """Return the components that are not alive. Of schedulers and triggerers, Airflow does not say which."""
    try:
        jobs = services.get("/jobs?is_alive=true&limit=100")["jobs"]
    except OSError:  # the API server, or PostgreSQL behind it, is not back yet
        return ["api-server"]
    kinds = [job["job_type"] for job in jobs if job["state"] == "running"]
    for kind, job in (("scheduler", "SchedulerJob"), ("triggerer", "TriggererJob")):
        names = [name for name, (component, *_) in COMPONENTS.items() if component == kind]
        if kinds.count(job) < len(names):
            return names
    there = _workers(redis)
    return [name for name in COMPONENTS if name.startswith("worker") and name not in there]


def _workers(redis: Redis) -> set[str]:
    """Return the workers that answer when they are asked through this Redis."""
    from celery import Celery
    from kombu.exceptions import OperationalError

    with (
        contextlib.suppress(OperationalError),
        Celery(broker=redis.url, set_as_current=False) as celery,
        celery.connection() as connection,  # one of its own: a kept one may be from before a restart of Redis
    ):
        answers = celery.control.ping(timeout=1, connection=connection)
        return {worker.partition("@")[0] for answer in answers for worker in answer}
    return set()


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
