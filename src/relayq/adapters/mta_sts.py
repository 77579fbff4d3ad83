"""MTA-STS policies of domains: announced in DNS, fetched over HTTPS, kept as long as they say (RFC 8461).

The cache with the rules of section 5.1: a policy that was found once protects until it expires, whatever happens to DNS
and web server meanwhile, and is renewed when half of its time is over. What was found is lost when the process ends.
How the file is got is the business of ``policy_fetcher``, which is imported only where policies are wanted.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol, cast

import msgspec

from relayq.policy.mta_sts import NO_POLICY, BadPolicyError, StsPolicy, find_policy_id, parse_policy
from relayq.ports import Clock, DnsError, DnsFailureKind, Resolver

FIND_SECONDS = 20.0
"""How long a message waits for DNS and web server together; the policy counts as missing then."""
RETRY_SECONDS = 300.0
"""Time to the next look after one that failed, or found nothing; section 3.3 asks for five minutes."""
RECHECK_SECONDS = 3600.0
"""A known policy is held against its announcement at least this often; never more often than RETRY_SECONDS."""
MAX_DOMAINS = 20_000
MAX_FETCHES = 20
"""HTTPS requests at the same time."""

_log = logging.getLogger(__name__)


class FetchError(Exception):
    """The file could not be had; says why."""


class Fetcher(Protocol):
    """Gets policy files."""

    async def fetch(self, domain: str) -> bytes:
        """The octets of a domain's policy file, at most ``MAX_POLICY_OCTETS`` and one.

        Raises:
            FetchError: It could not be had.
        """
        ...

    async def close(self) -> None:
        """Give up what is under way. Idempotent."""
        ...


class _Known(msgspec.Struct, frozen=True):
    """A policy that was found; instants are monotonic.

    Attributes:
        policy_id: Under which it was announced.
        renew_at: From here on it is fetched again, even if the announcement is the same.
        expires_at: From here on it means nothing.
    """

    policy: StsPolicy
    policy_id: str
    renew_at: float
    expires_at: float


class HttpsPolicies:
    """``ports.DomainPolicies`` over DNS and HTTPS. Belongs to one event loop."""

    def __init__(self, resolver: Resolver, fetcher: Fetcher, clock: Clock) -> None:
        self._resolver = resolver
        self._fetcher = fetcher
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._look_again_at: dict[str, float] = {}
        self._in_flight: dict[str, asyncio.Task[StsPolicy]] = {}
        self._fetching = asyncio.Semaphore(MAX_FETCHES)

    def cached(self, domain: str) -> StsPolicy | None:
        """See the port."""
        now = self._clock.monotonic()
        if self._look_again_at.get(domain, 0.0) <= now:
            return None
        known = self._valid(domain, now)
        return NO_POLICY if known is None else known.policy

    async def fetch(self, domain: str) -> StsPolicy:
        """See the port."""
        task = self._in_flight.get(domain)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._find(domain))
            self._in_flight[domain] = task
            task.add_done_callback(lambda _: self._in_flight.pop(domain, None))
        # Waiting does not take the task along when one of many waiters is cancelled, as awaiting it would.
        await asyncio.wait((task,))
        return NO_POLICY if task.cancelled() else task.result()

    async def close(self) -> None:
        """See the port."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.close()

    def _valid(self, domain: str, now: float) -> _Known | None:
        known = self._known.get(domain)
        if known is not None and known.expires_at <= now:
            del self._known[domain]
            return None
        return known

    async def _find(self, domain: str) -> StsPolicy:
        """One shared look, start to end; whatever happens is remembered."""
        seconds = RETRY_SECONDS
        try:
            async with asyncio.timeout(FIND_SECONDS):
                seconds = await self._look(domain)
        except (TimeoutError, FetchError, BadPolicyError, DnsError) as error:
            if not (isinstance(error, DnsError) and error.kind is DnsFailureKind.NXDOMAIN):
                _log.info("MTA-STS policy of %s: %s", domain, str(error) or "took too long")
        except Exception:
            _log.exception("MTA-STS policy of %s", domain)
        now = self._clock.monotonic()
        _put(self._look_again_at, domain, now + seconds)
        known = self._valid(domain, now)
        return NO_POLICY if known is None else known.policy

    async def _look(self, domain: str) -> float:
        """Find out whether there is a policy, and get it if it is a new one; returns seconds to the next look."""
        answer = await self._resolver.fetch_txt(f"_mta-sts.{domain}")
        now = self._clock.monotonic()
        seconds = min(max(answer.expires_at - now, RETRY_SECONDS), RECHECK_SECONDS)
        policy_id = find_policy_id(cast("tuple[str, ...]", answer.records))
        if policy_id is None:
            return seconds
        known = self._valid(domain, now)
        if known is not None and known.policy_id == policy_id and now < known.renew_at:
            return seconds
        async with self._fetching:
            policy = parse_policy(await self._fetcher.fetch(domain))
        now = self._clock.monotonic()
        _put(self._known, domain, _Known(policy, policy_id, now + policy.max_age / 2, now + policy.max_age))
        return seconds


def _put(memory: dict[str, Any], domain: str, value: object) -> None:
    """Remember; the one remembered for longest makes room."""
    memory.pop(domain, None)
    if len(memory) >= MAX_DOMAINS:
        del memory[next(iter(memory))]
    memory[domain] = value
