"""Walks over the memory resolver: order, laziness, and what a message is told when there is no way."""

from __future__ import annotations

import random
from typing import Any

import pytest

from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.delivery.router import MAX_PLANS, PLAN_LIFETIME, CandidateWalk, Router
from relayq.model import DeliveryError, DeliveryState, Refused, Scope, Smarthost, TimedOut, Unusable
from relayq.policy.routing import Candidate, RoutingRules, Target, TargetKind, smarthost_target
from relayq.ports import DnsAnswer, DnsError, DnsFailureKind, MxRecord

DOMAIN = Target(TargetKind.DOMAIN, "example.test", 25, "example.test")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def resolver(clock: ManualClock) -> MemoryResolver:
    return MemoryResolver(clock)


@pytest.fixture
def router(resolver: MemoryResolver, clock: ManualClock) -> Router:
    return Router(resolver, RoutingRules(), clock, random.Random(1))


async def all_groups(walk: CandidateWalk) -> list[set[str]]:
    groups: list[set[str]] = []
    while group := await walk.next():
        groups.append({candidate.address for candidate in group})
        assert len(groups) < 50
    return groups


async def failure(walk: CandidateWalk) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await walk.next()
    error = caught.value
    assert (error.state, error.scope) == (DeliveryState.DNS, Scope.DESTINATION)
    return error


def three_levels(resolver: MemoryResolver) -> None:
    resolver.set_mx("example.test", [(20, "b.test"), (10, "a1.test"), (10, "a2.test"), (30, "c.test")])
    for number, host in enumerate(["a1.test", "a2.test", "b.test", "c.test"], 1):
        resolver.set_addresses(host, f"192.0.2.{number}")


async def test_groups_come_by_preference_and_are_looked_up_no_earlier(router: Router, resolver: MemoryResolver) -> None:
    three_levels(resolver)
    walk = router.walk(DOMAIN)
    assert {candidate.host for candidate in await walk.next()} == {"a1.test", "a2.test"}
    assert sorted(resolver.questions) == [("A", "a1.test"), ("A", "a2.test"), ("MX", "example.test")]
    assert await walk.next() == (Candidate("b.test", 20, "192.0.2.3", 25, is_ipv6=False),)
    assert ("A", "c.test") not in resolver.questions
    assert await walk.next() == (Candidate("c.test", 30, "192.0.2.4", 25, is_ipv6=False),)
    assert await walk.next() == ()
    assert walk.try_next() == ()
    assert walk.temporary is None


async def test_what_is_in_the_cache_needs_no_waiting(router: Router, resolver: MemoryResolver) -> None:
    three_levels(resolver)
    assert router.walk(DOMAIN).try_next() is None
    first = router.walk(DOMAIN)
    assert first.try_next() is None
    assert await first.next()
    second = router.walk(DOMAIN)
    assert second.try_next()
    assert second.try_next() is None
    assert await second.next()
    assert len(resolver.questions) == 4


async def test_trying_again_later_works_as_well_as_waiting(router: Router, resolver: MemoryResolver) -> None:
    three_levels(resolver)
    walk = router.walk(DOMAIN)
    assert walk.try_next() is None
    await resolver.fetch_mx("example.test")
    assert walk.try_next() is None
    for host in ("a1.test", "a2.test"):
        await resolver.fetch_addresses(host, ipv6=False)
    assert walk.try_next()


async def test_a_plan_is_used_for_seconds_only(router: Router, resolver: MemoryResolver, clock: ManualClock) -> None:
    resolver.set_mx("example.test", [(10, "a.test")])
    resolver.set_addresses("a.test", "192.0.2.1")
    walk = router.walk(DOMAIN)
    assert await all_groups(walk) == [{"192.0.2.1"}]
    resolver.set_addresses("a.test", "192.0.2.2")
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.1"}]
    clock.advance(PLAN_LIFETIME)
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.2"}]


async def test_one_address_is_the_only_way_for_as_long_as_its_answers_live(
    router: Router, resolver: MemoryResolver, clock: ManualClock
) -> None:
    resolver.set_mx("example.test", [(10, "a.test")])
    resolver.set_addresses("a.test", "192.0.2.1", ttl=2)
    walk = router.walk(DOMAIN)
    assert walk.sole_until is None
    assert await walk.next()
    assert walk.sole_until == clock.monotonic() + 2


