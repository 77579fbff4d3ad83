"""What only a store in MongoDB does: its documents, queries for several keys, and servers that come and go."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.errors import InvalidBSON
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from relayq.adapters.store.mongodb import MongoDbStore
from relayq.config.store_address import parse_store_address
from relayq.ports import StoreDamagedError, StoreUnavailableError
from tests.conftest import missing_server
from tests.support.engine import eventually
from tests.support.stores.secantus import Secantus

MIB = 1024 * 1024
HOUR = timedelta(hours=1)
PASSWORD = "hunter2/ü@:?"
QUICK = "serverSelectionTimeoutMS=1000"

Document = dict[str, Any]


class Place:
    """A database of a test's own, and what another program does there."""

    def __init__(self, port: int) -> None:
        self.database = f"test-{secrets.token_hex(6)}"
        self.client: AsyncMongoClient[Document] = AsyncMongoClient("127.0.0.1", port, tz_aware=True)
        self.collection = self.client[self.database]["bodies"]
        self._port = port
        self._stores: list[MongoDbStore] = []

    def open(self, options: str = "", **arguments: int) -> MongoDbStore:
        address = parse_store_address(f"mongodb://127.0.0.1:{self._port}/{self.database}/bodies?{options}")
        store = MongoDbStore(address, **arguments)
        self._stores.append(store)
        return store

    async def documents(self) -> dict[str, Document]:
        return {document["_id"]: document async for document in self.collection.find()}

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        await self.client.close()


@pytest.fixture
async def place(secantus: Secantus) -> AsyncIterator[Place]:
    place = Place(secantus.port)
    yield place
    await place.close()


def soon() -> datetime:
    """An expiry as precise as the server keeps it."""
    return (datetime.now(UTC) + HOUR).replace(microsecond=0)


# --- documents -------------------------------------------------------------------------------------------------------


async def test_a_document_has_the_fields_other_programs_know(place: Place) -> None:
    expire_at = soon()
    await place.open().save("plain", b"\xff body", expire_at)
    await place.open("compression=gzip").save("packed", b"body " * 100, expire_at)
    documents = await place.documents()
    assert set(documents["plain"]) == {"_id", "value", "encoding", "expire", "modified"}
    assert documents["plain"]["value"] == b"\xff body"
    assert documents["plain"]["encoding"] == "identity"
    assert documents["plain"]["expire"] == expire_at
    assert abs(documents["plain"]["modified"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert documents["packed"]["encoding"] == "gzip"
    assert documents["packed"]["value"].startswith(b"\x1f\x8b")


async def test_a_body_of_40_mib_is_a_master_and_three_parts(place: Place) -> None:
    store, expire_at = place.open(), soon()
    body = random.Random(1).randbytes(40 * MIB)
    await store.save("large", body, expire_at)
    documents = await place.documents()
    parts = [f"large.part{number}" for number in range(3)]
    master = documents.pop("large")
    assert set(master) == {"_id", "keys", "size", "encoding", "expire", "modified"}
    assert (master["keys"], master["size"], master["expire"]) == (parts, 40 * MIB, expire_at)
    assert list(documents) == parts
    for number, part in enumerate(parts):
        assert set(documents[part]) == {"_id", "parent", "value", "offset", "expire", "modified"}
        assert (documents[part]["parent"], documents[part]["offset"]) == ("large", number * 15 * MIB)
    assert await store.load("large") == body
    await store.delete("large")
    assert not await place.documents()


async def test_a_later_expiry_reaches_every_part(place: Place) -> None:
    store, expire_at = place.open(part_bytes=10), soon()
    await store.save("key", b"x" * 25, expire_at)
    await store.refresh("key", expire_at - HOUR / 2)
    assert {document["expire"] for document in (await place.documents()).values()} == {expire_at}
    await store.refresh("key", expire_at + HOUR)
    assert {document["expire"] for document in (await place.documents()).values()} == {expire_at + HOUR}


async def test_the_server_is_told_to_remove_what_has_expired(place: Place) -> None:
    await place.open().save("key", b"body", soon())
    indexes = await place.collection.index_information()
    assert indexes["expire_1"]["expireAfterSeconds"] == 0


async def test_an_index_of_the_administrator_is_left_alone(place: Place) -> None:
    await place.collection.create_index("expire", name="theirs", expireAfterSeconds=3600)
    store = place.open()
    await store.save("key", b"body", soon())
    assert set(await place.collection.index_information()) == {"_id_", "theirs"}
    assert await store.load("key") == b"body"


@pytest.mark.parametrize(
    "document",
    [
        {"value": "Grüße\r\n"},
        {"value": "Grüße\r\n".encode(), "encoding": "identity", "campaign": 7},
        {"keys": ["other", "ids"], "size": 9},
    ],
    ids=["text", "more fields", "parts"],
)
async def test_documents_of_other_programs_are_read(place: Place, document: Document) -> None:
    await place.collection.insert_many(
        [
            {"_id": "key", **document},
            {"_id": "other", "value": b"Gr\xc3\xbc\xc3", "offset": 0},
            {"_id": "ids", "value": b"\x9fe\r\n", "offset": 5},
        ]
    )
    assert await place.open().load("key") == "Grüße\r\n".encode()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"value": None},
        {"value": 7},
        {"value": b"x", "encoding": "zstd"},
        {"value": b"x", "encoding": 1},
        {"value": b"x", "encoding": "gzip"},
        {"keys": "part", "size": 4},
        {"keys": ["part", 7], "size": 4},
        {"keys": ["part"], "size": 5},
        {"keys": ["part"], "size": "4"},
        {"keys": ["part"]},
        {"keys": ["part", "part"], "size": 8},
        {"keys": ["part", "gone"], "size": 8},
        {"keys": ["part", "apart"], "size": 8},
        {"keys": ["part", "empty"], "size": 4},
    ],
    ids=str,
)
async def test_a_document_that_makes_no_sense_is_damaged(place: Place, document: Document) -> None:
    await place.collection.insert_many(
        [
            {"_id": "key", **document},
            {"_id": "part", "value": b"1234", "offset": 0},
            {"_id": "apart", "value": b"5678", "offset": 5},
            {"_id": "empty", "offset": 4},
        ]
    )
    store = place.open()
    with pytest.raises(StoreDamagedError):
        await store.load("key")
    await store.delete("key")
    assert await store.load("key") is None


