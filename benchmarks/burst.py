"""What the platform sees when a thousand waits resume over eight workers."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.exchange import LONGEST_PAUSE, Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.gate.look import take_look
from airflow_provider_qianfan.gate.memory import Memory
from airflow_provider_qianfan.gate.selection import Selector
from airflow_provider_qianfan.gate.verdict import Open
from airflow_provider_qianfan.hooks._driver import Driver
from airflow_provider_qianfan.hooks._settings import Settings
from benchmarks.table import Result

WAITS, WORKERS = 1000, 8
LIMIT, RETRY_AFTER = 20, 5
DAY = timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class Limit(Fault):
    """Refuse what is above so many requests a second, as a bucket that holds those of one second does."""

    per_second: float
    tokens: float = 0.0
    filled_at: float = 0.0

    def due(self, elapsed: float) -> bool:
        """Tell whether to refuse the next request."""
        now = time.monotonic()
        self.tokens = min(self.per_second, self.tokens + (now - self.filled_at) * self.per_second)
        self.filled_at = now
        if self.tokens < 1:
            return True
        self.tokens -= 1
        return False


def look(url: str, key: tuple[str, str], number: int) -> float | None:
    """Take the look of a wait that resumes. Return when its gate opened; None if it has to defer again."""
    settings = Settings(Endpoint.parse(url), Credentials(*key))
    policy = RetryPolicy(patience=LONGEST_PAUSE, until=datetime.now(UTC) + DAY)
    exchange = Exchange(settings.endpoint, settings.credentials, retry=policy)
    now = time.time()
    memory = Memory(started=now, deadline=now + DAY.total_seconds())
    with Driver(settings) as driver:
        try:
            steps = take_look(exchange, Selector(f"amv-source{number}"), memory, settle=120, clock=time.time)
            verdict = driver.run(steps)
        except QianfanError:
            return None
    if not isinstance(verdict, Open):
        raise SystemExit(f"the gate does not open: {verdict}")
    return time.time()


def run() -> list[Result]:
    """Let all waits resume at once: on a platform without a limit, and on one with a limit."""
    return [*_burst(None), *_burst(Limit(rate_limit=True, retry_after=RETRY_AFTER, per_second=LIMIT))]


def _burst(limit: Limit | None) -> list[Result]:
    with (
        EmulatorServer() as emulator,
        ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as workers,
    ):
        for number in range(WAITS):
            task = TaskSpec(f"amv-source{number}", status="succeeded", model_id=f"amv-made{number}")
            emulator.world.tasks.add(task)
        account = emulator.world.accounts[0]
        key = (account.access_key_id, account.secret_access_key)
        list(workers.map(look, *zip(*[(emulator.url, key, 0)] * WORKERS, strict=True)))  # start them
        if limit is not None:
            emulator.world.faults.append(limit)
        began, before = time.time(), len(emulator.world.calls)
        arguments = zip(*[(emulator.url, key, number) for number in range(WAITS)], strict=True)
        opened = [when for when in workers.map(look, *arguments) if when is not None]
        calls = list(emulator.world.calls)[before:]
    per_second = Counter(int(call.time.timestamp()) for call in calls)
    how = "no limit" if limit is None else f"a limit of {LIMIT} requests/s, Retry-After: {RETRY_AFTER}"
    case = f"{WAITS:,} waits over {WORKERS} workers, {how}"
    refused = sum(call.status == 429 for call in calls)
    return [
        Result(
            "calls of the platform while waits resume",
            case,
            len(calls),
            "one look for each",
            WAITS,
            "calls",
            note=f"at most {max(per_second.values())} in a second; {refused} refused;"
            f" {WAITS - len(opened)} defer again; all done after {max(opened) - began:.0f} s",
        )
    ]