@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [([(10, "a.test"), (20, "b.test")], ["192.0.2.1"]), ([(10, "a.test")], ["192.0.2.1", "192.0.2.2"])],
)
async def test_where_there_may_be_another_address_it_is_not(
    router: Router, resolver: MemoryResolver, hosts: list[tuple[int, str]], addresses: list[str]
) -> None:
    resolver.set_mx("example.test", hosts)
    resolver.set_addresses("a.test", *addresses)
    walk = router.walk(DOMAIN)
    assert await walk.next()
    assert walk.sole_until is None


async def test_answers_that_expire_earlier_end_a_plan(
    router: Router, resolver: MemoryResolver, clock: ManualClock
) -> None:
    resolver.set_mx("example.test", [(10, "a.test")])
    resolver.set_addresses("a.test", "192.0.2.1", ttl=2)
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.1"}]
    resolver.set_addresses("a.test", "192.0.2.2")
    clock.advance(2)
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.2"}]


async def test_plans_do_not_pile_up(clock: ManualClock) -> None:
    resolver = MemoryResolver(clock, warm=True)
    router = Router(resolver, RoutingRules(), clock, random.Random(1))
    for number in range(MAX_PLANS + 5):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        router.walk(Target(TargetKind.ADDRESS, address, 25, f"[{address}]")).try_next()
    assert len(router._plans) <= MAX_PLANS


async def test_no_mx_means_the_domain_itself(router: Router, resolver: MemoryResolver) -> None:
    resolver.set_mx("example.test", [])
    resolver.set_addresses("example.test", "192.0.2.1")
    assert await router.walk(DOMAIN).next() == (Candidate("example.test", 0, "192.0.2.1", 25, is_ipv6=False),)


async def test_the_root_next_to_real_hosts_is_ignored(router: Router, resolver: MemoryResolver) -> None:
    resolver.set_mx("example.test", [(0, ""), (10, "a.test")])
    resolver.set_addresses("a.test", "192.0.2.1")
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.1"}]


FAMILIES = [
    # local families, addresses of the host, candidates, questions
    (True, False, ("192.0.2.1", "2001:db8::1"), {"192.0.2.1"}, ["A"]),
    (True, False, ("2001:db8::1",), {"2001:db8::1"}, ["A", "AAAA"]),
    (True, True, ("192.0.2.1", "2001:db8::1"), {"192.0.2.1", "2001:db8::1"}, ["A", "AAAA"]),
    (True, True, ("192.0.2.1",), {"192.0.2.1"}, ["A", "AAAA"]),
    (True, None, ("192.0.2.1", "2001:db8::1"), {"192.0.2.1"}, ["A"]),
    (False, True, ("192.0.2.1", "2001:db8::1"), {"2001:db8::1"}, ["AAAA"]),
    (False, True, ("192.0.2.1",), {"192.0.2.1"}, ["A", "AAAA"]),
]


@pytest.mark.parametrize(("ipv4", "ipv6", "given", "expected", "questions"), FAMILIES)
async def test_families_that_are_looked_up(
    router: Router,
    resolver: MemoryResolver,
    ipv4: bool,
    ipv6: bool | None,
    given: tuple[str, ...],
    expected: set[str],
    questions: list[str],
) -> None:
    resolver.set_addresses("a.test", *given)
    target = smarthost_target(Smarthost(hostname="a.test"))
    assert await all_groups(router.walk(target, ipv4=ipv4, ipv6=ipv6)) == [expected]
    assert sorted(kind for kind, _ in resolver.questions) == questions


async def test_ipv6_that_is_switched_off_is_never_asked_for(router: Router, resolver: MemoryResolver) -> None:
    resolver.set_addresses("a.test", "2001:db8::1")
    target = smarthost_target(Smarthost(hostname="a.test"))
    for ipv4 in (True, False):
        assert (await failure(router.walk(target, ipv4=ipv4, ipv6=None))).cause == "noaddress"
    assert {kind for kind, _ in resolver.questions} == {"A"}


async def test_an_address_needs_no_look_up(router: Router, resolver: MemoryResolver) -> None:
    literal = Target(TargetKind.ADDRESS, "2001:db8::1", 25, "[IPv6:2001:db8::1]")
    found = (Candidate("2001:db8::1", 0, "2001:db8::1", 25, is_ipv6=True),)
    assert router.walk(literal).try_next() == found
    assert resolver.questions == []


async def test_addresses_mail_cannot_go_to_are_dropped(router: Router, resolver: MemoryResolver) -> None:
    resolver.set_mx("example.test", [(10, "a.test"), (20, "b.test")])
    resolver.set_addresses("a.test", "0.0.0.0", "224.0.0.1", "255.255.255.255")
    resolver.set_addresses("b.test", "192.0.2.1")
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.1"}]


