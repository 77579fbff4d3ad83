"""Consuming against a scripted server: acknowledgements, prefetch, server-sent cancel, lost channels."""

from __future__ import annotations

import asyncio

import pytest
from pamqp import commands

from relayq.adapters.rabbitmq.consumer import ConsumerChannel
from relayq.ports import BrokerRefusedError, BrokerUnavailableError, TopologyError
from tests.unit.adapters.rabbitmq.conftest import Items, Rig, result, soon
from tests.unit.adapters.rabbitmq.fake_broker import FakeSession


async def consuming(rig: Rig, count: int = 0) -> tuple[object, Items, FakeSession]:
    broker, _ = await rig.open(queues=("results",))
    items, session = await rig.consume(broker)
    for number in range(count):
        session.deliver(b"%d" % number)
    return broker, items, session


async def acks(session: FakeSession, count: int) -> list[tuple[int, bool]]:
    answers = [await session.next_answer(commands.Basic.Ack) for _ in range(count)]
    return [(answer.delivery_tag, answer.multiple) for answer in answers]


async def test_how_a_consumer_is_set_up(rig: Rig) -> None:
    broker, _ = await rig.open()
    _, session = await rig.consume(broker, prefetch=25)
    ((channel, qos),) = session.of(commands.Basic.Qos)
    ((consume_channel, consume),) = session.of(commands.Basic.Consume)
    assert (qos.prefetch_count, qos.global_, channel) == (25, False, consume_channel)
    assert (consume.queue, consume.no_ack, consume.exclusive) == ("outbox", False, False)
    assert session.client_properties["connection_name"] == "relayq consumer 1"
    assert [queue.queue for queue in session.declared()].count("outbox") >= 1


async def test_what_an_item_carries(rig: Rig) -> None:
    _, items, session = await consuming(rig)
    session.deliver(b"{}", redelivered=True, message_id="m", delivery_mode=2)
    item = await items.next()
    assert (item.body, item.redelivered, item.properties.message_id, item.is_held) == (b"{}", True, "m", True)
    assert "held" not in repr(item)


async def test_while_plenty_is_held_acknowledgements_wait_for_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.connection.GATHER_SECONDS", 3600.0)
    monkeypatch.setattr("relayq.adapters.rabbitmq.consumer.PLENTY", 2)
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    for number in range(5):
        session.deliver(b"%d" % number)
    held = await items.take(5)
    broker.settle(held[0], ())
    await asyncio.sleep(0)
    broker.settle(held[1], ())
    await asyncio.sleep(0)
    assert not session.of(commands.Basic.Ack)
    broker.settle(held[2], ())  # few are left: the broker is to hand out more
    assert await acks(session, 1) == [(3, True)]


