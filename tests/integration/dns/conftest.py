"""A name server per test, and a resolver that asks it, with more patience than a busy machine needs."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relayq.adapters.dns import DnsOptions, DnsResolver
from relayq.adapters.memory import ManualClock
from tests.support.dns_server import FakeDnsServer

MakeResolver = Callable[..., DnsResolver]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def server() -> AsyncIterator[FakeDnsServer]:
    async with FakeDnsServer() as running:
        yield running


@pytest.fixture
async def make_resolver(clock: ManualClock) -> AsyncIterator[MakeResolver]:
    """Make a resolver asking the given servers; keyword arguments are those of `DnsOptions`."""
    made: list[DnsResolver] = []

    def make(*servers: FakeDnsServer | tuple[str, int], **options: Any) -> DnsResolver:
        addresses = tuple(server if isinstance(server, tuple) else (server.host, server.port) for server in servers)
        defaults: dict[str, Any] = {"interval": 5, "timeout": 5, "attempts": 3, "hosts_path": None}
        overrides = options.pop("overrides", None)
        resolver = DnsResolver(
            DnsOptions(nameservers=addresses, **{**defaults, **options}), clock, random.Random(1), overrides
        )
        made.append(resolver)
        return resolver

    yield make
    for resolver in made:
        await resolver.close()
