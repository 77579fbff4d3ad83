"""A private certificate authority, and peers with every kind of certificate and TLS version."""

from __future__ import annotations

import contextlib
import datetime
import functools
import ssl
import tempfile
import threading
import warnings
from pathlib import Path
from socket import SHUT_RDWR, create_server, socket
from types import TracebackType
from typing import Self

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

MX = "mx.example.test"
_KEY = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@functools.cache
def authority() -> trustme.CA:
    """The root that clients of these tests trust."""
    return trustme.CA(organization_name="Trusted tests")


@functools.cache
def ca_file() -> str:
    """Its certificate as a file, for as long as the process lives."""
    path = Path(tempfile.mkdtemp(prefix="relayq-ca-")) / "ca.pem"
    authority().cert_pem.write_to_path(str(path))
    return str(path)


@functools.cache
def trusted(*names: str) -> ssl.SSLContext:
    """A server whose certificate is right for these names, by default that of the usual mail host."""
    return _server(authority().issue_cert(*(names or (MX,))))


@functools.cache
def with_root(*names: str) -> ssl.SSLContext:
    """A server that presents the root behind its own certificate, as DANE trust anchors need it."""
    leaf = authority().issue_cert(*names)
    return _load(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes() + authority().cert_pem.bytes())


@functools.cache
def expired() -> ssl.SSLContext:
    """A server whose certificate, right otherwise, has run out."""
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    return _server(authority().issue_cert(MX, not_before=long_ago, not_after=long_ago + datetime.timedelta(days=30)))


@functools.cache
def from_stranger() -> ssl.SSLContext:
    """A server whose certificate was signed by somebody else."""
    return _server(trustme.CA().issue_cert(MX))


@functools.cache
def self_signed() -> ssl.SSLContext:
    """A server that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, MX),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Own word"),
        x509.NameAttribute(NameOID.COUNTRY_NAME, "NL"),
    ])  # fmt: skip
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(MX)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _load(key.private_bytes(*_KEY) + certificate.public_bytes(Encoding.PEM))


def _load(pem: bytes) -> ssl.SSLContext:
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(pem)
        file.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file.name)
    return context


def _server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def shake_hands(server: ssl.SSLContext) -> ssl.SSLObject:
    """The client side of a handshake in memory, done."""
    to_client, to_server, from_client, from_server = (ssl.MemoryBIO() for _ in range(4))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = context.wrap_bio(to_client, from_client)
    peer = server.wrap_bio(to_server, from_server, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            to_server.write(from_client.read())
            to_client.write(from_server.read())
    return client


def certificate_of(server: ssl.SSLContext) -> x509.Certificate:
    """The certificate a server shows."""
    der = shake_hands(server).getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


class OldTlsServer:
    """An SMTP server on a thread that offers STARTTLS and knows TLS 1.0 only, with the alerts of a real one.

    Servers on an event loop close without sending the alert that a failed handshake calls for.

    Attributes:
        received: Octets in clear and, if ever, under TLS; of all connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self.received = bytearray()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert(MX).configure_cert(self._context)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._context.minimum_version = ssl.TLSVersion.TLSv1
            self._context.maximum_version = ssl.TLSVersion.TLSv1
        self._context.set_ciphers("ALL:@SECLEVEL=0")
        self._listener = create_server((host, port))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(60)
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                stack.enter_context(connection)
                self._talk(connection, stack)

    def _talk(self, connection: socket, stack: contextlib.ExitStack) -> None:
        connection.sendall(b"220 old.test ESMTP\r\n")
        offers = b"STARTTLS"
        while line := connection.recv(4096):
            self.received += line
            if line.startswith(b"EHLO"):
                connection.sendall(b"250-old.test\r\n250 " + offers + b"\r\n")
            elif line.startswith(b"STARTTLS"):
                connection.sendall(b"220 go\r\n")
                connection = stack.enter_context(self._context.wrap_socket(connection, server_side=True))
                offers = b"SIZE"
            elif line.startswith(b"DATA"):
                connection.sendall(b"354 go\r\n")
            elif line.startswith(b"QUIT"):
                connection.sendall(b"221 bye\r\n")
                return
            elif line.startswith((b"MAIL", b"RCPT")) or line.endswith(b"\r\n.\r\n"):
                connection.sendall(b"250 fine\r\n")
