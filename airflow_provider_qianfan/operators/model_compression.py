"""Operators for model compression."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION, Arguments
from airflow_provider_qianfan._compat import AirflowTaskTimeout, running, task_store
from airflow_provider_qianfan._reasons import ReasoningOperator
from airflow_provider_qianfan._xcoms import plain, push, try_to_push
from airflow_provider_qianfan.api.json_values import plain_text, read_if_text
from airflow_provider_qianfan.api.model_compression import (
    FINISHED,
    STATUSES,
    STOPPED,
    STOPPING,
    ModelCompTask,
)
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.exceptions import QianfanTaskFailedError, QianfanTaskNotFoundError
from airflow_provider_qianfan.gate.arguments import (
    IfExists,
    check_config,
    check_if_exists,
    check_seconds,
    is_rendered_later,
)
from airflow_provider_qianfan.gate.memory import DEFAULT_AUTH_GRACE, DEFAULT_MAX_UNHEALTHY, DEFAULT_SETTLE
from airflow_provider_qianfan.gate.selection import Selector, matches
from airflow_provider_qianfan.gate.wording import name_of
from airflow_provider_qianfan.links import QianfanConsoleLink
from airflow_provider_qianfan.operators._waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_qianfan.changes.compression import NewTask
    from airflow_provider_qianfan.hooks.qianfan import QianfanHook
    from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

FILTERS = ("source_model_id", "name", "created_after")
_ROWS_SHOWN = 20
_OLDEST = datetime.min.replace(tzinfo=UTC)


class QianfanListModelCompTasksOperator(Arguments, ReasoningOperator):
    """
    List model compression tasks, newest first: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/wlxcnboaq.

    Reads the whole list, as the platform's order is not documented and it has no filters but the source
    model's. Pushes a list of the tasks as the platform describes them (``id``, ``name``, ``status``,
    ``sourceModelId``, ``modelId``, …); an empty list is a success.

    :param source_model_id: only tasks of this model version, ``amv-…`` (templated).
    :param statuses: only tasks with one of these statuses: ``creating``, ``running``, ``succeeded``,
        ``failed``, ``stopping``, ``stopped``. Default: any (templated).
    :param name: only tasks of exactly this name (templated).
    :param created_after: only tasks not created before this: a timedelta before the start of the DAG run; or
        ISO 8601 text, a date or a datetime, UTC if it has no offset. Compared at whole seconds. Tasks that do
        not say when they were created are left out (templated).
    :param limit: return the newest so many, default 100: the list is history, and an XCom is not the place
        for all of it. None for all.
    :param qianfan_conn_id: a connection of type ``qianfan`` (templated).
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanError: if the platform refuses or gives no answer.
    """

    _TEXTS = (*FILTERS, "qianfan_conn_id")
    _STRUCTURES = ("statuses",)
    _OPTIONAL = FILTERS
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
        limit: int | None = 100,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_model_id = source_model_id
        self.statuses = statuses if statuses is None else _check_statuses(statuses)
        self.name = name
        self.created_after = created_after
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
        statuses = None if self.statuses is None else _check_statuses(self.statuses, rendered=True)
        with QianfanHook(self.qianfan_conn_id) as hook:
            tasks = hook.list_model_comp_tasks(selector.source_model_id)
        found = [
            task
            for task in tasks
            if matches(task, selector) and (statuses is None or task.status in statuses)
        ]
        found.sort(key=lambda task: task.create_time or _OLDEST, reverse=True)
        kept = found[: self.limit]
        self.log.info("%d of %d model compression tasks fit.\n%s", len(found), len(tasks), _table(kept))
        if len(kept) < len(found):
            self.log.warning("Returning the newest %d of them; raise limit for more.", len(kept))
        return [plain(dict(task.json)) for task in kept]


class QianfanCreateModelCompTaskOperator(WaitingOperator):
    """
    Create a model compression task, once: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlxcnb2ji.

    The platform has no idempotency key, so a mark is put behind the description, ``… [airflow:<16 hex>]``,
    made from the dag id, the run id, the task id, the map index and ``nonce``. It is the same in each try,
    and after a clear. Before a task is created, one of the same source model with this mark is looked for,
    and adopted. If the answer to the creation is lost, or an earlier try may have sent one, it is looked for
    during ``settle``. So there will be one task, if it becomes visible in the list within that time. Each
    sending of the request comes after a look and a note, leaves within seconds of both or not at all, and
    expires within ``settle``.

    A cleared task adopts the compression of its run, also one that failed or was stopped. To create another,
    trigger another run, or change ``nonce`` and clear, or delete the compression on the platform and clear.

    The source model has to be ``Ready`` and to support compression. What the platform does not say of that,
    and what the key may not see, is warned about and left for the platform to refuse.

    XComs: ``model_comp_task_id``, as soon as it is known; ``return_value``, the same. With
    ``wait_for_completion`` what :class:`.QianfanModelCompTaskSensor` pushes: ``return_value`` and
    ``modelId``, the produced model, if the task succeeded; ``model_comp_task``, the task as the platform
    described it.

    :param name: the task's name (templated).
    :param source_model_id: the model version to compress, ``amv-…`` (templated).
    :param model_set_id: the model that will own the produced version, ``am-…`` (templated).
    :param config: how to compress: ``strategy`` is ``Quantization`` or ``Sparsity``; the first needs
        ``weight``, such as ``INT8-PTQ``. Anything else in it is passed on as it is (templated).
    :param description: free text; the mark comes after it. How long it may be is not documented: if the
        platform cut the mark off, a task whose answer was lost could not be found (templated).
    :param nonce: text that tells one creation from another in the same task of the same run; another value,
        and a cleared task creates anew. Also for Airflows that share an account and a DAG. Must not change
        from try to try (templated).
    :param if_exists: what to do if an earlier try has created the task: ``"adopt"`` it (default), or
        ``"fail"``.
    :param settle: seconds in which a task that was created may still be missing in the list, default 120.
    :param wait_for_completion: wait for the end of the compression, as the sensor does, rather than end when
        it has been created (default).
    :param wait_for_model_ready: wait for the produced model version to be ``Ready``, too. Needs
        ``wait_for_completion``. Default: the success of the task is enough.
    :param cancel_on_kill: cancel the compression if this task is killed while it waits: its worker is
        stopped, or ``execution_timeout`` is over; or a user ends it while it is deferred (Airflow 3.3 and
        newer; not if it is cleared). Default False: a worker may be stopped for reasons of its own, and the
        next try then adopts the compression.
    :param deferrable: wait in a triggerer. Default: ``[operators] default_deferrable``.
    :param poke_interval: seconds between two looks, default 60.
    :param timeout: seconds that one try waits, default ``[sensors] default_timeout`` (7 days).
    :param max_unhealthy: seconds without one healthy answer of the platform, default 3600. If deferrable, the
        worker and the triggerer have a clock each, for ``auth_grace``, too.
    :param auth_grace: seconds for which a key that has worked may be refused, or its proxy or CA bundle be
        unusable, default 600.
    :param qianfan_conn_id: a connection of type ``qianfan`` (templated).
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanModelUnusableError: the source model was not made, or does not support compression. Final.
    :raises QianfanTaskExistsError: ``if_exists="fail"``. Final.
    :raises QianfanTaskAmbiguousError: several tasks carry the mark. Final.
    :raises QianfanError: for now: also if the source model is not ready yet, or if it is not known whether
        the task was created. Retried as ``retries`` say.

    With ``wait_for_completion`` it also raises what :class:`.QianfanModelCompTaskSensor` raises.
    """

    _TEXTS = ("name", "source_model_id", "model_set_id", "description", "nonce", "qianfan_conn_id")
    _STRUCTURES = ("config",)
    template_fields: Sequence[str] = (*_TEXTS, *_STRUCTURES)
    template_fields_renderers = {"config": "json"}  # noqa: RUF012  Airflow's own form
    operator_extra_links = (QianfanConsoleLink(),)
    _OPTIONAL = ("description", "nonce")

    model_comp_task_id: str | None = None
    """Once it is known; the link shows it."""

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
        """Make what is wanted from the rendered values."""
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
        """Create the task, or adopt it, and wait for its end if that is asked for."""
        # These load what a DAG file's parse need not.
        from airflow_provider_qianfan.changes.journal import Journal, Ports
        from airflow_provider_qianfan.changes.once import create_once
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        wanted = self._wanted(context)
        identity = {"mark": wanted.mark, "source_model_id": wanted.source_model_id}
        tries = context["ti"].try_number
        journal = Journal(task_store(context), "qianfan_model_comp_task", identity, tries)
        ports = Ports(self.settle, time.time, lambda level, text: self.log.log(level, "%s", text))
        with QianfanHook(self.qianfan_conn_id) as hook:
            task_id = hook.run(create_once(hook.exchange, wanted, self.if_exists, journal, ports))
        self.model_comp_task_id = task_id
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
        """Resume after a deferral, as the sensor does. Creates nothing."""
        from airflow_provider_qianfan.gate.look import target_of

        event = event if isinstance(event, Mapping) else {}
        selector = Selector.from_json(target_of(event))
        if selector is None or selector.model_comp_task_id is None:
            selector = self._look_up(context)
        self.model_comp_task_id = selector.model_comp_task_id
        sensor = self._sensor(str(selector.model_comp_task_id), selector.source_model_id)
        event = {**event, "target": selector.to_json()}
        return self._wait(lambda: sensor.execute_complete(context, event))

    def _look_up(self, context: Context) -> Selector:
        """Find the task that was created before a deferral, of which the event has lost the id."""
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

    def _sensor(self, task_id: str, source_model_id: str | None) -> QianfanModelCompTaskSensor:
        """Make the sensor that waits for the task; it says, pushes and raises what it always does."""
        from airflow_provider_qianfan.sensors.model_compression import QianfanModelCompTaskSensor

        if self.cancel_on_kill:
            self._prepare_kill(task_id)
        sensor = QianfanModelCompTaskSensor(
            model_comp_task_id=task_id,
            source_model_id=source_model_id,
            wait_for_model_ready=self.wait_for_model_ready,
            **self._for_the_sensor(),
        )
        sensor._cancel_on_kill = self.cancel_on_kill
        return sensor

    def _wait(self, wait: Callable[[], Any]) -> Any:
        try:
            return wait()
        except QianfanTaskFailedError as error:
            from airflow_provider_qianfan.changes.compression import AGAIN

            told = f"{error} A cleared task adopts the same compression again. {AGAIN}"
            again = error.made(QianfanTaskFailedError, told).with_traceback(error.__traceback__)
            raise again from error.__cause__

    def _prepare_kill(self, task_id: str) -> None:
        """Read the connection now: in a signal handler Airflow cannot be asked for anything."""
        from airflow_provider_qianfan.api.exchange import RetryPolicy

        # on_kill() had better find this module loaded.
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
        """Cancel the task if its id is known, and that is asked for."""
        if self._killable is None:
            return
        hook, task_id = self._killable
        self._killable = None
        try:
            from airflow_provider_qianfan.changes.cancellation import cancel_unfinished

            task = hook.run(cancel_unfinished(hook.exchange, task_id))
        except Exception:
            # This runs in the middle of whatever was running.
            shown = clean(task_id, 80)
            self.log.exception("%s could not be cancelled. Look at it in the Qianfan console.", shown)
        else:
            self.log.info("Cancelled, as this Airflow task is killed: %s.", name_of(task))


class QianfanCancelModelCompTaskOperator(Arguments, ReasoningOperator):
    """
    Cancel a model compression task: https://cloud.baidu.com/doc/WENXINWORKSHOP/s/llxcncxsd.

    It becomes ``stopping``, then ``stopped``. One that has finished is left as it is, with a warning: this
    is a success, as there is nothing to cancel.

    XCom: ``model_comp_task``, the task as the platform described it last. If it cannot be pushed,
    the log warns, and this task still succeeds.

    :param model_comp_task_id: the task, ``amva-…`` (templated).
    :param wait_for_completion: wait, in the worker, until the task has ended, rather than until the platform
        has taken the order (default). It may have succeeded or failed meanwhile: see the XCom.
    :param poke_interval: seconds between two looks, default 10.
    :param timeout: seconds to wait, default 600.
    :param qianfan_conn_id: a connection of type ``qianfan`` (templated).
    :raises ValueError: at parse for literal values, at start for rendered ones, if they cannot be meant.
    :raises QianfanTaskNotFoundError: there is no such task. Final.
    :raises QianfanError: the platform refuses, gives no answer, or the task has not ended in time. Retried as
        ``retries`` say; a task that is being cancelled is not cancelled again.
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
    Check ``statuses``, as far as they are known before templates are rendered.

    :param statuses: a sequence or a set, also one that Airflow reads item by item, or JSON text of a list.
    :param rendered: whether they have been.
    :returns: a list of them, unless a template stands for the whole.
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
    rows = [("ID", "STATUS", "CREATED", "SOURCE MODEL", "PRODUCED MODEL", "NAME")]
    for task in tasks[:_ROWS_SHOWN]:
        created = task.create_time.strftime("%Y-%m-%d %H:%M:%SZ") if task.create_time else "-"
        values = (task.id, task.status, created, task.source_model_id, task.model_id, task.name)
        rows.append(tuple(clean(value or "-", 40) for value in values))  # type: ignore[arg-type]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines + [f"… and {len(tasks) - _ROWS_SHOWN} more"] * (len(tasks) > _ROWS_SHOWN))
