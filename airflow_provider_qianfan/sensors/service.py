"""A sensor that waits for a service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.assets._lineage import Lineage
from airflow_provider_qianfan.gate.memory import DEFAULT_AUTH_GRACE, DEFAULT_MAX_UNHEALTHY, DEFAULT_SETTLE
from airflow_provider_qianfan.sensors._waiting import Opening, QianfanSensor

if TYPE_CHECKING:
    from airflow.sdk import Asset, AssetAlias, Context

    from airflow_provider_qianfan.gate.look import Target
    from airflow_provider_qianfan.gate.verdict import Open


class QianfanServiceSensor(QianfanSensor):
    """
    Wait until a service serves a model version.

    Platform page: https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7.

    The service serves the model version if its ``runStatus`` is ``Serving``, it names this version, and no
    update is in progress. If the platform does not show the service within ``settle``, the sensor fails. It
    also fails if the service is ``Failed`` or ``Stopped`` for ``settle``, or for an hour during an update.

    Choose ``mode="reschedule"`` or ``deferrable=True``, not both. With ``mode="reschedule"`` the sensor
    remembers nothing between two looks. Then ``max_unhealthy`` has no effect, and ``auth_grace`` counts from
    the first look. On Airflow 2.11, ``timeout`` then counts from the first try.

    XComs: ``return_value`` and ``modelId`` are the model version. ``service`` is the service as the platform
    described it; the sensor pushes it also if the service failed or was stopped.

    :param service_id: the service, ``svco-…`` (templated).
    :param model_id: the model version to serve, ``amv-…`` (templated).
    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``
        (templated).
    :param deferrable: wait in the triggerer instead of in a worker. Default: Airflow's ``[operators]
        default_deferrable``.
    :param settle: seconds that the platform may take to show what was just created or changed. Default: 120.
    :param max_unhealthy: seconds that a wait goes on without a healthy answer from the platform. Default:
        3600. In a deferred wait, the worker and the triggerer count separately.
    :param auth_grace: seconds that a wait goes on if the platform refuses a key that has worked, or if the
        proxy or the CA bundle can no longer be used. Default: 600. In a deferred wait, the worker and the
        triggerer count separately.
    :param asset: an ``Asset`` or an ``AssetAlias`` to update when this task succeeds. If the task deploys to
        a service or checks one, the alias gets the asset of the service. Otherwise the alias gets the asset
        of the model version. Default: only ``outlets`` are updated.
    :param poke_interval: seconds between two looks. Default: 60. In a deferred wait, at least 1.
    :param exponential_backoff: lengthen the interval as the wait goes on, up to ``max_wait``.
        ``deferrable=True`` requires ``max_wait``. Default: False.
    :param timeout: seconds that one try waits. In a deferred wait, ``execution_timeout`` ends the try, too,
        if it is shorter. Default: Airflow's ``[sensors] default_timeout`` (7 days).
    :raises ValueError: if an argument is invalid, for example empty or the text ``"None"``. Literal values
        are checked when the DAG file is parsed, templated values when the task starts.
    :raises QianfanGateError: if the service failed, was stopped or is missing. Final; skipped under
        ``soft_fail``.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer. Airflow
        retries the task as its ``retries`` say; ``soft_fail`` does not skip it.
    :raises AirflowSensorTimeout: if ``timeout`` is over. Final; skipped under ``soft_fail``.
    :raises AirflowTaskTimeout: if ``execution_timeout`` is over. Airflow retries the task as its ``retries``
        say.
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
        asset: Asset | AssetAlias | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            qianfan_conn_id=qianfan_conn_id,
            deferrable=deferrable,
            settle=settle,
            max_unhealthy=max_unhealthy,
            auth_grace=auth_grace,
            asset=asset,
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
            Lineage(model_id=model_id, service_id=service.id),
        )
