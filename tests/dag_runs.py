"""Run a DAG to its end with ``dag.test()``: real task runner, real database, triggers in line."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import import_module, metadata
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pendulum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AIRFLOW = tuple(map(int, metadata.version("apache-airflow").split(".")[:2]))
AIRFLOW_3 = AIRFLOW >= (3, 0)
"""The other one is 2.11."""
DAGBAG = "airflow.dag_processing.dagbag" if AIRFLOW >= (3, 2) else "airflow.models.dagbag"

_numbers = count()


@cache
def _api_server() -> Any:
    """Make the API that tasks talk to, once: before Airflow 3.3 each start of a task makes one, in 3 s."""
    from airflow.sdk.execution_time import supervisor

    return supervisor.in_process_api_server()


@cache
def _store_bundles() -> None:
    """Store the names of Airflow's DAG bundles, as its DAG processor does at its start."""
    from airflow import settings
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    with settings.Session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
        session.commit()


@contextmanager
def _contained_timeouts() -> Iterator[None]:
    """Let 2.11's ``dag.test()`` outlive an ``AirflowTaskTimeout``, a BaseException, as its worker does."""
    from airflow.exceptions import AirflowTaskTimeout
    from airflow.models import dag

    def run_task(**arguments: Any) -> None:
        with suppress(AirflowTaskTimeout):  # by now the task has failed, or is up for retry
            _run_task(**arguments)

    _run_task = dag._run_task
    with patch.object(dag, "_run_task", run_task):
        yield


def _telling(module: str) -> Callable[..., None]:
    """Have callbacks be told the error, as workers do, and since Airflow 3.3 ``dag.test()``."""
    finalize = import_module(module).finalize

    def told(ti: Any, state: Any, context: Any, log: Any, error: BaseException | None = None) -> None:
        context["exception"] = error
        finalize(ti, state, context, log, error)

    return told


