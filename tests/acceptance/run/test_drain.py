"""Five thousand messages in, five thousand results out, each once, on both brokers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.ports import Broker, OutboxItem, Properties, Publication, QueueRole
from tests.support.relayq_process import RelayqProcess
from tests.support.servers import RabbitMqNode, SmtpSink

COUNT = 5_000  # several times what a worker holds at once
BATCH = 500
MIME = "From: a@shop.test\r\nSubject: x\r\n\r\n" + "A line of the body of a mail.\r\n" * 20


def _message(number: int) -> Publication:
    body = {"envelope": "b@shop.test", "recipient": f"u{number}@d{number % 10}.test", "id": number, "mime": MIME}
    return Publication(queue="outbox", body=json.dumps(body).encode(), properties=Properties(), role=QueueRole.OUTBOX)


async def _fill(broker: Broker) -> None:
    for start in range(0, COUNT, BATCH):
        await broker.publish([_message(number) for number in range(start, min(start + BATCH, COUNT))])


async def _collect(broker: Broker, queue: str, count: int, seconds: float) -> Counter[int]:
    """Ids of results; waits for a little more than is expected, so that doubles show."""
    seen: Counter[int] = Counter()
    complete = asyncio.Event()
    settling: set[asyncio.Future[None]] = set()

    def take(item: OutboxItem) -> None:
        seen[json.loads(item.body)["id"]] += 1
        settled = asyncio.ensure_future(broker.settle(item, ()))
        settling.add(settled)
        settled.add_done_callback(settling.discard)
        if len(seen) >= count:
            complete.set()

    consumption = await broker.consume(queue, 1000, take)
    async with asyncio.timeout(seconds):
        await complete.wait()
    if settling:
        await asyncio.wait(settling)
    await consumption.cancel()
    return seen


async def _left_in(broker: Broker, *queues: str) -> list[bytes]:
    """What can still be consumed from queues within a moment."""
    found: list[bytes] = []
    something = asyncio.Event()

    def take(item: OutboxItem) -> None:
        found.append(item.body)
        something.set()

    consumptions = [await broker.consume(queue, 10, take) for queue in queues]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await something.wait()
    for consumption in consumptions:
        await consumption.cancel()
    return found


OpenBroker = Callable[[], Broker]


@asynccontextmanager
async def _opened(make: OpenBroker) -> AsyncIterator[Broker]:
    broker = make()
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


async def _drain(make: OpenBroker, settings: dict[str, str], folder: Path, seconds: float) -> None:
    async with _opened(make) as broker:
        await _fill(broker)
        with RelayqProcess(folder, settings) as relayq:
            results = await _collect(broker, "results", COUNT, seconds)
            successes = await _collect(broker, "success", COUNT, seconds)
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
        assert results == successes == Counter(range(COUNT))
        # The process is gone: whatever it had not acknowledged would be back in the outbox.
        assert await _left_in(broker, "outbox", "results", "success", "failure", "retry") == []


@pytest.mark.timeout(600)
async def test_drains_rabbitmq(
    rabbitmq: RabbitMqNode, smtp_sink_factory: Callable[..., SmtpSink], base_settings: dict[str, str], tmp_path: Path
) -> None:
    url = rabbitmq.new_vhost()
    options = RabbitMqOptions(
        endpoints=(Endpoint(host="127.0.0.1", port=rabbitmq.port, vhost=url.rpartition("/")[2]),),
        outbox="outbox",
        queues=("results", "success", "failure", "retry"),
        delay_intervals=(1,),
        throttle=1000,
    )
    settings = base_settings | {"rabbitmq-address": url, "smtp-out-port": str(smtp_sink_factory().port)}
    await _drain(
        lambda: RabbitMqBroker(options, RecordingListener(), SystemClock(), lambda level, text: None),
        settings, tmp_path, 240,
    )  # fmt: skip


@pytest.mark.timeout(600)
async def test_drains_the_embedded_broker(
    smtp_sink_factory: Callable[..., SmtpSink], base_settings: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "relayq.db"
    settings = base_settings | {
        "rabbitmq-address": f"embedded://{file}",
        "smtp-out-port": str(smtp_sink_factory().port),
    }
    await _drain(
        lambda: EmbeddedBroker(
            EmbeddedOptions(path=str(file)), RecordingListener(), SystemClock(), lambda level, text: None
        ),
        settings, tmp_path, 240,
    )  # fmt: skip
