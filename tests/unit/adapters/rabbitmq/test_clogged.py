"""A channel whose acknowledgements are held up by items that stay is left to them, and another one consumed on."""

from __future__ import annotations

import pytest
from pamqp import commands

from relayq.adapters.rabbitmq import RabbitMqBroker
from relayq.adapters.rabbitmq.consumer import RabbitMqItem
from tests.unit.adapters.rabbitmq.conftest import Items, Rig, soon
from tests.unit.adapters.rabbitmq.fake_broker import FakeSession


@pytest.fixture(autouse=True)
def _early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.consumer.CLOGGED_AFTER", 3)
    monkeypatch.setattr("relayq.adapters.rabbitmq.consumption.LEAVE_SECONDS", 3600.0)


async def handed_out(
    rig: Rig, count: int, prefetch: int
) -> tuple[RabbitMqBroker, Items, FakeSession, list[RabbitMqItem]]:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker, prefetch=prefetch)
    for number in range(count):
        session.deliver(b"%d" % number)
    return broker, items, session, await items.take(count)


async def settle(broker: RabbitMqBroker, session: FakeSession, items: list[RabbitMqItem]) -> list[tuple[int, bool]]:
    """Settle one after the other; the acknowledgements of each turn."""
    answers = []
    for item in items:
        broker.settle(item, ())
        answers.append(await session.next_answer(commands.Basic.Ack))
    return [(answer.delivery_tag, answer.multiple) for answer in answers]


def windows(session: FakeSession) -> list[int]:
    return [qos.prefetch_count for _, qos in session.of(commands.Basic.Qos)]


def consumers(session: FakeSession) -> list[int]:
    return [channel for channel, _ in session.of(commands.Basic.Consume)]


async def until_consumers(session: FakeSession, count: int) -> None:
    await session.until(lambda: len(session.of(commands.Basic.Consume)) == count)


async def test_what_stays_is_left_on_its_channel(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 4, prefetch=10)
    assert await settle(broker, session, held[1:]) == [(2, False), (3, False), (4, False)]
    await until_consumers(session, 2)
    first, second = consumers(session)
    assert first != second
    assert [channel for channel, _ in session.of(commands.Basic.Cancel)] == [first]
    assert windows(session) == [10, 10]
    assert held[0].is_held
    for number in (5, 6):
        session.deliver(b"%d" % number)
    fifth, sixth = await items.take(2)
    broker.settle(sixth, ())
    broker.settle(fifth, ())
    answer = await session.next_answer(commands.Basic.Ack)
    assert (answer.delivery_tag, answer.multiple) == (6, True)  # one for both again


async def test_a_channel_that_was_left_ends_with_the_last_of_its_items(rig: Rig) -> None:
    broker, _, session, held = await handed_out(rig, 4, prefetch=10)
    await settle(broker, session, held[1:])
    await until_consumers(session, 2)
    assert await settle(broker, session, held[:1]) == [(1, False)]
    left = consumers(session)[0]
    await session.until(lambda: left in [channel for channel, _ in session.of(commands.Channel.Close)])
    assert rig.recorder.losses.empty()


async def test_a_new_channel_waits_until_half_of_what_moves_is_done(rig: Rig) -> None:
    broker, _, session, held = await handed_out(rig, 10, prefetch=10)
    await settle(broker, session, held[1:4])
    await session.until(lambda: bool(session.of(commands.Basic.Cancel)))
    assert len(consumers(session)) == 1
    await settle(broker, session, held[4:5])
    await until_consumers(session, 2)  # one stays, five move
    assert windows(session) == [10, 10]


async def test_what_stands_still_meanwhile_stops_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.consumption.LEAVE_SECONDS", 0.01)
    broker, items, session, held = await handed_out(rig, 10, prefetch=10)
    await settle(broker, session, held[1:4])
    await until_consumers(session, 2)
    assert windows(session) == [10, 10]  # seven stay by now, and are in nobody's way
    session.deliver(b"more")
    assert (await items.next()).body == b"more"


async def test_a_channel_is_not_left_to_more_than_half_of_the_prefetch(rig: Rig) -> None:
    broker, _, session, held = await handed_out(rig, 10, prefetch=10)
    await settle(broker, session, held[6:])
    assert not session.of(commands.Basic.Cancel)
    # Once less stays it is: it is looked at again after as many more.
    await settle(broker, session, [*held[1:6]])
    await until_consumers(session, 2)
    assert windows(session) == [10, 10]


async def test_acknowledgements_that_cover_others_show_that_nothing_stays(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 7, prefetch=10)
    await settle(broker, session, held[1:3])
    await settle(broker, session, held[:1])
    await settle(broker, session, held[4:6])
    await settle(broker, session, held[3:4])
    session.deliver(b"more")
    await items.next()
    assert not session.of(commands.Basic.Cancel)


async def test_the_end_of_a_channel_that_was_left_is_told_and_ends_nothing_else(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 4, prefetch=10)
    await settle(broker, session, held[1:])
    await until_consumers(session, 2)
    timed_out = "PRECONDITION_FAILED - delivery acknowledgement on channel 2 timed out"
    session.close_channel(consumers(session)[0], 406, timed_out)
    await soon(rig.recorder.losses.get())
    assert not held[0].is_held
    assert "consumer_timeout" in rig.recorder.text("warning")
    await session.next_answer(commands.Channel.CloseOk)
    session.deliver(b"more")
    assert (await items.next()).is_held
    assert len(consumers(session)) == 2


async def test_cancelling_keeps_what_stays(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 4, prefetch=10)
    await settle(broker, session, held[1:])
    await until_consumers(session, 2)
    await soon(items.consumption.cancel())
    assert [channel for channel, _ in session.of(commands.Basic.Cancel)] == consumers(session)
    assert await settle(broker, session, held[:1]) == [(1, False)]


async def test_a_broker_without_another_channel_is_asked_again(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 4, prefetch=10)
    rig.server.script.refuse["consume outbox"] = [(405, "RESOURCE_LOCKED - not now")]
    await settle(broker, session, held[1:])
    await until_consumers(session, 3)
    session.deliver(b"more")
    assert (await items.next()).body == b"more"
    assert held[0].is_held
