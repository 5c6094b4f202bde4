"""A server or a proxy that repeats the request: its secrets reach neither an error nor a log."""

from __future__ import annotations

import json
import socketserver
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from airflow_provider_qianfan.api.errors import QianfanError
from airflow_provider_qianfan.api.exchange import Endpoint, Exchange, RetryPolicy
from airflow_provider_qianfan.api.model_compression import read_tasks
from airflow_provider_qianfan.api.signing import Credentials, Secret
from airflow_provider_qianfan.hooks._echo import sent_secrets
from airflow_provider_qianfan.hooks._route import Proxy
from airflow_provider_qianfan.hooks._session import NoAnswerError, SigningSession
from airflow_provider_qianfan.hooks._settings import Settings
from tests.hooks.test_drivers import in_a_triggerer, in_a_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, TOKEN, PASSWORD = "key-hu3sh", 'token/hu3sh"+=', "password/hu3sh:"


class Echo(socketserver.ThreadingTCPServer):
    """A server that answers with what it was sent, as ``answer`` puts it."""

    daemon_threads = True
    answer: Callable[[str], bytes]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_address[1]
        self.seen: list[str] = []


class _Handler(socketserver.StreamRequestHandler):
    server: Echo

    def handle(self) -> None:
        asked = b"".join(iter(self.rfile.readline, b"\r\n")).decode()
        self.server.seen.append(asked)
        # Short enough to be shown whole.
        secrets = "; ".join(line.partition(": ")[2] for line in asked.splitlines() if is_secret(line))
        self.wfile.write(self.server.answer(secrets))


def is_secret(line: str) -> bool:
    return line.partition(":")[0].lower() in ("authorization", "x-bce-security-token", "proxy-authorization")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def settings(url: str, **more: Any) -> Settings:
    return Settings(Endpoint.parse(url), Credentials("login", KEY, TOKEN), timeout=5, **more)


def told(server: Echo, text: str) -> str:
    """Return a text of ours, if it shows no secret of the request that the server got."""
    (request, *_) = server.seen
    headers = dict(line.split(": ", 1) for line in request.splitlines() if is_secret(line))
    signature = headers.get("Authorization", "/no signature").rpartition("/")[2]
    for secret in (signature, TOKEN, PASSWORD, *headers.values()):
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret.replace("/", "\\/")):
            assert form not in text
    assert "***" in text
    return text


def whole(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def document(said: str) -> dict[str, str]:
    return {"requestId": "r", "code": "InvalidHeader", "message": said}


ANSWERS: dict[str, Callable[[str], bytes]] = {
    "in a message": lambda said: whole("400 Bad", json.dumps(document(said)).encode()),
    "in a message, slashes escaped": lambda said: whole(
        "400 Bad", json.dumps(document(said)).replace("/", "\\/").encode()
    ),
    "in a code": lambda said: whole("400 Bad", json.dumps({**document(""), "code": said}).encode()),
    "in a request id": lambda said: whole(
        "400 Bad", json.dumps({**document(""), "requestId": said}).encode()
    ),
    "in a page": lambda said: whole("502 Bad", said[-110:].encode(), "Content-Type: text/html"),
    "in a URL": lambda said: whole("302 Found", b"", f"Location: https://x/?{quote(said, safe='')}"),
    "in a header": lambda said: whole("400 Bad", b"", "x-bce-error-code: E", f"x-bce-error-message: {said}"),
    "instead of a status": lambda said: f"{said}\r\n\r\n".encode(),
}


@pytest.mark.parametrize("run", [in_a_worker, in_a_triggerer])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_a_server_repeats_is_blotted_out(
    echo: Echo, answer: Callable[[str], bytes], run: Callable[..., Any]
) -> None:
    echo.answer = answer
    given = settings(f"http://127.0.0.1:{echo.port}")
    steps = read_tasks(Exchange(given.endpoint, given.credentials, retry=RetryPolicy(tries=1)), None)

    with pytest.raises(QianfanError) as failure:
        run(steps, given)

    told(echo, f"{failure.value} {vars(failure.value)}")


def test_what_a_proxy_repeats_is_blotted_out(echo: Echo) -> None:
    echo.answer = lambda said: f"HTTP/1.1 407 {said}; {PASSWORD}\r\n\r\n".encode()
    proxy = Secret(f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:{echo.port}")
    given = settings("https://qianfan.test", proxy=proxy)
    steps = read_tasks(Exchange(given.endpoint, given.credentials, retry=RetryPolicy(tries=1)), None)

    with pytest.raises(QianfanError) as failure:
        in_a_worker(steps, given)

    assert b64encode(f"user:{PASSWORD}".encode()).decode() in echo.seen[0]
    told(echo, str(failure.value))


def test_what_a_server_repeats_to_the_session_is_blotted_out(echo: Echo) -> None:
    echo.answer = ANSWERS["instead of a status"]
    session = SigningSession(settings(f"http://127.0.0.1:{echo.port}"))

    with pytest.raises(NoAnswerError) as failure:
        session.post("/v2/model", json={})

    told(echo, str(failure.value))


def test_a_short_password_is_no_secret_to_blot_out() -> None:
    """It would be in many words."""
    proxy = Proxy("http", "proxy", 3128, "HTTPS_PROXY", Secret("u"), Secret("tls"))

    assert "tls" not in sent_secrets({}, proxy)
