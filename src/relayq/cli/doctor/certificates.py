"""Certificates of our own: for HTTPS, and for logging in to brokers that ask for one."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509

from relayq.cli.doctor.examination import in_thread
from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.config import BrokerAddress

if TYPE_CHECKING:
    from relayq.config import Settings

AREA: Final = "certificates"

_finding = partial(Finding, AREA)
SOON: Final = timedelta(days=14)
LARGEST_FILE: Final = 1 << 20


def certificate_checks(settings: Settings, limit: float) -> list[Check]:
    """One check per certificate that is configured."""

    def check(key: str, certificate: str, private_key: str | None) -> Check:
        def look() -> Iterator[Finding]:
            return look_at_certificate(key, Path(certificate), Path(private_key or certificate), datetime.now(UTC))

        return Check(
            area=AREA, subject=key, examine=lambda: in_thread(look), limit=limit, fix="see whether a disk hangs"
        )

    return [check(*configured) for configured in configured_certificates(settings)]


def configured_certificates(settings: Settings) -> list[tuple[str, str, str | None]]:
    """Setting, certificate and key of each, every file once."""
    found: dict[str, tuple[str, str, str | None]] = {}
    if settings.web.certificate is not None:
        found[settings.web.certificate] = ("www-certificate", settings.web.certificate, settings.web.privatekey)
    if isinstance(settings.broker.address, tuple):
        for address in settings.broker.address:
            _add_client_certificate(found, address)
    return list(found.values())


def _add_client_certificate(found: dict[str, tuple[str, str, str | None]], address: BrokerAddress) -> None:
    certificate = address.options.certfile
    if certificate is not None:
        found.setdefault(certificate, ("rabbitmq-address", certificate, address.options.keyfile))


def look_at_certificate(key: str, certificate: Path, private_key: Path, now: datetime) -> Iterator[Finding]:
    """Whether both files belong together and can be used, for how long, and who can read the key."""
    subject = f"{key} {certificate}"
    renew = "renew it, then reload relayq: systemctl reload relayq, or SIGHUP"
    try:
        # An encrypted key must fail here as it would in the server, not ask at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, password="")
        with certificate.open("rb") as file:
            first = x509.load_pem_x509_certificates(file.read(LARGEST_FILE))[0]
        mode = private_key.stat().st_mode
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        fix = f"correct {key}, or the files"
        yield _finding(subject, Verdict.WRONG, f"cannot be used: {text}", "a certificate and its key", fix)
        return
    begin, end = first.not_valid_before_utc, first.not_valid_after_utc
    shown = f"valid until {end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        yield _finding(subject, Verdict.WRONG, f"expired: {shown}", "a valid one", renew)
    elif begin > now:
        text = f"not valid before {begin:%Y-%m-%d %H:%M} UTC"
        yield _finding(subject, Verdict.WRONG, text, "a valid one", "wait, or see whether the clock is right")
    elif end <= now + SOON:
        yield _finding(subject, Verdict.WARNING, shown, f"more than {SOON.days} days left", renew)
    else:
        yield _finding(subject, Verdict.OK, shown)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        found = f"mode {stat.S_IMODE(mode):04o}: others can read or write the private key"
        yield _finding(str(private_key), Verdict.WARNING, found, "mode 0640 or less", f"chmod 0640 {private_key}")
