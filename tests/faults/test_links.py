"""Bad lines between relayq and everything it talks to: every message gets its final result, whatever the line does.

`make test-faults` runs this suite and writes what came out into docs/reliability.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.memory import RecordingListener
from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions
from relayq.adapters.store import open_store
from relayq.config.store_address import parse_store_address
from relayq.trial.sink import Sink
from relayq.trial.state import ReceivedMessage
from tests.faults.outcome import Collector, Outcome, publication
from tests.faults.report import is_reporting, report
from tests.support.dns_server import FakeDnsServer, Misbehaviour
from tests.support.fault_proxy import HEALTHY, Fault, FaultProxy
from tests.support.relayq_process import RelayqProcess
from tests.support.servers import RabbitMqNode
from tests.support.stores.databases import RedisServer

MESSAGES = 120
BATCH = 20
BATCH_SECONDS = 0.15
FAULT_SECONDS = 2.5
GIVE_UP_SECONDS = 120.0
MIME = "From: a@shop.test\r\nSubject: x\r\n\r\n" + "A line of the body of a mail.\r\n" * 40
LINES_TO = ("broker", "receiver", "store")
LINES: dict[str, Fault] = {
    "30 ms latency": Fault(latency=0.03),
    "one octet at a time": Fault(slice_octets=1),
    "20 KB/s": Fault(octets_per_second=20_000),
    "reset every 0.3 s": Fault(reset_after=0.3),
    "answers lost": Fault(swallows_answers=True),
    "silent": Fault(is_silent=True),
    "refused": Fault(is_closed=True),
}
NAME_SERVERS: dict[str, Misbehaviour] = {
    "late by 0.3 s": Misbehaviour(delay=0.3),
    "two answers lost": Misbehaviour(drop=2),
    "silent": Misbehaviour(drop=-1),
    "SERVFAIL": Misbehaviour(rcode="SERVFAIL"),
}
SETTINGS = {
    "rabbitmq-results": "results",
    "smtp-out-hostname": "relayq.test",
    "retry-interval": "1",
    "dns-timeout": "0.5",
    "storage-timeout": "1",
    "storage-reschedule": "1",
    "ip-maxconnections": "4",
    "host-offline-time": "1",
    **{
        f"smtp-out-timeout-{phase}": "1"
        for phase in ("connect", "intro", "ehlo", "mailfrom", "rcptto", "data", "block")
    },
    "smtp-out-timeout-message": "2",
}


class Installation:
    """One relayq with all it talks to, and a place for a fault on each line."""

    def __init__(self, folder: Path, node: RabbitMqNode, redis: RedisServer) -> None:
        self._folder = folder
        self._node = node
        self._redis = redis
        self._vhost = node.new_vhost()
        self.outcome = Outcome(MESSAGES)

    async def run(self, line: str, fault: Fault | Misbehaviour) -> Outcome:
        """Deliver `MESSAGES` with the fault on that line, which ends after `FAULT_SECONDS`."""
        faults = {name: fault if name == line and isinstance(fault, Fault) else HEALTHY for name in LINES_TO}
        target = self._redis.address.rpartition("@")[2].partition("/")[0].partition(":")
        async with (
            FakeDnsServer() as dns,
            Sink(on_message=self._receive) as sink,
            FaultProxy("127.0.0.1", self._node.port, faults["broker"]) as to_broker,
            FaultProxy("127.0.0.1", sink.port, faults["receiver"]) as to_receiver,
            FaultProxy(target[0], int(target[2]), faults["store"]) as to_store,
            self._broker() as broker,
        ):
            dns.add("mx.example.test", "A", "127.0.0.1", ttl=1)
            dns.add("example.test", "MX", "10 mx.example.test.", ttl=1)
            if isinstance(fault, Misbehaviour):
                dns.misbehave("example.test", "MX", fault)
            settings = SETTINGS | {
                "rabbitmq-address": self._vhost.replace(f":{self._node.port}/", f":{to_broker.port}/") + "?heartbeat=2",
                "dns-nameservers": dns.address,
                "smtp-out-port": str(to_receiver.port),
                "storage-address": self._redis.address.replace(f":{target[2]}/", f":{to_store.port}/"),
            }
            started = time.monotonic()
            with RelayqProcess(self._folder, settings) as relayq:
                await asyncio.gather(
                    self._publish(broker),
                    _heal([to_broker, to_receiver, to_store], dns),
                    self._collect(broker),
                )
                self.outcome.seconds = time.monotonic() - started
                await asyncio.to_thread(relayq.stop)
            self.outcome.log = relayq.log
        return self.outcome

    def _receive(self, message: ReceivedMessage) -> None:
        self.outcome.received[int(message.recipients[0].partition("@")[0][1:])] += 1

    @asynccontextmanager
    async def _broker(self) -> AsyncIterator[RabbitMqBroker]:
        vhost = self._vhost.rpartition("/")[2]
        options = RabbitMqOptions(
            endpoints=(Endpoint(host="127.0.0.1", port=self._node.port, vhost=vhost),),
            outbox="outbox",
            queues=("results",),
            delay_intervals=(1,),
            throttle=1000,
        )
        broker = RabbitMqBroker(options, RecordingListener(), SystemClock(), lambda level, text: None)
        await broker.open()
        try:
            yield broker
        finally:
            await broker.close()

    async def _publish(self, broker: RabbitMqBroker) -> None:
        store = open_store(parse_store_address(self._redis.address))
        expire_at = datetime.now(UTC) + timedelta(hours=1)
        try:
            for start in range(0, MESSAGES, BATCH):
                messages = [_message(number, key=f"{self._vhost}-{number}") for number in range(start, start + BATCH)]
                for message in messages:
                    if "key" in message:
                        await store.save(message["key"], MIME.encode(), expire_at)
                await broker.publish([publication(message) for message in messages])
                await asyncio.sleep(BATCH_SECONDS)  # so that there is mail before, during and after the fault
        finally:
            await store.close()

    async def _collect(self, broker: RabbitMqBroker) -> None:
        async with Collector(broker, self.outcome) as collector:
            await collector.complete(GIVE_UP_SECONDS)


async def _heal(proxies: list[FaultProxy], dns: FakeDnsServer) -> None:
    await asyncio.sleep(FAULT_SECONDS)
    for proxy in proxies:
        proxy.become(HEALTHY)
    dns.misbehave("example.test", "MX", Misbehaviour())


def _message(number: int, *, key: str) -> dict[str, Any]:
    """Every other one has its content in the store."""
    content = {"key": key} if number % 2 else {"mime": MIME}
    return {"envelope": "b@shop.test", "recipient": f"u{number}@example.test", "id": number, **content}


CASES = [
    *((line, name, fault) for line in LINES_TO for name, fault in LINES.items()),
    *(("name server", name, fault) for name, fault in NAME_SERVERS.items()),
]
ALWAYS = {
    ("broker", "reset every 0.3 s"), ("broker", "answers lost"), ("receiver", "answers lost"), ("receiver", "silent"),
    ("store", "reset every 0.3 s"), ("name server", "two answers lost"),
}  # fmt: skip
"""What every run of the tests goes through; `make test-faults` goes through all of it."""
CHOSEN = [case for case in CASES if case[:2] in ALWAYS or is_reporting()]


@pytest.mark.parametrize(("line", "name", "fault"), CHOSEN, ids=[f"{line}: {name}" for line, name, _ in CHOSEN])
async def test_every_message_gets_its_final_result(
    line: str,
    name: str,
    fault: Fault | Misbehaviour,
    rabbitmq: RabbitMqNode,
    redis: RedisServer,
    tmp_path: Path,
) -> None:
    outcome = await Installation(tmp_path, rabbitmq, redis).run(line, fault)
    report(line, name, outcome)
    assert outcome.lost == [], outcome.log[-2000:]
    assert outcome.unexplained == []
