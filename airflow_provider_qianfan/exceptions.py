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

__all__ = [
    "QianfanAPIError",
    "QianfanAuthError",
    "QianfanConfigurationError",
    "QianfanError",
    "QianfanGateError",
    "QianfanModelIdMissingError",
    "QianfanModelNotReadyError",
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


class QianfanGateError(AirflowFailException):
    """The gate stays shut, for good."""


class QianfanTaskFailedError(QianfanGateError):
    """The model compression task failed or was stopped."""


class QianfanTaskAmbiguousError(QianfanGateError):
    """Several model compression tasks fit, and nothing tells which one is meant."""


class QianfanTaskNotFoundError(QianfanGateError):
    """The model compression task with the given id is not there, or is not the one described."""


class QianfanResourceFailedError(QianfanGateError):
    """The model version or the service failed or was stopped."""


class QianfanResourceNotFoundError(QianfanGateError):
    """The model version or the service with the given id is not there."""


class QianfanResourceExistsError(QianfanGateError):
    """The service was created before, and ``if_exists="fail"``."""


class QianfanResourceAmbiguousError(QianfanGateError):
    """Several services carry the mark of one task, and nothing tells which one is meant."""


class QianfanModelIdMissingError(QianfanGateError):
    """The model compression task succeeded, but the platform names no usable produced model."""


class QianfanModelNotReadyError(QianfanGateError):
    """The model version cannot be compressed, and waiting will not help."""


class QianfanTaskExistsError(QianfanGateError):
    """The model compression task was created before, and ``if_exists="fail"``."""
