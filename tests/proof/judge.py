"""Judges by the tables what gates did in a world. Imports nothing of the package."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.proof.oracle import (
    NO_SUCH_MODEL,
    NOT_FOUND,
    SETTLE,
    WAITS,
    Answer,
    Question,
    answer,
    is_usable,
    matches,
    with_model,
)
from tests.proof.qianfan import ENDS, FOREVER

if TYPE_CHECKING:
    from tests.proof.play import End, Gate, Look
    from tests.proof.qianfan import World

VERDICTS = (
    "QianfanTaskFailedError",
    "QianfanTaskAmbiguousError",
    "QianfanTaskNotFoundError",
    "QianfanModelIdMissingError",
    "QianfanResourceFailedError",
    "QianfanResourceNotFoundError",
)

LATEST = 340.0
"""Seconds by which anything may be late: a Retry-After, the pauses after it, and the start of a task."""


DENY = {"answer: no result", "HTTP: 400 InappropriateJSON", "answer: legacy code 17"}
"""Faults that look as if the platform said that there is no such task."""


def answers(
    world: World, question: Question, began: float, ended: float, *, denied: bool = False
) -> set[Answer]:
    """
    Return what the tables say of what the platform shows from ``began`` to ``ended``.

    The list may be read before a change, and the question for one task may be asked after it, or before.

    :param denied: whether a fault may look as if there were no such task.
    """
    moments = [began, *(moment for moment in world.changes() if began < moment <= ended)]
    missing = (0,) if question.id is None else (0, SETTLE)
    hidden = denied or _is_hidden(world, question, moments)
    found = {
        answer(
            world.listed(listed_at),
            shown,
            question,
            missing_for=missing_for,
            by_list=by_list,
        )
        for listed_at in moments
        for asked_at in moments
        for shown in (world.detailed(asked_at), *([{}] if denied else []))
        for missing_for in missing
        for by_list in ((False, True) if hidden else (False,))
    }
    if not question.model_ready:
        return found
    return {
        with_model(told, shown, missing_for=missing_for)
        for told in found
        for asked_at in moments
        for shown in (world.models(asked_at), *([{}] if denied else []))
        for missing_for in (0, SETTLE)
    }


def _is_hidden(world: World, question: Question, moments: list[float]) -> bool:
    """Tell whether the gate may have taken the task from the list, which may say more than its answer."""
    return question.id is None or any(question.id not in world.detailed(at) for at in moments)


def settled(world: World, gate: Gate, since: float) -> Answer | None:
    """Return what the tables say from then on; None if that changes, or if the gate waits."""
    found = answers(world, gate.question, since, FOREVER)
    if gate.question.id is not None and found == {WAITS, NOT_FOUND}:
        return None if _is_shown(world, gate.question, since, FOREVER) else NOT_FOUND
    return found.pop() if len(found) == 1 and WAITS not in found else None


def late_by_clock(world: World, mode: str) -> int:
    """Return the seconds by which a verdict may be late because a worker's clock is ahead of other clocks."""
    return max(0, world.worker_ahead) if mode != "poke" else 0


def longest_decision(world: World, gate: Gate) -> float:
    """Return the most seconds that a gate needs for its verdict if nothing changes and nothing is wrong."""
    interval = 1.1 * max(gate.poke_interval, gate.longest_interval or 0)
    # If the triggerer misses the task first, the worker counts anew. Each begins and ends with a look.
    return 3 * interval + 2 * SETTLE + 60 + 20 * world.latency


def problems(world: World, gate: Gate, mode: str, ends: list[End], quiet_since: float) -> list[str]:
    """
    Say what is wrong with how the tries of a gate ended.

    :param quiet_since: from when on nothing has gone wrong in the network, in seconds of the world.
    """
    found: list[str] = []
    last = ends[-1]
    # A triggerer that takes over a wait counts anew.
    still = max([quiet_since, last.began, *world.changes(), *(10.0 * death for death in world.deaths)])
    decided = still + longest_decision(world, gate) + late_by_clock(world, mode)
    if last.ended > decided and last.began + gate.timeout > decided and settled(world, gate, still):
        found.append(f"undecided at {last.ended:.1f}, though all is clear since {still:.1f}")
    for end in ends:
        for look in end.looks:
            found += _problems_of_look(world, gate.question, mode, look, end)
        found += _problems_of_end(world, gate, mode, end)
    return found


def _problems_of_look(world: World, question: Question, mode: str, look: Look, end: End) -> list[str]:
    if look.answer is None:
        return []
    denied = not DENY.isdisjoint(look.struck)
    allowed = answers(world, question, look.began, look.ended, denied=denied)
    told = f"{look.answer} from {look.began:.1f} to {look.ended:.1f}"
    changed = any(look.began < moment <= look.ended for moment in world.changes())
    if look.answer.does == "opens" and not _may_open(world, question, look):
        return [f"opened wrongly: {told}; the tables say {sorted(allowed)}"]
    if look.answer not in allowed and not (changed and look.answer.does != "fails"):
        return [f"the tables say {sorted(allowed)}, not {told}"]
    if look.answer == NO_SUCH_MODEL:
        since = max(end.began, min(task.named_at for task in world.tasks))
        if mode == "reschedule":  # it remembers nothing, and counts from the time at which the task finished
            since = min(task.named_at - task.model_after for task in world.tasks)
        return [] if look.ended - since >= SETTLE - 1 else [f"not missing for long: {told}"]
    if look.answer == NOT_FOUND and not _is_shown(world, question, look.began, look.ended):
        seen = [each for each in end.looks if each.answer not in (None, WAITS, NOT_FOUND)]
        if look.ended - end.began < SETTLE - 1 or (
            mode != "reschedule" and seen and look.ended - seen[-1].ended < SETTLE
        ):
            return [f"not missing for {SETTLE} seconds: {told}"]
    return []


