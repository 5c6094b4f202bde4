"""
### Deploy many compressed models, each as soon as its own compression has succeeded

Each source model has a gate and a deployment. If a compression fails, its model is not deployed, and holds
back no other. The run then ends as failed, with the others deployed.

Trigger it with the source models' ids. Needs a connection `qianfan_default` of type *Baidu AI Cloud Qianfan*.

A deferred gate takes no worker slot, and does not count towards `max_active_tasks` or a pool (unless the pool
includes deferred tasks). So all may wait at once: up to 1000 in a triggerer (`[triggerer] capacity`), up to
1024 in a run (`[core] max_map_length`). `max_active_tis_per_dag` limits how many are deployed at once. Do not
set it on the gate, nor in `default_args`: it counts deferred tasks, and models would wait for each other.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task, task_group

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor


@dag(
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    doc_md=__doc__,
    tags=["qianfan", "model compression"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "source_model_ids": Param(
            ["amv-demogood0001", "amv-demofail0001"],
            type="array",
            items={"type": "string", "pattern": "^amv-"},
            minItems=1,
            uniqueItems=True,
            title="Source models",
            description="The model versions that are being compressed, one a line.",
        ),
    },
)
def gate_many_models() -> None:
    @task
    def source_models(**context: Any) -> list[str]:
        return list(context["params"]["source_model_ids"])

    # Mapped together, as a group: if gate and deployment were mapped each for itself, every deployment would
    # wait for all gates, and one failure would block them all.
    @task_group
    def model(source_model_id: str) -> None:
        compressed = QianfanModelCompTaskSensor(
            task_id="wait_for_compression",
            source_model_id=source_model_id,
            # Without this, a success of last week would open the gate for a compression that has not begun.
            created_after=timedelta(hours=24),
            deferrable=True,
            poke_interval=30,
            timeout=timedelta(hours=12),
            map_index_template="{{ ti.task.source_model_id }}",  # which the UI shows instead of 0, 1, 2
        )

        @task(map_index_template="{{ ti.task.op_args[0] }}", max_active_tis_per_dag=2)
        def deploy(source_model_id: str, model_id: str) -> str:
            """Stands for your deployment; it gets the model version that the compression produced."""
            print(f"Deploying {model_id}, compressed from {source_model_id}")
            return model_id

        # By its key: without a model nothing is deployed, even if somebody marked the gate as successful.
        deploy(source_model_id, compressed.output["modelId"])

    model.expand(source_model_id=source_models())


DAG = gate_many_models()
