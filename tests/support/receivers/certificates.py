"""A certificate authority of one test session, and the certificates of its servers, good and bad."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Certificates:
    """Signs what is asked for; files are PEM, key first, then the chain.

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
        return _pem(self._ca.issue_cert(*names))

    def issue_expired(self, *names: str) -> str:
        """The same, but its time is over since yesterday."""
        now = datetime.now(UTC)
        return _pem(self._ca.issue_cert(*names, not_before=now - timedelta(days=30), not_after=now - timedelta(days=1)))

    @staticmethod
    def issue_untrusted(*names: str) -> str:
        """The same, signed by an authority that nobody knows."""
        return _pem(trustme.CA().issue_cert(*names))


def _pem(certificate: trustme.LeafCert) -> str:
    return certificate.private_key_and_cert_chain_pem.bytes().decode("ascii")
