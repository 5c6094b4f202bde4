from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.proxy import DROP, HANG, PASS, REFUSE, FaultProxy, Mode, cut, drip, reset

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HEAD = ANSWER.index(b"hello")


@contextmanager
def server() -> Iterator[str]:
    """Answer every request with the same bytes, on connections that are kept alive."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(65536):
                    connection.sendall(ANSWER)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with server() as url, FaultProxy(url) as proxy:
        yield proxy


def get(proxy: FaultProxy, timeout: float = 2.0) -> str:
    return httpx.get(proxy.url, timeout=timeout, trust_env=False).text


def raw(proxy: FaultProxy) -> bytes:
    """Return the bytes of an answer up to the end of the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while data := client.recv(65536):
            received += data
    return received


def test_pass(proxy: FaultProxy) -> None:
    assert get(proxy) == "hello"
    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        pytest.param(REFUSE, httpx.ConnectError, id="refuse"),
        pytest.param(DROP, httpx.RemoteProtocolError, id="drop"),
        pytest.param(reset(), httpx.ReadError, id="reset"),
        pytest.param(reset(after=HEAD + 2), httpx.ReadError, id="reset in the body"),
        pytest.param(cut(5), httpx.RemoteProtocolError, id="cut in the head"),
        pytest.param(cut(HEAD + 2), httpx.RemoteProtocolError, id="cut in the body"),
    ],
)
def test_faults_and_recovery(proxy: FaultProxy, mode: Mode, error: type[Exception]) -> None:
    proxy.mode = mode
    with pytest.raises(error):
        get(proxy)
    proxy.mode = PASS
    assert get(proxy) == "hello"


def test_cut_lets_exactly_so_many_bytes_through(proxy: FaultProxy) -> None:
    proxy.mode = cut(HEAD + 2)
    assert raw(proxy) == ANSWER[: HEAD + 2]


def test_hang(proxy: FaultProxy) -> None:
    proxy.mode = HANG
    with pytest.raises(httpx.ReadTimeout):
        get(proxy, timeout=0.1)


def test_drip(proxy: FaultProxy) -> None:
    proxy.mode = drip(0.005)
    start = time.monotonic()
    assert get(proxy) == "hello"
    assert time.monotonic() - start >= 0.005 * (len(ANSWER) - 1)


def test_script_counts_connections_then_passes(proxy: FaultProxy) -> None:
    proxy.script([DROP, reset(), PASS])
    for error in (httpx.RemoteProtocolError, httpx.ReadError):
        with pytest.raises(error):
            get(proxy)
    assert get(proxy) == "hello"
    assert get(proxy) == "hello"
    assert proxy.connections == 4


def test_script_cannot_refuse(proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match="cannot refuse"):
        proxy.script([REFUSE])


def test_changing_the_mode_closes_connections_that_are_kept_alive(proxy: FaultProxy) -> None:
    with httpx.Client(trust_env=False) as client:
        assert client.get(proxy.url).text == "hello"
        assert client.get(proxy.url).text == "hello"
        assert proxy.connections == 1
        proxy.mode = REFUSE
        with pytest.raises(httpx.TransportError):
            client.get(proxy.url)


def test_stops_with_a_client_waiting() -> None:
    with server() as url:
        start = time.monotonic()
        with FaultProxy(url, HANG) as proxy, socket.create_connection(("127.0.0.1", proxy.port)):
            pass
        assert time.monotonic() - start < 1


def test_starts_in_a_mode() -> None:
    with server() as url, FaultProxy(url, REFUSE) as proxy, pytest.raises(httpx.ConnectError):
        get(proxy)
