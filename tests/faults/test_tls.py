"""
Certificates and TLS of servers that are not to be trusted, on real sockets, in a worker and in a triggerer.

Python's TLS cannot do all that a hostile server may do. ``openssl s_server`` does the rest.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from airflow_provider_qianfan.api.errors import (
    QianfanConfigurationError,
    QianfanError,
    QianfanTransientError,
)
from tests.faults.connect import relay, wait_until
from tests.faults.raw import RawServer, agree, read, read_request, say
from tests.faults.test_hostile import (
    GOOD,
    LONGEST_TEXT,
    MOST_MIB,
    OK,
    TIMEOUT,
    Seen,
    Stage,
    ask,
    is_page,
    nothing_is_left,
    process,
    stage,
    whole,
)
from tests.faults.tls import NAME
from tests.hooks.test_drivers import in_a_triggerer, in_a_worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_qianfan.hooks._settings import Settings

pytestmark = pytest.mark.faults

__all__ = ["process", "stage"]

LATE = 2.0
"""Seconds by which a busy machine may be late."""

HERE = "127.0.0.1"
ODD = "\x1b[31m\x07\r\n"


class Party:
    """
    Somebody who has a key and a certificate, and may sign other certificates.

    :param name: the common name.
    :param by: who signs. None: itself.
    :param names: the addresses and the names that the certificate is for.
    :param days: when it becomes valid and when it ends, in days from now.
    """

    def __init__(
        self,
        name: str,
        by: Party | None = None,
        *,
        names: tuple[str, ...] = (),
        days: tuple[int, int] = (-1, 30),
        ca: bool = False,
        use: x509.ObjectIdentifier | None = None,
    ) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        issuer, now = by or self, datetime.now(UTC)
        made = (
            x509.CertificateBuilder(issuer.name, self.name, self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(self.identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer.identifier),
                critical=False,
            )
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(map(_general, names)), critical=False)
        if ca:
            made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            made = made.add_extension(
                x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
            )
        if use is not None:
            made = made.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        self.certificate = made.sign(issuer.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def revoke(self, other: Party) -> bytes:
        """Return a list of revoked certificates, with the one of ``other``."""
        now = datetime.now(UTC)
        revoked = x509.RevokedCertificateBuilder(other.certificate.serial_number, now).build()
        made = x509.CertificateRevocationListBuilder(self.name, now, now + timedelta(days=1), [], [revoked])
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general(name: str) -> x509.GeneralName:
    text, _, kind = name.partition(" as ")
    return x509.DNSName(text) if kind or text[0] not in "0123456789" else x509.IPAddress(ip_address(text))


ROOT = Party("Test CA", ca=True)
UNKNOWN = Party("Unknown CA", ca=True)
NAMESAKE = Party("Test CA", ca=True)
MIDDLE = Party("Test CA 2", ROOT, ca=True)
OLD = Party("Test CA of last year", ROOT, ca=True, days=(-30, -1))
SERVER = Party("another server", ROOT, names=("127.0.0.2",))
REVOKED = Party(HERE, ROOT, names=(HERE,))


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row of the table.

    :param server: who answers.
    :param error: what the caller is told. None: the answer is accepted.
    :param says: why, in the message.
    :param chain: further certificates that the server shows.
    :param way: ``tls``: the server is asked for by its address. ``connect``: by its name, through a proxy.
    """

    server: Party
    error: type[QianfanError] | None = QianfanConfigurationError
    says: str = ""
    chain: tuple[Party, ...] = ()
    way: str = "tls"


