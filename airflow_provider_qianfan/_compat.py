"""The only place that knows Airflow versions: 2.11 to 3.x."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow.sdk import (
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Connection,
        Context,
        PokeReturnValue,
    )
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
    )

    _OPERATORS: str
else:
    try:
        from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, PokeReturnValue
        from airflow.sdk.configuration import conf
        from airflow.sdk.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowRescheduleException,
            AirflowSensorTimeout,
            AirflowSkipException,
            AirflowTaskTimeout,
        )

        _OPERATORS = "airflow.sdk.bases.operator"
    except ModuleNotFoundError:  # Airflow 2.11
        from airflow.configuration import conf
        from airflow.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowRescheduleException,
            AirflowSensorTimeout,
            AirflowSkipException,
            AirflowTaskTimeout,
            TaskDeferralError,
        )
        from airflow.hooks.base import BaseHook
        from airflow.models import BaseOperator, BaseOperatorLink
        from airflow.sensors.base import BaseSensorOperator as _BaseSensorOperator
        from airflow.sensors.base import PokeReturnValue

        _OPERATORS = "airflow.models.baseoperator"

        class BaseSensorOperator(_BaseSensorOperator):
            """As on Airflow 3, None is the default timeout, and an abandoned deferral has timed out."""

            @staticmethod
            def _coerce_timeout(timeout):
                if timeout is None:
                    timeout = conf.getfloat("sensors", "default_timeout")
                return _BaseSensorOperator._coerce_timeout(timeout)

            def resume_execution(self, next_method: str, next_kwargs: Any, context: Any) -> Any:
                try:
                    return super().resume_execution(next_method, next_kwargs, context)
                except TaskDeferralError as error:
                    if str(error) != "Trigger/execution timeout":  # the scheduler's words
                        raise
                    raise AirflowSensorTimeout(str(error)) from error


__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "PokeReturnValue",
    "conf",
    "first_reschedule_date",
    "form_field",
    "from_upstream",
    "mask_secret",
    "metrics",
    "read_connection",
    "render_to_text",
    "running",
    "task_state_of",
    "task_store",
]


def first_reschedule_date(context: Context) -> datetime | None:
    """Tell when a reschedule-mode sensor took its first look; None if it has not been rescheduled yet."""
    ti: Any = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):
        first: datetime | None = ti.get_first_reschedule_date(context)
        return first
    # Airflow 2.11 counts a sensor's timeout from the first look of its first try, and so do we there.
    from airflow.sensors.base import _orig_start_date

    first_try = (ti.max_tries or 0) - (ti.task.retries or 0) + 1
    found: datetime | None = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    return found


def from_upstream(operator: BaseOperator, context: Context) -> frozenset[str]:
    """
    Name the arguments of a task made by ``partial().expand()`` that upstream tasks returned; none otherwise.

    Airflow makes such a task from their values, when it runs. Arguments that are literally written in
    ``partial()`` or ``expand()`` are not among them. If a None was returned, the arguments that a subclass
    passes on under another name are among them, too.
    """
    if not getattr(operator, "_BaseOperator__from_mapped", False):
        return frozenset()
    given: dict[str, Any] = getattr(operator, "_BaseOperator__init_kwargs", {})
    dag = operator.get_dag()
    mapped: Any = dag.task_dict.get(operator.task_id) if dag is not None else None
    rows = getattr(getattr(mapped, "expand_input", None), "value", None)
    if rows is None:
        return frozenset(given)
    written: frozenset[str] = getattr(operator, "_written", None) or frozenset(given)
    literal = set(_OF_EVERY_MAPPED_TASK)
    if isinstance(rows, Mapping):  # expand()
        literal |= {*mapped.partial_kwargs, *(name for name, row in rows.items() if not _is_xcom(row))}
    elif not _is_xcom(rows) and not _is_xcom(row := rows[context["ti"].map_index]):
        literal |= {*mapped.partial_kwargs, *row}  # expand_kwargs([{…}])
    else:
        strict = getattr(mapped, "_disallow_kwargs_override", True)
        literal |= {name for name, value in mapped.partial_kwargs.items() if strict or value is not None}
    returned = written.intersection(given) - literal
    lost = any(given[name] is None for name in returned)
    return frozenset(given) - literal if lost else returned


_OF_EVERY_MAPPED_TASK = ("task_id", "dag", "task_group", "params", "start_date", "end_date")


def _is_xcom(value: object) -> bool:
    return hasattr(value, "resolve")


@contextmanager
def running(operator: BaseOperator) -> Iterator[None]:
    """
    Let us call ``execute`` of an operator, without Airflow's warning that this is a mistake.

    We call it so that everything that subclasses and decorators have put around it runs, too.
    """
    safeguard = import_module(_OPERATORS).ExecutorSafeguard
    if hasattr(safeguard, "tracker"):
        token = safeguard.tracker.set(operator)
        try:
            yield
        finally:
            safeguard.tracker.reset(token)
        return
    # Airflow 2.11 notes the classes that may be called.
    local, sentinel = safeguard._sentinel, import_module(_OPERATORS)._sentinel
    if not hasattr(local, "callers"):
        local.callers = {}
    methods = [vars(one)["execute"] for one in type(operator).__mro__ if "execute" in vars(one)]
    keys = {f"{method.__qualname__.split('.')[0]}__sentinel" for method in methods}
    local.callers.update(dict.fromkeys(keys, sentinel))
    try:
        yield
    finally:
        for key in keys:
            local.callers.pop(key, None)


def render_to_text(template: Any, context: Context) -> str:
    """Render a template of Jinja, made by an environment without native types."""
    try:
        module = import_module("airflow.sdk.definitions.context")
    except ModuleNotFoundError:  # Airflow 2.11
        module = import_module("airflow.utils.helpers")
    rendered: str = module.render_template_to_string(template, context)
    return rendered


def mask_secret(secret: str | None) -> None:
    """Have Airflow replace ``secret`` by stars wherever it is logged."""
    if not secret:
        return
    try:
        masker = import_module("airflow.sdk.log")
    except ModuleNotFoundError:  # Airflow 2.11
        masker = import_module("airflow.utils.log.secrets_masker")
    masker.mask_secret(secret)


def form_field(label: str, description: str, *, secret: bool) -> Any:
    """Make a field of a connection's form, as Airflow before 3.2 draws it; later ones do not ask."""
    widgets, fields = import_module("flask_appbuilder.fieldwidgets"), import_module("wtforms")
    if not secret:
        return fields.StringField(label, widget=widgets.BS3TextFieldWidget(), description=description)
    widget = _kept_secret if find_spec("airflow.www") else widgets.BS3PasswordFieldWidget()
    return fields.PasswordField(label, widget=widget, description=description)


