"""
One conversation with the platform: sign, send, read, retry.

A conversation is a generator of effects: a :class:`Request` to send, or a :class:`Sleep` to take. A small
driver carries the effects out. It is the same driver in a worker and in a thread of a triggerer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from airflow_provider_qianfan import __version__
from airflow_provider_qianfan.api.errors import (
    AUTH_CODES,
    LONGEST_RETRY_AFTER,
    QianfanAPIError,
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanProtocolError,
    QianfanRateLimitError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.json_values import check_json
from airflow_provider_qianfan.api.reading import UnreadableError, read_object, weight
from airflow_provider_qianfan.api.signing import (
    EXPIRES_IN,
    Credentials,
    authorization,
    check_action,
    request_target,
    timestamp,
)
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.api.times import parse_http_date, parse_retry_after

DEFAULT_ENDPOINT = "https://qianfan.baidubce.com"
USER_AGENT = f"airflow-provider-qianfan/{__version__}"
MAX_ANSWER_BYTES = 1024 * 1024
"""Longer answers are refused. A page of 100 tasks has about 50 KiB."""

_MOST_AHEAD = timedelta(days=1)
"""A server's clock that is further away is not believed: its ``Date`` would spoil all later signatures."""

_JUMP = timedelta(seconds=5)
"""If one of two machines was suspended, their clocks drift apart by at least this."""

_LEGACY_STATUS = {"18": 429, "336100": 503, "500000": 500}
"""
The HTTP status that matches each legacy code. These are the codes that Baidu's own SDK tries again: QPS limit
reached, server high load, console internal error.
"""

LONGEST_PAUSE = 30.0
"""Seconds."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """
    An HTTP request, signed, to send as it is. Redirects are not followed.

    :param send_by: seconds since the epoch. After this time the driver sends nothing and answers with
        ``NoResponse(sent=False)``. None: the request may leave at any time.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    method: str = "POST"
    send_by: float | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """
    How to send a request once, if nobody may repeat it without a look at what it may have done.

    :param send_by: seconds since the epoch. After this time the request does not leave.
    :param expires_in: seconds for which the signature is valid. If the request arrives later, the platform
        refuses it.
    """

    send_by: float
    expires_in: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """A pause, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Response:
    """The answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NoResponse:
    """
    No usable answer.

    :param reason: what happened.
    :param sent: False if the request certainly never left.
    :param permanent: True if waiting does not help: a setting of this machine or of the connection is wrong.
    """

    reason: str
    sent: bool
    permanent: bool = False


