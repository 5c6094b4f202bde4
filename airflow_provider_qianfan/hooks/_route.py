"""
The way to the platform: which proxy, and which CA bundle. Read in the same way in every process.

Nothing here opens a socket or a file. A setting that cannot be used raises a
:class:`.QianfanConfigurationError` that names it: the connection's field, or the environment variable.
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
"""In this order, each also in upper case. Lower case wins, as it does for curl and requests."""

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""In this order. The connection's ``verify`` comes before them, and certifi's bundle after them."""

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SCHEMES = ", ".join(f"{scheme}://" for scheme in _PORTS)


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    A proxy.

    :param scheme: ``http``, ``https``, ``socks5`` (names are resolved here) or ``socks5h`` (by the proxy).
    :param setting: where it was found, such as ``HTTPS_PROXY``.
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
    The certificates that are trusted.

    :param path: a file, or a folder of certificates; ``SSL_CERT_DIR`` may list several. None: certifi's.
    :param setting: where it was found, such as ``REQUESTS_CA_BUNDLE``.
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
        """Those of the parts that are folders now."""
        return [part for part in self.parts if part.is_dir()]

    @property
    def state(self) -> tuple[object, ...]:
        """
        Something that changes whenever the certificates may have changed.

        It covers each file of a folder: one that is rewritten in place leaves the folder as it was. A folder
        of some 300 files takes a few milliseconds.
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
    The way to an endpoint.

    :param why_direct: why there is no proxy; empty if there is one, or none was set.
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
    Find the way to an endpoint.

    :param proxy: the connection's.
    :param verify: the connection's: the path of a CA bundle, or True.
    :param env: the environment.
    :raises QianfanConfigurationError: if a setting cannot be used.
    """
    bundle = Bundle(verify, "the connection's verify") if isinstance(verify, str) else _bundle_of(env)
    parts = urlsplit(endpoint.url)
    host, port = parts.hostname or "", parts.port or 443
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
    Read the URL of a proxy; without a scheme it is an HTTP proxy.

    :param setting: where it was found.
    :raises QianfanConfigurationError: if it cannot be used. The message does not show it: it may hold a
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


def _bundle_of(env: Mapping[str, str]) -> Bundle:
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

    :raises QianfanConfigurationError: if it is not.
    """
    if bundle.path is not None and not any(map(_stamp, bundle.parts)):
        raise QianfanConfigurationError(
            f"{capital(bundle.setting)} names {clean(bundle.path, 200)!r}, which is not there. Give the path"
            " of a CA bundle, or leave the setting out."
        )


def is_excepted(host: str, port: int, no_proxy: str) -> bool:
    """
    Tell whether ``NO_PROXY`` names a host.

    Its entries are separated by commas or blanks: ``*`` for every host; a host, which stands for all hosts
    below it, too, with or without a dot in front; an address; a network such as ``10.0.0.0/8``. A host or an
    address may be followed by a port; an IPv6 address may stand in brackets, and must if it has a port.
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
