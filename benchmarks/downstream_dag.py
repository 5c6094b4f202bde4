"""Gates and the tasks after them: ours and the floor's, one at a time and many at once."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, BaseOperator

from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor
from benchmarks.flag import FlagSensor

INTERVAL = float(os.environ["BENCH_INTERVAL"])
INSTANT = 0.05


class Downstream(BaseOperator):
    """Do nothing. Only the start counts."""

    def execute(self, context: Any) -> None:
        return


def ours(number: int, conn_id: str) -> QianfanModelCompTaskSensor:
    """Make our gate."""
    return QianfanModelCompTaskSensor(
        task_id=f"gate_{number}",
        source_model_id=f"amv-source{number}",
        qianfan_conn_id=conn_id,
        deferrable=True,
        poke_interval=INTERVAL,
    )


def floor(number: int, flag: str) -> FlagSensor:
    """Make a sensor whose trigger fires at once when the file is there."""
    return FlagSensor(task_id=f"gate_{number}", path=f"{os.environ['BENCH_HOME']}/{flag}", every=INSTANT)


with DAG("one_ours", schedule=None):
    ours(0, "qianfan_one") >> Downstream(task_id="after")

with DAG("one_floor", schedule=None):
    floor(0, "{{ run_id }}") >> Downstream(task_id="after")

with DAG("many_ours", schedule=None):
    [ours(number, "qianfan_many") for number in range(int(os.environ["BENCH_WAITS"]))] >> Downstream(
        task_id="after"
    )

with DAG("many_floor", schedule=None):
    [floor(number, "many") for number in range(int(os.environ["BENCH_WAITS"]))] >> Downstream(task_id="after")
