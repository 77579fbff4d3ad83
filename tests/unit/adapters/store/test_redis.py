from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import hiredis
import pytest

from relayq.adapters.store import resp
from relayq.adapters.store.redis import RedisStore
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError

EXPIRE_AT = datetime.now(UTC) + timedelta(hours=1)
Command = list[bytes]


class ScriptedRedis:
    """Answers every command with what a function says.

    Attributes:
        connections: What each connection asked for, in order.
    """

    def __init__(self) -> None:
        self.connections: list[list[Command]] = []
        self.answer: Callable[[Command], bytes | None] = lambda _command: b"+OK\r\n"
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands: list[Command] = []
        self.connections.append(commands)
        requests = hiredis.Reader()
        while data := await reader.read(65536):
            requests.feed(data)
            while (command := requests.gets()) is not False:
                commands.append(command)
                said = b"+OK\r\n" if command[0] in (b"AUTH", b"SELECT") else self.answer(command)
                if said is None:
                    writer.close()
                    return
                writer.write(said)
        writer.close()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRedis]:
    server = ScriptedRedis()
    yield server
    await server.close()


@pytest.fixture
async def store(server: ScriptedRedis) -> AsyncIterator[RedisStore]:
    address = StoreAddress(
        engine="redis", scheme="redis", hosts=(("127.0.0.1", await server.start()),), database="3", prefix="p:"
    )
    store = RedisStore(address)
    yield store
    await store.close()


async def test_one_login_and_one_piece_per_operation(server: ScriptedRedis, store: RedisStore) -> None:
    await store.save("key", b"body", EXPIRE_AT)
    [[select, hset, expire]] = server.connections
    assert select == [b"SELECT", b"3"]
    assert hset[:5] == [b"HSET", b"p:key", b"value", b"body", b"encoding"]
    assert expire == [b"EXPIREAT", b"p:key", b"%d" % EXPIRE_AT.timestamp()]


async def test_operations_share_one_connection_and_get_their_own_answers(
    server: ScriptedRedis, store: RedisStore
) -> None:
    server.answer = lambda command: b"*2\r\n$%d\r\n%s\r\n$-1\r\n" % (len(command[1]), command[1])
    keys = [f"key-{number}" for number in range(100)]
    assert await asyncio.gather(*map(store.load, keys)) == [f"p:{key}".encode() for key in keys]
    assert len(server.connections) == 1


async def test_a_cancelled_operation_leaves_its_place_in_the_line(server: ScriptedRedis, store: RedisStore) -> None:
    server.answer = lambda command: b"*2\r\n$%d\r\n%s\r\n$-1\r\n" % (len(command[1]), command[1])
    await store.probe()
    first, second = (asyncio.create_task(store.load(key)) for key in ("first", "second"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"p:second"
    assert len(server.connections) == 1


async def test_a_closed_connection_is_opened_again(server: ScriptedRedis, store: RedisStore) -> None:
    answers = iter([None, b"*2\r\n$4\r\nbody\r\n$-1\r\n"])
    server.answer = lambda _command: next(answers)
    assert await store.load("key") == b"body"
    assert len(server.connections) == 2


async def test_a_server_that_always_hangs_up_is_given_up(server: ScriptedRedis, store: RedisStore) -> None:
    server.answer = lambda _command: None
    with pytest.raises(StoreUnavailableError, match="the connection was lost"):
        await store.load("key")
    assert len(server.connections) == 3


@pytest.mark.parametrize(
    ("said", "text", "again"),
    [
        (b"-OOM command not allowed\r\n", "redis: OOM command not allowed", False),
        (b"-NOPERM User u has no permissions\r\n", "redis: NOPERM access denied", False),
        (b"-READONLY You can't write against a read only replica.\r\n", "redis: READONLY", True),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "redis: LOADING", True),
    ],
)
async def test_a_refusal_is_told(server: ScriptedRedis, store: RedisStore, said: bytes, text: str, again: bool) -> None:
    server.answer = lambda _command: said
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match=f"^{text}"):
            await store.save("key", b"body", EXPIRE_AT)
    assert len(server.connections) == (2 if again else 1)


async def test_another_kind_of_entry_is_no_body(server: ScriptedRedis, store: RedisStore) -> None:
    server.answer = lambda _command: b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    with pytest.raises(StoreDamagedError):
        await store.load("key")


@pytest.mark.parametrize("said", [b"!!!\r\n", b"+OK\r\n+and\r\n+more\r\n", b"*-7\r\n"])
async def test_what_makes_no_sense_ends_the_connection(server: ScriptedRedis, store: RedisStore, said: bytes) -> None:
    server.answer = lambda _command: said
    with pytest.raises(StoreUnavailableError):
        await store.load("key")


async def test_an_answer_without_end_ends_the_connection(
    server: ScriptedRedis, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resp, "_MOST_BUFFERED_BYTES", 100_000)
    server.answer = lambda _command: b"*2\r\n$400000000\r\n" + b"x" * 1_000_000
    with pytest.raises(StoreUnavailableError, match="lost"):
        await store.load("key")


@pytest.mark.parametrize(("left", "moved"), [(-2, False), (-1, False), (0, True), (1000, True), (7_200_000, False)])
async def test_an_expiry_only_moves_to_later(server: ScriptedRedis, store: RedisStore, left: int, moved: bool) -> None:
    server.answer = lambda _command: b":%d\r\n" % left
    await store.refresh("key", datetime.now(UTC) + timedelta(hours=1))
    assert (b"EXPIREAT" in [command[0] for command in server.connections[0]]) == moved
