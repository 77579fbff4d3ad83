"""Targets, destination keys and the order of hosts and addresses, as values."""

from __future__ import annotations

import random
from collections.abc import MutableSequence
from typing import Any

import pytest

from relayq.model import Message, Smarthost, parse_address
from relayq.policy.routing import (
    Candidate,
    HostCandidates,
    RoutingRules,
    Target,
    TargetKind,
    choose_target,
    group_hosts,
    is_null_mx,
    order_candidates,
    smarthost_target,
    usable_address,
    would_loop,
)


class Reversing:
    """Random order, but always the same one."""

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        x.reverse()


def message(recipient: str = "a@Example.test", smarthost: Smarthost | None = None) -> Message:
    return Message(members={}, sender=None, recipient=parse_address(recipient), smarthost=smarthost)


OWN = Smarthost(hostname="relay.test", port=587, username="me", password="secret")
CONFIGURED = Smarthost(hostname="Smart.test.")


def test_the_recipients_domain_is_the_usual_target() -> None:
    assert choose_target(message(), None, 2525) == Target(TargetKind.DOMAIN, "example.test", 2525, "example.test")


@pytest.mark.parametrize(
    ("recipient", "name", "destination"),
    [
        ("a@[192.0.2.7]", "192.0.2.7", "[192.0.2.7]"),
        ("a@[IPv6:2001:DB8::1]", "2001:db8::1", "[IPv6:2001:db8::1]"),
    ],
)
def test_an_address_literal_is_its_own_target_on_port_25(recipient: str, name: str, destination: str) -> None:
    assert choose_target(message(recipient), None, 2525) == Target(TargetKind.ADDRESS, name, 25, destination)


def test_the_configured_smarthost_takes_everything_without_one_of_its_own() -> None:
    expected = Target(TargetKind.HOST, "smart.test", 25, "smart.test:25", CONFIGURED, is_configured_smarthost=True)
    assert choose_target(message(), CONFIGURED, 2525) == expected
    assert choose_target(message("a@[192.0.2.7]"), CONFIGURED, 2525) == expected


def test_the_messages_smarthost_wins_as_a_whole() -> None:
    target = choose_target(message(smarthost=OWN), CONFIGURED, 2525)
    assert target == Target(TargetKind.HOST, "relay.test", 587, "relay.test:587 me", OWN)
    assert not target.is_configured_smarthost
    assert "secret" not in repr(target)


@pytest.mark.parametrize(
    ("hostname", "kind", "name", "destination"),
    [
        ("192.0.2.1", TargetKind.ADDRESS, "192.0.2.1", "192.0.2.1:25"),
        ("[192.0.2.1]", TargetKind.ADDRESS, "192.0.2.1", "192.0.2.1:25"),
        ("2001:DB8:0::1", TargetKind.ADDRESS, "2001:db8::1", "[2001:db8::1]:25"),
        ("[IPv6:2001:db8::1]", TargetKind.ADDRESS, "2001:db8::1", "[2001:db8::1]:25"),
        ("bücher.test", TargetKind.HOST, "xn--bcher-kva.test", "xn--bcher-kva.test:25"),
        ("my_sink", TargetKind.HOST, "my_sink", "my_sink:25"),
        ("bü cher.test", TargetKind.HOST, "bü cher.test", "bü cher.test:25"),
    ],
)
def test_smarthosts_by_name_and_by_address(hostname: str, kind: TargetKind, name: str, destination: str) -> None:
    target = smarthost_target(Smarthost(hostname=hostname))
    assert (target.kind, target.name, target.destination) == (kind, name, destination)


def test_destinations_differ_by_host_port_and_user() -> None:
    smarthosts = [
        Smarthost(hostname="a.test"),
        Smarthost(hostname="b.test"),
        Smarthost(hostname="a.test", port=26),
        Smarthost(hostname="a.test", username="", password=""),
        Smarthost(hostname="a.test", username="x", password=""),
        Smarthost(hostname="a.test", username="y", password=""),
    ]
    assert len({smarthost_target(smarthost).destination for smarthost in smarthosts}) == len(smarthosts)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [([(0, "")], True), ([(0, ""), (5, "")], True), ([], False), ([(0, ""), (5, "mx.test")], False)],
)
def test_null_mx_is_the_root_alone(hosts: list[tuple[int, str]], expected: bool) -> None:
    assert is_null_mx(hosts) is expected


def test_hosts_are_grouped_by_ascending_preference() -> None:
    hosts = [(20, "c.test"), (10, "b.test"), (10, "a.test"), (0, ""), (30, "a.test")]
    assert group_hosts(hosts, Reversing()) == ((10, ("a.test", "b.test")), (20, ("c.test",)))


def test_many_equal_hosts_are_split_at_random() -> None:
    hosts = [(10, f"h{number:02}.test") for number in range(25)]
    groups = group_hosts(hosts, Reversing())
    assert [(preference, len(names)) for preference, names in groups] == [(10, 10), (10, 10), (10, 5)]
    assert groups[0][1][0] == "h24.test"
    assert len({name for _, names in groups for name in names}) == 25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("0.0.0.0", None),
        ("::", None),
        ("255.255.255.255", None),
        ("224.0.0.1", None),
        ("239.255.255.255", None),
        ("ff02::1", None),
        ("::ffff:0.0.0.0", None),
        ("::ffff:224.0.0.1", None),
        ("mx.test", None),
    ],
)
def test_addresses_mail_can_be_sent_to(text: str, expected: str | None) -> None:
    assert usable_address(text) == expected


def host(name: str, *addresses: str, port: int = 25) -> HostCandidates:
    made = [Candidate(name, 10, address, port, ":" in address) for address in addresses]
    return HostCandidates(
        tuple(entry for entry in made if not entry.is_ipv6), tuple(entry for entry in made if entry.is_ipv6)
    )


A = host("a.test", "192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2")
B = host("b.test", "192.0.2.3", "2001:db8::3")


def addresses(hosts: list[HostCandidates], rules: RoutingRules | None = None) -> list[str]:
    return [entry.address for entry in order_candidates(hosts, rules or RoutingRules(), Reversing())]


def test_hosts_stay_together_and_ipv4_goes_first() -> None:
    expected = ["192.0.2.3", "2001:db8::3", "192.0.2.2", "192.0.2.1", "2001:db8::2", "2001:db8::1"]
    assert addresses([A, B]) == expected


def test_ipv6_goes_first_if_the_operator_says_so() -> None:
    assert addresses([A], RoutingRules(is_v6_first=True)) == [
        "2001:db8::2",
        "2001:db8::1",
        "192.0.2.2",
        "192.0.2.1",
    ]


def test_no_hosts_have_no_order() -> None:
    assert addresses([]) == []


def test_every_order_within_a_preference_occurs() -> None:
    rng = random.Random(7)
    first = {order_candidates([A, B], RoutingRules(), rng)[0].address for _ in range(50)}
    assert first == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}


def test_a_host_with_an_address_of_ours_would_loop() -> None:
    rules = RoutingRules(own_endpoints=frozenset({("192.0.2.3", 25), ("2001:db8::9", 25)}))
    assert would_loop([A, B], rules)
    assert not would_loop([A], rules)
    assert would_loop([host("c.test", "2001:db8::9")], rules)
    assert not would_loop([A, B], RoutingRules())


def test_the_same_address_on_another_port_is_somebody_else() -> None:
    rules = RoutingRules(own_endpoints=frozenset({("192.0.2.3", 25)}))
    assert not would_loop([host("b.test", "192.0.2.3", port=2525)], rules)
