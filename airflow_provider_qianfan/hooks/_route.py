"""
The route to the platform: which proxy, and which CA bundle. Every process finds it in the same way.

Nothing here opens a socket or a file. If a setting cannot be used, a :class:`.QianfanConfigurationError`
names it: the field of the connection, or the environment variable.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from airflow_provider_qianfan.api.errors import QianfanConfigurationError
from airflow_provider_qianfan.api.exchange import is_loopback
from airflow_provider_qianfan.api.signing import Secret
from airflow_provider_qianfan.api.text import capital, clean

if TYPE_CHECKING:
    from airflow_provider_qianfan.api.exchange import Endpoint

PROXY_VARIABLES = ("https_proxy", "all_proxy")
"""In this order. Each may also be in upper case; lower case wins, as it does for curl and requests."""

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""In this order. The connection's ``verify`` comes before them, certifi's bundle after them."""

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SCHEMES = ", ".join(f"{scheme}://" for scheme in _PORTS)


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    A proxy.

    :param scheme: ``http``, ``https``, ``socks5`` (this machine resolves names) or ``socks5h`` (the proxy
        does).
    :param setting: where the proxy was set, such as ``HTTPS_PROXY``.
    """

    scheme: str
    host: str
    port: int
    setting: str
    username: Secret | None = None
    password: Secret | None = None

    @property
    def url(self) -> str:
        """The URL without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return f"the proxy {self.url} (from {self.setting})"


@dataclass(frozen=True, slots=True)
class Bundle:
    """
    The trusted certificates.

    :param path: a file, or a folder of certificates; ``SSL_CERT_DIR`` may list several folders. None:
        certifi's.
    :param setting: where the path was set, such as ``REQUESTS_CA_BUNDLE``.
    """

    path: str | None = None
    setting: str = "certifi"

    @property
    def parts(self) -> list[Path]:
        """The file, or the folders."""
        if self.path is None:
            return []
        listed = self.path.split(os.pathsep) if self.setting == "SSL_CERT_DIR" else [self.path]
        return [Path(part) for part in listed if part]

    @property
    def folders(self) -> list[Path]:
        """The parts that are folders now."""
        return [part for part in self.parts if part.is_dir()]

    @property
    def state(self) -> tuple[object, ...]:
        """
        A value that changes whenever the certificates may have changed.

        It covers each file of a folder: rewriting a file in place does not change the folder. A folder of
        about 300 files takes a few milliseconds.
        """
        files: list[os.DirEntry[str]] = []
        for folder in self.folders:
            with contextlib.suppress(OSError):
                files += sorted(os.scandir(folder), key=lambda file: file.name)
        return (*map(_stamp, self.parts), *map(_stamp, files))

    def __str__(self) -> str:
        return f"{clean(self.path, 200)} (from {self.setting})" if self.path else "the bundle of certifi"


@dataclass(frozen=True, slots=True)
class Route:
    """
    The route to an endpoint.

    :param why_direct: why no proxy is used; empty if one is used, or none was set.
    :param tls: whether there are certificates to check.
    """

    bundle: Bundle = field(default_factory=Bundle)
    proxy: Proxy | None = None
    why_direct: str = ""
    tls: bool = True

    def __str__(self) -> str:
        direct = f"no proxy ({self.why_direct})" if self.why_direct else "no proxy"
        checked = f"certificates are checked against {self.bundle}" if self.tls else "no TLS"
        return f"{self.proxy or direct}; {checked}"


