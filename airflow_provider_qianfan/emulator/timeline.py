"""A thing on the emulated platform: its specification, and what has happened since its creation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Generic, Literal, TypeVar

from airflow_provider_qianfan.emulator.clock import shifted
from airflow_provider_qianfan.emulator.specs import AnySpec
from airflow_provider_qianfan.emulator.steps import NO_PATCH, AnyStep

_BEIJING = timezone(timedelta(hours=8))
_PLATFORM_ZERO = "0000-00-00T00:00:00Z"

Where = Literal["list", "detail"]
Spec = TypeVar("Spec", bound=AnySpec)
Step = TypeVar("Step", bound=AnyStep)


class Timed(Generic[Spec, Step]):
    """
    A thing whose state follows from its steps and the clock.

    :param spec: its specification, without ``repeat``.
    :param created: the time of its creation (world time, aware).
    """

    def __init__(self, thing_id: str, spec: Spec, created: datetime) -> None:
        self.id = thing_id
        self.spec = spec
        self.created = created
        self.steps: tuple[Step, ...] = spec.steps

    @property
    def name(self) -> str:
        """The name; without one, the id."""
        return self.spec.name or self.id

    def age(self, now: datetime) -> float:
        """Return the world seconds since the creation."""
        return (now - self.created).total_seconds()

    def past(self, now: datetime) -> tuple[Step, ...]:
        """Return the steps up to now. The first step is always among them."""
        age = self.age(now)
        return (self.steps[0], *(step for step in self.steps[1:] if step.after <= age))

    def step(self, now: datetime) -> Step:
        """Return the current step."""
        return self.past(now)[-1]

    def at(self, step: Step) -> datetime:
        """Return the time of a step."""
        return shifted(self.created, step.after)

    def divert(self, now: datetime, *steps: Step) -> None:
        """
        Replace the future.

        :param steps: the new future. Their ``after`` counts from ``now``.
        """
        age = self.age(now)
        self.steps = self.past(now) + tuple(replace(step, after=age + step.after) for step in steps)

    def patched(self, row: dict[str, Any], step: Step, where: Where) -> dict[str, Any]:
        """
        Return a row with the patches of this thing and of its step.

        :param where: the action that the row is for.
        """
        only = [getattr(patched, f"in_{where}", NO_PATCH) for patched in (self.spec, step)]
        for patch in (self.spec, step, *only):
            row = patch.apply(row)
        return row


def time_text(moment: datetime, kind: str) -> str | None:
    """
    Return a time as an answer writes it; None if the answer leaves it out.

    :param kind: the ``time_format`` or ``unfinished_time`` of :class:`.behaviour.Behaviour`.
    """
    if kind == "offset":
        return moment.astimezone(_BEIJING).isoformat(timespec="seconds")
    if kind == "z":
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"zero": _PLATFORM_ZERO, "empty": "", "absent": None}[kind]


def given(texts: dict[str, str | None]) -> dict[str, Any]:
    """Return the keys that have a text."""
    return {key: text for key, text in texts.items() if text is not None}
