"""Checks before a change: the model version or the service is there, and ready."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanProtocolError, QianfanTransientError
from airflow_provider_qianfan.api.resource import MODEL, Kind, Row, ask_for, read_resource
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.gate.errors import QianfanModelUnusableError, QianfanResourceNotFoundError
from airflow_provider_qianfan.gate.wording import name_of

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Exchange, Steps
    from airflow_provider_qianfan.changes.journal import Say


def read_existing(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row]:
    """
    Ask for one resource.

    :raises QianfanResourceNotFoundError: if there is no such resource.
    """
    row = yield from read_resource(exchange, kind, resource_id)
    if row is None:
        raise QianfanResourceNotFoundError(
            f"There is no {kind.noun} {clean(resource_id, 80)}. Check the id, and that the connection's key"
            " belongs to the account that owns it.",
            resource_id=resource_id,
        )
    return row


def _check_made(model: Row, action: str, argument: str, use: str, how_to_wait: str) -> None:
    """
    Check the status of a model version. If the platform does not say it, the version passes.

    :param argument: the argument that names the model version.
    :param use: "compressed" or "deployed".
    :raises QianfanModelUnusableError: if the version failed.
    :raises QianfanTransientError: if the version is not ready yet.
    """
    status = model.json.get(MODEL.status_key)
    if status in MODEL.failed:
        raise QianfanModelUnusableError(
            f"Model version {name_of(model)} has the status {status}: it was not made, and cannot be {use}."
            f" Nothing was sent. Pass another {argument}.",
            resource_id=model.id,
            status=status,
        )
    if isinstance(status, str) and status and status != MODEL.ready:
        raise QianfanTransientError(
            action,
            f"model version {name_of(model)} has the status {clean(status, 40)!r}, and can be {use} when it"
            f" is {MODEL.ready}. Nothing was sent. {how_to_wait}",
            sent=False,
        )


def check_source_model(exchange: Exchange, source_model_id: str, say: Say) -> Steps[None]:
    """
    Check that a model version can be compressed, as far as the platform says.

    :raises QianfanModelUnusableError: if waiting does not help.
    :raises QianfanTransientError: if waiting may help.
    """
    try:
        found = yield from ask_for(exchange, MODEL, source_model_id)
    except QianfanAPIError as error:
        # Which policy this action needs is not documented; create has its own.
        if error.code != "AccessDenied":
            raise
        say(
            logging.WARNING,
            f"Creating without a check of the source model, which the key may not see. {error}",
        )
        return
    # An answer that does not name the model version says nothing about it. The platform may still create.
    model = found if found is not None and found.names_itself(MODEL) else Row(source_model_id, {})
    _check_made(
        model,
        "Creating a model compression task",
        "source_model_id",
        "compressed",
        "Set retries and retry_delay to wait for that.",
    )
    status, supported = model.json.get(MODEL.status_key), model.json.get("isSupportModelComp")
    if supported is False:
        raise QianfanModelUnusableError(
            f"Model version {source_model_id} cannot be compressed: the platform says isSupportModelComp:"
            " false. Nothing was sent. Pass a model version of a model that supports compression.",
            resource_id=source_model_id,
            status=status if isinstance(status, str) else None,
        )
    missing = [key for key, usable in (("status", status), ("isSupportModelComp", supported)) if not usable]
    if missing:
        say(
            logging.WARNING,
            f"The platform does not say {' and '.join(missing)} of model version {source_model_id};"
            " creating anyway. If the model cannot be compressed, the platform refuses.",
        )


def find_model_set(exchange: Exchange, model_id: str) -> Steps[str]:
    """
    Ask for the model set of a model version to deploy.

    :raises QianfanModelUnusableError: if the version failed.
    :raises QianfanTransientError: if the version is not ready yet.
    """
    model = yield from read_existing(exchange, MODEL, model_id)
    _check_made(
        model,
        MODEL.action,
        "model_id",
        "deployed",
        "Wait for it with QianfanModelSensor, or the gate's wait_for_model_ready.",
    )
    if model.model_set_id is None:
        raise QianfanProtocolError(
            f"{MODEL.action}: the answer names no model set of {clean(model_id, 80)}. Nothing was sent. Pass"
            " model_set_id."
        )
    return model.model_set_id
