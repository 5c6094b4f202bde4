"""A whole cluster on this machine: Airflow's services with Celery, PostgreSQL and Redis."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.integration.services import Services, wait_until

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
            *("--appendonly", "yes", "--logfile", str(folder / "redis.log")),
        ]

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
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, start_new_session=True)

        def answers() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            return False

        wait_until(answers, 30)

    def stop(self) -> None:
        """End it as a service manager does."""
        self._process.terminate()
        self._process.wait(30)


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
            wait_until(lambda: is_complete(services, redis))
            yield services, redis


def is_complete(services: Services, redis: Redis) -> bool:
    """Tell whether both schedulers, triggerers and workers are alive."""
    from celery import Celery

    try:
        jobs = services.get("/jobs?is_alive=true&limit=100")["jobs"]
    except OSError:  # the API server, or PostgreSQL behind it, is not back yet
        return False
    kinds = [job["job_type"] for job in jobs if job["state"] == "running"]
    if kinds.count("SchedulerJob") < 2 or kinds.count("TriggererJob") < 2:
        return False
    # A connection of its own: a kept one may be from before a restart of Redis.
    with Celery(broker=redis.url) as celery, celery.connection() as connection:
        return len(celery.control.ping(timeout=1, connection=connection)) >= len(QUEUES)


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
