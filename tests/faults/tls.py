"""Certificates for tests, and TLS in front of a plain HTTP server."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import socketserver
import ssl
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.faults.connect import relay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "qianfan.test"
"""A name that only a proxy can resolve."""


class TlsServer(socketserver.ThreadingTCPServer):
    """
    A TLS server on a loopback port, as a context manager.

    :param target: URL of the server behind.
    :param folder: where the key and the certificate are written. It is for 127.0.0.1 and for :data:`NAME`.
    :param break_when: as soon as this is true, plain text is sent instead of what the server behind says.
    """

    daemon_threads = True

    def __init__(self, target: str, folder: Path, break_when: Callable[[], bool] = lambda: False) -> None:
        super().__init__(("127.0.0.1", 0), _Pipe)
        self.break_when = break_when
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.certificate, key = _self_signed(folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)
        self.address = ("127.0.0.1", self.server_address[1])
        self.url = f"https://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> TlsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Pipe(socketserver.BaseRequestHandler):
    server: TlsServer

    def handle(self) -> None:
        with (
            contextlib.suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.create_connection(self.server.target) as behind,
        ):
            relay(client, behind, lambda data: self._back(client, data))

    def _back(self, client: ssl.SSLSocket, data: bytes) -> bool:
        if self.server.break_when():
            socket.socket.send(client, b"HTTP/1.1 400 Bad Request\r\n\r\n")  # past TLS
            return False
        client.sendall(data)
        return True


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("127.0.0.1", key.public_key()).issuer_name(_name("127.0.0.1"))
    return _write(folder, "certificate", certificate.sign(key, hashes.SHA256()), key)


def certified(folder: Path) -> tuple[Path, Path, Path]:
    """Make an authority, and a certificate of it for 127.0.0.1. Return its bundle, certificate and key."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate("Test CA", root_key.public_key()).issuer_name(_name("Test CA"))
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    # From Python 3.13 on, a chain without these is refused.
    signs = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    root = root.add_extension(identifier, critical=False)
    root = root.add_extension(x509.KeyUsage(key_cert_sign=True, **signs), critical=True)
    certificate = _certificate("127.0.0.1", key.public_key()).issuer_name(_name("Test CA"))
    certificate = certificate.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    bundle, _ = _write(folder, "authority", root.sign(root_key, hashes.SHA256()), root_key)
    return bundle, *_write(folder, "certificate", certificate.sign(root_key, hashes.SHA256()), key)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName(NAME)]
            ),
            critical=False,
        )
    )


def _write(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}-key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file
