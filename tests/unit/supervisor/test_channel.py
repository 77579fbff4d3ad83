"""The socket between supervisor and worker, over a real pair of sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relayq.delivery.ledger import Knowledge
from relayq.supervisor.channel import DROPPING_BYTES, MAX_MESSAGE_BYTES, MAX_WAITING_BYTES, Channel
from relayq.supervisor.messages import Ask, FromWorker, LogLine, Stop, Told, ToWorker


class End:
    """One end and what it heard."""

    def __init__(self, receives: object) -> None:
        self.heard: list[object] = []
        self.ends: list[Exception | None] = []
        self.news = asyncio.Event()
        self.channel: Channel[object] = Channel(receives, self._hear, self._end)

    def _hear(self, message: object) -> None:
        self.heard.append(message)
        self.news.set()

    def _end(self, error: Exception | None) -> None:
        self.ends.append(error)
        self.news.set()

    async def wait(self, count: int = 1) -> None:
        async with asyncio.timeout(60):
            while len(self.heard) + len(self.ends) < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[End, End]]:
    supervisor, worker = End(FromWorker), End(ToWorker)
    ours, theirs = socket.socketpair()
    await supervisor.channel.open(ours)
    await worker.channel.open(theirs)
    yield supervisor, worker
    supervisor.channel.close()
    worker.channel.close()
    await asyncio.sleep(0)


async def test_messages_arrive_in_order() -> None:
    async with pair() as (supervisor, worker):
        sent = [Told(number, Knowledge(number % 2)) for number in range(1000)]
        for message in sent:
            supervisor.channel.send(message)
        await worker.wait(len(sent))
        assert worker.heard == sent


async def test_what_is_said_before_there_is_a_socket_is_not_lost() -> None:
    end, (ours, theirs) = End(FromWorker), socket.socketpair()
    end.channel.send(Stop())
    await asyncio.sleep(0)
    other = End(ToWorker)
    await other.channel.open(theirs)
    await end.channel.open(ours)
    await other.wait()
    assert other.heard == [Stop()]
    end.channel.close()
    await other.wait(2)
    assert other.ends == [None]


async def test_the_end_is_told_once_and_nothing_after_it() -> None:
    async with pair() as (supervisor, worker):
        worker.channel.send(Ask(None, 1))
        worker.channel.close()
        worker.channel.send(Ask(None, 2))
        await supervisor.wait(2)
        assert supervisor.heard == [Ask(None, 1)]
        assert supervisor.ends == [None]


@pytest.mark.parametrize(
    "octets",
    [
        struct.pack(">I", MAX_MESSAGE_BYTES + 1),
        struct.pack(">I", 3) + b"\xc1\xc1\xc1",
        struct.pack(">I", 1) + b"\x01",
        struct.pack(">I", 0),
    ],
)
async def test_who_does_not_keep_to_the_rules_is_given_up(octets: bytes) -> None:
    supervisor, (ours, theirs) = End(FromWorker), socket.socketpair()
    await supervisor.channel.open(ours)
    theirs.sendall(octets)
    await supervisor.wait()
    [error] = supervisor.ends
    assert error is not None
    assert supervisor.channel.is_over
    theirs.close()
    await asyncio.sleep(0)


async def test_what_may_be_dropped_is_dropped_while_nobody_reads_and_the_rest_has_a_bound() -> None:
    worker, (ours, theirs) = End(ToWorker), socket.socketpair()
    await worker.channel.open(theirs)
    line = LogLine("info", "x", "y" * 100_000, "")
    for _ in range(DROPPING_BYTES // 100_000 + 20):
        worker.channel.send(line, may_be_dropped=True)
    assert worker.channel.dropped > 0
    for _ in range(MAX_WAITING_BYTES // 100_000 + 20):
        worker.channel.send(line)
    assert len(worker.ends) == 1
    assert worker.channel.is_over
    ours.close()
    await asyncio.sleep(0)
