"""The target of a wait, which is a compression task or a resource: how to look at it, and how to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.resource import MODEL, Row, find_resource
from airflow_provider_qianfan.gate.look import Found, look
from airflow_provider_qianfan.gate.outcome import decide
from airflow_provider_qianfan.gate.resource import Resource, decide_resource
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import NeedDetail, Open, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.api.exchange import Exchange, Steps
    from airflow_provider_qianfan.gate.memory import Memory

Target = Selector | Resource


def target_of(event: Mapping[str, Any]) -> object:
    """Return the target in a trigger's event, as JSON; None without one. Its older name was ``selector``."""
    return event.get("target") or event.get("selector")


def target_from_json(value: object) -> Target | None:
    """Read what ``to_json`` of a target wrote, maybe in another version; None if anything is missing."""
    if isinstance(value, Mapping) and "resource" in value:
        return Resource.from_json(value)
    return Selector.from_json(value)


def take_look(
    exchange: Exchange, target: Target, memory: Memory, *, settle: float, clock: Callable[[], float]
) -> Steps[Verdict]:
    """
    Look at a target. If a compression task has succeeded, look at its model, too, if that has to be ready.

    :raises QianfanError: if the platform gave no complete answer.
    """
    if isinstance(target, Selector):
        verdict = yield from look(exchange, target, memory, settle=settle, clock=clock)
        model = next_target(target, verdict)
        if model is None:
            return verdict
        ready = yield from take_look(exchange, model, memory, settle=settle, clock=clock)
        return verdict if isinstance(ready, Open) else ready
    found = yield from find_resource(exchange, target.kind, target.id)
    row, absence = (found, None) if isinstance(found, Row) else (None, found)
    return decide_resource(row, target, memory, clock(), settle=settle, absence=absence)


def judge(target: Target, found: Found, memory: Memory, now: float, *, settle: float) -> Verdict | NeedDetail:
    """Draw the verdict from a reading for many waits, without another request."""
    absence = found.absence
    if isinstance(target, Selector):
        return decide(found.tasks, target, memory, now, settle=settle, absence=absence)
    row = found.row
    return decide_resource(row, target, memory, now, settle=settle, absence=absence)


def next_target(target: Target, verdict: Verdict | NeedDetail) -> Resource | None:
    """Return what else has to be ready before the gate may open; None if nothing has."""
    if isinstance(target, Selector) and target.model_ready and isinstance(verdict, Open):
        return Resource(MODEL, verdict.model_id)
    return None
