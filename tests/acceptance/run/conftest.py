"""The whole process against real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.dns_server import FakeDnsServer


@pytest.fixture
async def dns() -> AsyncIterator[FakeDnsServer]:
    """Knows ``example.test`` and ``d0.test`` … ``d9.test``, all at 127.0.0.1."""
    async with FakeDnsServer() as server:
        server.add("mx.example.test", "A", "127.0.0.1")
        for domain in ("example.test", *(f"d{number}.test" for number in range(10))):
            server.add(domain, "MX", "10 mx.example.test.")
        yield server


@pytest.fixture
def base_settings(dns: FakeDnsServer, tmp_path: Path) -> dict[str, str]:
    """Everything but the broker and the port mail goes to."""
    return {
        "rabbitmq-results": "results",
        "rabbitmq-success": "success",
        "rabbitmq-failure": "failure",
        "rabbitmq-retry": "retry",
        "dns-nameservers": dns.address,
        "smtp-out-hostname": "relayq.test",
        "retry-interval": "1",
    }
