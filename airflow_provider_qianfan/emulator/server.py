"""The emulator in a thread, for tests and for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import uvicorn

from airflow_provider_qianfan.emulator.app import create_app
from airflow_provider_qianfan.emulator.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from airflow_provider_qianfan.emulator.clock import Clock
    from airflow_provider_qianfan.emulator.scenario import Scenario

_PATIENCE = 5.0


class EmulatorServer:
    """
    An emulator on a loopback port, as a context manager.

    :param scenario: anything that :func:`.scenario.load` accepts. Default: no tasks, one account.
    :param clock: the clock for world time. Default: the real one.
    :param port: the port to listen on. Default: 0, which means any free port.
    :param host: the loopback address to listen on. Default: 127.0.0.1.
    :param allowed_hosts: more names that clients may use in ``Host``, for example behind a proxy that keeps
        the name. The emulator refuses all other names but those of loopback: otherwise a web page could call
        it.
    :param tls: the files of a certificate and of its key, both in PEM. With them, the emulator answers over
        TLS alone. Default: plain HTTP.
    :raises ValueError: if ``host`` is not a loopback address, or an entry of ``allowed_hosts`` is not a name.
    :raises OSError: if the port is not free.
    """

    def __init__(
        self,
        scenario: Scenario | Mapping[str, object] | str | Path | None = None,
        clock: Clock | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        allowed_hosts: Collection[str] = (),
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        address = loopback(host)
        self.world = World(scenario, clock)
        app = create_app(self.world, allowed_hosts)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        # Without the protocol's number, asyncio leaves Nagle's algorithm on: 40 ms more for an answer.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address, port))
        except BaseException:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        name, scheme = f"[{address}]" if ":" in address else address, "https" if tls else "http"
        self.url = f"{scheme}://{name}:{self.port}"
        certificate, key = tls or (None, None)
        self._server = _Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                # Uvicorn logs an error for an answer that was cut on purpose.
                log_level="critical",
                # The Date header is the emulated server's.
                date_header=False,
                server_header=False,
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )
        self._thread = threading.Thread(target=self._run, name=f"qianfan-emulator-{self.port}", daemon=True)

    @property
    def connection_uri(self) -> str:
        """The Airflow connection to this emulator, with the key of the first account, in URI form."""
        account, quoted = self.world.account, partial(quote, safe="", errors="surrogatepass")
        login, password, host = map(quoted, (account.access_key_id, account.secret_access_key, self.url))
        extra = f"/?session_token={quoted(account.session_token)}" if account.session_token else ""
        return f"qianfan://{login}:{password}@{host}{extra}"

    def start(self) -> None:
        """Serve. Return once the port answers."""
        self._thread.start()
        deadline = time.monotonic() + _PATIENCE
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("the emulator did not start")
            time.sleep(0.002)

    def stop(self) -> None:
        """Stop serving, and end requests on their way. Return when the port is free again."""
        self._server.exit()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        self._socket.close()
        if self._thread.is_alive():
            raise RuntimeError("the emulator did not stop")

    def __enter__(self) -> EmulatorServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


class _Server(uvicorn.Server):
    """
    Uvicorn without its ticks.

    The ticks cost tenths of a second at the end, which add up over a test run. They also wake each of
    hundreds of idle emulators ten times a second.
    """

    _wake: Callable[[], object] | None = None

    async def main_loop(self) -> None:
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._wake = lambda: loop.call_soon_threadsafe(leave.set)
        if not self.should_exit:
            await leave.wait()

    def exit(self) -> None:
        """Leave the main loop, from any thread."""
        self.should_exit = True
        if self._wake is not None:
            with contextlib.suppress(RuntimeError):  # it has left, and the loop is closed
                self._wake()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            with contextlib.suppress(AttributeError):
                connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(list(self.server_state.tasks), timeout=1)
        await asyncio.sleep(0)  # the loop closes aborted sockets in its next round


def loopback(host: str) -> str:
    """
    Return the address of a host that only this machine can reach.

    :raises ValueError: if other machines can reach it. The control API is not signed, and plain HTTP belongs
        on loopback.
    """
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise ValueError(f"{host!r} is not a loopback address; use 127.0.0.1, ::1 or localhost")
