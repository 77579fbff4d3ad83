"""One life of stored content on every engine that is a server: found by its key, sent, gone (spec storage.md 10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from relayq.adapters.store import open_store
from relayq.adapters.store.couchbase import Link
from relayq.config.store_address import parse_store_address
from relayq.ports import MessageStore, StoreAddress
from relayq.trial import ReceivedMessage
from tests.support.engine import MIME, OUTBOX, Engine, mail
from tests.support.scripted_server import Expect, Send, mailfrom, opening, rcptto, transaction
from tests.support.stores.couchbase import FakeBucket
from tests.support.stores.databases import DatabaseServer
from tests.support.stores.moto import Moto
from tests.support.stores.secantus import Secantus

KEY = "campaign 77/änna"
REFUSED = [*opening(), *mailfrom(), *rcptto("550 5.1.1 no such user"), Expect(rb"RSET\r\n"), Send(b"250 fine\r\n")]
GREYLISTED = [*opening(), *mailfrom(), *rcptto("450 4.2.0 later"), Expect(rb"RSET\r\n"), Send(b"250 fine\r\n")]


@pytest.fixture(params=["postgresql", "mariadb", "redis", "secantus", "moto", "couchbase"])
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a store on a server, or for Couchbase on a bucket in memory."""
    if request.param == "couchbase":
        bucket = FakeBucket()

        async def link(_address: StoreAddress) -> Link:
            return Link(bucket, bucket.hang_up)

        monkeypatch.setattr("relayq.adapters.store.couchbase.open_link", link)
        return "couchbase://anna:hunter2@127.0.0.1/bodies"
    server: DatabaseServer | Secantus | Moto = request.getfixturevalue(request.param)
    return server.address


@pytest.fixture
async def store(address: str) -> AsyncIterator[MessageStore]:
    """The same store, as another program uses it."""
    store = open_store(parse_store_address(address))
    yield store
    await store.delete(KEY)
    await store.close()


async def is_gone(store: MessageStore, key: str) -> None:
    """Wait until nothing is left under a key."""
    found: list[bytes | None] = []
    while not found or found[-1] is not None:
        found.append(await store.load(key))
        assert len(found) < 1000, "the body is still there"


async def test_a_body_is_loaded_delivered_and_deleted(address: str, store: MessageStore) -> None:
    body = b"From: a@shop.test\r\nSubject: x\r\n\r\n.dot\r\n" + bytes(range(128, 256)) + b"\r\nend\r\n"
    received = list[ReceivedMessage]()
    await store.save(KEY, body, datetime.now(UTC) + timedelta(hours=1))
    async with Engine(f"storage-address={address}") as engine:
        await engine.sink(on_message=received.append)
        await engine.send(mail("m1", mime=None, key=KEY))
        outcome = await engine.outcome("m1")
        assert outcome.kind == "success"
        assert outcome.body("success")["key"] == KEY
        assert [one.content for one in received] == [body]
        await is_gone(store, KEY)
        await engine.send(mail("m2", mime=None, key=KEY))
        assert (await engine.outcome("m2")).cell == ("storage", "error")


async def test_a_refused_recipient_costs_the_body_as_well(address: str, store: MessageStore) -> None:
    await store.save(KEY, MIME.encode(), datetime.now(UTC) + timedelta(hours=1))
    async with Engine(f"storage-address={address}") as engine:
        await engine.serve(REFUSED)
        await engine.send(mail("m1", mime=None, key=KEY))
        assert (await engine.outcome("m1")).cell == ("rcptto", "error")
        await is_gone(store, KEY)


async def test_content_of_a_retry_is_stored_found_again_and_deleted(address: str, store: MessageStore) -> None:
    compressed = f"{address}{'&' if '?' in address else '?'}compression=gzip"
    async with Engine(f"storage-address={compressed}", "retry-interval=1") as engine:
        server = await engine.serve([*GREYLISTED, *transaction()])
        await engine.send(mail("m1"))
        key = (await engine.outcome("m1")).body(OUTBOX)["key"]
        assert await store.load(key) == MIME.encode()
        assert (await engine.outcome("m1", attempts=2)).kind == "success"
        await is_gone(store, key)
    assert b"\r\n\r\nHello.\r\n.\r\n" in server.connections[0].received
