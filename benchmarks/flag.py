"""The floor for a wait, and for a watcher: they need no platform, only a file that appears, or grows."""

from __future__ import annotations

import asyncio
from contextvars import Context as Variables
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.sdk import Context

_polls: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[None]] = {}


async def _appears(path: Path, every: float) -> None:
    """Look for the file. Leave a byte beside it for each look."""
    while not path.exists():  # noqa: ASYNC240  it takes some microseconds
        with path.with_suffix(".looks").open("ab") as looks:
            looks.write(b".")
        await asyncio.sleep(every)


class FlagTrigger(BaseTrigger):
    """Fires when the file is there. All triggers of an event loop share one task that looks for it."""

    def __init__(self, *, path: str, every: float) -> None:
        super().__init__()
        self.path = path
        self.every = every

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.FlagTrigger", {"path": self.path, "every": self.every}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        loop = asyncio.get_running_loop()
        if (loop, self.path) not in _polls or _polls[loop, self.path].done():  # of an earlier round
            _polls[loop, self.path] = loop.create_task(
                _appears(Path(self.path), self.every), context=Variables()
            )
        await asyncio.shield(_polls[loop, self.path])
        yield TriggerEvent({})


class LinesTrigger(BaseEventTrigger):
    """The floor for a watcher: it reports each line that a file gets, as the id of a task, at once."""

    def __init__(self, *, path: str, every: float) -> None:
        super().__init__()
        self.path = path
        self.every = every

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.LinesTrigger", {"path": self.path, "every": self.every}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        path, told = Path(self.path), 0
        path.with_suffix(".looks").touch()
        while True:
            lines = path.read_text().splitlines() if path.exists() else []  # noqa: ASYNC240  microseconds
            if lines[told:]:
                yield TriggerEvent({"tasks": [{"id": line} for line in lines[told:]]})
            told = len(lines)
            await asyncio.sleep(self.every)


class FlagSensor(BaseSensorOperator):
    """Defers. Has nothing to do when it resumes."""

    template_fields = ("path",)

    def __init__(self, *, path: str, every: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.every = every

    def execute(self, context: Context) -> None:
        self.defer(trigger=FlagTrigger(path=self.path, every=self.every), method_name="execute_complete")

    def execute_complete(self, context: Context, event: Any = None) -> None:
        return
