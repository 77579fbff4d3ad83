"""The storage takes nothing for a while: the broker says so, loses nothing, and goes on by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedOptions, QueueDepth, Timings
from relayq.adapters.embedded.locks import TURN, MachineLocks
from relayq.adapters.embedded.store import Store
from relayq.adapters.embedded.tables import QueueTables
from relayq.ports import BrokerUnavailableError
from tests.unit.adapters.embedded.support import FlowListener, Inbox, Log, make_broker, opened, publication


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relayq.db"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Write lock of a tool that knows nothing of turns."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


async def test_locked_for_long_blocks_until_it_ends(file: Path) -> None:
    listener, log = FlowListener(), Log()
    async with opened(file, listener, log) as broker:
        with locked(file):
            done = asyncio.ensure_future(broker.publish([publication(b"mail")]))
            assert await listener.next()
            assert broker.is_blocked
            assert not done.done()
        assert not await listener.next()
        await done
        assert await broker.queue_depths() == {"outbox": QueueDepth(1, 0, 0)}
    assert listener.flow == [True, False]
    assert [text for text in log.texts("warning") if "cannot write" in text] == log.texts("warning")


async def test_a_short_lock_is_only_waited_for(file: Path) -> None:
    listener = FlowListener()
    async with opened(file, listener, timings=Timings(lock_patience=20)) as broker:
        with locked(file):
            done = asyncio.ensure_future(broker.publish([publication(b"mail")]))
            await broker.queue_depths()
            assert not done.done()
        await done
    assert listener.flow == []


async def test_full_storage_blocks_and_nothing_is_lost(file: Path) -> None:
    listener = FlowListener()
    async with opened(file, listener) as broker:
        inbox, results = Inbox(), Inbox()
        await broker.publish([publication(b"1"), publication(b"2"), publication(b"3")])
        await broker.consume("outbox", 2, inbox)
        await inbox.wait_for(2)
        await broker.run(limit_pages)
        big = [publication(bytes(300_000), "results") for _ in range(10)]
        settled = [asyncio.ensure_future(broker.settle(item, big)) for item in inbox.items]
        assert await listener.next()
        assert not any(future.done() for future in settled)
        assert broker.is_blocked
        await broker.run(lift_limit)
        assert not await listener.next()
        await asyncio.gather(*settled)
        await inbox.wait_for(3)
        await broker.consume("results", 100, results)
        await results.wait_for(20)
        assert inbox.bodies == [b"1", b"2", b"3"]
        assert len(results.items) == 20


def limit_pages(store: Store) -> None:
    store._connection.execute("PRAGMA max_page_count = 20")


def lift_limit(store: Store) -> None:
    store._connection.execute("PRAGMA max_page_count = 1000000")


async def test_after_a_full_disk_some_room_is_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = FlowListener()
    async with opened(file, listener) as broker:
        await broker.run(limit_pages)
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def has_no_space(_: Store) -> bool:
            loop.call_soon_threadsafe(asked.set)
            return False

        monkeypatch.setattr(Store, "has_space", has_no_space)
        done = asyncio.ensure_future(broker.publish([publication(bytes(1_000_000))]))
        assert await listener.next()
        await broker.run(lift_limit)
        for _ in range(3):
            asked.clear()
            await asked.wait()
        assert broker.is_blocked
        monkeypatch.undo()
        await done
        assert not await listener.next()


def test_the_file_systems_room_is_seen(file: Path) -> None:
    store = Store(file, EmbeddedOptions(), SystemClock())
    assert store.has_space()
    store.close()


async def test_read_only_storage_blocks_consumers_too(file: Path) -> None:
    listener = FlowListener()
    async with opened(file, listener) as broker, opened(file) as producer:
        inbox = Inbox()
        await broker.run(make_read_only)
        await broker.consume("outbox", 10, inbox)
        await producer.publish([publication(b"mail")])
        assert await listener.next()
        assert inbox.items == []
        await broker.run(make_writable)
        assert not await listener.next()
        await inbox.wait_for(1)


def make_read_only(store: Store) -> None:
    store._connection.execute("PRAGMA query_only = ON")


def make_writable(store: Store) -> None:
    store._connection.execute("PRAGMA query_only = OFF")


async def test_consumers_can_be_cancelled_while_blocked(file: Path) -> None:
    listener = FlowListener()
    async with opened(file, listener) as broker:
        inbox = Inbox()
        await broker.publish([publication(b"mail")])
        consumption = await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        with locked(file):
            waiting = [asyncio.ensure_future(broker.publish([publication(b"%d" % n)])) for n in range(1000)]
            assert await listener.next()
            async with asyncio.timeout(60):
                await consumption.cancel()
                broker.requeue(inbox.items[0])
        await asyncio.gather(*waiting)
        assert await broker.queue_depths() == {"outbox": QueueDepth(1001, 0, 0)}


async def test_an_end_while_blocked_reports_what_was_not_written(file: Path) -> None:
    listener, log = FlowListener(), Log()
    broker = make_broker(file, listener, log)
    await broker.open()
    inbox = Inbox()
    await broker.publish([publication(b"mail")])
    await broker.consume("outbox", 10, inbox)
    await inbox.wait_for(1)
    with locked(file):
        settled = asyncio.ensure_future(broker.settle(inbox.items[0], [publication(b"result", "results")]))
        published = asyncio.ensure_future(broker.publish([publication(b"other", "results")]))
        assert await listener.next()
        await broker.close()
    assert settled.cancelled()
    with pytest.raises(BrokerUnavailableError):
        await published
    assert log.texts("error") == ["2 changes could not be written before the end"]
    assert len([text for text in log.texts("warning") if "left to the next process" in text]) == 1
    async with opened(file) as broker:
        again = Inbox()
        await broker.consume("outbox", 10, again)
        await again.wait_for(1)
        assert again.items[0].redelivered


def other_process(file: Path) -> MachineLocks:
    return MachineLocks(Path(f"{file}-locks"), file.stat())


async def test_opening_waits_for_its_turn_as_long_as_it_may(file: Path) -> None:
    async with opened(file):
        pass
    locks = other_process(file)
    assert locks.try_lock(TURN)
    with pytest.raises(BrokerUnavailableError, match="another process"):
        await make_broker(file, time_limit=0.0).open()
    listener = FlowListener()
    broker = make_broker(file, listener)
    opening = asyncio.create_task(broker.open())
    assert await listener.next()
    locks.unlock(TURN)
    await opening
    assert not await listener.next()
    await broker.close()
    locks.close()


async def test_damage_found_while_running_blocks_and_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, log = FlowListener(), Log()

    def find_damage(_: Store, _changes: object) -> None:
        with closing(sqlite3.connect(file.with_name("garbage"))) as connection:
            connection.execute("SELECT * FROM sqlite_schema")

    async with opened(file, listener, log) as broker:
        file.with_name("garbage").write_bytes(bytes(range(256)) * 40)
        monkeypatch.setattr(Store, "commit", find_damage)
        done = asyncio.ensure_future(broker.publish([publication(b"mail")]))
        assert await listener.next()
        assert "the file is damaged" in log.texts("warning")[0]
        monkeypatch.undo()
        assert not await listener.next()
        await done


async def test_a_failed_first_claim_leaves_no_lock_behind(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = FlowListener()
    async with opened(file, listener) as broker:
        await broker.publish([publication(b"mail")])
        inbox = Inbox()
        with monkeypatch.context() as patch:
            patch.setattr(QueueTables, "claim", fail_to_claim)
            await broker.consume("outbox", 10, inbox)
            assert await listener.next()
            locks = other_process(file)
            assert not any(locks.is_locked(number) for number in range(1, 10))
            locks.close()
        assert not await listener.next()
        await inbox.wait_for(1)


def fail_to_claim(*_: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")


async def test_opening_ends_with_a_close(file: Path) -> None:
    async with opened(file):
        pass
    locks = other_process(file)
    assert locks.try_lock(TURN)
    listener = FlowListener()
    broker = make_broker(file, listener)
    opening = asyncio.create_task(broker.open())
    assert await listener.next()
    await broker.close()
    with pytest.raises(BrokerUnavailableError, match="closed"):
        await opening
    locks.close()
