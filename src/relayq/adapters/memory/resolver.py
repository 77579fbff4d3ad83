"""A resolver that answers from tables."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable

from relayq.ports import Clock, DnsAnswer, DnsError, DnsFailureKind, MxRecord, TlsaRecord

DEFAULT_TTL = 300.0

_Records = tuple[MxRecord, ...] | tuple[str, ...] | tuple[TlsaRecord, ...]
_Entry = tuple[_Records, float, bool] | DnsFailureKind


class MemoryResolver:
    """`relayq.ports.Resolver` over tables filled by ``set_…`` and ``fail_…``; what is in none does not exist.

    A question is answered by ``cached_…`` once ``fetch_…`` was asked for it and until the TTL has passed, as with a
    real cache; with ``warm`` everything is in the cache from the start.

    Attributes:
        questions: ``("MX" | "A" | "AAAA" | "PTR" | "TXT" | "TLSA", name)`` of each fetch the cache could not answer,
            oldest first.
    """

    def __init__(self, clock: Clock, *, warm: bool = False) -> None:
        self.questions: list[tuple[str, str]] = []
        self._clock = clock
        self._warm = warm
        self._table: dict[Hashable, _Entry] = {}
        self._names: dict[str, str] = {}
        self._cache: dict[Hashable, DnsAnswer | tuple[DnsFailureKind, float]] = {}

    def set_mx(
        self, domain: str, records: Iterable[tuple[int, str]], *, ttl: float = DEFAULT_TTL, authentic: bool = False
    ) -> None:
        """Answer MX questions for ``domain`` with (preference, host) pairs; none at all means NODATA."""
        self._set(("MX", domain), tuple(MxRecord(preference, host) for preference, host in records), ttl, authentic)

    def set_addresses(self, host: str, *addresses: str, ttl: float = DEFAULT_TTL, authentic: bool = False) -> None:
        """Give ``host`` these addresses; a family that is not among them is NODATA."""
        for kind, version in (("A", 4), ("AAAA", 6)):
            family = tuple(address for address in addresses if ipaddress.ip_address(address).version == version)
            self._set((kind, host), family, ttl, authentic)

    def set_name(self, address: str, host: str) -> None:
        """Answer PTR questions for ``address``."""
        self._names[address] = host

    def set_txt(self, name: str, *texts: str, ttl: float = DEFAULT_TTL) -> None:
        """Answer TXT questions for ``name``; none at all means NODATA."""
        self._set(("TXT", name), texts, ttl, authentic=False)

    def set_tlsa(self, name: str, *records: TlsaRecord, ttl: float = DEFAULT_TTL, authentic: bool = True) -> None:
        """Answer TLSA questions for ``name``, ``_25._tcp.`` and a host; none at all means NODATA."""
        self._set(("TLSA", name), records, ttl, authentic)

    def fail_txt(self, name: str, kind: DnsFailureKind) -> None:
        """Let TXT questions for ``name`` fail."""
        self._fail(("TXT", name), kind)

    def fail_tlsa(self, name: str, kind: DnsFailureKind) -> None:
        """Let TLSA questions for ``name`` fail."""
        self._fail(("TLSA", name), kind)

    def fail_mx(self, domain: str, kind: DnsFailureKind) -> None:
        """Let MX questions for ``domain`` fail."""
        self._fail(("MX", domain), kind)

    def fail_addresses(self, host: str, kind: DnsFailureKind) -> None:
        """Let address questions for ``host`` fail in both families."""
        self._fail(("A", host), kind)
        self._fail(("AAAA", host), kind)

    def _set(self, question: tuple[str, str], records: _Records, ttl: float, authentic: bool) -> None:
        self._table[question] = (records, ttl, authentic)
        self._cache.pop(question, None)

    def _fail(self, question: tuple[str, str], kind: DnsFailureKind) -> None:
        self._table[question] = kind
        self._cache.pop(question, None)

    def cached_mx(self, domain: str) -> DnsAnswer | None:
        """See `relayq.ports.Resolver`."""
        return self._cached(("MX", domain))

    async def fetch_mx(self, domain: str) -> DnsAnswer:
        """See `relayq.ports.Resolver`."""
        return self._fetch(("MX", domain))

    def cached_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer | None:
        """See `relayq.ports.Resolver`."""
        return self._cached(("AAAA" if ipv6 else "A", host))

    async def fetch_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer:
        """See `relayq.ports.Resolver`."""
        return self._fetch(("AAAA" if ipv6 else "A", host))

    async def fetch_name(self, address: str) -> str | None:
        """See `relayq.ports.Resolver`."""
        self.questions.append(("PTR", address))
        return self._names.get(address)

    async def fetch_txt(self, name: str) -> DnsAnswer:
        """See `relayq.ports.Resolver`."""
        return self._fetch(("TXT", name))

    async def fetch_tlsa(self, name: str) -> DnsAnswer:
        """See `relayq.ports.Resolver`."""
        return self._fetch(("TLSA", name))

    def _cached(self, question: tuple[str, str]) -> DnsAnswer | None:
        cached = self._cache.get(question)
        if cached is None:
            return self._look_up(question) if self._warm else None
        if isinstance(cached, DnsAnswer):
            return cached if cached.expires_at > self._clock.monotonic() else None
        kind, expires_at = cached
        if expires_at <= self._clock.monotonic():
            return None
        raise _error(question, kind)

    def _fetch(self, question: tuple[str, str]) -> DnsAnswer:
        answer = self._cached(question)
        if answer is None:
            self.questions.append(question)
            answer = self._look_up(question)
        return answer

    def _look_up(self, question: tuple[str, str]) -> DnsAnswer:
        entry = self._table.get(question, DnsFailureKind.NXDOMAIN)
        now = self._clock.monotonic()
        if isinstance(entry, DnsFailureKind):
            self._cache[question] = (entry, now + DEFAULT_TTL)
            raise _error(question, entry)
        records, ttl, authentic = entry
        answer = DnsAnswer(records, now + ttl, authentic)
        self._cache[question] = answer
        return answer


def _error(question: tuple[str, str], kind: DnsFailureKind) -> DnsError:
    return DnsError(kind, f"{kind.value} for {' '.join(question)}")