# --- no way at all: spec delivery.md 6.1 and 6.2 --------------------------------------------------------------------


async def test_a_domain_that_does_not_exist(router: Router) -> None:
    error = await failure(router.walk(DOMAIN))
    assert isinstance(error, Refused)
    assert (error.cause, error.is_final) == ("nxdomain", True)


async def test_a_domain_that_accepts_no_mail(router: Router, resolver: MemoryResolver) -> None:
    resolver.set_mx("example.test", [(0, "")])
    resolver.set_addresses("example.test", "192.0.2.1")
    error = await failure(router.walk(DOMAIN))
    assert isinstance(error, Refused)
    assert (error.cause, error.is_final) == ("nullmx", True)


@pytest.mark.parametrize(("kind", "error"), [(DnsFailureKind.TIMEOUT, TimedOut), (DnsFailureKind.UNUSABLE, Unusable)])
async def test_without_mx_answer_the_domains_own_address_is_not_used(
    router: Router, resolver: MemoryResolver, kind: DnsFailureKind, error: type[DeliveryError]
) -> None:
    resolver.fail_mx("example.test", kind)
    resolver.set_addresses("example.test", "192.0.2.1")
    caught = await failure(router.walk(DOMAIN))
    assert type(caught) is error
    assert caught.is_final is False
    assert type(await failure(router.walk(DOMAIN))) is error


@pytest.mark.parametrize("nothing", ["nodata", "nxdomain", "unusable"])
@pytest.mark.parametrize("implicit", [True, False])
async def test_hosts_without_addresses(router: Router, resolver: MemoryResolver, nothing: str, implicit: bool) -> None:
    resolver.set_mx("example.test", [] if implicit else [(10, "a.test"), (20, "b.test")])
    if not implicit:
        resolver.set_addresses("example.test", "192.0.2.1")
    hosts = ["example.test"] if implicit else ["a.test", "b.test"]
    for host in hosts:
        if nothing == "nodata":
            resolver.set_addresses(host)
        elif nothing == "unusable":
            resolver.set_addresses(host, "0.0.0.0")
    error = await failure(router.walk(DOMAIN))
    assert isinstance(error, Refused)
    assert (error.cause, error.is_final) == ("noaddress", True)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((DnsFailureKind.TIMEOUT, DnsFailureKind.NXDOMAIN), TimedOut),
        ((DnsFailureKind.NXDOMAIN, DnsFailureKind.UNUSABLE), Unusable),
        ((DnsFailureKind.UNUSABLE, DnsFailureKind.TIMEOUT), TimedOut),
        ((DnsFailureKind.UNUSABLE, DnsFailureKind.UNUSABLE), Unusable),
    ],
)
async def test_one_temporary_failure_keeps_the_mail_alive(
    router: Router, resolver: MemoryResolver, kinds: tuple[DnsFailureKind, ...], expected: type[DeliveryError]
) -> None:
    resolver.set_mx("example.test", [(10, "a.test"), (20, "b.test")])
    for host, kind in zip(("a.test", "b.test"), kinds, strict=True):
        resolver.fail_addresses(host, kind)
    error = await failure(router.walk(DOMAIN))
    assert type(error) is expected
    assert error.is_final is False


async def test_one_family_that_fails_matters_only_if_the_other_has_nothing(
    router: Router, resolver: MemoryResolver
) -> None:
    for host in ("a.test", "b.test"):
        resolver.fail_addresses(host, DnsFailureKind.TIMEOUT)
    resolver._table[("A", "a.test")] = (("192.0.2.1",), 300.0, False)
    resolver._table[("A", "b.test")] = ((), 300.0, False)
    walk = router.walk(smarthost_target(Smarthost(hostname="a.test")), ipv6=True)
    assert await all_groups(walk) == [{"192.0.2.1"}]
    assert walk.temporary is None
    assert type(await failure(router.walk(smarthost_target(Smarthost(hostname="b.test"))))) is TimedOut


async def test_a_host_passed_over_for_a_temporary_reason_is_remembered(
    router: Router, resolver: MemoryResolver
) -> None:
    resolver.set_mx("example.test", [(10, "a.test"), (20, "b.test"), (30, "c.test")])
    resolver.fail_addresses("a.test", DnsFailureKind.UNUSABLE)
    resolver.set_addresses("b.test", "192.0.2.1")
    resolver.fail_addresses("c.test", DnsFailureKind.NXDOMAIN)
    for _ in range(2):
        walk = router.walk(DOMAIN)
        assert not walk.temporary
        assert await walk.next()
        remembered = walk.temporary
        assert type(remembered) is Unusable
        assert await walk.next() == ()
        assert walk.temporary is remembered


