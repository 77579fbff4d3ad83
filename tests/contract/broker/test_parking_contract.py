"""Parking places: what waits there comes back by a drain, or by itself when its time is over."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from relayq.ports import Broker, Parking, Properties, Publication, QueueRole

from .conftest import OUTBOX, PATIENCE, RESULTS, Bench, Received, message

CUSTOMER = Parking("domain", "customer.example", 900)


def parked(body: bytes, parking: Parking = CUSTOMER, **properties: object) -> Publication:
    return Publication(
        queue=OUTBOX,
        body=body,
        properties=Properties(**properties),  # type: ignore[arg-type]
        role=QueueRole.OUTBOX,
        parking=parking,
    )


async def publish(broker: Broker, *publications: Publication) -> None:
    async with asyncio.timeout(PATIENCE):
        await broker.publish(publications)


async def drain(broker: Broker, received: Received, parking: Parking = CUSTOMER, prefetch: int = 100) -> bool:
    async with asyncio.timeout(PATIENCE):
        return await broker.drain(OUTBOX, parking, prefetch, received)


async def nothing_is_in_the_outbox(broker: Broker) -> None:
    """Return when a message published now came out of the outbox first."""
    outbox = Received()
    consumption = await broker.consume(OUTBOX, 10, outbox)
    await publish(broker, message(b"now"))
    item = await outbox.next()
    assert item.body == b"now"
    await broker.settle(item, ())
    await consumption.cancel()


async def test_what_is_parked_waits_until_it_is_drained(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker, parked(b"1", priority=2, message_id="id"), parked(b"2"), parked(b"3"))
    await nothing_is_in_the_outbox(broker)
    received = Received()
    assert await drain(broker, received)
    items = await received.take(3)
    assert [item.body for item in items] == [b"1", b"2", b"3"]
    assert all(item.is_held and not item.redelivered for item in items)
    assert (items[0].properties.priority, items[0].properties.message_id) == (2, "id")
    for item in items:
        await broker.settle(item, [message(b"result", RESULTS)])
    assert await drain(broker, received)
    assert received.waiting() == 0


async def test_a_place_where_nothing_was_ever_parked_is_empty(bench: Bench) -> None:
    broker = await bench.open()
    assert await drain(broker, Received(), Parking("domain", "nobody.example"))


async def test_places_are_drained_one_by_one(bench: Bench) -> None:
    broker = await bench.open()
    other = Parking("domain", "other.example")
    await publish(broker, parked(b"1"), parked(b"2", other))
    received = Received()
    assert await drain(broker, received, other)
    assert (await received.next()).body == b"2"
    assert received.waiting() == 0


async def test_ids_that_are_no_names_are_told_apart(bench: Bench) -> None:
    broker = await bench.open()
    odd, long = Parking("domain", "[192.0.2.1]:25 Ü"), Parking("domain", "x" * 300)
    await publish(broker, parked(b"odd", odd), parked(b"long", long))
    for parking, body in ((odd, b"odd"), (long, b"long")):
        received = Received()
        assert await drain(broker, received, parking)
        assert (await received.next()).body == body


async def test_a_drain_hands_out_no_more_than_its_prefetch(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker, *(parked(b"%d" % number) for number in range(7)))
    received = Received()
    draining = asyncio.create_task(drain(broker, received, prefetch=3))
    held = await received.take(3)
    await nothing_is_in_the_outbox(broker)
    assert received.waiting() == 0
    assert not draining.done()
    bodies: list[bytes] = []
    while len(bodies) < 7:
        item = held.pop() if held else await received.next()
        bodies.append(item.body)
        await broker.settle(item, ())
    assert await draining
    assert sorted(bodies) == [b"%d" % number for number in range(7)]


async def test_a_drain_that_is_stopped_leaves_the_rest_and_what_it_gave_stays_valid(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker, *(parked(b"%d" % number) for number in range(5)))
    received = Received()
    draining = asyncio.create_task(drain(broker, received, prefetch=2))
    items = await received.take(2)
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    results = Received()
    await broker.consume(RESULTS, 10, results)
    for item in items:
        assert item.is_held
        async with asyncio.timeout(PATIENCE):
            await broker.settle(item, [message(item.body, RESULTS)])
    assert [item.body for item in await results.take(2)] == [b"0", b"1"]
    rest = Received()
    assert await drain(broker, rest)
    assert sorted(item.body for item in await rest.take(3)) == [b"2", b"3", b"4"]


async def test_an_item_of_a_drain_can_be_parked_again(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker, parked(b"again"))
    received = Received()
    assert await drain(broker, received)
    async with asyncio.timeout(PATIENCE):
        await broker.settle(await received.next(), [parked(b"and again")])
    assert await drain(broker, received)
    assert (await received.next()).body == b"and again"


async def test_an_item_of_a_drain_that_is_given_back_is_not_lost(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker, parked(b"mail"))
    received = Received()
    assert await drain(broker, received)
    broker.requeue(await received.next())
    outbox = Received()
    await broker.consume(OUTBOX, 10, outbox)
    async with asyncio.timeout(PATIENCE):
        while not outbox.waiting() and not received.waiting():  # the outbox, or the place it was in
            await broker.drain(OUTBOX, CUSTOMER, 10, received)
            await asyncio.sleep(0.01)
    assert (await (outbox if outbox.waiting() else received).next()).body == b"mail"


async def test_a_forgotten_place_gives_everything_back_when_its_time_is_over(bench: Bench) -> None:
    broker = await bench.open()
    short = Parking("domain", "forgotten.example", 1)
    started = datetime.now(UTC)
    await publish(broker, *(parked(b"%d" % number, short) for number in range(3)))
    await broker.close()
    again = await bench.open()
    outbox = Received()
    await again.consume(OUTBOX, 10, outbox)
    items = await outbox.take(3)
    assert datetime.now(UTC) - started >= timedelta(seconds=1)
    assert sorted(item.body for item in items) == [b"0", b"1", b"2"]
    received = Received()
    assert await drain(again, received, short)
    assert received.waiting() == 0


async def test_what_another_process_parked_can_be_drained(bench: Bench) -> None:
    first, second = await bench.open(), await bench.open()
    await publish(first, parked(json.dumps({"n": 1}).encode()))
    received = Received()
    assert await drain(second, received)
    assert (await received.next()).body == b'{"n": 1}'


async def test_trouble_ends_a_drain(bench: Bench) -> None:
    broker = await bench.open()
    await publish(broker, *(parked(b"%d" % number) for number in range(5)))
    received = Received()
    draining = asyncio.create_task(drain(broker, received, prefetch=2))
    items = await received.take(2)
    if bench.factory.can_cut and bench.factory.cuts_end_drains:
        await bench.factory.cut()
    else:
        await broker.close()
    assert not await draining
    assert not any(item.is_held for item in items)
    again = await bench.open()
    outbox, rest = Received(), Received()
    await again.consume(OUTBOX, 10, outbox)
    found: set[bytes] = set()
    async with asyncio.timeout(PATIENCE):
        while len(found) < 5:
            await again.drain(OUTBOX, CUSTOMER, 100, rest)
            for place in (outbox, rest):
                found |= {(await place.next()).body for _ in range(place.waiting())}
            await asyncio.sleep(0.01)
    assert found == {b"0", b"1", b"2", b"3", b"4"}
