"""Cipher and certificate of a session as extended results show them (spec results.md 10).

Reads certificates with ``cryptography``, which is imported only when this module is. A certificate is whatever the peer
sent: a part that cannot be read is left out, long values are cut, and what was read is remembered by the octets, since
thousands of sessions show the same one.
"""

from __future__ import annotations

import functools
import ssl
import warnings
from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from relayq.model.timestamp import format_timestamp

MAX_NAMES = 100
MAX_CHARACTERS = 255
_OPENSSL_ID_BITS = 0xFFFF
"""OpenSSL puts a protocol family above the two octets that IANA assigned to a cipher suite."""
_NAME_PARTS = (
    ("common", NameOID.COMMON_NAME),
    ("country", NameOID.COUNTRY_NAME),
    ("locality", NameOID.LOCALITY_NAME),
    ("state", NameOID.STATE_OR_PROVINCE_NAME),
    ("organization", NameOID.ORGANIZATION_NAME),
)

UNREADABLE = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
"""What the library raises about certificates that are damaged, or of a kind it does not know."""

Members = dict[str, object]


def describe_session(tls: ssl.SSLObject, *, is_verified: bool) -> tuple[tuple[str, object], ...]:
    """Members ``cipher`` and ``certificate`` of a result.

    Args:
        tls: After its handshake.
        is_verified: The certificate was held against what the message demands, and met it.
    """
    members: list[tuple[str, object]] = [("cipher", _describe_cipher(tls))]
    leaf = tls.getpeercert(binary_form=True)
    if leaf is not None:
        members.append(("certificate", _describe_certificate(leaf, is_verified=is_verified)))
    return tuple(members)


def _describe_cipher(tls: ssl.SSLObject) -> Members:
    name, _, bits = tls.cipher() or ("", "", 0)
    suite = _suites(tls.context).get(name, (bits, None))
    members: Members = {"name": name, "bits": bits, "algbits": suite[0], "version": tls.version() or ""}
    if suite[1] is not None:
        members["id"] = suite[1]
    return members


@functools.lru_cache(maxsize=4)
def _suites(context: ssl.SSLContext) -> dict[str, tuple[int, int | None]]:
    """Key length and number of each cipher suite by name."""
    return {suite["name"]: (suite["alg_bits"], suite["id"] & _OPENSSL_ID_BITS) for suite in context.get_ciphers()}


def _describe_certificate(der: bytes, *, is_verified: bool) -> Members:
    before, after = _read_certificate(der)
    verdict: Members = {"verified": is_verified, "result": "ok" if is_verified else "not checked"}
    return {**before, **verdict, **after}


@functools.lru_cache(maxsize=1024)
def _read_certificate(der: bytes) -> tuple[Members, Members]:
    """Members in front of and behind the verdict; empty where a certificate cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about certificates that are wrong but readable
        try:
            certificate = x509.load_der_x509_certificate(der)
        except UNREADABLE:
            return {}, {}
        before = _readable(
            ("notbefore", lambda: format_timestamp(certificate.not_valid_before_utc)),
            ("notafter", lambda: format_timestamp(certificate.not_valid_after_utc)),
            ("version", lambda: certificate.version.value + 1),
        )
        after = _readable(
            ("self-signed", lambda: _is_self_signed(certificate)),
            ("subject", lambda: _describe_name(certificate.subject)),
            ("issuer", lambda: _describe_name(certificate.issuer)),
            ("altnames", lambda: [name[:MAX_CHARACTERS] for name in alternative_names(certificate)[:MAX_NAMES]]),
        )
    return before, after


def _readable(*parts: tuple[str, Callable[[], object]]) -> Members:
    members: Members = {}
    for name, read in parts:
        try:
            members[name] = read()
        except UNREADABLE:
            continue
    return members


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _describe_name(name: x509.Name) -> dict[str, str]:
    parts: dict[str, str] = {}
    for word, oid in _NAME_PARTS:
        values = name.get_attributes_for_oid(oid)
        if values:
            value = values[0].value
            text = value if isinstance(value, str) else value.hex()
            parts[word] = text[:MAX_CHARACTERS]
    return parts


def alternative_names(certificate: x509.Certificate) -> list[str]:
    """DNS names and IP addresses of the subjectAltName."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(entry.value) for entry in extension.value if isinstance(entry, x509.DNSName | x509.IPAddress)]
