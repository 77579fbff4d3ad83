"""Cut connections, killed processes, alarms and missing queues under a whole worker (spec amqp.md 8, 13, 14, 19)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.rabbitmq import RabbitMqBroker
from relayq.trial import ReceivedMessage
from tests.acceptance.broker.conftest import MakeEngine
from tests.support.dns_server import FakeDnsServer
from tests.support.engine import PATIENCE, eventually, mail
from tests.support.relayq_process import RelayqProcess
from tests.support.scripted_server import Expect, Send, Wait, data, mailfrom, opening, rcptto, transaction

TO_THE_DOT = [*opening(), *mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n")]


def cut(broker: Any, part: str) -> None:
    """End the connections of a worker's broker object at this moment, as the network would."""
    assert isinstance(broker, RabbitMqBroker)
    owners = broker._publishers if part == "publisher" else broker._consumer_connections
    for owner in owners:
        connection = owner.link.connection
        assert connection is not None
        connection.abort("cut by a test")


@pytest.mark.parametrize("part", ["publisher", "consumer"])
async def test_a_connection_cut_when_the_mail_was_accepted_sends_it_no_second_time(
    engine_on: MakeEngine, part: str
) -> None:
    async with engine_on() as engine:
        received: list[str] = []

        def accept(message: ReceivedMessage) -> None:
            received.append(str(message.content))
            if len(received) == 1:
                cut(engine.worker.broker, part)

        await engine.sink(on_message=accept)
        await engine.send(mail("m1"))
        [success] = await engine.results("success", 1)
        assert [result["result"] for result in success["results"]] == ["accepted"]
        await eventually(lambda: sum("connected to" in text for _, text in engine.lines) == 3, "it reconnects")
        await engine.send(mail("m2"))  # comes behind what the broker hands out again
        assert [result["id"] for result in await engine.results("success", 1)] == ["m2"]
        await eventually(lambda: engine.worker.scheduler.held == 0, "the books agree")
        await engine.stop()
        assert len(received) == 2
        assert await engine.ready("outbox", "success", "results") == (0, 0, 2)


async def test_a_killed_process_leaves_one_copy_that_is_delivered_later(engine_on: MakeEngine, tmp_path: Path) -> None:
    async with engine_on(is_started=False) as engine, FakeDnsServer() as dns:
        dns.add("example.test", "MX", "10 mx.example.test.")
        dns.add("mx.example.test", "A", "127.0.0.1")
        settings = {
            "rabbitmq-address": engine.url,
            "rabbitmq-success": "success",
            "smtp-out-port": str(engine.port),
            "dns-nameservers": dns.address,
            "smtp-out-hostname": "relayq.test",
        }
        server = await engine.serve([*TO_THE_DOT, Wait(asyncio.Event())], [*opening(), *transaction()])
        await engine.send(mail("m1"))
        with RelayqProcess(tmp_path, settings) as relayq:
            await asyncio.to_thread(relayq.wait_for_log, "delivering from")
            async with asyncio.timeout(PATIENCE):
                await (await server.connection(0)).reached.wait()
            await asyncio.to_thread(relayq.kill)
        await engine.until_ready("outbox", 1)
        with RelayqProcess(tmp_path, settings) as relayq:
            [success] = await engine.results("success", 1)
            assert await asyncio.to_thread(relayq.stop) == 0
        assert [result["result"] for result in success["results"]] == ["accepted"]
        assert await engine.ready("outbox", "success") == (0, 0)


async def test_a_memory_alarm_starts_nothing_new_and_loses_nothing(engine_on: MakeEngine) -> None:
    async with engine_on("ip-maxconnections=2") as engine:
        first, others = asyncio.Event(), asyncio.Event()
        taken = Send(b"250 2.0.0 taken\r\n")
        second = [*mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n"), Wait(others), taken]
        server = await engine.serve(
            [*TO_THE_DOT, Wait(first), taken, *second, *(transaction() * 20)],
            [*TO_THE_DOT, Wait(others), taken, *(transaction() * 20)],
        )
        await engine.send(*(mail(f"m{number}") for number in range(10)))
        for number in range(2):
            await (await server.connection(number)).reached.wait()
        await engine.ctl("set_vm_memory_high_watermark", "0.0000001")
        try:
            first.set()  # the broker tells of its alarm when something is published
            await eventually(lambda: engine.worker.broker.is_blocked, "the broker says so")
            others.set()
            await asyncio.sleep(0.3)
            assert sum(connection.received.count(b"MAIL FROM") for connection in server.connections) == 3
        finally:
            await engine.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
        assert {result["id"] for result in await engine.results("success", 10)} == {f"m{n}" for n in range(10)}
        assert await engine.ready("outbox", "success", "results") == (0, 0, 10)


async def test_a_missing_result_queue_does_not_stop_the_outbox(engine_on: MakeEngine) -> None:
    async with engine_on(is_started=False) as engine:
        await engine.start()
        await engine.stop()
        await engine.ctl("delete_queue", "-p", engine.vhost, "success")
        async with engine_on("rabbitmq-declare=false", f"rabbitmq-address={engine.url}") as checking:
            await checking.sink()
            await engine.send(mail("m1"), mail("m2"))
            assert {result["id"] for result in await engine.results("results", 2)} == {"m1", "m2"}
            alarms = [warning.text for warning in checking.observer.warnings if "'success'" in warning.text]
            assert len(alarms) == 2
            logged = json.loads(alarms[0].partition(": ")[2])
            assert logged["results"][0]["result"] == "accepted"
