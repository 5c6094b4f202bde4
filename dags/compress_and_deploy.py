"""
### From "compress" to "deployed", and back if the new model misbehaves

Compress a model version, wait until the produced version is ready, update a service to it, and check the
service. If the check fails, roll the service back. Nothing is compressed twice: a retry adopts what an
earlier try has created. Nothing is deployed without a verdict of the gate. A run that was rolled back ends as
**failed**.

Trigger it with the source model, the model set that owns the compressed version, and the service. Needs a
connection `qianfan_default` of type *Baidu AI Cloud Qianfan* whose key may create compressions and update
services.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_qianfan.operators.model_compression import QianfanCreateModelCompTaskOperator
from airflow_provider_qianfan.operators.service import QianfanModifyServiceOperator
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # Airflow 3.0 and 3.1
    from airflow.exceptions import AirflowSkipException  # type: ignore[no-redef]

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,  # two runs would update the same service at the same time
    doc_md=__doc__,
    tags=["qianfan", "model compression", "service"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "source_model_id": Param(
            "amv-demotuned001",
            type="string",
            pattern="^amv-",
            title="Source model",
            description="The model version to compress, amv-…; it has to be Ready.",
        ),
        "model_set_id": Param(
            "am-demoset00001",
            type="string",
            pattern="^am-",
            title="Model set",
            description="The model that will own the compressed version, am-….",
        ),
        "service_id": Param(
            "svco-demochat0001",
            type="string",
            pattern="^svco-",
            title="Service",
            description="The service to update to the compressed version, svco-….",
        ),
    },
)
def compress_and_deploy() -> None:
    compress = QianfanCreateModelCompTaskOperator(
        task_id="compress",
        name="{{ params.source_model_id }} int8",
        source_model_id="{{ params.source_model_id }}",
        model_set_id="{{ params.model_set_id }}",
        config={"strategy": "Quantization", "weight": "INT8-PTQ"},
    )
    gate = QianfanModelCompTaskSensor(
        task_id="wait_for_compression",
        model_comp_task_id=compress.output,  # the surest way to say which task is meant
        wait_for_model_ready=True,
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=12),
    )
    deploy = QianfanModifyServiceOperator(
        task_id="deploy",
        service_id="{{ params.service_id }}",
        model_set_id="{{ params.model_set_id }}",
        model_id=gate.output["modelId"],
        wait_for_completion=True,
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=2),
    )

    @task
    def smoke_check(model_id: str) -> str:
        """Stands for your check of the service: ask it something, and raise if the answer is bad."""
        log.info("Checking %s", model_id)
        return model_id

    @task(trigger_rule="one_failed")
    def find_previous(**context: Any) -> dict[str, str]:
        """Tell what to roll back to. Skipped if the service was not touched: the gate had stayed shut."""
        previous = {
            key: context["ti"].xcom_pull(task_ids="deploy", key=f"previous_{key}")
            for key in ("model_id", "model_set_id")
        }
        if not all(previous.values()):
            raise AirflowSkipException("The service was not updated, so there is nothing to roll back.")
        return previous

    previous: Any = find_previous()
    roll_back = QianfanModifyServiceOperator(
        task_id="roll_back",
        service_id="{{ params.service_id }}",
        model_set_id=previous["model_set_id"],
        model_id=previous["model_id"],
        wait_for_completion=True,
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=2),
    )

    @task
    def announce(model_id: str) -> None:
        """Stands for what follows a deployment. As one of the run's last tasks it fails a run without one."""
        log.info("Deployed %s", model_id)

    checked: Any = smoke_check(deploy.output)
    announce(checked)
    [deploy, checked] >> previous >> roll_back


DAG = compress_and_deploy()
