"""A server that sends any bytes first, and only then behaves properly."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import time
import warnings
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.faults.connect import Proxy, pipe, reset

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PATIENCE = 20.0
"""Seconds after which "for ever" ends, so that a test of a client that hangs fails."""

_DRIP = 0.05

Step = Callable[[socket.socket], "socket.socket | None"]
"""Does something with a connection; returns what replaces it, if anything does."""


class RawServer(Proxy):
    """
    A server on a loopback port, as a context manager.

    :param target: where connections lead that no script is for.
    :ivar scripts: what happens on the next connections, one script each. After its last step a script waits
        for the client to close the connection.
    """

    scheme = "http"

    def __init__(self, target: tuple[str, int], *scripts: Iterable[Step]) -> None:
        super().__init__(_Scripted, target)
        self.scripts = deque(scripts)


class _Scripted(socketserver.BaseRequestHandler):
    server: RawServer

    def handle(self) -> None:
        if not self.server.scripts:
            pipe(self.request, self.server)
            return
        connection: socket.socket = self.request
        script = self.server.scripts.popleft()
        with contextlib.suppress(OSError):
            connection.settimeout(_PATIENCE)
            for step in script:
                connection = step(connection) or connection
            while connection.recv(65536):
                pass
        with contextlib.suppress(OSError):
            connection.close()


def read(connection: socket.socket) -> None:
    """Read a request."""
    read_request(connection)


def read_request(connection: socket.socket) -> bytes:
    """
    Read a request, and return its head.

    :raises ConnectionError: if the client has closed the connection.
    """
    got = b""
    while b"\r\n\r\n" not in got:
        got += _receive(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0].strip()
    missing = int(length or 0) - len(body)
    while missing > 0:
        missing -= len(_receive(connection))
    return head


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the client has closed the connection")
    return data


def read_some(connection: socket.socket) -> None:
    """Read the beginning of what comes."""
    connection.recv(1)


def say(data: bytes) -> Step:
    """Send something."""

    def step(connection: socket.socket) -> None:
        connection.sendall(data)

    return step


def drip(data: bytes) -> Step:
    """Send the bytes one by one, over and over, for ever."""

    def step(connection: socket.socket) -> None:
        ends_at = time.monotonic() + _PATIENCE
        while time.monotonic() < ends_at:
            for index in range(len(data)):
                connection.sendall(data[index : index + 1])
                time.sleep(_DRIP)

    return step


def flood(data: bytes) -> Step:
    """Send the bytes over and over, as fast as they are taken, for ever."""
    block = data * max(1, 65536 // len(data))

    def step(connection: socket.socket) -> None:
        ends_at = time.monotonic() + _PATIENCE
        while time.monotonic() < ends_at:
            connection.sendall(block)

    return step


def end(connection: socket.socket) -> None:
    """Close our half in good order (FIN)."""
    connection.shutdown(socket.SHUT_WR)


def end_tls(connection: socket.socket) -> None:
    """Say the end of TLS (close_notify), and close."""
    assert isinstance(connection, ssl.SSLSocket)
    connection.unwrap()


def cut(connection: socket.socket) -> None:
    """Reset the connection (RST)."""
    reset(connection)


def agree(
    certificate: Path,
    key: Path,
    tickets: int = 2,
    *,
    ask: bool = False,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> Step:
    """
    Agree on TLS.

    :param tickets: how many session tickets follow.
    :param ask: ask the client for a certificate. It has none.
    :param newest: the newest version of TLS that the server speaks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():  # Python warns of old versions
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # the old versions have no other ciphers
    context.load_cert_chain(certificate, key)
    context.num_tickets = tickets
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)

    def step(connection: socket.socket) -> socket.socket:
        return context.wrap_socket(connection, server_side=True)

    return step


def plainly(data: bytes) -> Step:
    """Send something past TLS."""

    def step(connection: socket.socket) -> None:
        socket.socket.send(connection, data)

    return step
