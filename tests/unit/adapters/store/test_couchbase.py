"""What only a store in Couchbase does, on a bucket in memory (there is no server to test with)."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acouchbase.cluster import AsyncCluster
from acouchbase.collection import AsyncCollection
from couchbase.exceptions import AuthenticationException, BucketNotFoundException

from relayq.adapters.store.couchbase import Collection, CouchbaseStore, Link
from relayq.config.store_address import parse_store_address
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError
from tests.support.stores.couchbase import FakeBucket, Stored

ADDRESS = parse_store_address("couchbase://anna:hunter2@127.0.0.1/bodies")


class Bench:
    """A bucket, and stores in it."""

    def __init__(self) -> None:
        self.bucket = FakeBucket()
        self.connections = 0
        self.refuses = False
        self._stores: list[CouchbaseStore] = []

    def open(self, **arguments: int) -> CouchbaseStore:
        store = CouchbaseStore(ADDRESS, connect=self._connect, **arguments)
        self._stores.append(store)
        return store

    async def _connect(self, address: StoreAddress) -> Link:
        assert address is ADDRESS
        self.connections += 1
        await asyncio.sleep(0)
        if self.refuses:
            raise AuthenticationException("who are you?")
        return Link(self.bucket, self.bucket.hang_up)

    def document(self, one: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.bucket.documents[one].value)
        return content

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.close()


def soon(hours: float = 1) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


@pytest.mark.parametrize("verb", ["get", "upsert", "remove", "touch"])
def test_the_client_has_what_is_used_of_it(verb: str) -> None:
    real, used = getattr(AsyncCollection, verb), getattr(Collection, verb)
    assert inspect.iscoroutinefunction(real)
    assert list(inspect.signature(real).parameters)[: len(inspect.signature(used).parameters)] == list(
        inspect.signature(used).parameters
    )


# --- documents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value", "is_base64"),
    [
        ("Grüße\r\n".encode(), "Grüße\r\n", False),
        (b"", "", False),
        (b"\xff\0", "/wA=", True),
        (b"\0" * 9, "AAAAAAAAAAAA", True),  # nine times \u0000 as a text
    ],
    ids=["text", "empty", "octets", "text that JSON blows up"],
)
async def test_a_document_is_a_text_where_that_is_shorter(
    bench: Bench, body: bytes, value: str, is_base64: bool
) -> None:
    expire_at = soon()
    await bench.open().save("key", body, expire_at)
    document = bench.document("key")
    assert document.pop("modified") == pytest.approx(time.time(), abs=60)
    assert document == {
        "value": value,
        **({"base64": True} if is_base64 else {}),
        "encoding": "identity",
        "expire": int(expire_at.timestamp()),
    }
    assert bench.bucket.documents["key"].expire == pytest.approx(expire_at.timestamp(), abs=2)


async def test_parts_are_named_and_placed_as_in_mongodb(bench: Bench) -> None:
    store = bench.open(part_bytes=4)
    await store.save("key", b"123456789", soon())
    master = bench.document("key")
    assert (master["keys"], master["size"]) == (["key.part0", "key.part1", "key.part2"], 9)
    assert "value" not in master
    parts = [bench.document(part) for part in master["keys"]]
    assert [(part["parent"], part["offset"], part["value"]) for part in parts] == [
        ("key", 0, "1234"),
        ("key", 4, "5678"),
        ("key", 8, "9"),
    ]


async def test_a_key_that_is_too_long_becomes_its_digest(bench: Bench) -> None:
    store = bench.open(part_bytes=4)
    for key in ("k" * 246, "k" * 247, "k" * 243):  # the last one is too long with a number behind it
        await store.save(key, b"12345", soon())
        assert await store.load(key) == b"12345"
        assert key in bench.bucket.documents or key == "k" * 247
        await store.delete(key)
        assert not bench.bucket.documents


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not JSON",
        b"[1]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"value": 7}',
        b'{"value": "?", "base64": true}',
        b'{"value": "x", "encoding": "zstd"}',
        b'{"keys": ["part"]}',
        b'{"keys": ["part"], "size": 5}',
        b'{"keys": ["part", "part"], "size": 8}',
        b'{"keys": ["part", "gone"], "size": 8}',
        b'{"keys": "part", "size": 4}',
    ],
    ids=lambda document: document[:40].decode("latin-1"),
)
async def test_a_document_that_makes_no_sense_is_damaged(bench: Bench, document: bytes) -> None:
    bench.bucket.documents["key"] = Stored(document, 0, 0)
    bench.bucket.documents["part"] = Stored(b'{"value": "1234", "offset": 0}', 0, 0)
    store = bench.open()
    with pytest.raises(StoreDamagedError):
        await store.load("key")
    if document.startswith(b"{"):  # the real server would not let us look for parts in the others either
        await store.delete("key")
        assert await store.load("key") is None


async def test_a_body_whose_parts_expired_first_is_unknown(bench: Bench) -> None:
    store = bench.open(part_bytes=4)
    await store.save("key", b"12345", soon())
    document = {**bench.document("key"), "expire": int(time.time())}
    bench.bucket.documents = {"key": Stored(json.dumps(document).encode(), 0, 0)}
    assert await store.load("key") is None


# --- connections -----------------------------------------------------------------------------------------------------


async def test_everybody_shares_one_connection(bench: Bench) -> None:
    store = bench.open(threads=5)
    await asyncio.gather(*(store.load("key") for _ in range(20)))
    assert bench.connections == 1
    await store.close()
    assert bench.bucket.left == 1


async def test_a_refused_connection_is_tried_again(bench: Bench) -> None:
    store = bench.open(threads=5)
    bench.refuses = True
    found = await asyncio.gather(*(store.load("key") for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in found] == ["couchbase: Authentication: who are you?"] * 3
    bench.refuses = False
    assert await store.load("key") is None
    assert bench.connections == 2


async def test_a_server_that_is_away_for_a_while(bench: Bench) -> None:
    store = bench.open()
    await store.save("key", b"body", soon())
    bench.bucket.is_down = True
    for operation in (store.load("key"), store.save("key", b"x", soon()), store.delete("key"), store.probe()):
        with pytest.raises(StoreUnavailableError, match="couchbase: UnAmbiguousTimeout: timed out"):
            await operation
    bench.bucket.is_down = False
    assert await store.load("key") == b"body"


async def test_who_leaves_does_not_disturb_the_client(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store, answer = bench.open(), asyncio.Event()
    get = bench.bucket.get

    async def slow(key: str, *options: object) -> object:
        await answer.wait()
        return await get(key, *options)

    monkeypatch.setattr(bench.bucket, "get", slow)
    for _ in range(3):  # the only turn is free again each time
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.load("key"), 0.01)
    assert not bench.bucket.calls
    answer.set()
    assert await store.load("key") is None
    assert len(bench.bucket.calls) == 4


@pytest.mark.parametrize(
    ("text", "string", "login"),
    [
        (
            "couchbase://anna:p%40ss@[::1]:11999;other.test/bodies?kv_connect_timeout=3&compression=gzip",
            "couchbase://[::1]:11999,other.test?kv_connect_timeout=3",
            ("anna", "p@ss"),
        ),
        ("couchbases://lone@h/bodies", "couchbases://h", ("bodies", "lone")),
    ],
)
async def test_everything_of_the_address_reaches_the_client(
    monkeypatch: pytest.MonkeyPatch, text: str, string: str, login: tuple[str, str]
) -> None:
    asked: list[tuple[object, ...]] = []

    class Cluster:
        async def close(self) -> None:
            asked.append(("close",))

        def bucket(self, name: str) -> object:
            asked.append(("bucket", name))
            raise BucketNotFoundException("no such bucket")

    async def connect(connection_string: str, options: dict[str, Any]) -> Cluster:
        known = options["authenticator"].as_dict()
        asked.append((connection_string, known["username"], known["password"]))
        return Cluster()

    monkeypatch.setattr(AsyncCluster, "connect", connect)
    store = CouchbaseStore(parse_store_address(text))
    with pytest.raises(StoreUnavailableError, match="couchbase: BucketNotFound: no such bucket"):
        await store.probe()
    assert asked == [(string, *login), ("bucket", "bodies"), ("close",)]
    await store.close()
