"""Why a task fails, as one line of its log: Airflow writes a traceback, and the reason is its last line."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._compat import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
)
from airflow_provider_qianfan.api.errors import QianfanError, clean

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from airflow.sdk import Context

_LONGEST = 4000
"""Characters. Our own messages are shorter."""

_FINAL = (AirflowFailException, AirflowSensorTimeout)
_NO_FAILURES = (AirflowSkipException, AirflowRescheduleException)
_NO_FAILURES_BY_NAME = ("DownstreamTasksSkipped", "DagRunTriggerException")
"""Airflow 3 has them. A subclass of a user's may raise them."""

_HOLD_NO_SECRET = (QianfanError, AirflowException, AirflowTaskTimeout)

_telling: ContextVar[bool] = ContextVar("airflow_provider_qianfan_telling", default=False)


class ReasoningOperator(BaseOperator):
    """
    The base class of all operators and sensors of this provider: if one fails, it logs the reason, once.

    Airflow enters a task by ``execute`` or by ``resume_execution``. The line is logged when one of these
    ends, so that it has the final text of the error. Skips, rescheduling and deferrals are no failures.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "execute" in vars(cls):
            cls.execute = _reasoning(cls.execute)  # type: ignore[method-assign]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral."""
        with _reason_told(self.log):
            return super().resume_execution(next_method, next_kwargs, context)


def _reasoning(execute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(execute)
    def wrapper(self: BaseOperator, *args: Any, **kwargs: Any) -> Any:
        with _reason_told(self.log):
            return execute(self, *args, **kwargs)

    return wrapper


@contextmanager
def _reason_told(log: logging.Logger | Any) -> Iterator[None]:
    """Log the reason if the block fails. If blocks are nested, only the outermost logs."""
    if _telling.get():
        yield
        return
    token = _telling.set(True)
    try:
        yield
    except _NO_FAILURES:
        raise
    except (Exception, AirflowTaskTimeout) as error:
        if type(error).__name__ not in _NO_FAILURES_BY_NAME:
            log.error("%s", reason(error))  # noqa: TRY400  the traceback is Airflow's
        raise
    finally:
        _telling.reset(token)


def reason(error: BaseException) -> str:
    """Say in one line why a task fails. If the error may hold a secret, name its class only."""
    # Subclasses of ValueError are foreign: a library's may quote a URL with a password.
    ours = isinstance(error, _HOLD_NO_SECRET) or type(error) is ValueError
    told = clean(error, _LONGEST) if ours else "see the traceback"
    fails = "This task fails, and is not tried again." if isinstance(error, _FINAL) else "This try fails."
    return f"{fails} {type(error).__name__}: {told}"
