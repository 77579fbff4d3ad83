"""The whole process with a message store: killed and started again, and not started at all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.adapters.store import MissingLibraryError, open_store
from relayq.config import Settings, load, parse_options
from relayq.config.store_address import parse_store_address
from relayq.ports import MessageStore, OutboxItem, Properties, Publication, QueueRole, StoreAddress
from relayq.supervisor.server import supervise
from tests.support.dns_server import FakeDnsServer
from tests.support.relayq_process import RelayqProcess
from tests.support.scripted_server import Expect, ScriptedServer, Send, mailfrom, opening, rcptto, transaction

MIME = "From: a@shop.test\r\nSubject: x\r\n\r\nHello.\r\n"
GREYLISTED = [*mailfrom(), *rcptto("450 4.2.0 greylisted"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")]


async def take(broker: EmbeddedBroker, queue: str) -> dict[str, Any]:
    """The next message of a queue."""
    items: asyncio.Queue[OutboxItem] = asyncio.Queue()
    consumption = await broker.consume(queue, 1, items.put_nowait)
    async with asyncio.timeout(90):
        item = await items.get()
        await broker.settle(item, ())
    await consumption.cancel()
    body: dict[str, Any] = json.loads(item.body)
    return body


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dir", "sqlite"])
async def test_a_killed_process_leaves_content_where_the_next_one_finds_it(engine: str, tmp_path: Path) -> None:
    file, address = tmp_path / "relayq.db", f"{engine}://{tmp_path}/store/bodies"
    broker = EmbeddedBroker(EmbeddedOptions(path=str(file)), RecordingListener(), SystemClock(), lambda *_: None)
    async with (
        FakeDnsServer() as dns,
        ScriptedServer([*opening(), *GREYLISTED], [*opening(), *transaction()]) as server,
    ):
        dns.add("mx.example.test", "A", "127.0.0.1")
        dns.add("example.test", "MX", "10 mx.example.test.")
        settings = {
            "rabbitmq-address": f"embedded://{file}",
            "rabbitmq-results": "results",
            "rabbitmq-retry": "retry",
            "dns-nameservers": dns.address,
            "smtp-out-port": str(server.port),
            "smtp-out-hostname": "relayq.test",
            "retry-interval": "3",
            "storage-address": address,
        }
        message = {"envelope": "b@shop.test", "recipient": "anna@example.test", "mime": MIME, "keepmime": True}
        await broker.open()
        await broker.publish(
            [
                Publication(
                    queue="outbox", body=json.dumps(message).encode(), properties=Properties(), role=QueueRole.OUTBOX
                )
            ]
        )
        with RelayqProcess(tmp_path, settings) as relayq:
            retried = await take(broker, "retry")
            await asyncio.to_thread(relayq.kill)
        store = open_store(parse_store_address(address))
        assert await store.load(retried["key"]) == MIME.encode()
        with RelayqProcess(tmp_path, settings) as relayq:
            result = await take(broker, "results")
            assert result["results"][-1]["result"] == "accepted"
            assert result["key"] == retried["key"]
            assert await asyncio.to_thread(relayq.stop) == 0, relayq.log
        assert await store.load(retried["key"]) == MIME.encode()
        await store.close()
        await broker.close()
        assert b"\r\n\r\nHello.\r\n.\r\n" in server.connections[1].received


async def test_a_missing_library_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: StoreAddress, threads: int) -> MessageStore:
        raise MissingLibraryError(f"a store at {address.scheme}:// needs a library")

    monkeypatch.setattr("relayq.app.worker.open_store", fail)
    log = tmp_path / "log"
    options = (
        "--storage-address=mongodb://u:hunter2@h/d/c",
        f"--rabbitmq-address=embedded://{tmp_path}/relayq.db",
        f"--journal-directory={tmp_path}/journal",
        f"--application-log={log}",
        "--smtp-threads=1",
        "--hostname=mta.test",
    )

    def load_settings() -> Settings:
        return load(parse_options(options), environ={}, no_default_config=True)

    assert await supervise(load_settings(), load_settings) == 78
    assert "a store at mongodb:// needs a library" in log.read_text()
    assert "hunter2" not in log.read_text()
