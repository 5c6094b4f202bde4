"""A TCP proxy for faults below HTTP, which a correct HTTP server cannot cause."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import TracebackType

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Mode:
    """
    What happens to a connection. Use the constants and functions below.

    :param after: bytes of the answer that get through before the fault.
    :param interval: real seconds from one byte of the answer to the next.
    """

    kind: Literal["pass", "refuse", "drop", "reset", "cut", "drip", "hang"]
    after: int = 0
    interval: float = 0.0


PASS = Mode("pass")
#: Nobody listens. Not for scripts: a connection that is refused was never there.
REFUSE = Mode("refuse")
#: Accepted, and closed without an answer.
DROP = Mode("drop")
#: Accepted, and never answered.
HANG = Mode("hang")


def reset(after: int = 0) -> Mode:
    """Reset the connection (RST): when the request comes, not passed on; or after that much of the answer."""
    return Mode("reset", after=after)


def cut(after: int) -> Mode:
    """Close the connection in good order after that many bytes of the answer."""
    return Mode("cut", after=after)


def drip(interval: float) -> Mode:
    """Let the answer through byte by byte."""
    return Mode("drip", interval=interval)


class FaultProxy:
    """
    A proxy on a loopback port, as a context manager.

    A mode holds for a connection, not for a request: clients that keep connections alive send several
    requests over one. So setting ``mode`` closes the connections that are open, and counts for the next ones.

    :param target: URL of the server behind, for example the emulator's.
    :param mode: how to begin; default: everything passes.
    """

    def __init__(self, target: str, mode: Mode = PASS) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._mode = mode
        self._script: deque[Mode] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        #: Connections accepted so far.
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Where clients connect to; the port stays the same."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mode(self) -> Mode:
        """The mode of connections that no script is for."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._call(self._switch())

    def script(self, modes: Iterable[Mode]) -> None:
        """Set the modes of the next connections, one each; after them, ``mode`` holds again."""
        modes = list(modes)
        if REFUSE in modes:
            raise ValueError("a script cannot refuse connections; set the mode")
        self._script = deque(modes)
        self._call(self._switch())

    def __enter__(self) -> FaultProxy:
        """Start."""
        self._thread.start()
        self._call(self._listen())
        self._call(self._switch())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever is on its way."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _switch(self) -> None:
        await self._drop_open()
        if self._mode == REFUSE and self._server is not None:
            self._server.close()
            self._server = None
        elif self._mode != REFUSE and self._server is None:
            await self._listen()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._drop_open()
        # The loop closes sockets in its next rounds, and is stopped after this.
        await asyncio.sleep(0.005)

    async def _drop_open(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._open.add(task)
        self.connections += 1
        mode = self._script.popleft() if self._script else self._mode
        try:
            # A connection that breaks is this module's business.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._treat(mode, reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _treat(self, mode: Mode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if mode.kind in ("drop", "hang"):
            if mode.kind == "drop":
                # Only our half: closing with the request unread would be a reset.
                writer.write_eof()
            while await reader.read(65536):
                pass
            return
        if mode.kind == "reset" and mode.after == 0:
            # Not before the request comes: else it is chance whether connecting fails already, or reading.
            await reader.read(1)
            _reset(writer)
            return
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        upwards = asyncio.create_task(_pump(reader, upstream_writer))
        try:
            await _answer(mode, upstream_reader, writer)
        finally:
            upwards.cancel()
            upstream_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _answer(mode: Mode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    left = mode.after
    limited = mode.kind in ("cut", "reset")
    while data := await reader.read(min(left, 65536) if limited else 65536):
        for piece in _pieces(data) if mode.kind == "drip" else (data,):
            writer.write(piece)
            await writer.drain()
            if mode.interval:
                await asyncio.sleep(mode.interval)
        left -= len(data)
        if limited and left <= 0:
            break
    if mode.kind == "reset":
        _reset(writer)


def _pieces(data: bytes) -> Iterable[bytes]:
    return (data[index : index + 1] for index in range(len(data)))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST: a linger time of 0 makes the kernel forget the connection at once."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
