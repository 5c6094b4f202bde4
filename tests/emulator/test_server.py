from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http import HTTPStatus
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import urlopen

import pytest

from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.server import EmulatorServer, loopback
from airflow_provider_qianfan.emulator.specs import TaskSpec
from tests.emulator.client import Client
from tests.faults.tls import certified

if TYPE_CHECKING:
    from pathlib import Path


def ids(emulator: EmulatorServer) -> list[str]:
    with Client(emulator.url) as client:
        return client.ids()


def test_quick_start_and_stop() -> None:
    with EmulatorServer():
        pass  # the first one pays for imports
    start = time.monotonic()
    with EmulatorServer() as emulator:
        started = time.monotonic() - start
        assert ids(emulator) == []
    assert started < 0.3
    assert time.monotonic() - start < 1


def test_over_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    authority, certificate, key = certified(tmp_path)
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on

    with EmulatorServer(tls=(certificate, key)) as emulator:
        assert emulator.connection_uri.endswith(quote(f"https://127.0.0.1:{emulator.port}", safe=""))
        with urlopen(f"{emulator.url}/_emulator/state", context=context) as answer:
            assert answer.status == HTTPStatus.OK
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urlopen(f"{emulator.url}/_emulator/state", context=ssl.create_default_context())


def test_many_at_once_share_nothing() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(EmulatorServer()) for _ in range(10)]
        for number, server in enumerate(servers):
            server.world.tasks.add(TaskSpec("amv-x", id=f"amva-{number}"))
        assert [ids(server) for server in servers] == [[f"amva-{n}"] for n in range(10)]


def test_stops_with_requests_on_their_way_and_frees_the_port() -> None:
    with EmulatorServer() as emulator:
        emulator.world.faults.append(Fault(latency=60))
        with socket.create_connection(("127.0.0.1", emulator.port)) as waiting:
            waiting.sendall(b"POST /v2/model HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
            while not emulator.world.faults[0].seen:
                time.sleep(0.001)
            start = time.monotonic()
            emulator.stop()
            assert time.monotonic() - start < 2
    assert not any(thread.name == f"qianfan-emulator-{emulator.port}" for thread in threading.enumerate())
    with EmulatorServer(port=emulator.port) as again:
        assert again.url == emulator.url


def test_port_in_use() -> None:
    with EmulatorServer() as emulator, pytest.raises(OSError, match="in use"):
        EmulatorServer(port=emulator.port)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.1", "example.com"])
def test_not_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        EmulatorServer(host=host)


@pytest.mark.parametrize(
    "account",
    [
        {},
        {"access_key_id": "a/k:@", "secret_access_key": "s/k:@%?#", "session_token": "t/o+k=&"},
    ],
)
def test_connection_uri(account: dict[str, str]) -> None:
    emulator = EmulatorServer({"accounts": [account]})
    emulator.stop()
    parts = urlsplit(emulator.connection_uri)
    login, _, rest = parts.netloc.partition(":")
    password, _, host = rest.partition("@")
    expected = emulator.world.account
    assert (parts.scheme, unquote(login)) == ("qianfan", expected.access_key_id)
    assert (unquote(password), unquote(host)) == (expected.secret_access_key, emulator.url)
    assert parse_qs(parts.query).get("session_token", [None])[0] == expected.session_token


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys; import airflow_provider_qianfan.emulator;"
        "print([name for name in ('airflow', 'starlette', 'uvicorn', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_of_airflow_or_the_provider_is_imported() -> None:
    code = (
        "import sys; import airflow_provider_qianfan.emulator.__main__;"
        "print([name for name in sys.modules if name.split('.')[0] == 'airflow'"
        " or (name.startswith('airflow_provider_qianfan.') and '.emulator' not in name)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_answers_come_without_delay() -> None:
    with EmulatorServer() as emulator, Client(emulator.url) as client:
        starts = [time.monotonic()]
        for _ in range(21):
            client.page()
            starts.append(time.monotonic())
        # With Nagle's algorithm, most would take 40 ms.
        assert median(end - start for start, end in pairwise(starts)) < 0.04
