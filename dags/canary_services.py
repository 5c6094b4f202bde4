"""
### Update many services to a new model version: one first, then the others

First update one service, the canary, and check it. If the check passes, update the others, two at a time,
each in a mapped task of its own. If one of them fails, the others go on, and the run fails at the end. If the
canary's check fails, roll the canary back, and leave the others alone.

Trigger it with the model version and the services. Needs a connection `qianfan_default` of type
*Baidu AI Cloud Qianfan* whose key may update services.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_qianfan.operators.service import QianfanModifyServiceOperator
from airflow_provider_qianfan.sensors.model import QianfanModelSensor

try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # Airflow 3.0 and 3.1
    from airflow.exceptions import AirflowSkipException  # type: ignore[no-redef]

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,  # two runs would update the same services at the same time
    doc_md=__doc__,
    tags=["qianfan", "service"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "model_id": Param(
            "amv-demoquant001",
            type="string",
            pattern="^amv-",
            title="Model version",
            description="What the services are to serve, amv-….",
        ),
        "canary": Param(
            "svco-demochat0001",
            type="string",
            pattern="^svco-",
            title="Canary",
            description="The service to update first, svco-….",
        ),
        "services": Param(
            ["svco-demochat0002", "svco-demochat0003"],
            type="array",
            items={"type": "string", "pattern": "^svco-"},
            title="Other services",
            description="The services that follow, svco-…, one a line.",
        ),
    },
)
def canary_services() -> None:
    ready = QianfanModelSensor(
        task_id="wait_for_model",
        model_id="{{ params.model_id }}",
        deferrable=True,
        poke_interval=30,
        timeout=timedelta(hours=2),
    )
    swap: dict[str, Any] = {
        "wait_for_completion": True,
        "deferrable": True,
        "poke_interval": 30,
        "timeout": timedelta(hours=2),
    }
    canary = QianfanModifyServiceOperator(
        task_id="swap_canary", service_id="{{ params.canary }}", model_id=ready.output, **swap
    )

    @task
    def check_canary(model_id: str) -> str:
        """Stands for your check of the canary: raise if it misbehaves."""
        log.info("Checking the canary with %s", model_id)
        return model_id

    @task
    def others(_checked: str, **context: Any) -> list[str]:
        """Name the services that follow, once the canary has been checked."""
        return [
            service for service in context["params"]["services"] if service != context["params"]["canary"]
        ]

    checked: Any = check_canary(canary.output)
    QianfanModifyServiceOperator.partial(
        task_id="swap_service",
        model_id=ready.output,
        map_index_template="{{ task.service_id }}",
        max_active_tis_per_dag=2,
        **swap,
    ).expand(service_id=others(checked))

    # Beside the others, not behind them: as upstream_failed they fail a run whose canary was rolled back.
    @task(trigger_rule="all_failed")
    def canary_failed(**context: Any) -> dict[str, str]:
        """Tell what to roll the canary back to. Skipped if it was not updated."""
        previous = {
            key: context["ti"].xcom_pull(task_ids="swap_canary", key=f"previous_{key}")
            for key in ("model_id", "model_set_id")
        }
        if not all(previous.values()):
            raise AirflowSkipException("The canary was not updated, so there is nothing to roll back.")
        return previous

    previous: Any = canary_failed()
    checked >> previous
    QianfanModifyServiceOperator(
        task_id="swap_canary_back",
        service_id="{{ params.canary }}",
        model_id=previous["model_id"],
        model_set_id=previous["model_set_id"],
        **swap,
    )


DAG = canary_services()
