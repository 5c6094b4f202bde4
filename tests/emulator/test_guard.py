from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.guard import LONGEST_BODY
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.emulator.world import CALLS_KEPT, KEPT_OF_A_CALL
from tests.emulator.client import Client
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World

PATHS = ["/_emulator/reset", "/v2/model?Action=DescribeModelCompTasks", "/_emulator/nowhere"]


def post(client: Client, path: str, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.http.post(f"{client.url}{path}", content=b"{}", headers=sent)


def answered(path: str) -> int:
    """Return the status of an unsigned request that is let in."""
    return {"/_emulator/reset": 200, "/_emulator/nowhere": 404}.get(path, 403)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:80",
        "127.0.0.1@evil.example",
        "localhost.evil",
        "10.0.0.1",
        "[",
    ],
)
def test_another_name_is_refused(client: Client, world: World, path: str, host: str) -> None:
    world.tasks.add(TaskSpec("amv-x", id="amva-x"))
    response = post(client, path, Host=host)
    assert response.status_code == 421
    assert repr(host) in response.json()["error"]
    assert "--allow-host" in response.json()["message"]
    assert (list(world.tasks), world.calls) == (["amva-x"], [])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "localhost.:80", "127.0.0.2:8787", "[::1]:99", "[::1]"]
)
def test_every_name_of_loopback_is_good(client: Client, path: str, host: str) -> None:
    response = post(client, path, Host=host)
    assert response.status_code == answered(path)
    assert "EmulatorRefused" not in response.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},  # another server of the same machine
        {"Sec_Fetch_Site": "cross-site", "Content_Type": "text/plain"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_a_web_page_is_refused(client: Client, world: World, path: str, headers: dict[str, str]) -> None:
    world.tasks.add(TaskSpec("amv-x", id="amva-x"))
    response = post(client, path, **headers)
    assert response.status_code == 403
    assert "web page" in response.json()["error"]
    assert "Access-Control-Allow-Origin" not in response.headers
    assert (list(world.tasks), world.calls) == (["amva-x"], [])


@pytest.mark.parametrize(
    "headers", [{"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Site": "same-origin"}, {}], ids=str
)
def test_a_browser_of_whoever_runs_it_is_let_in(client: Client, headers: dict[str, str]) -> None:
    assert post(client, PATHS[0], **headers).status_code == 200
    assert post(client, PATHS[0], Origin=client.url, **headers).status_code == 200


def test_a_preflight_is_refused(client: Client) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert client.http.options(f"{client.url}/_emulator/reset", headers=headers).status_code == 403


def test_more_names_can_be_allowed() -> None:
    with (
        EmulatorServer(allowed_hosts=["Qianfan.Test", "other.test:443"]) as emulator,
        Client(emulator.url) as client,
    ):
        for host in ("qianfan.test", "qianfan.test:8443", "OTHER.test"):
            assert post(client, PATHS[0], Host=host).status_code == 200
            assert post(client, PATHS[0], Host=host, Origin=f"https://{host}").status_code == 200
            assert post(client, PATHS[0], Host=host, Origin="https://evil.example").status_code == 403
        assert post(client, PATHS[0], Host="evil.test").status_code == 421


@pytest.mark.parametrize(
    "name", ["http://qianfan.test", "", "a b", "::1", "*", "*:8787", "*.qianfan.test", "a.*"]
)
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        EmulatorServer(allowed_hosts=[name])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_clients_need_to_know_nothing_of_it(host: str) -> None:
    with EmulatorServer(host=host) as emulator, Client(emulator.url) as client:
        assert client.ids() == []
        assert client.control("reset", {}).status_code == 200


def test_another_port_of_loopback_leads_here() -> None:
    with EmulatorServer() as emulator, FaultProxy(emulator.url) as between, Client(between.url) as client:
        assert client.ids() == []


def test_without_a_name() -> None:
    with EmulatorServer() as emulator:
        assert b" 421 " in raw(emulator, b"GET /_emulator/state HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_long(client: Client, world: World, path: str) -> None:
    for body in (b" " * (LONGEST_BODY + 1), iter([b" " * LONGEST_BODY, b" "])):
        response = client.http.post(f"{client.url}{path}", content=body)
        assert response.status_code == 413
        assert f"at most {LONGEST_BODY} bytes" in response.json()["error"]
    assert world.calls == []
    response = client.http.post(f"{client.url}{path}", content=b" " * (LONGEST_BODY - 2) + b"{}")
    assert response.status_code == answered(path)


@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_that_announces_to_be_too_long_is_not_read(emulator: EmulatorServer, more: bytes) -> None:
    head = b"POST /v2/model HTTP/1.1\r\nHost: localhost\r\n" + more + b"Content-Length: %d\r\n\r\n"
    for length in (LONGEST_BODY + 1, 10**18):
        answer = raw(emulator, head % length)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"100 Continue" not in answer


def test_a_body_without_end_is_not_read_for_long(emulator: EmulatorServer) -> None:
    head = b"POST /_emulator/reset HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    with (
        socket.create_connection(("127.0.0.1", emulator.port), timeout=5) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(head)
        while sent < 100 * LONGEST_BODY:
            connection.sendall(chunk)
            sent += len(chunk)
    assert LONGEST_BODY < sent < 30 * LONGEST_BODY


def test_half_a_request_is_none(emulator: EmulatorServer) -> None:
    head = b"POST /v2/model HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=5) as connection:
        connection.sendall(head + b"{}")
    with Client(emulator.url) as client:
        client.page()
    assert [call.action for call in emulator.world.calls] == ["DescribeModelCompTasks"]


def test_latency_holds_for_long_bodies_too(client: Client, world: World) -> None:
    world.faults.append(Fault(latency=0.2))
    start = time.monotonic()
    assert client.post("DescribeModelCompTasks", {"unknown": "x" * 500_000}).status_code == 200
    assert time.monotonic() - start >= 0.2


def test_what_is_kept_of_a_call(client: Client, world: World) -> None:
    client.post("DescribeModelCompTasks", {"unknown": "千" * KEPT_OF_A_CALL})
    client.http.post(
        f"{client.url}/v2/model?Action={'x' * 20_000}",
        headers={"Authorization": "bce-auth-v1/" + "k" * 20_000},
    )
    long, odd = world.calls
    assert long.status == 200
    assert len(long.raw) == KEPT_OF_A_CALL
    assert long.body.startswith('{"unknown": "')
    assert len(odd.action) < 200
    assert odd.access_key_id is not None
    assert len(odd.access_key_id) < 200


def test_the_last_calls_are_kept(client: Client, world: World) -> None:
    client.page()
    for _ in range(CALLS_KEPT):
        world.record(world.calls[0])
    client.post("DescribeServices", {})
    assert len(world.calls) == CALLS_KEPT
    assert world.calls[-1].action == "DescribeServices"
    assert world.count("DescribeServices") == 1


def raw(emulator: EmulatorServer, *pieces: bytes) -> bytes:
    """Send pieces, and return all that the server says until it closes the connection."""
    parts = urlsplit(emulator.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer
