"""The sending side: ``relayq run`` on an embedded broker, a name server, and somebody who injects and reads results.

Broker and name server live on an event loop in a thread of their own, so that one running relayq serves many tests,
which are plain functions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import queue
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from relayq.adapters.clock import SystemClock
from relayq.adapters.embedded import EmbeddedBroker, EmbeddedOptions, Timings
from relayq.adapters.memory import RecordingListener
from relayq.ports import OutboxItem, Properties, Publication, QueueRole
from tests.support.dns_server import FakeDnsServer
from tests.support.relayq_process import RelayqProcess

T = TypeVar("T")

QUEUES = ("success", "failure", "retry")
CALL_SECONDS = 60.0
RESULT_SECONDS = 60.0


class Result:
    """What was published for one message.

    Attributes:
        queue: ``success``, ``failure`` or ``retry``.
        message: The whole result message.
    """

    def __init__(self, queue_name: str, body: bytes) -> None:
        self.queue = queue_name
        self.message: dict[str, Any] = json.loads(body)

    @property
    def last(self) -> dict[str, Any]:
        """The result object of the latest attempt."""
        return dict(self.message["results"][-1])

    @property
    def end(self) -> str:
        """Its ``state/result``, with the code where there is one: ``rcptto/error 550``."""
        last = self.last
        return f"{last['state']}/{last['result']} {last.get('code', '')}".rstrip()

    def __repr__(self) -> str:
        return f"<{self.queue}: {self.last}>"


class Sender:
    """As a context manager it runs from entry to exit.

    Attributes:
        dns: Its name server; change it through `add_records`.
        relayq: The process.
    """

    dns: FakeDnsServer
    relayq: RelayqProcess
    _broker: EmbeddedBroker
    _numbers = itertools.count()

    def __init__(self, folder: Path, settings: Mapping[str, str], *, nameservers: str | None = None) -> None:
        """``nameservers`` is ``ip:port`` of a resolver to ask instead of the own one."""
        self._folder = folder
        self._settings = settings
        self._nameservers = nameservers
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sender", daemon=True)
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._early: list[Result] = []
        self._settling: set[asyncio.Future[None]] = set()

    def add_records(self, records: Mapping[tuple[str, str], Sequence[str]]) -> None:
        """Tell the name server: ``("example.test", "MX"): ["10 mx.example.test."]``."""
        for (name, kind), values in records.items():
            self._loop.call_soon_threadsafe(self.dns.add, name, kind, *values)

    def send(self, **members: Any) -> Result:
        """Inject one message and wait for the first result of it."""
        (number,) = self.inject([members])
        return self.result(number)

    def inject(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Put messages into the outbox with one commit; returns the numbers to ask `result` for."""
        numbers = [next(self._numbers) for _ in messages]
        publications = [
            Publication(
                queue="outbox",
                body=json.dumps({"envelope": "sender@shop.test", **members, "number": number}).encode(),
                properties=Properties(),
                role=QueueRole.OUTBOX,
            )
            for number, members in zip(numbers, messages, strict=True)
        ]
        self._call(self._broker.publish(publications))
        return numbers

    def result(self, number: int, seconds: float = RESULT_SECONDS) -> Result:
        """The next result of a message.

        Raises:
            AssertionError: There was none in time; relayq's log is in the message.
        """
        for result in self._early:
            if result.message["number"] == number:
                self._early.remove(result)
                return result
        limit = time.monotonic() + seconds
        while True:
            try:
                result = self._results.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no result within {seconds} s:\n{self.relayq.log}") from None
            if result.message["number"] == number:
                return result
            self._early.append(result)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(CALL_SECONDS)

    async def _open(self) -> None:
        self.dns = FakeDnsServer()
        await self.dns.start()
        options = EmbeddedOptions(path=str(self._folder / "relayq.db"), timings=Timings(poll_interval=0.02))
        self._broker = EmbeddedBroker(options, RecordingListener(), SystemClock(), lambda level, text: None)
        await self._broker.open()
        for name in QUEUES:
            await self._broker.consume(name, 1000, lambda item, name=name: self._take(name, item))  # type: ignore[misc]

    def _take(self, name: str, item: OutboxItem) -> None:
        self._results.put(Result(name, item.body))
        settled = asyncio.ensure_future(self._broker.settle(item, ()))
        self._settling.add(settled)
        settled.add_done_callback(self._settling.discard)

    async def _close(self) -> None:
        await self._broker.close()
        await self.dns.stop()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._open())
        given = {
            "rabbitmq-address": f"embedded://{self._folder / 'relayq.db'}",
            "rabbitmq-success": "success",
            "rabbitmq-failure": "failure",
            "rabbitmq-retry": "retry",
            "dns-nameservers": self._nameservers or self.dns.address,
            "smtp-out-hostname": "relayq.test",
        }
        self.relayq = RelayqProcess(self._folder, {**given, **self._settings})
        self.relayq.wait_for_log("delivering from")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.relayq.__exit__(kind, error, trace)
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
