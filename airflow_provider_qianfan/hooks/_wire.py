"""
The one way to the network: in workers, in triggerers and for the session of a hook. Loads ``urllib3``.

The connection and the environment decide the route of every request, and all requests keep the same limits.
Answers are not decoded, redirects are not followed, and cookies are not kept. ``requests`` itself rests on
``urllib3``. A look does without the rest of it, because each worker would have to load it first.
"""

from __future__ import annotations

import logging
import os
import ssl
import sys
from base64 import b64encode
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from urllib3.connection import ProxyConfig
from urllib3.util import parse_url

from airflow_provider_qianfan.api.errors import QianfanConfigurationError
from airflow_provider_qianfan.api.exchange import MAX_ANSWER_BYTES, NoResponse
from airflow_provider_qianfan.api.signing import Secret, forgotten_locals
from airflow_provider_qianfan.api.text import capital, clean
from airflow_provider_qianfan.hooks import _sockets
from airflow_provider_qianfan.hooks._echo import blotted, sent_secrets
from airflow_provider_qianfan.hooks._route import BUNDLE_VARIABLES, Route, check_bundle, find_route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

    from airflow_provider_qianfan.hooks._settings import Settings

_RENEW = "Have the certificate or its CA's certificate renewed, or correct the clock of this machine."
_RENAME = "It is not for this host. Correct the connection's host, or the host in its extra proxy."
_CERTIFICATE_ADVICE = {9: _RENEW, 10: _RENEW, 62: _RENAME, 64: _RENAME}
"""What to do, by OpenSSL's codes: 9 not yet valid, 10 expired, 62 another name, 64 another address."""

_PROXY_REFUSES = frozenset({403, 407})
"""Refusals of a proxy that waiting does not change: the way is forbidden, or needs a password."""


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return _sockets.under_way() is None


# urllib3 logs a line for each request, and quotes servers without escaping.
for _name in ("connection", "connectionpool", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_is_not_ours)


class Wire:
    """Sends requests to one endpoint, by one route, within limits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._route: Route | None = None
        self._pool: HTTPConnectionPool | None = None
        self._bundle_seen: object = None
        self._process = os.getpid()
        self._attempt: _sockets.Attempt | None = None
        self._given_up = False

    @property
    def route(self) -> Route:
        """
        The way to the endpoint.

        :raises QianfanConfigurationError: if a setting cannot be used.
        """
        if self._route is None:
            given = self._settings
            self._route = find_route(given.endpoint, given.proxy, given.verify, os.environ)
        return self._route

    def send(
        self,
        method: str,
        target: str,
        body: Any,
        headers: Mapping[str, str],
        *,
        connect_timeout: float | None = None,
        timeout: float | None = None,
        send_by: float | None = None,
    ) -> tuple[BaseHTTPResponse, bytes] | NoResponse:
        """
        Send a signed request, and read the whole answer. Return the answer and its body.

        :param target: the path and the query.
        :param connect_timeout: seconds. Default: that of the connection.
        :param timeout: seconds for the answer. Default: that of the connection.
        :param send_by: seconds since the epoch. After this time the request does not leave.
        """
        outside = sys.exception()  # an error that the caller is handling has nothing to do with this request
        with _sockets.Attempt(
            connect_timeout or self._settings.connect_timeout,
            timeout or self._settings.timeout,
            MAX_ANSWER_BYTES,
            send_by=send_by,
        ) as attempt:
            self._attempt = attempt
            if self._given_up:  # between two requests
                attempt.abort()
            try:
                return self._exchange(method, target, body, headers, attempt)
            except Exception as error:  # any error: the caller has to know whether the request has left
                return self._explain(error, attempt, outside, headers)
            finally:
                self._attempt = None

    @forgotten_locals()
    def _exchange(
        self, method: str, target: str, body: Any, headers: Mapping[str, str], attempt: _sockets.Attempt
    ) -> tuple[BaseHTTPResponse, bytes]:
        answer = self._connections().urlopen(
            method,
            target,
            body=body,
            headers=headers,
            chunked=body is not None and "Content-Length" not in headers,
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            content = _read_body(answer, attempt)
        except BaseException:
            answer.close()
            raise
        if answer.connection is not None:  # the body was not read to its end
            answer.close()
        if answer.status < 200:  # the answer is still to come; the next request would take it for its own
            self.close()
        return answer, content

    def _connections(self) -> HTTPConnectionPool:
        """Return the connection. If the CA bundle was replaced, make a new one."""
        bundle = self.route.bundle
        seen: object = None
        if self._settings.endpoint.scheme == "https":
            check_bundle(bundle)
            seen = bundle.state
        if self._process != os.getpid():
            # A fork: the connection belongs to the other process. Closing it here ends it there, too.
            self._pool, self._process = None, os.getpid()
        if self._pool is None or seen != self._bundle_seen:
            self.close()
            self._pool, self._bundle_seen = _make_pool(self._settings, self.route, seen), seen
        return self._pool

    def _explain(
        self,
        error: Exception,
        attempt: _sockets.Attempt,
        outside: BaseException | None,
        headers: Mapping[str, str],
    ) -> NoResponse:
        """Say what happened. If the request has not left, also say what to do."""
        if isinstance(error, QianfanConfigurationError):
            return NoResponse(str(error), sent=False, permanent=True)
        root = _root(error, outside)
        late = isinstance(root, TimeoutError) or attempt.is_over
        what = attempt.time_is_up if late else _told(root)
        secrets = sent_secrets(headers, self.route.proxy)
        what = clean(blotted(what, secrets), 300)
        told = f"{attempt.doing}: {what}"
        if attempt.sent:
            return NoResponse(told, sent=True)
        if isinstance(root, ssl.SSLCertVerificationError):
            return NoResponse(self._refused_certificate(attempt.doing, root), sent=False, permanent=True)
        permanent = isinstance(root, ValueError) or _proxy_status(root) in _PROXY_REFUSES
        if self.route.proxy is not None:
            told += f". The request goes through {self.route.proxy}"
            permanent = permanent or type(root).__name__ == "SOCKS5AuthError"
        return NoResponse(told, sent=False, permanent=permanent)

    def _refused_certificate(self, doing: str, error: ssl.SSLCertVerificationError) -> str:
        why = clean(error.verify_message or error.reason or "not trusted", 120).rstrip(".")
        bundle = self.route.bundle
        told = f"{capital(doing)}: the certificate is refused ({why}). It was checked against {bundle}."
        if error.verify_code in _CERTIFICATE_ADVICE:
            return f"{told} {_CERTIFICATE_ADVICE[error.verify_code]}"
        hashed = ""
        if bundle.folders:
            hashed = (
                " In a folder only files that are named by a hash count: run openssl rehash on it after each"
                " change."
            )
        return (
            f"{told}{hashed} If a proxy decrypts TLS on the way, or the"
            " endpoint has a private CA: put the path of a CA bundle that has its certificate into the"
            f" connection's extra verify, or into {BUNDLE_VARIABLES[0]}."
        )

    def abort(self) -> None:
        """End the current request, from another thread. Let no other request begin."""
        self._given_up = True
        attempt = self._attempt
        if attempt is not None:
            attempt.abort()

    def close(self) -> None:
        """Close the connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