CERTIFICATES = {
    "right": Row(Party(HERE, ROOT, names=(HERE,)), None),
    "right, for the name": Row(Party(NAME, ROOT, names=(NAME,)), None, way="connect"),
    "right, with its intermediate": Row(Party(HERE, MIDDLE, names=(HERE,)), None, chain=(MIDDLE,)),
    "revoked": Row(REVOKED, None),
    "intermediate is missing": Row(Party(HERE, MIDDLE, names=(HERE,)), says="unable to get local issuer"),
    "intermediate is expired": Row(
        Party(HERE, OLD, names=(HERE,)), says="certificate has expired", chain=(OLD,)
    ),
    "signed by a server": Row(
        Party(HERE, SERVER, names=(HERE,)), says="invalid CA certificate", chain=(SERVER,)
    ),
    "expired": Row(
        Party(HERE, ROOT, names=(HERE,), days=(-30, -1)),
        says="Have the certificate or its CA's certificate renewed",
    ),
    "not yet valid": Row(
        Party(HERE, ROOT, names=(HERE,), days=(1, 30)),
        says="Have the certificate or its CA's certificate renewed",
    ),
    "self-signed": Row(Party(HERE, names=(HERE,)), says="self-signed certificate"),
    "of an unknown CA": Row(Party(HERE, UNKNOWN, names=(HERE,)), says="unable to get local issuer"),
    "of an unknown CA, which it shows": Row(
        Party(HERE, UNKNOWN, names=(HERE,)), says="self-signed certificate in", chain=(UNKNOWN,)
    ),
    "of another CA of the same name": Row(Party(HERE, NAMESAKE, names=(HERE,))),
    "for another address": Row(
        Party(HERE, ROOT, names=("127.0.0.2",)), says="It is not for this host. Correct"
    ),
    "for another name": Row(
        Party(NAME, ROOT, names=("other.test",)),
        says="It is not for this host. Correct",
        way="connect",
    ),
    "for a name, of the address": Row(Party(HERE, ROOT, names=(NAME,)), says="IP address mismatch"),
    "for an address, of the name": Row(
        Party(NAME, ROOT, names=(HERE,)), says="Hostname mismatch", way="connect"
    ),
    "for the address, written as a name": Row(
        Party(HERE, ROOT, names=(f"{HERE} as name",)), says="IP address mismatch"
    ),
    "only a common name, the address": Row(Party(HERE, ROOT), says="IP address mismatch"),
    "only a common name": Row(Party(NAME, ROOT), says="Hostname mismatch", way="connect"),
    "for all names": Row(Party(NAME, ROOT, names=("*", "*.test")), says="Hostname mismatch", way="connect"),
    "for a name with a NUL": Row(
        Party(NAME, ROOT, names=(f"{NAME}\0.other.test",)), says="Hostname mismatch", way="connect"
    ),
    "for names with control characters": Row(
        Party(ODD, ROOT, names=(f"{ODD} as name",)), says="IP address mismatch"
    ),
    "for clients": Row(
        Party(HERE, ROOT, names=(HERE,), use=ExtendedKeyUsageOID.CLIENT_AUTH), says="certificate purpose"
    ),
    "with 1,000 others": Row(Party(HERE, ROOT, names=(HERE,)), QianfanTransientError, chain=(ROOT,) * 1000),
}


@pytest.mark.parametrize("row", CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificates(
    stage: Stage,
    process: Callable[[Settings], tuple[Seen, Any]],
    row: Row,
    tmp_path: Path,
) -> None:
    """No request goes to a server that does not prove who it is. A revoked certificate counts as proof."""
    shown, key, bundle = (tmp_path / name for name in ("shown.pem", "key.pem", "bundle.pem"))
    shown.write_bytes(b"".join(each.pem for each in (row.server, *row.chain)))
    key.write_bytes(
        row.server.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    bundle.write_bytes(ROOT.pem + stage.certificate.read_bytes() + ROOT.revoke(REVOKED))
    asked: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(whole(GOOD))

    tunnel = (read, say(OK + b"\r\n")) if row.way == "connect" else ()
    with RawServer(stage.behind[row.way], (*tunnel, agree(shown, key), answer)) as server:
        seen, after = process(stage.settings(row.way, server.port, verify=bundle))
        wait_until(lambda: nothing_is_left(server.port))

    told = str(seen.answer)
    assert (type(seen.answer) if isinstance(seen.answer, QianfanError) else None) is row.error
    assert len(asked) == (row.error is None)
    assert row.says in told
    assert told.isprintable()
    assert row.error is None or len(told) <= LONGEST_TEXT
    assert seen.sent is (row.error is None)
    assert seen.seconds < TIMEOUT + LATE
    assert seen.mib < MOST_MIB
    assert is_page(after), after


class OpenSsl:
    """
    ``openssl s_server``, as a context manager. It renegotiates on command.

    :param options: further options of the command.
    :param converse: what the server does meanwhile, in a thread.
    :ivar obeyed: how often it has renegotiated.
    :ivar says_still: how many more pieces of its output reach the client.
    """

    def __init__(
        self, certificate: Path, key: Path, options: tuple[str, ...], converse: Callable[[OpenSsl], None]
    ) -> None:
        names = ("-cert", certificate, "-key", key)
        self._command = ["openssl", "s_server", "-accept", "127.0.0.1:0", *map(str, names), *options]
        self._said = b""
        self.obeyed = 0
        self.says_still = math.inf
        self._converse = converse
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.wait_for(b"ACCEPT 127.0.0.1:")
        while b"\n" not in self._said:
            self.wait_for(b"")
        self.port = int(self._said.split(b"\n")[0])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._thread.join()
        self._process.communicate()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._converse(self)

    def wait_for(self, text: bytes) -> None:
        """Wait until the server prints ``text``. Forget what it printed before."""
        assert self._process.stdout is not None
        while not self._said or text not in self._said:
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise ConnectionError("the server has ended")
            self._said += piece
        self._said = self._said.partition(text)[2]

    def type(self, text: bytes) -> None:
        """Write to the server's standard input. The server sends on whatever is no command."""
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), text)

    def obey(self, command: bytes) -> None:
        """Have the server renegotiate. A letter is a command only if the server reads it alone."""
        time.sleep(0.02)
        self.type(command + b"\n")
        self.wait_for(b"SSL_do_handshake -> 1")
        self.obeyed += 1

    def front(self, client: socket.socket) -> None:
        """Stand between a client and the server, and pass on the bytes of both."""

        def back(data: bytes) -> bool:
            if self.says_still:
                client.sendall(data)
                self.says_still -= 1
            return True

        with socket.create_connection((HERE, self.port)) as behind:
            relay(client, behind, back)


