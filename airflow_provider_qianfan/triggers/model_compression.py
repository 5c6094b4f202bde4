"""The trigger that watches a model compression task for a deferred sensor or operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_qianfan._compat import read_connection, task_state_of
from airflow_provider_qianfan.api.exchange import Exchange, RetryPolicy
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.changes.cancellation import KILL_PATIENCE, cancel_unfinished
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.triggers._thread import DriverThread
from airflow_provider_qianfan.triggers.waiting import QianfanTrigger

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States that Airflow does not leave by itself."""


class QianfanModelCompTaskTrigger(QianfanTrigger):
    """
    Watch a model compression task, and say when a look is worthwhile.

    If ``cancel_on_kill`` is set, and a user ends the deferred task, the trigger cancels the compression
    (Airflow 3.3 and newer): https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd.

    :param cancel_on_kill: cancel the compression if this Airflow task is killed while it waits. Default:
        False.
    :param arguments: the parameters of :class:`.QianfanTrigger`.
    """

    def __init__(self, *, cancel_on_kill: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path, and the arguments that make the trigger again."""
        path, arguments = super().serialize()
        return path, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    async def on_kill(self) -> None:
        """
        Cancel the compression if ``cancel_on_kill`` is set and a user has ended the task.

        Airflow 3.3 also calls this in two other cases. If the task was cleared, its next try takes the
        compression over. If another triggerer has taken this trigger over, it may have resumed the task.
        """
        given = self.target if isinstance(self.target, Mapping) else {}
        task_id = given.get("model_comp_task_id")
        if not self.cancel_on_kill or not isinstance(task_id, str) or not task_id:
            return
        state = await task_state_of(self.task_instance)
        if state not in ENDED:
            self.log.info("%s goes on: this Airflow task has not ended.", clean(task_id, 80))
            return
        settings = Settings.read(*await read_connection(self.qianfan_conn_id))
        exchange = Exchange(
            settings.endpoint, settings.credentials, retry=RetryPolicy(patience=KILL_PATIENCE)
        )
        thread = DriverThread(settings)
        try:
            task = await thread.run(cancel_unfinished(exchange, task_id))
        finally:
            thread.stop()
        self.log.info("Cancelled, as this Airflow task is %s: %s.", state, name_of(task))
