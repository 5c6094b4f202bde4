"""
### Deploy a compressed model, if and only if its compression succeeded

The compression task was created elsewhere: in the console, or by another team. This DAG waits for it in a
triggerer, taking no worker slot, and deploys the model that it produced. If the task fails or is stopped,
nothing is deployed.

Trigger it with the source model's id. Needs a connection `qianfan_default` of type *Baidu AI Cloud Qianfan*.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["qianfan", "model compression"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "source_model_id": Param(
            "amv-demogood0001",
            type="string",
            pattern="^amv-",
            title="Source model",
            description="The version id of the model that is being compressed: amv-…",
        ),
    },
)
def gate_deployment() -> None:
    compressed = QianfanModelCompTaskSensor(
        task_id="wait_for_compression",
        source_model_id="{{ params.source_model_id }}",
        # Without this, a success of last week would open the gate for a compression that has not begun.
        created_after=timedelta(hours=24),
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=12),
    )

    @task
    def deploy(model_id: str) -> str:
        """Stands for your deployment; it gets the model version that the compression produced."""
        log.info("Deploying %s", model_id)
        return model_id

    # By its key: without a model nothing is deployed, even if somebody marked the gate as successful.
    deploy(compressed.output["modelId"])


DAG = gate_deployment()
