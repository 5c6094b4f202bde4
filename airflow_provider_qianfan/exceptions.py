"""
Every exception of this provider.

A verdict of the gate (:class:`QianfanGateError`) is final. The task fails without a retry. Under
``soft_fail`` it is skipped instead.

An error in talking to the platform (:class:`QianfanError`) is not final. The task fails, and Airflow retries
it as its ``retries`` say. ``soft_fail`` does not skip it.
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
    The gate stays shut for good.

    A callback finds this error as ``context["exception"]``. An attribute is None if its value is not known:

    :ivar model_comp_task_id: the model compression task, ``amva-…``.
    :ivar resource_id: the model version, ``amv-…``, or the service, ``svco-…``.
    :ivar status: the status of the task, model version or service, as the platform writes it.
    :ivar reason: why the model compression task failed, in the platform's words.
    :ivar source_model_id: the model version that is compressed, ``amv-…``.
    :ivar request_id: the ID of the refused request. Baidu's support asks for it.
    """


class QianfanTaskFailedError(errors.QianfanTaskFailedError, QianfanGateError):
    """The model compression task failed or was stopped."""


class QianfanTaskAmbiguousError(errors.QianfanTaskAmbiguousError, QianfanGateError):
    """Several model compression tasks match, and nothing tells them apart."""


class QianfanTaskNotFoundError(errors.QianfanTaskNotFoundError, QianfanGateError):
    """No model compression task has the given ID, or that task does not match the other criteria."""


class QianfanTaskExistsError(errors.QianfanTaskExistsError, QianfanGateError):
    """An earlier try created the model compression task, and ``if_exists="fail"``."""


class QianfanResourceFailedError(errors.QianfanResourceFailedError, QianfanGateError):
    """The model version or the service failed or was stopped."""


class QianfanResourceAmbiguousError(errors.QianfanResourceAmbiguousError, QianfanGateError):
    """Several services carry the mark of one Airflow task, and nothing tells them apart."""


class QianfanResourceNotFoundError(errors.QianfanResourceNotFoundError, QianfanGateError):
    """No model version or service has the given ID."""


class QianfanResourceExistsError(errors.QianfanResourceExistsError, QianfanGateError):
    """An earlier try created the service, and ``if_exists="fail"``."""


class QianfanModelIdMissingError(errors.QianfanModelIdMissingError, QianfanGateError):
    """The model compression task succeeded, but the platform names no usable produced model."""


class QianfanModelUnusableError(errors.QianfanModelUnusableError, QianfanGateError):
    """The model version cannot be compressed or deployed, and waiting does not help."""


def for_airflow(error: errors.QianfanGateError) -> QianfanGateError:
    """Return the error of the same name that Airflow does not retry."""
    if isinstance(error, QianfanGateError):
        return error
    cls: type[QianfanGateError] = globals()[type(error).__name__]
    return error.made(cls).with_traceback(error.__traceback__)
