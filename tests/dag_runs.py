"""Run a DAG to its end with ``dag.test()``: real task runner, real database, triggers in line."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import metadata
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pendulum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AIRFLOW_3 = metadata.version("apache-airflow").startswith("3.")
"""The other one is 2.11."""

_numbers = count()


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
        if AIRFLOW_3:
            self._serialize(dag)
        self._read_log()
        with nullcontext() if AIRFLOW_3 else _contained_timeouts():
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
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        with settings.Session() as session:
            DagBundlesManager().sync_bundles_to_db(session=session)
            session.commit()
        bag = DagBag(settings.DAGS_FOLDER)
        bag.dags[dag.dag_id] = dag
        dag.relative_fileloc = f"{dag.dag_id}.py"
        sync_bag_to_db(bag, "dags-folder", None)

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
