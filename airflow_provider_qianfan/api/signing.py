"""
BCE authentication, version 1: the ``Authorization`` header of every platform request.

Written from https://cloud.baidu.com/doc/Reference/s/njwvz1yfu. The signature does not cover the body. So the
connection allows plain ``http`` only to a loopback address.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from traceback import clear_frames
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from airflow_provider_qianfan.api.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_BLANKS = " \t\n\r\v\f"
_ACTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

EXPIRES_IN = 1800
"""Seconds for which a signature is valid. This is the documented default."""


class Secret(str):
    """
    Text that does not show itself: not in a traceback with local variables, and not in a pickle.

    Text derived from it is plain again.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("A key is not pickled. Pass the connection's id on, and read the connection there.")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: object) -> Secret:
        return self


@contextmanager
def forgotten_locals() -> Iterator[None]:
    """
    Have an error forget the local variables of the functions that it has left.

    Some of them hold secrets as plain text: Airflow's connection, or a request as its library sends it. Tools
    that report errors show such variables. A timeout of Airflow's is such an error, and may come at any time.
    """
    outside = sys.exception()  # an error that the caller is handling keeps its variables
    try:
        yield
    except BaseException as error:
        each: BaseException | None = error
        while each is not None and each is not outside:
            clear_frames(each.__traceback__)
            each = each.__cause__ or each.__context__
        raise


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

    def __post_init__(self) -> None:
        """Keep the secrets out of tracebacks and pickles."""
        object.__setattr__(self, "secret_access_key", Secret(self.secret_access_key))
        if self.session_token is not None:
            object.__setattr__(self, "session_token", Secret(self.session_token))


def timestamp(when: datetime) -> str:
    """Write an aware ``when`` as the UTC timestamp for the signature and ``x-bce-date``."""
    # strftime would write the year 999 with three digits.
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def encode(text: str, *, keep: str = "") -> str:
    """Percent-encode the UTF-8 bytes of ``text``, except unreserved characters and those in ``keep``."""
    return quote(text, safe=keep)


def canonical_uri(path: str) -> str:
    """Encode ``path`` segment by segment. The result starts with a slash."""
    return encode(path if path.startswith("/") else "/" + path, keep="/")


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Encode the parameters and sort the encoded ``key=value`` strings as whole strings."""
    return "&".join(
        sorted(f"{encode(key)}={encode(value)}" for key, value in query if key.lower() != "authorization")
    )


def check_path(path: str) -> str:
    """
    Check the path of a request before it is encoded.

    :raises ValueError: if the path could lead elsewhere, or would not be sent as it is signed.
    """
    shown = clean(repr(path))
    if not isinstance(path, str) or not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"path={shown} has to begin with one slash, such as '/v2/model'.")
    if "?" in path or "#" in path:
        raise ValueError(
            f"path={shown} is more than a path. Write path='/v2/model' and action='DescribeModel' for"
            " /v2/model?Action=DescribeModel."
        )
    if not path.isprintable() or "\\" in path:
        raise ValueError(f"path={shown} has characters that no path has. Remove them.")
    if {".", ".."} & set(path.split("/")):
        raise ValueError(f"path={shown} has dot segments ('.', '..'). Write the path that they lead to.")
    return path


def check_action(action: str) -> str:
    """
    Check the name of an action.

    :raises ValueError: if it is no valid name.
    """
    if not isinstance(action, str) or not _ACTION.fullmatch(action):
        raise ValueError(
            f"action={clean(repr(action))} is not the name of an action, such as 'DescribeModel'."
        )
    return action


def request_target(path: str, query: Iterable[tuple[str, str]]) -> str:
    """
    Write path and query for sending. They are encoded as for the signature, so that both have the same bytes.

    :param path: the path, not encoded.
    :param query: the query parameters, not encoded.
    :raises ValueError: if the path cannot be sent.
    """
    target = canonical_uri(check_path(path))
    items = "&".join(f"{encode(key)}={encode(value)}" for key, value in query)
    return f"{target}?{items}" if items else target


def canonical_headers(headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the canonical block of ``headers``, and the list of their names. Empty values are left out."""
    values = {name.strip(_BLANKS).lower(): value.strip(_BLANKS) for name, value in headers.items()}
    lines = sorted(f"{encode(name)}:{encode(value)}" for name, value in values.items() if value)
    return "\n".join(lines), ";".join(sorted(name for name, value in values.items() if value))


@forgotten_locals()
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
    :param headers: all headers to sign, with ``Host``. The signature names them. So headers that a proxy or
        an HTTP library adds later do no harm.
    :param when: the time of signing.
    :param expires_in: seconds for which the signature is valid.
    :returns: the value of the ``Authorization`` header.
    """
    prefix = f"bce-auth-v1/{credentials.access_key_id}/{timestamp(when)}/{expires_in}"
    signing_key = Secret(_hmac(credentials.secret_access_key, prefix))
    block, names = canonical_headers(headers)
    # An error about its characters has the whole text.
    request = Secret("\n".join((method.upper(), canonical_uri(path), canonical_query(query), block)))
    return Secret(f"{prefix}/{names}/{_hmac(signing_key, request)}")


def _hmac(key: str, message: str) -> str:
    # The documented signing key is the *hex text* of the first digest, not its bytes.
    return hmac.digest(key.encode(), message.encode(), hashlib.sha256).hex()
