"""One cell's platform: an emulator behind the TCP proxy, and the Airflow connection to it."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.schema import read
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from tests.faults.proxy import PASS, REFUSE, FaultProxy
from tests.integration.cells import SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.cells import Cell
    from tests.integration.services import Services

AFTER_THE_LOOK = 1.0
"""Seconds from the first call to what would disturb its answer."""

LOST_FOR = 25.0
"""Seconds."""


class Stage:
    """
    What the sensor of one cell meets.

    :param cell: the cell.
    :param url: where the sensor connects to; default: the emulator itself.
    """

    def __init__(self, cell: Cell, services: Services, server: EmulatorServer, proxy: FaultProxy) -> None:
        self._cell, self._services, self._server, self._proxy = cell, services, server, proxy
        account = server.world.account
        self._connection = connection(cell.task_id, proxy.url, account)
        services.call("POST", "/connections", self._connection)
        if cell.row.connection == "wrong key":
            account.secret_access_key = "another"
        server.world.on_call = self._begin

    def _begin(self, _: object) -> None:
        """Let the tasks and faults begin: the first call has come, and is answered as if they were not."""
        world, row = self._server.world, self._cell.row
        world.on_call = self._rotate_if_refused
        for task in row.tasks:
            world.tasks.add(read(TaskSpec, {"source_model_id": SOURCE, **task}, self._cell.task_id))
        for fault in row.faults:
            made = read(Fault, fault, self._cell.task_id)
            if made.until is not None:
                made.until += world.elapsed
            world.faults.append(made)
        if row.connection == "rotated key":
            world.accounts = [Account(access_key_id="rotated-id", secret_access_key="rotated-secret")]
        if row.connection == "lost":
            path = f"/connections/{self._cell.task_id}"
            later(AFTER_THE_LOOK, lambda: self._services.call("DELETE", path))
            later(
                AFTER_THE_LOOK + LOST_FOR,
                lambda: self._services.call("POST", "/connections", self._connection),
            )
        if row.wire:
            later(AFTER_THE_LOOK, lambda: self._proxy.script(row.wire))
        if row.away:
            later(AFTER_THE_LOOK, lambda: setattr(self._proxy, "mode", REFUSE))
            later(AFTER_THE_LOOK + row.away, lambda: setattr(self._proxy, "mode", PASS))

    def _rotate_if_refused(self, call: Any) -> None:
        if self._cell.row.connection == "rotated key" and call.code == "InvalidAccessKeyId":
            self._server.world.on_call = None
            changed = connection(self._cell.task_id, self._proxy.url, self._server.world.account)
            path = f"/connections/{self._cell.task_id}"
            later(0, lambda: self._services.call("PATCH", path, changed))


@contextlib.contextmanager
def stages(cells: list[Cell], services: Services) -> Iterator[None]:
    """Set up the platforms of all cells."""
    with contextlib.ExitStack() as stack:
        for cell in cells:
            server = stack.enter_context(EmulatorServer())
            Stage(cell, services, server, stack.enter_context(FaultProxy(server.url)))
        yield


def connection(conn_id: str, url: str, account: Account) -> dict[str, Any]:
    """Return an Airflow connection as Airflow's API takes it."""
    return {
        "connection_id": conn_id,
        "conn_type": "qianfan",
        "host": url,
        "login": account.access_key_id,
        "password": account.secret_access_key,
        "extra": json.dumps({"timeout": 5}),
    }


def later(seconds: float, do: Callable[[], Any]) -> None:
    """Do something in so many seconds, in a thread that ends with the process."""
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()
