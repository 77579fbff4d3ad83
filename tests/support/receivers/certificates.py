"""A certificate authority of one test session, and the certificates of its servers, good and bad."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Certificates:
    """Signs what is asked for; files are PEM: the key, the certificate, the authority's own certificate.

    Attributes:
        ca_file: Trusted root; give it to a client as ``SSL_CERT_FILE``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, *names: str) -> str:
        """Key and certificate for ``names``, valid for some years."""
        return self._pem(self._ca.issue_cert(*names))

    def issue_expired(self, *names: str) -> str:
        """The same, but its time is over since yesterday."""
        now = datetime.now(UTC)
        return self._pem(
            self._ca.issue_cert(*names, not_before=now - timedelta(days=30), not_after=now - timedelta(days=1))
        )

    @staticmethod
    def issue_untrusted(*names: str) -> str:
        """The same, signed by an authority that nobody knows."""
        return _text(trustme.CA().issue_cert(*names).private_key_and_cert_chain_pem)

    def _pem(self, certificate: trustme.LeafCert) -> str:
        return _text(certificate.private_key_and_cert_chain_pem) + _text(self._ca.cert_pem)


def _text(blob: trustme.Blob) -> str:
    return blob.bytes().decode("ascii")


def tlsa_records(pem: str) -> tuple[str, str]:
    """TLSA data for what `Certificates` issued: ``3 1 1`` for the key, ``2 0 1`` for the authority (RFC 6698)."""
    chain = x509.load_pem_x509_certificates(pem.encode("ascii"))
    key = chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    authority = chain[-1].public_bytes(Encoding.DER)
    return f"3 1 1 {hashlib.sha256(key).hexdigest()}", f"2 0 1 {hashlib.sha256(authority).hexdigest()}"
