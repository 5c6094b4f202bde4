"""The settings of a connection of type ``qianfan``, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_qianfan.api.errors import (
    QianfanAuthError,
    QianfanConfigurationError,
    QianfanError,
    QianfanTransientError,
)
from airflow_provider_qianfan.api.exchange import DEFAULT_ENDPOINT, Endpoint
from airflow_provider_qianfan.api.signing import Credentials, Secret
from airflow_provider_qianfan.api.text import clean
from airflow_provider_qianfan.hooks._route import Bundle, check_bundle, read_proxy

if TYPE_CHECKING:
    from airflow.sdk import Connection


DEFAULT_TIMEOUT = 30.0
LONGEST_CONNECT = 10.0

_KEYS_ARE_MADE = (
    " Create an Access Key at https://console.bce.baidu.com/iam/#/iam/accesslist. The API key of an"
    " application does not work."
)
_EXTRAS = ("proxy", "session_token", "timeout", "verify")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def reread_failed(error: Exception) -> QianfanError:
    """
    Return the error if a connection that once worked cannot be read.

    An outage of the secrets backend is transient. A connection that cannot be used is not.
    """
    if isinstance(error, QianfanConfigurationError):
        return error
    # Only our own message certainly holds no secret. The message about a malformed connection URI may quote
    # the password.
    return QianfanTransientError("Reading the connection again", type(error).__name__, sent=False)


def refused_key(error: QianfanAuthError, conn_id: str) -> QianfanAuthError:
    """Return the error with the name of the connection in its message."""
    named = copy(error)
    named.args = (f"Connection {conn_id!r} is refused. {error}",)
    return named


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The settings of a connection of type ``qianfan``.

    :param unknown: the keys of ``extra`` that this provider does not know.
    """

    endpoint: Endpoint
    credentials: Credentials
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxy: Secret | None = None
    unknown: tuple[str, ...] = ()

    @property
    def warning(self) -> str:
        """A sentence about fields that have no effect; empty if there are none."""
        if not self.unknown:
            return ""
        return f"Ignoring unknown extra: {', '.join(self.unknown)}. Known are {', '.join(_EXTRAS)}."

    @property
    def connect_timeout(self) -> float:
        return min(self.timeout, LONGEST_CONNECT)

    @property
    def secrets(self) -> list[str]:
        """All values that must not be shown."""
        proxy = read_proxy(self.proxy, "").password if self.proxy else None
        found = (self.credentials.secret_access_key, self.credentials.session_token, proxy)
        return [secret for secret in found if secret]

    @classmethod
    def read(cls, connection: Connection, extra: Mapping[str, Any]) -> Settings:
        """
        Read a connection.

        :raises QianfanConfigurationError: if anything is missing or wrong. The message names all of it. Not
            final: somebody may correct the connection before the next try.
        """
        conn_id, read = connection.conn_id, _read(connection, extra)
        # A traceback that shows local variables would show the secrets in these.
        del connection, extra
        if isinstance(read, Settings):
            return read
        told = "; ".join(problem.rstrip(".") for problem in read)
        keys = any(" Key" in problem or "session_token" in problem for problem in read)
        raise QianfanConfigurationError(
            f"Connection {conn_id!r} cannot be used: {told}.{_KEYS_ARE_MADE if keys else ''}"
        )


def _read(connection: Connection, extra: Any) -> Settings | list[str]:
    """Read a connection, or name what is missing or wrong."""
    problems: list[str] = []
    if not isinstance(extra, Mapping):
        problems.append('extra is JSON, but not an object, such as {"timeout": 60}')
        extra = {}
    login = _key("login (Access Key ID)", connection.login, problems)
    password = _key("password (Secret Access Key)", connection.password, problems)
    token = extra.get("session_token")
    if token:
        token = _key("extra session_token", token, problems)
    endpoint = Endpoint.parse(DEFAULT_ENDPOINT)
    try:
        endpoint = Endpoint.parse(_address(connection))
    except ValueError as error:
        problems.append(f"host: {error}")
    timeout, verify, proxy = _timeout(extra, problems), _verify(extra, problems), _proxy(extra, problems)
    # Airflow's own, older form of a key.
    unknown = tuple(clean(key, 40) for key in extra if key not in _EXTRAS and not key.startswith("extra__"))
    credentials = Credentials(login, password, token or None)
    return problems or Settings(endpoint, credentials, timeout, verify, proxy, unknown[:5])


def _key(field: str, value: object, problems: list[str]) -> str:
    """Check a secret without showing it: HTTP libraries quote headers that they refuse, with signatures."""
    text = value if isinstance(value, str) else ""
    if not text:
        problems.append(f"{field} is missing")
    elif not (text.isascii() and text.isprintable()) or " " in text:
        problems.append(f"{field} contains blanks, line ends or other characters that no key has")
    return text


def _address(connection: Connection) -> str:
    host = (connection.host or "").strip() or DEFAULT_ENDPOINT
    if "://" not in host and connection.schema in ("http", "https"):
        host = f"{connection.schema}://{host}"
    authority = host.split("://")[-1]
    if connection.port and not authority.rpartition("]")[2].count(":"):
        host = f"{host.rstrip('/')}:{connection.port}"
    return host


def _text(value: object) -> str | None:
    text = str(value).strip() if value is not None else ""
    return text or None


def _timeout(extra: Mapping[str, Any], problems: list[str]) -> float:
    value = _text(extra.get("timeout"))
    try:
        timeout = float(value) if value is not None else DEFAULT_TIMEOUT
    except ValueError:
        timeout = -1.0
    if not 0 < timeout <= 600:
        problems.append(f"extra timeout={clean(value)!r} is not a number of seconds above 0, 600 at most")
    return timeout


def _verify(extra: Mapping[str, Any], problems: list[str]) -> bool | str:
    value = _text(extra.get("verify"))
    if value is None or value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        problems.append(
            "extra verify=false is refused, as it would hand the key's requests to anybody: leave it"
            " out, or give the path of a CA bundle"
        )
        return True
    try:
        check_bundle(Bundle(value, "extra verify"))
    except QianfanConfigurationError as error:
        problems.append(str(error))
    return value


def _proxy(extra: Mapping[str, Any], problems: list[str]) -> Secret | None:
    value = _text(extra.get("proxy"))
    if value is None:
        return None
    try:
        read_proxy(value, "extra proxy")
    except QianfanConfigurationError as error:
        problems.append(str(error))
    return Secret(value)
