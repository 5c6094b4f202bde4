"""
Checks what the documentation promises about creations, updates and cancellations.

This file is written from docs/howto/create.md and docs/howto/service.md. It imports nothing of the package.
All times are seconds since the world began.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHORTEST_EXPIRY = 5.0

CANNOT_TELL_APART = 65.0
"""On Airflow before 3.3, a process that stands still for less than about a minute does not notice it."""

UPDATE_COUNTS = 3600.0
"""An update in progress counts as the one that this task has asked for during one hour."""

MOST_SENDINGS = 4
"""In one try, a request is sent four times at most."""

MOST_REQUESTS, MOST_SECONDS = 1500, 6 * 3600.0
"""Far more than a try needs. The time for which it stands still does not count."""


@dataclass(frozen=True)
class Wish:
    """
    What one try is to do.

    :param about: the source model of a compression, the name of a service, the service to update, or the
        compression to cancel.
    :param model: the model version to deploy.
    """

    about: str
    model: str = ""
    nonce: str = ""


@dataclass
class Change:
    """
    A request that changes something, as the network and the platform saw it.

    :ivar by: the Airflow task that sent it; empty if somebody else did.
    :ivar attempt: the number of the try that sent it.
    :ivar about: what the request names: see :class:`Wish`.
    :ivar done_at: when the platform carried it out; None if it did not.
    :ivar counts_from: when its sender noted that the answer was lost; otherwise when the request left.
    :ivar shown_at: from when on the platform shows it.
    :ivar over_at: when an update ended.
    :ivar gone_at: when what was created was deleted, or an update was taken back.
    :ivar known: whether its try was told that the platform has accepted it, and ended with a result.
    :ivar hidden: whether another update was in progress when it was sent.
    """

    by: str
    attempt: int
    about: str
    mark: str = ""
    model: str = ""
    left_at: float = 0.0
    done_at: float | None = None
    made_id: str = ""
    counts_from: float = 0.0
    shown_at: float = 0.0
    over_at: float = 0.0
    gone_at: float = float("inf")
    hidden: bool = False
    known: bool = False


@dataclass
class Try:
    """
    One try of an Airflow task, and how it ended.

    :ivar result: what it returned; None if it did not end with a result.
    :ivar error: the name of the error that it ended with; empty without one.
    :ivar named: whether the error is one of the documented ones, or Airflow's own.
    :ivar unwatched: whether it stood still where no process of Airflow before 3.3 can notice it.
    :ivar saw: what it read of the thing to change, and when: a version or a status, and whether an update was
        in progress.
    """

    by: str
    number: int
    wish: Wish
    mark: str
    began: float
    ended: float | None = None
    result: str | None = None
    error: str = ""
    named: bool = True
    died: bool = False
    replaced_at: float = float("inf")
    stood: float = 0.0
    unwatched: bool = False
    requests: int = 0
    sendings: int = 0
    remembered: list[str] = field(default_factory=list)
    saw: list[tuple[float, str, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Story:
    """
    All that happened in a world.

    :param served: the versions that services served when the world began.
    """

    subject: str
    stored: bool
    settle: float
    changes: Sequence[Change]
    tries: Sequence[Try]
    served: dict[str, str]
    meddled: bool

    def tries_of(self, by: str) -> list[Try]:
        return [one for one in self.tries if one.by == by]

    def done_by(self, by: str) -> list[Change]:
        return [one for one in self.changes if one.by == by and one.done_at is not None]

    def unwatched(self, by: str) -> bool:
        """Tell whether Airflow before 3.3 could not see that one try had replaced another."""
        return not self.stored and any(one.unwatched for one in self.tries_of(by))

    def forgotten(self, first: Change, later: Change) -> bool:
        """Tell whether a try with other arguments came between. Airflow then keeps only its note."""
        wish, mark = self.sender(first).wish, self.sender(first).mark
        return self.stored and any(
            (one.wish.about, one.wish.model, one.mark) != (wish.about, wish.model, mark)
            for one in self.tries_of(first.by)
            if first.attempt < one.number < later.attempt
        )

    def sender(self, change: Change) -> Try:
        """Return the try that sent a request."""
        (sender,) = [one for one in self.tries_of(change.by) if one.number == change.attempt]
        return sender

    def in_time(self, change: Change) -> bool:
        """
        Tell whether the platform shows a change within ``settle``.

        ``settle`` counts from when the request left. If the try noted that the answer was lost, ``settle``
        counts from then.
        """
        return change.shown_at - change.counts_from <= self.settle


def problems(story: Story) -> Iterator[str]:
    """Yield what breaks a promise."""
    yield from _ends(story)
    yield from _asked_for(story)
    if story.subject != "cancel":
        yield from _carried_out_late(story)
    if story.subject in ("compression", "service"):
        yield from _created_twice(story)
        yield from _wrong_result(story)
    if story.subject == "update":
        yield from _updated_twice(story)
        yield from _silent_success(story)
        yield from _wrong_memory(story)
    if story.subject == "cancel":
        yield from _not_cancelled(story)


def _ends(story: Story) -> Iterator[str]:
    """Every try ends: with a result or a named error, after not too many requests and seconds."""
    for one in story.tries:
        if one.ended is None:
            yield f"without end: {one.by} try {one.number}"
            continue
        if not one.named:
            yield f"an error without a name: {one.by} try {one.number}: {one.error}"
        if one.requests > MOST_REQUESTS or one.ended - one.began - one.stood > MOST_SECONDS:
            yield f"too much: {one.by} try {one.number}"
        if one.sendings > MOST_SENDINGS and story.subject != "cancel":
            yield f"sent more than {MOST_SENDINGS} times: {one.by} try {one.number}"


def _asked_for(story: Story) -> Iterator[str]:
    """A request names what its try was asked for, and nothing else."""
    for change in story.changes:
        if not change.by:
            continue
        sender = story.sender(change)
        wish = sender.wish
        if (change.about, change.model, change.mark) != (wish.about, wish.model, sender.mark):
            yield f"sent wrongly: {change} rather than {wish}"


def _carried_out_late(story: Story) -> Iterator[str]:
    """The signature expires within ``settle``, but is valid for at least five seconds. Times are rounded."""
    for change in story.changes:
        done = change.left_at if change.done_at is None else change.done_at
        if done - change.left_at > max(story.settle, SHORTEST_EXPIRY) + 2:
            yield f"carried out late: {change}"


def _created_twice(story: Story) -> Iterator[str]:
    """
    One task of one run creates one, if the platform shows it within ``settle``.

    With another nonce, source model or name, or after a deletion, it creates another one.
    """
    for later in story.changes:
        for first in story.changes:
            same = (first.by, first.mark, first.about) == (later.by, later.mark, later.about)
            if first is later or not same or None in (first.done_at, later.done_at):
                continue
            if first.left_at > later.left_at or first.gone_at <= later.left_at:
                continue
            if story.unwatched(first.by) or story.forgotten(first, later):
                continue
            if story.in_time(first):
                yield f"created twice: {first} and {later}"


def _wrong_result(story: Story) -> Iterator[str]:
    """A result is the id of one that this task of this run has made for this source model or name."""
    for one in story.tries:
        if one.result is None:
            continue
        made = [
            change
            for change in story.done_by(one.by)
            if (change.made_id, change.mark, change.about) == (one.result, one.mark, one.wish.about)
        ]
        if not made:
            yield f"a wrong id: {one.by} try {one.number} returned {one.result}"


def _updated_twice(story: Story) -> Iterator[str]:
    """
    No try asks again for an update that shows within ``settle``.

    If somebody else has updated the service, or the platform has taken our update back, a try may ask again.
    But if a try was replaced, it may not ask after its successor has asked.
    """
    done = [one for one in story.changes if one.done_at is not None]
    for later in done:
        for first in done:
            same = (first.by, first.about, first.model) == (later.by, later.about, later.model)
            if first is later or not first.by or not same or first.left_at > later.left_at:
                continue
            if story.unwatched(first.by) or story.forgotten(first, later):
                continue
            if later.attempt < first.attempt:
                yield f"asked by a try that was replaced: {later} after {first}"
                continue
            saw = [updating for at, _, updating in story.sender(later).saw if at <= later.left_at]
            recent = later.left_at - first.left_at < UPDATE_COUNTS
            if story.stored and first.known and recent and saw[-1]:
                yield f"updated twice, during an update: {first} and {later}"
            between = [
                one
                for one in done
                if one.about == first.about
                and one is not first
                and one is not later
                # Somebody else's update may end, or show, after ours has begun.
                and first.left_at - UPDATE_COUNTS <= one.left_at <= later.left_at
                and (one.by, one.model) != (first.by, first.model)
            ]
            long_ago = later.left_at - first.left_at > UPDATE_COUNTS and first.over_at > later.left_at
            if between or long_ago or first.hidden or first.gone_at <= later.left_at:
                continue
            if story.in_time(first):
                yield f"updated twice: {first} and {later}"


def _silent_success(story: Story) -> Iterator[str]:
    """
    A try succeeds only if this task has had the service updated, or if the service serves the version.

    If the answer was lost, or if an earlier try may have asked, an update in progress counts: the platform
    does not say whose it is.
    """
    for one in story.tries:
        if one.result is None:
            continue
        asked = any(
            change.model == one.wish.model and change.about == one.wish.about
            for change in story.done_by(one.by)
        )
        served = any(model == one.wish.model and not updating for _, model, updating in one.saw)
        may_have_asked = any(
            change.by == one.by and change.model == one.wish.model for change in story.changes
        ) or any(
            (each.died or each.error) and each.wish == one.wish and each.number < one.number
            for each in story.tries_of(one.by)
        )
        taken_for_ours = may_have_asked and any(updating for _, _, updating in one.saw)
        arriving = any(model == one.wish.model for _, model, _ in one.saw)
        if not (asked or served or taken_for_ours or (arriving and one.sendings)):
            yield f"success without an update: {one.by} try {one.number}, which saw {one.saw[-3:]}"


def _wrong_memory(story: Story) -> Iterator[str]:
    """If nobody else updates the service, ``previous_model_id`` is the version before this task."""
    if story.meddled:
        return
    for one in story.tries:
        wishes = {each.wish for each in story.tries_of(one.by) if each.number <= one.number}
        if len(wishes) > 1 or story.unwatched(one.by) or one.replaced_at < float("inf"):
            continue
        served = story.served[one.wish.about]
        late = [change for change in story.done_by(one.by) if not story.in_time(change)]
        if not late and set(one.remembered) - {served}:
            yield f"a wrong previous_model_id: {one.by} try {one.number}: {one.remembered}"


def _not_cancelled(story: Story) -> Iterator[str]:
    """A try succeeds only if the platform has accepted the cancellation, or if the compression has ended."""
    for one in story.tries:
        finished = any(status != "running" for _, status, _ in one.saw)
        accepted = any(
            change.about == one.wish.about and change.attempt == one.number
            for change in story.done_by(one.by)
        )
        if one.result is not None and not (finished or accepted):
            yield f"success without a cancellation: {one.by} try {one.number}"
        for change in story.changes:
            seen = [status for at, status, _ in one.saw if at <= change.left_at]
            if (change.by, change.attempt) == (one.by, one.number) and (not seen or seen[-1] != "running"):
                yield f"cancelled without need: {one.by} try {one.number} had seen {seen[-2:]}"
