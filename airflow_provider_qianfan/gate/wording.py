"""How logs and messages write tasks and resources."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.text import clean

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.model_compression import ModelCompTask
    from airflow_provider_qianfan.api.resource import Row


def name_of(task: ModelCompTask | Row) -> str:
    """Write the id and name of a task or a resource."""
    return f"{clean(task.id, 80)} ({clean(task.name, 80)!r})" if task.name else clean(task.id, 80)


def describe(task: ModelCompTask) -> str:
    """Write what distinguishes a task from similar ones."""
    created = task.create_time.isoformat() if task.create_time else "at an unknown time"
    config = clean(json.dumps(task.json.get("config"), ensure_ascii=False), 120)
    return f"{name_of(task)}, {clean(task.status, 40) or 'no status'}, created {created}, config {config}"
