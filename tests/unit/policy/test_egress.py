"""The local address a message leaves from (spec delivery.md 7)."""

from __future__ import annotations

import pytest

from relayq.model import Message, parse_address
from relayq.policy.egress import allowed_egress_ips, order_egress_ips

A, B, C, V6 = "192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"


def message(ips: tuple[str, ...] | None) -> Message:
    return Message(members={}, sender=None, recipient=parse_address("a@x.test"), ips=ips)


@pytest.mark.parametrize(
    ("ips", "default", "allowed"),
    [
        ((A,), (B,), (A,)),
        ((), (B,), ()),
        (None, (B, C), (B, C)),
        (None, (), (None,)),
        ((), (), ()),
    ],
)
def test_the_message_comes_before_the_configuration_and_the_host(
    ips: tuple[str, ...] | None, default: tuple[str, ...], allowed: tuple[str | None, ...]
) -> None:
    assert allowed_egress_ips(message(ips), default) == allowed


def order(
    allowed: tuple[str | None, ...], previous: str | None = None, *, ipv6: bool = False, idle: tuple[str, ...] = ()
) -> list[str | None]:
    return order_egress_ips(
        allowed, previous, ipv6=ipv6, has_idle=lambda ip: ip in idle, shuffle=lambda ips: ips.reverse()
    )


def test_the_order_is_random() -> None:
    assert order((A, B, C)) == [C, B, A]


def test_an_idle_connection_comes_first() -> None:
    assert order((A, B, C), idle=(B,)) == [B, C, A]


def test_the_previous_address_comes_before_an_idle_connection() -> None:
    assert order((A, B, C), A, idle=(B,)) == [A, B, C]


def test_a_previous_address_that_is_not_allowed_any_more_is_forgotten() -> None:
    assert order((A, B), C) == [B, A]


def test_only_the_family_of_the_remote_address_is_used() -> None:
    assert order((A, V6, B)) == [B, A]
    assert order((A, V6, B), A, ipv6=True) == [V6]
    assert order((A, B), ipv6=True) == []


def test_the_hosts_own_choice_fits_both_families() -> None:
    assert order((None,)) == [None]
    assert order((None,), A, ipv6=True) == [None]


def test_a_single_address_needs_no_dice() -> None:
    def refuse(_: list[str | None]) -> None:
        raise AssertionError

    assert order_egress_ips((A,), None, ipv6=False, has_idle=lambda _: False, shuffle=refuse) == [A]
