"""How well a session has to be protected: what message, operator and domain demand of it (spec delivery.md 10).

Pure. A :class:`TlsPolicy` is the part of the answer that sessions are kept by, so a message can never be given a
session below its level. A :class:`TlsDemand` is what the message that opens a session knows besides: the name to ask
for and what the certificate has to show.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable

import msgspec

from relayq.model import TlsaRecord

SUBMISSIONS_PORT = 465
"""TLS from the first octet (RFC 8314 section 3.3)."""
DANE_TA = 2
"""TLSA usage: the record names a certificate of the chain as trust anchor (RFC 7218)."""
DANE_EE = 3
"""TLSA usage: the record names the host's own certificate or key."""


class SecurityLevel(enum.IntEnum):
    """What is insisted on; a higher one includes the lower ones."""

    OPTIONAL = 0
    """TLS only with credentials, and then only if it can be had."""
    OPPORTUNISTIC = 1
    """TLS if it can be had, with any certificate."""
    REQUIRED = 2
    """TLS, with any certificate."""
    VERIFIED = 3
    """TLS, with a certificate of a trusted root that is valid for a name expected here."""
    DANE = 4
    """TLS, with a certificate that matches a DNSSEC-validated TLSA record (RFC 7672)."""


LEVELS = {level.name.lower(): level for level in SecurityLevel if level is not SecurityLevel.DANE}
"""Levels by the words of the JSON member ``security`` and of ``smtp-out-security``."""


class TlsPolicy(msgspec.Struct, frozen=True, cache_hash=True):
    """The part of a demand that sessions are kept by.

    Attributes:
        level: What is insisted on.
        host: Host the certificate was checked for, at the levels that check one; empty at the others, so that hosts
            with several names share their sessions there.
    """

    level: SecurityLevel
    host: str = ""

    def __str__(self) -> str:
        """For logs."""
        return f"{self.level.name.lower()} {self.host}".rstrip()


class PolicySource(enum.Enum):
    """Who raised a demand above what message and configuration ask for; the words of TLS reports (RFC 8460)."""

    NOBODY = "no-policy-found"
    DANE = "tlsa"
    STS = "sts"


class TlsDemand(msgspec.Struct, frozen=True):
    """What has to be shown when a session is opened.

    Attributes:
        policy: What the session is kept by.
        host: Host name to ask for in the handshake, or an IP address.
        names: Domains, host names or IP addresses; the certificate has to be valid for one of them. Only looked at
            where the policy is ``VERIFIED``, or ``DANE`` with a trust anchor.
        tlsa: Usable TLSA records; only at the level ``DANE``.
        source: Whose policy raised it.
        domain: Recipient domain whose policy did; empty if none did.
    """

    policy: TlsPolicy
    host: str = ""
    names: tuple[str, ...] = ()
    tlsa: tuple[TlsaRecord, ...] = ()
    source: PolicySource = PolicySource.NOBODY
    domain: str = ""


_TLSA_OCTETS = {0: None, 1: 32, 2: 64}
"""Length of what a record holds, by matching type; the whole certificate or key has any."""
_VERIFIED = SecurityLevel.VERIFIED
_SHARED = {level: TlsPolicy(level) for level in SecurityLevel}
NO_DEMAND = TlsDemand(_SHARED[SecurityLevel.OPTIONAL])


def choose_level(asked: str | None, configured: SecurityLevel) -> SecurityLevel:
    """Level of a message before any policy of its domain: its own wish, else the configuration's.

    Args:
        asked: Its ``security``.
        configured: ``smtp-out-security``.
    """
    return configured if asked is None else LEVELS[asked]


def demand_tls(level: SecurityLevel, host: str, domain: str | None) -> TlsDemand:
    """What a session to ``host`` has to show for a message to ``domain``.

    Args:
        level: Of the message.
        host: Mail host or smarthost: name or IP address.
        domain: Recipient domain for which a certificate is good as well; ``None`` for a smarthost.
    """
    if level < _VERIFIED:
        return TlsDemand(_SHARED[level], host)
    names = (host,) if domain is None or domain == host else (host, domain)
    return TlsDemand(TlsPolicy(level, host), host, names)


