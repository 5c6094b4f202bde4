"""The DAGs that a watcher starts, one for each name in ``WATCHERS``, and nothing to do in them."""

from __future__ import annotations

import os

import pendulum

from tests.dag_runs import AIRFLOW_3

if AIRFLOW_3:  # 2.11 has no watchers
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, Asset, AssetWatcher

    from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger

    for name in os.environ.get("WATCHERS", "").split():
        watcher = AssetWatcher(
            name=name, trigger=QianfanModelCompTaskEventTrigger(qianfan_conn_id=name, poke_interval=5)
        )
        with DAG(name, schedule=[Asset(name, watchers=[watcher])], start_date=pendulum.datetime(2024, 1, 1)):
            EmptyOperator(task_id="deploy")
