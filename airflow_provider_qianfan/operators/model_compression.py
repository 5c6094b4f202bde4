"""Operators for model compression."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION, Arguments
from airflow_provider_qianfan._compat import AirflowTaskTimeout, running, task_store
from airflow_provider_qianfan._reasons import ReasoningOperator
from airflow_provider_qianfan._xcoms import plain, push, try_to_push
from airflow_provider_qianfan.api.errors import is_transient
from airflow_provider_qianfan.api.json_values import plain_text, read_if_text
from airflow_provider_qianfan.api.model_compression import (
    FAILED,
    FINISHED,
    STATUSES,
    STOPPED,
    STOPPING,
    ModelCompTask,
)
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.assets._lineage import Lineage
from airflow_provider_qianfan.exceptions import (
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanRateLimitError,
    QianfanTaskFailedError,
    QianfanTaskNotFoundError,
)
from airflow_provider_qianfan.gate.arguments import (
    IfExists,
    check_config,
    check_if_exists,
    check_seconds,
    is_rendered_later,
    read_since,
)
from airflow_provider_qianfan.gate.memory import DEFAULT_AUTH_GRACE, DEFAULT_MAX_UNHEALTHY, DEFAULT_SETTLE
from airflow_provider_qianfan.gate.selection import Selector, matches
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.links import QianfanConsoleLink
from airflow_provider_qianfan.operators._waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Asset, AssetAlias, Context

    from airflow_provider_qianfan.changes.compression import NewTask
    from airflow_provider_qianfan.hooks.qianfan import QianfanHook
    from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

FILTERS = ("source_model_id", "name", "created_after")
_ROWS_SHOWN = 20
_MOST_LOST = 2
"""Answers about reasons that may be lost before the list operator stops asking."""
_OLDEST = datetime.min.replace(tzinfo=UTC)


class QianfanListModelCompTasksOperator(Arguments, ReasoningOperator):
    """
    List model compression tasks, newest first.

    Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq.

    The operator reads the whole list, because the platform does not document the order and filters by source
    model alone. ``return_value`` is a list of the tasks as the platform describes them (``id``, ``name``,
    ``status``, ``sourceModelId``, ``modelId``, …). An empty list is a success.

    :param source_model_id: match only tasks that compress this model version, ``amv-…`` (templated).
    :param statuses: match only tasks with one of these statuses: ``creating``, ``running``, ``succeeded``,
        ``failed``, ``stopping``, ``stopped``. Default: any (templated).
    :param name: match only tasks with exactly this name (templated).
    :param created_after: match only tasks created at this time or later: a timedelta before the start of the
        DAG run, or ISO 8601 text, a date or a datetime (UTC unless it has an offset). Fractions of a second
        do not count. Tasks without a creation time do not match (templated).
    :param finished_after: match only tasks that finished at this time or later, in the same forms as
        ``created_after``. Tasks without a finish time do not match (templated).
    :param failure_reasons: whether to ask the platform why each returned task failed, which costs one more
        request for each failed task. The reason is ``failedReason`` in the task, and the last column of the
        table in the log. Default: False.
    :param limit: return at most this many tasks, the newest ones. Default: 100, because a long list does not
        belong in an XCom. None: all.
    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``
        (templated).
    :raises ValueError: if an argument is invalid, for example empty or the text ``"None"``. Literal values
        are checked when the DAG file is parsed, templated values when the task starts.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer. Airflow
        retries the task as its ``retries`` say.
    """

    _TEXTS = (*FILTERS, "finished_after", "qianfan_conn_id")
    _STRUCTURES = ("statuses",)
    _OPTIONAL = (*FILTERS, "finished_after")
    template_fields: Sequence[str] = (*_TEXTS, *_STRUCTURES)
    ui_color = "#e3ecfc"
    operator_extra_links = (QianfanConsoleLink(),)

    if TYPE_CHECKING:
        # What a type checker knows of Airflow's XComArg allows neither output[0] nor report(output).
        output: Any

    def __init__(
        self,
        *,
        source_model_id: str | None = None,
        statuses: Sequence[str] | None = None,
        name: str | None = None,
        created_after: str | date | datetime | timedelta | None = None,
        finished_after: str | date | datetime | timedelta | None = None,
        failure_reasons: bool = False,
        limit: int | None = 100,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_model_id = source_model_id
        self.statuses = statuses if statuses is None else _check_statuses(statuses)
        self.name = name
        self.created_after = created_after
        self.finished_after = finished_after
        self.failure_reasons = failure_reasons
        self.limit = limit
        self.qianfan_conn_id = DEFAULT_CONNECTION if qianfan_conn_id is None else qianfan_conn_id
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise ValueError(
                f"limit={clean(repr(limit))} is not a number from 1 up. Leave it out for 100, or pass None"
                " for all."
            )
        self._check_literals()

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """List the tasks."""
        # Loads what a DAG file's parse need not.
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        self._check_arguments(context)
        started = getattr(context.get("dag_run"), "start_date", None)
        selector = Selector.check(
            **{argument: getattr(self, argument) for argument in FILTERS}, run_started=started
        )
        finished_after = None
        if self.finished_after is not None:
            finished_after = read_since("finished_after", self.finished_after, started).replace(microsecond=0)
        statuses = None if self.statuses is None else _check_statuses(self.statuses, rendered=True)
        with QianfanHook(self.qianfan_conn_id) as hook:
            tasks = hook.list_model_comp_tasks(selector.source_model_id)
            found = [
                task
                for task in tasks
                if matches(task, selector)
                and (statuses is None or task.status in statuses)
                and (finished_after is None or (task.finish_time and task.finish_time >= finished_after))
            ]
            found.sort(key=lambda task: task.create_time or _OLDEST, reverse=True)
            kept = found[: self.limit]
            if self.failure_reasons:
                kept = self._with_reasons(hook, kept)
        self.log.info("%d of %d model compression tasks match.\n%s", len(found), len(tasks), _table(kept))
        if len(kept) < len(found):
            self.log.warning("Returning the newest %d of them; raise limit for more.", len(kept))
        return [plain(dict(task.json)) for task in kept]

    def _with_reasons(self, hook: QianfanHook, tasks: Sequence[ModelCompTask]) -> list[ModelCompTask]:
        """Ask why tasks failed. The list is worth more than a reason that the platform does not tell."""
        told, lost = [], 0
        for task in tasks:
            reason = None
            if task.status == FAILED and not task.failed_reason and lost < _MOST_LOST:
                try:
                    detail = hook.get_model_comp_task(task.id)
                    reason = detail and detail.failed_reason
                except (QianfanAuthError, QianfanRateLimitError, QianfanConfigurationError):
                    raise
                except QianfanError as error:  # such as that somebody has deleted the task since
                    lost += is_transient(error)
                    self.log.warning("The platform does not say why %s failed. %s", clean(task.id), error)
            told.append(
                replace(task, failed_reason=reason, json={**task.json, "failedReason": reason})
                if reason
                else task
            )
        if lost == _MOST_LOST:
            self.log.warning("The platform gave no answer %d times. Asking for no more reasons.", lost)
        return told


class QianfanCreateModelCompTaskOperator(WaitingOperator):
    """
    Create a model compression task, once.

    Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji.

    The platform has no idempotency keys. So the operator appends a mark to the description: ``[airflow:<16
    hex digits>]``. The mark is made from the DAG ID, the run ID, the task ID, the map index and ``nonce``. It
    is the same in every try, and after a clear.

    Before it creates a task, the operator looks for one with this mark and source model. If there is one, the
    operator adopts it. If the answer to a request was lost, or if an earlier try may have sent a request, the
    operator looks for the task until ``settle`` is over. So there is one task, if the platform lists a new
    task within ``settle``. Before each request, the operator looks again and, on Airflow 3.3 and newer,
    leaves a note for the next try. The request then leaves within seconds or not at all, and expires within
    ``settle``.

    The platform does not document how long a description may be. If it cut the mark off, the operator could
    not find a task whose answer was lost.

    If you clear this Airflow task, the operator adopts the same compression again, even if that failed or was
    stopped. To create another compression, trigger another run; or change ``nonce`` and clear; or delete the
    compression on the platform and clear.

    The source model has to be ``Ready`` and to support compression. If the platform does not say whether it
    is and does, or if the key may not see the source model, the operator warns and lets the platform decide.

    With ``wait_for_completion`` the operator then waits until the compression has ended, and pushes and
    raises what :class:`.QianfanModelCompTaskSensor` does. ``wait_for_model_ready``, ``cancel_on_kill``,
    ``asset`` and ``deferrable=True`` need ``wait_for_completion``.

    With ``cancel_on_kill`` the compression is cancelled if the worker is stopped or ``execution_timeout`` is
    over. While the task is deferred, the compression is cancelled if a user ends the task (Airflow 3.3 and
    newer), but not if a user clears it. Leave ``cancel_on_kill`` off if your workers are stopped for other
    reasons: the next try then adopts the compression.

    XComs: ``model_comp_task_id`` is pushed as soon as it is known, and is also the ``return_value``. With
    ``wait_for_completion``, ``return_value`` and ``modelId`` are the produced model version, and
    ``model_comp_task`` is the task as the platform described it.

    :param name: name of the new task (templated).
    :param source_model_id: the model version to compress, ``amv-…`` (templated).
    :param model_set_id: the model set that will own the produced model version, ``am-…`` (templated).
    :param config: how to compress. ``strategy`` is ``Quantization`` or ``Sparsity``. ``Quantization`` needs
        ``weight``, such as ``INT8-PTQ``. Other keys are passed on unchanged (templated).
    :param description: free text; the mark is appended to it (templated).
    :param nonce: text that goes into the mark. If you change it and clear this Airflow task, the task creates
        anew. If several Airflows run the same DAG with the same account, give each its own. It must not
        change from try to try (templated).
    :param if_exists: how to treat a task or service that an earlier try has created: ``"adopt"`` (default)
        continues with it, ``"fail"`` ends with an error.
    :param wait_for_model_ready: also wait until the produced model version is ``Ready``. Default: False.
    :param cancel_on_kill: cancel the compression if this Airflow task is killed while it waits. Default:
        False.
    :param settle: seconds that the platform may take to show what was just created or changed. Default: 120.
    :param wait_for_completion: wait until the platform has finished. Default: False; the operator ends as
        soon as the platform has accepted the request.
    :param deferrable: wait in the triggerer instead of in a worker. Default: Airflow's ``[operators]
        default_deferrable``.
    :param poke_interval: seconds between two looks. Default: 60. In a deferred wait, at least 1.
    :param timeout: seconds that one try waits. In a deferred wait, ``execution_timeout`` ends the try, too,
        if it is shorter. Default: Airflow's ``[sensors] default_timeout`` (7 days).
    :param max_unhealthy: seconds that a wait goes on without a healthy answer from the platform. Default:
        3600. In a deferred wait, the worker and the triggerer count separately.
    :param auth_grace: seconds that a wait goes on if the platform refuses a key that has worked, or if the
        proxy or the CA bundle can no longer be used. Default: 600. In a deferred wait, the worker and the
        triggerer count separately.
    :param asset: an ``Asset`` or an ``AssetAlias`` to update when this task succeeds. If the task deploys to
        a service or checks one, the alias gets the asset of the service. Otherwise the alias gets the asset
        of the model version. Default: only ``outlets`` are updated.
    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``
        (templated).
    :raises ValueError: if an argument is invalid, for example empty or the text ``"None"``. Literal values
        are checked when the DAG file is parsed, templated values when the task starts.
    :raises QianfanModelUnusableError: if the source model failed, or does not support compression. Final.
    :raises QianfanTaskExistsError: if ``if_exists="fail"`` and an earlier try has created the task. Final.
    :raises QianfanTaskAmbiguousError: if several tasks carry the mark. Final.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer; if the
        source model is not ready yet; or if nobody knows whether the task was created. Airflow retries the
        task as its ``retries`` say.
    """

    _TEXTS = ("name", "source_model_id", "model_set_id", "description", "nonce", "qianfan_conn_id")
    _STRUCTURES = ("config",)
    template_fields: Sequence[str] = (*_TEXTS, *_STRUCTURES)
    template_fields_renderers = {"config": "json"}  # noqa: RUF012  Airflow's own form
    _OPTIONAL = ("description", "nonce")

    model_comp_task_id: str | None = None
    """Set once it is known, for the link to the console."""

    _killable: tuple[QianfanHook, str] | None = None

    def __init__(
        self,
        *,
        name: str,
        source_model_id: str,
        model_set_id: str,
        config: Mapping[str, Any],
        description: str | None = None,
        nonce: str | None = None,
        if_exists: IfExists | None = "adopt",
        settle: float | timedelta | None = DEFAULT_SETTLE,
        wait_for_completion: bool = False,
        wait_for_model_ready: bool = False,
        cancel_on_kill: bool = False,
        deferrable: bool | None = None,
        poke_interval: float | timedelta | None = 60.0,
        timeout: float | timedelta | None = None,
        max_unhealthy: float | timedelta | None = DEFAULT_MAX_UNHEALTHY,
        auth_grace: float | timedelta | None = DEFAULT_AUTH_GRACE,
        asset: Asset | AssetAlias | None = None,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            settle=settle,
            wait_for_completion=wait_for_completion,
            deferrable=deferrable,
            poke_interval=poke_interval,
            timeout=timeout,
            max_unhealthy=max_unhealthy,
            auth_grace=auth_grace,
            asset=asset,
            qianfan_conn_id=qianfan_conn_id,
            **kwargs,
        )
        self.name = name
        self.source_model_id = source_model_id
        self.model_set_id = model_set_id
        self.config = check_config(config)
        self.description = description
        self.nonce = nonce
        self.if_exists = check_if_exists("adopt" if if_exists is None else if_exists)
        self.wait_for_model_ready = bool(
            self._if_it_waits("wait_for_model_ready", wait_for_model_ready, "it comes after that", kwargs)
        )
        self.cancel_on_kill = bool(
            self._if_it_waits("cancel_on_kill", cancel_on_kill, "it ends with the waiting", kwargs)
        )
        self._check_literals()

    def _wanted(self, context: Context) -> NewTask:
        """Make the new task from the rendered values."""
        from airflow_provider_qianfan.changes.compression import NewTask
        from airflow_provider_qianfan.changes.journal import fingerprint

        self._check_arguments(context)
        ti = context["ti"]
        return NewTask(
            name=self.name,
            source_model_id=self.source_model_id,
            model_set_id=self.model_set_id,
            config=check_config(self.config, rendered=True),
            mark=fingerprint(ti.dag_id, ti.run_id, ti.task_id, ti.map_index, self.nonce),
            description=self.description,
        )

    def execute(self, context: Context) -> Any:
        """Create the task, or adopt it. Wait for its end if ``wait_for_completion`` is set."""
        # These load what a DAG file's parse need not.
        from airflow_provider_qianfan.changes.journal import Journal, Ports
        from airflow_provider_qianfan.changes.once import create_once
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        wanted = self._wanted(context)
        tries = context["ti"].try_number
        journal = Journal(task_store(context), "qianfan_model_comp_task", wanted.identity, tries)
        ports = Ports(self.settle, time.time, lambda level, text: self.log.log(level, "%s", text))
        with QianfanHook(self.qianfan_conn_id) as hook:
            task_id = hook.run(create_once(hook.exchange, wanted, self.if_exists, journal, ports))
        self._found(task_id, wanted.source_model_id)
        push(context, "model_comp_task_id", task_id)
        self.log.info("The model compression task is %s.", clean(task_id, 80))
        if not self.wait_for_completion:
            return task_id
        sensor = self._sensor(task_id, wanted.source_model_id)

        def wait() -> Any:
            with running(sensor):
                return sensor.execute(context)

        return self._wait(wait)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Resume after a deferral, as the sensor does. Create nothing."""
        from airflow_provider_qianfan.gate.look import target_of

        event = event if isinstance(event, Mapping) else {}
        selector = Selector.from_json(target_of(event))
        if selector is None or selector.model_comp_task_id is None:
            selector = self._look_up(context)
        task_id = str(selector.model_comp_task_id)
        self._found(task_id, selector.source_model_id)
        sensor = self._sensor(task_id, selector.source_model_id)
        event = {**event, "target": selector.to_json()}
        return self._wait(lambda: sensor.execute_complete(context, event))

    def _look_up(self, context: Context) -> Selector:
        """Find the task that was created before a deferral, if the event has lost its id."""
        from airflow_provider_qianfan.changes.once import find_ours
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        wanted, until = self._wanted(context), time.time() + self.settle
        with QianfanHook(self.qianfan_conn_id) as hook:
            found, _ = hook.run(find_ours(hook.exchange, wanted, lambda: until, time.time))
        if found is None:
            raise QianfanTaskNotFoundError(
                f"There is no model compression task with this task's mark {wanted.mark} any more, although"
                " one was created. Nothing is created in its place. Clear this task to create one.",
                source_model_id=wanted.source_model_id,
            )
        source = found.source_model_id or wanted.source_model_id
        return Selector(source, found.id, model_ready=self.wait_for_model_ready)

    def _found(self, task_id: str, source_model_id: str | None) -> None:
        self.model_comp_task_id = task_id
        self._lineage = Lineage(source_model_id=source_model_id, model_comp_task_id=task_id)

    def _sensor(self, task_id: str, source_model_id: str | None) -> QianfanModelCompTaskSensor:
        """Make the sensor that waits for the task. Its lines, XComs and errors are the usual ones."""
        from airflow_provider_qianfan.sensors._own import CancellingSensor
        from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

        if self.cancel_on_kill:
            self._prepare_kill(task_id)
        return (CancellingSensor if self.cancel_on_kill else QianfanModelCompTaskSensor)(
            model_comp_task_id=task_id,
            source_model_id=source_model_id,
            wait_for_model_ready=self.wait_for_model_ready,
            **self._for_the_sensor(),
        )

    def _wait(self, wait: Callable[[], Any]) -> Any:
        try:
            produced = wait()
        except QianfanTaskFailedError as error:
            from airflow_provider_qianfan.changes.compression import AGAIN

            told = f"{error} A cleared task adopts the same compression again. {AGAIN}"
            again = error.made(QianfanTaskFailedError, told).with_traceback(error.__traceback__)
            raise again from error.__cause__
        self._lineage = replace(self._lineage or Lineage(), model_id=produced)
        return produced

    def _prepare_kill(self, task_id: str) -> None:
        """Read the connection now: in a signal handler Airflow cannot be asked for anything."""
        from airflow_provider_qianfan.api.exchange import RetryPolicy

        # Loaded now, because on_kill() runs in a signal handler.
        from airflow_provider_qianfan.changes.cancellation import KILL_PATIENCE
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        hook = QianfanHook(self.qianfan_conn_id, retry=RetryPolicy(patience=KILL_PATIENCE))
        try:
            _ = hook.settings  # reads the connection
        except Exception as error:
            self.log.warning(
                "The connection cannot be read, so a kill would not cancel %s: %s",
                clean(task_id, 80),
                type(error).__name__,
            )
        else:
            self._killable = hook, task_id

    def _end_abandoned_wait(self, context: Context) -> NoReturn:
        try:
            super()._end_abandoned_wait(context)
        except AirflowTaskTimeout:  # after which Airflow calls on_kill()
            if self.cancel_on_kill:
                self._prepare_late_kill(context["ti"])
            raise

    def _prepare_late_kill(self, ti: Any) -> None:
        try:
            pushed = ti.xcom_pull(task_ids=ti.task_id, key="model_comp_task_id", map_indexes=ti.map_index)
        except Exception as error:
            self.log.warning(
                "XCom model_comp_task_id cannot be read, so nothing is cancelled: %s", type(error).__name__
            )
        else:
            if isinstance(pushed, str) and pushed:
                self._prepare_kill(pushed)

    def on_kill(self) -> None:
        """Cancel the task if ``cancel_on_kill`` is set and the id is known."""
        if self._killable is None:
            return
        hook, task_id = self._killable
        self._killable = None
        try:
            from airflow_provider_qianfan.changes.cancellation import cancel_unfinished

            task = hook.run(cancel_unfinished(hook.exchange, task_id))
        except Exception:
            # A signal handler interrupts any code: nothing may be raised here.
            shown = clean(task_id, 80)
            self.log.exception("%s could not be cancelled. Look at it in the Qianfan console.", shown)
        else:
            self.log.info("Cancelled, as this Airflow task is killed: %s.", name_of(task))