async def test_acks_of_one_turn_go_out_together_and_cover_only_what_is_finished(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    for number in range(8):
        session.deliver(b"%d" % number)
    held = await items.take(8)
    for position in (2, 0, 1, 4, 6):
        broker.settle(held[position], ())
    assert await acks(session, 3) == [(3, True), (5, False), (7, False)]
    broker.settle(held[3], ())
    assert await acks(session, 1) == [(4, False)]
    broker.settle(held[7], ())
    broker.settle(held[5], ())
    assert await acks(session, 1) == [(8, True)]


async def test_an_item_is_acknowledged_once(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    session.deliver(b"b")
    first, second = await items.take(2)
    await broker.settle(first, ())
    await broker.settle(first, ())
    broker.requeue(first)
    assert await acks(session, 1) == [(1, False)]
    broker.requeue(second)
    broker.requeue(second)
    await broker.settle(second, ())
    nack = await session.next_answer(commands.Basic.Nack)
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (2, False, True)
    assert not second.is_held
    await soon(items.consumption.cancel())
    assert session.answers.empty()


async def test_an_item_is_acknowledged_after_the_last_confirm(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, publisher = await rig.open(queues=("results",))
    items, session = await rig.consume(broker)
    session.deliver(b"mail")
    settled = asyncio.ensure_future(broker.settle(await items.next(), [result(b"a"), result(b"b")]))
    first, second = await publisher.next_published(), await publisher.next_published()
    publisher.send(first.channel, commands.Basic.Ack(second.tag))
    publisher.send(first.channel, commands.Channel.Flow(True))
    await publisher.next_answer(commands.Channel.FlowOk)
    assert session.answers.empty()
    assert not settled.done()
    publisher.send(first.channel, commands.Basic.Ack(first.tag))
    await soon(settled)
    assert await acks(session, 1) == [(1, False)]


async def test_acks_leave_before_the_connection_closes(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"mail")
    broker.settle(await items.next(), ())
    await soon(broker.close())
    order = [
        type(method)
        for _, method in session.methods
        if isinstance(method, commands.Basic.Ack | commands.Connection.Close)
    ]
    assert order == [commands.Basic.Ack, commands.Connection.Close]


async def test_a_lost_connection_takes_the_items_and_consumes_again(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    session.deliver(b"b")
    lost, finished = await items.take(2)
    broker.settle(finished, ())
    session.cut()
    await soon(rig.recorder.losses.get())
    assert not lost.is_held
    session = await rig.server.session()
    await session.until(lambda: bool(session.of(commands.Basic.Consume)))
    session.deliver(b"a", redelivered=True)
    again = await items.next()
    await broker.settle(lost, ())  # too late: this is not its channel
    await broker.settle(again, ())
    assert await acks(session, 1) == [(1, False)]
    assert rig.recorder.losses.empty()


async def test_settling_a_lost_item_still_publishes(rig: Rig) -> None:
    broker, publisher = await rig.open(queues=("results",))
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    lost = await items.next()
    session.cut()
    await soon(rig.recorder.losses.get())
    await soon(broker.settle(lost, [result(b"done")]))
    assert (await publisher.next_published()).body == b"done"


async def test_a_loss_without_items_is_not_told(rig: Rig) -> None:
    _, _, session = await consuming(rig)
    session.cut()
    session = await rig.server.session()
    await session.until(lambda: bool(session.of(commands.Basic.Consume)))
    assert rig.recorder.losses.empty()


async def test_acknowledgements_that_may_be_lost_are_told(rig: Rig) -> None:
    """Nothing is held, but the last acknowledgement may not have arrived: its message may come again."""
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    broker.settle(await items.next(), ())
    session.cut()
    await soon(rig.recorder.losses.get())


async def test_a_server_sent_cancel_returns_the_items_and_consumes_again(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    item = await items.next()
    ((channel, consume),) = session.of(commands.Basic.Consume)
    session.send(channel, commands.Basic.Cancel(consume.consumer_tag))
    await soon(rig.recorder.losses.get())
    assert not item.is_held
    await session.until(lambda: len(session.of(commands.Basic.Consume)) == 2)
    assert session.of(commands.Basic.Consume)[1][0] != channel
    await broker.settle(item, ())
    session.deliver(b"a", redelivered=True)
    again = await items.next()
    broker.settle(again, ())
    assert await acks(session, 1) == [(2, False)]
    assert rig.server.attempts == 2
    assert "cancelled by the broker" in rig.recorder.text("warning")


async def test_a_deleted_queue_is_declared_again(rig: Rig) -> None:
    broker, _ = await rig.open()
    _, session = await rig.consume(broker)
    ((channel, consume),) = session.of(commands.Basic.Consume)
    before = len(session.declared())
    rig.server.script.refuse["consume outbox"] = [(404, "NOT_FOUND - no queue 'outbox'")]
    session.send(channel, commands.Basic.Cancel(consume.consumer_tag))
    await session.until(lambda: len(session.of(commands.Basic.Consume)) == 3)
    assert [queue.queue for queue in session.declared()[before:]] == ["outbox", "outbox"]


async def test_a_consumer_timeout_is_explained_and_survived(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    item = await items.next()
    ((channel, _),) = session.of(commands.Basic.Consume)
    session.close_channel(
        channel,
        406,
        "PRECONDITION_FAILED - delivery acknowledgement on channel 2 timed out. Timeout value used: 1800000 ms. "
        "This timeout value can be configured, see consumers doc guide to learn more",
    )
    await soon(rig.recorder.losses.get())
    assert not item.is_held
    await session.next_answer(commands.Channel.CloseOk)
    await session.until(lambda: len(session.of(commands.Basic.Consume)) == 2)
    assert "consumer_timeout" in rig.recorder.text("warning")
    assert "rabbitmq-ack-limit" in rig.recorder.text("warning")


async def test_a_changed_prefetch_needs_a_new_consumer(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker, prefetch=4)
    for number in range(4):
        session.deliver(b"%d" % number)
    held = await items.take(4)
    await items.consumption.set_prefetch(8)
    await session.until(lambda: len(session.of(commands.Basic.Consume)) == 2)
    assert [qos.prefetch_count for _, qos in session.of(commands.Basic.Qos)] == [4, 8]
    assert len(session.of(commands.Basic.Cancel)) == 1
    assert all(item.is_held for item in held)

    await items.consumption.set_prefetch(4)  # 4 are held: the new consumer waits until half of 4 are
    await session.until(lambda: len(session.of(commands.Basic.Cancel)) == 2)
    broker.settle(held[0], ())
    await acks(session, 1)
    assert len(session.of(commands.Basic.Consume)) == 2
    broker.settle(held[1], ())
    await session.until(lambda: len(session.of(commands.Basic.Consume)) == 3)
    assert [qos.prefetch_count for _, qos in session.of(commands.Basic.Qos)] == [4, 8, 4]


async def test_a_cancelled_consumption_keeps_its_channel_until_nothing_is_held(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    session.deliver(b"b")
    first, second = await items.take(2)
    await soon(items.consumption.cancel())
    ((channel, _),) = session.of(commands.Basic.Cancel)
    broker.settle(first, ())
    assert await acks(session, 1) == [(1, False)]
    assert second.is_held
    broker.settle(second, ())
    assert await acks(session, 1) == [(2, False)]
    await session.until(lambda: (channel, commands.Channel.Close) in [(c, type(m)) for c, m in session.methods])
    await soon(items.consumption.cancel())


async def test_cancel_while_the_consumer_is_away(rig: Rig) -> None:
    broker, _ = await rig.open()
    items, _ = await rig.consume(broker)
    await rig.server.stop()
    await soon(items.consumption.cancel())
    await rig.server.start()
    await rig.server.session()
    await rig.server.session()
    sessions = rig.server.all_sessions[2:]
    await soon(broker.close())
    assert not any(session.of(commands.Basic.Consume) for session in sessions)


@pytest.mark.parametrize(("code", "kind"), [(404, TopologyError), (403, BrokerRefusedError)])
async def test_a_first_try_that_cannot_succeed_is_an_error(rig: Rig, code: int, kind: type[Exception]) -> None:
    rig.server.script.refuse["consume missing"] = [(code, "REFUSED - no")]
    broker, _ = await rig.open(outbox="", declare=False)
    with pytest.raises(kind, match="missing"):
        await soon(broker.consume("missing", 1, lambda _: None))


async def test_a_first_try_that_may_succeed_is_repeated(rig: Rig) -> None:
    rig.server.script.refuse["consume outbox"] = [(405, "RESOURCE_LOCKED - exclusive")] * 2
    broker, _ = await rig.open()
    items, session = await rig.consume(broker)
    session.deliver(b"a")
    assert (await items.next()).body == b"a"


async def test_a_first_try_within_a_time_limit(rig: Rig) -> None:
    rig.server.script.refuse["consume outbox"] = [(405, "RESOURCE_LOCKED - exclusive")] * 1000
    broker, _ = await rig.open(time_limit=0.2)
    with pytest.raises(BrokerUnavailableError, match="time limit"):
        await soon(broker.consume("outbox", 1, lambda _: None))


async def test_several_consumer_connections(rig: Rig) -> None:
    broker, _ = await rig.open(consumers=2)
    items = Items()
    await soon(broker.consume("outbox", 5, items))
    sessions = [await rig.server.session() for _ in range(2)]
    for session in sessions:
        session.deliver(b"x")
    for item in await items.take(2):
        broker.settle(item, ())
    for session in sessions:
        assert await acks(session, 1) == [(1, False)]


async def test_two_queues_share_a_connection(rig: Rig) -> None:
    broker, _ = await rig.open(queues=("results",))
    items, session = await rig.consume(broker)
    await soon(broker.consume("results", 5, items))
    session.deliver(b"mail")
    session.deliver(b"result", queue="results")
    first, second = await items.take(2)
    assert first.channel is not second.channel
    broker.requeue(first)
    broker.requeue(second)
    nacks = [await session.next_answer(commands.Basic.Nack) for _ in range(2)]
    assert [nack.delivery_tag for nack in nacks] == [1, 2]
    assert rig.server.attempts == 2


async def test_close_ends_a_consumer_that_could_not_start(rig: Rig) -> None:
    rig.server.script.unanswered.add("consume outbox")
    broker, _ = await rig.open()
    starting = asyncio.create_task(broker.consume("outbox", 1, lambda _: None))
    session = await rig.server.session()
    await session.until(lambda: bool(session.of(commands.Basic.Consume)))
    await soon(broker.close())
    with pytest.raises(BrokerUnavailableError, match="closed"):
        await soon(starting)


async def test_an_internal_error_is_logged_and_survived(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, _ = await rig.open()
    failures = [RuntimeError("a bug")]
    consume = ConsumerChannel.consume

    async def failing(channel: ConsumerChannel, queue: str, prefetch: int) -> None:
        if failures:
            raise failures.pop()
        await consume(channel, queue, prefetch)

    monkeypatch.setattr(ConsumerChannel, "consume", failing)
    items, session = await rig.consume(broker)
    session.deliver(b"mail")
    assert (await items.next()).body == b"mail"
    assert "a bug" in rig.recorder.text("error")