Effect = Request | Sleep
Reply = Response | NoResponse | None
Steps = Generator[Effect, Reply, T]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of the platform: ``https://host[:port]``, or plain ``http`` on a loopback address."""

    scheme: str
    host: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """
        Read an endpoint. Without a scheme it is https.

        :raises ValueError: if the text has more than a scheme, a host and a port, or is plain http to another
            machine.
        """
        # No message quotes the text: there may be a password in it.
        bare = (
            f"The endpoint is only a scheme, a host and a port, such as {DEFAULT_ENDPOINT}: leave"
            " out user, path and query."
        )
        if "@" in text:
            raise ValueError(bare)
        try:
            parts = urlsplit(text if "://" in text else f"https://{text}")
        except ValueError:
            raise ValueError(f"This is not an endpoint. Write it as {DEFAULT_ENDPOINT}.") from None
        try:
            port = parts.port
        except ValueError:
            raise ValueError("The endpoint's port is not a number from 0 to 65535.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"This is not an endpoint. Write it as {DEFAULT_ENDPOINT}.")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(bare)
        try:
            parts.hostname.encode("ascii" if ":" in parts.hostname else "idna")
        except UnicodeError:
            raise ValueError("The endpoint's host is not a valid name.") from None
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError(
                f"Plain http to {parts.hostname} is refused: neither the request's body nor its answer"
                " is signed. Use https."
            )
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        standard = {"http": 80, "https": 443}[parts.scheme]
        return cls(parts.scheme, name if port in (None, standard) else f"{name}:{port}")


def is_loopback(hostname: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    How often and how patiently a call is tried again.

    :param tries: how many tries in all. Default: 4.
    :param first_pause: seconds; the longest first pause. Each further pause may be twice as long. The pause
        is a random part of that. Default: 1.
    :param longest_pause: seconds; no pause becomes longer by doubling. Default: 30.
    :param longest_retry_after: seconds; a longer ``Retry-After`` is cut to this. The random pause comes on
        top. Default: 300.
    :param patience: seconds; no pause is longer. If ``Retry-After`` is, the call fails at once. Use it if the
        caller should not hold a worker slot. Default: no limit.
    :param until: no pause ends after this time. After it, a call sends its first request and no others.
        Default: no limit.
    """

    tries: int = 4
    first_pause: float = 1.0
    longest_pause: float = LONGEST_PAUSE
    longest_retry_after: float = LONGEST_RETRY_AFTER
    patience: float = float("inf")
    until: datetime | None = None

    def pause(self, attempt: int, retry_after: float | None, jitter: float, now: datetime) -> float | None:
        """
        Return how long to pause after a failed try.

        :param attempt: the number of the failed try, from 1.
        :param retry_after: seconds from ``Retry-After``; None without one.
        :param jitter: a random number from 0 to 1.
        :param now: the time.
        :returns: seconds, or None to give up.
        """
        if attempt >= self.tries:
            return None
        asked = min(retry_after or 0.0, self.longest_retry_after)
        own = jitter * min(self.longest_pause, self.first_pause * 2 ** (attempt - 1))
        if max(asked, own) > self.patience:
            return None
        # Those who were refused together would otherwise come back together.
        pause = min(asked + own, self.patience)
        late = self.until is not None and now + timedelta(seconds=pause) > self.until
        return None if late else pause


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Exchange:
    """
    The rules for talking to one endpoint with one key.

    An exchange remembers only how far the server's clock is from ours, and how much it has read.

    :param endpoint: where to send.
    :param credentials: the key to sign with.
    :param retry: the retry policy of each call.
    :param pace: returns for how many seconds the next request must wait; 0 allows the request. After a wait,
        it is called again. Default: requests never wait.
    :param clock: returns the time for each signature.
    :param jitter: returns a random number from 0 to 1.
    :ivar server_ahead: how far the server's clock is ahead of ours; zero until the server blames our clock.
    :ivar bytes_read: the length of all answers together, by :func:`.weight`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        retry: RetryPolicy | None = None,
        pace: Callable[[], float] | None = None,
        clock: Callable[[], datetime] = _utc_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._retry = retry or RetryPolicy()
        self._pace = pace
        self._clock = clock
        self._jitter = jitter
        self.server_ahead = timedelta()
        self._last_ahead: timedelta | None = None
        self._clock_jumped = False
        self._asked = False
        self.bytes_read = 0

    def call(
        self,
        path: str,
        action: str,
        body: Mapping[str, Any] | None = None,
        *,
        repeatable: bool | None = None,
        sending: Sending | None = None,
    ) -> Steps[dict[str, Any]]:
        """
        Call an action. Try again as long as that may help.

        :param path: the path of the action, such as ``/v2/model``.
        :param action: the name of the action, such as ``DescribeModelCompTasks``.
        :param body: the JSON body.
        :param repeatable: whether to try again if the platform may have carried out the request although no
            answer came. Default: only for actions that read (``Describe…``).
        :param sending: send the request once, within these limits. The caller then uses :meth:`pause_after`
            to decide whether and when to send again. Default: this method decides.
        :returns: the whole JSON object of the answer.
        :raises ValueError: if JSON cannot hold the body. Nothing was sent.
        :raises QianfanError: the last failure.
        """
        repeatable = action.startswith("Describe") if repeatable is None else repeatable
        payload = _payload(body or {})
        attempt, clock_corrected = 1, False
        while True:
            while self._pace is not None and (wait := self._pace()):
                yield Sleep(wait)
            self._check_time(action)
            reply = yield self._sign(path, action, payload, sending)
            try:
                return self._read(reply, path, action)
            except (QianfanAPIError, QianfanTransientError) as error:
                learned = self._learn_clock(error)
                if sending is not None:
                    raise
                if learned and not clock_corrected:
                    clock_corrected = True
                    continue
                if isinstance(error, QianfanTransientError) and error.sent and not repeatable:
                    _raise_lost_answer(error)
                pause = None if learned else self.pause_after(error, attempt)
                if pause is None:
                    raise
            attempt += 1
            yield Sleep(pause)

    def _check_time(self, action: str) -> None:
        """
        Let the first request pass. Let later ones pass only while there is time.

        :raises QianfanTransientError: if the time is up.
        """
        until = self._retry.until
        if self._asked and until is not None and self._clock() > until:
            raise QianfanTransientError(action, "no further request is sent: the time is up", sent=False)
        self._asked = True

    def pause_after(self, error: QianfanError, attempt: int) -> float | None:
        """
        Return how long to pause before a failed request is sent again.

        The caller decides whether the request may be repeated.

        :param error: how the try failed.
        :param attempt: the number of the try, from 1.
        :returns: seconds, or None to give up.
        """
        if isinstance(error, QianfanAPIError) and error.clock_learned:
            return 0.0 if attempt < max(self._retry.tries, 2) else None
        if not isinstance(error, QianfanRateLimitError | QianfanTransientError):
            return None
        return self._retry.pause(attempt, error.retry_after, self._jitter(), self._clock())

    def _sign(self, path: str, action: str, payload: bytes, sending: Sending | None) -> Request:
        """Sign immediately before sending: a signature from before a pause may have expired."""
        query = [("Action", check_action(action))]
        target = request_target(path, query)
        now = self._clock() + self.server_ahead
        signed = {"Host": self._endpoint.host, "x-bce-date": timestamp(now)}
        if self._credentials.session_token:
            signed["x-bce-security-token"] = self._credentials.session_token
        proof = authorization(
            self._credentials,
            method="POST",
            path=path,
            query=query,
            headers=signed,
            when=now,
            expires_in=EXPIRES_IN if sending is None else sending.expires_in,
        )
        headers = {
            **signed,
            "Authorization": proof,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }
        send_by = None if sending is None else sending.send_by
        return Request(f"{self._endpoint.url}{target}", headers, payload, send_by=send_by)

    def _learn_clock(self, error: QianfanError) -> bool:
        """Learn the server's clock from a refusal that blames ours. The next signature uses it."""
        if not isinstance(error, QianfanAPIError) or error.code != "RequestExpired":
            return False
        if self._last_ahead is not None and abs(self._last_ahead) <= _MOST_AHEAD:
            self.server_ahead, error.clock_learned = self._last_ahead, True
        error.clock_jumped = self._clock_jumped
        return error.clock_learned

    def _compare_clocks(self, server: datetime | None) -> None:
        """Notice whether our clock and the server's have drifted apart since the last answer."""
        before, self._last_ahead = self._last_ahead, None if server is None else server - self._clock()
        now = self._last_ahead
        self._clock_jumped = before is not None and now is not None and abs(now - before) > _JUMP

    def _read(self, reply: Reply, path: str, action: str) -> dict[str, Any]:
        """Read an answer, or raise the error that it stands for."""
        if isinstance(reply, NoResponse):
            if reply.permanent:
                raise QianfanConfigurationError(clean(reply.reason, 600))
            raise QianfanTransientError(action, reply.reason, sent=reply.sent)
        if not isinstance(reply, Response):
            raise TypeError(f"A driver must answer a request with a response, not {reply!r}.")
        self.bytes_read += weight(reply.body)
        document, unreadable = None, ""
        try:
            document = read_object(reply.body)
        except UnreadableError as problem:
            unreadable = f"{problem} "
        server = parse_http_date(reply.headers.get("date"))
        self._compare_clocks(server)
        retry_after = parse_retry_after(reply.headers.get("retry-after"), server or self._clock())
        error = _documented_error(reply, document, path, action)
        status = _meant_status(reply, document, error)
        if status == 429:
            raise _rate_limit(reply, document, error, action, retry_after)
        if status == 408 or status >= 500:
            told = str(error).removeprefix(f"{action}: ") if error else f"HTTP {status} {_excerpt(reply)}"
            raise QianfanTransientError(action, told, retry_after=retry_after)
        if error:
            raise error
        if 300 <= status < 400:
            raise QianfanProtocolError(
                f"{action}: HTTP {status}, a redirect to"
                f" {clean(reply.headers.get('location', 'nowhere'))!r}."
                " Redirects are not followed; check the connection's host."
            )
        if document is None or status >= 400 or status < 200:
            raise QianfanTransientError(
                action,
                f"HTTP {status} with an unreadable answer: {unreadable}{_excerpt(reply)}",
                retry_after=retry_after,
            )
        return document


def _meant_status(reply: Response, document: Mapping[str, Any] | None, error: QianfanAPIError | None) -> int:
    """Return the HTTP status that matches the answer: a legacy error comes with 200."""
    if error is None or not document or reply.status != 200 or document.get("code"):
        return reply.status
    return _LEGACY_STATUS.get(error.code, reply.status)


def _rate_limit(
    reply: Response,
    document: Mapping[str, Any] | None,
    error: QianfanAPIError | None,
    action: str,
    retry_after: float | None,
) -> QianfanRateLimitError:
    limited = QianfanRateLimitError(
        action,
        code=error.code if error else "TooManyRequests",
        message=error.message if error else "",
        request_id=_request_id(reply, document),
        http_status=reply.status,
    )
    limited.retry_after = retry_after
    return limited


def _payload(body: Mapping[str, Any]) -> bytes:
    """
    Write a body as JSON.

    :raises ValueError: if JSON cannot hold the body. The message names the part that is wrong.
    """
    check_json("body", dict(body))
    return json.dumps(dict(body)).encode()


def _raise_lost_answer(error: QianfanTransientError) -> NoReturn:
    raise QianfanTransientError(
        error.action,
        f"{str(error).removeprefix(error.action + ': ')} It is not known whether the platform carried"
        " this out: look before you repeat it.",
        retry_after=error.retry_after,
    ) from error


def _documented_error(
    reply: Response, document: dict[str, Any] | None, path: str, action: str
) -> QianfanAPIError | None:
    """Read ``{requestId, code, message}``, the gateway's headers, or the legacy ``{error_code, …}``."""
    document = document or {}
    # An error of the IAM gateway may carry its code only here (seen in the official SDKs).
    code = document.get("code") or (reply.headers.get("x-bce-error-code") if reply.status >= 400 else None)
    message = document.get("message") or reply.headers.get("x-bce-error-message") or ""
    if not code and document.get("error_code"):
        code, message = document["error_code"], document.get("error_msg") or ""
    if not code:
        return None
    kind = QianfanAuthError if str(code) in AUTH_CODES or reply.status == 401 else QianfanAPIError
    return kind(
        action,
        code=str(code),
        message=str(message),
        request_id=_request_id(reply, document),
        http_status=reply.status,
        path=path,
    )


def _request_id(reply: Response, document: Mapping[str, Any] | None) -> str:
    document = document or {}
    return str(
        document.get("requestId") or document.get("log_id") or reply.headers.get("x-bce-request-id") or ""
    )


def _excerpt(reply: Response) -> str:
    kind = clean(reply.headers.get("content-type", "no content type"), 60)
    start = clean(" ".join(reply.body[:400].decode("utf-8", "replace").split()), 120)
    return f"({kind}, {len(reply.body)} bytes): {start}" if reply.body else f"({kind}, empty)"
