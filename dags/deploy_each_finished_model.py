"""
### Deploy each compressed model in a run of its own, whoever started the compression

The end of a compression starts the DAG `route_finished_models`. It starts `deploy_each_finished_model` once
for each produced model. The model version is the run's partition key, which the UI shows. The run gets all
that the watcher reported of the compression.

Needs Airflow 3.3, and a connection `qianfan_default` of type *Baidu AI Cloud Qianfan* whose key may update
services.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Asset, AssetWatcher, Param, PartitionedAssetTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_qianfan.assets.finished import FinishedModelCompTask, finished_tasks
from airflow_provider_qianfan.operators.service import QianfanModifyServiceOperator
from airflow_provider_qianfan.sensors.model import QianfanModelSensor
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger

FINISHED = Asset(
    "each_finished_model", watchers=[AssetWatcher(name="qianfan", trigger=QianfanModelCompTaskEventTrigger())]
)
TAKEN = Asset("each_finished_model_taken")
MODEL = Asset("finished_model")
COMMON: dict[str, Any] = {
    "start_date": pendulum.datetime(2024, 1, 1, tz="UTC"),
    "catchup": False,
    "doc_md": __doc__,
    "tags": ["qianfan", "model compression", "event"],
    "default_args": {"retries": 2, "retry_delay": timedelta(minutes=1)},
}


@dag(schedule=[FINISHED], **COMMON)
def route_finished_models() -> None:
    # One at a time, and noted in TAKEN: so no two runs get the same model.
    @task(inlets=[FINISHED, TAKEN], outlets=[TAKEN], max_active_tis_per_dag=1)
    def take(**context: Any) -> list[FinishedModelCompTask]:
        return finished_tasks(context, taken=TAKEN)

    # One task for each model, since all partitions of a task share one extra.
    @task(outlets=[MODEL], map_index_template="{{ ti.task.op_kwargs.finished.model_id }}")
    def route(finished: FinishedModelCompTask, **context: Any) -> None:
        event = context["outlet_events"][MODEL]
        event.add_partitions(finished["model_id"])
        event.extra = finished

    route.expand(finished=take())


@dag(
    schedule=PartitionedAssetTimetable(assets=MODEL),
    max_active_runs=1,  # two runs would update the same service at the same time
    params={
        "service_id": Param(
            "svco-demochat0001",
            type="string",
            pattern="^svco-",
            title="Service",
            description="The service to update to the compressed version, svco-….",
        ),
    },
    **COMMON,
)
def deploy_each_finished_model() -> None:
    @task(multiple_outputs=True)
    def compression(**context: Any) -> dict[str, Any]:
        """Return what the watcher reported."""
        for events in context["triggering_asset_events"].values():
            return dict(events[-1].extra)
        raise AirflowSkipException("No finished compression started this run.")

    finished: Any = compression()
    ready = QianfanModelSensor(
        task_id="wait_for_model",
        model_id=finished["model_id"],
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=2),
    )
    QianfanModifyServiceOperator(
        task_id="deploy",
        service_id="{{ params.service_id }}",
        model_id=ready.output,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=2),
    )


ROUTER = route_finished_models()
DAG = deploy_each_finished_model()
