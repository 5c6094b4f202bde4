"""The session of get_conn(): it sends what it signed, byte for byte, and to nobody else."""

from __future__ import annotations

import http.server
import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
import requests
from baidubce.auth import bce_v1_signer
from baidubce.auth.bce_credentials import BceCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.signing import Credentials
from airflow_provider_qianfan.hooks._driver import Driver
from airflow_provider_qianfan.hooks._session import SigningSession
from airflow_provider_qianfan.hooks._settings import Settings
from airflow_provider_qianfan.hooks.qianfan import QianfanHook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_qianfan.emulator.server import EmulatorServer

KEY = ("access-key-id", "secret-access-key")


class Wire(http.server.BaseHTTPRequestHandler):
    """Keeps what came over the wire, and answers with an empty object."""

    protocol_version = "HTTP/1.1"
    requests: list[tuple[str, str, dict[str, str], bytes]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.requests.append((self.command, self.path, headers, body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.send_header("Set-Cookie", "a=b")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[str, type[Wire]]]:
    handler = type("Handler", (Wire,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()


@pytest.fixture(scope="module")
def given_settings(wire: tuple[str, type[Wire]]) -> Settings:
    return Settings(Endpoint.parse(wire[0]), Credentials(*KEY), timeout=5)


def official_signature(method: str, target: str, headers: dict[str, str]) -> str:
    """Sign what came over the wire as Baidu's own SDK does."""
    path, _, query = target.partition("?")
    params = dict(item.partition("=")[::2] for item in filter(None, query.split("&")))
    _, key, stamp, expires, names, _ = headers["authorization"].split("/")
    signed = {name.encode(): headers[name].encode() for name in names.split(";")}
    when = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    value: bytes = bce_v1_signer.sign(
        BceCredentials(key, KEY[1]),
        method.encode(),
        path.encode(),
        signed,
        {unquote_to_bytes(name): unquote_to_bytes(value) for name, value in params.items()},
        int(when.timestamp()),
        int(expires),
        list(signed),
    )
    return value.decode().rsplit("/", 1)[1]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
SEGMENT = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/?#\\%"), min_size=1, max_size=6
).filter(lambda text: text not in (".", "..") and text.isprintable())
HEADER = st.text(st.sampled_from("abcXYZ019 /+=:;,%~"), min_size=1, max_size=8).map(str.strip).filter(bool)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    segments=st.lists(SEGMENT, min_size=1, max_size=3),
    query=st.dictionaries(TEXT.filter(lambda key: key.lower() != "authorization"), TEXT, max_size=3),
    headers=st.dictionaries(st.sampled_from(["x-bce-a", "x-bce-b", "x-other", "Host", "Accept"]), HEADER),
    body=st.binary(max_size=20),
)
def test_what_is_signed_is_what_is_sent(
    wire: tuple[str, type[Wire]],
    given_settings: Settings,
    method: str,
    segments: list[str],
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
) -> None:
    path = "/" + "/".join(segments)
    with SigningSession(given_settings) as session:
        assert session.request(method, path, params=query, headers=headers, data=body).status_code == 200

    sent_method, target, sent_headers, sent_body = wire[1].requests.pop()
    sent_path, _, sent_query = target.partition("?")
    assert (sent_method, unquote(sent_path), sent_body) == (method, path, body)
    pairs = dict(map(unquote, item.split("=")) for item in filter(None, sent_query.split("&")))
    assert pairs == query
    assert sent_headers["host"] == given_settings.endpoint.host
    signed = sent_headers["authorization"].split("/")[4].split(";")
    assert {name for name in sent_headers if name.startswith("x-bce-")} <= set(signed)
    assert sent_headers["authorization"].endswith(official_signature(method, target, sent_headers))


@settings(max_examples=100, deadline=None)
@given(
    segments=st.lists(SEGMENT, min_size=1, max_size=3),
    action=st.from_regex(r"[A-Za-z0-9]{1,20}", fullmatch=True),
)
def test_what_the_hook_signs_is_what_it_sends(
    wire: tuple[str, type[Wire]], given_settings: Settings, segments: list[str], action: str
) -> None:
    exchange = Exchange(given_settings.endpoint, given_settings.credentials, retry=RetryPolicy(tries=1))
    path = "/" + "/".join(segments)
    with Driver(given_settings) as driver:
        driver.run(exchange.call(path, action, {"text": "千帆"}))

    method, target, headers, body = wire[1].requests.pop()
    assert (unquote(target), json.loads(body)) == (f"{path}?Action={action}", {"text": "千帆"})
    assert headers["authorization"].endswith(official_signature(method, target, headers))


def test_a_blank_is_not_sent_as_a_plus(emulator: EmulatorServer) -> None:
    """The emulator reads a plus as a plus, as the signature does."""
    session = QianfanHook().get_conn()

    for url in (
        "/v2/model?x=a b&Action=DescribeModelCompTasks",
        "/v2/model?x=a+b&Action=DescribeModelCompTasks",
    ):
        assert session.post(url, params={"y": "c d+e"}, json={}).status_code == 200


WRONG_PATHS = [
    "v2/model",
    "@example.com/v2/model",
    ".example.com/v2/model",
    ":8443/v2/model",
    "//example.com/v2/model",
    "",
    "/v2/../model",
    "/v2/./model",
    "/v2/..",
    "/v2/mo\ndel",
    "/v2/mo\x00del",
    "/v2\\model",
    "/v2/mo\ud800del",
]


@pytest.mark.parametrize(
    "path", [*WRONG_PATHS, "/v2/model?Action=DescribeModel", "/v2/model#x", None, b"/v2/model"]
)
def test_a_path_that_is_none(emulator: EmulatorServer, path: Any) -> None:
    hook = QianfanHook()

    with pytest.raises(ValueError, match=r"'/v2/model'|Remove them|dot segments"):
        hook.call(path, "DescribeModelCompTasks")
    with pytest.raises(ValueError, match=r"'/v2/model'|Remove them|dot segments"):
        list(hook.iter_rows(path, "DescribeModelCompTasks", "modelCompTaskList"))
    assert emulator.world.calls == []


@pytest.mark.parametrize(
    "action", ["", " ", "DescribeModel&x=y", "Describe Model", "?", "描述", None, "a\n", "a/b"]
)
def test_an_action_that_is_none(emulator: EmulatorServer, action: Any) -> None:
    with pytest.raises(ValueError, match="is not the name of an action"):
        QianfanHook().call("/v2/model", action, repeatable=True)
    assert emulator.world.calls == []


@pytest.mark.parametrize(
    "url",
    [
        *WRONG_PATHS,
        "/v2/%2e%2e/model",
        "/v2%2fmodel",
        "/v2/mo%0adel",
        "/v2/%FF",
        "/v2/model#x",
        "http://example.com/v2/model",
        "https://qianfan.baidubce.com/v2/model",
        "{url}.example.com/v2/model",
        "{url}@example.com/v2/model",
        "{url}",
    ],
)
def test_the_session_goes_nowhere_else(emulator: EmulatorServer, url: str) -> None:
    with pytest.raises(ValueError, match=r"path=|fragment|%2F|UTF-8|signs requests to"):
        QianfanHook().get_conn().post(url.format(url=emulator.url), json={})
    assert emulator.world.calls == []


@pytest.mark.parametrize("timeout", [0, -1, "3", (1, 0), object()])
def test_a_timeout_that_cannot_be_meant(emulator: EmulatorServer, timeout: Any) -> None:
    with pytest.raises(ValueError, match="is not a number of seconds above 0"):
        QianfanHook().get_conn().post("/v2/model", json={}, timeout=timeout)
    assert emulator.world.calls == []


def test_a_url_in_the_query(emulator: EmulatorServer) -> None:
    url = "/v2/model?Action=DescribeModelCompTasks&callback=http://example.org/"

    assert QianfanHook().get_conn().post(url, json={}).status_code == 200


def test_the_session_takes_its_own_url(emulator: EmulatorServer) -> None:
    session = QianfanHook().get_conn()

    assert session.post(f"{emulator.url}/v2/model?Action=DescribeModelCompTasks", json={}).status_code == 200


def test_a_request_that_was_prepared_elsewhere_goes_nowhere_else(emulator: EmulatorServer) -> None:
    prepared = requests.Request("POST", "http://127.0.0.1:1/v2/model").prepare()

    with pytest.raises(requests.exceptions.InvalidSchema):
        QianfanHook().get_conn().send(prepared)


@pytest.mark.parametrize("argument", ["verify", "proxies", "cert", "auth", "cookies"])
def test_what_the_connection_says_is_not_overruled(emulator: EmulatorServer, argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} comes from the connection"):
        QianfanHook().get_conn().post("/v2/model", **{argument: False})


def test_no_cookie_is_sent_back(wire: tuple[str, type[Wire]], given_settings: Settings) -> None:
    exchange = Exchange(given_settings.endpoint, given_settings.credentials)
    with SigningSession(given_settings) as session, Driver(given_settings) as driver:
        for _ in range(2):
            session.get("/v2/model")
            driver.run(exchange.call("/v2/model", "DescribeModel"))

    assert len(session.cookies) == 0
    assert [headers.get("cookie") for _, _, headers, _ in wire[1].requests] == [None] * 4
    wire[1].requests.clear()
