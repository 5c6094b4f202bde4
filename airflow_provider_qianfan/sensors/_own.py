"""The gate for a compression that this very task created, so that it may cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._compat import KILL
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

if TYPE_CHECKING:
    from airflow_provider_qianfan.triggers.waiting import QianfanTrigger


class CancellingSensor(QianfanModelCompTaskSensor):
    """Wait as its base does, and cancel the compression if a user ends the deferred task."""

    def _trigger(self, **arguments: Any) -> QianfanTrigger:
        if not KILL.is_there():
            self.log.warning(
                "If somebody ends this task while it is deferred, its compression goes on, although"
                " cancel_on_kill is set. To cancel it then, you need Airflow 3.3 or newer."
            )
        return super()._trigger(cancel_on_kill=True, **arguments)