async def test_a_body_whose_parts_expired_first_is_unknown(place: Place) -> None:
    late = datetime.now(UTC) - timedelta(seconds=1)
    await place.collection.insert_one({"_id": "key", "keys": ["gone"], "size": 4, "expire": late})
    assert await place.open().load("key") is None


# --- queries ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The conditions of all queries, of one document too."""
    asked: list[object] = []
    find = AsyncCollection.find

    def counted(self: AsyncCollection[Document], condition: object, *arguments: Any, **named: Any) -> Any:
        asked.append(condition)
        return find(self, condition, *arguments, **named)

    monkeypatch.setattr(AsyncCollection, "find", counted)
    return asked


@pytest.mark.parametrize(("options", "expected"), [("", 2), ("maxQuerySize=10", 5)])
async def test_loads_that_wait_share_a_query(place: Place, queries: list[object], options: str, expected: int) -> None:
    store = place.open(options)
    for number in range(20):
        await store.save(f"key-{number}", b"%d" % number, soon())
    queries.clear()
    # Two ask for the same key, and every fourth for one that is not there.
    found = await asyncio.gather(*(store.load(f"key-{number // 2 if number % 4 else 99}") for number in range(41)))
    assert found == [b"%d" % (number // 2) if number % 4 else None for number in range(41)]
    assert len(queries) == expected


async def test_a_document_that_cannot_be_read_harms_no_other_in_its_query(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.open()
    await store.save("good", b"body", soon())
    find = AsyncCollection.find

    def refused(self: AsyncCollection[Document], condition: Document, *arguments: Any, **named: Any) -> Any:
        if "bad" in str(condition):
            raise InvalidBSON("what is that?")
        return find(self, condition, *arguments, **named)

    monkeypatch.setattr(AsyncCollection, "find", refused)
    keys = ("good", "bad", "good", "good")
    found = await asyncio.gather(*(store.load(key) for key in keys), return_exceptions=True)
    assert [one for one in found if isinstance(one, bytes)] == [b"body"] * 3
    assert isinstance(found[1], StoreDamagedError)


async def test_an_unknown_key_is_asked_for_again_while_replicas_lag(place: Place, queries: list[object]) -> None:
    patient = place.open("readAttempts=100")
    loading = asyncio.create_task(patient.load("late"))
    await eventually(lambda: bool(queries), "it has been asked for once")
    await place.collection.insert_one({"_id": "late", "value": b"body"})
    assert await loading == b"body"
    queries.clear()
    assert await place.open("readAttempts=3").load("never") is None
    assert len(queries) == 3


# --- servers that come and go ----------------------------------------------------------------------------------------


async def test_a_server_that_was_killed_is_found_again_with_everything(place: Place, secantus: Secantus) -> None:
    used, fresh = place.open(QUICK), place.open(QUICK)
    await used.save("key", b"body", soon())
    secantus.kill()
    try:
        with pytest.raises(StoreUnavailableError, match=r"mongodb: .+"):
            await used.load("key")
        with pytest.raises(StoreUnavailableError, match=r"mongodb: .+"):
            await fresh.save("other", b"body", soon())
    finally:
        await asyncio.to_thread(secantus.start)
    for store in (used, fresh):
        assert await store.load("key") == b"body"
    await used.save("other", b"body", soon())
    assert await fresh.load("other") == b"body"


async def test_a_server_that_hangs_holds_nothing_up_once_it_goes_on(place: Place, secantus: Secantus) -> None:
    store = place.open()
    await store.save("key", b"body", soon())
    await asyncio.to_thread(secantus.freeze)
    try:
        for _ in range(3):
            loads = [asyncio.create_task(store.load("key")) for _ in range(5)]
            done, _ = await asyncio.wait(loads, timeout=0.2)
            assert not done
            for load in loads:
                load.cancel()
            await asyncio.gather(*loads, return_exceptions=True)
            await eventually(
                lambda: not any("_Batch" in repr(task) for task in asyncio.all_tasks()), "no query is left"
            )
    finally:
        secantus.thaw()
    async with asyncio.timeout(90):
        assert await asyncio.gather(*(store.load("key") for _ in range(5))) == [b"body"] * 5


# --- users -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[Secantus]:
    """A server on which ``anna`` may use the database ``mail``, and ``root`` of ``admin`` everything."""
    if not Secantus.is_installed():
        missing_server("SecantusDB")
    with Secantus() as server:
        asyncio.run(_make_users(server.port))
        server.stop()
        server.options = ("--auth",)
        server.start()
        yield server


async def _make_users(port: int) -> None:
    async with AsyncMongoClient[Document]("127.0.0.1", port) as client:
        for database, user, role in (("mail", "anna", "readWrite"), ("admin", "root", "root")):
            await client[database].command("createUser", user, pwd=PASSWORD, roles=[{"role": role, "db": database}])


def shown(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2F").replace("@", "%40").replace(":", "%3A").replace("?", "%3F")


@pytest.mark.parametrize(("user", "options"), [("anna", ""), ("root", "?authSource=admin")])
async def test_a_user_is_one_of_the_database_unless_told_otherwise(guarded: Secantus, user: str, options: str) -> None:
    address = f"mongodb://{user}:{shown(PASSWORD)}@127.0.0.1:{guarded.port}/mail/bodies{options}"
    store = MongoDbStore(parse_store_address(address))
    await store.save("key", b"body", soon())
    assert await store.load("key") == b"body"
    await store.close()


@pytest.mark.parametrize("credentials", [f"anna:{shown(PASSWORD)}x@", f"root:{shown(PASSWORD)}@", ""])
async def test_who_may_not_is_told_so_without_the_password(guarded: Secantus, credentials: str) -> None:
    address = parse_store_address(f"mongodb://{credentials}127.0.0.1:{guarded.port}/mail/bodies?{QUICK}")
    store = MongoDbStore(address)
    for operation in (store.load("key"), store.save("key", b"body", soon())):
        with pytest.raises(StoreUnavailableError, match=r"(?i)auth") as caught:
            await operation
        assert "hunter2" not in f"{caught.value!r}{caught.value}{caught.value.__cause__!r}{address!r}"
    await store.close()
