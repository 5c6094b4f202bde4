"""A DAG for each watcher: ours, at several intervals, and the floor's."""

from __future__ import annotations

import os

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskEventTrigger
from benchmarks.flag import LinesTrigger

TRIGGERS = {
    f"every_{each}": QianfanModelCompTaskEventTrigger(
        qianfan_conn_id=f"every_{each}", poke_interval=float(each)
    )
    for each in os.environ["BENCH_WATCHERS"].split()
} | {"floor": LinesTrigger(path=f"{os.environ['BENCH_HOME']}/floor", every=0.05)}

for name, trigger in TRIGGERS.items():
    asset = Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])
    with DAG(name, schedule=[asset], start_date=pendulum.datetime(2024, 1, 1)):
        EmptyOperator(task_id="deploy")
