"""Message stores on servers that restart, hang, refuse, fill up or were never there."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from relayq.adapters.store import open_store
from relayq.adapters.store.redis import RedisStore
from relayq.adapters.store.resp import RespConnection
from relayq.config.store_address import parse_store_address
from relayq.ports import MessageStore, StoreAddress, StoreUnavailableError
from tests.support.engine import eventually
from tests.support.stores.databases import PASSWORD, USER, DatabaseServer

PATIENCE = 90.0
TURNS = 2000
"""More than any machine makes until the server is killed."""
EXPIRE_AT = datetime.now(UTC) + timedelta(hours=1)
BODY = b"Subject: x\r\n\r\nHello.\r\n" * 100


@pytest.fixture(params=["postgresql", "mariadb", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """The server of the session, which runs before and after the test."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    server.start()
    yield server
    server.start()


@pytest.fixture
def address(server: DatabaseServer) -> StoreAddress:
    """Where the store is."""
    return parse_store_address(server.address)


@pytest.fixture
async def store(address: StoreAddress) -> AsyncIterator[MessageStore]:
    """A store with two connections at most, and an entry."""
    store = open_store(address, 2)
    async with asyncio.timeout(PATIENCE):
        await store.save("first", BODY, EXPIRE_AT)
    yield store
    await store.close()


async def fails(operation: Callable[[], object]) -> str:
    """The error of an operation that cannot succeed, which tells no secret."""
    with pytest.raises(StoreUnavailableError) as caught:
        async with asyncio.timeout(PATIENCE):
            await operation()  # type: ignore[misc]
    text = f"{caught.value} {caught.value!r}"
    assert PASSWORD not in text
    assert USER not in text
    assert "wrong password" not in text
    return text


async def test_a_restart_between_operations_goes_unnoticed(server: DatabaseServer, store: MessageStore) -> None:
    for end in (server.kill, server.stop):
        await asyncio.to_thread(end)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(PATIENCE):
            assert await store.load("first") == BODY
            await store.save("second", b"2", EXPIRE_AT)
            await store.refresh("second", EXPIRE_AT)
            await store.delete("second")


async def test_a_server_that_is_down_is_found_out_soon_and_used_again(
    server: DatabaseServer, store: MessageStore
) -> None:
    await asyncio.to_thread(server.kill)
    started = time.monotonic()
    for _ in range(3):
        await fails(lambda: store.load("first"))
        await fails(lambda: store.save("second", b"", EXPIRE_AT))
    assert time.monotonic() - started < 60
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(PATIENCE):
        assert await store.load("first") == BODY


async def test_a_store_opened_before_its_server_runs_works_once_it_does(
    server: DatabaseServer, address: StoreAddress
) -> None:
    await asyncio.to_thread(server.kill)
    store = open_store(address, 2)
    await fails(store.probe)
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(PATIENCE):
        await store.probe()
    await store.close()


async def test_a_crash_under_load_loses_nothing_that_was_confirmed(server: DatabaseServer, store: MessageStore) -> None:
    saved: list[str] = []

    async def save(number: int) -> None:
        for turn in range(TURNS):
            key = f"load-{number}-{turn}"
            try:
                await store.save(key, f"{key} ".encode() * 1000, EXPIRE_AT)
            except StoreUnavailableError:
                return
            saved.append(key)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(save(number))
        await eventually(lambda: len(saved) >= 100, "bodies are saved", PATIENCE)
        await asyncio.to_thread(server.kill)
    assert len(saved) < 8 * TURNS
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(PATIENCE):
        for key in saved:
            assert await store.load(key) == f"{key} ".encode() * 1000
            await store.delete(key)


async def test_a_server_that_hangs_is_left_and_taken_up_again(
    server: DatabaseServer, store: MessageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayq.adapters.store.resp.SILENCE_SECONDS", 0.2)
    # Of PostgreSQL only the connections are stopped, by the process that serves each.
    pids = [server.pid, *children_of(server.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await store.load("first")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        assert await store.load("first") == BODY


def children_of(pid: int) -> list[int]:
    """Processes a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


async def test_a_wrong_password_is_told_without_secrets(address: StoreAddress, store: MessageStore) -> None:
    wrong = open_store(replace(address, password="wrong password"), 1)
    assert "access denied" in await fails(wrong.probe)
    await wrong.close()
    assert await store.load("first") == BODY


async def test_a_database_that_is_not_there(address: StoreAddress) -> None:
    name = "60000" if address.engine == "redis" else "nowhere"
    store = open_store(replace(address, database=name), 1)
    text = await fails(store.probe)
    # MariaDB does not tell those who have no rights what there is.
    assert name in text or "out of range" in text or "access denied" in text
    await store.close()


async def test_a_table_that_was_removed_is_made_again(server: DatabaseServer, store: MessageStore) -> None:
    if isinstance(store, RedisStore):
        pytest.skip("has no table")
    for _ in range(2):
        await store._connections.run(lambda connection: connection.execute("DROP TABLE messages"))  # type: ignore[attr-defined]
        assert await store.load("first") is None
        await store.save("first", BODY, EXPIRE_AT)
        assert await store.load("first") == BODY
        await store.delete("first")


async def test_a_full_server_refuses_to_write_and_goes_on_reading(redis: DatabaseServer) -> None:
    store = RedisStore(parse_store_address(redis.address))
    await store.save("first", BODY, EXPIRE_AT)
    await store._ask(("CONFIG", "SET", "maxmemory", "1"))
    try:
        assert "OOM" in await fails(lambda: store.save("second", BODY, EXPIRE_AT))
        assert await store.load("first") == BODY
    finally:
        await store._ask(("CONFIG", "SET", "maxmemory", "0"))
    await store.save("second", BODY, EXPIRE_AT)
    await store.close()


async def test_a_database_that_may_only_be_read(postgresql: DatabaseServer) -> None:
    store = open_store(parse_store_address(postgresql.address))
    await store.save("first", BODY, EXPIRE_AT)
    run = store._connections.run  # type: ignore[attr-defined]
    await run(lambda connection: connection.execute("SET default_transaction_read_only = on"))
    assert "read-only" in await fails(lambda: store.save("second", BODY, EXPIRE_AT))
    assert await store.load("first") == BODY
    await store.close()


async def test_a_peer_that_speaks_another_protocol_is_no_store(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayq.adapters.store.postgresql.CONNECT_SECONDS", 0.2)  # it goes on reading

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 100 + b"220 mx.example.test ESMTP\r\n" * 100)
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    store = open_store(replace(address, hosts=(("127.0.0.1", port),)))
    for _ in range(2):
        await fails(lambda: store.load("first"))
    await store.close()
    listener.close()
    await listener.wait_closed()


async def test_answers_nobody_asked_for_end_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n" * 10)
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(RespConnection, "127.0.0.1", port)
    await eventually(lambda: not connection.is_usable, "the connection ends", PATIENCE)
    listener.close()
    await listener.wait_closed()
