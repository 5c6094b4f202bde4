"""
Model versions and services: what the platform says about one that is given by its id.

A :class:`Kind` holds what differs between them. Each has its own statuses, as documented: never share them.
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

    :param name: how it is called in JSON, and as an XCom.
    :param noun: how it is called in a message.
    :param path: of its actions.
    :param action: the one that describes one of them.
    :param id_key: the key of its id, in the request and in the answer.
    :param status_key: the key of its status.
    :param pending: the statuses of one that is not ready yet.
    :param ready: the status of one that is.
    :param failed: the statuses of one that failed or was stopped.
    :param listing: the action that lists them, and the key of its rows; None if there is none.
    :param serves: whether it serves a model version, and can be updated to another.
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
    """A resource as the platform described it: ``json`` is everything it said."""

    id: str
    json: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str | None:
        value = self.json.get("modelName") or self.json.get("name")
        return value if isinstance(value, str) else None

    @property
    def model_id(self) -> str | None:
        """The model version that it is, or that it serves. Answers spell the key in two ways."""
        value = self.json.get("modelVersionId") or self.json.get("modelId")
        return value if isinstance(value, str) and value else None

    @property
    def model_set_id(self) -> str | None:
        """The model set of that version. If ``modelVersionId`` is the version, ``modelId`` may be the set."""
        value = self.json.get("modelSetId")
        if not value and self.json.get("modelVersionId"):
            value = self.json.get("modelId")
        return value if isinstance(value, str) and value else None

    def names_itself(self, kind: Kind) -> bool:
        """Tell whether its description names it: otherwise it may be of another one."""
        return self.id in (self.json.get(kind.id_key), self.json.get("modelVersionId"))

    def is_complete(self, kind: Kind) -> bool:
        """Tell whether everything is there that a verdict needs: rows of a list may say less."""
        needed = {kind.status_key} | ({"updateStatus"} if kind.serves else set())
        return needed <= self.json.keys() and not (kind.serves and self.model_id is None)


def read_resource(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | None]:
    """
    Ask for one resource.

    :returns: the resource; None if the answer is a success without one in it.
    :raises QianfanProtocolError: if the answer is about another one.
    """
    row = yield from ask_for(exchange, kind, resource_id)
    if row is not None and not row.names_itself(kind):
        told = clean(row.json.get(kind.id_key))
        raise QianfanProtocolError(f"{kind.action}: asked for {clean(resource_id)}, answered {told}")
    return row


def ask_for(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | None]:
    """Ask for one resource, as :func:`read_resource` does, but take an answer about another one, too."""
    answer = yield from exchange.call(kind.path, kind.action, {kind.id_key: resource_id})
    result = answer.get("result")
    return Row(resource_id, result) if isinstance(result, dict) and result else None


@dataclass(frozen=True, slots=True)
class Absence:
    """
    What the platform said of an id that it does not have.

    :param told: its error; empty if it answered without one, and without what was asked for.
    :param request_id: of that error.
    """

    told: str = ""
    request_id: str | None = None

    @classmethod
    def of(cls, refusal: QianfanAPIError) -> Absence:
        """Take the platform's refusal for it."""
        return cls(str(refusal), refusal.request_id or None)

    @property
    def sentence(self) -> str:
        """The end of a message: a sentence, after a blank; or nothing."""
        return f" The platform said: {self.told}" if self.told else ""


def find_resource(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | Absence]:
    """
    Ask for one resource; return it or, if it is not there, what the platform said.

    The documentation does not say how the platform refuses an unknown id. A 404 may mean it, and so may
    ``InappropriateJSON``.
    """
    try:
        row = yield from read_resource(exchange, kind, resource_id)
    except QianfanAPIError as error:
        if error.http_status != 404 and error.code != "InappropriateJSON":
            raise
        return Absence.of(error)
    return row or Absence()