class QianfanCancelModelCompTaskOperator(Arguments, ReasoningOperator):
    """
    Cancel a model compression task.

    Platform page: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd.

    The task becomes ``stopping``, then ``stopped``. If the task has already finished, the operator warns and
    succeeds: there is nothing to cancel.

    With ``wait_for_completion`` the operator waits, in the worker, until the task has ended. The task may
    still succeed or fail before it stops: see the XCom.

    XCom: ``model_comp_task`` is the task as the platform last described it. If the XCom cannot be pushed, the
    operator warns and succeeds.

    :param model_comp_task_id: the model compression task, ``amva-…`` (templated).
    :param wait_for_completion: wait until the platform has finished. Default: False; the operator ends as
        soon as the platform has accepted the request.
    :param poke_interval: seconds between two looks. Default: 10.
    :param timeout: seconds that one try waits. Default: 600.
    :param qianfan_conn_id: ID of the Airflow connection, of type ``qianfan``. Default: ``qianfan_default``
        (templated).
    :raises ValueError: if an argument is invalid, for example empty or the text ``"None"``. Literal values
        are checked when the DAG file is parsed, templated values when the task starts.
    :raises QianfanTaskNotFoundError: if there is no such task. Final.
    :raises QianfanError: if the platform refuses the request or the key, or gives no healthy answer; or if
        the task has not ended when ``timeout`` is over. Airflow retries the task as its ``retries`` say. A
        retry does not cancel again if the task is already being cancelled.
    """

    _TEXTS = ("model_comp_task_id", "qianfan_conn_id")
    template_fields: Sequence[str] = _TEXTS
    ui_color = "#f5dcd7"
    operator_extra_links = (QianfanConsoleLink(),)

    def __init__(
        self,
        *,
        model_comp_task_id: str,
        wait_for_completion: bool = False,
        poke_interval: float | timedelta | None = 10.0,
        timeout: float | timedelta | None = 600.0,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_comp_task_id = model_comp_task_id
        self.wait_for_completion = wait_for_completion
        self.poke_interval = check_seconds("poke_interval", poke_interval, 10.0)
        self.timeout = check_seconds("timeout", timeout, 600.0)
        self.qianfan_conn_id = DEFAULT_CONNECTION if qianfan_conn_id is None else qianfan_conn_id
        self._check_literals()

    def execute(self, context: Context) -> None:
        """Cancel the task."""
        # These load what a DAG file's parse need not.
        from airflow_provider_qianfan.changes.cancellation import cancel_unfinished, wait_for_end
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        self._check_arguments(context)
        task_id = self.model_comp_task_id
        with QianfanHook(self.qianfan_conn_id) as hook:
            task = hook.run(cancel_unfinished(hook.exchange, task_id))
            if task.status in FINISHED - {STOPPED}:
                self.log.warning("There is nothing to cancel: %s is %s.", name_of(task), task.status)
            elif task.status in (STOPPED, STOPPING):
                self.log.info("%s was cancelled: it is %s.", name_of(task), task.status)
            else:
                self.log.info("Cancelled %s, which was %s.", name_of(task), clean(task.status, 40))
            if self.wait_for_completion:
                until = time.time() + self.timeout
                task = hook.run(
                    wait_for_end(
                        hook.exchange, task, poke_interval=self.poke_interval, until=until, clock=time.time
                    )
                )
                self.log.info("%s has ended: it is %s.", name_of(task), task.status)
        try_to_push(context, "model_comp_task", dict(task.json), self.log)


def _check_statuses(statuses: Any, *, rendered: bool = False) -> Any:
    """
    Check ``statuses``. Before templates are rendered, check only what is already known.

    :param statuses: a sequence or a set, also one that Airflow reads item by item, or JSON text of a list.
    :param rendered: whether the templates have been rendered.
    :returns: a list of statuses; or the template, if one stands for the whole.
    """
    if not rendered and is_rendered_later(statuses):
        return statuses
    listed = read_if_text("statuses", statuses, "a list of statuses")
    if isinstance(listed, str | bytes) or not isinstance(listed, Sequence | set | frozenset):
        raise ValueError(f"statuses={clean(repr(statuses))} is not a list of statuses.")
    listed = [plain_text(status) if isinstance(status, str) else status for status in listed]
    known = listed if rendered else [status for status in listed if not is_rendered_later(status)]
    if not listed or any(status not in STATUSES for status in known):
        raise ValueError(
            f"statuses={clean(repr(listed))}: choose from {', '.join(STATUSES)}, or leave it out for all."
        )
    return listed


def _table(tasks: Sequence[ModelCompTask]) -> str:
    rows: list[tuple[str, ...]] = [
        ("ID", "STATUS", "CREATED", "SOURCE MODEL", "PRODUCED MODEL", "NAME", "FAILED BECAUSE")
    ]
    for task in tasks[:_ROWS_SHOWN]:
        created = task.create_time.strftime("%Y-%m-%d %H:%M:%SZ") if task.create_time else "-"
        values = (task.id, task.status, created, task.source_model_id, task.model_id, task.name)
        rows.append((*(clean(value or "-", 40) for value in values), clean(task.failed_reason or "-", 200)))
    if not any(task.failed_reason for task in tasks[:_ROWS_SHOWN]):
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines + [f"… and {len(tasks) - _ROWS_SHOWN} more"] * (len(tasks) > _ROWS_SHOWN))
