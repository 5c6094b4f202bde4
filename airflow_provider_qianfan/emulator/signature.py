"""
Check BCE authentication v1, as its documentation describes it.

https://cloud.baidu.com/doc/Reference/s/njwvz1yfu (algorithm) and
https://cloud.baidu.com/doc/qianfan/s/Pmh4sv5qa (error codes). Deliberately not shared with the provider's
client.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from airflow_provider_qianfan.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_qianfan.emulator.behaviour import Account

_DEFAULT_SIGNED = frozenset({"host", "content-length", "content-type", "content-md5"})
_TOKEN_HEADER = "x-bce-security-token"  # noqa: S105 - a name
_FORM = re.compile(
    r"bce-auth-v1/(?P<key>[^/\s]+)/(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)/(?P<expiration>\d{1,9})"
    r"/(?P<signed>[A-Za-z0-9;_-]*)/(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """
    The parts of a request that a signature covers, as they arrived.

    :param path: as sent, percent-encoded or not.
    :param query: as sent, without the question mark.
    :param headers: name and value pairs, names in any case.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return the first header with this lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


def access_key_id(authorization: str | None) -> str | None:
    """Return the Access Key ID in an ``Authorization`` header, valid or not."""
    parts = (authorization or "").split("/")
    return parts[1] if len(parts) > 1 and parts[0] == "bce-auth-v1" else None


def verify(request: Signed, accounts: Iterable[Account], now: datetime, tolerance: float = 300.0) -> Account:
    """
    Return the account that signed the request.

    :param now: the time of the server.
    :param tolerance: seconds by which the time of a signature may lie in the future. The documentation gives
        no number.
    :raises ApiError: if the signature is refused. The codes are the documented ones.
    """
    authorization = request.header("authorization")
    if not authorization:
        raise _refused(403, "AccessDenied", "Access denied. The Authorization header is missing.")
    form = _FORM.fullmatch(authorization.strip())
    if form is None:
        raise _refused(400, "InvalidHTTPAuthHeader", "The Authorization header is invalid.")
    signed = frozenset(name.lower() for name in form["signed"].split(";") if name)
    if signed and "host" not in signed:
        raise _refused(400, "InvalidHTTPAuthHeader", "The Host header is not among the signed ones.")
    account = next((account for account in accounts if account.access_key_id == form["key"]), None)
    if account is None:
        raise _refused(403, "InvalidAccessKeyId", "NotFound, cause: Could not find credential.")
    # Temporary credentials are documented for Baidu AI Cloud, but not for Qianfan. The code of this error is
    # not documented, either.
    if account.session_token is not None and not _equal(request.header(_TOKEN_HEADER), account.session_token):
        raise _refused(403, "InvalidAccessKeyId", "NotFound, cause: Could not find the session token.")
    prefix = authorization.strip().rsplit("/", 2)[0]
    if not _equal(form["signature"], sign(request, prefix, signed, account.secret_access_key)):
        message = "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match"
        raise _refused(400, "SignatureDoesNotMatch", message)
    _check_age(form["time"], int(form["expiration"]), now, tolerance)
    return account


def sign(request: Signed, prefix: str, signed: frozenset[str], secret: str) -> str:
    """
    Return the signature that a request should have.

    :param prefix: ``bce-auth-v1/{access key id}/{timestamp}/{expiration}``.
    :param signed: lower-case names of the signed headers; empty: the default set.
    """
    # The signing key is the hexadecimal text of the digest, not its bytes.
    signing_key = _hmac(secret, prefix)
    return _hmac(signing_key, canonical_request(request, signed))


def canonical_request(request: Signed, signed: frozenset[str] = frozenset()) -> str:
    """Return the text to sign. It does not include the body."""
    lines = []
    for name, value in ((name.strip().lower(), value.strip()) for name, value in request.headers):
        chosen = name in signed if signed else name in _DEFAULT_SIGNED or name.startswith("x-bce-")
        if chosen and value:
            lines.append(f"{_encode(name.encode())}:{_encode(value.encode('latin-1', 'replace'))}")
    path = quote(unquote_to_bytes(request.path or "/"), safe="/-._~")
    return "\n".join([request.method.upper(), path, canonical_query(request.query), *sorted(lines)])


def canonical_query(query: str) -> str:
    """Return a query string, encoded and sorted for signing. Whole ``key=value`` texts are sorted."""
    items = []
    for item in filter(None, query.split("&")):
        key, _, value = item.partition("=")
        if key.lower() != "authorization":
            items.append(f"{_encode(unquote_to_bytes(key))}={_encode(unquote_to_bytes(value))}")
    return "&".join(sorted(items))


def _check_age(stamp: str, expiration: int, now: datetime, tolerance: float) -> None:
    try:
        signed_at = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise _refused(
            400, "InvalidHTTPAuthHeader", "The timestamp of the Authorization is invalid."
        ) from error
    # Compared as numbers: a datetime may not hold the end of a long expiration.
    age = (now - signed_at).total_seconds()
    if age < -tolerance or age > expiration:
        raise _refused(400, "RequestExpired", f"Request has expired. Timestamp date is {stamp}")


def _refused(http_status: int, code: str, message: str) -> ApiError:
    """Return an error of the identity service. It repeats code and message in headers."""
    return ApiError(http_status, code, message, in_headers=True)


def _hmac(key: str, text: str) -> str:
    return hmac.new(_bytes(key), _bytes(text), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    # A scenario may have any text as a secret. If no client can have it, no signature matches.
    return text.encode("utf-8", "surrogatepass")


def _encode(raw: bytes) -> str:
    return quote(raw, safe="-._~")


def _equal(one: str | None, other: str) -> bool:
    return one is not None and hmac.compare_digest(_bytes(one), _bytes(other))
