from __future__ import annotations

import asyncio
import gzip
from datetime import timedelta
from pathlib import Path

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import QueueDepth
from relayq.adapters.embedded.broker import EmbeddedConsumption
from relayq.adapters.embedded.store import Claim, Store
from relayq.ports import Broker, Properties, Publication, QueueRole, TopologyError
from tests.unit.adapters.embedded.support import FlowListener, Inbox, Log, make_broker, opened, publication


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relayq.db"


async def test_message_goes_through_and_its_results_replace_it(file: Path) -> None:
    async with opened(file) as broker:
        port: Broker = broker
        inbox = Inbox()
        await port.publish([publication(b"mail")])
        await port.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        item = inbox.items[0]
        assert (item.body, item.redelivered, item.is_held) == (b"mail", False, True)
        assert (await broker.queue_depths()) == {"outbox": QueueDepth(0, 0, 1)}
        await port.settle(item, [publication(b"result", "results"), publication(b"copy", "success")])
        assert not item.is_held
        assert (await broker.queue_depths()) == {"results": QueueDepth(1, 0, 0), "success": QueueDepth(1, 0, 0)}


async def test_order_is_priority_then_age_within_the_prefetch(file: Path) -> None:
    async with opened(file) as broker:
        inbox = Inbox()
        await broker.publish([publication(b"1"), publication(b"2", priority=200), publication(b"3", priority=7)])
        await broker.publish([publication(b"4", priority=300), publication(b"5")])
        await broker.consume("outbox", 3, inbox)
        await inbox.wait_for(3)
        assert inbox.bodies == [b"4", b"2", b"3"]
        await broker.settle(inbox.items[0], [])
        await broker.settle(inbox.items[1], [])
        await inbox.wait_for(5)
        assert inbox.bodies == [b"4", b"2", b"3", b"1", b"5"]


async def test_delayed_message_is_not_early(file: Path) -> None:
    clock = SystemClock()
    async with opened(file) as broker:
        inbox = Inbox()
        due_at = clock.now() + timedelta(seconds=0.3)
        late = Publication(queue="outbox", body=b"l", properties=Properties(), role=QueueRole.OUTBOX, due_at=due_at)
        await broker.publish([late, publication(b"never", delay=3600)])
        assert (await broker.queue_depths()) == {"outbox": QueueDepth(0, 2, 0)}
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        assert clock.now() >= due_at
        assert inbox.bodies == [b"l"]


async def test_requeued_message_keeps_its_place_and_is_flagged(file: Path) -> None:
    async with opened(file) as broker:
        first, second = Inbox(), Inbox()
        await broker.publish([publication(b"1"), publication(b"2")])
        consumption = await broker.consume("outbox", 1, first)
        await first.wait_for(1)
        await consumption.cancel()
        broker.requeue(first.items[0])
        broker.requeue(first.items[0])
        await broker.consume("outbox", 10, second)
        await second.wait_for(2)
        assert [(item.body, item.redelivered) for item in second.items] == [(b"1", True), (b"2", False)]


async def test_cancelled_consumer_gets_nothing_and_keeps_what_it_has(file: Path) -> None:
    async with opened(file) as broker:
        inbox, other = Inbox(), Inbox()
        await broker.publish([publication(b"1"), publication(b"2")])
        consumption = await broker.consume("outbox", 1, inbox)
        await inbox.wait_for(1)
        await consumption.cancel()
        await consumption.cancel()
        await broker.settle(inbox.items[0], [])
        await broker.consume("outbox", 1, other)
        await other.wait_for(1)
        assert inbox.bodies == [b"1"]
        assert other.bodies == [b"2"]


async def test_prefetch_can_grow_and_shrink(file: Path) -> None:
    async with opened(file) as broker:
        inbox = Inbox()
        await broker.publish([publication(str(number).encode()) for number in range(6)])
        consumption = await broker.consume("outbox", 1, inbox)
        await inbox.wait_for(1)
        await consumption.set_prefetch(4)
        await inbox.wait_for(4)
        await consumption.set_prefetch(2)
        await broker.settle(inbox.items[0], [])
        await broker.settle(inbox.items[1], [])
        await broker.queue_depths()
        assert len(inbox.items) == 4
        await broker.settle(inbox.items[2], [])
        await inbox.wait_for(5)


async def test_what_another_broker_publishes_arrives_soon(file: Path) -> None:
    async with opened(file) as consumer, opened(file) as producer:
        inbox = Inbox()
        await consumer.consume("outbox", 10, inbox)
        assert (await consumer.queue_depths()) == {}
        await producer.publish([publication(b"mail")])
        await inbox.wait_for(1)


