"""The gate: a sensor that waits for a model compression task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.assets._lineage import Lineage
from airflow_provider_qianfan.gate.arguments import check_if_several
from airflow_provider_qianfan.gate.memory import DEFAULT_AUTH_GRACE, DEFAULT_MAX_UNHEALTHY, DEFAULT_SETTLE
from airflow_provider_qianfan.gate.selection import CRITERIA, Selector
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.sensors._waiting import Opening, QianfanSensor

if TYPE_CHECKING:
    from airflow.sdk import Asset, AssetAlias, Context

    from airflow_provider_qianfan.gate.arguments import IfSeveral
    from airflow_provider_qianfan.gate.verdict import Open
    from airflow_provider_qianfan.triggers.waiting import QianfanTrigger


class QianfanModelCompTaskSensor(QianfanSensor):
    """
    Wait until a model compression task has succeeded, and push the model version that it produced.

    Platform pages: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq (list),
    https://cloud.baidu.com/doc/WENXINWORKSHOP/s/ylxcncgpi (one task).

    Say which task you mean. The safest way is ``model_comp_task_id``. The next best is a ``name`` that only
    this run uses, then ``source_model_id`` with ``created_after``. A task has to match every criterion that
    you give. If several tasks match, the newest counts. If you give ``model_comp_task_id``, and the platform
    does not show that task within ``settle``, the sensor fails.

    Choose ``mode="reschedule"`` or ``deferrable=True``, not both. With ``mode="reschedule"`` the sensor
    remembers nothing between two looks. Then ``max_unhealthy`` has no effect, and ``auth_grace`` counts from
    the first look. On Airflow 2.11, ``timeout`` then counts from the first try.

    XComs: ``return_value`` and ``modelId`` are the produced model version. ``model_comp_task`` is the task as
    the platform described it; the sensor pushes it also if it fails because of this task or of its model
    version.

    :param source_model_id: match only tasks that compress this model version, ``amv-…`` (templated).
    :param model_comp_task_id: the model compression task, ``amva-…`` (templated).
    :param name: match only tasks with exactly this name (templated).
    :param created_after: match only tasks created at this time or later: a timedelta before the start of the
        DAG run, or ISO 8601 text, a date or a datetime (UTC unless it has an offset). Fractions of a second
        do not count. Tasks without a creation time do not match (templated).
    :param if_several: what to do if several matching tasks are ``creating`` or ``running`` at the same time:
        ``"fail"`` (default), or ``"newest"`` to warn and take the newest.
    :param wait_for_model_ready: also wait until the produced model version is ``Ready``. Default: False.
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
    :raises QianfanGateError: if the task failed, was stopped, is missing, or cannot be told apart from other
        tasks. Final; skipped under ``soft_fail``.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer. Airflow
        retries the task as its ``retries`` say; ``soft_fail`` does not skip it.
    :raises AirflowSensorTimeout: if ``timeout`` is over. Final; skipped under ``soft_fail``.
    :raises AirflowTaskTimeout: if ``execution_timeout`` is over. Airflow retries the task as its ``retries``
        say.
    """

    _TEXTS = (*CRITERIA, "qianfan_conn_id")
    _OPTIONAL = CRITERIA
    template_fields: Sequence[str] = _TEXTS
    described_as = "model_comp_task"

    def __init__(
        self,
        *,
        source_model_id: str | None = None,
        model_comp_task_id: str | None = None,
        name: str | None = None,
        created_after: str | date | datetime | timedelta | None = None,
        if_several: IfSeveral | None = "fail",
        wait_for_model_ready: bool = False,
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
        self.source_model_id = source_model_id
        self.model_comp_task_id = model_comp_task_id
        self.name = name
        self.created_after = created_after
        self.if_several = check_if_several("fail" if if_several is None else if_several)
        self.wait_for_model_ready = wait_for_model_ready
        if source_model_id is None and model_comp_task_id is None:
            raise ValueError(
                "Pass source_model_id or model_comp_task_id: without one of them, no task can be chosen."
            )
        self._check_literals()

    def _target(self, context: Context) -> Selector:
        self._check_arguments(context)
        values = {argument: getattr(self, argument) for argument in CRITERIA}
        started = getattr(context.get("dag_run"), "start_date", None)
        selector = Selector.check(**values, if_several=self.if_several, run_started=started)
        return replace(selector, model_ready=self.wait_for_model_ready)

    def _opening(self, verdict: Open) -> Opening:
        task = verdict.described
        return Opening(
            f"The gate opens: model {clean(verdict.model_id, 80)}, produced by {name_of(task)}.",
            verdict.model_id,
            {self.described_as: dict(task.json), "modelId": verdict.model_id},
            Lineage(verdict.model_id, getattr(task, "source_model_id", None), task.id),
        )

    def _trigger(self, **arguments: Any) -> QianfanTrigger:
        from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger

        return QianfanModelCompTaskTrigger(**arguments)
