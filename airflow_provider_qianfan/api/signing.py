"""
BCE authentication, version 1: the ``Authorization`` header of every platform request.

Written from https://cloud.baidu.com/doc/Reference/s/njwvz1yfu. The body is not part of the signature, which
is why the connection only allows plain ``http`` to a loopback address.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BLANKS = " \t\n\r\v\f"

EXPIRES_IN = 1800
"""Seconds a signature is valid: the documented default."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    An IAM key pair, from https://console.bce.baidu.com/iam/#/iam/accesslist.

    :param access_key_id: the Access Key ID.
    :param secret_access_key: the Secret Access Key.
    :param session_token: the token that belongs to temporary (STS) keys.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def timestamp(when: datetime) -> str:
    """Write an aware ``when`` as the UTC timestamp that the signature and ``x-bce-date`` use."""
    # strftime would write the year 999 with three digits.
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def encode(text: str, *, keep: str = "") -> str:
    """Percent-encode the UTF-8 bytes of ``text``, except unreserved characters and those in ``keep``."""
    return quote(text, safe=keep)


def canonical_uri(path: str) -> str:
    """Encode ``path`` segment by segment; it always starts with a slash."""
    return encode(path if path.startswith("/") else "/" + path, keep="/")


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Encode the parameters and sort the encoded ``key=value`` strings as whole strings."""
    return "&".join(
        sorted(f"{encode(key)}={encode(value)}" for key, value in query if key.lower() != "authorization")
    )


def canonical_headers(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the canonical block of ``headers`` and the list of their names; empty values are left out."""
    values = {name.strip(_BLANKS).lower(): value.strip(_BLANKS) for name, value in headers.items()}
    lines = sorted(f"{encode(name)}:{encode(value)}" for name, value in values.items() if value)
    return "\n".join(lines), ";".join(sorted(name for name, value in values.items() if value))


def authorization(
    credentials: Credentials,
    *,
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    when: datetime,
    expires_in: int = EXPIRES_IN,
) -> str:
    """
    Sign a request.

    :param method: the HTTP method.
    :param path: the path, not encoded.
    :param query: the query parameters, not encoded.
    :param headers: the headers to sign, all of them, ``Host`` among them. They are named in the signature, so
        that what a proxy or an HTTP library adds later does no harm.
    :param when: the time of signing.
    :param expires_in: seconds for which the signature is valid.
    :returns: the value of the ``Authorization`` header.
    """
    prefix = f"bce-auth-v1/{credentials.access_key_id}/{timestamp(when)}/{expires_in}"
    signing_key = _hmac(credentials.secret_access_key, prefix)
    block, names = canonical_headers(headers)
    request = "\n".join((method.upper(), canonical_uri(path), canonical_query(query), block))
    return f"{prefix}/{names}/{_hmac(signing_key, request)}"


def _hmac(key: str, message: str) -> str:
    # The documented signing key is the *hex text* of the first digest, not its bytes.
    return hmac.digest(key.encode(), message.encode(), hashlib.sha256).hex()
