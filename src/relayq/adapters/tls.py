"""Handshakes on the running event loop: one ``SSLContext`` per policy, every outcome as a ``TlsError`` or ``Secured``.

Building a context with the system's roots takes tens of milliseconds, so each of the two there are is built once: one
that takes any certificate and one that trusts only what the roots signed. Names are compared here and not by OpenSSL,
because a certificate may be good for either of two names. Data the peer sent in clear before the handshake has to be
refused by the caller; what is still in the socket then goes to OpenSSL, which finds that it is not TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from relayq.policy.tls import SecurityLevel, TlsDemand, matching_name
from relayq.ports import Secured, TlsError, TlsFailureKind

_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_OLD_VERSIONS = frozenset(("1.0", "1.1"))

_NO_ANONYMOUS = "DEFAULT:!aNULL:!eNULL"
_ANY_CERTIFICATE_CIPHERS = f"{_NO_ANONYMOUS}:@SECLEVEL=1"
"""Where the certificate is not looked at, a short key in it is better than none: the alternative is clear text."""
_OLD_CIPHERS = f"{_NO_ANONYMOUS}:@SECLEVEL=0"
"""OpenSSL 3 allows TLS 1.0 and 1.1 at no higher security level, whatever the version limits say."""

_NOT_TLS = frozenset((
    "WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "ENCRYPTED_LENGTH_TOO_LONG", "DATA_LENGTH_TOO_LONG",
    "RECORD_LENGTH_MISMATCH", "LENGTH_MISMATCH", "LENGTH_TOO_SHORT", "LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE",
    "UNEXPECTED_RECORD", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "EXCESSIVE_MESSAGE_SIZE",
    "BAD_RECORD_TYPE", "DECODE_ERROR", "BAD_PACKET_LENGTH", "BAD_LENGTH", "BAD_PACKET", "RECORD_TOO_SMALL",
    "INVALID_CCS_MESSAGE", "TOO_MANY_EMPTY_FRAGMENTS",
))  # fmt: skip
"""OpenSSL's reasons for octets that are no TLS record, or no message of a handshake."""

_OUT_OF_TIME = frozenset((9, 10))
"""OpenSSL's ``X509_V_ERR_CERT_NOT_YET_VALID`` and ``…_HAS_EXPIRED``."""
_NO_LIMIT = 86_400.0
"""Seconds for the handshake as the event loop counts them: the session has a limit of its own."""
_SHUTDOWN_SECONDS = 5.0
_SNI_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*")
_NUMERIC_END = re.compile(r"(?:\A|\.)[0-9]+\Z")


class TlsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        min_version: Oldest TLS version: ``1.0`` to ``1.3``.
        ca_file: PEM file of roots trusted besides the system's.
        wants_details: Describe cipher and certificate of every session (``result-format: extended``).
    """

    min_version: str = "1.2"
    ca_file: str | None = None
    wants_details: bool = False


DEFAULT_TLS = TlsOptions()


class TlsClient:
    """The client side of handshakes. One per process; what it builds is shared by all sessions."""

    def __init__(self, options: TlsOptions, loop: asyncio.AbstractEventLoop) -> None:
        self._options = options
        self._loop = loop
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def context(self, *, verify: bool) -> ssl.SSLContext:
        """The context that takes trusted certificates only, or the one that takes any."""
        context = self._contexts.get(verify)
        if context is None:
            context = self._contexts[verify] = make_context(self._options, verify=verify)
        return context

    async def start_tls(
        self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol, demand: TlsDemand
    ) -> Secured:
        """See ``ports.Network.start_tls``."""
        if transport.is_closing():
            raise TlsError(TlsFailureKind.LOST, "closed before the TLS handshake")
        context = self.context(verify=demand.policy.level is SecurityLevel.VERIFIED)
        try:
            upgraded = await self._loop.start_tls(
                transport,
                protocol,
                context,
                server_hostname=sni_name(demand.host),
                ssl_handshake_timeout=_NO_LIMIT,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except ssl.SSLError as error:
            raise _failure(error) from None
        except OSError as error:
            raise TlsError(TlsFailureKind.LOST, f"closed during the TLS handshake: {error}") from None
        if upgraded is None:
            raise TlsError(TlsFailureKind.LOST, "closed during the TLS handshake")
        tls: ssl.SSLObject = upgraded.get_extra_info("ssl_object")
        matched = check_certificate(tls, demand)
        if not self._options.wants_details:
            return Secured(upgraded, matched)
        from relayq.adapters.certificates import describe_session

        return Secured(upgraded, matched, describe_session(tls, is_verified=matched is not None))


def make_context(options: TlsOptions, *, verify: bool) -> ssl.SSLContext:
    """A client context.

    Raises:
        OSError: The file of further roots cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    with warnings.catch_warnings():
        # The operator asked for it; the library's advice against old versions is for him, and stands in the manual.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = _VERSIONS[options.min_version]
    if options.min_version in _OLD_VERSIONS:
        context.set_ciphers(_OLD_CIPHERS)
    elif not verify:
        context.set_ciphers(_ANY_CERTIFICATE_CIPHERS)
    if verify:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if options.ca_file is not None:
            context.load_verify_locations(options.ca_file)
    return context


