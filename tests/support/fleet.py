"""An outbox, a server that counts connections, and ``relayq run`` with several workers between them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions
from relayq.adapters.memory import RecordingListener
from relayq.ports import Broker, OutboxItem, Properties, Publication, QueueRole
from relayq.trial import ReceivedMessage
from tests.support.scripted_server import RecordingSink

PATIENCE = 60.0
POLL_SECONDS = 0.02


class CountingSink(RecordingSink):
    """Knows how many connections were ever open at once, and how often each message came.

    Attributes:
        most: Connections open at once, at most.
        deliveries: How often each recipient was served.
    """

    def __init__(self, script: str = "") -> None:
        super().__init__(script)
        self.most = 0
        self.deliveries: Counter[str] = Counter()

    def _record(self, message: ReceivedMessage) -> None:
        self.most = max(self.most, self.sink.open_connections)
        self.deliveries.update(message.recipients)
        super()._record(message)


def message(number: int, domain: str = "[127.0.0.1]") -> Publication:
    body = {
        "envelope": "b@shop.test",
        "recipient": f"u{number}@{domain}",
        "id": number,
        "mime": "Subject: x\r\n\r\nx\r\n",
    }
    return Publication(queue="outbox", body=json.dumps(body).encode(), properties=Properties(), role=QueueRole.OUTBOX)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Broker]:
    """The embedded broker the processes use too."""
    options = EmbeddedOptions(path=str(folder / "relayq.db"))
    broker = EmbeddedBroker(options, RecordingListener(), SystemClock(), lambda level, text: None)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


def settings_for(folder: Path, sink: RecordingSink, **more: Any) -> dict[str, str]:
    """Of a process with two workers between that broker and a sink."""
    settings = {
        "rabbitmq-address": f"embedded://{folder}/relayq.db",
        "rabbitmq-results": "results",
        "hostname": "relayq.test",
        "smtp-sink-address": sink.host,
        "smtp-sink-port": str(sink.port),
        "smtp-threads": "2",
        "shutdown-timeout": "10",
    }
    return settings | {key.replace("_", "-"): str(value) for key, value in more.items()}


async def collect(broker: Broker, count: int) -> Counter[int]:
    """Ids of the results, once all of ``count`` messages have one."""
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

    consumption = await broker.consume("results", 1000, take)
    async with asyncio.timeout(PATIENCE):
        await complete.wait()
    if settling:
        await asyncio.wait(settling)
    await consumption.cancel()
    return seen


async def until(is_true: Callable[[], bool], what: str) -> None:
    """Look again and again."""
    limit = asyncio.get_running_loop().time() + PATIENCE
    while not is_true():
        assert asyncio.get_running_loop().time() < limit, f"{what} never came"
        await asyncio.sleep(POLL_SECONDS)


def workers_of(pid: int) -> list[int]:
    """Process ids of the workers of a supervisor, the oldest first."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, path.read_text().split())
    return sorted(children)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)
