"""The tasks, model versions or services of a world, by ID."""

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
    All tasks, all model versions or all services of a world, by ID. Those to be created later are on it, too.

    :param world: the world that the shelf belongs to.
    :param make: makes a thing from its ID, its specification and the time of its creation.
    :param kind: the name of a thing in messages.
    :param prefix: the prefix of invented IDs.
    :param settle: adds the things that have come to be by themselves. Default: nothing.
    :param before_removal: called before a thing is removed. Default: ``settle``.
    :ivar removed: the IDs of removed things.
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
        Add a thing, or several with ``repeat``.

        :param spec: what to add.
        :returns: the ID; with ``repeat``, the first one.
        :raises ValueError: if an ID is taken. Then nothing is added.
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

        :param thing_id: the ID of the thing.
        :param steps: the new future. ``after`` counts from now, in world seconds.
        :raises KeyError: if there is no such thing.
        """
        with self._world.lock:
            self._settle()
            self[thing_id].divert(self._world.now, *steps)

    def remove(self, thing_id: str) -> None:
        """
        Remove a thing. If you remove a task, the version that it produced stays.

        :param thing_id: the ID of the thing.
        :raises KeyError: if there is no such thing.
        """
        with self._world.lock:
            self._before_removal()
            del self[thing_id]
            self.removed.add(thing_id)

    def existing(self) -> list[Thing]:
        """Return everything that has been created by now, in the order of the list action."""
        with self._world.lock:
            self._settle()
            now = self._world.now
            created = [thing for thing in self.values() if thing.created <= now]
            return in_order(created, self._world.behaviour.order)

    def listed(self) -> list[Thing]:
        """Return all that the list action shows by now; see ``list_lag`` of :class:`.behaviour.Behaviour`."""
        now, lag = self._world.now, self._world.behaviour.list_lag
        return [thing for thing in self.existing() if thing.age(now) >= lag]

    def find(self, thing_id: str) -> Thing | None:
        """
        Return the thing that an action asks for; None if the answer should be a null result.

        :raises ApiError: if there is no such thing, and ``not_found`` of :class:`.behaviour.Behaviour` asks
            for an error.
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
