"""Publishing against a scripted server: confirms in every shape, returns, refusals, losses, flow."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import zlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from pamqp import commands

from relayq.adapters.rabbitmq import RabbitMqBroker
from relayq.adapters.rabbitmq.declarer import Declarer
from relayq.ports import (
    BrokerUnavailableError,
    OutboxItem,
    Properties,
    Publication,
    PublicationTooLargeError,
    QueueRole,
)
from tests.unit.adapters.rabbitmq.conftest import QUICK, Rig, result, soon, to_outbox
from tests.unit.adapters.rabbitmq.fake_broker import FakeSession, Published


async def published(session: FakeSession, count: int) -> list[Published]:
    return [await session.next_published() for _ in range(count)]


def publish(broker: RabbitMqBroker, *publications: Publication) -> asyncio.Task[None]:
    return asyncio.create_task(broker.publish(publications))


async def unconfirmed(rig: Rig, count: int, **options: Any) -> tuple[list[asyncio.Task[None]], FakeSession]:
    """So many publishes under way, none of them confirmed."""
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",), **options)
    tasks = [publish(broker, result(b"%d" % number)) for number in range(count)]
    await published(session, count)
    return tasks, session


def done(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() for task in tasks]


async def turns(session: FakeSession) -> None:
    """Return after everything the server sent so far has been taken: the answer to a question comes last."""
    session.send(tasks_channel(session), commands.Channel.Flow(True))
    await session.next_answer(commands.Channel.FlowOk)


async def test_what_a_publish_looks_like(rig: Rig) -> None:
    broker, session = await rig.open(queues=("results",))
    await soon(broker.publish([result(b'{"a":1}', priority=3, message_id="m", content_encoding="gzip")]))
    (one,) = await published(session, 1)
    assert (one.exchange, one.queue, one.mandatory, one.body) == ("", "results", True, b'{"a":1}')
    assert (one.properties.delivery_mode, one.properties.priority, one.properties.message_id) == (2, 3, "m")
    assert (one.properties.content_type, one.properties.content_encoding) == ("application/json", None)


@pytest.mark.parametrize(
    ("persistent", "was_persistent", "mode"), [(True, False, 2), (False, True, 2), (False, False, 1), (True, True, 2)]
)
async def test_what_was_persistent_stays_so(rig: Rig, persistent: bool, was_persistent: bool, mode: int) -> None:
    broker, session = await rig.open(queues=("results",), persistent=persistent)
    await soon(broker.publish([result(persistent=was_persistent)]))
    assert (await session.next_published()).properties.delivery_mode == mode


async def test_while_one_is_unconfirmed_others_wait_for_the_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.connection.GATHER_SECONDS", 3600.0)
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    tasks = [publish(broker, result(b"0"))]
    await published(session, 1)
    tasks += [publish(broker, result(b"1")), publish(broker, result(b"2"))]
    await asyncio.sleep(0)
    session.send(tasks_channel(session), commands.Basic.Ack(1))
    assert [one.body for one in await published(session, 2)] == [b"1", b"2"]
    session.send(tasks_channel(session), commands.Basic.Ack(3, multiple=True))
    await soon(asyncio.gather(*tasks))


async def test_confirms_one_by_one_in_any_order(rig: Rig) -> None:
    tasks, session = await unconfirmed(rig, 3)
    for tag in (3, 1):
        session.send(tasks_channel(session), commands.Basic.Ack(tag))
    await soon(asyncio.gather(tasks[0], tasks[2]))
    assert done(tasks) == [True, False, True]
    session.send(tasks_channel(session), commands.Basic.Ack(2))
    await soon(tasks[1])


def tasks_channel(session: FakeSession) -> int:
    return session.of(commands.Confirm.Select)[-1][0]


async def test_a_confirm_of_several_covers_what_is_below(rig: Rig) -> None:
    tasks, session = await unconfirmed(rig, 5)
    channel = tasks_channel(session)
    session.send(channel, commands.Basic.Ack(2))
    session.send(channel, commands.Basic.Ack(3, True))
    await soon(asyncio.gather(*tasks[:3]))
    assert done(tasks) == [True, True, True, False, False]
    session.send(channel, commands.Basic.Ack(0, True))
    await soon(asyncio.gather(*tasks))


async def test_confirms_of_tags_nobody_knows_change_nothing(rig: Rig) -> None:
    tasks, session = await unconfirmed(rig, 2)
    channel = tasks_channel(session)
    session.send(channel, commands.Basic.Ack(77))
    session.send(channel, commands.Basic.Ack(1))
    session.send(channel, commands.Basic.Ack(1))
    await soon(tasks[0])
    assert done(tasks) == [True, False]
    session.send(channel, commands.Basic.Ack(1 << 60, True))
    await soon(tasks[1])
    session.is_confirming = True


async def test_several_publications_end_together(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    task = publish(broker, result(b"a"), result(b"b"))
    first, second = await published(session, 2)
    assert (first.body, second.body) == (b"a", b"b")
    session.send(first.channel, commands.Basic.Ack(second.tag))
    await turns(session)
    assert not task.done()
    session.send(first.channel, commands.Basic.Ack(first.tag))
    await soon(task)


async def test_a_nack_publishes_again(rig: Rig) -> None:
    tasks, session = await unconfirmed(rig, 3)
    channel = tasks_channel(session)
    session.send(channel, commands.Basic.Nack(2, True, False))
    session.send(channel, commands.Basic.Ack(3))
    again = await published(session, 2)
    assert {one.body for one in again} == {b"0", b"1"}
    assert done(tasks) == [False, False, True]
    session.send(channel, commands.Basic.Nack(again[0].tag))  # and again
    (third,) = await published(session, 1)
    session.send(channel, commands.Basic.Ack(third.tag, True))
    await soon(asyncio.gather(*tasks))
    assert rig.recorder.text("warning").count("refuses messages") == 1


async def test_the_throttle_lets_the_rest_wait_in_order(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",), throttle=2)
    tasks = [publish(broker, result(b"%d" % number)) for number in range(5)]
    first, _ = await published(session, 2)
    await turns(session)
    assert session.published.empty()
    session.send(first.channel, commands.Basic.Ack(2, True))
    third, fourth = await published(session, 2)
    assert (third.body, fourth.body) == (b"2", b"3")
    session.send(first.channel, commands.Basic.Ack(fourth.tag))
    (fifth,) = await published(session, 1)
    session.send(first.channel, commands.Basic.Ack(fifth.tag, True))
    await soon(asyncio.gather(*tasks))


# Returns


async def test_a_returned_result_is_declared_and_published_once_more(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    task = publish(broker, result(b"x"))
    (one,) = await published(session, 1)
    before = len(session.declared())
    session.give_back(one)
    session.send(one.channel, commands.Basic.Ack(one.tag))
    (again,) = await published(session, 1)
    assert (again.body, again.queue) == (b"x", "results")
    assert [queue.queue for queue in session.declared()[before:]] == ["results"]
    assert not task.done()
    session.send(one.channel, commands.Basic.Ack(again.tag))
    await soon(task)
    assert rig.recorder.unroutables.empty()


async def test_a_result_returned_twice_is_reported_and_done(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    publication = result(b"x")
    task = publish(broker, publication)
    for _ in range(2):
        (one,) = await published(session, 1)
        session.give_back(one)
        session.send(one.channel, commands.Basic.Ack(one.tag))
    await soon(task)
    assert rig.recorder.unroutables.get_nowait() is publication


async def test_without_declaring_a_returned_result_is_reported_at_once(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(declare=False)
    task = publish(broker, result(b"x", "nowhere"))
    (one,) = await published(session, 1)
    session.give_back(one)
    session.send(one.channel, commands.Basic.Ack(one.tag))
    await soon(task)
    assert rig.recorder.unroutables.get_nowait().queue == "nowhere"
    assert all(queue.passive for queue in session.declared())


async def test_a_returned_outbox_copy_is_never_given_up(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open()
    task = publish(broker, to_outbox(b"x"))
    for _ in range(4):
        (one,) = await published(session, 1)
        session.give_back(one)
        session.send(one.channel, commands.Basic.Ack(one.tag))
    (one,) = await published(session, 1)
    assert not task.done()
    session.send(one.channel, commands.Basic.Ack(one.tag))
    await soon(task)
    assert rig.recorder.unroutables.empty()


async def test_a_return_is_matched_by_what_it_carries(rig: Rig) -> None:
    """The first publish to the queue was routed, then the queue was deleted and the second came back."""
    rig.server.script.confirm = False
    broker, session = await rig.open(declare=False)
    tasks = [publish(broker, result(b"same", message_id=name)) for name in ("routed", "returned")]
    first, second = await published(session, 2)
    session.give_back(second)
    session.send(first.channel, commands.Basic.Ack(second.tag, True))
    await soon(asyncio.gather(*tasks))
    assert rig.recorder.unroutables.get_nowait().properties.message_id == "returned"
    assert rig.recorder.unroutables.empty()


async def test_a_return_that_was_changed_on_its_way_counts_for_the_oldest_of_its_queue(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(declare=False)
    tasks = [publish(broker, result(body, queue)) for body, queue in ((b"a", "x"), (b"b", "y"), (b"c", "y"))]
    await published(session, 2)
    third = (await published(session, 1))[0]
    third.body = b"changed"
    session.give_back(third)
    session.send(third.channel, commands.Basic.Ack(0, True))
    await soon(asyncio.gather(*tasks))
    assert rig.recorder.unroutables.get_nowait().body == b"b"
    assert rig.recorder.unroutables.empty()


async def test_a_return_of_something_unknown_is_ignored(rig: Rig) -> None:
    tasks, session = await unconfirmed(rig, 1)
    channel = tasks_channel(session)
    stranger = Published(channel, 1, "", "strange", True, commands.Basic.Properties(), b"stranger")
    session.give_back(stranger)
    session.send(channel, commands.Basic.Ack(1))
    await soon(tasks[0])
    assert rig.recorder.unroutables.empty()


# Declaring on first use


async def test_an_unknown_queue_is_declared_once_per_connection(rig: Rig) -> None:
    broker, session = await rig.open()
    before = len(session.declared())
    await soon(asyncio.gather(*(broker.publish([result(queue="customer")]) for _ in range(3))))
    await soon(broker.publish([result(queue="customer")]))
    assert [queue.queue for queue in session.declared()[before:]] == ["customer"]
    session.cut()
    session = await rig.server.session()
    await soon(broker.publish([result(queue="customer")]))
    assert [queue.queue for queue in session.declared()].count("customer") == 1


async def test_a_queue_that_exists_differently_is_used_as_it_is(rig: Rig) -> None:
    rig.server.script.refuse["customer"] = [(406, "PRECONDITION_FAILED - inequivalent arg 'x-max-priority'")]
    broker, session = await rig.open()
    await soon(broker.publish([result(queue="customer")]))
    assert (await session.next_published()).queue == "customer"


async def test_a_forbidden_queue_is_unroutable_and_not_asked_for_each_time(rig: Rig) -> None:
    rig.server.script.refuse["forbidden"] = [(403, "ACCESS_REFUSED - no")]
    broker, session = await rig.open()
    await soon(broker.publish([result(b"1", "forbidden")]))
    await soon(broker.publish([result(b"2", "forbidden")]))
    assert [rig.recorder.unroutables.get_nowait().body for _ in range(2)] == [b"1", b"2"]
    assert [queue.queue for queue in session.declared()].count("forbidden") == 1
    assert "forbidden" in rig.recorder.text("error")


async def test_a_forbidden_queue_is_tried_again_later(rig: Rig) -> None:
    rig.server.script.refuse["forbidden"] = [(403, "ACCESS_REFUSED - no")]
    timings = dataclasses.replace(QUICK, refused_queue_memory=0)
    broker, session = await rig.open(timings=timings)
    await soon(broker.publish([result(b"1", "forbidden")]))
    await soon(broker.publish([result(b"2", "forbidden")]))
    assert (await session.next_published()).body == b"2"


@pytest.mark.parametrize("declare", [True, False])
@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "\ud800"])
async def test_what_is_no_queue_name_is_unroutable(rig: Rig, name: str, declare: bool) -> None:
    broker, session = await rig.open(declare=declare)
    before = len(session.declared())
    await soon(broker.publish([result(b"x", name)]))
    assert rig.recorder.unroutables.get_nowait().queue == name
    assert len(session.declared()) == before
    assert session.published.empty()


async def test_a_locked_queue_is_tried_again(rig: Rig) -> None:
    rig.server.script.refuse["customer"] = [(405, "RESOURCE_LOCKED - exclusive")]
    broker, session = await rig.open()
    await soon(broker.publish([result(b"x", "customer")]))
    assert (await session.next_published()).body == b"x"
    assert rig.recorder.unroutables.empty()


async def test_a_connection_lost_while_declaring(rig: Rig) -> None:
    rig.server.script.refuse["customer"] = [(541, "INTERNAL_ERROR")]
    broker, _ = await rig.open()
    task = publish(broker, result(b"x", "customer"))
    session = await rig.server.session()
    await soon(task)
    assert (await session.next_published()).body == b"x"


async def test_an_internal_error_while_declaring_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, session = await rig.open()
    failures = [RuntimeError("a bug")]
    declare_one = Declarer.declare_one

    async def failing(declarer: Declarer, name: str) -> bool:
        if failures:
            raise failures.pop()
        return await declare_one(declarer, name)

    monkeypatch.setattr(Declarer, "declare_one", failing)
    await soon(broker.publish([result(b"x", "customer")]))
    assert (await session.next_published()).body == b"x"
    assert "a bug" in rig.recorder.text("error")


async def test_a_lazy_queue_made_before_keeps_its_argument(rig: Rig) -> None:
    text = "PRECONDITION_FAILED - inequivalent arg 'x-queue-mode' for queue 'customer' in vhost '/': received none"
    rig.server.script.refuse["customer"] = [(406, text)]
    broker, session = await rig.open()
    await soon(broker.publish([result(b"x", "customer")]))
    assert [queue.arguments for queue in session.declared() if queue.queue == "customer"] == [
        {},
        {"x-queue-mode": "lazy"},
    ]


async def test_remembered_queues_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.publisher.REMEMBERED_QUEUES", 3)
    broker, session = await rig.open(outbox="")
    for number in (1, 2, 3, 4, 1):
        await soon(broker.publish([result(queue=f"q{number}")]))
    assert [queue.queue for queue in session.declared()] == ["q1", "q2", "q3", "q4", "q1"]


async def test_a_named_exchange_is_declared_bound_and_used(rig: Rig) -> None:
    broker, session = await rig.open(exchange="mail", queues=("results",))
    await soon(broker.publish([result(), result(queue="customer")]))
    assert {one.exchange for one in await published(session, 2)} == {"mail"}
    ((_, exchange),) = session.of(commands.Exchange.Declare)
    assert (exchange.exchange, exchange.exchange_type, exchange.durable) == ("mail", "direct", True)
    bound = [(bind.queue, bind.exchange, bind.routing_key) for _, bind in session.of(commands.Queue.Bind)]
    assert {("outbox", "mail", "outbox"), ("results", "mail", "results"), ("customer", "mail", "customer")} <= set(
        bound
    )
    assert len(bound) == len(session.declared())
    assert all(queue.arguments.get("x-dead-letter-exchange", "") == "" for queue in session.declared())


# Delays


@pytest.mark.parametrize(
    ("left", "queue"),
    [(-5, "outbox"), (0, "outbox"), (0.9, "outbox"), (1.5, "outbox.delay.2"),
     (9, "outbox.delay.9"), (9.5, "outbox.delay.10"), (600, "outbox.delay.600"), (2820, "outbox.delay.2000"),
     (1800, "outbox.delay.1800"), (86_399, "outbox.delay.80000"), (86_400, "outbox.delay.86400"),
     (10**7, "outbox.delay.86400")],
)  # fmt: skip
async def test_the_delay_queue_is_chosen_right_before_publishing(rig: Rig, left: float, queue: str) -> None:
    broker, session = await rig.open(delay_intervals=(1800,))
    await soon(broker.publish([to_outbox(due_at=rig.clock.time + timedelta(seconds=left))]))
    assert (await session.next_published()).queue == queue


async def test_a_long_delay_takes_one_hop_per_digit(rig: Rig) -> None:
    broker, session = await rig.open()
    due_at = rig.clock.time + timedelta(seconds=2820)
    hops = []
    while rig.clock.time < due_at:
        await soon(broker.publish([to_outbox(due_at=due_at)]))
        hops.append(int((await session.next_published()).queue.removeprefix("outbox.delay.")))
        rig.clock.time += timedelta(seconds=hops[-1])
    assert hops == [2000, 800, 20]
    assert rig.clock.time == due_at


async def test_a_publish_that_had_to_wait_is_delayed_for_what_is_left(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open()
    task = publish(broker, to_outbox(due_at=rig.clock.time + timedelta(seconds=600)))
    (one,) = await published(session, 1)
    assert one.queue == "outbox.delay.600"
    rig.clock.ahead += 400
    session.send(one.channel, commands.Basic.Nack(one.tag))
    (again,) = await published(session, 1)
    assert again.queue == "outbox.delay.200"
    session.send(one.channel, commands.Basic.Ack(again.tag))
    await soon(task)


@pytest.mark.parametrize("jump", [-3600, 3600])
async def test_a_delay_stays_what_it_was_when_the_clock_is_set_meanwhile(rig: Rig, jump: int) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open()
    task = publish(broker, to_outbox(due_at=rig.clock.time + timedelta(seconds=600)))
    (one,) = await published(session, 1)
    rig.clock.time += timedelta(seconds=jump)
    session.send(one.channel, commands.Basic.Nack(one.tag))
    (again,) = await published(session, 1)
    assert again.queue == one.queue == "outbox.delay.600"
    session.send(one.channel, commands.Basic.Ack(again.tag))
    await soon(task)


async def test_only_the_outbox_can_be_delayed(rig: Rig) -> None:
    broker, _ = await rig.open()
    late = Publication(
        queue="results", body=b"", properties=Properties(), role=QueueRole.RESULT, due_at=rig.clock.now()
    )
    with pytest.raises(ValueError, match="results"):
        await broker.publish([late])


@pytest.mark.parametrize(("version", "kind", "priority"), [("4.1.0", "quorum", None), ("4.3.0", "quorum", 5),
                                                         ("3.13.1", "quorum", 5), ("4.1.0", "classic", 5)])  # fmt: skip
async def test_delay_copies_lose_their_priority_where_it_would_delay_them(
    rig: Rig, version: str, kind: str, priority: int | None
) -> None:
    rig.server.script.server_properties["version"] = version
    broker, session = await rig.open(queue_type=kind)
    due_at = rig.clock.time + timedelta(seconds=5)
    await soon(broker.publish([to_outbox(due_at=due_at, priority=5), to_outbox(priority=5)]))
    delayed, direct = await published(session, 2)
    assert (delayed.queue, delayed.properties.priority) == ("outbox.delay.5", priority)
    assert (direct.queue, direct.properties.priority) == ("outbox", 5)


# Bodies


async def test_gzip(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",), gzip=True)
    task = publish(broker, result(b'{"a":1}' * 100))
    (one,) = await published(session, 1)
    assert one.properties.content_encoding == "gzip"
    assert gzip.decompress(one.body) == b'{"a":1}' * 100
    session.give_back(one)
    session.send(one.channel, commands.Basic.Ack(one.tag))
    (again,) = await published(session, 1)
    assert again.body == one.body
    session.send(one.channel, commands.Basic.Ack(again.tag))
    await soon(task)


async def test_a_return_followed_by_a_nack_is_a_nack(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(declare=False)
    task = publish(broker, result(b"x"))
    (one,) = await published(session, 1)
    session.give_back(one)
    session.send(one.channel, commands.Basic.Nack(one.tag))
    (again,) = await published(session, 1)
    session.send(one.channel, commands.Basic.Ack(again.tag))
    await soon(task)
    assert rig.recorder.unroutables.empty()


async def test_verbatim_bodies_are_never_compressed(rig: Rig) -> None:
    broker, session = await rig.open(queues=("results",), gzip=True)
    copy = Publication(
        queue="results",
        body=b"damaged",
        properties=Properties(content_encoding="x-gzip"),
        role=QueueRole.RESULT,
        is_verbatim=True,
    )
    await soon(broker.publish([copy]))
    one = await session.next_published()
    assert (one.body, one.properties.content_encoding) == (b"damaged", "x-gzip")


@pytest.mark.parametrize(("version", "mebibytes"), [("3.10.8", 128), ("3.13.7", 128), ("4.0.0", 16), ("4.3.1", 16)])
async def test_the_largest_publish_follows_the_version(rig: Rig, version: str, mebibytes: int) -> None:
    rig.server.script.server_properties["version"] = version
    broker, _ = await rig.open()
    assert broker.max_publish_bytes == mebibytes << 20


async def test_the_largest_publish_can_be_configured(rig: Rig) -> None:
    broker, _ = await rig.open(max_publish=5000)
    assert broker.max_publish_bytes == 5000


TOO_LARGE = "PRECONDITION_FAILED - message size {} is larger than configured max size {}"


async def test_a_message_too_large_is_compressed_and_the_others_go_out_again(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    tasks = [publish(broker, result(body)) for body in (b"small", b"x" * 9000, b"other")]
    first, *_ = await published(session, 3)
    session.close_channel(first.channel, 406, TOO_LARGE.format(9000, 2000))
    rig.server.script.confirm = True
    session = await rig.server.session()
    again = await published(session, 3)
    assert [one.body for one in again if one.body[:1] != b"\x1f"] == [b"small", b"other"]
    assert gzip.decompress(again[1].body) == b"x" * 9000
    await soon(asyncio.gather(*tasks))
    assert broker.max_publish_bytes == 2000


async def refused_as_too_large(rig: Rig, make: Callable[[bytes], Publication]) -> tuple[RabbitMqBroker, Publication]:
    """A publication the broker does not take, and a small one that goes out again."""
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    large = make(zlib.compress(bytes(range(256)) * 20, 0))
    tasks = [publish(broker, one) for one in (large, make(b"small"))]
    first, *_ = await published(session, 2)
    session.close_channel(first.channel, 406, TOO_LARGE.format(len(large.body), 20))
    rig.server.script.confirm = True
    outcomes = await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert outcomes[1] is None
    if make is to_outbox:
        assert isinstance(outcomes[0], PublicationTooLargeError)
        assert "larger than the broker takes (20)" in str(outcomes[0])
    else:
        assert outcomes[0] is None
    session = await rig.server.session()
    assert (await session.next_published()).body == b"small"
    assert session.published.empty()
    return broker, large


async def test_a_result_too_large_even_then_is_reported(rig: Rig) -> None:
    broker, large = await refused_as_too_large(rig, result)
    assert rig.recorder.unroutables.get_nowait().body == large.body
    await soon(broker.publish([large]))  # known by now: not even tried
    assert rig.recorder.unroutables.get_nowait().body == large.body
    assert rig.server.attempts == 2


async def test_a_message_for_the_outbox_too_large_even_then_is_refused_and_not_forgotten(rig: Rig) -> None:
    broker, large = await refused_as_too_large(rig, to_outbox)
    with pytest.raises(PublicationTooLargeError):
        await soon(broker.publish([large]))
    assert rig.recorder.unroutables.empty()
    assert rig.server.attempts == 2


async def test_an_item_whose_copy_is_refused_is_not_acknowledged(rig: Rig) -> None:
    broker, large = await refused_as_too_large(rig, to_outbox)
    items: asyncio.Queue[OutboxItem] = asyncio.Queue()
    await soon(broker.consume("outbox", 2, items.put_nowait))
    session = await rig.server.session()
    for body in (b"x", b"y"):
        session.deliver(body)
    first, second = await soon(items.get()), await soon(items.get())
    with pytest.raises(PublicationTooLargeError):
        await soon(broker.settle(first, [result(b"r"), large]))
    await soon(broker.settle(second, [result(b"s")]))
    assert (await session.next_answer(commands.Basic.Ack)).delivery_tag == 2
    await soon(broker.settle(first, [result(b"t")]))
    assert (await session.next_answer(commands.Basic.Ack)).delivery_tag == 1


# Losses


@pytest.mark.parametrize("way", ["cut", "close_connection", "close_channel", "restart"])
async def test_whatever_ends_the_channel_everything_unconfirmed_goes_out_again_in_order(rig: Rig, way: str) -> None:
    tasks, session = await unconfirmed(rig, 4, throttle=4)
    channel = tasks_channel(session)
    session.send(channel, commands.Basic.Ack(2))
    await soon(tasks[1])
    rig.server.script.confirm = True
    if way == "cut":
        session.cut()
    elif way == "close_connection":
        session.close_connection(320, "CONNECTION_FORCED - bye")
    elif way == "close_channel":
        session.close_channel(channel, 404, "NOT_FOUND - no exchange 'mail'")
    else:
        await rig.server.stop()
        await rig.server.start()
    session = await rig.server.session()
    again = await published(session, 3)
    assert [one.body for one in again] == [b"0", b"2", b"3"]
    assert [one.tag for one in again] == [1, 2, 3]
    await soon(asyncio.gather(*tasks))
    assert "publisher 1 connection lost" in rig.recorder.text("warning")
    assert rig.recorder.text("info").count("publisher 1 connected") == 2


async def test_a_return_is_forgotten_with_its_connection(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    task = publish(broker, result(b"x"))
    (one,) = await published(session, 1)
    session.give_back(one)
    await turns(session)
    rig.server.script.confirm = True
    session.cut()
    await soon(task)
    assert rig.recorder.unroutables.empty()
    session = await rig.server.session()
    assert (await session.next_published()).body == b"x"
    assert session.published.empty()


async def test_no_confirm_for_too_long_is_a_loss(rig: Rig) -> None:
    timings = dataclasses.replace(QUICK, confirm_timeout=0.2)
    tasks, _ = await unconfirmed(rig, 1, timings=timings)
    rig.server.script.confirm = True
    session = await rig.server.session()
    assert (await session.next_published()).body == b"0"
    await soon(tasks[0])
    assert "no confirm for 0.2 s" in rig.recorder.text("warning")


async def test_a_one_shot_command_gives_up(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",), time_limit=1.0)
    task = publish(broker, result(b"x"))
    await published(session, 1)
    await rig.server.stop()
    with pytest.raises(BrokerUnavailableError, match="not reachable"):
        await soon(task)
    with pytest.raises(BrokerUnavailableError):
        await soon(broker.publish([result(b"y")]))


async def test_close_releases_who_waits(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",))
    tasks = [publish(broker, result(b"%d" % number)) for number in range(2)]
    first, _ = await published(session, 2)
    session.send(first.channel, commands.Basic.Nack(first.tag))
    items, session = await rig.consume(broker)
    session.deliver(b"mail")
    settled = broker.settle(await items.next(), [result(b"outcome")])
    await soon(broker.close())
    for task in tasks:
        with pytest.raises(BrokerUnavailableError, match="closed"):
            await soon(task)
    with pytest.raises(asyncio.CancelledError):
        await settled
    assert not session.of(commands.Basic.Ack)


async def test_close_forgets_what_waits_for_a_declaration(rig: Rig) -> None:
    rig.server.script.unanswered.add("customer")
    broker, session = await rig.open()
    task = publish(broker, result(b"x", "customer"))
    await session.until(lambda: session.declared()[-1].queue == "customer")
    await soon(broker.close())
    with pytest.raises(BrokerUnavailableError):
        await soon(task)


async def test_a_one_shot_command_declares_only_what_it_uses(rig: Rig) -> None:
    broker, session = await rig.open(prepare=False, queues=("results",), queue_type="quorum")
    assert session.declared() == []
    await soon(broker.publish([to_outbox(b"mail")]))
    (outbox,) = session.declared()
    assert outbox.queue == "outbox"
    assert outbox.arguments["x-delivery-limit"] == 1000


# Flow


async def test_a_blocked_connection_holds_back_until_it_is_unblocked(rig: Rig) -> None:
    broker, session = await rig.open(queues=("results",))
    session.send(0, commands.Connection.Blocked("low on memory"))
    assert await soon(rig.recorder.flow.get()) is True
    assert is_blocked(broker)
    task = publish(broker, result(b"x"))
    await turns(session)
    assert session.published.empty()
    session.send(0, commands.Connection.Unblocked())
    assert await soon(rig.recorder.flow.get()) is False
    assert not is_blocked(broker)
    await soon(task)


def is_blocked(broker: RabbitMqBroker) -> bool:
    return broker.is_blocked


async def test_waiting_for_a_blocked_broker_is_no_missing_confirm(rig: Rig) -> None:
    timings = dataclasses.replace(QUICK, confirm_timeout=0.5)
    tasks, session = await unconfirmed(rig, 1, timings=timings)
    session.send(0, commands.Connection.Blocked("low on memory"))
    assert await soon(rig.recorder.flow.get()) is True
    for _ in range(30):  # more than the limit
        await asyncio.sleep(0.025)
    assert rig.server.attempts == 1
    session.send(tasks_channel(session), commands.Basic.Ack(1))
    await soon(tasks[0])


async def test_a_blocked_broker_stays_blocked_until_a_new_connection_is_up(rig: Rig) -> None:
    broker, session = await rig.open(queues=("results",))
    session.send(0, commands.Connection.Blocked("low on disk"))
    assert await soon(rig.recorder.flow.get()) is True
    session.cut()
    assert await soon(rig.recorder.flow.get()) is False
    assert rig.recorder.text("info").count("publisher 1 connected") >= 1
    assert rig.server.attempts == 2
    assert not is_blocked(broker)


async def test_channel_flow_is_honoured(rig: Rig) -> None:
    broker, session = await rig.open(queues=("results",))
    channel = tasks_channel(session)
    session.send(channel, commands.Channel.Flow(False))
    assert (await session.next_answer(commands.Channel.FlowOk)).active is False
    assert is_blocked(broker)
    task = publish(broker, result(b"x"))
    await asyncio.sleep(0)
    assert session.published.empty()
    session.send(channel, commands.Channel.Flow(True))
    await soon(task)
    assert not is_blocked(broker)


async def test_a_full_transport_holds_back(rig: Rig) -> None:
    broker, session = await rig.open(queues=("results",))
    connection = broker._publishers[0].link.connection
    assert connection is not None
    connection.pause_writing()
    task = publish(broker, result(b"x"))
    await asyncio.sleep(0)
    assert not is_blocked(broker)
    assert session.published.empty()
    connection.resume_writing()
    await soon(task)


async def test_several_publishers_share_the_work(rig: Rig) -> None:
    broker = rig.make(queues=("results",), publishers=2)
    await soon(broker.open())
    sessions = [await rig.server.session() for _ in range(2)]
    await soon(asyncio.gather(*(broker.publish([result(b"%d" % number)]) for number in range(4))))
    assert [session.published.qsize() for session in sessions] == [2, 2]
    assert [session.client_properties["connection_name"] for session in sessions] == [
        "relayq publisher 1",
        "relayq publisher 2",
    ]


async def test_a_reload_changes_what_is_published_from_then_on(rig: Rig) -> None:
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("results",), throttle=1)
    tasks = [publish(broker, result(b"%d" % number, persistent=False)) for number in range(2)]
    (before,) = await published(session, 1)
    assert (before.properties.delivery_mode, before.properties.content_encoding) == (2, None)
    broker.reconfigure(persistent=False, gzip=True, throttle=2, max_publish=1000)
    (after,) = await published(session, 1)  # the higher throttle lets it go at once
    assert (after.properties.delivery_mode, after.properties.content_encoding) == (1, "gzip")
    assert broker.max_publish_bytes == 1000
    broker.reconfigure(persistent=True, gzip=False, throttle=2, max_publish=0)
    assert broker.max_publish_bytes > 1000
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _copy(name: bytes) -> Publication:
    return msgspec.structs.replace(to_outbox(b"mail"), copy_id=name * 16)


def _copy_header(one: Published) -> str:
    return str(one.properties.headers["x-relayq-copy"])


async def test_a_copy_whose_confirm_was_lost_is_published_as_another_one(rig: Rig) -> None:
    rig.server.script.confirm = False
    rig.recorder.replacements = [_copy(b"2")]
    broker, session = await rig.open(queues=("outbox",))
    task = publish(broker, _copy(b"1"), result(b"r", "outbox"))
    first, _ = await published(session, 2)
    session.cut()
    session = await rig.server.session()
    again, other = await published(session, 2)
    assert (_copy_header(first), _copy_header(again)) == ("31" * 16, "32" * 16)
    assert other.properties.headers is None, "a result has no identity, and comes again as it is"
    session.send(again.channel, commands.Basic.Ack(other.tag, True))
    await soon(task)


async def test_a_copy_that_arrived_is_not_published_again(rig: Rig) -> None:
    rig.server.script.confirm = False
    rig.recorder.replacements = [None]
    broker, session = await rig.open(queues=("outbox",))
    task = publish(broker, _copy(b"1"))
    await published(session, 1)
    session.cut()
    session = await rig.server.session()
    await soon(task)
    assert session.all_published() == []


async def test_a_copy_that_never_left_keeps_its_identity(rig: Rig) -> None:
    """Only what was published before is in doubt, not what waits for its turn."""
    rig.server.script.confirm = False
    broker, session = await rig.open(queues=("outbox",), throttle=1)
    publish(broker, result(b"first", "outbox"))
    waiting = publish(broker, _copy(b"1"))
    await published(session, 1)
    session.cut()
    session = await rig.server.session()
    (first,) = await published(session, 1)
    rig.recorder.replacements = [None]
    session.send(first.channel, commands.Basic.Ack(first.tag))
    (second,) = await published(session, 1)
    assert _copy_header(second) == "31" * 16
    session.send(second.channel, commands.Basic.Ack(second.tag))
    await soon(waiting)
