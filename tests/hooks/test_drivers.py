"""The driver against real sockets, in a worker and in a triggerer: both report the same errors."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import certifi
import pytest
import requests

from airflow_provider_qianfan.api.errors import (
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy, Steps
from airflow_provider_qianfan.api.model_compression import LIST, create_task, read_tasks
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.faults import Fault
from airflow_provider_qianfan.emulator.specs import TaskSpec
from airflow_provider_qianfan.hooks import _sockets
from airflow_provider_qianfan.hooks._driver import Driver
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.triggers._thread import DriverThread
from tests.faults import proxy
from tests.faults.proxy import FaultProxy
from tests.faults.tls import TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.server import EmulatorServer

TIMEOUT = 1.0


def settings(url: str, account: Account, **more: Any) -> Settings:
    return Settings(
        Endpoint.parse(url),
        Credentials(account.access_key_id, account.secret_access_key, account.session_token),
        **{"timeout": TIMEOUT, **more},
    )


def in_a_worker(steps: Steps[Any], given: Settings) -> Any:
    with Driver(given) as driver:
        return driver.run(steps)


def in_a_triggerer(steps: Steps[Any], given: Settings) -> Any:
    async def run() -> Any:
        thread = DriverThread(given)
        try:
            return await thread.run(steps)
        finally:
            thread.stop()

    return asyncio.run(run())


@dataclass
class Talk:
    """A conversation in one of the processes."""

    run: Callable[[Steps[Any], Settings], Any]
    server: EmulatorServer
    url: str

    def __call__(
        self,
        steps: Callable[[Exchange], Steps[Any]] = read_tasks,
        *,
        tries: int = 1,
        account: Account | None = None,
        **more: Any,
    ) -> Any:
        given = settings(self.url, account or self.server.world.account, **more)
        retry = RetryPolicy(tries=tries, first_pause=0.01)
        return self.run(steps(Exchange(given.endpoint, given.credentials, retry=retry)), given)


@pytest.fixture(params=[in_a_worker, in_a_triggerer], ids=["worker", "triggerer"])
def driver(request: pytest.FixtureRequest) -> Callable[[Steps[Any], Settings], Any]:
    return request.param


@pytest.fixture
def talk(emulator: EmulatorServer, driver: Callable[..., Any]) -> Talk:
    emulator.world.tasks.add(TaskSpec("amv-source000001", id="amva-1"))
    return Talk(driver, emulator, emulator.url)


@pytest.fixture
def through(emulator: EmulatorServer, talk: Talk) -> Iterator[FaultProxy]:
    """A proxy that ``talk`` talks through."""
    with FaultProxy(emulator.url) as between:
        talk.url = between.url
        yield between


def test_the_server_accepts_what_we_send(talk: Talk) -> None:
    assert [task.id for task in talk().tasks] == ["amva-1"]


def test_temporary_keys(talk: Talk) -> None:
    account = Account(access_key_id="temporary", secret_access_key="s", session_token="to/ken+1==")
    talk.server.world.accounts = [account]

    assert talk(account=account)


FAULTS: dict[str, tuple[dict[str, Any], type[QianfanError]]] = {
    "429": ({"rate_limit": True}, QianfanRateLimitError),
    "502 with a page": ({"server_error": 502}, QianfanTransientError),
    "fewer bytes than promised": ({"truncated_body": "content_length"}, QianfanTransientError),
    "cut JSON": ({"truncated_body": "cut_json"}, QianfanTransientError),
    "no body": ({"empty_body": True}, QianfanTransientError),
    "a page": ({"not_json": True}, QianfanTransientError),
    "a gateway's 404": ({"not_json": True, "status": 404}, QianfanTransientError),
    "later than the timeout": ({"latency": TIMEOUT * 1.5}, QianfanTransientError),
    "longer than anything": ({"huge_body": 9 * 1024 * 1024}, QianfanTransientError),
    "legacy": ({"legacy_error": 6}, QianfanAPIError),
    "a redirect": ({"redirect": "http://127.0.0.1:1/"}, QianfanProtocolError),
    "endless paging, missing_marker": ({"endless_paging": "missing_marker"}, QianfanProtocolError),
    **{
        f"endless paging, {kind}": ({"endless_paging": kind}, QianfanTransientError)
        for kind in ("same_marker", "looping_marker")
    },
}


@pytest.mark.parametrize(("fault", "kind"), FAULTS.values(), ids=FAULTS)
def test_faults(talk: Talk, fault: dict[str, Any], kind: type[QianfanError]) -> None:
    talk.server.world.faults.append(Fault(action=LIST, **fault))

    with pytest.raises(QianfanError) as failure:
        talk()

    assert type(failure.value) is kind
    assert talk.server.world.account.secret_access_key not in str(failure.value)


SOCKET_FAULTS = {
    "nobody listens": proxy.REFUSE,
    "dropped": proxy.DROP,
    "reset at once": proxy.reset(),
    "reset in the headers": proxy.reset(20),
    "reset in the body": proxy.reset(300),
    "closed in the headers": proxy.cut(20),
    "closed in the body": proxy.cut(300),
    "never answered": proxy.HANG,
    "a byte at a time": proxy.drip(0.05),
}


@pytest.mark.parametrize("mode", SOCKET_FAULTS.values(), ids=SOCKET_FAULTS)
def test_socket_faults(talk: Talk, through: FaultProxy, mode: proxy.Mode) -> None:
    through.mode = mode

    with pytest.raises(QianfanTransientError):
        talk()


@pytest.mark.parametrize("mode", [proxy.DROP, proxy.reset(), proxy.cut(300)], ids=lambda mode: mode.kind)
def test_what_passes_is_outlasted(talk: Talk, through: FaultProxy, mode: proxy.Mode) -> None:
    through.script([mode, mode])

    assert talk(tries=4)


@pytest.mark.parametrize(
    ("mode", "sent"), [(proxy.REFUSE, False), (proxy.DROP, True), (proxy.HANG, True), (proxy.cut(20), True)]
)
def test_whether_a_request_may_have_arrived(
    talk: Talk, through: FaultProxy, mode: proxy.Mode, sent: bool
) -> None:
    through.mode = mode

    with pytest.raises(QianfanTransientError) as failure:
        talk()

    assert failure.value.sent is sent


def test_a_lost_create_is_not_repeated(talk: Talk) -> None:
    talk.server.world.faults.append(Fault(action="CreateModelCompTask", server_error=502, performs=True))
    body = {
        "name": "n",
        "sourceModelId": "amv-source000001",
        "modelSetId": "am-1",
        "config": {"strategy": "Quantization", "weight": "INT8-PTQ"},
    }

    with pytest.raises(QianfanTransientError, match="look before you repeat it"):
        talk(lambda exchange: create_task(exchange, body), tries=4)

    assert talk.server.world.count("CreateModelCompTask") == 1


@pytest.mark.parametrize(
    ("account", "code"),
    [
        (Account(access_key_id="unknown"), "InvalidAccessKeyId"),
        (Account(secret_access_key="wrong"), "SignatureDoesNotMatch"),
        (Account(access_key_id="not/an/id"), "InvalidHTTPAuthHeader"),
    ],
)
def test_refused_keys(talk: Talk, account: Account, code: str) -> None:
    with pytest.raises(QianfanAuthError) as failure:
        talk(account=account, tries=4)

    assert failure.value.code == code
    assert talk.server.world.count(LIST) == 1


def test_a_key_without_permission(talk: Talk) -> None:
    talk.server.world.account.permission = "none"

    with pytest.raises(QianfanAuthError, match="QianfanModelTuningReadAccessPolicy"):
        talk()


@pytest.mark.parametrize("skew", [7200, -7200])
def test_a_skewed_clock_is_made_up_for(talk: Talk, skew: float) -> None:
    talk.server.world.faults.append(Fault(skew=skew))

    assert talk()
    assert [call.code for call in talk.server.world.calls] == ["RequestExpired", None]


@pytest.mark.parametrize("marker", ["inclusive", "exclusive", "overlapping"])
def test_257_tasks(talk: Talk, marker: Any) -> None:
    talk.server.world.behaviour.marker = marker
    for number in range(256):
        talk.server.world.tasks.add(TaskSpec("amv-source000001", created=-60.0 * number))

    assert len(talk().tasks) == 257
    assert talk.server.world.count(LIST) == 3


def test_no_request_goes_to_the_log(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        talk()

    assert caplog.records == []


def test_others_requests_still_go_to_the_log(
    emulator: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "urllib3"):
        requests.get(emulator.url)

    assert caplog.records


def test_no_secret_goes_to_the_debug_log(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        talk()

    assert talk.server.world.account.secret_access_key not in caplog.text
    assert "bce-auth-v1" not in caplog.text


def test_netrc_does_not_replace_the_signature(talk: Talk, tmp_path: Any, monkeypatch: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    assert talk()


def test_a_connection_is_reused(talk: Talk, through: FaultProxy) -> None:
    for _ in range(150):
        talk.server.world.tasks.add(TaskSpec("amv-source000001"))

    talk()

    assert talk.server.world.count(LIST) == 2
    assert through.connections == 1


@pytest.fixture
def tls(talk: Talk, tmp_path: Path) -> Iterator[Path]:
    """A TLS server in front of the emulator that ``talk`` talks to; gives its certificate."""
    with TlsServer(talk.url, tmp_path) as server:
        talk.url = server.url
        yield server.certificate


def test_tls_is_verified(talk: Talk, tls: Path) -> None:
    with pytest.raises(QianfanConfigurationError, match=r"the certificate is refused .*extra verify"):
        talk()


def test_a_ca_bundle_is_accepted(talk: Talk, tls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())  # the connection has the last word
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert talk(verify=str(tls))


def test_tls_sockets_that_do_not_ask_for_the_time_are_ended_in_time(
    talk: Talk, through: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of truststore, which takes the place of Python's own TLS."""
    monkeypatch.setattr(_sockets, "_TlsSocket", ssl.SSLSocket)
    _sockets.tls_context.cache_clear()
    through.mode = proxy.HANG
    began = time.monotonic()
    try:
        with TlsServer(through.url, tmp_path) as server:
            talk.url = server.url
            with pytest.raises(QianfanTransientError, match="no complete answer within") as failure:
                talk(verify=str(server.certificate))
    finally:
        _sockets.tls_context.cache_clear()

    assert failure.value.sent is True
    assert time.monotonic() - began < 5 * TIMEOUT + 1


def test_what_the_caller_is_handling_has_nothing_to_do_with_it(talk: Talk) -> None:
    talk.url = "http://127.0.0.1:1"
    try:
        int("the caller's own secret")
    except ValueError:
        with pytest.raises(QianfanTransientError, match="Connection refused") as failure:
            talk()

    assert "the caller's own" not in str(failure.value)


def test_a_fork_has_a_connection_of_its_own(talk: Talk) -> None:
    """Answers on a shared one would be taken for each other's."""
    account = talk.server.world.account
    given = settings(talk.url, account, timeout=5)
    exchange = Exchange(given.endpoint, given.credentials)
    with Driver(given) as driver:
        driver.run(read_tasks(exchange))
        before = driver.wire._pool
        child = os.fork()
        if not child:
            try:
                driver.run(read_tasks(exchange))
                os._exit(0 if driver.wire._pool is not before else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert driver.run(read_tasks(exchange)).tasks
        assert driver.wire._pool is before
