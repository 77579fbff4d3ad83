"""What HTTP stands on, without the library that speaks it: rules, sockets, certificates, tokens."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from relayq.adapters.figures import State

BACKLOG = 64
MAX_TOKEN_FILE_BYTES = 1 << 20


class WebRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        addresses: To listen on.
        ports: For HTTP.
        secure_ports: For HTTPS; with both, HTTP only redirects.
        certificate: File for HTTPS.
        private_key: Its key.
        ciphers: Of OpenSSL, empty for the library's.
        tokens: File of ``name:sha256-of-token`` lines, ``None`` for none.
        connections: Open at the same time.
        has_metrics: ``/metrics`` is served.
    """

    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    secure_ports: tuple[int, ...] = ()
    certificate: str | None = None
    private_key: str | None = None
    ciphers: str = ""
    tokens: str | None = None
    connections: int = 10
    has_metrics: bool = True


class WebError(Exception):
    """A port or a file that HTTP needs cannot be had.

    Attributes:
        is_configuration: The file is at fault, not the operating system.
    """

    def __init__(self, text: str, *, is_configuration: bool) -> None:
        super().__init__(text)
        self.is_configuration = is_configuration


class TokenFile:
    """Who may read metrics from elsewhere; read again when it changed."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)
        self._seen: tuple[int, int] | None = None
        self._digests: frozenset[str] = frozenset()

    def accepts(self, header: str) -> bool:
        """Whether an ``Authorization`` header carries a token of the file; its hash is compared, in constant time."""
        kind, _, token = header.partition(" ")
        if self._path is None or kind.lower() != "bearer" or not token.strip():
            return False
        self._refresh(self._path)
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        return any([hmac.compare_digest(digest, known) for known in self._digests])  # noqa: C419 - all, in equal time

    def _refresh(self, path: Path) -> None:
        try:
            state = path.stat()
            seen = (state.st_mtime_ns, state.st_size)
            if seen != self._seen and state.st_size <= MAX_TOKEN_FILE_BYTES:
                lines = path.read_text("utf-8", "replace").splitlines()
                self._digests = frozenset(
                    line.partition(":")[2].strip().lower() for line in lines if not line.lstrip().startswith("#")
                ) - {""}
                self._seen = seen
        except OSError:
            self._digests = frozenset()
            self._seen = None


def readiness(states: Sequence[State]) -> tuple[bool, str]:
    """Whether the outbox is being consumed, and what the workers are doing."""
    counts = Counter(states)
    shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    return counts[State.CONSUMING] > 0, shown


def is_local(address: str | None) -> bool:
    """Whether a client is on this host."""
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def listen(address: str, port: int) -> socket.socket:
    """A listening socket; IPv6 ones take IPv6 only, so that every address can have its own.

    Raises:
        WebError: The port cannot be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    end = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        end.bind((address, port))
        end.listen(BACKLOG)
    except OSError as error:
        end.close()
        text = f"www-port: cannot listen on {address} port {port}: {error.strerror}"
        raise WebError(text, is_configuration=False) from None
    return end


def tls_context(rules: WebRules) -> ssl.SSLContext | None:
    """For the secure ports, ``None`` without any.

    Raises:
        WebError: The certificate cannot be used.
    """
    if not rules.secure_ports:
        return None
    if rules.certificate is None or rules.private_key is None:
        raise WebError("www-secure-port needs www-certificate and www-privatekey", is_configuration=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(rules.certificate, rules.private_key)
        if rules.ciphers:
            context.set_ciphers(rules.ciphers)
    except (OSError, ssl.SSLError) as error:
        raise WebError(f"www-certificate, www-privatekey or www-ciphers: {error}", is_configuration=True) from None
    return context
