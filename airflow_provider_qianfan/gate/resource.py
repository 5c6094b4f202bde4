"""
Model versions and services: resources that are given by their id.

What differs between them is data. Each has its own statuses, as documented: never share them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow_provider_qianfan.api.errors import QianfanAPIError, QianfanProtocolError, clean
from airflow_provider_qianfan.gate.errors import (
    QianfanResourceFailedError,
    QianfanResourceNotFoundError,
)
from airflow_provider_qianfan.gate.verdict import Fail, Note, Open, Verdict, Wait
from airflow_provider_qianfan.gate.wording import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_qianfan.api.exchange import Exchange, Steps
    from airflow_provider_qianfan.gate.memory import Memory

HOUR = 3600.0
NO_UPDATE = (None, "None")
"""What ``updateStatus`` says where no update is in progress: documented as ``None``."""


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
    :param listing: the action that lists them, and the key of its rows; None if there is none.
    :param serves: whether it serves a model version, which may be being exchanged.
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
    path="/v2/model",
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
    path="/v2/service",
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
        """The model version that it is or serves; two spellings of the key have been seen."""
        value = self.json.get("modelVersionId") or self.json.get("modelId")
        return value if isinstance(value, str) and value else None

    @property
    def model_set_id(self) -> str | None:
        """The model set of that version; where the version has a key of its own, the set has the other."""
        value = self.json.get("modelSetId")
        if not value and self.json.get("modelVersionId"):
            value = self.json.get("modelId")
        return value if isinstance(value, str) and value else None

    def tells(self, kind: Kind) -> bool:
        """Tell whether everything is there that a verdict needs: rows of a list may say less."""
        needed = {kind.status_key} | ({"updateStatus"} if kind.serves else set())
        return needed <= self.json.keys() and not (kind.serves and self.model_id is None)


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value) and value.isprintable()


@dataclass(frozen=True, slots=True)
class Resource:
    """
    The resource that is waited for.

    :param kind: what it is.
    :param id: its id.
    :param model_id: the model version that it has to serve, if it serves one.
    """

    kind: Kind
    id: str
    model_id: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return plain JSON values."""
        return {"resource": self.kind.name, "id": self.id, "model_id": self.model_id}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Resource | None:
        """Read what :meth:`to_json` wrote; None unless it is whole."""
        kind, given, model_id = KINDS.get(str(value.get("resource"))), value.get("id"), value.get("model_id")
        if kind is None or not _is_id(given):
            return None
        if not (_is_id(model_id) if kind.serves else model_id is None):
            return None
        return cls(kind, given, model_id)

    def __str__(self) -> str:
        return f"{self.kind.noun} {clean(self.id, 80)}"


def read_resource(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | None]:
    """
    Ask for one resource.

    :returns: the resource; None if the answer is a success without one in it.
    :raises QianfanProtocolError: if the answer is about another one.
    """
    answer = yield from exchange.call(kind.path, kind.action, {kind.id_key: resource_id})
    result = answer.get("result")
    if not isinstance(result, dict) or not result:
        return None
    if resource_id not in (result.get(kind.id_key), result.get("modelVersionId")):
        told = clean(result.get(kind.id_key))
        raise QianfanProtocolError(f"{kind.action}: asked for {clean(resource_id)}, answered {told}")
    return Row(resource_id, result)


def find_resource(exchange: Exchange, kind: Kind, resource_id: str) -> Steps[Row | str]:
    """
    Ask for one resource; return it or, if it is not there, what the platform said.

    How the platform refuses an unknown id is not documented: these are the codes that may mean it.
    """
    try:
        row = yield from read_resource(exchange, kind, resource_id)
    except QianfanAPIError as error:
        if error.http_status != 404 and error.code != "InappropriateJSON":
            raise
        return str(error)
    return row or ""


def decide_resource(
    row: Row | None, wanted: Resource, memory: Memory, now: float, *, settle: float, absence: str = ""
) -> Verdict:
    """
    Draw the verdict.

    :param row: what was read; None if it is not there.
    :param settle: seconds for which it may be missing: it may have been made a moment ago.
    :param absence: what the platform said, if it was an error.
    """
    if row is None:
        return _absent(wanted, memory, now, settle, absence)
    kind, status = wanted.kind, clean(row.json.get(wanted.kind.status_key) or "", 40)
    if status in kind.failed:
        message = f"{_capital(wanted)} is {status}. The gate stays shut. Look at it in the Qianfan console."
        return Fail(QianfanResourceFailedError(message, resource_id=row.id, status=status), row)
    if status in kind.pending:
        return Wait(f"{wanted} is {status}", selected=row.id)
    if status != kind.ready:
        documented = ", ".join((*kind.pending, kind.ready, *kind.failed))
        unknown = Note(
            f"status:{status}",
            f"{_capital(wanted)} has the undocumented status {status!r} (documented: {documented}); the gate"
            " stays shut and goes on waiting.",
        )
        return Wait(f"{wanted} has the unknown status {status!r}", (unknown,), row.id)
    return _serving(row, wanted) if kind.serves else Open(row)


def _serving(row: Row, wanted: Resource) -> Verdict:
    """Tell whether it is the wanted model version that is served, and will be."""
    if row.model_id != wanted.model_id:
        state = f"{wanted} serves {clean(row.model_id or 'no model', 80)}, not {clean(wanted.model_id, 80)}"
        return Wait(state, selected=row.id)
    if "updateStatus" not in row.json:
        silent = Note(
            "updateStatus",
            f"{_capital(wanted)} serves {clean(wanted.model_id, 80)}, but the platform does not say whether"
            " an update is in progress (updateStatus); the gate stays shut and goes on waiting.",
        )
        return Wait(f"{wanted} does not say whether an update is in progress", (silent,), row.id)
    update = row.json["updateStatus"]
    if update not in NO_UPDATE:
        return Wait(f"{wanted} is being updated ({clean(update, 40)})", selected=row.id)
    return Open(row)


def _absent(wanted: Resource, memory: Memory, now: float, settle: float, absence: str) -> Verdict:
    since = memory.started if memory.forgetful else memory.absent_since
    missing_for = 0.0 if since is None else now - since
    said = f" The platform said: {absence}" if absence else ""
    if missing_for >= settle:
        return Fail(
            QianfanResourceNotFoundError(
                f"There is no {wanted}. Check the id, and that the connection's key belongs to the account"
                f" that owns it.{said}",
                resource_id=wanted.id,
            )
        )
    left = duration(settle - missing_for)
    note = Note(
        "absent", f"{_capital(wanted)} is not there; failing unless it appears within {left}.{said}", HOUR
    )
    return Wait(f"{wanted} is not there yet", (note,), absent=True)


def _capital(wanted: Resource) -> str:
    text = str(wanted)
    return text[0].upper() + text[1:]
