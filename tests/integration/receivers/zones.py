"""Zones with TLSA records, right and wrong, for the mail hosts of Postfix."""

from __future__ import annotations

from tests.support.receivers import postfix
from tests.support.receivers.certificates import tlsa_records
from tests.support.receivers.postfix import Postfix

WRONG = "3 1 1 " + "00" * 32
PKIX = "1 1 1 " + "00" * 32
"""A usage that means nothing for SMTP (RFC 7672 section 3.1.3)."""


def make_zones(port: int, server: Postfix) -> tuple[dict[str, str], dict[str, str]]:
    """Signed and unsigned zones, name to records.

    ``NAME.signed.test`` has the mail host ``NAME.mx.signed.test``; the same in the other zones.
    """
    key, authority = tlsa_records(server.certificate("server"))
    expired, _ = tlsa_records(server.certificate("expired"))
    hosts = {
        "key": (postfix.TLS, key),
        "authority": (postfix.TLS, authority),
        "wrong-name": (postfix.TLS_WRONG_NAME, authority),
        "expired": (postfix.TLS_EXPIRED, expired),
        "mismatch": (postfix.TLS_OTHER, WRONG),
        "no-tls": (postfix.BARE, key),
        "unusable": (postfix.TLS_UNTRUSTED, PKIX),
        "unusable-no-tls": (postfix.BARE, PKIX),
        "nothing": (postfix.BARE, None),
    }
    records = "".join(_host(name, address, tlsa, port) for name, (address, tlsa) in hosts.items())
    return {"signed.test": records, "bogus.test": records}, {"unsigned.test": records}


def _host(name: str, address: str, tlsa: str | None, port: int) -> str:
    records = f"{name} MX 10 {name}.mx\n{name}.mx A {address}\n"
    return records if tlsa is None else f"{records}_{port}._tcp.{name}.mx TLSA {tlsa}\n"
