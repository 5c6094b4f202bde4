"""A sensor that waits for a service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.memory import DEFAULT_AUTH_GRACE, DEFAULT_MAX_UNHEALTHY, DEFAULT_SETTLE
from airflow_provider_qianfan.sensors._waiting import Opening, QianfanSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_qianfan.gate.look import Target
    from airflow_provider_qianfan.gate.verdict import Open


class QianfanServiceSensor(QianfanSensor):
    """
    Wait until a service serves a model version: https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7.

    That is when its ``runStatus`` is ``Serving``, no update is in progress, and its model version is that.

    XComs: ``return_value`` and ``modelId``, the model version, once it is served; ``service``, what the
    platform said about the service, also if it failed or was stopped.

    :param service_id: the service, ``svco-…`` (templated). One that is not there for ``settle`` seconds is an
        error.
    :param model_id: the model version that it has to serve, ``amv-…`` (templated).
    :param qianfan_conn_id: a connection of type ``qianfan`` (templated).
    :param deferrable: wait in a triggerer rather than in a worker. Default: ``[operators]
        default_deferrable``, unless ``mode="reschedule"`` is given.
    :param settle: seconds for which the service may be missing, default 120.
    :param max_unhealthy: seconds without one healthy answer of the platform, default 3600. If deferrable, the
        worker and the triggerer have a clock each, for ``auth_grace``, too.
    :param auth_grace: seconds for which a key that has worked may be refused, or its proxy or CA bundle be
        unusable, default 600.
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanGateError: the service failed, was stopped, or is not there. Final; skipped under
        ``soft_fail``.
    :raises QianfanError: the platform refuses the request or the key, or gives no healthy answer. Retried as
        ``retries`` say, and not skipped under ``soft_fail``.
    :raises AirflowSensorTimeout: the time is up.
    """

    _TEXTS = ("service_id", "model_id", "qianfan_conn_id")
    template_fields: Sequence[str] = _TEXTS
    described_as = "service"

    def __init__(
        self,
        *,
        service_id: str,
        model_id: str,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        deferrable: bool | None = None,
        settle: float | timedelta | None = DEFAULT_SETTLE,
        max_unhealthy: float | timedelta | None = DEFAULT_MAX_UNHEALTHY,
        auth_grace: float | timedelta | None = DEFAULT_AUTH_GRACE,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            qianfan_conn_id=qianfan_conn_id,
            deferrable=deferrable,
            settle=settle,
            max_unhealthy=max_unhealthy,
            auth_grace=auth_grace,
            **kwargs,
        )
        self.service_id = service_id
        self.model_id = model_id
        self._check_literals()

    def _target(self, context: Context) -> Target:
        from airflow_provider_qianfan.api.resource import SERVICE
        from airflow_provider_qianfan.gate.resource import Resource

        self._check_arguments(context)
        return Resource(SERVICE, self.service_id, self.model_id)

    def _opening(self, verdict: Open) -> Opening:
        service, model_id = verdict.described, verdict.model_id
        return Opening(
            f"Service {clean(service.id, 80)} serves model {clean(model_id, 80)}.",
            model_id,
            {self.described_as: dict(service.json), "modelId": model_id},
        )
