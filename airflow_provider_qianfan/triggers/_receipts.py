"""
How a watcher learns that Airflow has stored its events. Only Airflow 3.3 and newer can import this.

If a trigger yields an event, the triggerer stores it a little later. If the triggerer dies before that, the
event is lost. So a task counts as reported only when its event is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.triggers.shared_stream import SharedStreamProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow.triggers.shared_stream import AdvanceItem

    from airflow_provider_qianfan.triggers._watch import Batch, Watch


class Producer(SharedStreamProducer):
    """Gives the batches of a watch to Airflow, and tells the watch which events Airflow has stored."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def open_stream(self) -> AsyncIterator[tuple[Batch, Batch]]:
        """Yield each batch twice: as the raw event, and as what ``advance`` gets for it."""
        async for batch in self._watch.batches():
            yield batch, batch

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Take note of which events Airflow has stored. Airflow calls this."""
        for item in batch:
            if item.outcome.is_clean:
                await self._watch.keep(item.broker_payload)
            else:
                self._watch.forget(item.broker_payload)