def usable_tlsa(records: Iterable[TlsaRecord]) -> tuple[TlsaRecord, ...]:
    """Records that mean something for SMTP: DANE-TA or DANE-EE, of known kinds (RFC 7672 section 3.1)."""
    return tuple(
        record
        for record in records
        if record.usage in {DANE_TA, DANE_EE}
        and record.selector in {0, 1}
        and record.matching_type in _TLSA_OCTETS
        and record.association
        and _TLSA_OCTETS[record.matching_type] in {None, len(record.association)}
    )


def raise_for_dane(demand: TlsDemand, records: tuple[TlsaRecord, ...], domain: str | None) -> TlsDemand:
    """The demand once DNSSEC-validated TLSA records of its host are known (RFC 7672 section 2.2).

    They take the place of whatever else was to be shown. Records that cannot be used still say that the host has TLS.

    Args:
        demand: From :func:`demand_tls`.
        records: Not empty.
        domain: Recipient domain, for which the certificate of a trust anchor may be as well; ``None`` for a smarthost.
    """
    host = demand.host
    usable = usable_tlsa(records)
    if usable:
        names = (host,) if domain is None or domain == host else (host, domain)
        return TlsDemand(TlsPolicy(SecurityLevel.DANE, host), host, names, usable, PolicySource.DANE, domain or host)
    if demand.policy.level >= SecurityLevel.REQUIRED:
        return demand
    return TlsDemand(_SHARED[SecurityLevel.REQUIRED], host, source=PolicySource.DANE, domain=domain or host)


def raise_for_sts(demand: TlsDemand, domain: str) -> TlsDemand:
    """The demand under an enforced MTA-STS policy: a certificate for the host's own name (RFC 8461 section 4.2)."""
    host = demand.host
    return TlsDemand(TlsPolicy(SecurityLevel.VERIFIED, host), host, (host,), source=PolicySource.STS, domain=domain)


_REPORT_TYPES = {
    "starttls-missing": "starttls-not-supported",
    "tls-name": "certificate-host-mismatch",
    "tls-expired": "certificate-expired",
    "tls-certificate": "certificate-not-trusted",
}


def report_type(source: PolicySource, cause: str | None) -> str:
    """What a TLS report calls a session that did not come about (RFC 8460 section 4.3).

    Args:
        source: Whose policy it failed.
        cause: Local cause of the failure, ``None`` when the peer refused.
    """
    if source is PolicySource.DANE and cause != "starttls-missing":
        return "validation-failure"
    return _REPORT_TYPES.get(cause or "", "validation-failure")


def matching_name(names: Iterable[str], presented: Iterable[str]) -> str | None:
    """The first of ``names`` that a certificate is valid for, ``None`` when it is for none (RFC 6125 section 6.4).

    Args:
        names: Domains, host names in A-labels, or IP addresses.
        presented: DNS names and IP addresses of the certificate's subjectAltName.
    """
    usable = tuple(name.lower().rstrip(".") for name in presented)
    for name in names:
        address = _as_address(name)
        for pattern in usable:
            if (_as_address(pattern) == address) if address is not None else _covers(pattern, name.lower()):
                return name
    return None


def _covers(pattern: str, name: str) -> bool:
    """A wildcard stands for exactly one whole label, the leftmost, and never for a whole public-looking domain."""
    if pattern == name:
        return True
    if not pattern.startswith("*.") or "." not in pattern[2:]:
        return False
    _, dot, parent = name.partition(".")
    return bool(dot) and parent == pattern[2:]


def _as_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if ":" not in text and not text.rpartition(".")[2].isdecimal():
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class ClearMemory:
    """Addresses whose TLS does not work, for levels that go on without (spec delivery.md 10). Bounded.

    Attributes:
        lifetime: Seconds an address is remembered.
    """

    def __init__(self, lifetime: float = 3600.0, limit: int = 20_000) -> None:
        self.lifetime = lifetime
        self._limit = limit
        self._until: dict[tuple[str, int], float] = {}

    def remember(self, endpoint: tuple[str, int], now: float) -> None:
        """A handshake with that address and port failed; the one remembered for longest makes room."""
        self._until.pop(endpoint, None)
        if len(self._until) >= self._limit:
            del self._until[next(iter(self._until))]
        self._until[endpoint] = now + self.lifetime

    def is_known(self, endpoint: tuple[str, int], now: float) -> bool:
        """Whether TLS is not to be tried there now."""
        until = self._until.get(endpoint)
        if until is None:
            return False
        if until <= now:
            del self._until[endpoint]
            return False
        return True

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._until)
