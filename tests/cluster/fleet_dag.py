"""The DAGs of the failure suite: gates, creations and updates, on the queues of both workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG

from airflow_provider_qianfan.operators.model_compression import QianfanCreateModelCompTaskOperator
from airflow_provider_qianfan.operators.service import QianfanModifyServiceOperator
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.cluster.cluster import QUEUES
from tests.cluster.outcomes import FLEETS, POKE_INTERVAL, TIMEOUT, Outcome

WORLD = "{{ dag_run.conf['world'] }}"


def common(number: int) -> dict[str, Any]:
    return {
        "queue": QUEUES[number % len(QUEUES)],
        "retries": 5,
        "retry_delay": timedelta(seconds=5),
        "deferrable": True,
        "poke_interval": POKE_INTERVAL,
    }


for dag_id, fleet in FLEETS.items():
    with DAG(dag_id, schedule=None, start_date=pendulum.datetime(2024, 1, 1), max_active_tasks=2000):
        for number in range(fleet.creations):
            QianfanCreateModelCompTaskOperator(
                task_id=f"create_{number:04}",
                name=f"create_{number:04}",
                source_model_id=f"amv-{WORLD}-c{number:04}",
                model_set_id="am-1",
                config={"strategy": "Sparsity"},
                settle=30,
                wait_for_completion=True,
                cancel_on_kill=True,
                **common(number),
            )
        for number in range(fleet.updates):
            QianfanModifyServiceOperator(
                task_id=f"update_{number:04}",
                service_id=f"svco-{WORLD}-{number:04}",
                model_id=f"amv-{WORLD}-new{number:04}",
                model_set_id="am-1",
                settle=30,
                wait_for_completion=True,
                **common(number),
            )
        for number, outcome in enumerate(fleet.gates):
            QianfanModelCompTaskSensor(
                task_id=f"gate_{number:04}",
                source_model_id=f"amv-{WORLD}-{number:04}",
                timeout=TIMEOUT if outcome is Outcome.NEVER else 6 * 3600,
                **common(number),
            )
