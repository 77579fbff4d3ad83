"""The event loop's side of the embedded broker: `relayq.ports.Broker` over one file (spec amqp.md 20)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from relayq.adapters.embedded.location import network_file_system
from relayq.adapters.embedded.options import DEFAULT_MAX_PUBLISH_BYTES, EmbeddedOptions
from relayq.adapters.embedded.store import Change, Claim, Consumer, Store, decode_properties
from relayq.adapters.embedded.tables import ClaimedMessage, QueueDepth
from relayq.adapters.embedded.thread import StorageThread, ThreadCallbacks
from relayq.ports import (
    BrokerError,
    BrokerListener,
    BrokerUnavailableError,
    Clock,
    OutboxItem,
    Parking,
    Properties,
    Publication,
)

T = TypeVar("T")
Log = Callable[[str, str], None]
"""Level (``info``, ``warning``, ``error``) and text."""


class File:
    """`relayq.ports.Origin` of the embedded broker: what it hands out is lost with this process only."""

    is_lost = False


_FILE = File()


class EmbeddedItem:
    """`relayq.ports.OutboxItem` of the embedded broker: held until it is settled, given back, or the broker closed."""

    __slots__ = ("_encoded", "_properties", "body", "consumed_at", "consumption", "id", "is_open", "redelivered")

    def __init__(self, consumption: EmbeddedConsumption, message: ClaimedMessage, consumed_at: float) -> None:
        self.id, self.redelivered, self._encoded, self.body = message
        self.consumption = consumption
        self.consumed_at = consumed_at
        self.is_open = True
        self._properties: Properties | None = None

    @property
    def origin(self) -> File:
        """The same for all."""
        return _FILE

    @property
    def properties(self) -> Properties:
        """Properties as published."""
        if self._properties is None:
            self._properties = decode_properties(self._encoded)
        return self._properties

    @property
    def identity(self) -> bytes:
        """Its number in the file, which is never used twice."""
        return self.id.to_bytes(8, "little")

    @property
    def is_held(self) -> bool:
        """Whether it is neither settled nor given back."""
        return self.is_open and self.consumption.is_alive


class EmbeddedConsumption:
    """`relayq.ports.Consumption` of the embedded broker.

    Attributes:
        emptied: Of a drain, done when it is over: true when it was given the last there was.
    """

    def __init__(
        self,
        broker: EmbeddedBroker,
        queue: str,
        prefetch: int,
        deliver: Callable[[OutboxItem], None],
        clock: Clock,
        outbox: str | None = None,
    ) -> None:
        self.emptied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.consumer = Consumer(queue, prefetch, self._accept, outbox, partial(self.end, is_empty=True))
        self._broker = broker
        self._session = broker.session
        self._deliver = deliver
        self._clock = clock
        self._is_cancelled = False

    @property
    def is_alive(self) -> bool:
        """The broker was not closed since: what was handed out is still held."""
        return self._broker.is_running and self._broker.session == self._session

    async def cancel(self) -> None:
        """Stop handing out: ``deliver`` is not called any more."""
        if not self._is_cancelled and self.is_alive:
            self._is_cancelled = True
            await self._broker.run(lambda store: store.remove_consumer(self.consumer))

    async def set_prefetch(self, prefetch: int) -> None:
        """Change how many unsettled items may be out at once; holds from the return on."""
        if self.is_alive:
            await self._broker.run(lambda _: self.consumer.set_prefetch(prefetch))

    def leave(self) -> None:
        """Stop handing out without waiting for it: what was claimed meanwhile goes back."""
        if not self._is_cancelled and self.is_alive:
            self._is_cancelled = True
            self._broker.forget(self.consumer)

    def end(self, *, is_empty: bool) -> None:
        """A drain is over."""
        if not self.emptied.done():
            self.emptied.set_result(is_empty)

    def _accept(self, messages: Sequence[ClaimedMessage]) -> None:
        now = self._clock.monotonic()
        for message in messages:
            if self._is_cancelled or not self.is_alive:
                self._broker.give_back_unseen(message, self.consumer)
            else:
                self._deliver(EmbeddedItem(self, message, now))


class EmbeddedBroker:
    """`relayq.ports.Broker` in one SQLite file; any number of them, in any number of processes, share it.

    Attributes:
        session: Counts the calls of `open`: what was consumed in an earlier session is not held any more.
    """

    def __init__(self, options: EmbeddedOptions, listener: BrokerListener, clock: Clock, log: Log) -> None:
        self.session = 0
        self._options = options
        self._listener = listener
        self._clock = clock
        self._log = log
        self._max_publish_bytes = options.max_publish or DEFAULT_MAX_PUBLISH_BYTES
        self._thread: StorageThread | None = None
        self._opened: asyncio.Future[Path] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._outgoing: list[Change] = []
        self._is_blocked = False
        self._next_log_at = 0.0
        self._drains: set[EmbeddedConsumption] = set()

    @property
    def is_blocked(self) -> bool:
        """Nothing can be written now: no space, read-only, or locked by somebody else for long."""
        return self._is_blocked

    @property
    def is_connected(self) -> bool:
        """Its file is open: what keeps it from being written blocks it."""
        return self._thread is not None

    @property
    def max_publish_bytes(self) -> int:
        """Largest body."""
        return self._max_publish_bytes

    def reconfigure(self, *, gzip: bool, max_publish: int) -> None:
        """Take over the settings that a reload may change, for everything published from now on."""
        self._options = options = replace(self._options, gzip=gzip, max_publish=max_publish)
        self._max_publish_bytes = max_publish or DEFAULT_MAX_PUBLISH_BYTES
        if self._thread is not None:
            self._thread.tell(lambda store: store.reconfigure(options))

    @property
    def is_running(self) -> bool:
        """Between `open` and `close`."""
        return self._thread is not None

    async def open(self) -> None:
        """Open or make the file; keeps trying while it cannot be written.

        Raises:
            BrokerRefusedError: No permission (exit code 77).
            BrokerStorageError: Cannot be created (73) or damaged (71).
            TopologyError: Not one of ours, or of a newer version (78).
            BrokerUnavailableError: Not usable within the time limit.
        """
        loop = asyncio.get_running_loop()
        self.session += 1
        opened = self._opened = loop.create_future()
        self._closed = loop.create_future()
        callbacks = ThreadCallbacks(
            opened=lambda path: None if opened.done() else opened.set_result(path),
            failed=lambda error: self._not_opened(opened, error),
            committed=self._committed,
            flow_changed=self._flow_changed,
            closed=self._finished,
            log=self._log,
        )
        thread = self._thread = StorageThread(self._options, self._clock, callbacks, loop)
        thread.start()
        try:
            path = await opened
        except BrokerError:
            thread.join()
            self._thread = self._closed = None
            raise
        except asyncio.CancelledError:
            await self.close()
            raise
        self._log("info", f"embedded broker: {path}")
        kind = network_file_system(path)
        if kind is not None:
            self._log("warning", f"{path} is on {kind}, but its locks need a local file system")

    def _not_opened(self, opened: asyncio.Future[Path], error: BrokerError) -> None:
        """The thread has ended; whoever gave up waiting for it to open the file may wait for its end now."""
        if not opened.done():
            opened.set_exception(error)
        self._finished(())

    async def consume(self, queue: str, prefetch: int, deliver: Callable[[OutboxItem], None]) -> EmbeddedConsumption:
        """See `relayq.ports.Broker.consume`."""
        consumption = EmbeddedConsumption(self, queue, prefetch, deliver, self._clock)
        await self._call(lambda store: store.add_consumer(consumption.consumer))
        return consumption

    async def drain(self, queue: str, parking: Parking, prefetch: int, deliver: Callable[[OutboxItem], None]) -> bool:
        """See `relayq.ports.Broker.drain`."""
        consumption = EmbeddedConsumption(self, parking.queue(queue), prefetch, deliver, self._clock, queue)
        if not await self._call(lambda store: store.add_drain(consumption.consumer)):
            return True
        self._drains.add(consumption)
        try:
            return await consumption.emptied
        finally:
            self._drains.discard(consumption)
            consumption.leave()

    def settle(self, item: OutboxItem, publications: Sequence[Publication]) -> Awaitable[None]:
        """See `relayq.ports.Broker.settle`: the publications and the removal are one transaction.

        Raises:
            ValueError: A publication cannot be stored: too large, or a queue name that is no text.
        """
        assert isinstance(item, EmbeddedItem)
        self._check(publications)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if item.is_held:
            item.is_open = False
            self._submit(Change(done, publications, item_id=item.id, consumer=item.consumption.consumer))
        else:
            self._submit(Change(done, publications))
        return done

    async def count_consumers(self, queue: str) -> int | None:
        """All are on this machine."""
        return None

    def requeue(self, item: OutboxItem) -> None:
        """See `relayq.ports.Broker.requeue`: the message returns to its place."""
        assert isinstance(item, EmbeddedItem)
        if item.is_held:
            item.is_open = False
            self._submit(Change(None, item_id=item.id, consumer=item.consumption.consumer, gives_back=True))

    async def publish(self, publications: Sequence[Publication]) -> None:
        """See `relayq.ports.Broker.publish`.

        Raises:
            BrokerUnavailableError: The broker was closed while it could not write.
            ValueError: As `settle`.
        """
        self._check(publications)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._submit(Change(done, publications))
        await done

    async def queue_depths(self) -> dict[str, QueueDepth]:
        """Counts of all queues that hold messages, by name; no message is touched."""
        return await self._call(lambda store: store.depths())

    async def close(self) -> None:
        """Write what waits, give back what is held, close the file.

        What cannot be written within the time for it (`Timings.close_timeout`) is reported in the log: settlements are
        cancelled, their messages come back; publications fail.
        """
        self._flush()
        for consumption in tuple(self._drains):
            consumption.end(is_empty=False)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
        if self._closed is not None:
            await asyncio.shield(self._closed)
        if thread is not None:
            thread.join()

    async def run(self, action: Callable[[Store], None]) -> None:
        """For consumptions: let ``action`` run beside the transactions, unless the broker is closed."""
        if self._thread is not None:
            await self._call(action)

    def forget(self, consumer: Consumer) -> None:
        """For consumptions: claim nothing more; does not wait until that is so."""
        thread = self._thread
        if thread is not None:
            thread.tell(lambda store: store.remove_consumer(consumer))

    def give_back_unseen(self, message: ClaimedMessage, consumer: Consumer) -> None:
        """For consumptions: a message that was claimed when nobody wanted it any more; a closed broker has none."""
        if self._thread is not None:
            self._submit(Change(None, item_id=message.id, consumer=consumer, gives_back=True, was_seen=False))

    async def _call(self, action: Callable[[Store], T]) -> T:
        """Let the thread do something after what was submitted so far has reached it."""
        thread = self._running()
        self._flush()
        return await thread.call(action)

    def _running(self) -> StorageThread:
        if self._thread is None:
            raise RuntimeError("the embedded broker is not open")
        return self._thread

    def _check(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            # A copy of what was consumed was accepted once, perhaps under another setting.
            if len(publication.body) > self._max_publish_bytes and not publication.is_verbatim:
                raise ValueError(f"a body of {len(publication.body)} bytes is larger than rabbitmq-max-publish")
            if not publication.queue.isascii():
                publication.queue.encode()  # a lone surrogate cannot be stored

    def _submit(self, change: Change) -> None:
        self._running()
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(change)

    def _flush(self) -> None:
        if self._outgoing and self._thread is not None:
            self._thread.submit(self._outgoing)
            self._outgoing = []

    def _committed(self, changes: Sequence[Change], claims: Sequence[Claim]) -> None:
        for change in changes:
            done = change.done
            if done is not None and not done.done():
                done.set_result(None)
        for claim in claims:
            claim.consumer.accept(claim.messages)
            if claim.is_last and claim.consumer.on_empty is not None:
                claim.consumer.on_empty()

    def _flow_changed(self, reason: str | None) -> None:
        was_blocked, self._is_blocked = self._is_blocked, reason is not None
        if reason is not None and (not was_blocked or self._clock.monotonic() >= self._next_log_at):
            self._next_log_at = self._clock.monotonic() + self._options.timings.retry_log_interval
            self._log("warning", f"the embedded broker cannot write: {reason}")
        if was_blocked != self._is_blocked:
            if reason is None:
                self._log("info", "the embedded broker can write again")
            self._listener.flow_changed(blocked=self._is_blocked)

    def _finished(self, unwritten: Sequence[Change]) -> None:
        if unwritten:
            self._log("error", f"{len(unwritten)} changes could not be written before the end")
        for change in unwritten:
            if change.done is not None and not change.done.done():
                if change.item_id is None:
                    change.done.set_exception(BrokerUnavailableError("closed before it was written"))
                else:
                    change.done.cancel()
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(BrokerUnavailableError("closed before it was open"))
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
