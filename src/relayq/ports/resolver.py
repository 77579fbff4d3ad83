"""What routing asks of the DNS."""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from relayq.model import TlsaRecord


class DnsFailureKind(enum.Enum):
    """Why a question has no answer (spec delivery.md 6.1)."""

    NXDOMAIN = "nxdomain"
    """Authoritative: the name does not exist."""
    TIMEOUT = "timeout"
    """Nobody answered, or SERVFAIL: ask again later."""
    UNUSABLE = "unusable"
    """REFUSED, FORMERR, NOTIMP, or an answer that cannot be understood: ask again later."""


class DnsError(Exception):
    """A question without an answer. ``str()`` names the question for the log."""

    def __init__(self, kind: DnsFailureKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class MxRecord(msgspec.Struct, frozen=True, order=True):
    """One mail exchanger: preference (lower is better), host in lower-case A-labels without trailing dot.

    A null MX (RFC 7505) has the empty string as host.
    """

    preference: int
    host: str


class DnsAnswer(msgspec.Struct, frozen=True):
    """Records and how long they may be believed.

    Attributes:
        records: MX records in any order, TLSA records, or addresses or texts; empty means NODATA (the name exists).
        expires_at: Monotonic instant (``Clock.monotonic``) until which the answer may be used.
        is_authentic: The answer was validated by DNSSEC on the way (AD flag of a trusted resolver).
        ports: Port of each address where an entry of the override table names one, else ``None``; empty: none does.
    """

    records: tuple[MxRecord, ...] | tuple[str, ...] | tuple[TlsaRecord, ...]
    expires_at: float
    is_authentic: bool = False
    ports: tuple[int | None, ...] = ()


class Resolver(Protocol):
    """Cached look-ups. The ``cached_…`` methods cost no task switch and are what the hot path uses."""

    def cached_mx(self, domain: str) -> DnsAnswer | None:
        """Answer from the cache, ``None`` when it has to be asked for.

        Raises:
            DnsError: A failure is what the cache remembers.
        """
        ...

    async def fetch_mx(self, domain: str) -> DnsAnswer:
        """MX records of a domain in lower-case A-labels, from the cache or by asking; CNAMEs are followed.

        Raises:
            DnsError: No answer.
        """
        ...

    def cached_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer | None:
        """A (or AAAA) records from the hosts file, an override or the cache, ``None`` when they have to be asked for.

        Raises:
            DnsError: A failure is what the cache remembers.
        """
        ...

    async def fetch_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer:
        """A (or AAAA) records of a host.

        Raises:
            DnsError: No answer.
        """
        ...

    async def fetch_name(self, address: str) -> str | None:
        """Host name of an address by PTR that also resolves back to it, ``None`` when there is none (best effort)."""
        ...

    async def fetch_txt(self, name: str) -> DnsAnswer:
        """TXT records as texts, the strings of each joined.

        Raises:
            DnsError: No answer.
        """
        ...

    async def fetch_tlsa(self, name: str) -> DnsAnswer:
        """TLSA records of ``_25._tcp.host``; worth something only if ``is_authentic``.

        Raises:
            DnsError: No answer.
        """
        ...
