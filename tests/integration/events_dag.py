"""
The DAGs that a watcher starts, for each name in ``WATCHERS``: one run for each event, and one for each model.

Nothing is to be done in a run but to note which models have been handed on.
"""

from __future__ import annotations

import os
from typing import Any

import pendulum

from tests.dag_runs import AIRFLOW

NAMES = os.environ.get("WATCHERS", "").split()
START = pendulum.datetime(2024, 1, 1)

if AIRFLOW >= (3, 0):  # 2.11 has no watchers
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, Asset, AssetWatcher

    from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger

    def watched(name: str) -> Asset:
        trigger = QianfanModelCompTaskEventTrigger(qianfan_conn_id=name, poke_interval=5)
        return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])

    FINISHED = {name: watched(name) for name in NAMES}

    for name, finished in FINISHED.items():
        with DAG(name, schedule=[finished], start_date=START):
            EmptyOperator(task_id="deploy")

if AIRFLOW >= (3, 3):  # the first with partitions that a task names
    from airflow.sdk import PartitionedAssetTimetable, task
    from airflow.sdk.exceptions import AirflowSkipException

    from airflow_provider_qianfan.assets.finished import finished_tasks

    for name, finished in FINISHED.items():
        taken, model = Asset(f"{name}_taken"), Asset(f"{name}_model")
        with DAG(f"{name}_route", schedule=[finished], start_date=START):

            @task(inlets=[finished, taken], outlets=[taken, model], max_active_tis_per_dag=1)
            def route(taken: Asset = taken, model: Asset = model, **context: Any) -> None:
                tasks = finished_tasks(context, taken=taken)
                if not tasks:
                    raise AirflowSkipException
                context["outlet_events"][model].add_partitions([str(each["model_id"]) for each in tasks])

            route()

        with DAG(f"{name}_deploy", schedule=PartitionedAssetTimetable(assets=model), start_date=START):
            EmptyOperator(task_id="deploy")
