"""Parking against a scripted server: declarations and their lease, what happens without the queue, ends of drains."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from pamqp import commands

from relayq.adapters.rabbitmq import RabbitMqBroker, RabbitMqOptions
from relayq.adapters.rabbitmq.topology import BrokerVersion, Topology
from relayq.ports import Parking, Properties, Publication, QueueRole
from tests.unit.adapters.rabbitmq.conftest import QUICK, Items, Rig, soon, until
from tests.unit.adapters.rabbitmq.fake_broker import FakeSession

PLACE = Parking("domain", "slow.test", 900)
QUEUE = "outbox.park.domain.slow.test"


def parked(body: bytes = b"{}", parking: Parking = PLACE, **properties: int) -> Publication:
    return Publication(
        queue="outbox",
        body=body,
        properties=Properties(**properties),  # type: ignore[arg-type]
        role=QueueRole.OUTBOX,
        parking=parking,
    )


def declarations(session: FakeSession, queue: str = QUEUE) -> list[commands.Queue.Declare]:
    return [declared for declared in session.declared() if declared.queue == queue]


@pytest.mark.parametrize("queue_type", ["auto", "classic", "quorum"])
def test_parking_queues_are_classic_and_expire_only_when_nobody_used_them_for_a_day(queue_type: str) -> None:
    topology = Topology(RabbitMqOptions(queue_type=queue_type, max_priority=4, lazy=True), BrokerVersion(3, 10))
    declared = topology.parking(QUEUE, 3600)
    assert declared.durable
    assert declared.arguments == {
        "x-queue-type": "classic",
        "x-message-ttl": 3_600_000,
        "x-expires": 86_400_000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "outbox",
    }


async def test_a_parking_queue_is_declared_on_first_use_and_keeps_the_priority(rig: Rig) -> None:
    broker, session = await rig.open(queue_type="quorum")
    await soon(broker.publish([parked(priority=7), parked()]))
    copies = [await session.next_published() for _ in range(2)]
    assert [copy.queue for copy in copies] == [QUEUE] * 2
    assert copies[0].properties.priority == 7
    [declared] = declarations(session)
    assert declared.durable
    assert declared.arguments["x-message-ttl"] == 900_000


async def test_with_a_named_exchange_it_is_bound(rig: Rig) -> None:
    broker, session = await rig.open(exchange="mail")
    await soon(broker.publish([parked()]))
    assert (QUEUE, QUEUE) in [(bind.queue, bind.routing_key) for _, bind in session.of(commands.Queue.Bind)]


async def test_the_lease_is_renewed_before_publishing_when_it_is_old(rig: Rig) -> None:
    timings = dataclasses.replace(QUICK, parking_lease=0.05)
    broker, session = await rig.open(timings=timings)
    await soon(broker.publish([parked()]))
    await asyncio.sleep(0.06)
    await soon(broker.publish([parked(b"later")]))
    assert len(declarations(session)) == 2
    other, session = await rig.open()
    await soon(other.publish([parked()]))
    await soon(other.publish([parked()]))
    assert len(declarations(session)) == 1


@pytest.mark.parametrize(("code", "level"), [(403, "error"), (406, "warning")])
async def test_a_parking_queue_that_cannot_be_had_is_replaced_by_a_delay_queue(rig: Rig, code: int, level: str) -> None:
    rig.server.script.refuse[QUEUE] = [(code, "inequivalent arg 'x-message-ttl' for queue")]
    broker, session = await rig.open()
    await soon(broker.publish([parked(b"1"), parked(b"2")]))
    await soon(broker.publish([parked(b"3")]))
    copies = [await session.next_published() for _ in range(3)]
    assert [copy.queue for copy in copies] == ["outbox.delay.60"] * 3
    assert len(declarations(session)) == 1, "not asked for each time"
    assert QUEUE in rig.recorder.text(level)


async def test_without_declaring_there_are_no_parking_queues(rig: Rig) -> None:
    broker, session = await rig.open(declare=False)
    await soon(broker.publish([parked()]))
    assert (await session.next_published()).queue == "outbox.delay.60"
    assert not declarations(session)


async def test_a_name_no_queue_can_have_is_replaced_by_a_delay_queue(rig: Rig) -> None:
    outbox = "o" * 240
    broker, session = await rig.open(outbox=outbox)
    publication = Publication(
        queue=outbox, body=b"{}", properties=Properties(), role=QueueRole.OUTBOX, parking=Parking("domain", "a.test")
    )
    await soon(broker.publish([publication]))
    assert (await session.next_published()).queue == f"{outbox}.delay.60"


async def test_a_parking_queue_that_expired_is_declared_again(rig: Rig) -> None:
    broker, session = await rig.open()
    rig.server.script.confirm = session.is_confirming = False
    task = asyncio.create_task(broker.publish([parked()]))
    first = await session.next_published()
    session.give_back(first)
    session.send(first.channel, commands.Basic.Ack(1, False))
    again = await session.next_published()
    session.send(again.channel, commands.Basic.Ack(2, False))
    await soon(task)
    assert (again.queue, len(declarations(session))) == (QUEUE, 2)


async def test_only_the_outbox_can_be_parked_for(rig: Rig) -> None:
    broker, _ = await rig.open()
    wrong = Publication(queue="results", body=b"", properties=Properties(), role=QueueRole.RESULT, parking=PLACE)
    with pytest.raises(ValueError, match="results"):
        await broker.publish([wrong])


async def start_drain(rig: Rig, broker: RabbitMqBroker, prefetch: int = 10) -> tuple[asyncio.Task[bool], Items]:
    items = Items()
    return asyncio.create_task(broker.drain("outbox", PLACE, prefetch, items)), items


async def test_a_drain_asks_before_it_consumes(rig: Rig) -> None:
    broker, _ = await rig.open()
    draining, _ = await start_drain(rig, broker)
    assert await soon(draining)
    session = await rig.server.session()
    [asked] = declarations(session)
    assert asked.passive
    assert not session.of(commands.Basic.Consume)


async def test_a_missing_queue_is_an_empty_one(rig: Rig) -> None:
    rig.server.script.refuse[QUEUE] = [(404, "NOT_FOUND")]
    broker, _ = await rig.open()
    draining, _ = await start_drain(rig, broker)
    assert await soon(draining)


async def test_a_forbidden_queue_is_no_empty_one(rig: Rig) -> None:
    rig.server.script.refuse[QUEUE] = [(403, "ACCESS_REFUSED")]
    broker, _ = await rig.open()
    draining, _ = await start_drain(rig, broker)
    assert not await soon(draining)
    assert QUEUE in rig.recorder.text("warning")


async def test_a_drain_the_broker_cancels_is_over_and_its_items_are_lost(rig: Rig) -> None:
    rig.server.script.counts[QUEUE] = 2
    broker, _ = await rig.open()
    draining, items = await start_drain(rig, broker)
    session = await rig.server.session()
    await session.until(lambda: bool(session.of(commands.Basic.Consume)))
    session.deliver(b"mail", queue=QUEUE)
    item = await items.next()
    [(channel, consume)] = session.of(commands.Basic.Consume)
    session.send(channel, commands.Basic.Cancel(consume.consumer_tag))
    assert not await soon(draining)
    assert not item.is_held
    await soon(rig.recorder.losses.get())


async def test_a_drain_with_all_it_asked_for_does_not_ask_whether_there_is_more(rig: Rig) -> None:
    rig.server.script.counts[QUEUE] = 5
    broker, _ = await rig.open(timings=dataclasses.replace(QUICK, drain_check=0.01))
    draining, items = await start_drain(rig, broker, prefetch=1)
    session = await rig.server.session()
    await session.until(lambda: bool(session.of(commands.Basic.Consume)))
    session.deliver(b"mail", queue=QUEUE)
    item = await items.next()
    asked = len(declarations(session))
    await asyncio.sleep(0.05)
    assert len(declarations(session)) == asked
    rig.server.script.counts[QUEUE] = 0
    await soon(broker.settle(item, []))
    assert await soon(draining)
    await until(lambda: bool(session.of(commands.Channel.Close)))
