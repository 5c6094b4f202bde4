"""
How a watch hears that Airflow has stored its events. Only Airflow 3.3 and newer can import this.

A trigger that yields an event only hands it to its process. If the process dies before the event is stored,
the event is lost. So nothing may count as reported before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.triggers.shared_stream import SharedStreamProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow.triggers.shared_stream import AdvanceItem

    from airflow_provider_qianfan.triggers._watch import Batch, Watch


class Producer(SharedStreamProducer):
    """Hands the batches of a watch to Airflow, and tells the watch which of their events are stored."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def open_stream(self) -> AsyncIterator[tuple[Batch, Batch]]:
        """Yield each batch, as the event's raw form and as its receipt."""
        async for batch in self._watch.batches():
            yield batch, batch

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Hear what became of the events of some batches."""
        for item in batch:
            if item.outcome.is_clean:
                await self._watch.keep(item.broker_payload)
            else:
                self._watch.forget(item.broker_payload)
