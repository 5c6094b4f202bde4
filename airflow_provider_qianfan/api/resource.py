"""
Model versions and services: what the platform says about the one with a given id.

A :class:`Kind` holds the differences. Each kind has its own documented statuses: never share them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import (
    MODEL_PATH,
    SERVICE_PATH,
    QianfanAPIError,
    QianfanProtocolError,
)
from airflow_provider_qianfan.api.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_qianfan.api.exchange import Exchange, Steps

NO_UPDATE = (None, "None")
"""Values of ``updateStatus`` if no update is in progress. The documentation says ``None``."""


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of resource.

    :param name: its name in JSON, and the key of its XCom.
    :param noun: its name in messages.
    :param path: the path of its actions.
    :param action: the action that describes one resource.
    :param id_key: the key of the id, in the request and in the answer.
    :param status_key: the key of the status.
    :param pending: the statuses before the resource is ready.
    :param ready: the status of a ready resource.
    :param failed: the statuses of a resource that failed or was stopped.
    :param listing: the action that lists the resources, and the key of its rows; None if there is none.
    :param serves: whether the resource serves a model version, and can be updated to another.
    """

    name: str
    noun: str
    path: str
    action: str
    id_key: str
    status_key: str
    pending: tuple[str, ...]
    ready: str
    failed: tuple[str, ...]
    listing: tuple[str, str] | None = None
    serves: bool = False


MODEL = Kind(  # https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Plw02jx3a
    name="model",
    noun="model version",
    path=MODEL_PATH,
    action="DescribeModel",
    id_key="modelId",
    status_key="status",
    pending=("Creating",),
    ready="Ready",
    failed=("Fail",),
)
SERVICE = Kind(  # https://cloud.baidu.com/doc/qianfan/s/Kmh4sv4c7
    name="service",
    noun="service",
    path=SERVICE_PATH,
    action="DescribeService",
    id_key="serviceId",
    status_key="runStatus",
    pending=("New", "Deploying"),
    ready="Serving",
    failed=("Failed", "Stopped"),
    listing=("DescribeServices", "serviceList"),
    serves=True,
)
KINDS = {kind.name: kind for kind in (MODEL, SERVICE)}


@dataclass(frozen=True, slots=True)
class Row:
    """A resource as the platform described it. ``json`` is the whole description."""

    id: str
    json: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str | None:
        value = self.json.get("modelName") or self.json.get("name")
        return value if isinstance(value, str) else None

    @property
    def model_id(self) -> str | None:
        """The model version that the resource is or serves. Answers spell the key in two ways."""
        value = self.json.get("modelVersionId") or self.json.get("modelId")
        return value if isinstance(value, str) and value else None

    @property
    def model_set_id(self) -> str | None:
        """The model set of the version. If ``modelVersionId`` is the version, ``modelId`` may be the set."""
        value = self.json.get("modelSetId")
        if not value and self.json.get("modelVersionId"):
            value = self.json.get("modelId")
        return value if isinstance(value, str) and value else None

    def names_itself(self, kind: Kind) -> bool:
        """Tell whether the description names the resource. If not, it may describe another one."""
        return self.told_id(kind) == self.id

    def told_id(self, kind: Kind) -> object:
        """Return the id in the description. For a model version, ``modelId`` may be the set's."""
        return self.json.get(kind.id_key) if kind.serves else self.model_id

    def is_complete(self, kind: Kind) -> bool:
        """Tell whether the row has everything that a verdict needs: rows of a list may say less."""
        needed = {kind.status_key} | ({"updateStatus"} if kind.serves else set())
        return needed <= self.json.keys() and not (kind.serves and self.model_id is None)


def read_resource(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | None]:
    """
    Ask for one resource.

    :returns: the resource; None if the answer is a success without one.
    :raises QianfanProtocolError: if the answer is about another resource.
    """
    row = yield from ask_for(exchange, kind, resource_id)
    if row is not None and not row.names_itself(kind):
        told = clean(row.told_id(kind))
        raise QianfanProtocolError(f"{kind.action}: asked for {clean(resource_id)}, answered {told}")
    return row


def ask_for(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | None]:
    """Ask for one resource as :func:`read_resource` does, but accept an answer about another one."""
    answer = yield from exchange.call(kind.path, kind.action, {kind.id_key: resource_id})
    result = answer.get("result")
    return Row(resource_id, result) if isinstance(result, dict) and result else None


@dataclass(frozen=True, slots=True)
class Absence:
    """
    What the platform said about an id that it does not have.

    :param told: the platform's error; empty if it answered without an error and without the resource.
    :param request_id: the request id of the error.
    """

    told: str = ""
    request_id: str | None = None

    @classmethod
    def of(cls, refusal: QianfanAPIError) -> Absence:
        """Make an absence from the platform's refusal."""
        return cls(str(refusal), refusal.request_id or None)

    @property
    def sentence(self) -> str:
        """A sentence to end a message with, after a blank; or nothing."""
        return f" The platform said: {self.told}" if self.told else ""


def find_resource(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | Absence]:
    """
    Ask for one resource. Return it, or what the platform said if the resource is not there.

    The documentation does not say how the platform refuses an unknown id. A 404 may mean that, and so may
    ``InappropriateJSON``.
    """
    try:
        row = yield from read_resource(exchange, kind, resource_id)
    except QianfanAPIError as error:
        if error.http_status != 404 and error.code != "InappropriateJSON":
            raise
        return Absence.of(error)
    return row or Absence()
