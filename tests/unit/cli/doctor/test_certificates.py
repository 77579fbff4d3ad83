"""Certificates of our own: valid, expiring, broken, readable by everybody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from relayq.cli.doctor.certificates import certificate_checks, configured_certificates, look_at_certificate
from relayq.cli.doctor.finding import Finding, Verdict
from tests.unit.cli.doctor.settings import settings

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Files:
    """A certificate and its key, with days from now."""

    def __init__(self, folder: Path, authority: trustme.CA, days: float, since: float = -100) -> None:
        issued = authority.issue_cert(
            "relayq.test", not_before=NOW + timedelta(days=since), not_after=NOW + timedelta(days=days)
        )
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        issued.cert_chain_pems[0].write_to_path(self.certificate)
        issued.private_key_pem.write_to_path(self.key)
        self.key.chmod(0o600)

    def look(self) -> list[Finding]:
        return list(look_at_certificate("www-certificate", self.certificate, self.key, NOW))


@pytest.mark.parametrize(
    ("days", "since", "verdict"),
    [(60, -1, Verdict.OK), (7, -1, Verdict.WARNING), (-1, -50, Verdict.WRONG), (60, 1, Verdict.WRONG)],
)
def test_validity(tmp_path: Path, authority: trustme.CA, days: float, since: float, verdict: Verdict) -> None:
    (finding,) = Files(tmp_path, authority, days, since).look()
    assert finding.verdict is verdict


def test_a_key_others_can_read(tmp_path: Path, authority: trustme.CA) -> None:
    files = Files(tmp_path, authority, 60)
    files.key.chmod(0o644)
    well, readable = files.look()
    assert (well.verdict, readable.verdict) == (Verdict.OK, Verdict.WARNING)
    assert readable.fix == f"chmod 0640 {files.key}"


def test_files_that_cannot_be_used(tmp_path: Path, authority: trustme.CA) -> None:
    files = Files(tmp_path, authority, 60)
    authority.issue_cert("other.test").private_key_pem.write_to_path(files.key)
    (mismatch,) = files.look()
    assert (mismatch.verdict, "cannot be used" in mismatch.found) == (Verdict.WRONG, True)
    files.certificate.write_text("nonsense")
    assert files.look()[0].verdict is Verdict.WRONG
    files.certificate.unlink()
    assert "No such file" in files.look()[0].found


async def test_what_is_configured(tmp_path: Path, authority: trustme.CA) -> None:
    files = Files(tmp_path, authority, 60)
    broker = f"amqps://a.example/?certfile={files.certificate}&keyfile={files.key}"
    assert configured_certificates(settings(f"--rabbitmq-address={broker},{broker}")) == [
        ("rabbitmq-address", str(files.certificate), str(files.key))
    ]
    web = [f"--www-certificate={files.certificate}", f"--www-privatekey={files.key}", "--www-secure-port=8443"]
    (check,) = certificate_checks(settings(*web), 5.0)
    assert [finding.verdict for finding in await check.examine()] == [Verdict.OK]
    assert certificate_checks(settings(), 5.0) == []
