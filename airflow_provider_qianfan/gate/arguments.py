"""
Checks of arguments: at a DAG file's parse where the value is known, or else when the task starts.

Each check raises a ValueError that says what to do. They load nothing that a DAG file's parse need not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, cast

from airflow_provider_qianfan.api.json_values import check_json, plain_text, plain_values, read_if_text
from airflow_provider_qianfan.api.model_compression import STRATEGIES
from airflow_provider_qianfan.api.text import UNSTORABLE, clean

IfExists = Literal["adopt", "fail"]
IfSeveral = Literal["fail", "newest"]
_NOT_A_VALUE = frozenset({"", "none", "null", "nan", "undefined"})
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# As in the examples of the documentation. An id of another form may be of any kind.
_KINDS = {
    "amv-": "a model version",
    "am-": "a model set",
    "amva-": "a model compression task",
    "svco-": "a service",
}
_FORMS = {
    "source_model_id": "amv-",
    "model_id": "amv-",
    "model_set_id": "am-",
    "model_comp_task_id": "amva-",
    "service_id": "svco-",
}

TIMES = frozenset({"created_after", "finished_after"})
"""The arguments that take a point in time, or a span before the start of the run."""

_CONFIG = "{'strategy': 'Quantization', 'weight': 'INT8-PTQ'}"
UNITS = "deploymentComputeUnitList"
_DEPLOYMENT = f"{{'replicasCount': 1, '{UNITS}': [{{'instanceId': 'unit-…', 'deploymentReplicasCount': 1}}]}}"
PAYING = (
    "buys resources. That costs money, and is left to the Qianfan console; here, a service runs on compute"
    " units that the account owns."
)


def is_rendered_later(value: object) -> bool:
    """Tell whether a value is known only when the task runs: a template, a callable, an upstream's result."""
    if isinstance(value, str):
        return any(opening in value for opening in ("{{", "{%", "{#"))
    return hasattr(value, "resolve") or callable(value)


def check_literal(argument: str, value: object) -> None:
    """
    Check a criterion at parse, unless it is a template or what an upstream task returns.

    :raises ValueError: if it cannot be meant.
    """
    if is_rendered_later(value):
        return
    if argument in TIMES:
        read_since(argument, value, datetime.now(UTC))
    else:
        check_text(argument, value)


def check_rendered(values: Mapping[str, object], given: Collection[str]) -> None:
    """
    Check at start that what was given is there: an upstream task may have returned None.

    :param given: the arguments that the author gave. To take one for left out would widen the choice.
    :raises ValueError: naming those that came out as None.
    """
    empty = [argument for argument, value in values.items() if value is None and argument in given]
    if empty:
        raise ValueError(
            f"{', '.join(empty)} came out as None. Check what the upstream task returned, or leave it out."
        )