def _make_pool(settings: Settings, route: Route, seen: object) -> HTTPConnectionPool:
    address = parse_url(settings.endpoint.url)
    host, port = address.host or "", address.port
    if settings.endpoint.scheme == "http":
        return _sockets.PlainPool(host, port)
    context = _sockets.tls_context(route.bundle, seen)
    proxy = route.proxy
    if proxy is None:
        return _sockets.TlsPool(host, port, ssl_context=context)
    if proxy.scheme.startswith("socks"):
        return _sockets.socks_pool(proxy)(host, port, ssl_context=context)
    headers: dict[str, str] = {}
    if proxy.username is not None:
        user = f"{proxy.username}:{proxy.password or ''}".encode()
        headers["Proxy-Authorization"] = Secret(f"Basic {b64encode(user).decode()}")
    return _sockets.TlsPool(
        host,
        port,
        ssl_context=context,
        _proxy=parse_url(proxy.url),
        _proxy_headers=headers,
        _proxy_config=ProxyConfig(context, False, None, None),
    )


def _read_body(raw: Any, attempt: _sockets.Attempt) -> bytes:
    """
    Read a body as it came.

    :raises OSError: if the body is too long, or is encoded although nobody asked for that.
    """
    encoding = raw.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        if raw.status >= 400:
            return b""  # the status says enough
        raise OSError(f"HTTP {raw.status} with Content-Encoding {encoding!r}, although none was asked for")
    body = bytearray()
    while piece := raw.read1(65536, decode_content=False):
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise OSError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        attempt.left()
    return bytes(body)


def _told(root: BaseException) -> str:
    if isinstance(root, HTTPException) and not isinstance(root, OSError):
        return f"{type(root).__name__}: {str(root).strip()}"  # its text alone is only what the server sent
    return str(root)


def _root(error: BaseException, outside: BaseException | None) -> BaseException:
    """Find the first error. The errors around it repeat the URL and addresses of objects."""
    while not isinstance(error, HTTPException):
        inner = error.__cause__ or error.__context__
        if inner is None or inner is outside:
            inner = next((each for each in error.args if isinstance(each, Exception)), None)
        if inner is None:
            return error
        error = inner
    return error


def _proxy_status(error: BaseException) -> int | None:
    """Read the status with which a proxy refused a tunnel. Only the message has it."""
    words = str(error).partition("Tunnel connection failed: ")[2].split()
    return int(words[0]) if words and words[0].isdigit() else None
