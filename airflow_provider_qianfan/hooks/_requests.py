"""The driver for workers: carries out effects with ``requests``. Imported only where it is needed."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from airflow_provider_qianfan.api.exchange import (
    MAX_ANSWER_BYTES,
    USER_AGENT,
    Effect,
    NoResponse,
    Reply,
    Request,
    Response,
    Sleep,
    Steps,
    T,
)
from airflow_provider_qianfan.api.signing import authorization, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_qianfan.hooks.qianfan import Settings


class SigningSession(requests.Session):
    """
    A session that signs what it sends, to one endpoint only.

    Urls may be paths (``/v2/model``). Redirects are not followed: the signature is for one host.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._endpoint = settings.endpoint.url
        self._timeout = (settings.connect_timeout, settings.timeout)
        self.auth = _Signature(settings)
        self.verify = settings.verify
        self.headers["User-Agent"] = USER_AGENT
        if settings.proxy:
            self.proxies = {"http": settings.proxy, "https": settings.proxy}

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a signed request to the endpoint; otherwise as :meth:`requests.Session.request`."""
        kwargs.setdefault("timeout", self._timeout)
        kwargs.setdefault("verify", self.verify)
        kwargs.setdefault("proxies", dict(self.proxies))
        kwargs["allow_redirects"] = False
        text = url.decode() if isinstance(url, bytes) else url
        return super().request(method, urljoin(self._endpoint + "/", text), *args, **kwargs)


class _Signature(AuthBase):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = urlsplit(request.url or "")
        ours = self._settings.endpoint
        if f"{url.scheme}://{url.netloc}" != ours.url:
            raise ValueError(
                f"This session signs requests to {ours.url} only, not to {url.scheme}://{url.netloc}."
            )
        now = datetime.now(UTC)
        signed = {"Host": ours.host, "x-bce-date": timestamp(now)}
        if self._settings.credentials.session_token:
            signed["x-bce-security-token"] = self._settings.credentials.session_token
        request.headers.update(signed)
        request.headers["Authorization"] = authorization(
            self._settings.credentials,
            method=request.method or "GET",
            path=unquote(url.path),
            query=parse_qsl(url.query, keep_blank_values=True),
            headers=signed,
            when=now,
        )
        return request


def run(
    steps: Steps[T],
    session: requests.Session,
    settings: Settings,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Carry out ``steps``."""
    # Said with each request, as requests lets the environment overrule what only its session says; found out
    # once, as it reads the whole environment for it.
    options = session.merge_environment_settings(
        settings.endpoint.url, dict(session.proxies), True, settings.verify, None
    )
    reply: Reply = None
    while True:
        try:
            effect: Effect = steps.send(reply)
        except StopIteration as finished:
            result: T = finished.value
            return result
        if isinstance(effect, Sleep):
            sleep(effect.seconds)
            reply = None
        else:
            reply = _send(effect, session, settings, options)


def _send(request: Request, session: requests.Session, settings: Settings, options: Any) -> Reply:
    try:
        # Prepared and sent by hand, without the session's own auth, cookies and redirects: the exchange has
        # signed it, and ~/.netrc has no say.
        prepared = requests.PreparedRequest()
        prepared.prepare_method(request.method)
        prepared.url = _prepared_url(request.url)
        prepared.prepare_headers(request.headers)
        prepared.prepare_body(request.body, None)
        adapter = session.get_adapter(request.url)
        timeout = (settings.connect_timeout, settings.timeout)
        with adapter.send(prepared, timeout=timeout, **options) as answer:
            body = _read_body(answer, time.monotonic() + settings.timeout)
            if isinstance(body, NoResponse):
                return body
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status_code, headers, body)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        return NoResponse(_reason(error), sent=not _never_sent(error))


@functools.lru_cache(maxsize=64)
def _prepared_url(url: str) -> str | None:
    """Check and encode a url; a list asks for the same one again and again."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return prepared.url


def _read_body(answer: requests.Response, deadline: float) -> bytes | NoResponse:
    """Read what has arrived, piece by piece: the read timeout alone lets a server drip for ever."""
    body = bytearray()
    while piece := answer.raw.read1(65536, decode_content=True):
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            return NoResponse(f"the answer is longer than {MAX_ANSWER_BYTES} bytes", sent=True)
        if time.monotonic() > deadline:
            return NoResponse("the answer took too long to arrive", sent=True)
    return bytes(body)


def _never_sent(error: BaseException) -> bool:
    """Tell whether no connection was made at all."""
    if isinstance(
        error, requests.ConnectTimeout | requests.exceptions.SSLError | requests.exceptions.ProxyError
    ):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else error
    return isinstance(getattr(cause, "reason", None), urllib3.exceptions.NewConnectionError)


def _reason(error: BaseException) -> str:
    """Name the error and its root; the text between them repeats the URL and object addresses."""
    if isinstance(error, requests.exceptions.InvalidHeader):
        return type(error).__name__  # its text is the header
    root = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
    return type(error).__name__ if root is error else f"{type(error).__name__}: {root}"