@pytest.mark.parametrize("is_configured", [True, False])
async def test_the_operators_typing_mistake_bounces_nothing(router: Router, is_configured: bool) -> None:
    target = smarthost_target(Smarthost(hostname="typo.test"), is_configured=is_configured)
    error = await failure(router.walk(target))
    assert isinstance(error, Refused)
    assert error.cause == "noaddress"
    assert error.is_final is not is_configured


# --- loops ----------------------------------------------------------------------------------------------------------


def own(*addresses: str) -> RoutingRules:
    return RoutingRules(own_endpoints=frozenset((address, 25) for address in addresses))


async def test_hosts_no_better_than_ourselves_are_dropped(router: Router, resolver: MemoryResolver) -> None:
    three_levels(resolver)
    router.reconfigure(own("192.0.2.3"))
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.1", "192.0.2.2"}]
    router.reconfigure(own("192.0.2.4"))
    assert await all_groups(router.walk(DOMAIN)) == [{"192.0.2.1", "192.0.2.2"}, {"192.0.2.3"}]


async def test_if_the_best_host_is_us_mail_would_loop(router: Router, resolver: MemoryResolver) -> None:
    three_levels(resolver)
    router.reconfigure(own("192.0.2.1"))
    error = await failure(router.walk(DOMAIN))
    assert isinstance(error, Refused)
    assert (error.cause, error.is_final) == ("loop", True)
    assert ("A", "b.test") not in resolver.questions


async def test_a_better_host_that_may_come_back_beats_the_loop(router: Router, resolver: MemoryResolver) -> None:
    three_levels(resolver)
    for host in ("a1.test", "a2.test"):
        resolver.fail_addresses(host, DnsFailureKind.TIMEOUT)
    router.reconfigure(own("192.0.2.3"))
    assert type(await failure(router.walk(DOMAIN))) is TimedOut


# --- resolvers with peculiarities -----------------------------------------------------------------------------------


class ForgetfulResolver(MemoryResolver):
    """Has no room in its cache, and knows ports."""

    def cached_mx(self, domain: str) -> DnsAnswer | None:
        return None

    def cached_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer | None:
        return None

    async def fetch_mx(self, domain: str) -> DnsAnswer:
        return DnsAnswer((MxRecord(1, "a.test"), MxRecord(1, "b.test")), 2000.0, is_authentic=True)

    async def fetch_addresses(self, host: str, *, ipv6: bool) -> DnsAnswer:
        if host == "b.test":
            raise DnsError(DnsFailureKind.TIMEOUT, "b.test")
        records = ("192.0.2.1", "192.0.2.1", "192.0.2.1")
        return DnsAnswer(records, 2000.0, is_authentic=True, ports=(2525, None, None))


async def test_a_resolver_that_forgets_is_not_asked_for_ever(clock: ManualClock) -> None:
    router = Router(ForgetfulResolver(clock), RoutingRules(), clock, random.Random(1))
    walk = router.walk(DOMAIN)
    found = {(entry.address, entry.port, entry.is_authentic) for entry in await walk.next()}
    assert found == {("192.0.2.1", 2525, True), ("192.0.2.1", 25, True)}
    assert type(walk.temporary) is TimedOut


@pytest.mark.parametrize(
    ("mx", "address", "expected"), [(True, True, True), (True, False, False), (False, True, False)]
)
async def test_a_way_is_proven_only_if_every_step_is(
    router: Router, resolver: MemoryResolver, mx: bool, address: bool, expected: bool
) -> None:
    resolver.set_mx("example.test", [(10, "a.test")], authentic=mx)
    resolver.set_addresses("a.test", "192.0.2.1", authentic=address)
    [candidate] = await router.walk(DOMAIN).next()
    assert candidate.is_authentic is expected


async def test_load_is_spread_over_equal_hosts_and_addresses(router: Router, resolver: MemoryResolver) -> None:
    resolver.set_mx("example.test", [(10, "a.test"), (10, "b.test")])
    resolver.set_addresses("a.test", "192.0.2.1", "192.0.2.2")
    resolver.set_addresses("b.test", "192.0.2.3")
    await router.walk(DOMAIN).next()
    first: list[Any] = [router.walk(DOMAIN).try_next() for _ in range(60)]
    assert {group[0].address for group in first} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
