"""Tasks for tests of the gate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from airflow_provider_qianfan.api.model_compression import ModelCompTask

SOURCE = "amv-source000001"
BEIJING = timezone(timedelta(hours=8))
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOW = (NOON + timedelta(hours=1)).timestamp()


def task(
    task_id: str = "amva-1",
    status: str = "running",
    *,
    created: datetime | float | None = 0,
    source: str | None = SOURCE,
    name: str | None = "demo",
    model: str | None = None,
    reason: str | None = None,
) -> ModelCompTask:
    """A task; ``created`` is a time, or seconds after noon."""
    when = NOON + timedelta(seconds=created) if isinstance(created, int | float) else created
    return ModelCompTask(
        id=task_id,
        name=name,
        status=status,
        source_model_id=source,
        model_id=model,
        create_time=when,
        failed_reason=reason,
        json={"id": task_id, "status": status, "modelId": model, "config": {"strategy": "Quantization"}},
    )


def made(task_id: str = "amva-1", model: str | None = "amv-made", **more: object) -> ModelCompTask:
    """A task that succeeded."""
    return task(task_id, "succeeded", model=model, **more)  # type: ignore[arg-type]
