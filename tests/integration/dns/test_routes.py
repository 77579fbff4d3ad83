"""The router over the real resolver and a real server: spec delivery.md 6 from domain to addresses."""

from __future__ import annotations

import asyncio
import random

import pytest

from relayq.adapters.dns import DnsResolver, Overrides
from relayq.adapters.memory import ManualClock
from relayq.delivery.router import Router
from relayq.model import DeliveryError, DeliveryState, ResultType
from relayq.policy.routing import Candidate, RoutingRules, Target, TargetKind
from tests.integration.dns.conftest import MakeResolver
from tests.support.dns_server import FakeDnsServer, Misbehaviour


def router_over(resolver: DnsResolver, clock: ManualClock) -> Router:
    return Router(resolver, RoutingRules(), clock, random.Random(1))


def domain(name: str, port: int = 25) -> Target:
    return Target(TargetKind.DOMAIN, name, port, name)


async def test_a_thousand_messages_to_a_new_domain_ask_once_per_question(
    server: FakeDnsServer, make_resolver: MakeResolver, clock: ManualClock
) -> None:
    server.add("example.test", "MX", "10 mx.test.")
    server.add("mx.test", "A", "192.0.2.1")
    server.default = Misbehaviour(delay=0.01)
    router = router_over(make_resolver(server), clock)
    groups = await asyncio.gather(*[router.walk(domain("example.test")).next() for _ in range(1000)])
    assert set(groups) == {(Candidate("mx.test", 10, "192.0.2.1", 25, is_ipv6=False),)}
    assert [(question.name, question.kind) for question in server.questions] == [
        ("example.test", "MX"),
        ("mx.test", "A"),
    ]
    assert router.walk(domain("example.test")).try_next() == groups[0]


async def test_an_override_leads_to_its_port_without_a_query(
    server: FakeDnsServer, make_resolver: MakeResolver, clock: ManualClock
) -> None:
    overrides = Overrides({"*.test": ["127.0.0.9:2525", "[::1]:2526"]})
    router = router_over(make_resolver(server, overrides=overrides), clock)
    group = router.walk(domain("example.test"), ipv6=True).try_next()
    assert group is not None
    assert [(entry.host, entry.address, entry.port) for entry in group] == [
        ("example.test", "127.0.0.9", 2525),
        ("example.test", "::1", 2526),
    ]
    assert server.questions == []


TROUBLE = [
    ("nothing.test", "error", "nxdomain"),
    ("null.test", "error", "nullmx"),
    ("hollow.test", "error", "noaddress"),
    ("bare.test", "error", "noaddress"),
    ("broken.test", "timeout", None),
    ("refused.test", "invalid", None),
    ("garbage.test", "invalid", None),
    ("brokenhost.test", "timeout", None),
]


@pytest.mark.parametrize(("name", "result", "cause"), TROUBLE)
async def test_what_a_message_is_told(
    server: FakeDnsServer,
    make_resolver: MakeResolver,
    clock: ManualClock,
    name: str,
    result: str,
    cause: str | None,
) -> None:
    server.add("null.test", "MX", "0 .")
    server.add("hollow.test", "MX", "10 gone.test.")
    server.add("hollow.test", "A", "192.0.2.1")
    server.add("bare.test", "TXT", '"no mail here"')
    server.add("brokenhost.test", "MX", "10 gone.test.", "20 broken.test.")
    server.misbehave("broken.test", "MX", Misbehaviour(rcode="SERVFAIL"))
    server.misbehave("broken.test", "A", Misbehaviour(rcode="SERVFAIL"))
    server.misbehave("refused.test", "MX", Misbehaviour(rcode="REFUSED"))
    server.misbehave(
        "garbage.test", "MX", Misbehaviour(raw=b"{id}\x81\x80\x00\x01\x00\x01\0\0\0\0\7garbage\4test\0\0\x0f\0\1!")
    )
    with pytest.raises(DeliveryError) as caught:
        await router_over(make_resolver(server), clock).walk(domain(name)).next()
    error = caught.value
    assert (error.state, error.result) == (DeliveryState.DNS, ResultType(result))
    assert (error.cause, error.is_final) == (cause, cause is not None)


async def test_dnssec_reaches_the_candidate(
    server: FakeDnsServer, make_resolver: MakeResolver, clock: ManualClock
) -> None:
    server.default = Misbehaviour(authentic=True)
    server.add("example.test", "MX", "10 mx.test.")
    server.add("mx.test", "A", "192.0.2.1")
    [candidate] = await router_over(make_resolver(server), clock).walk(domain("example.test")).next()
    assert candidate.is_authentic
