"""
The DAG of the freed slots. For each mode it has a sensor, and a task that needs the sensor's slot.

The platform asks to be left alone for 300 seconds.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.integration.cells import MODES, SOURCE


class Nothing(BaseOperator):
    """Needs a slot, which Airflow's EmptyOperator does not."""

    def execute(self, context: Any) -> None:
        pass


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
        Nothing(task_id=f"next_{mode}", pool=f"slots_{mode}", execution_timeout=timedelta(seconds=60))