def check_text(argument: str, value: object) -> str:
    """
    Check an id or a name.

    :returns: the text; of an enum of text, its value.
    :raises ValueError: if it is not text that can be meant, such as what an empty XCom renders to, or the id
        of something else.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(
            f"{argument}={clean(repr(value))} is not text, but of type {type(value).__name__}. If a template"
            " made it, native rendering (render_template_as_native_obj=True) turned its text into that: write"
            " the template so that it renders to text. If an upstream task made it, return text there."
            f" Or leave {argument} out."
        )
    if value is None or value.strip().lower() in _NOT_A_VALUE:
        raise ValueError(
            f"{argument}={clean(repr(value))} holds no value. Pass a value, or leave {argument} out. If it"
            " comes from an upstream task, check what that task returned."
        )
    if value != value.strip():
        raise ValueError(f"{argument}={clean(repr(value))} begins or ends with blanks. Remove them.")
    unfit = UNSTORABLE if argument == "description" else _UNFIT
    if unfit.search(value) or (argument.endswith("_id") and not value.isprintable()):
        raise ValueError(
            f"{argument}={clean(repr(value))} holds control characters, invisible ones or a lone surrogate."
            " Remove them; if it comes from an upstream task, check what that task returned."
        )
    form = _FORMS.get(argument)
    for other, kind in _KINDS.items():
        if form not in (None, other) and value.startswith(other):
            raise ValueError(
                f"{argument}={clean(repr(value))} is the id of {kind} ({other}…). Pass the id of"
                f" {_KINDS[form]} ({form}…)."
            )
    return plain_text(value)


def check_time(argument: str, value: object) -> datetime:
    """
    Read a point in time: ISO 8601 text, a date or a datetime. Without an offset it is UTC.

    :raises ValueError: if it is none of them.
    """
    parsed: datetime | None = None
    if isinstance(value, datetime):
        parsed = value
    elif isinstance(value, date):
        parsed = datetime.combine(value, time())
    elif isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value.strip())
        except ValueError:
            parsed = None
    if parsed is None:
        raise ValueError(
            f"{argument}={clean(repr(value))} is not a time. Write ISO 8601, such as"
            " 2026-01-31T08:00:00+08:00 (UTC if it"
            " has no offset), or pass a date, a datetime, or a timedelta before the run's start."
            f"{_how_a_number_came(value)}"
        )
    try:
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{argument}={clean(repr(value))} is out of range.") from None


def read_since(argument: str, value: object, run_started: datetime | None) -> datetime:
    """
    Read a point in time as :func:`check_time` does, or a span of time before the start of the DAG run.

    :param run_started: when the DAG run started; None if Airflow does not say.
    :raises ValueError: if the value is neither, or the span tells no point in time.
    """
    if not isinstance(value, timedelta):
        return check_time(argument, value)
    check_seconds(argument, value)
    if run_started is None:
        raise ValueError(
            f"{argument}={clean(repr(value))} counts back from the start of the DAG run, and Airflow does not"
            " say when that was. Pass a time instead."
        )
    try:
        return run_started - value
    except OverflowError:
        raise ValueError(f"{argument}={clean(repr(value))} is out of range.") from None


def _how_a_number_came(value: object) -> str:
    if isinstance(value, str) or value is None:
        return ""
    return (
        " If a template made it, native rendering (render_template_as_native_obj=True) turned its text into"
        " that."
    )


def check_seconds(argument: str, value: float | timedelta | None, default: float = 0.0) -> float:
    """
    Read a span of time.

    :param default: what None stands for: it was left out.
    :raises ValueError: if it is neither a number of seconds nor a timedelta, or is negative.
    """
    if value is None:
        return default
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds >= 0:
        raise ValueError(
            f"{argument}={clean(repr(value))} is not a number of seconds, or a timedelta, from 0 up."
        )
    return float(seconds)


def check_if_several(value: object) -> IfSeveral:
    """
    Check ``if_several``.

    :raises ValueError: if it is neither of its values.
    """
    if value == "fail":
        return "fail"
    if value == "newest":
        return "newest"
    raise ValueError(f"if_several={clean(repr(value))} is neither 'fail' nor 'newest'.")


def check_if_exists(value: object) -> IfExists:
    """
    Check ``if_exists``.

    :raises ValueError: if it is neither of its values.
    """
    if value == "adopt":
        return "adopt"
    if value == "fail":
        return "fail"
    raise ValueError(f"if_exists={clean(repr(value))} is neither 'adopt' nor 'fail'.")


def check_config(config: object, *, rendered: bool = False) -> Mapping[str, Any]:
    """
    Check the config of a compression, as far as it is known before templates are rendered.

    :param config: a mapping, or JSON text.
    :param rendered: whether they have been.
    :returns: the config; once templates are rendered, in plain dicts and lists.
    :raises ValueError: if it cannot be meant, or cannot be sent.
    """
    if not rendered and is_rendered_later(config):
        return cast("Mapping[str, Any]", config)
    config = read_if_text("config", config, "a dict")
    if not isinstance(config, Mapping):
        raise ValueError(f"config={clean(repr(config))} is not a dict, such as {_CONFIG}.")
    config = _checked_parts("config", config, rendered=rendered)
    strategy = config.get("strategy")
    if not rendered and is_rendered_later(strategy):
        return config
    if strategy not in STRATEGIES:
        raise ValueError(
            f"config={clean(repr(config))}: strategy is one of {', '.join(STRATEGIES)}, such as {_CONFIG}."
        )
    if strategy == "Quantization" and config.get("weight") is None:
        raise ValueError(f"config={clean(repr(config))}: Quantization needs a weight, such as {_CONFIG}.")
    if strategy == "Quantization" and (rendered or not is_rendered_later(config.get("weight"))):
        check_text("config['weight']", config.get("weight"))
    return config


def check_deployment_config(config: object, *, rendered: bool = False) -> Mapping[str, Any]:
    """
    Check the form of a ``deploymentConfig``, as far as it is known before templates are rendered.

    :param config: a mapping, or JSON text; so are its compute units, a list.
    :param rendered: whether they have been.
    :returns: the config; once templates are rendered, in plain dicts and lists.
    :raises ValueError: if it cannot be meant, cannot be sent, or would buy resources.
    """
    if not rendered and is_rendered_later(config):
        return cast("Mapping[str, Any]", config)
    config = read_if_text("deployment_config", config, "a dict")
    if not isinstance(config, Mapping):
        raise ValueError(f"deployment_config={clean(repr(config))} is not a dict, such as {_DEPLOYMENT}.")
    if rendered and isinstance(config.get(UNITS), str):
        config = {**config, UNITS: read_if_text(f"deployment_config[{UNITS!r}]", config[UNITS], "a list")}
    config = _checked_parts("deployment_config", config, rendered=rendered)
    for key in ("resourceConfig", "billing"):
        if key in config:
            raise ValueError(f"deployment_config: {key} {PAYING}")
    units = config.get(UNITS)
    if not rendered and is_rendered_later(units):
        return config
    if not isinstance(units, list) or not units:
        raise ValueError(
            f"deployment_config={clean(repr(config))}: {UNITS} names no compute unit. Write it as"
            f" {_DEPLOYMENT}."
        )
    return config


def _checked_parts(argument: str, config: Mapping[Any, Any], *, rendered: bool) -> dict[str, Any]:
    """Refuse by name what JSON cannot hold: the request would fail after it was noted."""
    skip = (lambda _: False) if rendered else is_rendered_later
    check_json(argument, config, skip=skip, abstract=True)
    plain: dict[str, Any] = plain_values(config)
    return plain
