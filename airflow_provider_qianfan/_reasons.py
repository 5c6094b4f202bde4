"""Why a task failed, as one line of its log. Airflow's traceback has the reason only in its last line."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_qianfan._compat import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    conf,
    deferral_timed_out,
    is_of_another_try,
    running,
)
from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.text import clean, sentence

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from airflow.sdk import Context

_LONGEST = 4000
"""Characters. Our own messages are shorter."""

_FINAL = (AirflowFailException, AirflowSensorTimeout)
_NO_FAILURES = (AirflowSkipException, AirflowRescheduleException)
_NO_FAILURES_BY_NAME = ("DownstreamTasksSkipped", "DagRunTriggerException")
"""Exceptions of Airflow 3 that are no failures. A user's subclass may raise them."""

_HOLD_NO_SECRET = (QianfanError, AirflowException, AirflowTaskTimeout)

_telling: ContextVar[bool] = ContextVar("airflow_provider_qianfan_telling", default=False)


class ReasoningOperator(BaseOperator):
    """
    The base class of all operators and sensors of this provider. If a task fails, it logs the reason, once.

    Airflow enters a task by ``execute`` or by ``resume_execution``. The line is logged when one of these
    ends, so that it has the final text of the error. Skips, rescheduling and deferrals are no failures.
    """

    if TYPE_CHECKING:
        # For a type checker, Airflow's XComArg allows neither output["modelId"] nor deploy(output).
        output: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "execute" in vars(cls):
            cls.execute = _reasoning(cls.execute)  # type: ignore[method-assign]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral, even one that Airflow itself has ended."""
        with _reason_told(self.log):
            ours = getattr(self, "deferrable", False)  # or else a subclass has deferred by itself
            if ours and deferral_timed_out(next_method, next_kwargs):
                next_method, next_kwargs = "_end_abandoned_wait", None
            elif ours and is_of_another_try(next_kwargs, context):
                self.log.info("Airflow resumes what an earlier try waited for. This try begins anew.")
                with running(self):
                    return self.execute(context)
            return super().resume_execution(next_method, next_kwargs, context)

    def _end_abandoned_wait(self, _context: Context) -> NoReturn:
        """
        End a wait that no triggerer has ended in time.

        :raises AirflowTaskTimeout: if ``execution_timeout`` set the end. Airflow retries the task as its
            ``retries`` say.
        :raises AirflowSensorTimeout: if ``timeout`` set the end. Final.
        :raises AirflowSkipException: instead of ``AirflowSensorTimeout``, if ``soft_fail`` or ``never_fail``
            is set.
        """
        limit = getattr(self, "timeout", None)
        if not isinstance(limit, int | float):
            limit = conf.getfloat("sensors", "default_timeout")
        by_execution = self.execution_timeout is not None and self.execution_timeout.total_seconds() < limit
        name = "execution_timeout" if by_execution else "timeout"
        told = (
            f"The time is up ({name}). No triggerer ended this wait, so Airflow did. Nobody asked the"
            " platform at the end. Check that a triggerer runs: airflow jobs check --job-type TriggererJob"
        )
        if by_execution:
            raise AirflowTaskTimeout(told)
        if getattr(self, "soft_fail", False) or getattr(self, "never_fail", False):
            self.log.warning("%s This task is skipped.", told)
            raise AirflowSkipException(told)
        raise AirflowSensorTimeout(told)


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
        if not any(one.__name__ in _NO_FAILURES_BY_NAME for one in type(error).__mro__):
            log.error("%s", reason(error))  # noqa: TRY400  the traceback is Airflow's
        raise
    finally:
        _telling.reset(token)


def reason(error: BaseException) -> str:
    """
    Say in one line why a task fails. If the error may hold a secret, name only its class.

    The reason comes first: Airflow's UI does not wrap lines.
    """
    # A library's ValueError may quote a URL with a password.
    ours = isinstance(error, _HOLD_NO_SECRET) or (type(error) is ValueError and _is_raised_by_us(error))
    told = sentence(clean(error, _LONGEST) if ours else "See the traceback")
    fails = "This task fails, and is not tried again" if isinstance(error, _FINAL) else "This try fails"
    return f"{told} {fails} ({type(error).__name__})."


def _is_raised_by_us(error: BaseException) -> bool:
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1].partition(".")[0] == __name__.partition(".")[0]
