"""The resolver: what is known at once, what has to be asked for, and every question only once at a time.

Local knowledge goes first: the override table, then the hosts file, then the cache. A question that has to be asked
runs as a task of the resolver, shared by all who wait for it, and its outcome, failure included, goes into the cache
(spec delivery.md 6.3). Waiters may give up; the question goes on and fills the cache.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
from typing import cast

import dns.rdatatype

from relayq.adapters.dns.cache import Cache, Failure, Question
from relayq.adapters.dns.conversation import Conversation, ServerMemory, Timing
from relayq.adapters.dns.gate import Gate, GateFullError
from relayq.adapters.dns.options import DnsOptions, NameServer, make_name_server
from relayq.adapters.dns.overrides import Endpoint, Overrides
from relayq.adapters.dns.system_files import WatchedFile, parse_hosts, parse_resolv_conf
from relayq.adapters.dns.wire import (
    MAX_CNAMES,
    Extract,
    Record,
    Reply,
    UnusableNameError,
    Verdict,
    encode_name,
    extract,
)
from relayq.ports import Clock, DnsAnswer, DnsError, DnsFailureKind, MxRecord

TEMPORARY_TTL = 30.0
"""Seconds a failed look-up is remembered (spec delivery.md 6.3)."""
NEGATIVE_TTL_FLOOR = 60.0
LOCAL_TTL = 5.0
"""Seconds for which the override table and the hosts file are taken at their word; a change takes effect after that."""
MAX_NAMES_OF_ADDRESS = 5

_A, _AAAA, _MX, _PTR, _TXT, _TLSA = (
    int(kind)
    for kind in (
        dns.rdatatype.A,
        dns.rdatatype.AAAA,
        dns.rdatatype.MX,
        dns.rdatatype.PTR,
        dns.rdatatype.TXT,
        dns.rdatatype.TLSA,
    )
)

_log = logging.getLogger(__name__)


class DnsStatistics:
    """Counters since the start, for metrics."""

    __slots__ = ("authoritative_failures", "hits", "lookups", "temporary_failures")

    def __init__(self) -> None:
        self.lookups = 0
        """Questions that had to be asked."""
        self.hits = 0
        """Questions answered by the cache or local files."""
        self.temporary_failures = 0
        self.authoritative_failures = 0


class DnsResolver:
    """The port ``Resolver`` over real name servers. Belongs to one event loop; close it there.

    Args:
        options: Settings; those that cannot be read raise ``ValueError`` here.
        clock: What expires when.
        rng: Which server is asked first with ``dns-rotate``; nothing that has to be unpredictable.
        overrides: Names that are never asked for.
    """

    def __init__(
        self, options: DnsOptions, clock: Clock, rng: random.Random, overrides: Overrides | None = None
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._overrides = overrides or Overrides()
        self._in_flight: dict[Question, asyncio.Task[DnsAnswer | Failure]] = {}
        self._gate = Gate(options.capacity, options.waiting)
        self._memory = ServerMemory()
        self.statistics = DnsStatistics()
        self._apply(options)

    def _apply(self, options: DnsOptions) -> None:
        self._given_servers = tuple(
            make_name_server(address, port, trust_ad=options.trust_ad) for address, port in options.nameservers
        )
        self._options = options
        self._timing = Timing(options.interval, options.attempts, options.timeout)
        self._resolv_conf = WatchedFile(options.resolv_conf_path, parse_resolv_conf)
        self._hosts = WatchedFile(options.hosts_path, parse_hosts)
        self._cache = Cache(options.cache_entries)

    def reconfigure(self, options: DnsOptions) -> None:
        """Use other settings from now on and forget what the old ones brought; questions under way are not disturbed.

        Raises:
            ValueError: A name server cannot be read; nothing has changed then.
        """
        self._apply(options)
        self._memory.clear()
        self._gate.capacity = options.capacity
        self._gate.waiting = options.waiting

    def set_overrides(self, overrides: Overrides) -> None:
        """Replace the override table; takes effect within ``LOCAL_TTL``."""
        self._overrides = overrides

    async def close(self) -> None:
        """Give up what is under way; those who wait for it get a ``DnsError``. Idempotent."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cached_mx(self, domain: str) -> DnsAnswer | None:
        """See the port."""
        if self._overrides and self._overrides.find(domain) is not None:
            return DnsAnswer((MxRecord(0, domain),), self._clock.monotonic() + LOCAL_TTL)
        return self._known(domain, _MX)

    async def fetch_mx(self, domain: str) -> DnsAnswer:
        """See the port."""
        return self.cached_mx(domain) or await self.query(domain, _MX)

    def cached_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer | None:
        """See the port."""
        now = self._clock.monotonic()
        if self._overrides:
            endpoints = self._overrides.find(host)
            if endpoints is not None:
                return _override_answer(endpoints, now + LOCAL_TTL, ipv6=ipv6)
        by_family = self._hosts.current(now).get(host)
        if by_family is not None:
            return DnsAnswer(by_family[ipv6], now + LOCAL_TTL)
        return self._known(host, _AAAA if ipv6 else _A)

    async def fetch_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer:
        """See the port."""
        return self.cached_addresses(host, ipv6=ipv6) or await self.query(host, _AAAA if ipv6 else _A)

    async def fetch_txt(self, name: str) -> DnsAnswer:
        """TXT records as texts, the strings of each joined.

        Raises:
            DnsError: No answer.
        """
        return await self.query(name, _TXT)

    async def fetch_tlsa(self, name: str) -> DnsAnswer:
        """TLSA records of ``_25._tcp.host``; worth something only if ``is_authentic``.

        Raises:
            DnsError: No answer.
        """
        return await self.query(name, _TLSA)

    async def fetch_name(self, address: str) -> str | None:
        """See the port."""
        try:
            ip = ipaddress.ip_address(address)
            names = cast("tuple[str, ...]", (await self.query(ip.reverse_pointer, _PTR)).records)
        except (ValueError, DnsError):
            return None
        for name in names[:MAX_NAMES_OF_ADDRESS]:
            try:
                answer = await self.fetch_addresses(name, ipv6=ip.version == 6)
            except DnsError:
                continue
            if str(ip) in answer.records:
                return name
        return None

    async def query(self, name: str, record_type: int) -> DnsAnswer:
        """Records of any type known to ``relayq.adapters.dns.wire``, from the cache or by asking.

        Args:
            name: In A-labels.
            record_type: Number of the record type.

        Raises:
            DnsError: No answer.
        """
        question = (name.lower().rstrip("."), record_type)
        known = self._known(*question)
        if known is not None:
            return known
        task = self._in_flight.get(question)
        if task is None:
            self.statistics.lookups += 1
            task = asyncio.get_running_loop().create_task(self._look_up(question))
            self._in_flight[question] = task
            task.add_done_callback(lambda _: self._in_flight.pop(question, None))
        # Waiting does not take the task along when one of many waiters is cancelled, as awaiting it would.
        await asyncio.wait((task,))
        if task.cancelled():
            raise DnsError(DnsFailureKind.TIMEOUT, f"{_describe(question)}: the resolver was closed")
        return _answer_or_raise(task.result())

    def _known(self, name: str, record_type: int) -> DnsAnswer | None:
        entry = self._cache.get((name, record_type), self._clock.monotonic())
        if entry is None:
            return None
        self.statistics.hits += 1
        return _answer_or_raise(entry)

    async def _look_up(self, question: Question) -> DnsAnswer | Failure:
        """One shared question, start to end; whatever happens is remembered."""
        cache = self._cache
        try:
            encode_name(question[0])
            async with self._gate:
                entry = await self._ask(question)
        except UnusableNameError as error:
            # Not from the network, and not worth a place in the cache.
            return Failure(DnsFailureKind.UNUSABLE, str(error), 0.0)
        except GateFullError:
            return Failure(DnsFailureKind.TIMEOUT, f"{_describe(question)}: too many look-ups are waiting", 0.0)
        except Exception:
            _log.exception("look-up of %s failed", _describe(question))
            entry = self._failure(DnsFailureKind.UNUSABLE, question, "internal error")
        if isinstance(entry, Failure):
            if entry.kind is DnsFailureKind.NXDOMAIN:
                self.statistics.authoritative_failures += 1
            else:
                self.statistics.temporary_failures += 1
        cache.put(question, entry)
        return entry

    async def _ask(self, question: Question) -> DnsAnswer | Failure:
        """Ask, and ask on where a CNAME points to a name the answer says nothing about."""
        name, record_type = question
        cnames, is_authentic = 0, True
        cname_ttls: list[int] = []
        while True:
            settled = await Conversation(name, record_type, self._servers(), self._timing, self._memory).run()
            if settled.reply.message is None or settled.server is None:
                return self._refusal(question, settled.reply)
            found = extract(settled.reply.message, name, record_type)
            is_authentic = is_authentic and found.is_authentic and settled.server.is_trusted
            cnames += found.cnames
            if found.cname_ttl is not None:
                cname_ttls.append(found.cname_ttl)
            if cnames > MAX_CNAMES or not found.canonical:
                return self._failure(DnsFailureKind.UNUSABLE, question, "CNAMEs lead nowhere")
            if not found.cnames or _is_complete(found, settled.reply.verdict):
                return self._conclude(question, settled.reply.verdict, found, cname_ttls, is_authentic=is_authentic)
            name = found.canonical

    def _conclude(
        self, question: Question, verdict: Verdict, found: Extract, cname_ttls: list[int], *, is_authentic: bool
    ) -> DnsAnswer | Failure:
        now = self._clock.monotonic()
        if found.ttl is not None:
            if found.dropped and not found.records:
                return self._failure(DnsFailureKind.UNUSABLE, question, "no record in the answer is usable")
            ttl = min(max(float(min([found.ttl, *cname_ttls])), self._options.min_ttl), self._options.max_ttl)
            return DnsAnswer(_one_kind(found.records), now + ttl, is_authentic)
        negative = float(found.negative_ttl or 0)
        expires_at = now + max(min(negative, self._options.negative_ttl), NEGATIVE_TTL_FLOOR)
        if verdict is Verdict.NXDOMAIN:
            return Failure(DnsFailureKind.NXDOMAIN, f"{_describe(question)}: does not exist", expires_at)
        return DnsAnswer((), expires_at, is_authentic)

    def _refusal(self, question: Question, reply: Reply) -> Failure:
        kind = DnsFailureKind.UNUSABLE if reply.verdict is Verdict.UNUSABLE else DnsFailureKind.TIMEOUT
        return self._failure(kind, question, reply.text)

    def _failure(self, kind: DnsFailureKind, question: Question, text: str) -> Failure:
        return Failure(kind, f"{_describe(question)}: {text}", self._clock.monotonic() + TEMPORARY_TTL)

    def _servers(self) -> tuple[NameServer, ...]:
        servers = self._given_servers or self._resolv_conf.current(self._clock.monotonic())
        if self._options.trust_ad and not self._given_servers:
            servers = tuple(NameServer(server.address, server.port, is_trusted=True) for server in servers)
        if self._options.rotate and len(servers) > 1:
            start = self._rng.randrange(len(servers))
            servers = servers[start:] + servers[:start]
        return servers


def _answer_or_raise(entry: DnsAnswer | Failure) -> DnsAnswer:
    if isinstance(entry, Failure):
        raise DnsError(entry.kind, entry.text)
    return entry


def _is_complete(found: Extract, verdict: Verdict) -> bool:
    """The reply speaks about the end of the CNAMEs: by records, by NXDOMAIN, or by the SOA of NODATA (RFC 2308)."""
    return found.ttl is not None or verdict is Verdict.NXDOMAIN or found.negative_ttl is not None


def _override_answer(endpoints: tuple[Endpoint, ...], expires_at: float, *, ipv6: bool) -> DnsAnswer:
    wanted = [(address, port) for address, port in endpoints if (":" in address) == ipv6]
    return DnsAnswer(tuple(address for address, _ in wanted), expires_at, ports=tuple(port for _, port in wanted))


def _one_kind(records: tuple[Record, ...]) -> tuple[MxRecord, ...] | tuple[str, ...]:
    """The type checker cannot know that one question has records of one kind."""
    return cast("tuple[MxRecord, ...] | tuple[str, ...]", records)


def _describe(question: Question) -> str:
    name, record_type = question
    return f"{dns.rdatatype.to_text(dns.rdatatype.RdataType.make(record_type))} {name[:255]!r}"
