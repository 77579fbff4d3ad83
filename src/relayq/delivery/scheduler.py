"""The front door: what the broker hands out is decoded, judged, and started, delayed, failed or given back.

Only messages that may start now reach DNS and connections; nothing is held unacknowledged while it waits long
(spec delivery.md 2.1 and 3). At most one task per message, none below it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import Any, Protocol

import msgspec

from relayq.compose import HeaderError, read_header_edits
from relayq.delivery.admission import HELD_TOO_LONG, OVER_CAPACITY, Admission
from relayq.delivery.attempts import expired, failed_attempt
from relayq.delivery.bodies import STORE_IS_DOWN, STORE_PAUSE_SECONDS, Bodies
from relayq.delivery.decision import Decision, decode_decision
from relayq.delivery.ledger import Knowledge, LedgerEntry, OutcomeLedger, is_unique, key_of
from relayq.delivery.pace import SHARE_OCTETS, Share
from relayq.delivery.parked import ParkedDestinations, parking_of
from relayq.delivery.pipeline import COPIES, Job, Pipeline
from relayq.delivery.publisher import Publisher, mark_doubtful
from relayq.delivery.reporter import salvage_message
from relayq.delivery.session_pool import SessionPool
from relayq.delivery.strangers import Strangers
from relayq.delivery.waiting import CRASHED_SECONDS, PARKED_SECONDS
from relayq.model import (
    Attempt,
    DeliveryError,
    DeliveryState,
    Message,
    Outcome,
    Refused,
    ResultQueues,
    Scope,
    Smarthost,
    Unusable,
)
from relayq.model.body import UndecodableBodyError, decode_body
from relayq.model.message_json import (
    InvalidBodyError,
    InvalidMessageError,
    Members,
    ParseRules,
    decode_members,
    parse_message,
)
from relayq.model.result_json import attempts_of
from relayq.policy.retry import RetryRules, deadline_of, has_expired, was_set_back
from relayq.policy.routing import Target, choose_target
from relayq.policy.storage import has_content
from relayq.ports import (
    Broker,
    Clock,
    Consumption,
    Observer,
    OutboxItem,
    Publication,
    Recollection,
    RecollectionKind,
)

STOPPING = "stopping"
BLOCKED = "broker blocked"
ITEMS_LOST = "items lost"
_LOOK_AGAIN = frozenset((STOPPING, BLOCKED, ITEMS_LOST))
"""Reasons to interrupt waiting messages that are no reason to publish anything."""

CLOSING_SECONDS = 5.0
"""How long sessions may take to say goodbye at an orderly stop."""
SWEEP_SECONDS = 0.5
WARN_SECONDS = 60.0
RESUME_SECONDS = 10.0
RETURN_SECONDS = 0.05
"""After which a message goes back that a drain brought; the drain has ended by then."""
RUNNING_SECONDS = 0.25
"""How often to look whether another process is through with a message."""
IN_PROCESS_SECONDS = 1.0
"""A message due sooner than this waits in the process (spec delivery.md 4)."""


class SchedulerRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        outbox: Queue to consume.
        prefetch: Messages handed out at once.
        flush_prefetch: Messages fetched from parking places at once, besides those.
        min_prefetch: Never scaled below this.
        max_memory: Bytes of consumed, unfinished bodies.
        max_consume: Bytes of one body after decompression.
        max_redeliveries: Hand-outs the broker counted after which a message is refused, 0 = never.
        max_hold: Seconds the broker may block before what has not started is given back.
        mx_port: Port of mail exchangers.
        smarthost: The configured one.
        parse: What a usable message is.
        local_codes: Results of local failures carry codes of our own.
        extended: Results tell more (spec results.md 10).
        held_queue: Messages that may have been accepted before are put there; ``None`` sends them again.
    """

    outbox: str
    prefetch: int = 1000
    flush_prefetch: int = 1000
    min_prefetch: int = 100
    max_memory: int = 256 << 20
    max_consume: int = 128 << 20
    max_redeliveries: int = 0
    max_hold: float = 600.0
    mx_port: int = 25
    smarthost: Smarthost | None = None
    parse: ParseRules = ParseRules()
    local_codes: bool = False
    extended: bool = False
    held_queue: str | None = None


