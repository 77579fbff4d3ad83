"""No test of the engine leaves a socket open."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.engine import eventually, open_sockets


@pytest.fixture(autouse=True)
async def no_socket_is_left_over() -> AsyncIterator[None]:
    before = open_sockets()
    yield
    await eventually(lambda: open_sockets() <= before, "sockets are closed")