def sni_name(host: str) -> str | None:
    """What to ask for in the handshake: host names only, never an address (RFC 6066 section 3)."""
    if _SNI_NAME.fullmatch(host) is None or _NUMERIC_END.search(host):
        return None
    return host


def check_certificate(tls: ssl.SSLObject, demand: TlsDemand) -> str | None:
    """Hold the certificate against the demand; the name it was checked for, ``None`` where nothing is asked of it.

    Raises:
        TlsError: It is not good enough.
    """
    level = demand.policy.level
    if level is SecurityLevel.VERIFIED:
        presented = subject_names(tls.getpeercert() or {})
        matched = matching_name(demand.names, presented)
        if matched is None:
            shown = ", ".join(presented[:5]) or "no name"
            text = f"certificate is for {shown}, not for {' or '.join(demand.names)}"
            raise TlsError(TlsFailureKind.NAME, text)
        return matched
    if level is SecurityLevel.DANE:
        from relayq.adapters.dane import match_chain

        return match_chain(peer_chain(tls), demand)
    return None


def subject_names(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """DNS names and IP addresses of the subjectAltName, from what ``getpeercert`` returns for a trusted certificate.

    The subject's common name is no host name any more (RFC 6125 section 6.4.4, RFC 8461 section 4.1).
    """
    names: Sequence[tuple[str, str]] = certificate.get("subjectAltName", ())
    return tuple(name for kind, name in names if kind in {"DNS", "IP Address"})


def peer_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Certificates the peer presented in DER, its own first. Public in the standard library only from Python 3.13."""
    public = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return tuple(public() or ())
    inner: Any = tls
    with contextlib.suppress(AttributeError):  # another event loop's wrapper: the leaf alone has to do
        return tuple(ssl.PEM_cert_to_DER_cert(entry.public_bytes()) for entry in inner._sslobj.get_unverified_chain())
    leaf = tls.getpeercert(binary_form=True)
    return () if leaf is None else (leaf,)


def _failure(error: ssl.SSLError) -> TlsError:
    if isinstance(error, ssl.SSLCertVerificationError):
        kind = TlsFailureKind.EXPIRED if error.verify_code in _OUT_OF_TIME else TlsFailureKind.CERTIFICATE
        return TlsError(kind, f"certificate refused: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TlsError(TlsFailureKind.LOST, "closed during the TLS handshake")
    reason = error.reason or "unknown"
    kind = TlsFailureKind.NOT_TLS if reason in _NOT_TLS else TlsFailureKind.REFUSED
    return TlsError(kind, f"TLS handshake failed: {reason.lower().replace('_', ' ')}")
