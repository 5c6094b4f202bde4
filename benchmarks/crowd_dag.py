"""Tasks for a crowd of waits. Each run has a part of them, and none is ever run."""

from __future__ import annotations

import os

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("crowd", schedule=None):
    for number in range(int(os.environ["BENCH_TASKS"])):
        EmptyOperator(task_id=f"wait_{number}")