async def test_properties_survive(file: Path) -> None:
    properties = Properties(
        priority=3, correlation_id="c", reply_to="r", message_id="m", type="t", app_id="a", timestamp=1, headers=b"\x00"
    )
    async with opened(file) as broker:
        inbox = Inbox()
        mail = Publication(queue="q", body=b"mail", properties=properties, role=QueueRole.RESULT)
        await broker.publish([mail, publication(b"plain", "q")])
        await broker.consume("q", 10, inbox)
        await inbox.wait_for(2)
        assert [item.properties for item in inbox.items] == [properties, Properties()]


async def test_close_gives_back_what_is_held_and_flags_it(file: Path) -> None:
    inbox, other = Inbox(), Inbox()
    async with opened(file) as broker:
        await broker.publish([publication(b"mail")])
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
    assert not inbox.items[0].is_held
    await broker.close()
    async with opened(file) as broker:
        await broker.consume("outbox", 10, other)
        await other.wait_for(1)
        assert other.items[0].redelivered


async def test_closing_writes_what_was_submitted(file: Path) -> None:
    inbox = Inbox()
    async with opened(file) as broker:
        await broker.publish([publication(b"mail")])
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        done = broker.settle(inbox.items[0], [publication(b"result", "results")])
    await done
    async with opened(file) as broker:
        assert (await broker.queue_depths()) == {"results": QueueDepth(1, 0, 0)}


async def test_what_was_consumed_before_a_restart_is_not_held_after_it(file: Path) -> None:
    broker = make_broker(file)
    inbox, other = Inbox(), Inbox()
    await broker.open()
    await broker.publish([publication(b"mail")])
    consumption = await broker.consume("outbox", 10, inbox)
    await inbox.wait_for(1)
    await broker.close()
    await broker.open()
    await broker.consume("outbox", 10, other)
    await other.wait_for(1)
    broker.requeue(inbox.items[0])
    await consumption.cancel()
    await consumption.set_prefetch(3)
    await broker.settle(inbox.items[0], [publication(b"result", "results")])
    assert await broker.queue_depths() == {"outbox": QueueDepth(0, 0, 1), "results": QueueDepth(1, 0, 0)}
    await broker.close()


async def test_a_reload_changes_what_is_published_from_then_on(file: Path) -> None:
    body = b"mail" * 1000
    async with opened(file) as broker:
        inbox = Inbox()
        await broker.publish([publication(body, "q")])
        broker.reconfigure(gzip=True, max_publish=5000)
        await broker.publish([publication(body, "q")])
        assert broker.max_publish_bytes == 5000
        with pytest.raises(ValueError, match="rabbitmq-max-publish"):
            await broker.publish([publication(body * 2, "q")])
        broker.reconfigure(gzip=False, max_publish=0)
        await broker.publish([publication(body * 2, "q")])
        await broker.consume("q", 10, inbox)
        await inbox.wait_for(3)
        assert [item.properties.content_encoding for item in inbox.items] == [None, "gzip", None]


async def test_bodies_are_compressed_on_request_but_never_twice(file: Path) -> None:
    body = b"mail" * 1000
    async with opened(file, gzip=True) as broker:
        inbox = Inbox()
        packed = gzip.compress(body)
        encoded = Properties(content_encoding="gzip")
        again = Publication(queue="q", body=body, properties=encoded, role=QueueRole.RESULT)
        verbatim = Publication(queue="q", body=packed, properties=encoded, role=QueueRole.RESULT, is_verbatim=True)
        await broker.publish([publication(body, "q"), again, verbatim])
        await broker.consume("q", 10, inbox)
        await inbox.wait_for(3)
        assert [item.properties.content_encoding for item in inbox.items] == ["gzip"] * 3
        assert [gzip.decompress(item.body) for item in inbox.items] == [body] * 3
        assert len(inbox.items[0].body) < len(body) / 10


async def test_what_cannot_be_stored_is_refused_before_it_can_hold_up_others(file: Path) -> None:
    async with opened(file, max_publish=10) as broker:
        inbox = Inbox()
        await broker.publish([publication(b"0123456789")])
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        assert broker.max_publish_bytes == 10
        for bad in (publication(b"0123456789+"), publication(b"x", "\ud800")):
            with pytest.raises(ValueError, match=r"larger|surrogates"):
                await broker.publish([bad])
            with pytest.raises(ValueError, match=r"larger|surrogates"):
                broker.settle(inbox.items[0], [bad])
        assert inbox.items[0].is_held
        await broker.settle(inbox.items[0], [])


