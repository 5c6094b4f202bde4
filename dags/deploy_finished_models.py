"""
### Deploy each compressed model, whoever started the compression

The end of a compression starts this DAG: somebody created it in the console, with an SDK, or in another DAG.
Nothing waits in the meantime but the triggerer, which asks the platform once a minute.

All models that finished since the last look share a run. Each has its own mapped deployment. If one fails,
the others go on. A model is handed to one run only, although its end may be reported more than once.

Needs Airflow 3.0, and a connection `qianfan_default` of type *Baidu AI Cloud Qianfan*.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Asset, AssetWatcher, dag, task, task_group

from airflow_provider_qianfan.assets.finished import FinishedModelCompTask, finished_tasks
from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger

log = logging.getLogger(__name__)

FINISHED = Asset(
    "finished_models", watchers=[AssetWatcher(name="qianfan", trigger=QianfanModelCompTaskEventTrigger())]
)
TAKEN = Asset("finished_models_taken")


@dag(
    schedule=[FINISHED],
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["qianfan", "model compression", "event"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
)
def deploy_finished_models() -> None:
    # One at a time, and noted in TAKEN: so no two runs get the same model.
    @task(inlets=[FINISHED, TAKEN], outlets=[TAKEN], max_active_tis_per_dag=1)
    def take(**context: Any) -> list[FinishedModelCompTask]:
        return finished_tasks(context, taken=TAKEN)

    # Mapped together, as a group: so no model waits for another one's deployment.
    @task_group
    def model(finished: FinishedModelCompTask) -> None:
        @task(map_index_template="{{ ti.task.op_args[0].model_id }}", max_active_tis_per_dag=2)
        def deploy(finished: FinishedModelCompTask) -> str | None:
            """Stands for your deployment; it gets what the watcher reported of the compression."""
            log.info("Deploying %s, compressed from %s", finished["model_id"], finished["source_model_id"])
            return finished["model_id"]

        @task(map_index_template="{{ ti.task.op_args[0] }}")
        def check(model_id: str) -> None:
            """Stands for your check of the deployed model: raise if it misbehaves."""
            log.info("Checking %s", model_id)

        deployed: Any = deploy(finished)
        check(deployed)

    model.expand(finished=take())


DAG = deploy_finished_models()
