"""XComs from the platform's descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context


def plain(value: Any) -> Any:
    """
    Return JSON that Airflow passes on unchanged.

    Airflow makes objects of JSON with certain keys, whoever wrote it: ``__classname__``, ``__version__`` and
    ``__data__``, or the older ``__type`` and ``__var``. All begin with two underscores. So each such key gets
    one more: ``__type`` becomes ``___type``. No two keys become the same.
    """
    if isinstance(value, dict):
        return {f"_{key}" if key.startswith("__") else key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def push(context: Context, key: str, value: Any) -> None:
    """Push an XCom that is the purpose of the task: if pushing fails, the task fails."""
    context["ti"].xcom_push(key=key, value=plain(value))


def try_to_push(context: Context, key: str, value: Any, log: Any) -> None:
    """Push an XCom. If pushing fails, warn and go on."""
    try:
        push(context, key, value)
    except Exception as error:
        # Not its text: it may quote a request of Airflow's own.
        log.warning("The XCom %s could not be pushed (%s). Going on without it.", key, type(error).__name__)
