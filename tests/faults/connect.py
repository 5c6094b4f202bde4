"""Proxies that lead somewhere else: an HTTP proxy with CONNECT and a SOCKS 5 proxy, on loopback ports."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import socketserver
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 5.0


class Proxy(socketserver.ThreadingTCPServer):
    """
    A proxy, as a context manager.

    :param target: where every tunnel leads, whatever host was asked for: names need not exist.
    :param user: what a client has to say of itself, ``name:password``.
    :param cut_when: as soon as this is true, a tunnel is reset instead of passing on what the server sends.
    :ivar asked: the hosts and ports that tunnels were asked for.
    """

    daemon_threads = True
    scheme = ""

    def __init__(
        self,
        handler: type[socketserver.BaseRequestHandler],
        target: tuple[str, int],
        *,
        user: str | None = None,
        cut_when: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.target = target
        self.user = user
        self.cut_when = cut_when
        self.asked: list[str] = []
        self.port = self.server_address[1]
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Say nothing of a connection that broke: that is what this is for."""


class ConnectProxy(Proxy):
    """
    An HTTP proxy.

    :param answer: what is said to a request for a tunnel. One that is not 200 ends the connection.
    """

    scheme = "http"

    def __init__(
        self,
        target: tuple[str, int],
        *,
        answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n",
        user: str | None = None,
        cut_when: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(_Connect, target, user=user, cut_when=cut_when)
        self.answer = answer


class SocksProxy(Proxy):
    """A SOCKS 5 proxy."""

    scheme = "socks5h"

    def __init__(self, target: tuple[str, int], *, user: str | None = None) -> None:
        super().__init__(_Socks, target, user=user)


class _Connect(socketserver.StreamRequestHandler):
    server: ConnectProxy

    def handle(self) -> None:
        asked, *lines = iter(self.rfile.readline, b"\r\n")
        self.server.asked.append(asked.split()[1].decode())
        if self.server.user is not None:
            wanted = base64.b64encode(self.server.user.encode())
            if not any(line.strip() == b"Proxy-Authorization: Basic " + wanted for line in lines):
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
        self.wfile.write(self.server.answer)
        if b" 200 " in self.server.answer:
            pipe(self.connection, self.server)


class _Socks(socketserver.StreamRequestHandler):
    server: SocksProxy

    def handle(self) -> None:
        _, methods = self.rfile.read(2)
        offered = self.rfile.read(methods)
        if self.server.user is None:
            self.wfile.write(b"\x05\x00")
        elif 2 in offered:
            self.wfile.write(b"\x05\x02")
            name = self.rfile.read(self.rfile.read(2)[1])
            password = self.rfile.read(self.rfile.read(1)[0])
            good = name + b":" + password == self.server.user.encode()
            self.wfile.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return
        else:
            self.wfile.write(b"\x05\xff")
            return
        kind = self.rfile.read(4)[3]
        if kind == 3:
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            host = socket.inet_ntop(*((socket.AF_INET, self.rfile.read(4)) if kind == 1 else _v6(self.rfile)))
        (port,) = struct.unpack("!H", self.rfile.read(2))
        self.server.asked.append(f"{host}:{port}")
        self.wfile.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        pipe(self.connection, self.server)


def _v6(stream: object) -> tuple[int, bytes]:
    return socket.AF_INET6, stream.read(16)  # type: ignore[attr-defined]


def pipe(client: socket.socket, proxy: Proxy) -> None:
    """Have a client talk to what is behind the proxy."""

    def back(data: bytes) -> bool:
        if proxy.cut_when():
            reset(client)
            return False
        client.sendall(data)
        return True

    with contextlib.suppress(OSError), socket.create_connection(proxy.target) as behind:
        relay(client, behind, back)


def relay(client: socket.socket, behind: socket.socket, back: Callable[[bytes], bool]) -> None:
    """
    Pass on what each side says, until the client has no more to say.

    One thread does both directions. Of two threads, one would still write to the number of a socket that the
    other has closed, and that may be another connection's by then; and two must not share a TLS session.

    :param back: passes on to the client what the server says. False: this was the end.
    """
    with selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ)
        ready.register(behind, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                data = source.recv(65536)
                while isinstance(source, ssl.SSLSocket) and source.pending():
                    data += source.recv(65536)
                if source is client:
                    if not data:
                        return
                    behind.sendall(data)
                elif not data:
                    ready.unregister(behind)
                    socket.socket.shutdown(client, socket.SHUT_WR)  # SSLSocket's would read no more
                elif not back(data):
                    return


def reset(sock: socket.socket) -> None:
    """Close with an RST, also if another thread is reading."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    ends_at = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > ends_at:
            raise TimeoutError("it has not come true")
        time.sleep(0.01)
