"""The DAG of the metrics: one gate that waits in the triggerer."""

from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.integration.cells import SOURCE

with DAG("metrics", schedule=None, start_date=pendulum.datetime(2024, 1, 1)):
    QianfanModelCompTaskSensor(
        task_id="gate",
        source_model_id=SOURCE,
        qianfan_conn_id="metrics",
        deferrable=True,
        poke_interval=2,
    )
