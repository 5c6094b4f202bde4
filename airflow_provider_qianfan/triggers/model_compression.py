"""The trigger that watches a model compression task for a deferred sensor."""

from __future__ import annotations

from airflow_provider_qianfan.triggers.waiting import QianfanTrigger


class QianfanModelCompTaskTrigger(QianfanTrigger):
    """Watch a model compression task, and say when it is worth a look."""
