"""
Secrets made for one run, a platform and proxies that need them, and a search that finds them encoded, too.

Each canary has two marks of random letters and digits, one in each half, so that a part of it is found, too.
No encoding for a URL, JSON or Python changes letters and digits. Base64 and hexadecimal do: the search knows
what becomes of the marks there, wherever they stand.
"""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import quote

from airflow_provider_qianfan.emulator import app
from airflow_provider_qianfan.emulator.behaviour import Account
from airflow_provider_qianfan.emulator.server import EmulatorServer
from tests.faults.connect import ConnectProxy, SocksProxy
from tests.faults.tls import NAME, certified

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from airflow_provider_qianfan.emulator.signature import Signed

_SIGNATURE = re.compile(rb"[0-9a-f]{64}")
_FERNET = re.compile(rb"gAAAA[\w-]{60,}={0,2}")
_ZLIB = (b"x\x9c", b"x\x01", b"x\xda")


def make(name: str) -> str:
    """Make a canary: two marks, with characters between them that encodings change."""
    return f'{name}-{secrets.token_hex(10)}"\\/+%&={secrets.token_hex(10)}'


def marks(text: str) -> list[bytes]:
    """Return what a search looks for, so that it finds any part of a canary in any disguise."""
    found: list[bytes] = []
    for mark in re.findall(rb"[0-9a-f]{20}", text.encode()):
        found += [mark, mark.hex().encode(), *in_base64(mark)]
    return found or [text.encode(), *in_base64(text.encode())]


def in_base64(text: bytes) -> list[bytes]:
    """Return what is certain of a text within base64 of a longer one, wherever it begins there."""
    found: list[bytes] = []
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + text)
        certain = coded[(0, 2, 3)[shift] : (shift + len(text)) // 3 * 4]
        found += {certain, certain.replace(b"+", b"-").replace(b"/", b"_")}
    return found


@dataclass
class Canaries:
    """
    The secrets of one run.

    :param key: the Secret Access Key.
    :param token: the session token of temporary keys.
    :param password: the password of the proxy.
    :ivar signatures: the signatures of the requests that arrived.
    :ivar searched: how many bytes have been searched so far.
    """

    key: str = field(default_factory=lambda: make("key"))
    token: str = field(default_factory=lambda: make("token"))
    password: str = field(default_factory=lambda: make("password"))
    login: str = field(default_factory=lambda: f"login{secrets.token_hex(4)}")
    signatures: set[bytes] = field(default_factory=set)
    more: dict[str, str] = field(default_factory=dict)
    searched: int = 0
    fernet: Any = None

    @property
    def names(self) -> dict[str, str]:
        """All texts that are searched for, by name."""
        return {
            "key": self.key,
            "token": self.token,
            "password": self.password,
            "Authorization": f"bce-auth-v1/{self.login}",
            **self.more,
        }

    def found_in(self, what: str | bytes) -> list[str]:
        """Name the canaries and signatures in a text. What is encrypted needs :meth:`opened` first."""
        told = what.encode("utf-8", "surrogatepass") if isinstance(what, str) else what
        self.searched += len(told)
        found = {name for name, text in self.names.items() if any(mark in told for mark in _marks(text))}
        if self.signatures.intersection(_SIGNATURE.findall(told)):
            found.add("signature")
        return sorted(found)

    def opened(self, what: bytes, but: Collection[bytes] = ()) -> Iterator[bytes]:
        """
        Yield a text, and what can be decrypted or decompressed of it.

        :param but: what stays encrypted.
        """
        yield what
        if what[:2] in _ZLIB:
            with contextlib.suppress(zlib.error):
                yield zlib.decompress(what)
        for token in set(_FERNET.findall(what)).difference(but) if self.fernet is not None else ():
            with contextlib.suppress(Exception):  # of another key, or cut
                yield from self.opened(self.fernet.decrypt(token))

    def listen(self, verify: Callable[..., Account]) -> Callable[..., Account]:
        """Have the emulator's check take note of each signature."""

        def verify_and_remember(request: Signed, *args: Any, **kwargs: Any) -> Account:
            self.signatures.update(_SIGNATURE.findall((request.header("authorization") or "").encode()))
            return verify(request, *args, **kwargs)

        return verify_and_remember


_known: dict[str, list[bytes]] = {}


def _marks(text: str) -> list[bytes]:
    if text not in _known:
        _known[text] = marks(text)
    return _known[text]


@dataclass
class Guarded:
    """
    A platform over TLS that only a proxy reaches, and that knows the key and the token of the canaries.

    :param connect: the URL of an HTTP proxy, with its user and password.
    :param socks: the same of a SOCKS proxy.
    :param bundle: the CA bundle of the platform.
    """

    server: EmulatorServer
    canaries: Canaries
    connect: str
    socks: str
    bundle: Path

    def connection(self, **changes: Any) -> dict[str, Any]:
        """Return the connection as JSON. ``extra`` adds to its extra."""
        extra = {
            "session_token": self.canaries.token,
            "proxy": self.connect,
            "verify": str(self.bundle),
            "timeout": 5,
            **changes.pop("extra", {}),
        }
        return {
            "conn_type": "qianfan",
            "host": f"https://{NAME}",
            "login": self.canaries.login,
            "password": self.canaries.key,
            "extra": {key: value for key, value in extra.items() if value is not None},
            **changes,
        }


@contextlib.contextmanager
def guarded(folder: Path, canaries: Canaries, scenario: Any = None) -> Iterator[Guarded]:
    """Start the platform and its proxies."""
    bundle, certificate, key = certified(folder)
    user = f"user:{canaries.password}"
    url = f"user:{quote(canaries.password, safe='')}@127.0.0.1"
    with (
        patch.object(app, "verify", canaries.listen(app.verify)),
        EmulatorServer(scenario, allowed_hosts=(NAME,), tls=(certificate, key)) as server,
        ConnectProxy(("127.0.0.1", server.port), user=user) as connect,
        SocksProxy(("127.0.0.1", server.port), user=user) as socks,
    ):
        account = Account(
            access_key_id=canaries.login, secret_access_key=canaries.key, session_token=canaries.token
        )
        server.world.accounts = [account]
        yield Guarded(
            server, canaries, f"http://{url}:{connect.port}", f"socks5h://{url}:{socks.port}", bundle
        )
