"""
Checks of what a creation is given, at a DAG file's parse.

They load nothing of what a creation does: every parse would pay for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from airflow_provider_qianfan.api.json_values import check_json, plain_values, read_if_text
from airflow_provider_qianfan.api.model_compression import STRATEGIES
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.selection import check_text, is_rendered_later

IfExists = Literal["adopt", "fail"]

_CONFIG = "{'strategy': 'Quantization', 'weight': 'INT8-PTQ'}"
UNITS = "deploymentComputeUnitList"
_DEPLOYMENT = f"{{'replicasCount': 1, '{UNITS}': [{{'instanceId': 'unit-…', 'deploymentReplicasCount': 1}}]}}"
PAYING = (
    "buys resources. That costs money, and is left to the Qianfan console; here, a service runs on compute"
    " units that the account owns."
)


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
