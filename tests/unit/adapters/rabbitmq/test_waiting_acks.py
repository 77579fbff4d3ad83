"""What ends before its turn waits a moment, so that one acknowledgement can cover it with those before it."""

from __future__ import annotations

import pytest
from pamqp import commands

from relayq.adapters.rabbitmq import RabbitMqBroker
from relayq.adapters.rabbitmq.consumer import RabbitMqItem
from tests.unit.adapters.rabbitmq.conftest import Items, Rig, soon
from tests.unit.adapters.rabbitmq.fake_broker import FakeSession

MODULE = "relayq.adapters.rabbitmq.consumer"


@pytest.fixture(autouse=True)
def _plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.connection.GATHER_SECONDS", 0.0)
    monkeypatch.setattr(f"{MODULE}.PLENTY", 2)
    monkeypatch.setattr(f"{MODULE}.WAIT_SECONDS", 3600.0)


async def handed_out(rig: Rig, count: int) -> tuple[RabbitMqBroker, Items, FakeSession, list[RabbitMqItem]]:
    broker, _ = await rig.open()
    items, session = await rig.consume(broker, prefetch=20)
    for number in range(count):
        session.deliver(b"%d" % number)
    return broker, items, session, await items.take(count)


async def next_ack(session: FakeSession) -> tuple[int, bool]:
    answer = await session.next_answer(commands.Basic.Ack)
    return answer.delivery_tag, answer.multiple


async def in_between(items: Items, session: FakeSession) -> None:
    """The broker hands something out: what was to be written has been by then."""
    session.deliver(b"more")
    await items.next()


async def test_it_is_covered_when_its_turn_comes(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 10)
    broker.settle(held[2], ())
    await in_between(items, session)
    assert session.answers.empty()
    broker.settle(held[0], ())
    assert await next_ack(session) == (1, False)
    broker.settle(held[1], ())
    assert await next_ack(session) == (3, True)


async def test_only_so_many_wait_the_oldest_go_first(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.MOST_WAITING", 2)
    broker, _, session, held = await handed_out(rig, 10)
    for position in (5, 3, 4, 2):
        broker.settle(held[position], ())
    assert [await next_ack(session) for _ in range(2)] == [(3, False), (4, False)]
    broker.settle(held[0], ())
    broker.settle(held[1], ())
    assert await next_ack(session) == (6, True)


async def test_none_waits_for_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MODULE}.WAIT_SECONDS", 0.01)
    broker, _, session, held = await handed_out(rig, 10)
    broker.settle(held[4], ())
    broker.settle(held[2], ())
    assert [await next_ack(session) for _ in range(2)] == [(3, False), (5, False)]


async def test_none_waits_once_few_are_held(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 5)
    broker.settle(held[2], ())
    await in_between(items, session)
    assert session.answers.empty()
    for position in (3, 4):
        broker.settle(held[position], ())
    broker.settle(held[1], ())
    assert [await next_ack(session) for _ in range(4)] == [(2, False), (3, False), (4, False), (5, False)]


async def test_none_waits_on_a_channel_that_is_left(rig: Rig) -> None:
    broker, items, session, held = await handed_out(rig, 10)
    broker.settle(held[2], ())
    await soon(items.consumption.cancel())
    broker.settle(held[5], ())
    assert [await next_ack(session) for _ in range(2)] == [(3, False), (6, False)]


async def test_an_orderly_end_leaves_none_behind(rig: Rig) -> None:
    broker, _, session, held = await handed_out(rig, 10)
    broker.settle(held[2], ())
    await soon(broker.close())
    order = [
        type(method)
        for _, method in session.methods
        if isinstance(method, commands.Basic.Ack | commands.Connection.Close)
    ]
    assert order == [commands.Basic.Ack, commands.Connection.Close]
