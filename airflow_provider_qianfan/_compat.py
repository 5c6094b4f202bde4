"""The only place that knows Airflow versions: 2.11 to 3.x."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime


def _get(name: str, *modules: str) -> Any:
    """Return the name from the first module that has it. The modules of newer Airflows come first."""
    for module in modules:
        if _has(name, module):
            return getattr(import_module(module), name)
    raise ImportError(
        f"This provider cannot use the installed Airflow: {name} is in none of {modules}. If your Airflow is"
        " older than 2.11, upgrade Airflow. Otherwise upgrade the provider."
    )


def _has(name: str, module: str) -> bool:
    return _is_there(module) and hasattr(import_module(module), name)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package that it would be in is not there either
        return False


if TYPE_CHECKING:
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
    from airflow.triggers.base import BaseEventTrigger
else:
    _EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
    AirflowException = _get("AirflowException", *_EXCEPTIONS)
    AirflowFailException = _get("AirflowFailException", *_EXCEPTIONS)
    AirflowRescheduleException = _get("AirflowRescheduleException", *_EXCEPTIONS)
    AirflowSensorTimeout = _get("AirflowSensorTimeout", *_EXCEPTIONS)
    AirflowSkipException = _get("AirflowSkipException", *_EXCEPTIONS)
    AirflowTaskTimeout = _get("AirflowTaskTimeout", *_EXCEPTIONS)
    BaseHook = _get("BaseHook", "airflow.sdk", "airflow.hooks.base")
    BaseOperator = _get("BaseOperator", "airflow.sdk", "airflow.models")
    BaseOperatorLink = _get("BaseOperatorLink", "airflow.sdk", "airflow.models")
    PokeReturnValue = _get("PokeReturnValue", "airflow.sdk", "airflow.sensors.base")
    _BaseSensorOperator = _get("BaseSensorOperator", "airflow.sdk", "airflow.sensors.base")
    conf = _get("conf", "airflow.sdk.configuration", "airflow.configuration")

    class BaseSensorOperator(_BaseSensorOperator):
        """As in Airflow 3.3, None is the default timeout."""

        @staticmethod
        def _coerce_timeout(timeout):
            if timeout is None:  # Airflow before 3.3
                timeout = conf.getfloat("sensors", "default_timeout")
            return _BaseSensorOperator._coerce_timeout(timeout)


def __getattr__(name: str) -> Any:
    """Import what few DAG files need. Airflow 2.11 has no base class for event triggers."""
    if name != "BaseEventTrigger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module("airflow.triggers.base")
    return getattr(module, name, module.BaseTrigger)


@dataclass(frozen=True, slots=True)
class Feature:
    """
    A feature that some supported Airflows lack.

    :param name: what it is, to a user; Markdown.
    :param lacking: the supported versions of Airflow that cannot do it.
    :param without: what happens there, or what to do; Markdown.
    :param is_there: tells whether the installed Airflow can.
    """

    name: str
    lacking: tuple[str, ...]
    without: str
    is_there: Callable[[], bool]


NOTES = Feature(
    "a try of an operator knows what earlier tries have sent",
    ("2.11", "3.0", "3.1", "3.2"),
    "before a later try sends anything, it looks for what was sent before, during the whole `settle`;"
    " a later try of `QianfanModifyServiceOperator` may push no `previous_model_id`"
    " ([Deploy to a service](howto/service.md))",
    lambda: _has("TaskStateStoreAccessor", "airflow.sdk.execution_time.context"),
)
KILL = Feature(
    "`cancel_on_kill` while the task is deferred",
    ("2.11", "3.0", "3.1", "3.2"),
    "if you end a deferred task, its compression goes on",
    lambda: hasattr(import_module("airflow.triggers.base").BaseTrigger, "on_kill"),
)
FORM = Feature(
    "the connection's form has our labels and fields",
    ("3.0",),
    "install `apache-airflow-providers-fab`. Or fill in *Login* (Access Key ID), *Password* (Secret Access"
    " Key) and *Host* (endpoint), and write our own fields into *Extra* as JSON, such as"
    ' `{"timeout": 60}`',
    lambda: _is_there("airflow.sdk.bases.hook") or _is_there("flask_appbuilder"),
)
DAGS = Feature(
    "the DAGs to copy",
    ("2.11",),
    "import `dag`, `task`, `task_group` from `airflow.decorators`, and `Param` from `airflow.models.param`",
    lambda: _is_there("airflow.sdk"),
)
TIMEOUT = Feature(
    "in reschedule mode, each try has the whole `timeout`",
    ("2.11",),
    "all tries share one `timeout`",
    lambda: _is_there("airflow.sdk.execution_time.task_runner"),
)
WATCHERS = Feature(
    "a finished compression starts a DAG",
    ("2.11",),
    "there are no asset watchers: wait with the gate",
    lambda: hasattr(import_module("airflow.triggers.base"), "BaseEventTrigger"),
)
RECEIPTS = Feature(
    "a watcher knows after a restart what it has reported",
    ("2.11", "3.0", "3.1", "3.2"),
    "whenever a watcher starts, it reports again what finished within `look_back`, or since `catch_up_from`,"
    " with the same `event_id` ([Start a DAG](howto/event.md))",
    lambda: _has("SharedStreamProducer", "airflow.triggers.shared_stream"),
)
PARTITIONS = Feature(
    "each finished compression starts a run of its own",
    ("2.11", "3.0", "3.1", "3.2"),
    "all that finished since the last look share a run ([Start a DAG](howto/event.md))",
    lambda: (
        _has("OutletEventAccessor", module := "airflow.sdk.execution_time.context")
        and hasattr(import_module(module).OutletEventAccessor, "add_partitions")
    ),
)
FEATURES = (NOTES, KILL, FORM, DAGS, TIMEOUT, WATCHERS, RECEIPTS, PARTITIONS)
"""The features in ``docs/versions.md``. On each Airflow, a test compares them with the installed one."""

# Airflow's own names: mypy wants to be told that others may import them from here.
__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseEventTrigger",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "PokeReturnValue",
    "conf",
]


def first_reschedule_date(context: Context) -> datetime | None:
    """Return when a reschedule-mode sensor first looked; None if it has not been rescheduled yet."""
    ti: Any = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):
        first: datetime | None = ti.get_first_reschedule_date(context)
        return first
    # Airflow 2.11 counts a sensor's timeout from the first look of its first try, and so do we there.
    from airflow.sensors.base import _orig_start_date

    first_try = (ti.max_tries or 0) - (ti.task.retries or 0) + 1
    found: datetime | None = _orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    return found


def deferral_timed_out(next_method: str, next_kwargs: Mapping[str, Any] | None) -> bool:
    """Tell whether Airflow ended a deferral because its time was up and no trigger had ended it."""
    words = ("Trigger timeout", "Trigger/execution timeout")  # Airflow 3's, 2.11's
    return next_method == "__fail__" and (next_kwargs or {}).get("error") in words


def is_of_another_try(next_kwargs: Mapping[str, Any] | None, context: Context) -> bool:
    """
    Tell whether a trigger's event belongs to an earlier try that failed.

    Airflow 3.0 hands such an event to the next try: https://github.com/apache/airflow/issues/56704. Airflow
    2.11 does not. But if its scheduler dies, it may count a resume as a new try.
    """
    event = (next_kwargs or {}).get("event")
    memory = event.get("memory") if isinstance(event, Mapping) else None
    of_try = memory.get("try_number") if isinstance(memory, Mapping) else None
    if not isinstance(of_try, int) or not _is_there("airflow.sdk"):
        return False
    return bool(of_try != getattr(context.get("ti"), "try_number", of_try))


def from_upstream(operator: BaseOperator, context: Context) -> frozenset[str]:
    """
    Name the arguments of a mapped task that upstream tasks returned; none for other tasks.

    Airflow makes a mapped task (``partial().expand()``) from these values when it runs. Arguments that are
    literally written in ``partial()`` or ``expand()`` are not named. If a None was returned, the arguments
    that a subclass passes on under another name are also named.
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
    Allow a direct call of an operator's ``execute``, without Airflow's warning that this is a mistake.

    We call it so that everything that subclasses and decorators have put around it runs, too.
    """
    name = "airflow.sdk.bases.operator"
    module = import_module(name if _is_there(name) else "airflow.models.baseoperator")
    safeguard = module.ExecutorSafeguard
    if hasattr(safeguard, "tracker"):
        token = safeguard.tracker.set(operator)
        try:
            yield
        finally:
            safeguard.tracker.reset(token)
        return
    # Airflow 2.11 notes the classes that may be called.
    local, sentinel = safeguard._sentinel, module._sentinel
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
    """Render a Jinja template, made by an environment without native types."""
    render = _get("render_template_to_string", "airflow.sdk.definitions.context", "airflow.utils.helpers")
    rendered: str = render(template, context)
    return rendered


def asset_classes() -> tuple[Any, Any]:
    """Return Airflow's classes of an asset and of an alias. Airflow 2.11 calls assets datasets."""
    if _is_there("airflow.sdk"):
        from airflow.sdk import Asset, AssetAlias

        return Asset, AssetAlias
    datasets = import_module("airflow.datasets")
    return datasets.Dataset, datasets.DatasetAlias


