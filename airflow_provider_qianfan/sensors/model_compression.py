"""The gate: a sensor that waits for a model compression task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION
from airflow_provider_qianfan._compat import KILL
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.arguments import check_if_several
from airflow_provider_qianfan.gate.memory import DEFAULT_AUTH_GRACE, DEFAULT_MAX_UNHEALTHY, DEFAULT_SETTLE
from airflow_provider_qianfan.gate.selection import CRITERIA, Selector
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.links import QianfanConsoleLink
from airflow_provider_qianfan.sensors._waiting import Opening, QianfanSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_qianfan.gate.arguments import IfSeveral
    from airflow_provider_qianfan.gate.verdict import Open
    from airflow_provider_qianfan.triggers.waiting import QianfanTrigger


class QianfanModelCompTaskSensor(QianfanSensor):
    """
    Wait until a model compression task has succeeded, and push the model it produced.

    Rests on https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq. Which task is meant is safest told by
    ``model_comp_task_id``, then by a ``name`` of this run, then by ``source_model_id`` with
    ``created_after``. Every criterion that is given must hold. Of several tasks that fit, the newest counts.

    XComs: ``return_value`` and ``modelId``, the produced model, if the task succeeded; ``model_comp_task``,
    the task as the platform described it, also if it failed or was stopped.

    :param source_model_id: the model version being compressed, ``amv-…`` (templated).
    :param model_comp_task_id: the task, ``amva-…`` (templated). One that is not there for ``settle`` seconds
        is an error.
    :param name: the task's name (templated).
    :param created_after: the task was not created before this: a timedelta before the start of the DAG run;
        or ISO 8601 text, a date or a datetime, UTC if it has no offset. Compared at whole seconds
        (templated).
    :param if_several: what to do if several tasks that fit are ``creating`` or ``running`` at once:
        ``"fail"`` (default), or ``"newest"``, to let the newest count and warn.
    :param wait_for_model_ready: whether the produced model version has to be ``Ready``, too, before the gate
        opens. Default: the success of the task is enough.
    :param qianfan_conn_id: a connection of type ``qianfan`` (templated).
    :param deferrable: wait in a triggerer rather than in a worker. Default: ``[operators]
        default_deferrable``, unless ``mode="reschedule"`` is given.
    :param settle: seconds for which a given task id may be missing, default 120.
    :param max_unhealthy: seconds without one healthy answer of the platform, default 3600. If deferrable, the
        worker and the triggerer have a clock each, for ``auth_grace``, too.
        ``mode="reschedule"`` keeps no memory between two looks and knows ``timeout`` only.
    :param auth_grace: seconds for which a key that has worked may be refused (it may be rotated), or its
        proxy or CA bundle be unusable, default 600; ``mode="reschedule"`` counts them from the first look.
    :param poke_interval: seconds between two looks, default 60. Baidu's own SDK takes 15; at least 1 if
        deferrable.
    :param exponential_backoff: each interval is as long as all before it together, up to ``max_wait``, which
        has to be given if deferrable. Default: all intervals are ``poke_interval``.
    :param timeout: seconds for one try, default ``[sensors] default_timeout`` (7 days). Deferrable: the wait
        also ends at ``execution_timeout``, which Airflow 3 does not enforce on a deferred task.
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanGateError: the task failed, was stopped, cannot be told from others, or is not there.
        Final; skipped under ``soft_fail``.
    :raises QianfanError: the platform refuses the request or the key, or gives no healthy answer. Retried as
        ``retries`` say, and not skipped under ``soft_fail``.
    :raises AirflowSensorTimeout: the time is up.
    """

    _TEXTS = (*CRITERIA, "qianfan_conn_id")
    _OPTIONAL = CRITERIA
    template_fields: Sequence[str] = _TEXTS
    described_as = "model_comp_task"
    operator_extra_links = (QianfanConsoleLink(),)

    _cancel_on_kill = False
    """Cancel the compression if a user ends the deferred task: only for the task that created it."""

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
        self.source_model_id = source_model_id
        self.model_comp_task_id = model_comp_task_id
        self.name = name
        self.created_after = created_after
        self.if_several = check_if_several("fail" if if_several is None else if_several)
        self.wait_for_model_ready = wait_for_model_ready
        if source_model_id is None and model_comp_task_id is None:
            raise ValueError(
                "Give source_model_id or model_comp_task_id: nothing else tells which task is meant."
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
        )

    def _trigger(self, **arguments: Any) -> QianfanTrigger:
        from airflow_provider_qianfan.triggers.model_compression import QianfanModelCompTaskTrigger

        if self._cancel_on_kill and not KILL.is_there():
            self.log.warning(
                "If somebody ends this task while it is deferred, its compression goes on, although"
                " cancel_on_kill is set. To cancel it then, you need Airflow 3.3 or newer."
            )
        return QianfanModelCompTaskTrigger(cancel_on_kill=self._cancel_on_kill, **arguments)
