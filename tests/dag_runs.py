"""Run a DAG to its end with ``dag.test()``: real task runner, real database, triggers in line."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import pendulum

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = count()


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
    """

    def __init__(self, read_log: Callable[[], str]) -> None:
        self._read_log = read_log
        self.log = ""
        self.state = ""

    def run(self, build: Callable[[], Any], *, conf: dict[str, Any] | None = None) -> dict[str, Any]:
        """
        Run the DAG whose tasks ``build`` makes.

        :returns: the outcome of each task, by task id; of a mapped one, by index.
        """
        from airflow.sdk import DAG

        errors: dict[tuple[str, int], list[BaseException]] = {}

        def remember(context: Any) -> None:
            ti = context["ti"]
            errors.setdefault((ti.task_id, ti.map_index), []).append(context["exception"])

        dag = DAG(
            f"dag_{next(_numbers)}",
            schedule=None,
            start_date=pendulum.datetime(2024, 1, 1),
            default_args={
                "on_failure_callback": remember,
                "on_retry_callback": remember,
                "on_skipped_callback": remember,
            },
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
        self._serialize(dag)
        self._read_log()
        run = dag.test(run_conf=conf)
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
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        with create_session() as session:
            query = XComModel.get_many(
                run_id=run.run_id, dag_ids=run.dag_id, task_ids=ti.task_id, map_indexes=ti.map_index
            )
            return {row.key: XComModel.deserialize_value(row) for row in session.execute(query).scalars()}
