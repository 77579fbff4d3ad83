"""What `relayq.ports.Broker` promises, checked against every adapter."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from relayq.ports import Broker, Properties, Publication, QueueRole
from tests.contract.broker.conftest import OUTBOX, PATIENCE, RESULTS, Bench, Received, RecordingListener, message

FULL_PROPERTIES = Properties(
    persistent=True,
    priority=3,
    correlation_id="correlation",
    reply_to="answers",
    message_id="id-1",
    type="mail",
    app_id="shop",
    timestamp=1_700_000_000,
    # A field table of one long string and one boolean.
    headers=b"\x06tenantS\x00\x00\x00\x05shop1\x04flagt\x01",
)


async def publish(broker: Broker, *publications: Publication) -> None:
    async with asyncio.timeout(PATIENCE):
        await broker.publish(publications)


async def settle_all(broker: Broker, received: Received, count: int) -> list[bytes]:
    bodies = []
    for _ in range(count):
        item = await received.next()
        bodies.append(item.body)
        await broker.settle(item, ())
    return bodies


def is_blocked(broker: Broker) -> bool:
    return broker.is_blocked


async def barrier(broker: Broker) -> None:
    """Return after a message went all the way through the broker: what was due before has arrived by then."""
    received = Received()
    consumption = await broker.consume("barrier", 1, received)
    for _ in range(3):
        await publish(broker, message(b"{}", "barrier"))
        await broker.settle(await received.next(), ())
    await consumption.cancel()


async def test_a_published_message_is_handed_out_with_its_properties(bench: Bench) -> None:
    broker = await bench.open()
    received = Received()
    before = bench.clock.monotonic()
    await broker.consume(OUTBOX, 10, received)
    await publish(broker, Publication(queue=OUTBOX, body=b'{"a":1}', properties=FULL_PROPERTIES, role=QueueRole.OUTBOX))
    item = await received.next()
    assert item.body == b'{"a":1}'
    assert item.properties == FULL_PROPERTIES
    assert not item.redelivered
    assert item.is_held
    assert before <= item.consumed_at <= bench.clock.monotonic()


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 3_000_000])
async def test_bodies_of_any_size_and_octets_are_kept(bench: Bench, size: int) -> None:
    broker = await bench.open()
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    received = Received()
    await broker.consume(OUTBOX, 10, received)
    await publish(broker, message(body))
    assert (await received.next()).body == body


async def test_absent_properties_stay_absent(bench: Bench) -> None:
    broker = await bench.open()
    received = Received()
    await broker.consume(OUTBOX, 10, received)
    await publish(broker, message(b"{}"))
    assert (await received.next()).properties == Properties(persistent=True)


async def test_the_encoding_of_the_consumed_body_is_not_claimed_for_a_new_one(bench: Bench) -> None:
    broker = await bench.open()
    received = Received()
    await broker.consume(OUTBOX, 10, received)
    await publish(broker, message(b"{}", content_encoding="gzip"))
    item = await received.next()
    assert item.body == b"{}"
    assert item.properties.content_encoding is None


async def test_a_verbatim_copy_keeps_body_and_encoding(bench: Bench) -> None:
    broker = await bench.open()
    received = Received()
    await broker.consume(RESULTS, 10, received)
    copy = Publication(
        queue=RESULTS,
        body=b"\x1f\x8b damaged",
        properties=Properties(content_encoding="x-gzip"),
        role=QueueRole.RESULT,
        is_verbatim=True,
    )
    await publish(broker, copy)
    item = await received.next()
    assert item.body == b"\x1f\x8b damaged"
    assert item.properties.content_encoding == "x-gzip"


async def test_settling_publishes_and_removes_the_item(bench: Bench) -> None:
    broker = await bench.open()
    outbox, results = Received(), Received()
    await broker.consume(OUTBOX, 10, outbox)
    await broker.consume(RESULTS, 10, results)
    await publish(broker, message(b"mail"))
    item = await outbox.next()
    async with asyncio.timeout(PATIENCE):
        await broker.settle(item, [message(b"first", RESULTS), message(b"second", RESULTS)])
    assert await settle_all(broker, results, 2) == [b"first", b"second"]
    await broker.close()

    again = await bench.open()
    left = Received()
    await again.consume(OUTBOX, 10, left)
    await again.consume(RESULTS, 10, left)
    await barrier(again)
    assert left.waiting() == 0


async def test_publications_are_under_way_before_settle_is_awaited(bench: Bench) -> None:
    broker = await bench.open()
    outbox, results = Received(), Received()
    await broker.consume(OUTBOX, 10, outbox)
    await broker.consume(RESULTS, 10, results)
    await publish(broker, message(b"mail"))
    settled = broker.settle(await outbox.next(), [message(b"result", RESULTS)])
    assert (await results.next()).body == b"result"
    async with asyncio.timeout(PATIENCE):
        await settled


async def test_many_settlements_can_be_awaited_together(bench: Bench) -> None:
    broker = await bench.open()
    outbox, results = Received(), Received()
    await broker.consume(OUTBOX, 300, outbox)
    await broker.consume(RESULTS, 300, results)
    await publish(broker, *(message(b"%d" % number) for number in range(300)))
    items = await outbox.take(300)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(broker.settle(item, [message(item.body, RESULTS)]) for item in items))
    bodies = await settle_all(broker, results, 300)
    assert sorted(bodies) == sorted(b"%d" % number for number in range(300))


async def test_settling_without_publications_only_removes_the_item(bench: Bench) -> None:
    broker = await bench.open()
    outbox = Received()
    await broker.consume(OUTBOX, 10, outbox)
    await publish(broker, message(b"mail"))
    await asyncio.gather(broker.settle(await outbox.next(), ()))
    await broker.close()

    again = await bench.open()
    left = Received()
    await again.consume(OUTBOX, 10, left)
    await barrier(again)
    assert left.waiting() == 0


async def test_a_requeued_item_comes_back_flagged(bench: Bench) -> None:
    broker = await bench.open()
    outbox = Received()
    await broker.consume(OUTBOX, 10, outbox)
    await publish(broker, message(b"mail", message_id="id-1"))
    broker.requeue(await outbox.next())
    item = await outbox.next()
    assert (item.body, item.redelivered, item.properties.message_id) == (b"mail", True, "id-1")


async def test_unsettled_items_come_back_after_close(bench: Bench) -> None:
    broker = await bench.open()
    outbox = Received()
    await broker.consume(OUTBOX, 10, outbox)
    await publish(broker, message(b"one"), message(b"two"), message(b"three"))
    items = await outbox.take(3)
    await broker.settle(items[1], ())
    await broker.close()

    again = await bench.open()
    outbox = Received()
    await again.consume(OUTBOX, 10, outbox)
    returned = await outbox.take(2)
    assert {item.body for item in returned} == {b"one", b"three"}
    assert all(item.redelivered for item in returned)
    await barrier(again)
    assert outbox.waiting() == 0


async def test_what_was_published_is_there_for_another_process(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker, *(message(b"%d" % number) for number in range(50)))
    await broker.close()

    again = await bench.open()
    outbox = Received()
    await again.consume(OUTBOX, 10, outbox)
    assert await settle_all(again, outbox, 50) == [b"%d" % number for number in range(50)]


async def test_two_consumers_share_a_queue_without_duplicates(bench: Bench) -> None:
    brokers = [await bench.open(), await bench.open()]
    outboxes = [Received(), Received()]
    await publish(brokers[0], *(message(b"%d" % number) for number in range(40)))

    async def work(broker: Broker, outbox: Received) -> list[bytes]:
        consumption = await broker.consume(OUTBOX, 20, outbox)
        bodies = await settle_all(broker, outbox, 10)  # each gets at least its share: nobody can hold more than 20
        await barrier(broker)
        await consumption.cancel()
        return bodies + await settle_all(broker, outbox, outbox.waiting())

    async with asyncio.timeout(PATIENCE):
        shares = await asyncio.gather(*map(work, brokers, outboxes))
    rest = Received()
    await brokers[0].consume(OUTBOX, 40, rest)
    await barrier(brokers[0])
    bodies = [*shares[0], *shares[1], *await settle_all(brokers[0], rest, rest.waiting())]
    assert sorted(bodies) == sorted(b"%d" % number for number in range(40))


async def test_no_more_than_the_prefetch_is_out(bench: Bench) -> None:
    broker = await bench.open()
    outbox = Received()
    await broker.consume(OUTBOX, 3, outbox)
    await publish(broker, *(message(b"%d" % number) for number in range(6)))
    items = await outbox.take(3)
    await barrier(broker)
    assert outbox.waiting() == 0
    await broker.settle(items[1], ())
    fourth = await outbox.next()
    await barrier(broker)
    assert outbox.waiting() == 0
    for item in (items[0], items[2], fourth):
        await broker.settle(item, ())
    assert len(await outbox.take(2)) == 2


async def test_a_larger_prefetch_hands_out_more(bench: Bench) -> None:
    broker = await bench.open()
    outbox = Received()
    consumption = await broker.consume(OUTBOX, 2, outbox)
    await publish(broker, *(message(b"%d" % number) for number in range(4)))
    items = await outbox.take(2)
    await consumption.set_prefetch(4)
    items += await outbox.take(2)
    assert sorted(item.body for item in items) == [b"0", b"1", b"2", b"3"]
    for item in items:
        assert item.is_held
        await broker.settle(item, ())


async def test_a_smaller_prefetch_holds_back(bench: Bench) -> None:
    broker = await bench.open()
    outbox = Received()
    consumption = await broker.consume(OUTBOX, 6, outbox)
    await publish(broker, *(message(b"%d" % number) for number in range(12)))
    items = await outbox.take(6)
    await consumption.set_prefetch(2)
    await barrier(broker)
    assert outbox.waiting() == 0
    for item in items:
        await broker.settle(item, ())
    items = await outbox.take(2)
    await barrier(broker)
    assert outbox.waiting() == 0
    assert all(item.is_held for item in items)


async def test_after_cancel_nothing_is_handed_out_and_held_items_stay_valid(bench: Bench) -> None:
    broker = await bench.open()
    outbox, results = Received(), Received()
    consumption = await broker.consume(OUTBOX, 2, outbox)
    await broker.consume(RESULTS, 2, results)
    await publish(broker, message(b"a"), message(b"b"), message(b"c"))
    first, second = await outbox.take(2)
    async with asyncio.timeout(PATIENCE):
        await consumption.cancel()
    assert first.is_held
    await broker.settle(first, [message(b"done", RESULTS)])
    assert (await results.next()).body == b"done"
    broker.requeue(second)
    await barrier(broker)
    assert outbox.waiting() == 0

    rest = Received()
    await broker.consume(OUTBOX, 5, rest)
    assert {item.body for item in await rest.take(2)} == {b"b", b"c"}


async def test_a_queue_nobody_prepared_comes_into_being(bench: Bench) -> None:
    broker = await bench.open()
    name = "customer-7.Ergebnisse für *"
    await publish(broker, message(b"result", name))
    received = Received()
    await broker.consume(name, 1, received)
    assert (await received.next()).body == b"result"


async def test_publishing_nothing_returns(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker)


async def test_close_can_be_repeated(bench: Bench) -> None:
    broker = await bench.open()
    await broker.close()
    await broker.close()


async def test_larger_priorities_come_first(bench: Bench) -> None:
    if not bench.factory.has_priorities:
        pytest.skip("this adapter has no priorities")
    broker = await bench.open()
    await publish(broker, message(b"low", priority=0), message(b"none"), message(b"high", priority=3))
    received = Received()
    await broker.consume(OUTBOX, 1, received)
    assert (await settle_all(broker, received, 3))[0] == b"high"


async def test_a_delayed_message_is_never_early(bench: Bench) -> None:
    broker = await bench.open()
    received = Received()
    await broker.consume(OUTBOX, 10, received)
    now = bench.clock.now()
    due_at = now + timedelta(seconds=1.5)
    await publish(broker, message(b"later", due_at=due_at), message(b"overdue", due_at=now - timedelta(seconds=5)))
    assert (await received.next()).body == b"overdue"
    assert (await received.next()).body == b"later"
    # The queue may hand it back earlier when less than a second is left: the engine waits for the rest itself.
    assert bench.clock.now() > due_at - timedelta(seconds=1)


async def test_a_delayed_copy_replaces_its_message_and_survives_a_restart(bench: Bench) -> None:
    broker = await bench.open()
    received = Received()
    await broker.consume(OUTBOX, 10, received)
    await publish(broker, message(b"mail", priority=2, message_id="id"))
    item = await received.next()
    due_at = bench.clock.now() + timedelta(seconds=1.5)
    copy = Publication(queue=OUTBOX, body=b"retry", properties=item.properties, role=QueueRole.OUTBOX, due_at=due_at)
    async with asyncio.timeout(PATIENCE):
        await broker.settle(item, [copy])
    await broker.close()

    again = await bench.open()
    received = Received()
    await again.consume(OUTBOX, 10, received)
    back = await received.next()
    assert back.body == b"retry"
    assert (back.properties.priority, back.properties.message_id) == (2, "id")
    assert back.properties.headers == b""


async def test_items_the_broker_took_back_are_not_held_and_come_again(bench: Bench) -> None:
    if not bench.factory.can_cut:
        pytest.skip("this adapter has no connection that could be cut")
    listener = RecordingListener()
    broker = await bench.open(listener)
    received, results = Received(), Received()
    await broker.consume(OUTBOX, 10, received)
    await broker.consume(RESULTS, 10, results)
    await publish(broker, message(b"mail"))
    item = await received.next()
    await bench.factory.cut()
    async with asyncio.timeout(PATIENCE):
        await listener.losses.get()
    assert not item.is_held
    async with asyncio.timeout(PATIENCE):
        await broker.settle(item, [message(b"result", RESULTS)])
    assert (await results.next()).body == b"result"
    again = await received.next()
    assert (again.body, again.redelivered, again.is_held) == (b"mail", True, True)


async def test_publishes_survive_a_cut(bench: Bench) -> None:
    if not bench.factory.can_cut:
        pytest.skip("this adapter has no connection that could be cut")
    broker = await bench.open()
    bodies: set[bytes] = set()
    cut = asyncio.create_task(bench.factory.cut())
    while not cut.done():
        batch = {b"%d" % number for number in range(len(bodies), len(bodies) + 200)}
        bodies |= batch
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(broker.publish([message(body)]) for body in batch))
    await cut
    received = Received()
    await broker.consume(OUTBOX, 100, received)
    seen: set[bytes] = set()
    while seen != bodies:  # duplicates are allowed, losses are not
        item = await received.next()
        seen.add(item.body)
        await broker.settle(item, ())


async def test_a_blocked_broker_says_so_and_loses_nothing(bench: Bench) -> None:
    if not bench.factory.can_block:
        pytest.skip("this adapter cannot be blocked here")
    listener = RecordingListener()
    broker = await bench.open(listener)
    received, results = Received(), Received()
    await broker.consume(OUTBOX, 10, received)
    await broker.consume(RESULTS, 10, results)
    await publish(broker, message(b"mail"))
    item = await received.next()
    await bench.factory.block()
    try:
        settled = asyncio.ensure_future(broker.settle(item, [message(b"result", RESULTS)]))
        async with asyncio.timeout(PATIENCE):
            assert await listener.flow.get()
        assert is_blocked(broker)
        more = asyncio.ensure_future(broker.publish([message(b"more", RESULTS)]))
    finally:
        await bench.factory.unblock()
    async with asyncio.timeout(PATIENCE):
        assert not await listener.flow.get()
        await settled
        await more
    assert not is_blocked(broker)
    assert sorted(await settle_all(broker, results, 2)) == [b"more", b"result"]
