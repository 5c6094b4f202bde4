"""The DAGs of two observers that see different things, and of a triggerer that dies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.integration.cells import SOURCE
from tests.integration.eyes import EYES, LIMITS, MOVED, MOVED_LIMIT, TIMEOUT


def gate(task_id: str, **arguments: Any) -> None:
    QianfanModelCompTaskSensor(
        task_id=task_id,
        source_model_id=SOURCE,
        qianfan_conn_id=task_id,
        deferrable=True,
        poke_interval=4,
        **arguments,
    )


with DAG("eyes", schedule=None, start_date=pendulum.datetime(2024, 1, 1)):
    for eyes in EYES:
        gate(eyes.task_id, timeout=TIMEOUT, **LIMITS)

with DAG("failover", schedule=None, start_date=pendulum.datetime(2024, 1, 1)):
    for moved in MOVED:
        gate(
            moved,
            timeout=600,
            max_unhealthy=MOVED_LIMIT,
            retries=1,
            retry_delay=timedelta(seconds=1),
        )
