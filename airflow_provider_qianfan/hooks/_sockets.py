"""
Sockets and connections that end when their request has to end, whatever the other side does.

urllib3 limits each read by itself. So a server that sends a byte every half second never reaches the limit.
Here every read and write first asks the current :class:`Attempt` how much time is left. This module is
imported only when it is needed.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.ssltransport import SSLTransport

from airflow_provider_qianfan.api.errors import QianfanConfigurationError
from airflow_provider_qianfan.api.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_qianfan.hooks._route import Bundle, Proxy

Address = tuple[Any, ...]
_EXTRA_BYTES = 256 * 1024
"""Bytes besides the body: headers, interim answers, the framing of chunks."""

_under_way: ContextVar[Attempt | None] = ContextVar("airflow_provider_qianfan_attempt", default=None)


def under_way() -> Attempt | None:
    """Return the current attempt of this thread."""
    return _under_way.get()


class LimitReachedError(OSError):
    """A request has used up its time, or its number of bytes."""


class Attempt:
    """
    One request on its way. One thread carries it out; another may end it.

    :param connect_timeout: seconds for finding and reaching the other side, through proxies and TLS.
    :param timeout: seconds for the answer, once the request has begun to leave.
    :param max_bytes: the longest allowed body of an answer.
    :param send_by: seconds since the epoch. After this time the request does not leave.
    :param resolve: looks up a name.
    :ivar sent: whether the request may have begun to leave.
    :ivar doing: the current activity, in words for a message.
    """

    def __init__(
        self,
        connect_timeout: float,
        timeout: float,
        max_bytes: int,
        *,
        send_by: float | None = None,
        resolve: Callable[..., list[Any]] = socket.getaddrinfo,
    ) -> None:
        self.sent = False
        self.doing = "preparing the request"
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._ends_at = time.monotonic() + connect_timeout
        self._bytes_left = max_bytes + _EXTRA_BYTES
        self._send_by = send_by
        self._resolve = resolve
        self._socket: socket.socket | None = None
        self._aborted = threading.Event()
        self._watching: threading.Timer | None = None

    def __enter__(self) -> Attempt:
        self._token = _under_way.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _under_way.reset(self._token)
        if self._watching is not None:
            self._watching.cancel()

    def left(self) -> float:
        """
        Return how many seconds are left.

        :raises LimitReachedError: if none are left.
        """
        left = self._ends_at - time.monotonic()
        if self._aborted.is_set():
            raise LimitReachedError("given up: nobody waits for the answer any more")
        if left <= 0:
            raise LimitReachedError(self.time_is_up)
        return left

    @property
    def time_is_up(self) -> str:
        """The message if the time is up."""
        if self.sent:
            return f"no complete answer within {self._timeout:g} seconds"
        return f"not done within {self._connect_timeout:g} seconds"

    def received(self, count: int) -> None:
        """
        Count received bytes.

        :raises LimitReachedError: if there are more than an answer may have.
        """
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise LimitReachedError("the answer is longer than any page can be")

    def leave(self) -> None:
        """
        Begin to send the request. From now on it counts as sent.

        :raises LimitReachedError: if the request must not leave any more.
        """
        if self.sent:
            return
        if self._send_by is not None and time.time() > self._send_by:
            self.doing = "sending the request"
            raise LimitReachedError("it could not leave in time, so it was not sent")
        self.sent = True
        self.doing = "waiting for the answer"
        self._ends_at = time.monotonic() + self._timeout

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._ends_at

    def watch(self) -> None:
        """Have a thread end it in time: some sockets do not ask, such as those of ``truststore``."""
        if self._watching is None:
            self._watching = threading.Timer(max(0.0, self._ends_at - time.monotonic()), self.abort)
            self._watching.daemon = True
            self._watching.start()

    def uses(self, sock: socket.socket) -> None:
        """Remember what :meth:`abort` has to end."""
        self._socket = sock

    def abort(self) -> None:
        """End the attempt at once, from another thread."""
        self._aborted.set()
        sock = self._socket
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which would take TLS away from the thread that is reading.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def connect(
        self,
        host: str,
        port: int,
        make: Callable[[int], Any],
        reach: Callable[[Any, Address], None] = socket.socket.connect,
    ) -> socket.socket:
        """
        Connect to the first address of a host that answers.

        :param make: makes a socket of an address family.
        :param reach: connects a socket to an address.
        """
        addresses = self.resolve(host, port)
        for index, (family, _, _, _, address) in enumerate(addresses):
            sock = None
            try:
                sock = make(family)
                self.uses(sock)
                socket.socket.settimeout(sock, self.left() / (len(addresses) - index))
                reach(sock, address)
            except BaseException as error:
                if sock is not None:
                    sock.close()
                if not isinstance(error, OSError) or index == len(addresses) - 1:
                    raise
            else:
                return sock  # type: ignore[no-any-return]
        raise OSError(f"{host} has no address")

    def resolve(self, host: str, port: int) -> Sequence[tuple[int, Any, Any, Any, Address]]:
        """Look up a name, in a thread: the system's resolver has no time limit."""
        found: list[Any] = []

        def look_up() -> None:
            try:
                found.append(self._resolve(host, port, type=socket.SOCK_STREAM))
            except Exception as error:
                found.append(error)
            done.set()

        done = threading.Event()
        threading.Thread(target=look_up, name="qianfan-resolve", daemon=True).start()
        while not done.wait(min(0.1, self.left())):
            pass
        (answer,) = found
        if isinstance(answer, Exception):
            raise answer
        addresses: Sequence[tuple[int, Any, Any, Any, Address]] = answer
        return addresses


