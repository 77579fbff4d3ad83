"""Publishing with confirms: nothing is forgotten before the broker confirmed that it has it.

A publish waits (for a connection, the throttle, a declaration), is then unconfirmed under its tag, and ends confirmed,
or given up when it is a result nobody can route. Whatever takes the connection away puts everything unconfirmed back
in front of what waits (spec amqp.md 7 and 8).
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable

from pamqp import commands

from relayq.adapters.rabbitmq.channel import Channel
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.declarer import Declarer, is_queue_name
from relayq.adapters.rabbitmq.dialer import Dialer
from relayq.adapters.rabbitmq.errors import PRECONDITION_FAILED, ChannelClosedError, ConnectionLostError
from relayq.adapters.rabbitmq.frames import MAX_BODY_BYTES, Confirm, Returned, encode_message, encode_publish
from relayq.adapters.rabbitmq.gathering import Gathering
from relayq.adapters.rabbitmq.link import Link, Log, RareLog
from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.adapters.rabbitmq.pending import MessageEncoder, PendingPublish
from relayq.adapters.rabbitmq.properties import decode_properties
from relayq.ports import (
    BrokerError,
    BrokerUnavailableError,
    Clock,
    Parking,
    Publication,
    PublicationTooLargeError,
    QueueRole,
)

# Queue names come from messages, so what is remembered of them is bounded.
REMEMBERED_QUEUES = 10_000
CONFIRM_CHECKS = 4  # looks per confirm timeout

_TOO_LARGE = re.compile(r"message size \d+ is larger than configured max size (\d+)")


class _PublishChannel(Channel):
    def __init__(self, connection: AmqpConnection, publisher: Publisher) -> None:
        super().__init__(connection)
        self._publisher = publisher
        self.on_confirm = publisher.take_confirm  # type: ignore[method-assign] # once per message
        self.on_returned = publisher.take_returned  # type: ignore[method-assign]

    def on_flow_changed(self) -> None:
        self._publisher.update_flow()

    def on_closed(self, error: ChannelClosedError) -> None:
        self._publisher.take_closed(error)


class Publisher:
    """One publisher connection with what waits for it."""

    def __init__(
        self,
        number: int,
        options: RabbitMqOptions,
        dialer: Dialer,
        clock: Clock,
        log: Log,
        on_blocked_changed: Callable[[], None],
        on_unroutable: Callable[[Publication], None],
        replace_copy: Callable[[Publication], Publication | None],
    ) -> None:
        self.is_blocked = False
        self.max_publish = options.max_publish or MAX_BODY_BYTES
        self._limit_told = MAX_BODY_BYTES
        self._options = options
        self._clock = clock
        self._log = log
        self._on_blocked_changed = on_blocked_changed
        self._on_unroutable = on_unroutable
        self._replace_copy = replace_copy
        self._encoder = MessageEncoder(options, clock)
        self._throttle = options.throttle
        self._loop = asyncio.get_running_loop()
        self.link = Link(f"publisher {number}", options, dialer, self._prepare, clock, log, self.fail_all)
        self._waiting: deque[PendingPublish] = deque()
        self._declaring: dict[str, list[PendingPublish]] = {}
        self._refused: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._later: dict[asyncio.TimerHandle, PendingPublish] = {}
        self._check_timer: asyncio.TimerHandle | None = None
        self._channel: _PublishChannel | None = None
        self._connection: AmqpConnection | None = None
        self._declarer: Declarer | None = None
        self._is_flowing = False
        self._flowing_since = 0.0
        self._failure: BrokerError | None = None
        self._complain = RareLog(clock, log, options.timings.retry_log_interval)
        self._unconfirmed: dict[int, PendingPublish] = {}
        self._next_tag = 1
        self._lowest_tag = 1
        self._publish_frames: dict[str, bytes] = {}
        self._leases: dict[str, float] = {}
        self._gathering = Gathering(self.submit, self._loop, options.timings.gathering)

    # Life

    async def open(self) -> None:
        """Connect; raises what `Link.open` raises."""
        await self.link.open()
        self._check_confirms()

    async def _prepare(self, connection: AmqpConnection) -> None:
        declarer = Declarer(connection, self._options, self._log)
        await declarer.prepare()
        channel = _PublishChannel(connection, self)
        await channel.open()
        await channel.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        if not declarer.version.is_supported:
            self._log("warning", f"{connection.endpoint} is older than RabbitMQ 3.10, which is not supported")
        if not channel.is_open:  # ended in the same moment as it was ready, when nobody listened yet
            raise ChannelClosedError(0, "channel closed while it was prepared")
        if not self._options.max_publish:
            self.max_publish = min(declarer.version.max_message_bytes, self._limit_told)
        self._connection, self._declarer, self._channel = connection, declarer, channel
        self._encoder.version = declarer.version
        self._next_tag = self._lowest_tag = 1
        self._publish_frames.clear()
        self._leases.clear()
        if self._options.prepare:
            for queue in declarer.topology.configured():
                self._remember(queue.name)
        self.update_flow()

    async def close(self) -> None:
        """Close the connection in order.

        Whoever waits for what is unconfirmed learns that nobody knows: settlements are cancelled, their messages come
        back; publications fail.
        """
        if self._check_timer is not None:
            self._check_timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        await self.link.close()
        for pending in self._take_all():
            if pending.settlement.item is None:
                pending.fail(BrokerUnavailableError("closed before the broker confirmed"))
            else:
                pending.settlement.future.cancel()

    def fail_all(self, error: BrokerError) -> None:
        """The broker stayed away for longer than a one-shot command waits."""
        self._failure = error
        for pending in self._take_all():
            pending.fail(error)

    def _take_all(self) -> list[PendingPublish]:
        for timer in self._later:
            timer.cancel()
        everything = [*self._unconfirmed.values(), *self._waiting, *self._later.values(), *self._gathering.take_all()]
        for pendings in self._declaring.values():
            everything += pendings
        self._unconfirmed.clear()
        self._waiting.clear()
        self._later.clear()
        self._declaring.clear()
        return everything

    # Sending

    def reconfigure(self, options: RabbitMqOptions) -> None:
        """Other options for what is published from now on."""
        self._options = options
        self._encoder.reconfigure(options)
        self._throttle = options.throttle
        self.max_publish = options.max_publish or min(self._encoder.version.max_message_bytes, self._limit_told)
        self._pump()

    def submit(self, pending: PendingPublish) -> None:
        """Publish as soon as possible, after everything that waits already."""
        if self._is_flowing and not self._waiting and len(self._unconfirmed) < self._throttle:
            self._send(pending)
        elif self._failure is not None:
            pending.fail(self._failure)
        else:
            self._waiting.append(pending)

    def submit_in_burst(self, pending: PendingPublish) -> None:
        """Publish within a moment, together with others that nobody waits for."""
        self._gathering.add(pending)

    def _pump(self) -> None:
        waiting, unconfirmed = self._waiting, self._unconfirmed
        while waiting and self._is_flowing and len(unconfirmed) < self._throttle:
            self._send(waiting.popleft())

    def _send(self, pending: PendingPublish) -> None:
        if pending.is_uncertain and pending.publication.copy_id:
            replaced = self._replace_copy(pending.publication)
            if replaced is None:
                pending.settlement.one_done()
                return
            if replaced.body is not pending.publication.body:
                pending.body, pending.is_compressed = replaced.body, False
            pending.publication = replaced
            pending.is_uncertain = False
        queue = self._encoder.queue_for(pending)
        frame = self._publish_frames.get(queue)
        if frame is None or (queue in self._leases and self._is_over(self._leases[queue])):
            self._declare_first(queue, pending)
            return
        connection, channel = self._connection, self._channel
        assert connection is not None
        assert channel is not None
        if len(pending.body) > self._limit_told and not self._shrink(pending):
            self._reject(pending)
            return
        pending.queue = queue
        pending.is_returned = False
        pending.block = self._encoder.block(pending, queue)
        pending.sent_at = self._loop.time()
        # Alone it leaves at once; while the broker is busy with others, with what comes until it answers.
        is_busy = bool(self._unconfirmed)
        self._unconfirmed[self._next_tag] = pending
        self._next_tag += 1
        pieces = encode_message(frame, channel.number, pending.block, pending.body, connection.frame_max)
        connection.write_pieces(pieces, gather=is_busy)

    # Declaring on first use

    def _is_over(self, declared_at: float) -> bool:
        """Whether a parking queue has to be declared again, so that it does not expire with something in it."""
        return self._loop.time() - declared_at >= self._options.timings.parking_lease

    def _remember(self, queue: str) -> None:
        assert self._channel is not None
        if len(self._publish_frames) >= REMEMBERED_QUEUES:
            self._publish_frames.clear()
            self._leases.clear()
        self._publish_frames[queue] = encode_publish(self._channel.number, self._options.exchange, queue)

    def _declare_first(self, queue: str, pending: PendingPublish) -> None:
        if not is_queue_name(queue):
            self._give_up(pending)
            return
        if not self._options.declare:
            self._remember(queue)
            self._send(pending)
            return
        refused_at = self._refused.get(queue)
        if refused_at is not None:
            if self._loop.time() - refused_at < self._options.timings.refused_queue_memory:
                self._give_up(pending)
                return
            del self._refused[queue]
        waiting = self._declaring.get(queue)
        if waiting is not None:
            waiting.append(pending)
            return
        self._declaring[queue] = [pending]
        assert self._declarer is not None
        task = asyncio.create_task(self._declare(queue, pending.publication.parking, self._declarer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _declare(self, queue: str, parking: Parking | None, declarer: Declarer) -> None:
        try:
            if parking is None:
                is_usable = await declarer.declare_one(queue)
            else:
                is_usable = await declarer.declare_parking(queue, parking.seconds)
        except Exception as error:
            is_expected = isinstance(error, ChannelClosedError | ConnectionLostError)
            text = str(error) if is_expected else f"internal error: {error!r}"
            self._log("warning" if is_expected else "error", f"queue {queue!r} cannot be declared now: {text}")
            for pending in self._declaring.pop(queue, ()):
                self._publish_later(pending)
            return
        pendings = self._declaring.pop(queue, [])
        if is_usable and declarer is self._declarer and self._channel is not None:
            self._remember(queue)
            if parking is not None:
                self._leases[queue] = self._loop.time()
        if is_usable:
            self._waiting.extendleft(reversed(pendings))
            self._pump()
            return
        if len(self._refused) >= REMEMBERED_QUEUES:
            self._refused.clear()
        self._refused[queue] = self._loop.time()
        for pending in pendings:
            self._give_up(pending)

    # Answers of the broker

    def take_confirm(self, confirm: Confirm) -> None:
        """An ack or nack of one publish or of all up to one."""
        if not confirm.is_multiple:
            pending = self._unconfirmed.pop(confirm.tag, None)
            if pending is not None:
                self._confirmed(pending, confirm.is_positive)
        else:
            last = confirm.tag or self._next_tag - 1
            for tag in range(self._lowest_tag, min(last, self._next_tag - 1) + 1):
                pending = self._unconfirmed.pop(tag, None)
                if pending is not None:
                    self._confirmed(pending, confirm.is_positive)
            self._lowest_tag = max(self._lowest_tag, min(last + 1, self._next_tag))
        if self._waiting:
            self._pump()
        if self._connection is not None:
            self._connection.send_gathered()

    def _confirmed(self, pending: PendingPublish, is_positive: bool) -> None:
        if not is_positive:
            self._complain(f"the broker refuses messages for {pending.queue!r}; they are published again")
            pending.is_uncertain = True
            self._publish_later(pending)
        elif not pending.is_returned:
            pending.settlement.one_done()
        elif pending.publication.role is QueueRole.OUTBOX:
            self._publish_frames.pop(pending.queue, None)  # the queue is gone: declare it first
            self._publish_later(pending)
        elif self._options.declare and not pending.was_redeclared:
            pending.was_redeclared = True
            self._publish_frames.pop(pending.queue, None)
            self._waiting.appendleft(pending)
        else:
            self._give_up(pending)

    def take_returned(self, returned: Returned) -> None:
        """A publish found no queue; its confirm comes next.

        A return carries no tag, so the publish is found by what it carries. Equal ones are interchangeable. Should a
        broker change what it returns, the oldest publish to that queue is the likeliest.
        """
        candidates = [
            pending
            for pending in self._unconfirmed.values()
            if pending.queue == returned.routing_key and not pending.is_returned
        ]
        for pending in candidates:
            if pending.body == returned.body and decode_properties(pending.block) == returned.properties:
                pending.is_returned = True
                return
        if candidates:
            candidates[0].is_returned = True

    def take_closed(self, error: ChannelClosedError) -> None:
        """The channel is gone: everything unconfirmed goes out again on the next one."""
        for pending in self._unconfirmed.values():
            pending.is_uncertain = True
        self._waiting.extendleft(reversed(self._unconfirmed.values()))
        too_large = _TOO_LARGE.search(error.text) if error.code == PRECONDITION_FAILED else None
        if too_large is not None:
            # The next publish of that message is checked against it.
            self._limit_told = int(too_large[1])
            self.max_publish = min(self.max_publish, self._limit_told)
        self._unconfirmed.clear()
        connection = self._connection
        self._channel = self._connection = self._declarer = None
        self._is_flowing = False
        if connection is not None:
            # A publisher without its channel is of no use; after a loss this does nothing.
            connection.abort(f"channel closed: {error}")

    def _shrink(self, pending: PendingPublish) -> bool:
        """Compress a body over the broker's limit, however we are configured; whether it fits then."""
        if not pending.is_compressed and not pending.publication.is_verbatim:
            pending.compress()
        return len(pending.body) <= self._limit_told

    def _reject(self, pending: PendingPublish) -> None:
        """It is over the broker's limit even when compressed.

        The engine respects the limit it knows, so this happens once, when a broker is configured below its default.
        A mail must not get lost by it: whoever settles or publishes it decides what becomes of it.
        """
        if pending.publication.role is QueueRole.OUTBOX:
            text = f"a message of {len(pending.body)} octets is larger than the broker takes ({self._limit_told})"
            pending.fail(PublicationTooLargeError(text))
        else:
            self._report(pending)

    def _give_up(self, pending: PendingPublish) -> None:
        """Nobody can route it: a result is reported and counts as done, anything else is kept and tried again."""
        if pending.publication.parking is not None and not pending.is_unparkable:
            pending.is_unparkable = True
            self.submit(pending)
        elif pending.publication.role is QueueRole.OUTBOX:
            self._publish_later(pending)
        else:
            self._report(pending)

    def _report(self, pending: PendingPublish) -> None:
        """It cannot be published, now or later; the listener writes it to the log, and the message is done."""
        self._on_unroutable(pending.publication)
        pending.settlement.one_done()

    def _publish_later(self, pending: PendingPublish) -> None:
        waits = self._options.timings.republish_waits
        wait = waits[min(pending.tries, len(waits) - 1)]
        pending.tries += 1

        def submit() -> None:
            del self._later[timer]
            self.submit(pending)

        timer = self._loop.call_later(wait, submit)
        self._later[timer] = pending

    # Flow

    def update_flow(self) -> None:
        """Look again whether the connection takes publishes, and send what waits if so."""
        connection, channel = self._connection, self._channel
        if connection is None or channel is None:
            return  # what was blocked stays so until a new connection is up
        is_blocked = connection.is_blocked or not channel.is_flow_active
        was_flowing, self._is_flowing = self._is_flowing, not (is_blocked or connection.is_paused)
        if self._is_flowing and not was_flowing:
            self._flowing_since = self._loop.time()
        if is_blocked != self.is_blocked:
            self.is_blocked = is_blocked
            self._on_blocked_changed()
        self._pump()

    def _check_confirms(self) -> None:
        """End a connection on which a publish stays unconfirmed for too long (spec amqp.md 8)."""
        limit = self._options.timings.confirm_timeout
        oldest = next(iter(self._unconfirmed.values()), None)
        if oldest is not None and self._is_flowing and self._connection is not None:
            since = max(oldest.sent_at, self._flowing_since)
            if self._loop.time() - since >= limit:
                self._connection.abort(f"no confirm for {limit:g} s")
        self._check_timer = self._loop.call_later(limit / CONFIRM_CHECKS, self._check_confirms)