def _request(server: OpenSsl) -> None:
    server.wait_for(b"POST /v2/model")
    server.wait_for(b"\r\n\r\n")


def _renegotiates_first(server: OpenSsl) -> None:
    _request(server)
    server.obey(b"r")
    server.type(whole(GOOD))


def _renegotiates_within(server: OpenSsl) -> None:
    _request(server)
    server.type(whole(GOOD)[:-5])
    server.obey(b"R")  # and asks for our certificate
    server.type(whole(GOOD)[-5:])


def _begins_to_renegotiate(server: OpenSsl) -> None:
    _request(server)
    server.type(whole(GOOD)[:-5])
    time.sleep(0.02)
    server.says_still = 1  # its wish to renegotiate
    server.type(b"r\n")


def _renegotiates_for_ever(server: OpenSsl) -> None:
    _request(server)
    ends_at = time.monotonic() + 20
    while time.monotonic() < ends_at:
        server.obey(b"r")


def _changes_keys_for_ever(server: OpenSsl) -> None:
    _request(server)
    ends_at = time.monotonic() + 20
    while time.monotonic() < ends_at:
        server.type(b"k\n")  # it prints nothing about that at once
        time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Talk:
    """
    A row of the table.

    :param options: those of ``openssl s_server``.
    :param converse: what the server does.
    :param error: what the caller is told. None: the answer is accepted.
    :param sent: whether the request may have left.
    :param obeyed: how often the server renegotiates, or more.
    """

    options: tuple[str, ...]
    converse: Callable[[OpenSsl], None]
    error: type[QianfanError] | None = QianfanTransientError
    sent: bool = True
    obeyed: int = 0


OLDER = ("-tls1_2",)
TALKS = {
    "only HTTP/2": Talk(("-alpn", "h2"), _request, sent=False),
    "renegotiates before the answer": Talk(OLDER, _renegotiates_first, None, obeyed=1),
    "renegotiates within the answer": Talk(OLDER, _renegotiates_within, None, obeyed=1),
    "begins to renegotiate": Talk(OLDER, _begins_to_renegotiate),
    "renegotiates for ever": Talk(OLDER, _renegotiates_for_ever, obeyed=3),
    "changes keys for ever": Talk(("-tls1_3",), _changes_keys_for_ever),
}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
@pytest.mark.parametrize("run", [in_a_worker, in_a_triggerer], ids=["worker", "triggerer"])
@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
def test_openssl(stage: Stage, run: Callable[..., Any], talk: Talk) -> None:
    answer: Any = None
    with (
        OpenSsl(stage.certificate, stage.key, talk.options, talk.converse) as server,
        RawServer((HERE, server.port), [server.front]) as front,
    ):
        given = stage.settings("tls", front.port)
        began = time.monotonic()
        try:
            answer = run(ask(given), given)
        except QianfanError as error:
            answer = error
        seconds = time.monotonic() - began
        wait_until(lambda: nothing_is_left(front.port))

    assert (type(answer) if isinstance(answer, QianfanError) else None) is talk.error
    assert getattr(answer, "sent", True) is talk.sent
    assert server.obeyed >= talk.obeyed
    assert server.says_still in (0, math.inf)
    assert str(answer).isprintable()
    assert seconds < TIMEOUT + LATE