class _Bounded:
    """Have a socket ask the current attempt before each read and write."""

    def recv_into(self, *args: Any) -> int:
        attempt = self._within_limits()
        count: int = super().recv_into(*args)  # type: ignore[misc]
        if attempt is not None:
            attempt.received(count)
        return count

    def recv(self, *args: Any) -> bytes:
        attempt = self._within_limits()
        data: bytes = super().recv(*args)  # type: ignore[misc]
        if attempt is not None:
            attempt.received(len(data))
        return data

    def send(self, *args: Any) -> int:
        self._within_limits()
        count: int = super().send(*args)  # type: ignore[misc]
        return count

    def sendall(self, *args: Any) -> None:
        self._within_limits()
        super().sendall(*args)  # type: ignore[misc]

    def _within_limits(self) -> Attempt | None:
        attempt = _under_way.get()
        if attempt is not None:
            socket.socket.settimeout(self, attempt.left())  # type: ignore[arg-type]
        return attempt


class _Socket(_Bounded, socket.socket):
    pass


class _TlsSocket(_Bounded, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        attempt = self._within_limits()
        if attempt is not None:
            attempt.uses(self)
        super().do_handshake(block)


def _attempt() -> Attempt:
    attempt = _under_way.get()
    if attempt is None:
        raise RuntimeError("a request is sent within an Attempt")
    return attempt


class _Reaching:
    """What the connections have in common. They note their activity, for the message if it fails."""

    socks: Proxy | None = None
    debuglevel = 0
    """Not that of ``http.client``, with which many programs print all requests, with all headers."""

    @property
    def is_connected(self: Any) -> bool:
        """
        Whether the connection may serve another request: no bytes of an earlier answer may be left on it.

        urllib3 only asks whether the system holds such bytes. TLS may have read them already, and hold them.
        """
        return super().is_connected and not _holds_more(self.sock)  # type: ignore[misc]

    def _new_conn(self: Any) -> socket.socket:
        try:
            return self._reach()  # type: ignore[no-any-return]
        except OSError as error:
            # urllib3 believes that a bare ECONNRESET came after the request, and reads the answer.
            raise NewConnectionError(self, str(error)) from error

    def _reach(self: Any) -> socket.socket:
        attempt = _attempt()
        if self.socks is not None:
            attempt.doing = f"connecting through {self.socks}"
            sock = _through_socks(attempt, self.socks, self._dns_host.strip("[]"), self.port)
            attempt.doing = f"agreeing on TLS with {self.host}, through {self.socks}"
            return sock
        where = "the proxy " if self.proxy else ""
        attempt.doing = f"connecting to {where}{self.host}:{self.port}"

        def make(family: int) -> socket.socket:
            sock = _Socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock

        sock = attempt.connect(self._dns_host.strip("[]"), self.port, make)
        attempt.doing = f"agreeing on TLS with {where}{self.host}"
        return sock

    def _tunnel(self: Any) -> None:
        attempt = _attempt()
        attempt.doing = f"asking the proxy {self.host}:{self.port} for a tunnel"
        self._tunneling = True
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self._tunneling = False
        attempt.doing = f"agreeing on TLS with {self._tunnel_host}, through the proxy {self.host}:{self.port}"

    def send(self: Any, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not getattr(self, "_tunneling", False):
            attempt, sock = _attempt(), getattr(self.sock, "socket", self.sock)
            attempt.uses(sock)
            attempt.leave()
            if not isinstance(sock, _Bounded):
                attempt.watch()
        super().send(data)  # type: ignore[misc]


def _holds_more(sock: Any) -> bool:
    """Tell whether TLS holds bytes that nobody has read."""
    if isinstance(sock, SSLTransport):  # TLS within TLS
        return bool(sock.sslobj.pending() or sock.incoming.pending) or _holds_more(sock.socket)
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class _PlainConnection(_Reaching, HTTPConnection):
    pass


class _TlsConnection(_Reaching, HTTPSConnection):
    pass


class PlainPool(HTTPConnectionPool):
    """Connections without TLS, which lead only to this machine."""

    ConnectionCls = _PlainConnection


class TlsPool(HTTPSConnectionPool):
    """Connections with TLS."""

    ConnectionCls = _TlsConnection


def socks_pool(proxy: Proxy) -> type[TlsPool]:
    """
    Make a class of connections through a SOCKS proxy.

    :raises QianfanConfigurationError: if the package for SOCKS is missing.
    """
    try:
        import socks  # noqa: F401
    except ModuleNotFoundError:
        raise QianfanConfigurationError(
            f"{proxy} needs the package PySocks, which is not installed. Install it wherever tasks and"
            " triggers run: pip install PySocks."
        ) from None
    connection = type("_SocksConnection", (_TlsConnection,), {"socks": proxy})
    return type("SocksPool", (TlsPool,), {"ConnectionCls": connection})


def _through_socks(attempt: Attempt, proxy: Proxy, host: str, port: int) -> socket.socket:
    import socks

    class Socks(_Bounded, socks.socksocket):
        pass

    if proxy.scheme == "socks5":
        # The name is resolved here, not by the proxy.
        host = attempt.resolve(host, port)[0][4][0]

    def reach(sock: Any, address: Address) -> None:
        sock.set_proxy(socks.SOCKS5, *address[:2], username=proxy.username, password=proxy.password)
        sock.settimeout(attempt.left())
        sock.connect((host, port))

    return attempt.connect(proxy.host, proxy.port, Socks, reach)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=8)
def tls_context(bundle: Bundle, _seen: object = None) -> ssl.SSLContext:
    """
    Make a TLS context that trusts a bundle. That takes about 20 ms, so the next look uses the same context.

    :param _seen: distinguishes versions of the bundle.
    :raises QianfanConfigurationError: if the bundle cannot be read.
    """
    context = create_urllib3_context()
    context.sslsocket_class = _TlsSocket
    try:
        if bundle.path is None:
            import certifi

            context.load_verify_locations(cafile=certifi.where())
        elif all(part.is_dir() for part in bundle.parts if part.exists()):
            context.load_verify_locations(capath=bundle.path)
        else:
            context.load_verify_locations(cafile=bundle.path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = clean(getattr(error, "reason", None) or getattr(error, "strerror", None) or error, 100)
        raise QianfanConfigurationError(
            f"The CA bundle {bundle} cannot be read: {why}. Give the path of a file of certificates in"
            " PEM format."
        ) from None
    return context
