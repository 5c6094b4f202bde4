"""Final errors, without Airflow. ``exceptions.py`` has one of each name that Airflow does not retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.model_compression import ModelCompTask

_Error = TypeVar("_Error", bound="QianfanGateError")


class QianfanGateError(Exception):
    """
    The gate stays shut for good.

    :class:`airflow_provider_qianfan.exceptions.QianfanGateError` describes the attributes.
    """

    def __init__(
        self,
        message: str,
        *,
        model_comp_task_id: str | None = None,
        resource_id: str | None = None,
        status: str | None = None,
        reason: str | None = None,
        source_model_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.model_comp_task_id = model_comp_task_id
        self.resource_id = resource_id
        self.status = status
        self.reason = reason
        self.source_model_id = source_model_id
        self.request_id = request_id

    def made(self, cls: type[_Error], message: str | None = None) -> _Error:
        """Return a copy of this error as another class. If ``message`` is given, it replaces the message."""
        error = cls(str(self) if message is None else message)
        vars(error).update(vars(self))
        return error


class QianfanTaskFailedError(QianfanGateError):
    """The model compression task failed or was stopped."""


class QianfanTaskAmbiguousError(QianfanGateError):
    """Several model compression tasks match, and nothing tells them apart."""


class QianfanTaskNotFoundError(QianfanGateError):
    """No model compression task has the given ID, or that task does not match the other criteria."""


class QianfanTaskExistsError(QianfanGateError):
    """An earlier try created the model compression task, and ``if_exists="fail"``."""


class QianfanResourceFailedError(QianfanGateError):
    """The model version or the service failed or was stopped."""


class QianfanResourceAmbiguousError(QianfanGateError):
    """Several services carry the mark of one Airflow task, and nothing tells them apart."""


class QianfanResourceNotFoundError(QianfanGateError):
    """No model version or service has the given ID."""


class QianfanResourceExistsError(QianfanGateError):
    """An earlier try created the service, and ``if_exists="fail"``."""


class QianfanModelIdMissingError(QianfanGateError):
    """The model compression task succeeded, but the platform names no usable produced model."""


class QianfanModelUnusableError(QianfanGateError):
    """The model version cannot be compressed or deployed, and waiting does not help."""


def of_task(task: ModelCompTask) -> dict[str, str | None]:
    """Return the attributes of an error about a task."""
    return {
        "model_comp_task_id": task.id,
        "source_model_id": task.source_model_id,
        "status": task.status or None,
    }
