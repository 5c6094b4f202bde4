"""
The environment on real sockets: which proxy is used, which bundle counts, which error is reported.

A worker and a triggerer have to behave the same. ``--tables`` prints the rows.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import certifi
import pytest

from airflow_provider_qianfan.api.errors import QianfanConfigurationError, QianfanError, QianfanTransientError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.model_compression import read_tasks
from airflow_provider_qianfan.api.signing import Credentials, Secret
from airflow_provider_qianfan.emulator.server import EmulatorServer
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.hooks.qianfan import QianfanHook
from tests.faults.connect import ConnectProxy, SocksProxy
from tests.faults.tls import NAME, TlsServer
from tests.hooks.test_drivers import in_a_triggerer, in_a_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.faults

PASSWORD = "p%C3%A9%3As%2Fs"


@dataclass
class Way:
    """What stands between us and the platform; its addresses are the placeholders of a row."""

    tls: TlsServer
    folder: Path
    connect: ConnectProxy
    refusing: dict[int, ConnectProxy]
    with_password: ConnectProxy
    socks: SocksProxy
    socks_with_password: SocksProxy

    def fill(self, text: str) -> str:
        return text.format(
            connect=self.connect.port,
            locked=self.with_password.port,
            socks=self.socks.port,
            socks_locked=self.socks_with_password.port,
            **{f"says_{status}": proxy.port for status, proxy in self.refusing.items()},
            bundle=self.folder / "bundle.pem",
            certificates=self.folder / "certificates",
            broken=self.folder / "broken.pem",
            certifi=certifi.where(),
        )

    def asked(self) -> str:
        """Tell which proxies were asked for a tunnel."""
        proxies = {
            "connect": self.connect,
            "connect with a password": self.with_password,
            "socks": self.socks,
            "socks with a password": self.socks_with_password,
            **{f"one that says {status}": proxy for status, proxy in self.refusing.items()},
        }
        return ", ".join(name for name, proxy in proxies.items() if proxy.asked) or "none"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorServer]:
    with EmulatorServer(allowed_hosts=(NAME,)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", server.connection_uri)
        yield server


@pytest.fixture
def way(emulator: EmulatorServer, tmp_path: Path) -> Iterator[Way]:
    with TlsServer(emulator.url, tmp_path) as tls:
        target = tls.address
        proxies = {
            "connect": ConnectProxy(target),
            "with_password": ConnectProxy(target, user="us@er:pé:s/s"),
            "socks": SocksProxy(target),
            "socks_with_password": SocksProxy(target, user="us@er:pé:s/s"),
        }
        refusing = {
            status: ConnectProxy(target, answer=f"HTTP/1.1 {status} No\r\n\r\n".encode())
            for status in (403, 407, 502, 503)
        }
        shutil.copy(tls.certificate, tmp_path / "bundle.pem")
        (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nbroken\n")
        (tmp_path / "certificates").mkdir()
        shutil.copy(tls.certificate, tmp_path / "certificates" / name_hash("127.0.0.1"))
        running = [*proxies.values(), *refusing.values()]
        for proxy in running:
            proxy.__enter__()
        yield Way(tls, tmp_path, refusing=refusing, **proxies)  # type: ignore[arg-type]
        for proxy in running:
            proxy.__exit__()


def name_hash(common_name: str) -> str:
    """Name a certificate's file as OpenSSL looks for it in a folder: by the hash of its subject."""
    value = b"\x0c" + bytes([len(common_name)]) + common_name.encode()
    pair = b"\x06\x03\x55\x04\x03" + value
    pair = b"\x30" + bytes([len(pair)]) + pair
    (number,) = struct.unpack("<I", hashlib.sha1(b"\x31" + bytes([len(pair)]) + pair).digest()[:4])
    return f"{number:08x}.0"


@dataclass(frozen=True)
class Row:
    """
    A row of the table.

    :param env: the environment.
    :param asked: which proxy is asked for a tunnel.
    :param error: the class, and what it says; none if the platform answers.
    """

    env: dict[str, str] = field(default_factory=dict)
    asked: str = "none"
    error: tuple[type[QianfanError], str] | None = None
    proxy: str | None = None
    verify: str | bool = True
    endpoint: str = f"https://{NAME}"
    without_socks: bool = False


