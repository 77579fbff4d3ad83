from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from relayq.adapters.store import connections as module
from relayq.adapters.store.connections import Connections, TryAgainError, one_line
from relayq.ports import StoreDamagedError, StoreUnavailableError


class Fake:
    """A connection that notes what is done to it."""

    def __init__(self) -> None:
        self.is_usable = True
        self.ended = ""

    def terminate(self) -> None:
        self.is_usable, self.ended = False, "terminated"

    async def close(self) -> None:
        self.is_usable, self.ended = False, "closed"


class Server:
    """Makes connections, or refuses to."""

    def __init__(self) -> None:
        self.made: list[Fake] = []
        self.is_down = False

    async def connect(self) -> Fake:
        if self.is_down:
            raise StoreUnavailableError("down")
        self.made.append(Fake())
        return self.made[-1]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def pool(server: Server) -> Connections[Fake]:
    return Connections(server.connect, 2)


def failing(*errors: BaseException | None, breaks: bool = True) -> Callable[[Fake], Awaitable[Fake]]:
    """An operation that fails in these ways in turn, ``None`` = not at all."""
    left = list(errors)

    async def operation(connection: Fake) -> Fake:
        if (error := left.pop(0)) is not None:
            connection.is_usable = not breaks
            raise error
        return connection

    return operation


async def test_a_connection_is_used_again(server: Server, pool: Connections[Fake]) -> None:
    for _ in range(3):
        assert await pool.run(failing(None)) is server.made[0]
    assert len(server.made) == 1
    await pool.close()
    assert server.made[0].ended == "closed"


async def test_a_lost_connection_is_replaced_at_once_and_the_idle_ones_with_it(
    server: Server, pool: Connections[Fake]
) -> None:
    both = asyncio.Barrier(2)

    async def meet(_connection: Fake) -> None:
        await both.wait()

    await asyncio.gather(pool.run(meet), pool.run(meet))
    assert await pool.run(failing(TryAgainError("gone"), None)) is server.made[2]
    assert [connection.ended for connection in server.made] == ["terminated", "terminated", ""]


async def test_what_was_given_up_for_another_is_tried_on_the_same_connection(
    server: Server, pool: Connections[Fake]
) -> None:
    deadlock = TryAgainError("deadlock")
    assert await pool.run(failing(deadlock, deadlock, None, breaks=False)) is server.made[0]
    assert len(server.made) == 1


async def test_trying_again_has_an_end(server: Server, pool: Connections[Fake]) -> None:
    with pytest.raises(TryAgainError, match="third"):
        await pool.run(failing(TryAgainError("first"), TryAgainError("second"), TryAgainError("third"), None))
    assert [connection.ended for connection in server.made] == ["terminated"] * 3


async def test_a_server_that_cannot_be_reached_is_asked_once(server: Server, pool: Connections[Fake]) -> None:
    server.is_down = True
    with pytest.raises(StoreUnavailableError, match="down"):
        await pool.run(failing(None))
    server.is_down = False
    assert await pool.run(failing(None)) is server.made[0]


async def test_an_error_of_the_operation_costs_no_connection(server: Server, pool: Connections[Fake]) -> None:
    with pytest.raises(StoreDamagedError):
        await pool.run(failing(StoreDamagedError("x"), breaks=False))
    assert await pool.run(failing(None)) is server.made[0]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("a mistake of ours")])
async def test_whatever_ends_in_the_middle_ends_the_connection(
    server: Server, pool: Connections[Fake], error: BaseException
) -> None:
    with pytest.raises(type(error)):
        await pool.run(failing(error, breaks=False))
    assert server.made[0].ended == "terminated"
    assert await pool.run(failing(None)) is server.made[1]


async def test_no_more_operations_at_a_time_than_connections(server: Server, pool: Connections[Fake]) -> None:
    running, most = 0, 0

    async def count(_connection: Fake) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await asyncio.gather(*(pool.run(count) for _ in range(20)))
    assert most == 2
    assert len(server.made) == 2


async def test_a_cancelled_wait_costs_nothing(server: Server, pool: Connections[Fake]) -> None:
    go = asyncio.Event()

    async def wait(_connection: Fake) -> None:
        await go.wait()

    tasks = [asyncio.create_task(pool.run(wait)) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    go.set()
    assert len(await asyncio.gather(*tasks, return_exceptions=True)) == 4
    assert [connection.ended for connection in server.made] == ["", ""]


async def test_a_connection_is_not_trusted_after_a_long_rest(
    server: Server, pool: Connections[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.run(failing(None))
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    assert await pool.run(failing(None)) is server.made[1]
    assert server.made[0].ended == "terminated"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no such thing", "no such thing"),
        ("duplicate\nDETAIL:  Key (id)=(secret)\r\nHINT: x", "duplicate"),
        ("\n\r\n", ""),
        ("a\r\nb", "a"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_the_log_gets_one_line(said: str, shown: str) -> None:
    assert one_line(said) == shown


@pytest.mark.parametrize("error", [OSError("reset"), StoreUnavailableError("gone"), None])
async def test_a_farewell_nobody_hears_does_not_matter(
    server: Server, pool: Connections[Fake], monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)

    async def close() -> None:
        if error is not None:
            raise error
        await asyncio.Event().wait()

    connection = await pool.run(failing(None))
    connection.close = close  # type: ignore[method-assign]
    await pool.close()
    assert connection.ended == "terminated"
