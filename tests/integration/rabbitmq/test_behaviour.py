"""What a real broker does to us while we run: deleted queues, limits, timeouts, restarts (spec amqp.md 8, 10, 13)."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from pamqp import encode

from relayq.ports import BrokerRefusedError, Properties, Publication, QueueRole
from tests.contract.broker.conftest import PATIENCE, SystemClock, message
from tests.integration.rabbitmq.conftest import Place, consume, endpoint, publish, result, settle_until
from tests.support.ports import free_port
from tests.support.servers import RabbitMqNode

CLOCK = SystemClock()


@contextlib.asynccontextmanager
async def broker_settings(place: Place, **settings: str) -> AsyncIterator[None]:
    """Erlang settings of the broker for new channels, put back afterwards."""
    names = ", ".join(settings)
    before = await place.ctl("eval", f"[application:get_env(rabbit, Name, undefined) || Name <- [{names}]].")
    values = [value.strip() for value in before.strip().strip("[]").split(",")]
    changes = ", ".join(f"application:set_env(rabbit, {name}, {value})" for name, value in settings.items())
    await place.ctl("eval", f"{changes}.")
    try:
        yield
    finally:
        back = ", ".join(
            f"application:unset_env(rabbit, {name})"
            if value == "undefined"
            else f"application:set_env(rabbit, {name}, {value})"
            for name, value in zip(settings, values, strict=True)
        )
        await place.ctl("eval", f"{back}.")


async def test_a_deleted_result_queue_comes_back(place: Place) -> None:
    broker = await place.open()
    await place.delete_queue("results")
    await publish(broker, result(b"arrives"))
    assert (await (await consume(broker, "results")).next()).body == b"arrives"
    assert place.listener.unroutables.empty()


async def test_a_deleted_outbox_is_consumed_again(place: Place) -> None:
    broker = await place.open()
    received = await consume(broker, "outbox")
    await publish(broker, message(b"first"))
    item = await received.next()
    await place.delete_queue("outbox")
    async with asyncio.timeout(PATIENCE):
        await place.listener.losses.get()
    assert not item.is_held
    await publish(broker, message(b"second"))
    assert (await received.next()).body == b"second"
    await broker.settle(item, ())


async def test_consumers_are_counted_wherever_they_are(place: Place) -> None:
    broker, other = await place.open(), await place.open()
    assert await broker.count_consumers("outbox") is None, "it has no connection for that yet"
    await consume(broker, "outbox")
    assert await broker.count_consumers("outbox") == 1
    await consume(other, "outbox")
    assert await broker.count_consumers("outbox") == await other.count_consumers("outbox") == 2
    assert await broker.count_consumers("results") == 0
    assert await broker.count_consumers("no such queue") is None
    assert await broker.count_consumers("outbox") == 2


async def test_a_consumer_timeout_is_survived(place: Place) -> None:
    async with broker_settings(place, consumer_timeout="500", channel_tick_interval="300"):
        broker = await place.open()
        received = await consume(broker, "outbox")
    # A channel keeps what was set when it was opened: the next one has all the time it wants.
    await publish(broker, message(b"slow"))
    item = await received.next()
    async with asyncio.timeout(PATIENCE):
        await place.listener.losses.get()
    assert not item.is_held
    again = await received.next()
    assert (again.body, again.redelivered) == (b"slow", True)
    await broker.settle(item, ())
    await broker.settle(again, ())
    assert "consumer_timeout" in place.text("warning")
    await broker.close()
    assert (await place.queues("messages"))["outbox"]["messages"] == 0


async def test_a_message_that_stays_keeps_a_channel_and_no_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayq.adapters.rabbitmq.consumer.CLOGGED_AFTER", 5)
    broker = await place.open()
    received = await consume(broker, "outbox", prefetch=10)
    bodies = {b"%d" % number for number in range(60)}
    await publish(broker, *(message(body) for body in sorted(bodies)))
    stays = await received.next()
    passed = {stays.body}
    for _ in range(59):
        item = await received.next()
        passed.add(item.body)
        await broker.settle(item, ())
    assert passed == bodies
    assert item.channel is not stays.channel  # type: ignore[attr-defined]
    assert stays.is_held
    assert place.listener.losses.empty()
    await broker.settle(stays, ())
    await broker.close()
    assert (await place.queues("messages"))["outbox"]["messages"] == 0


async def test_a_message_over_the_limit_of_the_broker(place: Place) -> None:
    async with broker_settings(place, max_message_size="100000"):
        broker = await place.open()
        results = await consume(broker, "results")
        noise = b"".join(encode.long_long_int(number * 7_919_777_777 % 2**63) for number in range(25_000))
        await publish(broker, result(b"small"), result(b"a" * 200_000), result(noise), result(b"last"))
    assert broker.max_publish_bytes == 100_000
    assert place.listener.unroutables.get_nowait().body == noise
    items = await settle_until(
        broker, results, lambda bodies: {b"small", b"last", gzip.compress(b"a" * 200_000, 1, mtime=0)} <= bodies
    )
    assert {item.properties.content_encoding for item in items if item.body[:2] == b"\x1f\x8b"} == {"gzip"}


async def test_a_delay_goes_through_one_queue_and_keeps_what_matters(place: Place) -> None:
    broker = await place.open(delay_intervals=())
    received = await consume(broker, "outbox")
    start = CLOCK.now()
    due_at = start + timedelta(seconds=2.9)
    headers = encode.field_table({"tenant": "shop", "CC": ["results"], "x-delivery-count": 3})[4:]
    properties = Properties(message_id="m", priority=3, headers=headers, timestamp=1_700_000_000)
    await publish(
        broker,
        Publication(queue="outbox", body=b"mail", properties=properties, role=QueueRole.OUTBOX, due_at=due_at),
    )
    item = await received.next()
    assert CLOCK.now() - start >= timedelta(seconds=2.8)
    assert item.properties.headers == encode.field_table({"tenant": "shop"})[4:]
    assert (item.properties.message_id, item.properties.priority) == ("m", 3)
    assert item.properties.timestamp == 1_700_000_000
    assert not item.redelivered
    assert (await place.queues("messages"))["outbox.delay.3"]["messages"] == 0


async def test_a_short_delay_is_not_held_up_by_long_ones(place: Place) -> None:
    broker = await place.open(delay_intervals=())
    received = await consume(broker, "outbox")
    now = CLOCK.now()
    await publish(broker, *(message(b"long", due_at=now + timedelta(seconds=90)) for _ in range(100)))
    await publish(broker, message(b"short", due_at=now + timedelta(seconds=2)))
    assert (await received.next()).body == b"short"
    queues = await place.queues("messages")
    assert sum(queues[f"outbox.delay.{seconds}"]["messages"] for seconds in (60, 70, 80, 90)) == 100


async def test_a_memory_alarm_holds_publishes_but_not_acks(place: Place) -> None:
    broker = await place.open()
    received = await consume(broker, "outbox")
    await publish(broker, message(b"one"), message(b"two"))
    one, two = await received.next(), await received.next()
    await place.ctl("set_vm_memory_high_watermark", "0.0000001")
    try:
        waiting = asyncio.ensure_future(broker.settle(one, [result(b"outcome")]))
        async with asyncio.timeout(PATIENCE):
            assert await place.listener.flow.get()
        await broker.settle(two, ())
        async with asyncio.timeout(PATIENCE):
            while (await place.queues("messages_unacknowledged"))["outbox"]["messages_unacknowledged"] != 1:
                pass  # each look costs a second
        assert not waiting.done()
    finally:
        await place.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
    async with asyncio.timeout(PATIENCE):
        await waiting
    assert "takes no messages now" in place.text("warning")


async def test_consuming_far_more_than_the_prefetch(place: Place) -> None:
    broker = await place.open()
    await publish(broker, *(message(b"%d" % number) for number in range(3000)))
    received = await consume(broker, "outbox", prefetch=10)
    seen = []
    for _ in range(3000):
        item = await received.next()
        seen.append(item.body)
        await broker.settle(item, ())
    assert seen == [b"%d" % number for number in range(3000)]
    await broker.close()
    assert (await place.queues("messages"))["outbox"]["messages"] == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["restart", "kill"])
async def test_a_broker_that_goes_down_loses_nothing(own_rabbitmq: RabbitMqNode, way: str) -> None:
    place = Place(own_rabbitmq)
    broker = await place.open()
    received = await consume(broker, "outbox")
    results = await consume(broker, "results", prefetch=1000)
    due_at = CLOCK.now() + timedelta(seconds=6)
    await publish(broker, *(message(b"delayed %d" % number, due_at=due_at) for number in range(1000)))
    sent: set[bytes] = set()
    numbers = itertools.count()
    stop = asyncio.Event()

    async def inject() -> None:
        while not stop.is_set():
            batch = [b"mail %d" % next(numbers) for _ in range(20)]
            await broker.publish([message(body) for body in batch])
            sent.update(batch)

    async def relay() -> None:
        while True:
            item = await received.next()
            if item.body.startswith(b"delayed"):
                assert CLOCK.now() >= due_at - timedelta(seconds=1)
            relays.append(asyncio.ensure_future(broker.settle(item, [result(item.body)])))

    relays: list[asyncio.Future[None]] = []
    injecting, relaying = asyncio.create_task(inject()), asyncio.create_task(relay())
    await asyncio.to_thread(restart_hard if way == "kill" else RabbitMqNode.restart, own_rabbitmq)
    stop.set()
    async with asyncio.timeout(120):
        await injecting
        await settle_until(
            broker, results, lambda bodies: sent <= bodies and sum(b"delayed" in body for body in bodies) == 1000
        )
        # What was on its way when the connection was lost is there twice; the second copies may come later.
        while (await place.queues("messages"))["outbox"]["messages"]:
            pass  # each look costs a second
        await asyncio.gather(*relays)
    relaying.cancel()
    assert place.text("warning").count("connection lost") >= 2
    await place.close()
    assert (await place.queues("messages"))["outbox"]["messages"] == 0


def restart_hard(node: RabbitMqNode) -> None:
    node.kill()
    node.start()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_tls(tmp_path: Path) -> None:
    if not RabbitMqNode.is_installed():
        pytest.skip("rabbitmq-server is not installed")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cert = authority.issue_cert("localhost")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    cert.private_key_pem.write_to_path(tmp_path / "key.pem")
    port = free_port()
    config = (
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {tmp_path}/ca.pem",
        f"ssl_options.certfile = {tmp_path}/cert.pem",
        f"ssl_options.keyfile = {tmp_path}/key.pem",
    )
    with RabbitMqNode(config=config) as node:
        place = Place(node)
        known = endpoint(place, port=port, tls=True, server_name="localhost", ca_file=str(tmp_path / "ca.pem"))
        broker = await place.open(endpoints=(known,))
        received = await consume(broker, "outbox")
        body = bytes(range(256)) * 5000
        await publish(broker, message(body))
        item = await received.next()
        assert item.body == body
        await broker.settle(item, ())
        with pytest.raises(BrokerRefusedError, match="certificate"):
            await place.open(endpoints=(endpoint(place, port=port, tls=True, server_name="localhost"),))
        await place.close()