def _kept_secret(field: Any, **attributes: Any) -> Any:
    """
    Draw a password field of Airflow 2.11's form that keeps what is stored, without showing it.

    That form deletes an extra whose field comes back empty, and a password field always would. It takes its
    own placeholder for a value that was not touched.
    """
    placeholder = import_module("airflow.www.views").SENSITIVE_FIELD_PLACEHOLDER
    widget = import_module("flask_appbuilder.fieldwidgets").BS3PasswordFieldWidget(hide_value=False)
    return widget(field, value=placeholder if field.data else "", **attributes)


def metrics() -> Any:
    """Return Airflow's metrics as a triggerer has set them up; the task SDK's are not set up there."""
    try:
        module = import_module("airflow.observability.stats")
    except ModuleNotFoundError:  # Airflow before 3.2
        module = import_module("airflow.stats")
    return module if hasattr(module, "incr") else module.Stats


def task_store(context: Context) -> Any:
    """
    Return what a task instance keeps over its tries: ``get``, ``set`` and ``delete`` of JSON values by key.

    None before Airflow 3.3.
    """
    return context.get("task_state_store")


async def task_state_of(ti: Any) -> str | None:
    """Ask, in a triggerer of Airflow 3, for the present state of a task instance; None if it has none."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from asgiref.sync import sync_to_async

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    state = next(iter(states.get(ti.run_id, {}).values()), None)
    return None if state is None else str(state)


async def read_connection(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """
    Read a connection and its extra in a triggerer.

    Before Airflow 3.3.2 ``aget_connection`` and ``extra_dejson`` mask secrets by a synchronous call to the
    triggerer's supervisor, which can dead-lock when others are under way on the same event loop; there a
    thread reads it.
    """
    from airflow.models.connection import Connection as _Connection

    if hasattr(BaseHook, "aget_connection") and hasattr(_Connection, "aextra_dejson"):
        connection = await BaseHook.aget_connection(conn_id)
        return connection, await connection.aextra_dejson()

    from asgiref.sync import sync_to_async

    def read() -> tuple[Connection, dict[str, Any]]:
        connection = BaseHook.get_connection(conn_id)
        return connection, connection.extra_dejson

    return await sync_to_async(read)()
