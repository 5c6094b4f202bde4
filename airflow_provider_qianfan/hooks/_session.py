"""The session that ``get_conn()`` returns: it signs what it sends. Loads ``requests``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from airflow_provider_qianfan.api.exchange import USER_AGENT, NoResponse
from airflow_provider_qianfan.api.signing import authorization, check_path, request_target, timestamp
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.hooks._wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_qianfan.hooks._settings import Settings


class SigningSession(requests.Session):
    """
    A session that signs its requests, for one endpoint only.

    A URL may be a path (``/v2/model``). The session does not follow redirects, because the signature is for
    one host, and keeps no cookies. It takes the same route as every other request of this provider.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._endpoint = settings.endpoint.url
        self.adapters.clear()
        self.mount(f"{self._endpoint}/", _Adapter(settings))
        self.trust_env = False
        self.auth = _Signature(settings)
        self.cookies = _NoCookies()
        self.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})

    def __getstate__(self) -> NoReturn:
        """Refuse to be pickled: the session knows the key."""
        raise TypeError("A session is not pickled. Pass the connection's id on, and make a hook of it there.")

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """
        Send a signed request to the endpoint; otherwise as :meth:`requests.Session.request`.

        :raises ValueError: if the URL is not a path of the endpoint, or an argument would choose another
            route.
        """
        for argument in ("verify", "proxies", "cert", "auth", "cookies"):
            if kwargs.get(argument) is not None:
                raise ValueError(f"{argument} comes from the connection. Leave it out.")
        kwargs["allow_redirects"] = False
        path = self._path_of(url.decode() if isinstance(url, bytes) else url)
        return super().request(method, self._endpoint + path, *args, **kwargs)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect, and do not read its target: reading may raise anything."""

    def _path_of(self, url: str) -> str:
        if url.startswith(f"{self._endpoint}/"):
            url = url.removeprefix(self._endpoint)
        elif "://" in url.partition("?")[0]:
            other = urlsplit(url)
            raise ValueError(
                f"This session signs requests to {self._endpoint} only, not to"
                f" {clean(other.scheme, 20)}://{clean(other.hostname, 80)}."
            )
        path, _, query = url.partition("?")
        if "#" in url:
            raise ValueError(f"{clean(url)!r} has a fragment (#…). Leave it out.")
        check_path(_decoded(path))
        return url if query else path


class NoAnswerError(requests.ConnectionError):
    """
    No usable answer came.

    :ivar reply: what happened.
    """

    def __init__(self, reply: NoResponse) -> None:
        self.reply = reply
        super().__init__(clean(reply.reason, 600))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reply,)


class _Adapter(HTTPAdapter):
    """
    Has requests take the one way to the network.

    It ignores the arguments ``verify``, ``proxies`` and ``cert``: the connection decides them.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._endpoint = settings.endpoint.url
        self._wire = Wire(settings)

    def __getstate__(self) -> NoReturn:
        """Refuse to be pickled: the way to the network knows the key."""
        raise TypeError("A session is not pickled. Pass the connection's id on, and make a hook of it there.")

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """
        Send a signed request, and read the whole answer.

        :param timeout: seconds for the answer; or a pair of seconds, for connecting and for the answer.
            Default: the timeouts of the connection.
        :raises NoAnswerError: if no usable answer came.
        :raises ValueError: if the request is for another endpoint.
        """
        if not (request.url or "").startswith(f"{self._endpoint}/"):
            other = urlsplit(request.url or "")
            raise ValueError(
                f"This session signs requests to {self._endpoint} only, not to"
                f" {other.scheme}://{other.hostname}."
            )
        connecting, answering = timeout if isinstance(timeout, tuple) else (None, timeout)
        for limit in (connecting, answering):
            if limit is not None and not (isinstance(limit, int | float) and limit > 0):
                raise ValueError(
                    f"timeout={clean(repr(timeout))} is not a number of seconds above 0, or two."
                )
        answer = self._wire.send(
            request.method or "GET",
            request.path_url,
            request.body,
            request.headers,
            connect_timeout=connecting,
            timeout=answering,
        )
        if isinstance(answer, NoResponse):
            raise NoAnswerError(answer)
        raw, content = answer
        # As HTTPAdapter.build_response does, but without cookies: reading them may take a second.
        response = requests.Response()
        response.raw, response.status_code, response.reason = raw, raw.status, raw.reason or ""
        response._content, response._content_consumed = content, True  # type: ignore[attr-defined]
        response.headers = requests.structures.CaseInsensitiveDict(raw.headers)
        response.encoding = "utf-8"
        response.url, response.request = request.url or "", request
        return response

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()


def _decoded(text: str) -> str:
    if "%2f" in text.lower():
        raise ValueError(f"{clean(text)!r} has a slash that is encoded (%2F). Write it as it is.")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"{clean(text)!r} is not UTF-8.") from None


class _NoCookies(requests.cookies.RequestsCookieJar):
    def set_cookie(self, *_: Any, **__: Any) -> None:
        """Keep none."""

    def extract_cookies(self, *_: Any) -> None:
        """Read none."""


class _Signature(AuthBase):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        ours = self._settings.endpoint
        parts = urlsplit((request.url or "").removeprefix(ours.url))
        path, query = _decoded(parts.path), list(_pairs(parts.query))
        # As it is signed, so it is sent: requests writes a blank as +, which a server may read as a plus.
        request.url = ours.url + request_target(path, query)
        now = datetime.now(UTC)
        signed = {"Host": ours.host, **_of_baidu(request.headers), "x-bce-date": timestamp(now)}
        if self._settings.credentials.session_token:
            signed["x-bce-security-token"] = self._settings.credentials.session_token
        request.headers.update(signed)
        request.headers["Authorization"] = authorization(
            self._settings.credentials,
            method=request.method or "GET",
            path=path,
            query=query,
            headers=signed,
            when=now,
        )
        return request


def _of_baidu(headers: Mapping[str, str | bytes]) -> dict[str, str]:
    """Find the headers that Baidu's own SDKs always sign."""
    found = {}
    for name, value in headers.items():
        if name.lower().startswith("x-bce-"):
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if not text.isascii():
                raise ValueError(
                    f"The header {clean(name, 40)} is not ASCII, so it cannot be signed as it is sent."
                )
            found[name.lower()] = text
    return found


def _pairs(query: str) -> Iterable[tuple[str, str]]:
    for item in filter(None, query.split("&")):
        key, _, value = item.replace("+", " ").partition("=")
        yield unquote(key, errors="strict"), unquote(value, errors="strict")