def mask_secret(secret: str | None) -> None:
    """Have Airflow replace ``secret`` with stars wherever it is logged."""
    if not secret:
        return
    mask = _get(
        "mask_secret",
        "airflow.sdk.log",
        "airflow.sdk.execution_time.secrets_masker",
        "airflow.utils.log.secrets_masker",
    )
    mask(secret)


def form_field(label: str, description: str, *, secret: bool) -> Any:
    """Make a field of the connection form as Airflow before 3.2 draws it. Newer ones do not call this."""
    widgets, fields = import_module("flask_appbuilder.fieldwidgets"), import_module("wtforms")
    if not secret:
        return fields.StringField(label, widget=widgets.BS3TextFieldWidget(), description=description)
    widget = _kept_secret if find_spec("airflow.www") else widgets.BS3PasswordFieldWidget()
    return fields.PasswordField(label, widget=widget, description=description)


def _kept_secret(field: Any, **attributes: Any) -> Any:
    """
    Draw a password field for Airflow 2.11's form that keeps the stored value, without showing it.

    That form deletes an extra whose field comes back empty, and a password field always comes back empty. The
    form accepts its own placeholder as the sign that a field was not touched.
    """
    placeholder = import_module("airflow.www.views").SENSITIVE_FIELD_PLACEHOLDER
    widget = import_module("flask_appbuilder.fieldwidgets").BS3PasswordFieldWidget(hide_value=False)
    return widget(field, value=placeholder if field.data else "", **attributes)


