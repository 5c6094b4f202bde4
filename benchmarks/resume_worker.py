"""
A worker of ``resume``: it carries out tasks as LocalExecutor and Celery do, with Airflow's own supervisor.

It has imported what such a worker has. For each task it forks a process, which reads the DAG file and runs
the task. A stand-in inside the worker answers for Airflow's API.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from typing import Any
from uuid import uuid4

import httpx
import structlog
from airflow.executors import local_executor  # noqa: F401  what such a worker has loaded
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import BundleInfo, TaskInstance
from airflow.sdk.execution_time.supervisor import supervise_task

BEGAN = "2026-01-01T00:00:00Z"


class _Api:
    """What Airflow's API says to one resumed task, and what the task has told it."""

    def __init__(self, event: dict[str, Any], connection: dict[str, Any]) -> None:
        self._event = event
        self._connection = connection
        self.asked: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(f"{request.method} {path}")
        if path.endswith("/run"):
            return httpx.Response(200, json=self._context())
        if "/connections/" in path:
            return httpx.Response(200, json=self._connection)
        if path.endswith("/state"):
            self.asked.append(json.loads(request.content)["state"])
        return httpx.Response(200, json={})

    def _context(self) -> dict[str, Any]:
        run = {"dag_id": "many_ours", "run_id": "run", "run_type": "manual", "state": "running"}
        dates = ("logical_date", "data_interval_start", "data_interval_end", "run_after", "start_date")
        return {
            "dag_run": {
                **run,
                **dict.fromkeys(dates, BEGAN),
                "end_date": None,
                "partition_key": None,
                "consumed_asset_events": [],
            },
            "max_tries": 0,
            "start_date": BEGAN,
            "next_method": "execute_complete",
            "next_kwargs": {"event": self._event},
        }


def work(dag_id: str, event: dict[str, Any], connection: dict[str, Any]) -> dict[str, Any]:
    """Resume a task. Return the milliseconds of processor that its process and this one took."""
    api = _Api(event, connection)
    client = Client(base_url="http://airflow.invalid", token="", transport=httpx.MockTransport(api.answer))
    task = TaskInstance(
        id=uuid4(),
        task_id="gate_0",
        dag_id=dag_id,
        run_id="run",
        try_number=1,
        dag_version_id=uuid4(),
        context_carrier={},
    )
    before = _used()
    code = supervise_task(
        ti=task,
        bundle_info=BundleInfo(name="dags-folder"),
        dag_rel_path="downstream_dag.py",
        token="",
        client=client,
        log_path=os.environ["BENCH_LOG"],
    )
    took = [after - used for after, used in zip(_used(), before, strict=True)]
    return {"child": took[0] * 1000, "self": took[1] * 1000, "code": code, "asked": api.asked}


def _used() -> tuple[float, float]:
    return tuple(  # type: ignore[return-value]
        sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)
    )


def main() -> None:
    """Carry out a task for each line that comes in."""
    logging.getLogger().setLevel(logging.ERROR)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for line in sys.stdin:
        print("DONE " + json.dumps(work(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
