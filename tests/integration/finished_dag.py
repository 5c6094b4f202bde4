"""DAGs that finished model compression tasks start. No watcher reports those: the test does."""

from __future__ import annotations

import time
from typing import Any

import pendulum

from tests.dag_runs import AIRFLOW

SLOW = "amv-slow"
"""Its deployment takes long enough for other events to meet a DAG that may start no more runs."""

if AIRFLOW >= (3, 0):
    from airflow.sdk import Asset, dag, task

    from airflow_provider_qianfan.assets.finished import FinishedModelCompTask, finished_tasks

    START = pendulum.datetime(2024, 1, 1)

    def take(finished: Asset, taken: Asset) -> Any:
        """Make the task that takes what finished."""

        @task(inlets=[finished, taken], outlets=[taken], max_active_tis_per_dag=1)
        def take(**context: Any) -> list[FinishedModelCompTask]:
            return finished_tasks(context, taken=taken)

        return take()

    def deploying(dag_id: str, **arguments: Any) -> None:
        """Make a DAG that deploys all that finished in one run."""
        finished = Asset(dag_id)

        @dag(dag_id, schedule=[finished], start_date=START, catchup=False, **arguments)
        def deploying() -> None:
            @task(map_index_template="{{ ti.task.op_kwargs.finished.model_id }}")
            def deploy(finished: FinishedModelCompTask) -> None:
                if finished["model_id"] == SLOW:
                    time.sleep(10)

            deploy.expand(finished=take(finished, Asset(f"{dag_id}_taken")))

        deploying()

    deploying("finished_many")
    deploying("finished_one_run", max_active_runs=1)
    deploying("finished_before", is_paused_upon_creation=True)

if AIRFLOW >= (3, 3):
    from airflow.sdk import PartitionedAssetTimetable

    model = Asset("finished_model")

    @dag("finished_each", schedule=[Asset("finished_each")], start_date=START, catchup=False)
    def router() -> None:
        @task(outlets=[model])
        def route(finished: FinishedModelCompTask, **context: Any) -> None:
            event = context["outlet_events"][model]
            event.add_partitions(finished["model_id"])
            event.extra = finished

        route.expand(finished=take(Asset("finished_each"), Asset("finished_each_taken")))

    @dag("finished_deploy", schedule=PartitionedAssetTimetable(assets=model), start_date=START, catchup=False)
    def deployment() -> None:
        @task
        def deploy(**context: Any) -> Any:
            return [event.extra for events in context["triggering_asset_events"].values() for event in events]

        deploy()

    router()
    deployment()
