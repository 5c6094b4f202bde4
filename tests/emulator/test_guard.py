from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.emulator.client import Client
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from airflow_provider_qianfan.emulator.world import World

PATHS = ["/_emulator/reset", "/v2/model?Action=DescribeModelCompTasks", "/nowhere"]


def post(client: Client, path: str, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.http.post(f"{client.url}{path}", content=b"{}", headers=sent)


def answered(path: str) -> int:
    """Return the status of an unsigned request that is let in."""
    return {"/_emulator/reset": 200, "/nowhere": 404}.get(path, 403)


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
    world.add_task("amv-x", task_id="amva-x")
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
    world.add_task("amv-x", task_id="amva-x")
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


@pytest.mark.parametrize("name", ["http://qianfan.test", "", "a b", "::1"])
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