CA = {"REQUESTS_CA_BUNDLE": "{bundle}"}
PERMANENT, PASSING = QianfanConfigurationError, QianfanTransientError
ROWS = {
    "HTTPS_PROXY": Row({**CA, "HTTPS_PROXY": "http://127.0.0.1:{connect}"}, "connect"),
    "https_proxy, without a scheme": Row({**CA, "https_proxy": "127.0.0.1:{connect}"}, "connect"),
    "ALL_PROXY, CURL_CA_BUNDLE": Row(
        {"CURL_CA_BUNDLE": "{bundle}", "ALL_PROXY": "http://127.0.0.1:{connect}"}, "connect"
    ),
    "all_proxy with socks5h, SSL_CERT_FILE": Row(
        {"SSL_CERT_FILE": "{bundle}", "all_proxy": "socks5h://127.0.0.1:{socks}"}, "socks"
    ),
    "SSL_CERT_DIR": Row(
        {"SSL_CERT_DIR": "{certificates}", "HTTPS_PROXY": "http://127.0.0.1:{connect}"}, "connect"
    ),
    "SSL_CERT_DIR with several folders": Row(
        {"SSL_CERT_DIR": "/no/such:{certificates}", "HTTPS_PROXY": "http://127.0.0.1:{connect}"}, "connect"
    ),
    "the connection's proxy and verify": Row(
        {"REQUESTS_CA_BUNDLE": "{certifi}", "HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"},
        "connect",
        proxy="http://127.0.0.1:{connect}",
        verify="{bundle}",
    ),
    "a user and a password": Row(
        {**CA, "HTTPS_PROXY": f"http://us%40er:{PASSWORD}@127.0.0.1:{{locked}}"}, "connect with a password"
    ),
    "socks5h with a user and a password": Row(
        {**CA, "HTTPS_PROXY": f"socks5h://us%40er:{PASSWORD}@127.0.0.1:{{socks_locked}}"},
        "socks with a password",
    ),
    "a wrong password": Row(
        {**CA, "HTTPS_PROXY": "http://user:other@127.0.0.1:{locked}"},
        "connect with a password",
        (PERMANENT, "407 Proxy Authentication Required. The request goes through the proxy http://"),
    ),
    "socks5h with a wrong password": Row(
        {**CA, "HTTPS_PROXY": "socks5h://user:other@127.0.0.1:{socks_locked}"},
        "none",
        (PERMANENT, "SOCKS5 authentication failed"),
    ),
    "a proxy that forbids it": Row(
        {**CA, "HTTPS_PROXY": "http://127.0.0.1:{says_403}"},
        "one that says 403",
        (PERMANENT, "failed: 403 No"),
    ),
    "a proxy that says 502": Row(
        {**CA, "HTTPS_PROXY": "http://127.0.0.1:{says_502}"},
        "one that says 502",
        (PASSING, "for a tunnel: Tunnel connection failed: 502 No. The request goes through the proxy"),
    ),
    "a proxy that says 503": Row(
        {**CA, "HTTPS_PROXY": "http://127.0.0.1:{says_503}"}, "one that says 503", (PASSING, "failed: 503 No")
    ),
    "a proxy that is away": Row(
        {**CA, "HTTPS_PROXY": "http://127.0.0.1:1"},
        error=(PASSING, "connecting to the proxy 127.0.0.1:1: [Errno 111] Connection refused"),
    ),
    "a SOCKS proxy that is away": Row(
        {**CA, "HTTPS_PROXY": "socks5h://127.0.0.1:1"},
        error=(PASSING, "connecting through the proxy socks5h://127.0.0.1:1 (from HTTPS_PROXY): "),
    ),
    "socks5: the name is resolved here": Row(
        {**CA, "HTTPS_PROXY": "socks5://127.0.0.1:{socks}"},
        error=(PASSING, "connecting through the proxy socks5://127.0.0.1:"),
    ),
    "socks5h without the package": Row(
        {**CA, "HTTPS_PROXY": "socks5h://127.0.0.1:{socks}"},
        error=(PERMANENT, "pip install PySocks"),
        without_socks=True,
    ),
    "NO_PROXY": Row(
        {**CA, "HTTPS_PROXY": "http://127.0.0.1:{connect}", "NO_PROXY": f"a, .{NAME.split('.')[1]}:443"},
        error=(PASSING, f"connecting to {NAME}:443"),
    ),
    "an unusable proxy": Row(
        {"HTTPS_PROXY": "http://user:hu3sh@:x"}, error=(PERMANENT, "HTTPS_PROXY is not the URL of a proxy")
    ),
    "a bundle that is not there": Row(
        {"REQUESTS_CA_BUNDLE": "/no/such.pem"},
        error=(PERMANENT, "REQUESTS_CA_BUNDLE names '/no/such.pem', which is not there"),
    ),
    "a bundle that is no path": Row(
        {"REQUESTS_CA_BUNDLE": "-----BEGIN CERTIFICATE-----" + "x" * 5000},
        error=(PERMANENT, "REQUESTS_CA_BUNDLE names '-----BEGIN CERTIFICATE-----xxx"),
    ),
    "a broken bundle": Row(
        {"CURL_CA_BUNDLE": "{broken}"}, error=(PERMANENT, "broken.pem (from CURL_CA_BUNDLE) cannot be read")
    ),
    "another bundle": Row(
        {"SSL_CERT_FILE": "{certifi}", "HTTPS_PROXY": "http://127.0.0.1:{connect}"},
        "connect",
        (PERMANENT, "the certificate is refused (self-signed certificate)"),
    ),
    "no bundle": Row(
        {"HTTPS_PROXY": "http://127.0.0.1:{connect}"},
        "connect",
        (PERMANENT, "It was checked against the bundle of certifi. If a proxy decrypts TLS on the way"),
    ),
    "loopback": Row(
        dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:1"), endpoint=""
    ),
    "loopback, and a proxy in the connection": Row(proxy="http://127.0.0.1:1", endpoint=""),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("process", [in_a_worker, in_a_triggerer], ids=["worker", "triggerer"])
def test_environment(
    emulator: EmulatorServer,
    way: Way,
    row: Row,
    process: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    for name, value in row.env.items():
        monkeypatch.setenv(name, way.fill(value))
    if row.without_socks:
        monkeypatch.setitem(sys.modules, "socks", None)
    account = emulator.world.account
    given = Settings(
        Endpoint.parse(row.endpoint or emulator.url),
        Credentials(account.access_key_id, account.secret_access_key),
        timeout=5,
        proxy=None if row.proxy is None else Secret(way.fill(row.proxy)),
        verify=way.fill(row.verify) if isinstance(row.verify, str) else row.verify,
    )
    exchange = Exchange(given.endpoint, given.credentials, retry=RetryPolicy(tries=1))

    error = None
    try:
        process(read_tasks(exchange), given)
    except QianfanError as failure:
        error = failure

    told = f"{type(error).__name__}: {error}" if error else "answers"
    name, where = request.node.callspec.id.rsplit("-", 1)
    record_property("environment", (name, where, way.asked(), told))
    assert way.asked() == row.asked
    if row.error is None:
        assert told == "answers"
    else:
        assert type(error) is row.error[0]
        assert row.error[1] in str(error)
        assert "rehash" not in str(error)  # none of them has a folder
        assert getattr(error, "sent", False) is False
        assert emulator.world.calls == []
    assert not any(secret in told for secret in ("hu3sh", "other", "pé:s/s", PASSWORD))


@pytest.mark.parametrize("process", [in_a_worker, in_a_triggerer], ids=["worker", "triggerer"])
def test_a_bundle_that_is_replaced_is_noticed(
    emulator: EmulatorServer, way: Way, process: Callable[..., Any]
) -> None:
    """By a driver that is running: before it there was another one, or none, or a broken one."""
    bundle = way.folder / "replaced.pem"
    account = emulator.world.account
    given = Settings(
        Endpoint.parse(way.tls.url),
        Credentials(account.access_key_id, account.secret_access_key),
        timeout=5,
        verify=str(bundle),
    )
    exchange = Exchange(given.endpoint, given.credentials, retry=RetryPolicy(tries=1))
    seen = []

    def steps() -> Any:
        for source in (None, way.folder / "broken.pem", certifi.where(), way.tls.certificate, None):
            bundle.unlink(missing_ok=True)
            if source is not None:
                shutil.copy(source, bundle)
            try:
                yield from read_tasks(exchange)
                seen.append("answers")
            except QianfanConfigurationError as error:
                seen.append(str(error))

    process(steps(), given)

    told = (
        "which is not there",
        "cannot be read",
        "the certificate is refused",
        "answers",
        "which is not there",
    )
    assert [expected in actual for expected, actual in zip(told, seen, strict=True)] == [True] * 5


@pytest.mark.parametrize("process", [in_a_worker, in_a_triggerer], ids=["worker", "triggerer"])
def test_a_folder_that_changes_is_noticed(
    emulator: EmulatorServer, way: Way, process: Callable[..., Any]
) -> None:
    """By a driver that is running: its files get their hashes, and one is rewritten in place, twice."""
    folder = way.folder / "changing"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(way.tls.certificate.read_bytes())
    hashed = folder / name_hash("127.0.0.1")
    account = emulator.world.account
    given = Settings(
        Endpoint.parse(way.tls.url),
        Credentials(account.access_key_id, account.secret_access_key),
        timeout=5,
        verify=str(folder),
    )
    exchange = Exchange(given.endpoint, given.credentials, retry=RetryPolicy(tries=1))
    seen = []

    def steps() -> Any:
        for content in (None, way.tls.certificate.read_bytes(), b"", way.tls.certificate.read_bytes()):
            if content is not None:
                before = folder.stat().st_mtime_ns
                is_new = not hashed.exists()
                hashed.write_bytes(content)
                assert is_new or folder.stat().st_mtime_ns == before
            try:
                yield from read_tasks(exchange)
                seen.append("answers")
            except QianfanConfigurationError as error:
                seen.append(str(error))

    process(steps(), given)

    assert [text == "answers" for text in seen] == [False, True, False, True]
    for text in (seen[0], seen[2]):
        assert "the certificate is refused" in text
        assert "run openssl rehash on it after each change" in text
        assert text.endswith("REQUESTS_CA_BUNDLE.")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl_rehash(way: Way) -> None:
    folder = way.folder / "rehashed"
    folder.mkdir()
    shutil.copy(way.tls.certificate, folder / "ca.pem")

    subprocess.run(["openssl", "rehash", folder], check=True, capture_output=True, timeout=60)

    assert name_hash("127.0.0.1") in {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("env", "good", "told"),
    [
        (
            {**CA, "HTTPS_PROXY": "http://127.0.0.1:{connect}"},
            True,
            "Route: the proxy http://127.0.0.1:{connect} (from HTTPS_PROXY); certificates are",
        ),
        (
            {"SSL_CERT_FILE": "{certifi}", "HTTPS_PROXY": "http://127.0.0.1:{connect}"},
            False,
            "against {certifi} (from SSL_CERT_FILE).",
        ),
        (
            {**CA, "HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": NAME},
            False,
            "Route: no proxy (NO_PROXY names this host);",
        ),
    ],
)
def test_testing_a_connection_tells_the_way(
    emulator: EmulatorServer,
    way: Way,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    good: bool,
    told: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, way.fill(value))
    login, password = emulator.world.account.access_key_id, emulator.world.account.secret_access_key
    uri = f"qianfan://{login}:{password}@https%3A%2F%2F{NAME}"
    monkeypatch.setenv("AIRFLOW_CONN_QIANFAN_DEFAULT", uri)

    answered, message = QianfanHook().test_connection()

    assert (answered, way.fill(told) in message) == (good, True), message
