"""The sensor for a compression that the waiting task created itself. Only such a task may cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._compat import KILL
from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

if TYPE_CHECKING:
    from airflow_provider_qianfan.triggers.waiting import QianfanTrigger

_LOGGER = f"{QianfanModelCompTaskSensor.__module__}.{QianfanModelCompTaskSensor.__name__}"


class CancellingSensor(QianfanModelCompTaskSensor):
    """Wait, and log, as its base does, and cancel the compression if a user ends the deferred task."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(logger_name=_LOGGER, **arguments)

    def _trigger(self, **arguments: Any) -> QianfanTrigger:
        if not KILL.is_there():
            self.log.warning(
                "If somebody ends this task while it is deferred, its compression goes on, although"
                " cancel_on_kill is set. To cancel it then, you need Airflow 3.3 or newer."
            )
        return super()._trigger(cancel_on_kill=True, **arguments)