def metrics() -> Any:
    """Return Airflow's metrics as a triggerer has set them up. The task SDK's are not set up there."""
    name = "airflow.observability.stats"
    module = import_module(name if _is_there(name) else "airflow.stats")
    return module if hasattr(module, "incr") else module.Stats


def task_store(context: Context) -> Any:
    """
    Return what a task instance keeps over its tries. It gets, sets and deletes JSON values by key.

    None before Airflow 3.3.
    """
    return context.get("task_state_store")


def asset_store(trigger: BaseEventTrigger) -> Any:
    """
    Return the store of a watcher's asset. It keeps JSON values by key, also when the trigger ends.

    None before Airflow 3.3. Also None if one trigger watches for several assets: each asset has a store of
    its own, and Airflow cannot list them.
    """
    store = getattr(trigger, "asset_state_store", None)
    return store if getattr(store, "_total", 1) == 1 else None


async def task_state_of(ti: Any) -> str | None:
    """Ask, in a triggerer of Airflow 3, for the current state of a task instance; None if it has none."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from asgiref.sync import sync_to_async

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    state = next(iter(states.get(ti.run_id, {}).values()), None)
    return None if state is None else str(state)


async def read_connection(conn_id: str) -> tuple[Connection, dict[str, Any]]:
    """
    Read a connection and its extra in a triggerer, in a thread.

    Before Airflow 3.3.2, ``aget_connection`` and ``extra_dejson`` mask secrets with a synchronous call to the
    triggerer's supervisor. If other calls are under way on the same event loop, that call can deadlock.
    """
    from asgiref.sync import sync_to_async

    def read() -> tuple[Connection, dict[str, Any]]:
        connection = BaseHook.get_connection(conn_id)
        return connection, connection.extra_dejson

    return await sync_to_async(read)()
