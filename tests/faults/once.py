"""
One try to create a compression or to update a service, as an operator makes it, in this process or another.

``python -m tests.faults.once`` takes the arguments as JSON. With ``stop``, it stops itself with SIGSTOP as
soon as the note of the sending is kept.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.changes.compression import NewTask
from airflow_provider_qianfan.changes.journal import Journal, Ports, fingerprint
from airflow_provider_qianfan.changes.once import create_once
from airflow_provider_qianfan.changes.update import Swap, swap_once
from airflow_provider_qianfan.hooks._driver import Driver
from airflow_provider_qianfan.hooks._settings import Settings

SOURCE, SERVICE, MADE = "amv-source000001", "svco-1", "amv-made00000001"
SETTLE = 3.0
TIMEOUT = 1.0


@dataclass
class Store:
    """What Airflow keeps over the tries, in a file."""

    path: Path
    stop: bool = False

    def get(self, _: str) -> Any:
        return json.loads(self.path.read_text()) if self.path.exists() else None

    def set(self, _: str, value: Any) -> None:
        self.path.write_text(json.dumps(value))
        if self.stop and value.get("sent_at"):
            self.stop = False
            os.kill(os.getpid(), signal.SIGSTOP)

    def delete(self, _: str) -> None:
        self.path.unlink(missing_ok=True)


@dataclass
class Try:
    """
    One try.

    :param what: ``create`` or ``swap``.
    :param store: the file of what is kept.
    """

    what: str
    url: str
    key: tuple[str, str]
    store: str
    number: int = 1
    proxy: str | None = None
    verify: str | bool = True
    stop: bool = False

    def run(self) -> None:
        settings = Settings(
            Endpoint.parse(self.url),
            Credentials(*self.key),
            timeout=TIMEOUT,
            proxy=self.proxy,  # type: ignore[arg-type]
            verify=self.verify,
        )
        store = Store(Path(self.store), self.stop)
        exchange = Exchange(settings.endpoint, settings.credentials, retry=RetryPolicy(first_pause=0.05))
        ports = Ports(SETTLE, time.time, lambda _, text: print(f"{self.number}: {text}", file=sys.stderr))
        mark = fingerprint("dag", "run", self.what, -1)
        with Driver(settings) as driver:
            if self.what == "create":
                config = {"strategy": "Quantization", "weight": "INT8-PTQ"}
                new = NewTask("demo", SOURCE, "am-set000000001", config, mark)
                journal = Journal(store, "created", {"mark": mark}, self.number)
                driver.run(create_once(exchange, new, "adopt", journal, ports))
            else:
                swap = Swap(SERVICE, MADE, "am-set000000001", lambda _: None)
                journal = Journal(store, "swapped", {"service_id": SERVICE, "model_id": MADE}, self.number)
                driver.run(swap_once(exchange, swap, journal, ports))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    Try(**{**given, "key": tuple(given["key"])}).run()
