"""A sensor that waits for a model version."""

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


class QianfanModelSensor(QianfanSensor):
    """
    Wait until a model version is ``Ready``.

    Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Plw02jx3a.

    If the platform does not show the model version within ``settle``, the sensor fails.

    Choose ``mode="reschedule"`` or ``deferrable=True``, not both. With ``mode="reschedule"`` the sensor
    remembers nothing between two looks. Then ``max_unhealthy`` has no effect, and ``auth_grace`` counts from
    the first look. On Airflow 2.11, ``timeout`` then counts from the first try.

    XComs: ``return_value`` and ``modelId`` are the model version. ``model`` is the model version as the
    platform described it; the sensor pushes it also if the model version failed.

    :param model_id: the model version to wait for, ``amv-…`` (templated).
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
    :param asset: an ``Asset`` that is updated when this task succeeds; or an ``AssetAlias``, which gets the
        asset of the model version, or of the service if the task is about one. Default: only ``outlets`` are
        updated.
    :param poke_interval: seconds between two looks. Default: 60. In a deferred wait, at least 1.
    :param exponential_backoff: lengthen the interval as the wait goes on, up to ``max_wait``.
        ``deferrable=True`` requires ``max_wait``. Default: False.
    :param timeout: seconds that one try waits. In a deferred wait, ``execution_timeout`` ends the try, too,
        if it is shorter. Default: Airflow's ``[sensors] default_timeout`` (7 days).
    :raises ValueError: if an argument is invalid, for example empty or the text ``"None"``. Literal values
        are checked when the DAG file is parsed, templated values when the task starts.
    :raises QianfanGateError: if the model version failed or is missing. Final; skipped under ``soft_fail``.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer. Airflow
        retries the task as its ``retries`` say; ``soft_fail`` does not skip it.
    :raises AirflowSensorTimeout: if ``timeout`` is over. Final; skipped under ``soft_fail``.
    :raises AirflowTaskTimeout: if ``execution_timeout`` is over. Airflow retries the task as its ``retries``
        say.
    """

    _TEXTS = ("model_id", "qianfan_conn_id")
    template_fields: Sequence[str] = _TEXTS
    described_as = "model"

    def __init__(
        self,
        *,
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
        self.model_id = model_id
        self._check_literals()

    def _target(self, context: Context) -> Target:
        from airflow_provider_qianfan.api.resource import MODEL
        from airflow_provider_qianfan.gate.resource import Resource

        self._check_arguments(context)
        return Resource(MODEL, self.model_id)

    def _opening(self, verdict: Open) -> Opening:
        model = verdict.described
        return Opening(
            f"Model version {clean(model.id, 80)} is ready.",
            model.id,
            {self.described_as: dict(model.json), "modelId": model.id},
            Lineage(model_id=model.id),
        )
