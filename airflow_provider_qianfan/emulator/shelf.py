"""The things of one kind in a world, by id."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from airflow_provider_qianfan.emulator.clock import shifted
from airflow_provider_qianfan.emulator.errors import not_found
from airflow_provider_qianfan.emulator.paging import in_order
from airflow_provider_qianfan.emulator.things import Spec, Step, Timed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_qianfan.emulator.behaviour import Behaviour

Thing = TypeVar("Thing", bound=Timed[Any, Any])


class Surroundings(Protocol):
    """What a shelf needs of its world."""

    behaviour: Behaviour
    lock: threading.RLock

    @property
    def now(self) -> datetime:
        """World time (aware, UTC)."""


class Shelf(dict[str, Thing], Generic[Spec, Step, Thing]):
    """
    All things of one kind, by id. It also holds those whose creation is still to come.

    :param make: makes a thing of its id, its specification and the time of its creation.
    :param kind: what messages call a thing.
    :param prefix: of invented ids.
    :param settle: brings the things onto the shelf that have come to be by themselves.
    :param before_removal: what else has to happen before a thing goes; default: ``settle``.
    :ivar removed: the ids of what was removed.
    """

    def __init__(
        self,
        world: Surroundings,
        make: Callable[[str, Spec, datetime], Thing],
        kind: str,
        prefix: str,
        settle: Callable[[], None] = lambda: None,
        before_removal: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.removed: set[str] = set()
        self._before_removal = before_removal or settle
        self._world, self._make, self._kind, self._prefix, self._settle = world, make, kind, prefix, settle
        self._invented = 0

    def add(self, spec: Spec) -> str:
        """
        Put the thing of a specification into the world, and return its id; with ``repeat``, the first one's.

        :raises ValueError: if an id is taken; then nothing is added.
        """
        with self._world.lock:
            self._settle()
            now = self._world.now
            added: dict[str, Thing] = {}
            for single, seconds in spec.expand(now):
                thing_id = single.id or self._invent_id()
                if thing_id in self or thing_id in added:
                    raise ValueError(f"there is already a {self._kind} {thing_id!r}")
                added[thing_id] = self._make(thing_id, single, shifted(now, seconds))
            self.update(added)
            return next(iter(added))

    def change(self, thing_id: str, *steps: Step) -> None:
        """
        Replace the future of a thing.

        :param steps: what is to happen; ``after`` counts from now.
        :raises KeyError: if there is no such thing.
        """
        with self._world.lock:
            self._settle()
            self[thing_id].divert(self._world.now, *steps)

    def remove(self, thing_id: str) -> None:
        """
        Remove a thing. If it is a task, the version that it produced stays.

        :raises KeyError: if there is no such thing.
        """
        with self._world.lock:
            self._before_removal()
            del self[thing_id]
            self.removed.add(thing_id)

    def existing(self) -> list[Thing]:
        """Return what has been created by now, in the order of the list action."""
        with self._world.lock:
            self._settle()
            now = self._world.now
            created = [thing for thing in self.values() if thing.created <= now]
            return in_order(created, self._world.behaviour.order)

    def listed(self) -> list[Thing]:
        """Return what the list action knows by now; see ``list_lag`` of :class:`.behaviour.Behaviour`."""
        now, lag = self._world.now, self._world.behaviour.list_lag
        return [thing for thing in self.existing() if thing.age(now) >= lag]

    def find(self, thing_id: str) -> Thing | None:
        """
        Return what an action asks for by its id, or None if it is to be answered with a null result.

        :raises ApiError: if there is none, unless ``not_found`` of :class:`.behaviour.Behaviour` says so.
        """
        with self._world.lock:
            self._settle()
            thing = self.get(thing_id)
            if thing is not None and thing.created <= self._world.now:
                return thing
        not_found(self._world.behaviour.not_found, f"There is no {thing_id}.")
        return None

    def _invent_id(self) -> str:
        while True:
            self._invented += 1
            invented = f"{self._prefix}-emulated{self._invented:04d}"
            if invented not in self:
                return invented
