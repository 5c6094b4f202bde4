"""
Every exception of this provider.

Verdicts of the gate (:class:`QianfanGateError`) are final: the task fails without a retry, or is skipped
under ``soft_fail``. Errors in talking to the platform (:class:`QianfanError`) are not: the task fails, is
retried as its ``retries`` say, and is never skipped.
"""

from __future__ import annotations

from airflow_provider_qianfan._compat import AirflowFailException
from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.gate import errors

__all__ = [
    "QianfanAPIError",
    "QianfanAuthError",
    "QianfanConfigurationError",
    "QianfanError",
    "QianfanGateError",
    "QianfanModelIdMissingError",
    "QianfanModelUnusableError",
    "QianfanProtocolError",
    "QianfanRateLimitError",
    "QianfanResourceAmbiguousError",
    "QianfanResourceExistsError",
    "QianfanResourceFailedError",
    "QianfanResourceNotFoundError",
    "QianfanTaskAmbiguousError",
    "QianfanTaskExistsError",
    "QianfanTaskFailedError",
    "QianfanTaskNotFoundError",
    "QianfanTransientError",
]


class QianfanGateError(errors.QianfanGateError, AirflowFailException):
    """
    The gate stays shut, for good.

    A callback finds it as ``context["exception"]``. Each of these is None if it is not known:

    :ivar model_comp_task_id: the model compression task, ``amva-…``.
    :ivar resource_id: the model version, ``amv-…``, or the service, ``svco-…``.
    :ivar status: the status of the compression task, model version or service, as the platform writes it.
    :ivar reason: why the compression task failed, in the platform's words.
    :ivar source_model_id: the model version that is compressed, ``amv-…``.
    :ivar request_id: the refused request. Baidu's support asks for it.
    """


class QianfanTaskFailedError(errors.QianfanTaskFailedError, QianfanGateError):
    """The model compression task failed or was stopped."""


class QianfanTaskAmbiguousError(errors.QianfanTaskAmbiguousError, QianfanGateError):
    """Several model compression tasks fit, and nothing tells which one is meant."""


class QianfanTaskNotFoundError(errors.QianfanTaskNotFoundError, QianfanGateError):
    """The model compression task with the given id is not there, or is not the one described."""


class QianfanTaskExistsError(errors.QianfanTaskExistsError, QianfanGateError):
    """The model compression task was created before, and ``if_exists="fail"``."""


class QianfanResourceFailedError(errors.QianfanResourceFailedError, QianfanGateError):
    """The model version or the service failed or was stopped."""


class QianfanResourceAmbiguousError(errors.QianfanResourceAmbiguousError, QianfanGateError):
    """Several services carry the mark of one task, and nothing tells which one is meant."""


class QianfanResourceNotFoundError(errors.QianfanResourceNotFoundError, QianfanGateError):
    """The model version or the service with the given id is not there."""


class QianfanResourceExistsError(errors.QianfanResourceExistsError, QianfanGateError):
    """The service was created before, and ``if_exists="fail"``."""


class QianfanModelIdMissingError(errors.QianfanModelIdMissingError, QianfanGateError):
    """The model compression task succeeded, but the platform names no usable produced model."""


class QianfanModelUnusableError(errors.QianfanModelUnusableError, QianfanGateError):
    """The model version cannot be compressed or deployed, and waiting will not help."""


def for_airflow(error: errors.QianfanGateError) -> QianfanGateError:
    """Return a verdict as the error of the same name that Airflow does not retry."""
    if isinstance(error, QianfanGateError):
        return error
    cls: type[QianfanGateError] = globals()[type(error).__name__]
    return error.made(cls).with_traceback(error.__traceback__)