def find_route(endpoint: Endpoint, proxy: str | None, verify: bool | str, env: Mapping[str, str]) -> Route:
    """
    Find the route to an endpoint.

    :param proxy: the ``proxy`` of the connection.
    :param verify: the ``verify`` of the connection: the path of a CA bundle, or True.
    :param env: the environment.
    :raises QianfanConfigurationError: if a setting cannot be used.
    """
    bundle = Bundle(verify, "the connection's verify") if isinstance(verify, str) else bundle_of(env)
    parts = urlsplit(endpoint.url)
    host, port = parts.hostname or "", 443 if parts.port is None else parts.port
    if is_loopback(host):
        why_direct = "a loopback address is never proxied"
        return Route(bundle, why_direct=why_direct, tls=endpoint.scheme == "https")
    if proxy is not None:
        return Route(bundle, read_proxy(proxy, "the connection's proxy"))
    for name in PROXY_VARIABLES:
        setting = name if name in env else name.upper()
        if value := Secret(env.get(setting, "").strip()):
            no_proxy = "no_proxy" if env.get("no_proxy") else "NO_PROXY"
            if is_excepted(host, port, env.get(no_proxy, "")):
                return Route(bundle, why_direct=f"{no_proxy} names this host")
            return Route(bundle, read_proxy(value, setting))
    return Route(bundle)


def read_proxy(text: str, setting: str) -> Proxy:
    """
    Read the URL of a proxy. Without a scheme, it is an HTTP proxy.

    :param setting: where the URL was set.
    :raises QianfanConfigurationError: if the URL cannot be used. The message does not show it: it may hold a
        password.
    """
    url = Secret(text.strip())
    found = _parse_proxy(url, setting)
    del text
    if found is None:
        raise QianfanConfigurationError(
            f"{capital(setting)} is not the URL of a proxy. Write it as http://proxy.example.com:3128. The"
            f" schemes are {_SCHEMES}. Percent-encode the user and the password."
        )
    return found


def _parse_proxy(url: Secret, setting: str) -> Proxy | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        behind = parts.path.strip("/") or parts.query or parts.fragment
        if scheme not in _PORTS or not host or port == 0 or behind:
            return None
        host.encode("ascii" if ":" in host else "idna")
        user, password = parts.username, parts.password
        return Proxy(
            scheme,
            host,
            port or _PORTS[scheme],
            setting,
            None if user is None else Secret(unquote(user, errors="strict")),
            None if password is None else Secret(unquote(password, errors="strict")),
        )
    except ValueError:  # UnicodeError is one
        return None


def bundle_of(env: Mapping[str, str]) -> Bundle:
    """Find the CA bundle of connections without ``verify``."""
    for setting in BUNDLE_VARIABLES:
        if path := env.get(setting, "").strip():
            return Bundle(path, setting)
    return Bundle()


def _stamp(path: Path | os.DirEntry[str]) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except (OSError, ValueError):  # it may be too long for a path, or no path at all
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def check_bundle(bundle: Bundle) -> None:
    """
    Check that a bundle is there.

    :raises QianfanConfigurationError: if it is missing.
    """
    if bundle.path is not None and not any(map(_stamp, bundle.parts)):
        raise QianfanConfigurationError(
            f"{capital(bundle.setting)} names {clean(bundle.path, 200)!r}, which is not there. Give the path"
            " of a CA bundle, or leave the setting out."
        )


def is_excepted(host: str, port: int, no_proxy: str) -> bool:
    """
    Tell whether ``NO_PROXY`` names a host.

    Commas or blanks separate its entries. An entry is ``*`` for every host; a host, with or without a dot in
    front, which also covers all hosts below it; an address; or a network such as ``10.0.0.0/8``. A port may
    follow a host or an address. An IPv6 address may stand in brackets, and must if a port follows.
    """
    return any(_names(entry, host.lower().rstrip("."), port) for entry in no_proxy.replace(",", " ").split())


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, wanted_port = _split_port(entry.lower())
    if wanted_port is not None and wanted_port != str(port):
        return False
    address = _address(host)
    if address is not None:
        return _holds(name, address)
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, str | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return (name, rest[1:]) if rest.startswith(":") else (name + rest, None)
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _holds(name: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        network = ip_network(name, strict=False)
    except ValueError:
        return False
    return address in network
