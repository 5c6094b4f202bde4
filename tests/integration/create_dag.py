"""
The DAGs of the creations: in one, workers are killed at different moments; in the other, users end tasks.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_qianfan.changes import compression
from airflow_provider_qianfan.operators.model_compression import QianfanCreateModelCompTaskOperator
from tests.integration.cells import SOURCE
from tests.integration.moments import ENDS, MOMENTS, SETTLE

HOME = Path(os.environ["AIRFLOW_HOME"])


class Mortal(QianfanCreateModelCompTaskOperator):
    """Tells its process, and waits at some moments of its first try for its death."""

    def execute(self, context: Any) -> Any:
        if context["ti"].try_number > 1:
            return super().execute(context)
        (HOME / f"{self.task_id}.pid").write_text(str(os.getpid()))
        create_task = compression.create_task

        def stop_beside(*arguments: Any) -> Any:
            if self.task_id == "about_to_call":
                self._stop()
            result = yield from create_task(*arguments)
            if self.task_id == "before_it_is_stored":
                self._stop()
            return result

        compression.create_task = stop_beside
        return super().execute(context)

    def _stop(self) -> None:
        (HOME / f"{self.task_id}.stopped").touch()
        time.sleep(600)


def create(cls: Any, task_id: str, **arguments: Any) -> None:
    cls(
        task_id=task_id,
        name=task_id,
        source_model_id=SOURCE,
        model_set_id="am-1",
        config={"strategy": "Sparsity"},
        qianfan_conn_id=task_id,
        settle=SETTLE,
        poke_interval=1,
        **arguments,
    )


with DAG("create_and_die", schedule=None, start_date=pendulum.datetime(2024, 1, 1)):
    for moment in MOMENTS:
        create(
            Mortal,
            moment,
            wait_for_completion=moment == "while_waiting",
            deferrable=False if moment == "while_waiting" else None,
            retries=1,
            retry_delay=timedelta(seconds=1),
        )

with DAG("create_and_be_ended", schedule=None, start_date=pendulum.datetime(2024, 1, 1)):
    for end in ENDS:
        create(
            QianfanCreateModelCompTaskOperator,
            end,
            wait_for_completion=True,
            deferrable=end != "failed_in_a_worker",
            cancel_on_kill=True,
        )