def _dated() -> Callable[..., Any]:
    """Have Airflow 3.0's ``dag.test()`` tell a sensor a date, as workers do, where it tells a text."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    first = RuntimeTaskInstance.get_first_reschedule_date

    def get_first_reschedule_date(self: Any, context: Any) -> Any:
        told = first(self, context)
        return datetime.fromisoformat(told) if isinstance(told, str) else told

    return get_first_reschedule_date


@contextmanager
def _hasty() -> Iterator[None]:
    """
    Have ``dag.test()`` look more often than each second whether a task may run by now.

    It does not look through the DAGs folder either, in which there is nothing: that takes as
    long as a task.
    """

    def sleep_less(seconds: float) -> None:
        in_the_loop = sys._getframe(1).f_code.co_name == "test"
        sleep(0.03 if in_the_loop else seconds)

    sleep = time.sleep
    with ExitStack() as stack:
        stack.enter_context(patch.object(time, "sleep", sleep_less))
        if (3, 0) <= AIRFLOW < (3, 3):
            api, at = _api_server(), "airflow.sdk.execution_time"
            stack.enter_context(patch(f"{at}.supervisor.in_process_api_server", lambda: api))
            stack.enter_context(patch(f"{at}.task_runner.finalize", _telling(f"{at}.task_runner")))
        if AIRFLOW == (3, 0):
            where = f"{at}.task_runner.RuntimeTaskInstance.get_first_reschedule_date"
            stack.enter_context(patch(where, _dated()))
        if AIRFLOW >= (3, 1):
            stack.enter_context(patch(f"{DAGBAG}.sync_bag_to_db"))
        yield


@dataclass
class Outcome:
    """What came of a run of one task: mapped tasks have an outcome for each index."""

    state: str
    xcoms: dict[str, Any]
    errors: list[BaseException] = field(default_factory=list)
    shown_as: str | None = None

    @property
    def error(self) -> BaseException | None:
        return self.errors[-1] if self.errors else None


class DagRunner:
    """
    Runs DAGs.

    :ivar log: Airflow's and our own log of the last run.
    :ivar state: what became of the last run as a whole.
    :ivar dated: whether runs have a logical date. In Airflow 3 some have none, and no ``ds`` either.
    """

    def __init__(self, read_log: Callable[[], str]) -> None:
        self._read_log = read_log
        self.log = ""
        self.state = ""
        self.dated = True

    def run(
        self,
        build: Callable[[], Any],
        *,
        conf: dict[str, Any] | None = None,
        default_args: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """
        Run the DAG whose tasks ``build`` makes.

        :param arguments: more of the DAG.
        :returns: the outcome of each task, by task id; of a mapped one, by index.
        """
        from airflow.providers.common.compat.sdk import DAG

        errors: dict[tuple[str, int], list[BaseException]] = {}

        def remember(context: Any) -> None:
            ti = context["ti"]
            # Airflow 2.11 does not tell why a task was skipped.
            errors.setdefault((ti.task_id, ti.map_index), []).append(context.get("exception"))

        dag = DAG(
            f"dag_{next(_numbers)}",
            schedule=None,
            start_date=pendulum.datetime(2024, 1, 1),
            default_args={
                "on_failure_callback": remember,
                "on_retry_callback": remember,
                "on_skipped_callback": remember,
                **(default_args or {}),
            },
            **arguments,
        )
        with dag:
            build()
        return self.run_dag(dag, conf=conf, errors=errors)

    def run_dag(
        self,
        dag: Any,
        *,
        conf: dict[str, Any] | None = None,
        errors: dict[tuple[str, int], list[BaseException]] | None = None,
    ) -> dict[str, Any]:
        """Run a DAG."""
        if AIRFLOW >= (3, 1):
            self._serialize(dag)
        elif AIRFLOW_3 and any(task.outlets for task in dag.tasks):  # its assets have to be known
            self._store_assets(dag)
        self._read_log()
        with _hasty(), nullcontext() if AIRFLOW_3 else _contained_timeouts():
            run = dag.test(run_conf=conf, **({"logical_date": None} if AIRFLOW_3 and not self.dated else {}))
        self.log = self._read_log()
        self.state = str(run.state)
        outcomes: dict[str, Any] = {}
        for ti in run.get_task_instances():
            found = (errors or {}).get((ti.task_id, ti.map_index), [])
            outcome = Outcome(str(ti.state), self._xcoms(run, ti), found, ti.rendered_map_index)
            if ti.map_index < 0:
                outcomes[ti.task_id] = outcome
            else:
                outcomes.setdefault(ti.task_id, {})[ti.map_index] = outcome
        return outcomes

    @staticmethod
    def _serialize(dag: Any) -> None:
        """Store the DAG as the DAG processor would: it only knows DAGs from files."""
        from airflow import settings

        _store_bundles()
        dagbag = import_module(DAGBAG)
        bag = dagbag.DagBag(settings.DAGS_FOLDER)
        bag.dags[dag.dag_id] = dag
        dag.relative_fileloc = f"{dag.dag_id}.py"
        dagbag.sync_bag_to_db(bag, "dags-folder", None)

    @staticmethod
    def _store_assets(dag: Any) -> None:
        """Store the DAG's assets, which Airflow 3.0's ``dag.test()`` wants to know, but does not store."""
        serialized = import_module("airflow.serialization.serialized_objects")
        dag.relative_fileloc = f"{dag.dag_id}.py"
        read = serialized.LazyDeserializedDAG(data=serialized.SerializedDAG.to_dict(dag))
        _store_bundles()
        import_module("airflow.models.dag").DAG.bulk_write_to_db("dags-folder", None, [read])

    @staticmethod
    def _xcoms(run: Any, ti: Any) -> dict[str, Any]:
        from airflow.models import xcom
        from airflow.utils.session import create_session

        with create_session() as session:
            where = {"task_ids": ti.task_id, "map_indexes": ti.map_index, "dag_ids": run.dag_id}
            if AIRFLOW_3:
                rows = session.scalars(xcom.XComModel.get_many(run_id=run.run_id, **where))
                return {row.key: xcom.XComModel.deserialize_value(row) for row in rows}
            found = xcom.XCom.get_many(run_id=run.run_id, session=session, **where)
            return {row.key: row.value for row in found}