async def test_path_and_problems_are_logged(file: Path) -> None:
    log = Log()
    async with opened(file, log=log):
        assert log.lines == [("info", f"embedded broker: {file}")]


@pytest.fixture
def foreign_file(file: Path) -> Path:
    file.write_bytes(b"something else")
    return file


async def test_a_file_that_cannot_be_used_is_reported_by_open(foreign_file: Path) -> None:
    broker = make_broker(foreign_file)
    for _ in range(2):
        with pytest.raises(TopologyError):
            await broker.open()
        assert not broker.is_running
        await broker.close()


async def test_nothing_can_be_asked_of_a_closed_broker(file: Path) -> None:
    broker = make_broker(file)
    await broker.close()
    with pytest.raises(RuntimeError):
        await broker.publish([publication(b"mail")])
    with pytest.raises(RuntimeError):
        await broker.consume("outbox", 1, Inbox())


async def test_messages_of_a_dead_owner_come_back_flagged(file: Path) -> None:
    async with opened(file) as victim, opened(file) as broker:
        inbox, other = Inbox(), Inbox()
        await victim.publish([publication(b"1"), publication(b"2")])
        await victim.consume("outbox", 2, inbox)
        await inbox.wait_for(2)
        await victim.run(lose_lock)
        await broker.consume("outbox", 10, other)
        await other.wait_for(2)
        assert [(item.body, item.redelivered) for item in other.items] == [(b"1", True), (b"2", True)]


def lose_lock(store: Store) -> None:
    """Do what the kernel does when the process dies."""
    assert store._owner is not None
    store._locks.unlock(store._owner)


async def test_a_bug_in_the_thread_blocks_the_broker_instead_of_losing_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, listener = Log(), FlowListener()
    async with opened(file, listener, log) as broker:
        await broker.publish([publication(b"mail")])
        inbox = Inbox()
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        monkeypatch.setattr(Store, "seconds_to_work", fail)
        with pytest.raises(ZeroDivisionError):
            await broker.run(fail)
        assert await listener.next()
        settled = asyncio.ensure_future(broker.settle(inbox.items[0], []))
        with pytest.raises(ZeroDivisionError):
            # Asked for behind the end of the thread; without an answer the caller would wait for ever.
            await asyncio.gather(broker.run(fail), broker.close())
    assert settled.cancelled()
    assert len(log.texts("critical")) == 1
    monkeypatch.undo()
    async with opened(file) as broker:
        again = Inbox()
        await broker.consume("outbox", 10, again)
        await again.wait_for(1)


def fail(_: Store) -> None:
    raise ZeroDivisionError


async def test_opening_can_be_cancelled_and_closed(file: Path) -> None:
    broker = make_broker(file)
    opening = asyncio.create_task(broker.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not broker.is_running
    await broker.open()
    await broker.close()


async def test_what_was_claimed_for_a_consumer_that_left_goes_back_unflagged(file: Path) -> None:
    async with opened(file) as broker:
        unwanted, inbox = Inbox(), Inbox()
        consumption = EmbeddedConsumption(broker, "outbox", 10, unwanted, SystemClock())
        claims: list[Claim] = []
        await broker.publish([publication(b"mail")])

        def claim(store: Store) -> None:
            """What the thread does, but the event loop does not hear of it yet."""
            store.add_consumer(consumption.consumer)
            claims.extend(store.commit([]))

        await broker.run(claim)
        await consumption.cancel()
        for late in claims:
            late.consumer.accept(late.messages)
        await broker.consume("outbox", 10, inbox)
        await inbox.wait_for(1)
        assert unwanted.items == []
        assert not inbox.items[0].redelivered


async def test_network_file_systems_are_warned_of(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr("relayq.adapters.embedded.broker.network_file_system", lambda _path: "nfs4")
    async with opened(file, log=log):
        assert log.texts("warning") == [f"{file} is on nfs4, but its locks need a local file system"]


@pytest.fixture
def no_queues(file: Path) -> Path:
    """A file that is something else."""
    file.write_text("no queues in here")
    return file


async def test_opening_what_cannot_be_opened_may_be_given_up(no_queues: Path) -> None:
    for turns in range(20):  # before, while and after the file is found to be unusable
        opening = asyncio.ensure_future(make_broker(no_queues).open())
        for _ in range(turns * 10):
            await asyncio.sleep(0)
        opening.cancel()
        async with asyncio.timeout(60):
            with pytest.raises((asyncio.CancelledError, TopologyError)):
                await opening
