"""Addresses that are connected, and those that are not (spec responsive.md 10)."""

from __future__ import annotations

import ipaddress

import pytest

from relayq.adapters.address_guard import AddressGuard, ForbiddenAddressError
from relayq.config import load, parse_options


def by_default(*exceptions: str) -> AddressGuard:
    options = [f"--download-whitelist={','.join(exceptions)}"] if exceptions else []
    downloads = load(parse_options(options), environ={}, no_default_config=True).downloads
    return AddressGuard(downloads.blacklist, downloads.whitelist)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
        "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "2001:db8::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::",
        "2001:0:7f00:1::", "2001:0:1:1:1:1:f5ff:fffe", "::127.0.0.1", "x", "", "localhost", "127.1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_forbidden_by_default(address: str) -> None:
    assert not by_default().may_connect(address, 80)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2001:4860:4860::8888"])
def test_what_is_public_is_not(address: str) -> None:
    assert by_default().may_connect(address, 80)


def test_exceptions_are_for_a_network_and_its_port() -> None:
    guard = by_default("10.1.2.0/24:8080", "192.168.0.0/16", "[fd00::/8]:443")
    assert guard.may_connect("10.1.2.3", 8080)
    assert guard.may_connect("::ffff:10.1.2.3", 8080)
    assert guard.may_connect("192.168.9.9", 1)
    assert guard.may_connect("fd00::1", 443)
    assert not guard.may_connect("10.1.2.3", 80)
    assert not guard.may_connect("10.1.3.3", 8080)
    assert not guard.may_connect("fd00::1", 80)


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:a00:1", "2002:a00:1::", "64:ff9b::a00:1", "::10.0.0.1"])
def test_an_own_list_holds_for_addresses_inside_others(address: str) -> None:
    guard = AddressGuard([ipaddress.ip_network("10.0.0.0/8")])
    assert not guard.may_connect(address, 80)
    with pytest.raises(ForbiddenAddressError, match="forbidden address"):
        guard.check(address, 80)
    guard.check("127.0.0.1", 80)
