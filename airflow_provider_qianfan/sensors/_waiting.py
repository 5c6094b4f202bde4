"""The wait that all sensors of this provider share: one look, three modes."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_qianfan._arguments import DEFAULT_CONNECTION, Arguments
from airflow_provider_qianfan._compat import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
    first_reschedule_date,
    running,
)
from airflow_provider_qianfan._reasons import ReasoningOperator
from airflow_provider_qianfan._xcoms import push, try_to_push
from airflow_provider_qianfan.api.errors import QianfanError, is_transient, retry_after
from airflow_provider_qianfan.assets._lineage import HasLineage, Lineage
from airflow_provider_qianfan.exceptions import QianfanGateError, for_airflow
from airflow_provider_qianfan.gate.arguments import check_seconds
from airflow_provider_qianfan.gate.memory import (
    DEFAULT_AUTH_GRACE,
    DEFAULT_MAX_UNHEALTHY,
    DEFAULT_SETTLE,
    HEARTBEAT,
    Limits,
    Line,
    Memory,
    Observer,
    Run,
    after_failure,
    after_look,
    backoff,
    excuse,
    failure_from_json,
    interval_after,
    reworded,
    timeout_message,
)
from airflow_provider_qianfan.gate.verdict import Fail, Open, Verdict, Wait
from airflow_provider_qianfan.links import QianfanConsoleLink

if TYPE_CHECKING:
    from airflow.sdk import Asset, AssetAlias, Context

    from airflow_provider_qianfan.gate.look import Target
    from airflow_provider_qianfan.hooks.qianfan import QianfanHook
    from airflow_provider_qianfan.triggers.waiting import QianfanTrigger

_RESCHEDULE_LAG = 15.0
"""Seconds that a busy scheduler may take to start a rescheduled look."""

_DAY = 86400.0

_LONGEST_INTERVAL = timedelta(hours=1)
"""The limit if a wait is deferrable with ``exponential_backoff``, and the task did not ask for both."""

_LONGEST_WAIT = 100 * 365 * _DAY
"""Seconds. Airflow cannot store much later times, such as ``timedelta.max`` from now."""

BACKSTOP = 600.0
"""Seconds after the deadline at which Airflow ends a deferral that no trigger has ended."""


@dataclass(frozen=True, slots=True)
class Opening:
    """
    What an opened gate logs and pushes.

    :param line: the line for the log.
    :param value: the task's return value.
    :param xcoms: more XComs, by key, in the order in which they are pushed: other tasks act on the last one.
    :param lineage: what came from what.
    """

    line: str
    value: Any
    xcoms: Mapping[str, Any]
    lineage: Lineage


class QianfanSensor(Arguments, HasLineage, ReasoningOperator, BaseSensorOperator):
    """
    Wait for the platform.

    The classes made from this say what they wait for, what they push, and what the parameters mean.
    """

    ui_color = "#d7e3fc"
    operator_extra_links = (QianfanConsoleLink(),)

    described_as: ClassVar[str]
    """The XCom key of the platform's description, which is pushed even if the wait fails."""

    def __init__(
        self,
        *,
        qianfan_conn_id: str | None = DEFAULT_CONNECTION,
        deferrable: bool | None = None,
        settle: float | timedelta | None = DEFAULT_SETTLE,
        max_unhealthy: float | timedelta | None = DEFAULT_MAX_UNHEALTHY,
        auth_grace: float | timedelta | None = DEFAULT_AUTH_GRACE,
        asset: Asset | AssetAlias | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.qianfan_conn_id = DEFAULT_CONNECTION if qianfan_conn_id is None else qianfan_conn_id
        self.deferrable = self._choose_deferrable(deferrable, kwargs)
        self.settle = check_seconds("settle", settle, DEFAULT_SETTLE)
        self.max_unhealthy = check_seconds("max_unhealthy", max_unhealthy, DEFAULT_MAX_UNHEALTHY)
        self.auth_grace = check_seconds("auth_grace", auth_grace, DEFAULT_AUTH_GRACE)
        self._update(asset)

    @abstractmethod
    def _target(self, context: Context) -> Target:
        """Return the target of the wait, from the rendered values."""

    @abstractmethod
    def _opening(self, verdict: Open) -> Opening:
        """Return what an opened gate logs and pushes."""

    def _trigger(self, **arguments: Any) -> QianfanTrigger:
        from airflow_provider_qianfan.triggers.waiting import QianfanTrigger  # loads the hook

        return QianfanTrigger(**arguments)

    def _choose_deferrable(self, deferrable: bool | None, arguments: Mapping[str, Any]) -> bool:
        """
        Choose how to wait. Values that are written on the task win over inherited ones.

        :param arguments: further arguments of ``__init__``.
        :raises ValueError: if the written values contradict each other.
        """
        written = {
            name: not self._is_inherited(name, value, arguments)
            for name, value in {
                "deferrable": deferrable,
                "mode": self.mode,
                "exponential_backoff": self.exponential_backoff,
            }.items()
        }
        if deferrable and self.reschedule:
            if written["deferrable"] and written["mode"]:
                raise ValueError(
                    "deferrable=True and mode='reschedule' contradict each other. Drop mode to wait in a"
                    " triggerer, or deferrable to wait by rescheduling."
                )
            if written["mode"]:
                deferrable = False
            else:
                self.mode = "poke"  # as with Airflow's sensors, where a deferral leaves no mode to choose
        if deferrable is None:
            written["deferrable"] = False
            deferrable = not self.reschedule and conf.getboolean(
                "operators", "default_deferrable", fallback=False
            )
        if deferrable and self.exponential_backoff and self.max_wait is None:
            if written["deferrable"] and written["exponential_backoff"]:
                raise ValueError(
                    "exponential_backoff=True needs max_wait with deferrable=True: without it, a wait of a"
                    " day would look again after another day. Set max_wait to the longest time between two"
                    " looks."
                )
            self.max_wait = _LONGEST_INTERVAL
        if deferrable:
            self.timeout = min(self.timeout, _LONGEST_WAIT)
        return deferrable

    # -- the wait ----------------------------------------------------------------------------------------

    _wait: _Wait | None = None
    _resuming = False
    _context: Context | None = None
    """The context of the last ``execute``: a subclass may hand a copy to ``execute`` or ``poke``."""

    def execute(self, context: Context) -> Any:
        """Wait as Airflow's own sensors do."""
        self._context = context
        if self._resuming and self._wait is not None:
            self._wait.context, self._resuming = context, False
        try:
            with running(self):
                return super().execute(context)
        except (AirflowTaskTimeout, _ExecutionTimeoutError) as timeout:
            told = str(timeout)
            if self._wait is not None:
                told = timeout_message(self._wait.memory, time.time(), "execution_timeout")
            raise AirflowTaskTimeout(told) from None

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Take one look. It is the same in every mode, and after a deferral."""
        try:
            return self._take_a_look(context)
        except AirflowTaskTimeout as timeout:
            raise _ExecutionTimeoutError(str(timeout)) from None
        except Exception as error:
            verdict = isinstance(error, QianfanGateError | AirflowSensorTimeout)
            if self.never_fail or (self.soft_fail and verdict):  # Airflow does not log the reason of a skip
                self.log.warning("%s This task is skipped (%s).", error, type(error).__name__)
            raise

    def _take_a_look(self, context: Context) -> bool | PokeReturnValue:
        wait = self._wait
        run = context if self._context is None else self._context
        if wait is None or wait.context is not run:  # the first look of this run of execute
            wait = self._begin(context)
            wait.context = run
        if wait.opened:
            raise AirflowFailException(
                "The gate had opened, and poke() was called again: the poke() of a subclass did not return"
                " what super().poke() had returned. Return that value."
            )
        verdict, met, pause = None, None, 0.0
        too_late = self._pokes and time.time() >= wait.memory.expired_at
        try:
            verdict = self._look(wait)
        except QianfanError as error:
            if too_late and is_transient(error):  # time for one request only, and that may have had an answer
                self._end_if_late(wait)
            met, pause = error, self._after_failure(wait, error)
        if isinstance(verdict, Open):
            opening = self._open(context, verdict)
            wait.opened = True
            return opening
        if isinstance(verdict, Fail):
            self._fail(context, verdict)
        self._end_if_late(wait)
        if wait.triggerer_failed is not None:
            self._heed(wait, wait.triggerer_failed, met)
            wait.triggerer_failed = None
        if self.deferrable:
            self._defer(wait, pause)
        if pause > self.poke_interval:
            self._stay_away(wait, pause)
        return False

    @property
    def _pokes(self) -> bool:
        return not self.deferrable and not self.reschedule

    def _stay_away(self, wait: _Wait, pause: float) -> None:
        """Leave the platform alone for longer than an interval, as it asked."""
        if not self.reschedule:
            left = wait.memory.expired_at - time.time()
            time.sleep(max(0.0, min(pause, left) - self.poke_interval))
        elif not self.silent_fail and not self.never_fail:  # they would take the exception for a failure
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=pause))

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Resume after a deferral, whatever the event says: its only message is "look again"."""
        from airflow_provider_qianfan.gate.look import target_from_json, target_of

        event = event if isinstance(event, Mapping) else {}
        # Templates have been rendered again. A wait keeps the values it began with, as in the other modes.
        target = target_from_json(target_of(event)) or self._target(context)
        if isinstance(conn_id := event.get("qianfan_conn_id"), str):
            self.qianfan_conn_id = conn_id
        memory = Memory.from_json(event.get("memory"), now=_first_start(context))
        self._wait = _Wait(
            context,
            target,
            memory if memory.deadline else self._with_deadline(memory),
            Run(Observer.WORKER, time.time()),
            resumed=True,
            triggerer_failed=failure_from_json(event.get("failed")),
        )
        self._resuming = True
        try:
            with running(self):  # all layers of execute, as on the first look
                return self.execute(context)
        finally:
            self._resuming = False

    def _begin(self, context: Context) -> _Wait:
        now = time.time()
        first = first_reschedule_date(context) if self.reschedule else None
        run = Run(Observer.WORKER, now)
        memory = Memory(started=now, try_number=getattr(context["ti"], "try_number", None))
        wait = _Wait(context, self._target(context), self._with_deadline(memory), run)
        if first is not None:
            wait.memory = self._with_deadline(Memory(started=first.timestamp(), forgetful=True))
            # Nothing remembers when the last line was written. So write one if a multiple of ten minutes has
            # passed since the last look. That was one interval ago, plus the seconds that the scheduler took.
            elapsed = now - wait.memory.started
            before = max(0.0, elapsed - self.poke_interval - _RESCHEDULE_LAG)
            wait.quiet = elapsed // HEARTBEAT == before // HEARTBEAT
        self._wait = wait
        return wait

    def _with_deadline(self, memory: Memory) -> Memory:
        limit, execution = self.timeout, self.execution_timeout
        # Airflow enforces execution_timeout on a running task, but not on a deferred one.
        if self.deferrable and execution is not None and execution.total_seconds() < limit:
            return replace(
                memory,
                deadline=memory.started + execution.total_seconds(),
                deadline_is_execution_timeout=True,
            )
        return replace(memory, deadline=memory.started + limit)

    def _look(self, wait: _Wait) -> Verdict:
        from airflow_provider_qianfan.gate.look import take_look  # as late as the hook, which loads urllib3

        with self._connect(wait) as hook:
            verdict = hook.run(
                take_look(hook.exchange, wait.target, wait.memory, settle=self.settle, clock=time.time)
            )
        wait.memory, lines = after_look(
            wait.memory, verdict, time.time(), self.poke_interval, Observer.WORKER
        )
        self._say(lines, quiet=wait.quiet and isinstance(verdict, Wait))
        return verdict

    def _connect(self, wait: _Wait) -> QianfanHook:
        """Read the connection again for each look: its key may have been rotated."""
        from airflow_provider_qianfan.api.exchange import LONGEST_PAUSE, RetryPolicy
        from airflow_provider_qianfan.hooks._settings import reread_failed
        from airflow_provider_qianfan.hooks.qianfan import QianfanHook

        # Only poke mode sleeps through a long Retry-After. It holds a worker slot, so its last look ends at
        # the deadline. In the other modes, the last look may take longer, to survive a blip.
        left = min(max(wait.memory.expired_at - time.time(), 0.0 if self._pokes else LONGEST_PAUSE), _DAY)
        retry = RetryPolicy(
            patience=float("inf") if self._pokes else LONGEST_PAUSE,
            until=datetime.now(UTC) + timedelta(seconds=left),
        )
        hook = QianfanHook(self.qianfan_conn_id, retry=retry)
        try:
            _ = hook.settings  # reads the connection
        except Exception as error:
            if wait.memory.last_healthy is None and not wait.memory.forgetful:
                raise
            raise reread_failed(error) from None
        return hook

    def _after_failure(self, wait: _Wait, error: QianfanError) -> float:
        """
        Return for how many seconds to leave the platform alone after a failed look.

        :raises QianfanError: if the wait must not go on.
        """
        now, limits = time.time(), Limits(self.max_unhealthy, self.auth_grace)
        try:
            wait.memory, lines = after_failure(wait.memory, error, now, limits, wait.run)
        except QianfanError as final:
            lines = self._unless_silent(final)
        self._say(lines, quiet=wait.quiet)
        # If only the triggerer gets answers, it would start the worker again and again.
        again = backoff(wait.memory.worker, now, limits) if wait.resumed and self.deferrable else 0.0
        return max(retry_after(error), again)

    def _heed(self, wait: _Wait, failure: QianfanError, met: QianfanError | None) -> None:
        """
        End a wait whose triggerer gets no answers, although the task on the platform may be well.

        If the worker gets answers, the triggerer may try once more, but only once: it may have recovered.

        :param failure: the error that ended the triggerer's run.
        :param met: the error of the worker's own look; None if the look was healthy.
        :raises QianfanError: ``failure``, with what the worker got.
        """
        health, told = wait.memory.triggerer, f"{failure}".rstrip(".")
        if met is None and not health.excused:
            wait.memory = wait.memory.with_health(Observer.TRIGGERER, excuse(health, failure, time.time()))
            text = f"{told}. Meanwhile {wait.run.place} gets answers. The triggerer may try once more."
            lines = [Line(logging.ERROR, text)]
        else:
            got = "gets answers" if met is None else f"got: {met}".rstrip(".")
            lines = self._unless_silent(reworded(failure, f"{told}. Meanwhile {wait.run.place} {got}."))
        self._say(lines, quiet=False)

    def _unless_silent(self, final: QianfanError) -> list[Line]:
        if not self.silent_fail:
            raise final
        return [Line(logging.ERROR, f"Going on, as silent_fail is set: {final}")]

    def _open(self, context: Context, verdict: Open) -> PokeReturnValue:
        opening = self._opening(verdict)
        if self.asset is not None:
            opening.lineage.outputs()  # before the XComs: it refuses invalid ids
        # The XComs are the purpose of the gate: if they cannot be pushed, it stays shut.
        for key, value in opening.xcoms.items():
            push(context, key, value)
        # After the XComs: if one cannot be pushed, silent_fail goes on, and another model may be opened for.
        self._trace(context, opening.lineage)
        self.log.info("%s", opening.line)
        return PokeReturnValue(is_done=True, xcom_value=opening.value)

    def _fail(self, context: Context, verdict: Fail) -> NoReturn:
        if verdict.described is not None:
            try_to_push(context, self.described_as, dict(verdict.described.json), self.log)
        raise for_airflow(verdict.error)

    def _end_if_late(self, wait: _Wait) -> None:
        now = time.time()
        if now < wait.memory.expired_at:
            return
        if not wait.memory.deadline_is_execution_timeout:
            raise AirflowSensorTimeout(timeout_message(wait.memory, now, "timeout"))
        if wait.resumed:  # before a deferral, Airflow itself enforces it on the running task
            raise _ExecutionTimeoutError

    def _defer(self, wait: _Wait, pause: float) -> NoReturn:
        now = time.time()
        longest = self.max_wait.total_seconds() if self.exponential_backoff and self.max_wait else None
        interval = interval_after(now - wait.memory.started, self.poke_interval, longest)
        next_look_at = now + max(interval, pause)
        health = wait.memory.worker
        if health.failing_since is not None:
            wait.memory = wait.memory.with_health(Observer.WORKER, replace(health, again_at=next_look_at))
        self.defer(
            trigger=self._trigger(
                qianfan_conn_id=self.qianfan_conn_id,
                target=wait.target.to_json(),
                memory=wait.memory.to_json(),
                poke_interval=self.poke_interval,
                longest_interval=longest,
                next_look_at=next_look_at,
                settle=self.settle,
                max_unhealthy=self.max_unhealthy,
                auth_grace=self.auth_grace,
                deferred_at=now,
                called_in_vain=wait.resumed,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, wait.memory.expired_at - now) + BACKSTOP),
        )

    def _say(self, lines: Sequence[Line], *, quiet: bool) -> None:
        for line in lines:
            if not quiet or line.level >= logging.ERROR:
                self.log.log(line.level, "%s", line.text)


@dataclass(slots=True)
class _Wait:
    """One run of ``execute``, and what lasts from look to look."""

    context: Context
    target: Target
    memory: Memory
    run: Run
    resumed: bool = False
    quiet: bool = False
    triggerer_failed: QianfanError | None = None
    opened: bool = False


class _ExecutionTimeoutError(BaseException):
    """
    Carry an ``AirflowTaskTimeout`` past Airflow's sensor, where ``soft_fail`` would turn it into a skip.

    Airflow would skip only if the time ran out during a look, and not while the sensor sleeps.
    """


def _first_start(context: Context) -> float:
    """Return when this try began. Airflow keeps that over deferrals, even if an event lost it."""
    began = getattr(context["ti"], "start_date", None)
    return min(time.time(), began.timestamp()) if isinstance(began, datetime) else time.time()
