"""
### Deploy each compressed model in a run of its own, whoever started the compression

When a compression finishes, the DAG `route_finished_models` starts. For each produced model, it starts one
run of `deploy_each_finished_model`. The partition key of that run is the model version; the UI shows it. The
run gets all that the watcher reported of the compression. If a newer model has been reported meanwhile, the
run deploys nothing. So the service ends with the newest model, in whatever order the runs come.

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

SOURCE_MODEL = "amv-demogood0001"  # one source model for one service

FINISHED = Asset(
    "each_finished_model",
    watchers=[
        AssetWatcher(name="qianfan", trigger=QianfanModelCompTaskEventTrigger(source_model_id=SOURCE_MODEL))
    ],
)
TAKEN = Asset("each_finished_model_taken")
MODEL = Asset("finished_model")
REPORTED = Asset("finished_model_reported")  # starts no DAG, so Airflow can always tell its events
COMMON: dict[str, Any] = {
    "start_date": pendulum.datetime(2024, 1, 1, tz="UTC"),
    "catchup": False,
    "doc_md": __doc__,
    "tags": ["qianfan", "model compression", "event"],
    "default_args": {"retries": 2, "retry_delay": timedelta(minutes=1)},
}


@dag(schedule=[FINISHED], **COMMON)
def route_finished_models() -> None:
    # One at a time, and noted in TAKEN. So no two runs get the same model.
    @task(inlets=[FINISHED, TAKEN], outlets=[TAKEN], max_active_tis_per_dag=1)
    def take(**context: Any) -> list[FinishedModelCompTask]:
        return finished_tasks(context, taken=TAKEN)

    # One task for each model: if a task adds several partitions, they share one extra.
    @task(outlets=[MODEL, REPORTED], map_index_template="{{ ti.task.op_kwargs.finished.model_id }}")
    def route(finished: FinishedModelCompTask, **context: Any) -> None:
        event = context["outlet_events"][MODEL]
        event.add_partitions(finished["model_id"])
        event.extra = finished
        context["outlet_events"][REPORTED].extra = finished

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
    @task(multiple_outputs=True, inlets=[REPORTED])
    def compression(**context: Any) -> dict[str, Any]:
        """Return what the watcher reported, unless it has reported a newer model since."""
        started = [event.extra for events in context["triggering_asset_events"].values() for event in events]
        started = [
            extra for extra in started if "event_id" in (extra or {})
        ]  # not one that you made in the UI
        if not started:
            raise AirflowSkipException("No finished compression started this run.")
        finished = started[-1]
        for event in context["inlet_events"][REPORTED].ascending(False).limit(100):
            other = event.extra or {}
            if (other.get("finish_time") or "") > (finished["finish_time"] or "9999"):
                raise AirflowSkipException(f"{other['model_id']} is newer. It has a run of its own.")
        return dict(finished)

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
