"""What this machine allows today: the barest loop from the outbox through SMTP to confirmed results.

Raw frames, no checks, no product code: one consumer and one publisher connection, twenty SMTP sessions that pipeline,
two results per message, one acknowledgement per batch. Every figure of the product is also a ratio to this one.

    python -m benchmarks.ceiling --amqp 127.0.0.1:5672 --smtp 127.0.0.1:2525 --messages 20000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections import deque
from typing import Any

import uvloop
from pamqp import commands

from benchmarks.raw_amqp import RawAmqp, connect, declare

SESSIONS = 20
RECIPIENT = re.compile(rb'"recipient": ?"([^"]*)"')


class BareSession(asyncio.Protocol):
    """Greeting, EHLO, then one pipelined transaction after the other."""

    def __init__(self, loop: BareLoop) -> None:
        self._loop = loop
        self._transport: Any = None
        self._lines = -2  # greeting and EHLO
        self._buffer = b""
        self._tag = 0
        self._recipient = b""
        self._content = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing to say before the greeting."""
        self._transport = transport

    def send(self, tag: int, recipient: bytes, content: bytes) -> None:
        """One transaction, MAIL, RCPT and DATA in one write."""
        self._tag, self._recipient, self._content = tag, recipient, content
        self._transport.write(b"MAIL FROM:<b@shop.test>\r\nRCPT TO:<" + recipient + b">\r\nDATA\r\n")

    def data_received(self, data: bytes) -> None:
        """Count last lines of replies; their content is believed."""
        buffer = self._buffer + data
        *lines, self._buffer = buffer.split(b"\r\n")
        for line in lines:
            if line[3:4] == b"-":
                continue
            if self._lines == -2:
                self._transport.write(b"EHLO ceiling.test\r\n")
            elif self._lines == -1:
                self._loop.free(self)
            elif self._lines == 2:
                self._transport.writelines((self._content, b".\r\n"))
            elif self._lines == 3:
                self._lines = -1
                self._loop.delivered(self._tag, self._recipient)
                self._loop.free(self)
            self._lines += 1


class BareLoop:
    """Hands messages to sessions and results to the broker."""

    def __init__(self, consumer: RawAmqp, publisher: RawAmqp, count: int) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._count = count
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._idle: deque[BareSession] = deque()
        self._unconfirmed: deque[int] = deque()
        self._out: list[bytes] = []
        self._acks: list[bytes] = []
        self._done = 0
        self.finished = asyncio.Event()
        consumer.on_deliver = self._take
        publisher.on_confirm = self._confirmed

    def _take(self, tag: int, body: bytes) -> None:
        if self._idle:
            self._start(self._idle.popleft(), tag, body)
        else:
            self._waiting.append((tag, body))

    def free(self, session: BareSession) -> None:
        """The session can take a message."""
        if self._waiting:
            self._start(session, *self._waiting.popleft())
        else:
            self._idle.append(session)

    def _start(self, session: BareSession, tag: int, body: bytes) -> None:
        match = RECIPIENT.search(body)
        assert match is not None
        session.send(tag, match[1], json.loads(body)["mime"].encode())

    def delivered(self, tag: int, recipient: bytes) -> None:
        """Publish two results."""
        body = b'{"recipient":"' + recipient + b'","results":[{"state":"message","result":"accepted"}]}'
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(self._publisher.publish_frames(b"results", body))
        self._out.append(self._publisher.publish_frames(b"success", body))
        self._unconfirmed.append(tag)

    def _flush(self) -> None:
        self._publisher.transport.write(b"".join(self._out))
        self._out = []

    def _confirmed(self) -> None:
        while self._unconfirmed and self._publisher.confirmed >= 2 * (self._done + 1):
            if not self._acks:
                asyncio.get_running_loop().call_soon(self._flush_acks)
            self._acks.append(self._consumer.ack_frame(self._unconfirmed.popleft(), False))
            self._done += 1
        if self._done >= self._count:
            self.finished.set()

    def _flush_acks(self) -> None:
        self._consumer.transport.write(b"".join(self._acks))
        self._acks = []


async def run(amqp: tuple[str, int], smtp: tuple[str, int], count: int) -> dict[str, float]:
    """Deliver ``count`` messages that lie in ``outbox``; returns seconds and CPU seconds."""
    consumer, publisher = await connect(*amqp), await connect(*amqp)
    await declare(publisher, "outbox", "results", "success")
    loop = BareLoop(consumer, publisher, count)
    for _ in range(SESSIONS):
        await asyncio.get_running_loop().create_connection(lambda: BareSession(loop), *smtp)
    await consumer.call(commands.Basic.Qos(0, 1000, False))
    started, cpu = time.perf_counter(), time.process_time()
    await consumer.call(commands.Basic.Consume(queue="outbox"))
    await loop.finished.wait()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    await asyncio.sleep(0.05)  # the last acknowledgements leave
    consumer.transport.close()
    publisher.transport.close()
    return {"messages": count, "seconds": seconds, "cpu_seconds": cpu}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amqp", type=_address, required=True)
    parser.add_argument("--smtp", type=_address, required=True)
    parser.add_argument("--messages", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps(uvloop.run(run(given.amqp, given.smtp, given.messages))))


if __name__ == "__main__":
    main()
