"""Where policy files are not fetched from; the rest is tested over sockets."""

from __future__ import annotations

import pytest

from relayq.adapters.memory import ManualClock, MemoryResolver
from relayq.adapters.mta_sts import FetchError
from relayq.adapters.policy_fetcher import PolicyFetcher, is_public
from tests.support.ports import free_port


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.0.2.1",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:1::",
        "x", "",
    ],
)  # fmt: skip
def test_addresses_nobody_else_can_reach(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("domain", ["a.test", "127.0.0.1", "a b", "a/../b", "x" * 300])
async def test_nothing_is_fetched_from_inside_or_from_nonsense(domain: str) -> None:
    resolver = MemoryResolver(ManualClock())
    resolver.set_addresses("mta-sts.a.test", "127.0.0.1", "::1")
    fetcher = PolicyFetcher(resolver, port=free_port("127.0.0.1"))
    with pytest.raises(FetchError):
        await fetcher.fetch(domain)
    await fetcher.close()
    await fetcher.close()
