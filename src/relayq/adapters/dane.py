"""Certificates against TLSA records: DANE for SMTP (RFC 7672, RFC 6698).

Usage 3 (DANE-EE): the host's own certificate or key is named, and nothing else about it matters, not even its names or
dates (RFC 7672 section 3.1.1). Usage 2 (DANE-TA): a certificate of the chain is named as the trust anchor; signatures
from the host's certificate up to it, dates and the host name have to be right (section 3.1.2). Other usages are not
for SMTP (section 3.1.3) and never come here. Imports ``cryptography``, and is imported only for hosts with records.
"""

from __future__ import annotations

import hashlib
import hmac
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relayq.adapters.certificates import UNREADABLE, alternative_names
from relayq.model import TlsaRecord
from relayq.policy.tls import DANE_EE, DANE_TA, TlsDemand, matching_name
from relayq.ports import TlsError, TlsFailureKind

MAX_CHAIN = 10
"""Certificates looked at; real chains have up to four."""

_DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda octets: octets,
    1: lambda octets: hashlib.sha256(octets).digest(),
    2: lambda octets: hashlib.sha512(octets).digest(),
}


def match_chain(chain: Sequence[bytes], demand: TlsDemand, now: datetime | None = None) -> str:
    """Name the chain was found good for.

    Args:
        chain: As presented, DER, the host's own certificate first.
        demand: Usable records, and the names a trust anchor's certificate may be for.
        now: Aware UTC instant, default: now.

    Raises:
        TlsError: No record matches.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        certificates = _read(chain[:MAX_CHAIN])
    if not certificates:
        raise TlsError(TlsFailureKind.CERTIFICATE, "no readable certificate to hold against the TLSA records")
    leaf = certificates[0]
    if any(record.usage == DANE_EE and _matches(record, leaf) for record in demand.tlsa):
        return demand.host
    anchors = [record for record in demand.tlsa if record.usage == DANE_TA]
    if not anchors:
        raise TlsError(TlsFailureKind.CERTIFICATE, "certificate matches no TLSA record")
    matched = matching_name(demand.names, _names(leaf))
    if matched is None:
        raise TlsError(TlsFailureKind.NAME, f"certificate is not for {' or '.join(demand.names)}")
    problem = _anchor_problem(certificates, anchors, now or datetime.now(UTC))
    if problem is not None:
        raise TlsError(TlsFailureKind.CERTIFICATE, f"certificate {problem}")
    return matched


def _read(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """Certificates up to the first that is none."""
    certificates: list[x509.Certificate] = []
    for der in chain:
        try:
            certificates.append(x509.load_der_x509_certificate(der))
        except UNREADABLE:
            break
    return certificates


def _matches(record: TlsaRecord, certificate: x509.Certificate) -> bool:
    digest = _DIGESTS[record.matching_type]
    try:
        selected = (
            certificate.public_bytes(Encoding.DER)
            if record.selector == 0
            else certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
    except UNREADABLE:
        return False  # a kind of key nobody here knows
    return hmac.compare_digest(digest(selected), record.association)


def _anchor_problem(certificates: list[x509.Certificate], anchors: list[TlsaRecord], now: datetime) -> str | None:
    """What is wrong with the chain up to a trust anchor."""
    certificates = [*certificates, *_read([entry.association for entry in anchors if _is_whole(entry)])]
    current = certificates[0]
    for _ in range(MAX_CHAIN):
        if not _is_valid(current, now):
            return "or one above it is not valid at this time"
        if any(_matches(record, current) for record in anchors):
            return None
        issuer = next((other for other in certificates if other != current and _has_issued(other, current)), None)
        if issuer is None:
            break
        current = issuer
    return "does not lead to a trust anchor of the TLSA records"


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    try:
        return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    except UNREADABLE:
        return False


def _is_whole(record: TlsaRecord) -> bool:
    """The record holds the certificate itself, so the host need not present it (RFC 7672 section 3.1.2)."""
    return record.selector == 0 and record.matching_type == 0


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    except (*UNREADABLE, InvalidSignature, x509.ExtensionNotFound):
        return False
    return constraints.value.ca


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        return alternative_names(certificate)
    except UNREADABLE:
        return []