class Inquiry(Protocol):
    """The memory of the other processes of this installation."""

    async def ask(self, key: bytes, *, is_unique: bool, is_owed: bool) -> Knowledge:
        """What is known of a message; waits for its outcome where it is under way, so the answer is never ``WAIT``.

        ``UNKNOWN`` in good time if nobody answers; never raises.

        Args:
            key: Of ``ledger.key_of``.
            is_unique: No two messages of the producer have it.
            is_owed: This process had such a message and did not start it.
        """
        ...


class Scheduler:
    """Consumes the outbox. Implements ``ports.BrokerListener``.

    Attributes:
        consumed: Messages the broker handed out.
        redelivered: Of these, those it had handed out before.
    """

    def __init__(
        self,
        rules: SchedulerRules,
        retry_rules: RetryRules,
        admission: Admission,
        bodies: Bodies | None,
        clock: Clock,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
        inquiry: Inquiry | None = None,
    ) -> None:
        self._inquiry = inquiry
        self._rules = rules
        self._retry_rules = retry_rules
        self._admission = admission
        self._bodies = bodies
        self._clock = clock
        self._observer = observer
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting_due: dict[OutboxItem, asyncio.TimerHandle] = {}
        self._not_started: dict[OutboxItem, Knowledge | None] = {}
        self._share = Share(loop, self._go_on)
        self._held = 0
        self._held_bytes = 0
        self._unpacked: dict[OutboxItem, int] = {}
        self._unpacked_bytes = 0
        self.consumed = 0
        self.redelivered = 0
        self._prefetch = rules.prefetch
        self._blocked_since: float | None = None
        self._silent_until: dict[str, float] = {}
        self._is_stopping = False
        self._is_full = False
        self._consumption: Consumption | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._resume_at = 0.0
        self._sweeper: asyncio.TimerHandle | None = None
        self._broker: Broker
        self._pipeline: Pipeline
        self._publisher: Publisher
        self._pool: SessionPool
        self._ledger: OutcomeLedger
        self._parked: ParkedDestinations
        self._strangers: Strangers | None = None

    def attach(
        self, broker: Broker, pipeline: Pipeline, publisher: Publisher, pool: SessionPool, ledger: OutcomeLedger,
        strangers: Strangers | None = None,
    ) -> None:  # fmt: skip
        """Give it the parts that were built around it: the broker needs its listener first."""
        self._strangers = strangers
        self._broker = broker
        self._pipeline = pipeline
        self._publisher = publisher
        self._pool = pool
        self._ledger = ledger
        self._parked = ParkedDestinations(
            broker, self._rules.outbox, self._admission, self._rules.flush_prefetch, self._receive_parked,
            self._observer, self._loop,
        )  # fmt: skip

    def reconfigure(self, rules: SchedulerRules, retry_rules: RetryRules) -> None:
        """Other rules from the next message on; the prefetch follows with the next sweep."""
        self._rules = rules
        self._retry_rules = retry_rules
        self._parked.flush_prefetch = rules.flush_prefetch

    @property
    def held(self) -> int:
        """Messages handed out and not yet settled."""
        return self._held

    @property
    def held_bytes(self) -> int:
        """Their size."""
        return self._held_bytes

    @property
    def is_consuming(self) -> bool:
        """The outbox is being consumed now."""
        return self._consumption is not None and not self._broker.is_blocked

    # --- start and stop ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to consume."""
        if self._strangers is not None:
            self._strangers.recall()
        self._consumption = await self._broker.consume(self._rules.outbox, self._prefetch, self._receive)
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    async def stop(self, grace: float) -> None:
        """Orderly stop (spec delivery.md 17): nothing new starts, what runs may end, the rest returns to the outbox.

        Args:
            grace: Seconds running transactions get.
        """
        self._is_stopping = True
        self._parked.stop()
        if self._consumption is not None:
            await self._consumption.cancel()
            self._consumption = None
        self._give_up_not_started()
        self._admission.send_all_away(STOPPING)
        deadline = self._loop.time() + grace
        while self._tasks and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left)  # an end may start another: what has to be given back
        for task in list(self._tasks):
            task.cancel()  # cut without a result: unacknowledged, so the broker hands the message out again
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=1.0)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await self._pool.close(CLOSING_SECONDS)

    def _give_up_not_started(self) -> None:
        for item, timer in self._waiting_due.items():
            timer.cancel()
            self._requeue(item)
        self._waiting_due.clear()
        for item in self._not_started:
            self._requeue(item)
        self._not_started.clear()

    def _requeue(self, item: OutboxItem) -> None:
        self._done(item)
        self._ledger.owe(item)
        self._return(item)

    # --- BrokerListener ---------------------------------------------------------------------------------------------

    def flow_changed(self, *, blocked: bool) -> None:
        """The broker takes publications again, or no more: then nothing new is started (spec amqp.md 14)."""
        if blocked:
            self._blocked_since = self._clock.monotonic()
            self._observer.warn("broker", "publishing is blocked by the broker: no new deliveries are started")
            self._admission.send_all_away(BLOCKED)
            return
        self._blocked_since = None
        self._share.renew_soon()
        self._resume_at = 0.0
        self._resume_consuming()

    def items_lost(self) -> None:
        """Items of a lost connection will be handed out again: forget those that were not started."""
        self._ledger.channel_lost()
        for item in [item for item in self._waiting_due if not item.is_held]:
            self._waiting_due.pop(item).cancel()
            self._drop(item)
        for item in [item for item in self._not_started if not item.is_held]:
            del self._not_started[item]
            self._drop(item)
        self._admission.send_all_away(ITEMS_LOST)

    def replace_copy(self, publication: Publication) -> Publication | None:
        """A copy that may be in the outbox already is published as another one, and the first cancelled."""
        if not publication.copy_id:
            return publication
        copy_id = self._ledger.replace_copy(publication.copy_id)
        if copy_id is None:
            return None
        is_marked = self._ledger.may_be_doubled(publication.copy_id) and not publication.is_verbatim
        body = mark_doubtful(publication.body) if is_marked else publication.body
        return msgspec.structs.replace(publication, copy_id=copy_id, body=body)

    def _warn_seldom(self, text: str) -> None:
        """What every message of a careless producer would say: once a minute is enough."""
        now = self._clock.monotonic()
        if now >= self._silent_until.get(text, now):
            self._silent_until[text] = now + WARN_SECONDS
            self._observer.warn("scheduler", text)

    def unroutable(self, publication: Publication) -> None:
        """A result has no queue: the log is the only place left for it (spec amqp.md 8)."""
        text = publication.body[:65_536].decode("utf-8", "replace")
        self._observer.alarm("publisher", f"result for queue {publication.queue!r} could not be delivered: {text}")

    def _resume_consuming(self) -> None:
        """Ask for messages if none are asked for; after a refusal again, or nothing would ever start."""
        now = self._clock.monotonic()
        may_start = not self._is_stopping and not self._is_full and self._sweeper is not None
        is_wanted = self._consumption is None and may_start
        if is_wanted and now >= self._resume_at and (self._resuming is None or self._resuming.done()):
            self._resume_at = now + RESUME_SECONDS
            self._resuming = self._run(self._consume_again())

    async def _consume_again(self) -> None:
        consumption = await self._broker.consume(self._rules.outbox, self._prefetch, self._receive)
        if self._is_stopping:
            await consumption.cancel()
        else:
            self._consumption = consumption

    # --- one message ------------------------------------------------------------------------------------------------

    def _receive(self, item: OutboxItem) -> None:
        """Take what the broker hands out, or send it back when it is more than memory has room for."""
        if self._has_room(item):
            self.accept(item)
        else:
            self._send_back(item)

    def _receive_parked(self, item: OutboxItem) -> None:
        """The same of what drains bring; they end, and begin again when there is room."""
        if self._has_room(item):
            self.accept(item)
            return
        self._parked.done(item)
        self._parked.stop()
        if not item.redelivered:
            self._ledger.owe(item)
        self._loop.call_later(RETURN_SECONDS, self._return, item)

    def _has_room(self, item: OutboxItem) -> bool:
        return not self._held or self._memory + COPIES * len(item.body) <= self._rules.max_memory

    def _send_back(self, item: OutboxItem) -> None:
        """Ask for nothing until there is room again, and then for as many as fit: bodies are larger than expected."""
        if not item.redelivered:
            self._ledger.owe(item)
        self._is_full = True
        if self._consumption is not None:
            self._prefetch = min(self._prefetch, self._fitting(0.5))
            self._stop_consuming()
            self._warn_seldom(
                f"rabbitmq-max-memory ({self._rules.max_memory} octets) is full: some messages go back to the outbox,"
                f" and {self._prefetch} are taken at a time"
            )
        self._loop.call_soon(self._return, item)  # behind the cancelling, else it would come again at once

    def _return(self, item: OutboxItem) -> None:
        if item.is_held:
            self._broker.requeue(item)

    @property
    def _memory(self) -> float:
        """Octets that the messages in hand take."""
        return COPIES * self._held_bytes + self._unpacked_bytes + self._pipeline.added_octets

    def _fitting(self, share: float) -> int:
        """How many messages like those in hand have room in a share of the memory."""
        if not self._held:
            return self._rules.prefetch
        return max(1, int(share * self._rules.max_memory * self._held / max(self._memory, 1.0)))

    def accept(self, item: OutboxItem) -> None:
        """Take what the broker hands out."""
        self.consumed += 1
        self._held += 1
        self._held_bytes += len(item.body)
        self._take(item)

    def _take(self, item: OutboxItem, asked: Knowledge | None = None) -> None:
        """Start, unless nothing may start; ``asked`` is what others know of a message handed out before."""
        if self._is_stopping:
            self._requeue(item)
        elif self._blocked_since is not None:
            self._not_started[item] = asked
        elif self._not_started or len(item.body) > SHARE_OCTETS or not self._share.take(len(item.body)):
            self._not_started[item] = asked
            self._share.renew_soon()
        else:
            self._begin(item, asked)

    def _go_on(self) -> None:
        """Begin what had to wait for another turn of the loop, or for the broker, as far as this turn has room."""
        while self._not_started and self._blocked_since is None and not self._is_stopping:
            item = next(iter(self._not_started))
            if not self._share.take(len(item.body)):
                return
            if len(item.body) > SHARE_OCTETS and self._ledger.digest(item):
                return  # so far for this turn; reading it is enough for another
            asked = self._not_started.pop(item)
            if item.is_held:
                self._begin(item, asked)
            else:
                self._drop(item)

    def _begin(self, item: OutboxItem, asked: Knowledge | None) -> None:
        try:
            self._admit(item, asked)
        except Exception as error:  # spec delivery.md 1: no poison
            self._observer.crash("scheduler", error)
            self._run_for(item, self._give_back_verbatim(item, self._ledger.begin(item)))

    def _admit(self, item: OutboxItem, asked: Knowledge | None) -> None:
        recalled = None
        is_over = self._ledger.is_cancelled(item)
        if item.redelivered and not is_over:
            if asked is None:
                self.redelivered += 1
                is_owed = self._ledger.pays(item)
                if not is_owed and self._ledger.matches(item):
                    self._done(item)
                    return
                if self._inquiry is not None:
                    self._run(self._inquire(item, self._inquiry, is_owed=is_owed))
                    return
                asked = Knowledge.OWED if is_owed else Knowledge.UNKNOWN
            if self._ledger.matches_after_all(item, asked):
                self._done(item)
                return
            recalled = self._ledger.recall(item, asked)
            if recalled is not None and recalled.kind is RecollectionKind.RUNNING:
                self._hold(item, RUNNING_SECONDS)
                return
        entry = self._ledger.begin(item, recalled, is_cancelled=is_over)
        try:
            if is_over or (recalled is not None and not self._goes_on(entry, recalled)):
                self._settle_for(item, entry, self._publisher.acknowledge(item, entry))
            else:
                self._judge(item, entry)
        except BaseException:
            self._ledger.abandon(entry)
            raise

    def _goes_on(self, entry: LedgerEntry, recalled: Recollection) -> bool:
        """Whether a message an earlier process had is still to be dealt with, as far as its body does not matter."""
        if recalled.kind is RecollectionKind.DONE:
            return False
        if recalled.kind is RecollectionKind.MOVED:
            return self._ledger.supersede(entry, recalled.copy_id)
        if recalled.kind is RecollectionKind.DECIDED:
            decision = decode_decision(recalled.decision)
            if decision is None:  # a form this version does not know: no more is certain than that it may be sent
                entry.recalled = msgspec.structs.replace(recalled, kind=RecollectionKind.SENT)
            elif decision.outcome is Outcome.RETRY:
                return self._ledger.supersede(entry, recalled.copy_id)
        return True

    async def _inquire(self, item: OutboxItem, inquiry: Inquiry, *, is_owed: bool) -> None:
        """Ask the other processes before a message that was handed out before is delivered (spec amqp.md 13)."""
        knowledge = await inquiry.ask(key_of(item), is_unique=is_unique(item), is_owed=is_owed)
        if knowledge is Knowledge.KNOWN:
            self._ledger.acknowledge(item)
            self._done(item)
        elif item.is_held:
            self._take(item, Knowledge.OWED if is_owed else knowledge)
        else:
            self._drop(item)

    def _judge(self, item: OutboxItem, entry: LedgerEntry) -> None:
        body: bytes | None = None
        try:
            body = decode_body(item.body, item.properties.content_encoding, self._rules.max_consume)
            members = decode_members(body)
        except (UndecodableBodyError, InvalidBodyError) as error:
            self._settle_for(item, entry, self._fail_invalid(item, entry, str(error), body))
            return
        if body is not item.body:
            self._count_unpacked(item, body)
        if body is not item.body and not item.properties.content_encoding:
            self._warn_seldom("a gzip body without content-encoding was decompressed")
        try:
            message = parse_message(members, self._rules.parse)
            if "headers" in members:
                _check_headers(message)
        except InvalidMessageError as error:
            self._settle_for(item, entry, self._fail_unusable(item, entry, members, error))
            return
        if message.ips is None and bytes(members.get("ips", b"null")) != b"null":
            self._warn_seldom("ips is no array, the default address is used")
        self._consider(item, entry, message)

    def _count_unpacked(self, item: OutboxItem, body: bytes) -> None:
        """What came compressed takes as much as what came as it is, and the compressed form besides."""
        self._unpacked[item] = octets = max(int(COPIES * len(body) - (COPIES - 1) * len(item.body)), 0)
        self._unpacked_bytes += octets

    def _consider(self, item: OutboxItem, entry: LedgerEntry, message: Message) -> None:
        """Decided before, or without content, expired, delayed, or to be started now (spec messages.md 2, 5 to 8)."""
        decision = _decision_of(entry.recalled)
        if decision is not None:
            self._settle_for(item, entry, self._complete(item, entry, message, decision))
            return
        if entry.is_doubtful and self._rules.held_queue is not None:
            self._settle_for(item, entry, self._publisher.hold(item, entry, message, self._rules.held_queue))
            return
        most = self._rules.max_redeliveries
        if most and item.properties.delivery_count >= most:
            refusal = Unusable(DeliveryState.AMQP, Scope.MESSAGE, f"handed out {item.properties.delivery_count} times")
            self._settle_for(item, entry, self._fail(item, entry, message, refusal))
            return
        is_stored = not has_content(message)
        if is_stored and self._bodies is None:
            no_store = Refused(DeliveryState.STORAGE, Scope.MESSAGE, "key is given, but no store is configured")
            self._settle_for(item, entry, self._fail(item, entry, message, no_store))
            return
        now = self._clock.now()
        delayed_at = message.delayed_at
        is_due = delayed_at is None or now >= delayed_at or was_set_back(message, now)
        seen_at = message.seen_at or (now if is_due else None)
        deadline_at = deadline_of(message, seen_at, self._retry_rules)
        reason = has_expired(message, now, deadline_at, self._retry_rules)
        if reason is not None:
            self._settle_for(item, entry, self._fail(item, entry, message, expired(reason)))
        elif not is_due and delayed_at is not None:
            left = delayed_at - now
            if left < timedelta(seconds=IN_PROCESS_SECONDS):
                self._ledger.abandon(entry)
                self._hold(item, max(left.total_seconds(), 0.0))
            else:
                self._settle_for(item, entry, self._publisher.delay(item, entry, message))
        elif is_stored and self._bodies is not None and self._bodies.is_paused:
            seen_at = message.seen_at or now
            waiting = self._publisher.give_back(item, entry, message, seen_at, STORE_PAUSE_SECONDS, STORE_IS_DOWN)
            self._settle_for(item, entry, waiting)
        else:
            target = choose_target(message, self._rules.smarthost, self._rules.mx_port)
            seconds = inf if deadline_at is None else (deadline_at - now).total_seconds()
            self._start(item, entry, message, target, message.seen_at or now, self._clock.monotonic() + seconds)

    def _start(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, target: Target, seen_at: datetime,
        deadline: float,
    ) -> None:  # fmt: skip
        is_urgent = (message.priority or item.properties.priority or 0) > 0
        ticket = self._admission.admit(
            target.destination, item.consumed_at, is_fetched=self._parked.is_fetched(item), is_urgent=is_urgent
        )
        if ticket is None:
            self._park(item, entry, message, seen_at, target, OVER_CAPACITY)
            return
        job = Job(item, message, target, seen_at, entry, ticket, deadline)
        task = ticket.task = self._loop.create_task(self._pipeline.guard(job))
        self._tasks.add(task)
        task.add_done_callback(partial(self._job_ended, job))

    def _park(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, seen_at: datetime, target: Target, reason: str
    ) -> None:
        self._settle_for(item, entry, self._park_now(item, entry, message, seen_at, target.destination, reason))

    async def _park_now(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, seen_at: datetime, destination: str, reason: str
    ) -> None:
        await self._publisher.park(item, entry, message, seen_at, parking_of(destination), reason)
        # Not before it is there: a drain would find nothing, and forget the place.
        self._parked.note(destination, PARKED_SECONDS if reason == HELD_TOO_LONG else 0.0)

    def _job_ended(self, job: Job, task: asyncio.Task[None]) -> None:
        """Settle the books of this process, and decide about a message that was sent away while it waited."""
        item, ticket = job.item, job.ticket
        self._finished(task)
        self._done(item)
        if ticket.verdict is None or not task.cancelled():
            return
        self._admission.started(ticket)  # it may have been cancelled before its first step
        if ticket.verdict not in _LOOK_AGAIN:
            self._held += 1
            self._held_bytes += len(item.body)
            self._park(item, job.entry, job.message, job.seen_at, job.target, ticket.verdict)
            return
        waiting = self._ledger.abandon(job.entry)
        self._take_again(item)
        for redelivery in waiting:
            self.accept(redelivery)

    def _hold(self, item: OutboxItem, seconds: float) -> None:
        """Look at the item again in a moment."""
        self._waiting_due[item] = self._loop.call_later(seconds, self._look_again, item)

    def _look_again(self, item: OutboxItem) -> None:
        del self._waiting_due[item]
        self._done(item)
        self._take_again(item)

    def _take_again(self, item: OutboxItem) -> None:
        """Look at an item again that was not started; one the broker took back will be a new one."""
        if item.is_held:
            self.accept(item)
        else:
            self._ledger.owe(item)

    def _drop(self, item: OutboxItem) -> None:
        """Forget an item the broker took back before it was started."""
        self._done(item)
        self._ledger.owe(item)

    def _settle_for(self, item: OutboxItem, entry: LedgerEntry, work: Coroutine[Any, Any, None]) -> None:
        """Settle a message that is not started."""
        self._run_for(item, self._guard(item, entry, work))

    async def _guard(self, item: OutboxItem, entry: LedgerEntry, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # spec delivery.md 1: no poison
            self._observer.crash("scheduler", error)
            if not entry.is_settled:  # else a copy would be a second mail
                await self._give_back_verbatim(item, entry)

    def _give_back_verbatim(self, item: OutboxItem, entry: LedgerEntry) -> Coroutine[Any, Any, None]:
        return self._publisher.give_back_verbatim(item, entry, CRASHED_SECONDS, "internal error")

    def _run_for(self, item: OutboxItem, work: Coroutine[Any, Any, None]) -> None:
        """One task for the message; its end settles the books of this process."""
        self._run(work).add_done_callback(lambda _: self._done(item))

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._observer.crash("scheduler", error)

    def _done(self, item: OutboxItem) -> None:
        self._parked.done(item)
        self._held -= 1
        self._held_bytes -= len(item.body)
        if self._unpacked:
            self._unpacked_bytes -= self._unpacked.pop(item, 0)

    # --- failures before anything was started -----------------------------------------------------------------------

    async def _fail_invalid(self, item: OutboxItem, entry: LedgerEntry, reason: str, body: bytes | None) -> None:
        """``body`` is the octets behind the encoding, ``None`` when that could not be undone."""
        error = Unusable(DeliveryState.AMQP, Scope.MESSAGE, reason)
        attempt = self._failed_attempt(error, 0)
        await self._publisher.publish_invalid(item, entry, attempt, body)
        self._observer.attempt_finished(None, attempt, Outcome.FAILURE, error, self._latency(item))

    async def _fail_unusable(
        self, item: OutboxItem, entry: LedgerEntry, members: Members, reason: InvalidMessageError
    ) -> None:
        error: DeliveryError
        if reason.is_missing_content:
            error = Refused(DeliveryState.STORAGE, Scope.MESSAGE, str(reason))
        else:
            cause = reason.property_name if reason.property_name in {"recipient", "envelope"} else None
            error = Unusable(DeliveryState.AMQP, Scope.MESSAGE, str(reason), cause=cause)
        attempt = self._failed_attempt(error, attempts_of(members))
        queues: ResultQueues | None = reason.queues
        await self._publisher.publish_unusable(
            item, entry, members, attempt, queues, keep_mime=reason.keep_mime, error=error,
            salvaged=salvage_message(members, self._rules.parse),
        )  # fmt: skip
        self._observer.attempt_finished(None, attempt, Outcome.FAILURE, error, self._latency(item))

    async def _complete(self, item: OutboxItem, entry: LedgerEntry, message: Message, decision: Decision) -> None:
        """Publish what was decided before this process began."""
        error = decision.error
        attempt, outcome = await self._publisher.publish(
            item, entry, message, decision.attempt, decision.outcome, decision.seen_at, decision.next_at, error,
            decision.trail,
        )  # fmt: skip
        self._observer.attempt_finished(message, attempt, outcome, error, self._latency(item))

    async def _fail(self, item: OutboxItem, entry: LedgerEntry, message: Message, error: DeliveryError) -> None:
        attempt = self._failed_attempt(error, message.attempts)
        seen_at = message.seen_at or attempt.at
        attempt, _ = await self._publisher.publish(item, entry, message, attempt, Outcome.FAILURE, seen_at, None, error)
        self._observer.attempt_finished(message, attempt, Outcome.FAILURE, error, self._latency(item))

    def _failed_attempt(self, error: DeliveryError, earlier: int) -> Attempt:
        """The result entry; ``earlier`` attempts were made before."""
        rules = self._rules
        number = earlier + 1 if rules.extended else None
        return failed_attempt(error, self._clock.now(), local_codes=rules.local_codes, number=number)

    def _latency(self, item: OutboxItem) -> float:
        return self._clock.monotonic() - item.consumed_at

    # --- twice a second ---------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self._clock.monotonic()
        self._admission.sweep(now, self._held - self._parked.fetched, self._parked.count)
        self._pool.sweep()
        if self._strangers is not None and self._strangers.is_due:
            self._run(self._strangers.look())
        if self._memory < 0.5 * self._rules.max_memory:
            self._is_full = False
        if self._blocked_since is None:
            self._resume_consuming()
        elif now - self._blocked_since > self._rules.max_hold:
            self._stop_consuming_while_blocked()
        self._scale_prefetch()
        may_drain = self._blocked_since is None and self._memory < 0.75 * self._rules.max_memory
        self._parked.sweep(may_drain=may_drain, most=self._fitting(0.75) - self._held if self._held else None)

    def _stop_consuming(self) -> None:
        if self._consumption is not None:
            consumption, self._consumption = self._consumption, None
            self._run(consumption.cancel())

    def _stop_consuming_while_blocked(self) -> None:
        self._stop_consuming()
        self._parked.stop()
        self._give_up_not_started()

    def _scale_prefetch(self) -> None:
        """Fewer messages at a time while the bodies held are large (spec amqp.md 5)."""
        limit, prefetch = self._rules.max_memory, self._prefetch
        if self._memory > 0.75 * limit:
            # Below the configured minimum only where not even that many have room.
            least = min(self._rules.min_prefetch, self._rules.prefetch, self._fitting(1.0))
            prefetch = max(prefetch // 2, least)
        elif self._memory < 0.5 * limit:
            prefetch = min(prefetch * 2, self._rules.prefetch, max(prefetch, self._fitting(0.75)))
        if prefetch != self._prefetch and self._consumption is not None:
            self._prefetch = prefetch
            self._run(self._consumption.set_prefetch(prefetch))


def _decision_of(recalled: Recollection | None) -> Decision | None:
    """What was decided about a message before this process began."""
    if recalled is None or recalled.kind is not RecollectionKind.DECIDED:
        return None
    return decode_decision(recalled.decision)


def _check_headers(message: Message) -> None:
    """See that ``headers`` is usable, before the message waits or expires (spec messages.md 2, step 3).

    Raises:
        InvalidMessageError: It is not.
    """
    try:
        read_header_edits(message.members["headers"])
    except HeaderError as error:
        reason = str(error).removeprefix("headers").lstrip(".: ")
        raise InvalidMessageError("headers", reason, queues=message.queues, keep_mime=message.keep_mime) from None
