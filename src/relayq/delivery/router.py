"""From a target to addresses, looked up no earlier than they are needed.

A walk goes through the hosts of a target group by group, one preference at a time (spec delivery.md 6.2, 8.1). What the
resolver has in its cache is assembled once and shared by all walks to the same target for a few seconds, so that a
message to a known domain costs a dictionary look-up; the synchronous ``try_next`` is what the hot path uses.

A walk that finds no address at all raises what the message is told: authoritative answers say ``dns/error``, trouble
with a look-up ``dns/timeout`` or ``dns/invalid``. Hosts that could not be looked up while others could are remembered
in ``temporary`` (spec delivery.md 8.3).
"""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec

from relayq.model import DeliveryError, DeliveryState, Refused, Scope, TimedOut, Unusable
from relayq.policy.routing import (
    Candidate,
    HostCandidates,
    RoutingRules,
    Shuffler,
    Target,
    TargetKind,
    group_hosts,
    is_null_mx,
    order_candidates,
    usable_address,
    would_loop,
)
from relayq.ports import Clock, DnsAnswer, DnsError, DnsFailureKind, MxRecord, Resolver

PLAN_LIFETIME = 5.0
"""Seconds a plan is used, however long its answers live: changes of overrides and hosts file take effect after that."""
MAX_PLANS = 20_000

_Key = tuple[str, int, bool, bool | None]
_Lookup = tuple[str, str]
"""Kind (``mx``, ``v4``, ``v6``) and name."""


class _Group(msgspec.Struct, frozen=True):
    """Hosts of one preference, looked up.

    Attributes:
        hosts: Those with addresses.
        fixed: The candidates if there is nothing to put into random order, else ``None``.
        failures: What was wrong with hosts that could not be looked up for a temporary reason.
        is_ours: One of them is this MTA: it, its equals and all behind it are out.
    """

    hosts: tuple[HostCandidates, ...]
    fixed: tuple[Candidate, ...] | None
    failures: tuple[DnsError, ...]
    is_ours: bool
    expires_at: float


class _Plan(msgspec.Struct):
    """Hosts of a target, and of those groups that somebody has needed the addresses."""

    hosts: tuple[tuple[int, tuple[str, ...]], ...]
    groups: list[_Group | None]
    is_authentic: bool
    expires_at: float


class Router:
    """Makes walks and remembers what they found. One per worker.

    Args:
        resolver: Answers, cached and bounded.
        rules: Order of families, own addresses.
        clock: Its monotonic clock is the resolver's.
        rng: Spreads load over equal hosts.
    """

    def __init__(self, resolver: Resolver, rules: RoutingRules, clock: Clock, rng: Shuffler) -> None:
        self.resolver = resolver
        self.rules = rules
        self.clock = clock
        self.rng = rng
        self._plans: dict[_Key, _Plan] = {}

    def reconfigure(self, rules: RoutingRules) -> None:
        """Use other rules from the next walk on."""
        self.rules = rules
        self._plans.clear()

    def walk(self, target: Target, *, ipv4: bool = True, ipv6: bool | None = False) -> CandidateWalk:
        """Start at the best host.

        Addresses of a family that is not allowed appear for hosts that have no others: then binding says what is
        missing, or the kernel finds a way.

        Args:
            target: Where to go.
            ipv4: Whether the allowed local addresses include IPv4.
            ipv6: Whether they include IPv6; ``None`` if IPv6 is switched off and never to be asked for.
        """
        return CandidateWalk(self, target, ipv4, ipv6)

    def known_plan(self, key: _Key, now: float) -> _Plan | None:
        """A plan that is still good."""
        plan = self._plans.get(key)
        return plan if plan is not None and plan.expires_at > now else None

    def keep_plan(self, key: _Key, plan: _Plan) -> None:
        """Share a plan; all are thrown away when there are too many, they are quickly made again."""
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[key] = plan


