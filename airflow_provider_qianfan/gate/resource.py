"""What a wait for a model version or a service concludes from a reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow_provider_qianfan.api.resource import KINDS, NO_UPDATE, Absence, Kind, Row
from airflow_provider_qianfan.api.text import capital, clean, duration
from airflow_provider_qianfan.gate.errors import QianfanResourceFailedError, QianfanResourceNotFoundError
from airflow_provider_qianfan.gate.verdict import HOUR, Fail, Note, Open, Verdict, Wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_qianfan.gate.memory import Memory


UPDATE_LASTS = 3600.0
"""
Seconds. After them, an update in progress no longer counts.

The documentation names only one value of ``updateStatus``, ``None``. Another value may mean that the update
failed.
"""


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value) and value.isprintable()


@dataclass(frozen=True, slots=True)
class Resource:
    """
    The resource to wait for.

    :param kind: the kind of the resource.
    :param id: the id of the resource.
    :param model_id: the model version that the resource has to serve, if it serves one.
    """

    kind: Kind
    id: str
    model_id: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return plain JSON values."""
        return {"resource": self.kind.name, "id": self.id, "model_id": self.model_id}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Resource | None:
        """Read what :meth:`to_json` wrote; None if anything is missing."""
        kind, given, model_id = KINDS.get(str(value.get("resource"))), value.get("id"), value.get("model_id")
        if kind is None or not _is_id(given):
            return None
        if not (_is_id(model_id) if kind.serves else model_id is None):
            return None
        return cls(kind, given, model_id)

    def __str__(self) -> str:
        return f"{self.kind.noun} {clean(self.id, 80)}"


def decide_resource(
    row: Row | None,
    wanted: Resource,
    memory: Memory,
    now: float,
    *,
    settle: float,
    absence: Absence | None = None,
) -> Verdict:
    """
    Draw the verdict.

    :param row: what was read; None if the resource is not there.
    :param settle: seconds for which the resource may be missing, or the service may show a failure: it may
        have been created or updated a moment ago.
    :param absence: what the platform said about the id.
    """
    if row is None:
        return _absent(wanted, memory, now, settle, absence)
    kind, status = wanted.kind, clean(row.json.get(wanted.kind.status_key) or "", 40)
    if status in kind.failed:
        going_on = _after_update(row, wanted, status, memory, now, settle) if kind.serves else None
        message = f"{capital(wanted)} is {status}. The gate stays shut. Look at it in the Qianfan console."
        return going_on or Fail(QianfanResourceFailedError(message, resource_id=row.id, status=status), row)
    if status in kind.pending:
        return Wait(f"{wanted} is {status}")
    if status != kind.ready:
        documented = ", ".join((*kind.pending, kind.ready, *kind.failed))
        unknown = Note(
            f"status:{status}",
            f"{capital(wanted)} has the undocumented status {status!r} (documented: {documented}); the gate"
            " stays shut and goes on waiting.",
        )
        return Wait(f"{wanted} has the unknown status {status!r}", (unknown,))
    return _serving(row, wanted) if kind.serves else Open(row)


def _serving(row: Row, wanted: Resource) -> Verdict:
    """Tell whether the service serves the wanted model version, and no update will change that."""
    if row.model_id != wanted.model_id:
        served = clean(row.model_id or "no model", 80)
        return Wait(f"{wanted} serves {served}, not {clean(wanted.model_id, 80)}")
    if "updateStatus" not in row.json:
        silent = Note(
            "updateStatus",
            f"{capital(wanted)} serves {clean(wanted.model_id, 80)}, but the platform does not say whether"
            " an update is in progress (updateStatus); the gate stays shut and goes on waiting.",
        )
        return Wait(f"{wanted} does not say whether an update is in progress", (silent,))
    update = row.json["updateStatus"]
    if update not in NO_UPDATE:
        return Wait(f"{wanted} is being updated ({clean(update, 40)})")
    return Open(row)


def _after_update(
    row: Row, wanted: Resource, status: str, memory: Memory, now: float, settle: float
) -> Wait | None:
    """Return a wait if an update may still help a service that failed or was stopped; else None."""
    update, state, why = row.json.get("updateStatus"), f"{wanted} is {status}", "An update may not show yet."
    if update not in NO_UPDATE:
        settle, why = max(settle, UPDATE_LASTS), f"It is being updated ({clean(update, 40)})."
    left = _left(wanted, memory, now, settle)
    if left <= 0:
        return None
    told = f"{capital(state)}; failing unless that changes within {duration(left)}. {why}"
    return Wait(state, (Note(f"{status}:{why}", told, HOUR),), absent=wanted.id)


def _left(wanted: Resource, memory: Memory, now: float, settle: float) -> float:
    """Return for how many more seconds a change may not show yet."""
    since = memory.missing_since(wanted.id)
    return settle - (0.0 if since is None else now - since)


def _absent(wanted: Resource, memory: Memory, now: float, settle: float, absence: Absence | None) -> Verdict:
    left, absence = _left(wanted, memory, now, settle), absence or Absence()
    if left <= 0:
        return Fail(
            QianfanResourceNotFoundError(
                f"There is no {wanted}. Check the id, and that the connection's key belongs to the account"
                f" that owns it.{absence.sentence}",
                resource_id=wanted.id,
                request_id=absence.request_id,
            )
        )
    told = f"{capital(wanted)} is not there; failing unless it appears within {duration(left)}."
    note = Note("absent", f"{told}{absence.sentence}", HOUR)
    return Wait(f"{wanted} is not there yet", (note,), absent=wanted.id)
