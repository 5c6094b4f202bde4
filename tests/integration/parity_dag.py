"""The DAG of the parity table: a sensor for each of its cells."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from tests.integration.cells import CELLS, MODES, SOURCE, Cell

ENDS = Path(os.environ["PARITY_ENDS"])
CHOSEN = os.environ["PARITY_CELLS"].split()


def remember(context: Any) -> None:
    """Write down how a try ended."""
    ti, error = context["ti"], context.get("exception")
    while type(error).__name__ == "AirflowSkipException" and error.__cause__ is not None:
        error = error.__cause__
    told = {"task": ti.task_id, "try": ti.try_number, "error": type(error).__name__, "message": str(error)}
    with ENDS.open("a") as file:
        file.write(json.dumps(told) + "\n")


def sensor(cell: Cell) -> QianfanModelCompTaskSensor:
    arguments = {"timeout": 200, "retry_delay": 1, **MODES[cell.mode], **cell.row.arguments}
    for span in {"execution_timeout", "retry_delay"} & arguments.keys():
        arguments[span] = timedelta(seconds=arguments[span])
    return QianfanModelCompTaskSensor(
        task_id=cell.task_id,
        source_model_id=SOURCE,
        qianfan_conn_id=cell.task_id,
        soft_fail=cell.soft_fail,
        retries=1,
        on_failure_callback=remember,
        on_retry_callback=remember,
        on_skipped_callback=remember,
        **arguments,
    )


with DAG("parity", schedule=None, start_date=pendulum.datetime(2024, 1, 1), max_active_tasks=500):
    for cell in CELLS:
        if cell.task_id in CHOSEN:
            sensor(cell)