def _is_shown(world: World, question: Question, began: float, ended: float) -> bool:
    """Tell whether the task with the given id was there at some moment from ``began`` to ``ended``."""
    moments = [began, *(at for at in world.changes() if began < at <= ended)]
    return any(question.id in {*world.detailed(at), *(row.id for row in world.listed(at))} for at in moments)


def _may_open(world: World, question: Question, look: Look) -> bool:
    """
    Tell whether some matching task had succeeded with that model during the look, and no newer one was there.

    A newer one counts if the platform showed it during all of the look.
    """
    moments = [look.began, *(at for at in world.changes() if look.began < at <= look.ended), look.ended]
    views = [(world.listed(at), world.detailed(at)) for at in moments]
    # If the answer for one task does not say its source model, the list does.
    sources = {row.id: row.source for listed, _ in views for row in listed}
    rows = [row for listed, detailed in views for row in (*listed, *detailed.values())]
    made = [
        row
        for row in (replace(row, source=row.source or sources.get(row.id, "")) for row in rows)
        if row.status == "succeeded" and is_usable(row) and matches(row, question)
        if look.answer is not None and row.model == look.answer.what
    ]
    ready = any(world.models(at).get(str(row.model)) == "Ready" for at in moments for row in made)
    if question.id is not None or (question.model_ready and not ready):
        return bool(made) and (ready or not question.model_ready)
    always = set.intersection(*({row.id for row in listed if matches(row, question)} for listed, _ in views))
    newer = {row.id: row for listed, _ in views for row in listed if row.id in always}
    return any(
        not any(
            other.id != row.id
            and other.created is not None
            and (row.created is not None and other.created > row.created)
            for other in newer.values()
        )
        for row in made
    )


def _problems_of_end(world: World, gate: Gate, mode: str, end: End) -> list[str]:
    last = end.looks[-1] if end.looks else None
    told = f"{end.name} at {end.ended:.1f}: {end.error}"
    if end.error is None:
        model = last.answer.what if last is not None and last.answer is not None else None
        xcoms = {"modelId": model, "return_value": end.value}
        if last is None or last.answer is None or last.answer.does != "opens":
            return [f"opened wrongly, without a verdict: {told}"]
        if (
            end.value != model
            or end.xcoms.get("modelId") != model
            or end.xcoms["model_comp_task"]["modelId"] != model
        ):
            return [f"the XComs say {xcoms}, {end.xcoms}, not {model}"]
        return []
    if "id" not in end.xcoms.get("model_comp_task", {"id": ""}):
        return [f"the XCom is no task: {end.xcoms}: {told}"]
    if {"modelId", "return_value"} & end.xcoms.keys():
        return [f"an XCom was pushed: {end.xcoms}: {told}"]
    if end.skipped != (gate.soft_fail and end.name in (*VERDICTS, "AirflowSensorTimeout")):
        return [f"skipped: {end.skipped}, with soft_fail={gate.soft_fail}: {told}"]
    lasted = end.ended - end.began
    late = lasted > gate.timeout + LATEST + 20 * world.latency + late_by_clock(world, mode)
    if late:
        return [f"too late, after {lasted:.0f} s: {told}"]
    if end.name in VERDICTS:
        says = Answer("fails", end.name.removeprefix("Qianfan").removesuffix("Error"))
        return [] if last is not None and last.answer == says else [f"no look says so: {told}"]
    return [] if _is_fair(world, gate, mode, end, lasted) else [f"not as the tables say: {told}"]


def _is_fair(world: World, gate: Gate, mode: str, end: End, lasted: float) -> bool:
    """Tell whether the tables have this error about time, network or key."""
    struck = {fault for look in end.looks for fault in look.struck} | {fault for _, fault in world.faults}
    behind = world.list_late or world.detail_late
    healthy = [look for look in end.looks if look.error is None]
    if end.name == "AirflowSensorTimeout":
        return lasted >= gate.timeout - 0.01  # times are sums
    if end.name == "QianfanTransientError":
        troubled = struck or behind or world.lacks
        return mode != "reschedule" and lasted >= gate.max_unhealthy and bool(troubled)
    if end.name == "QianfanAuthError":
        refused_for = end.ended - max(world.refused, end.began)
        return world.refused < FOREVER and (
            not healthy or refused_for >= gate.auth_grace or mode == "reschedule"
        )
    if end.name == "QianfanAPIError":
        return bool(
            struck & {"HTTP: 400 InappropriateJSON", "answer: legacy code 17", "clock: signature expired"}
        )
    return end.name == "QianfanProtocolError" and bool(struck & set(ENDS))
