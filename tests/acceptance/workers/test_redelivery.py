"""Messages that come back to another worker than the one that has them: nothing is sent twice (spec amqp.md 13)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import RecordingListener
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.ports import Properties
from tests.support.fleet import CountingSink, collect, message, settings_for, until
from tests.support.relayq_process import RelayqProcess
from tests.support.servers import RabbitMqNode

COUNT = 40


@pytest.mark.server
@pytest.mark.parametrize("journal", ["", None], ids=["without journal", "with journal"])
async def test_a_worker_asks_the_others_before_it_sends_what_came_back(
    rabbitmq: RabbitMqNode, tmp_path: Path, journal: str | None
) -> None:
    url = rabbitmq.new_vhost()
    vhost = url.rpartition("/")[2]
    options = RabbitMqOptions(
        endpoints=(Endpoint(host="127.0.0.1", port=rabbitmq.port, vhost=vhost),), outbox="outbox", queues=("results",)
    )
    broker = RabbitMqBroker(options, RecordingListener(), SystemClock(), lambda level, text: None)
    async with CountingSink("message * slow=3 250 ok") as sink:
        await broker.open()
        mails = [
            msgspec.structs.replace(message(number), properties=Properties(message_id=f"m{number}"))
            for number in range(COUNT)
        ]
        settings = settings_for(tmp_path, sink, rabbitmq_address=url, ip_maxconnections=2 * COUNT)
        if journal is not None:
            settings["journal-directory"] = journal
        with RelayqProcess(tmp_path, settings) as relayq:
            await until(lambda: "delivering from" in relayq.log, "the start")
            await broker.publish(mails)
            await until(lambda: len(sink.messages) == COUNT, "the contents")
            # All are with the server, which takes its time; all come back, to whoever is faster.
            await asyncio.to_thread(rabbitmq.rabbitmqctl, "close_all_connections", "--vhost", vhost, "cut by a test")
            assert set(await collect(broker, COUNT)) == set(range(COUNT))
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
        await broker.close()
    assert set(sink.deliveries.values()) == {1}
