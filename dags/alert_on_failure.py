"""
### Alert if a compressed model is not going to be deployed, and say why

If the gate opens, the model is deployed. If the gate fails (the compression failed, the time is up, the
platform refuses the key), an alert says why, and nothing is deployed. The run then ends as **failed**,
although the alert was sent.

Trigger it with the source model's id. Needs a connection `qianfan_default` of type *Baidu AI Cloud Qianfan*.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor


@dag(
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["qianfan", "model compression"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "source_model_id": Param(
            "amv-demofail0001",
            type="string",
            pattern="^amv-",
            title="Source model",
            description="The model version that is being compressed.",
        ),
    },
)
def alert_on_failure() -> None:
    # Without soft_fail: a gate that is skipped has not failed, and would alert nobody.
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
        print(f"Deploying {model_id}")
        return model_id

    @task(trigger_rule="one_failed")
    def alert(**context: Any) -> str:
        """Stands for your mail, message or page."""
        seen = context["ti"].xcom_pull(task_ids="wait_for_compression", key="model_comp_task")
        if seen is None:  # no verdict on one task: the time is up, there are several, the key is refused, …
            why = "The gate failed without a verdict on a compression task"
        else:
            why = f"Compression task {seen['id']} is {seen['status']}"
            why += f": {seen['failedReason']}" if seen.get("failedReason") else ""
        text = (
            f"{context['params']['source_model_id']} is not deployed. {why}."
            f" See the log of wait_for_compression in run {context['run_id']}."
        )
        print(text)
        return text

    # By its key: without a model nothing is deployed, even if somebody marked the gate as successful.
    deploy(compressed.output["modelId"])
    # Beside the deployment, not behind it. Airflow judges a run by its last tasks: as one of them, a
    # deployment that is upstream_failed fails the run. An alert behind it would make the run a success.
    compressed >> alert()


DAG = alert_on_failure()
