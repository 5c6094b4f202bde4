"""
The DAG of the freed slots: in each mode a sensor, and a task that needs the slot which the sensor holds.

The platform wants to be left alone for 300 seconds.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.integration.cells import MODES, SOURCE

with DAG("slots", schedule=None, start_date=pendulum.datetime(2024, 1, 1)):
    for mode, arguments in MODES.items():
        QianfanModelCompTaskSensor(
            task_id=f"gate_{mode}",
            source_model_id=SOURCE,
            qianfan_conn_id=f"slots_{mode}",
            pool=f"slots_{mode}",
            priority_weight=2,
            timeout=600,
            **arguments,
        )
        # Not an EmptyOperator that Airflow runs without a slot: one with a callback needs a worker.
        EmptyOperator(
            task_id=f"next_{mode}",
            pool=f"slots_{mode}",
            execution_timeout=timedelta(seconds=60),
            on_success_callback=print,
        )
