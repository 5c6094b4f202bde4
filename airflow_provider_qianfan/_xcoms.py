"""What the platform said, made fit for an XCom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context


def plain(value: Any) -> Any:
    """
    Return JSON that Airflow hands on as it is.

    Airflow makes objects of JSON with certain keys: ``__classname__``, ``__version__`` and ``__data__``, or
    the older ``__type`` and ``__var``, whoever wrote them. All begin with two underscores. So each key that
    does gets one more: ``__type`` becomes ``___type``. No two keys become the same.
    """
    if isinstance(value, dict):
        return {f"_{key}" if key.startswith("__") else key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def push(context: Context, key: str, value: Any) -> None:
    """Push an XCom that the task is there for."""
    context["ti"].xcom_push(key=key, value=plain(value))


def try_to_push(context: Context, key: str, value: Any, log: Any) -> None:
    """Push an XCom that must not stand in the way of what the task has to say."""
    try:
        push(context, key, value)
    except Exception as error:
        # Not its text: it may quote a request of Airflow's own.
        log.warning("The XCom %s could not be pushed (%s). Going on without it.", key, type(error).__name__)