class CandidateWalk:
    """The way of one message through the hosts of its target. Use ``try_next`` first, and ``next`` if that is ``None``.

    Attributes:
        target: Where it goes.
    """

    __slots__ = (
        "_answers",
        "_error",
        "_failures",
        "_found",
        "_index",
        "_ipv4",
        "_ipv6",
        "_looped",
        "_missing",
        "_plan",
        "_router",
        "target",
    )

    def __init__(self, router: Router, target: Target, ipv4: bool, ipv6: bool | None) -> None:
        self.target = target
        self._router = router
        self._ipv4 = ipv4
        self._ipv6 = ipv6
        self._plan: _Plan | None = None
        self._index = 0
        self._found = False
        self._looped = False
        self._failures: tuple[DnsError, ...] = ()
        self._error: DeliveryError | None = None
        self._answers: dict[_Lookup, DnsAnswer | DnsError] = {}
        self._missing: list[_Lookup] = []

    @property
    def temporary(self) -> DeliveryError | None:
        """Failure of a host passed so far that could not be looked up for a temporary reason, ``None`` without any.

        Counts as an outcome of class T of its own (spec delivery.md 8.3). The same object each time.
        """
        if self._error is None and self._failures:
            self._error = _temporary_error(self._failures)
        return self._error

    @property
    def sole_until(self) -> float | None:
        """Until when every walk like this one finds one and the same address; ``None`` if it may find another."""
        plan = self._plan
        if plan is None or len(plan.groups) != 1 or self._failures:
            return None
        group = plan.groups[0]
        if group is None or group.is_ours or group.fixed is None or len(group.fixed) != 1:
            return None
        return min(plan.expires_at, group.expires_at)

    def try_next(self) -> tuple[Candidate, ...] | None:
        """The next group of addresses, ``()`` after the last, ``None`` if something has to be looked up first.

        Raises:
            DeliveryError: There is no address at all; state ``dns``.
        """
        self._missing.clear()
        now = self._router.clock.monotonic()
        plan = self._plan
        if plan is None:
            plan = self._plan = self._make_plan(now)
            if plan is None:
                return None
        groups = plan.groups
        while self._index < len(groups) and not self._looped:
            group = groups[self._index]
            if group is None or group.expires_at <= now:
                group = self._assemble(plan, self._index, now)
                if group is None:
                    return None
                groups[self._index] = group
            self._index += 1
            if group.failures:
                self._failures += group.failures
            if group.is_ours:
                self._looped = True
            elif group.hosts:
                self._found = True
                return group.fixed or order_candidates(group.hosts, self._router.rules, self._router.rng)
        if not self._found:
            raise self._nothing_found()
        return ()

    async def next(self) -> tuple[Candidate, ...]:
        """The next group of addresses, ``()`` after the last.

        Raises:
            DeliveryError: There is no address at all; state ``dns``.
        """
        while (found := self.try_next()) is None:
            missing, self._missing = self._missing, []
            async with asyncio.TaskGroup() as tasks:
                for lookup in missing:
                    tasks.create_task(self._fetch(lookup))
        return found

    async def _fetch(self, lookup: _Lookup) -> None:
        """What was fetched stays with the walk: a resolver without room in its cache must not make it ask for ever."""
        kind, name = lookup
        resolver = self._router.resolver
        try:
            if kind == "mx":
                self._answers[lookup] = await resolver.fetch_mx(name)
            else:
                self._answers[lookup] = await resolver.fetch_addresses(name, ipv6=kind == "v6")
        except DnsError as error:
            self._answers[lookup] = error

    def _look(self, kind: str, name: str) -> DnsAnswer | DnsError | None:
        """What is known; ``None`` notes that it has to be asked for."""
        lookup = (kind, name)
        answer: DnsAnswer | DnsError | None = self._answers.get(lookup)
        if answer is not None:
            return answer
        resolver = self._router.resolver
        try:
            answer = resolver.cached_mx(name) if kind == "mx" else resolver.cached_addresses(name, ipv6=kind == "v6")
        except DnsError as error:
            return error
        if answer is None:
            self._missing.append(lookup)
        return answer

    def _make_plan(self, now: float) -> _Plan | None:
        target = self.target
        key = (target.destination, target.port, self._ipv4, self._ipv6)
        plan = self._router.known_plan(key, now)
        if plan is not None:
            return plan
        if target.kind is not TargetKind.DOMAIN:
            plan = _Plan(((0, (target.name,)),), [None], is_authentic=True, expires_at=now + PLAN_LIFETIME)
        else:
            answer = self._look("mx", target.name)
            if answer is None:
                return None
            plan = self._plan_from_mx(answer, now)
        self._router.keep_plan(key, plan)
        return plan

    def _plan_from_mx(self, answer: DnsAnswer | DnsError, now: float) -> _Plan:
        """Spec delivery.md 6.1."""
        name = self.target.name
        if isinstance(answer, DnsError):
            if answer.kind is DnsFailureKind.NXDOMAIN:
                raise self._refused("nxdomain", f"{name} does not exist")
            raise _temporary_error((answer,))
        records = [(record.preference, record.host) for record in cast("tuple[MxRecord, ...]", answer.records)]
        if is_null_mx(records):
            raise self._refused("nullmx", f"{name} accepts no mail")
        hosts = group_hosts(records, self._router.rng) if records else ((0, (name,)),)
        expires_at = min(answer.expires_at, now + PLAN_LIFETIME)
        return _Plan(hosts, [None] * len(hosts), answer.is_authentic, expires_at)

    def _assemble(self, plan: _Plan, index: int, now: float) -> _Group | None:
        """Addresses of one group from what is known; ``None`` if something is missing."""
        preference, names = plan.hosts[index]
        hosts: list[HostCandidates] = []
        failures: list[DnsError] = []
        expires_at = now + PLAN_LIFETIME
        for name in names:
            found = self._addresses(name)
            for answer in found:
                if isinstance(answer, DnsAnswer):
                    expires_at = min(expires_at, answer.expires_at)
            host = self._host_candidates(name, preference, found, is_authentic=plan.is_authentic)
            if host.ipv4 or host.ipv6:
                hosts.append(host)
            else:
                failures += _temporary_failures(found)[:1]
        if self._missing:
            return None
        rules = self._router.rules
        is_random = len(hosts) > 1 or any(len(host.ipv4) > 1 or len(host.ipv6) > 1 for host in hosts)
        fixed = None if is_random else order_candidates(hosts, rules, self._router.rng)
        return _Group(tuple(hosts), fixed, tuple(failures), would_loop(hosts, rules), expires_at)

    def _addresses(self, name: str) -> list[DnsAnswer | DnsError]:
        """What the families to ask for say; notes what is missing (spec delivery.md 6.2)."""
        if self.target.kind is TargetKind.ADDRESS:
            return [DnsAnswer((name,), float("inf"))]
        kinds = ("v6", "v4") if self._ipv6 and not self._ipv4 else ("v4", "v6")
        first = self._look(kinds[0], name)
        second: DnsAnswer | DnsError | None = None
        if (self._ipv4 and self._ipv6) or (self._ipv6 is not None and _is_empty(first)):
            second = self._look(kinds[1], name)
        return [answer for answer in (first, second) if answer is not None]

    def _host_candidates(
        self, name: str, preference: int, answers: list[DnsAnswer | DnsError], *, is_authentic: bool
    ) -> HostCandidates:
        families: tuple[list[Candidate], list[Candidate]] = ([], [])
        for answer in answers:
            if isinstance(answer, DnsError):
                continue
            for position, text in enumerate(cast("tuple[str, ...]", answer.records)):
                address = usable_address(text)
                if address is None:
                    continue
                port = (answer.ports[position] if answer.ports else None) or self.target.port
                is_ipv6 = ":" in address
                candidate = Candidate(name, preference, address, port, is_ipv6, is_authentic and answer.is_authentic)
                if candidate not in families[is_ipv6]:
                    families[is_ipv6].append(candidate)
        return HostCandidates(tuple(families[0]), tuple(families[1]))

    def _nothing_found(self) -> DeliveryError:
        """Spec delivery.md 6.2, last table."""
        if self._failures:
            return _temporary_error(self._failures)
        if self._looped:
            return self._refused("loop", f"mail to {self.target.name} would come back to this host")
        return self._refused("noaddress", f"no mail host of {self.target.name} has an address")

    def _refused(self, cause: str, reason: str) -> Refused:
        # A typing mistake of the operator must not bounce everything (spec delivery.md 6.2).
        is_final = not self.target.is_configured_smarthost
        return Refused(DeliveryState.DNS, Scope.DESTINATION, reason, is_final=is_final, cause=cause)


def _is_empty(answer: DnsAnswer | DnsError | None) -> bool:
    return isinstance(answer, DnsAnswer) and not answer.records


def _temporary_failures(answers: list[DnsAnswer | DnsError]) -> list[DnsError]:
    """A timeout first: it says more than an answer that could not be used."""
    errors = [answer for answer in answers if isinstance(answer, DnsError)]
    temporary = [error for error in errors if error.kind is not DnsFailureKind.NXDOMAIN]
    return sorted(temporary, key=lambda error: error.kind is not DnsFailureKind.TIMEOUT)


def _temporary_error(failures: tuple[DnsError, ...]) -> DeliveryError:
    """``dns/timeout``, or ``dns/invalid`` if there is nothing else (spec delivery.md 6.2)."""
    for failure in failures:
        if failure.kind is DnsFailureKind.TIMEOUT:
            return TimedOut(DeliveryState.DNS, Scope.DESTINATION, str(failure), is_final=False)
    return Unusable(DeliveryState.DNS, Scope.DESTINATION, str(failures[0]), is_final=False)
