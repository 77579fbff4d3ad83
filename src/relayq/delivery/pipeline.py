"""The whole life of one message that may start now, top to bottom, in the order it happens.

The stages are named after the delivery states that appear in results (spec results.md 5), so log, result, code and
documentation use one word. Everything a stage can end with is a :class:`~relayq.model.DeliveryError`; it becomes an
attempt at exactly one place. The item is settled last: a crash or a cancelled task before that makes the broker hand it
out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from relayq.delivery.admission import Admission, Ticket
from relayq.delivery.attempts import expired, failed_attempt
from relayq.delivery.bodies import STORE_IS_DOWN, STORE_PAUSE_SECONDS, Bodies
from relayq.delivery.composer import Composer, Content, Draft
from relayq.delivery.lane import HostDownError, Lane, Route
from relayq.delivery.ledger import LedgerEntry
from relayq.delivery.publisher import Publisher
from relayq.delivery.reporter import Trail
from relayq.delivery.router import Router
from relayq.delivery.session import Session
from relayq.delivery.session_pool import SessionPool
from relayq.delivery.stored_content import StoredContent, UnfinishedError
from relayq.delivery.terms import SessionTerms, Terms
from relayq.delivery.waiting import CRASHED_SECONDS, JOURNAL_IS_DOWN, PARKED_SECONDS, NotNowError
from relayq.model import (
    Attempt,
    DeliveryError,
    DeliveryState,
    DsnOptions,
    Message,
    Refused,
    Reply,
    ResultType,
    Scope,
)
from relayq.policy.egress import allowed_egress_ips, families_of, order_egress_ips
from relayq.policy.retry import RetryRules, choose_failure, decide_outcome
from relayq.policy.routing import Candidate, Target
from relayq.policy.storage import has_content
from relayq.policy.tls import NO_DEMAND, TlsDemand
from relayq.policy.wishes import relayed_wishes
from relayq.ports import Clock, Observer, OutboxItem, OutcomeJournal
from relayq.smtp import SLICE_OCTETS, Transaction

COPIES = 2.3
"""Room a body takes, with what is decoded of it beside it (`benchmarks/memory.py`)."""
_MOVABLE_STATES = frozenset((DeliveryState.MAILFROM, DeliveryState.RCPTTO))
_SILENCE = frozenset((ResultType.TIMEOUT, ResultType.LOST))
_GONE_CODES = frozenset((421, 503))
_MESSAGE, _ACCEPTED = DeliveryState.MESSAGE, ResultType.ACCEPTED
MAX_SOLE_WAYS = 20_000
MAX_WAIT = 86_400.0
"""Timers are not made for more; a message that waits is sent away long before."""


class PipelineRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        default_ips: Local addresses for messages without their own; empty lets the host choose.
        max_hosts: Addresses tried per attempt.
        ack_limit: Seconds from consuming to acknowledging that an attempt must fit in.
        message_timeout: Seconds the reply to the final dot may take: what must still fit when content is sent.
        failover_on_4xx: Try the next host after a 4xx about the mail.
        connect_ips: Results of state ``connect`` carry the pair of addresses.
        local_codes: Results of local failures carry codes of our own.
        extended: Results tell more (spec results.md 10).
        dsn: Wishes about reports for messages that do not say; ``None`` when the configuration names none.
        ipv6: IPv6 targets: ``True``, ``False``, or ``None`` for "when the allowed local addresses include IPv6".
    """

    default_ips: tuple[str, ...] = ()
    max_hosts: int = 5
    ack_limit: float = 1500.0
    message_timeout: float = 600.0
    failover_on_4xx: bool = False
    connect_ips: bool = False
    local_codes: bool = False
    extended: bool = False
    dsn: DsnOptions | None = None
    ipv6: bool | None = None


class Job(msgspec.Struct, frozen=True):
    """A message that may start now, and what belongs to it.

    Attributes:
        item: As consumed.
        message: Decoded.
        target: Where it goes.
        seen_at: First due pick-up.
        entry: Its place in the ledger.
        ticket: Its place among those that wait.
        deadline: Monotonic instant at which to give it up, infinite for never: the clock of the world may be set
            while the message is in hand.
        trail: What becomes known on the way.
    """

    item: OutboxItem
    message: Message
    target: Target
    seen_at: datetime
    entry: LedgerEntry
    ticket: Ticket
    deadline: float
    trail: Trail = msgspec.field(default_factory=Trail)


class Way(msgspec.Struct, frozen=True):
    """How one remote address may be reached.

    Attributes:
        demand: What a session there has to show.
        routes: One per local address of its family, preferred one first; empty if it may not be.
        refusal: Why it may not be reached; ``None`` if it may.
    """

    demand: TlsDemand
    routes: list[Route]
    refusal: DeliveryError | None = None


_SoleKey = tuple[str, int, str | None, tuple[str | None, ...]]
"""Destination, port, the message's own level of security, and the local addresses it may leave from."""


class Pipeline:
    """Takes messages to their published outcome.

    Attributes:
        added_octets: How much more the messages under way take than `COPIES` of what the broker handed out: templates,
            blocks and downloads make much out of little, line ends and signatures make one more.
    """

    def __init__(
        self,
        composer: Composer,
        bodies: Bodies | None,
        router: Router,
        terms: SessionTerms,
        pool: SessionPool,
        publisher: Publisher,
        admission: Admission,
        rules: PipelineRules,
        retry_rules: RetryRules,
        clock: Clock,
        observer: Observer,
        jitter: Callable[[], float],
        shuffle: Callable[[list[str | None]], None],
        journal: OutcomeJournal | None = None,
    ) -> None:
        self.added_octets = 0
        self._composer = composer
        self._bodies = bodies
        self._router = router
        self._terms = terms
        self._pool = pool
        self._publisher = publisher
        self._admission = admission
        self._rules = rules
        self._retry_rules = retry_rules
        self._clock = clock
        self._observer = observer
        self._jitter = jitter
        self._shuffle = shuffle
        self._journal = journal
        self._sole_ways: dict[_SoleKey, tuple[float, Way]] = {}

    async def handle(self, job: Job) -> None:
        """Take one message to its published outcome; the item is settled last.

        Cancelled by whoever sends the ticket away: then nothing has been decided, and the scheduler does the rest.
        """
        error: DeliveryError | None = None
        content: Content | StoredContent | None = None
        try:
            content = self._composer.prepare_plain(job.message) or await self._content_of(job)  # responsive
            try:
                attempt = await self._deliver(job, content)  # dns … message
            except UnfinishedError as unfinished:  # back to the start: no peer has to wait for downloads
                self._admission.wait_again(job.ticket)
                attempt = await self._deliver(job, await self._complete(job, unfinished.draft))
        except NotNowError as wait:
            # Or it could be sent away while this waits, and a second copy be published.
            self._admission.started(job.ticket)
            await self._give_back(job, wait.seconds, wait.reason)
            return
        except DeliveryError as failure:
            # The trace leads back to this frame, which holds the error: a circle that keeps the message in memory until
            # the collector comes by, and a tenth of what a failure costs is its work.
            error = failure.with_traceback(None)
            attempt = self._failed_attempt(job.message, failure)
        finally:
            self._admission.started(job.ticket)
        content = None  # a large one is not needed beside its results
        if not self._publisher.may_report(job.message):
            job.trail.octets = None
        decision = decide_outcome(job.message, error, attempt.at, job.seen_at, self._retry_rules, self._jitter())
        attempt, outcome = await self._publisher.publish(
            job.item, job.entry, job.message, attempt, decision.outcome, job.seen_at, decision.next_at, error, job.trail
        )
        latency = self._clock.monotonic() - job.item.consumed_at
        self._observer.attempt_finished(job.message, attempt, outcome, error, latency)

    async def _content_of(self, job: Job) -> Content | StoredContent:
        """What lies in the JSON is composed at once; what lies in the store stays a promise until it is needed."""
        if has_content(job.message) or self._bodies is None:
            prepared = await self._composer.prepare(job.message, job.seen_at)
            return await self._complete(job, prepared) if isinstance(prepared, Draft) else prepared
        await self._composer.check(job.message)
        return StoredContent(job.message, job.seen_at, self._bodies, self._composer)

    async def _complete(self, job: Job, draft: Draft) -> Content:
        """Compose what needs downloads; no connection is held meanwhile, and no message waits beyond its deadline."""
        left = min(job.deadline - self._clock.monotonic(), MAX_WAIT)
        try:
            async with asyncio.timeout(left):
                return await self._composer.complete(draft)
        except TimeoutError:
            raise expired("deadline passed while downloading") from None

    def reconfigure(self, rules: PipelineRules, retry_rules: RetryRules) -> None:
        """Other rules from the next decision on."""
        self._rules = rules
        self._retry_rules = retry_rules
        self._sole_ways.clear()

    async def guard(self, job: Job) -> None:
        """:meth:`handle`, for the top of a task: an unexpected error sends the message back, it never drops it."""
        try:
            await self.handle(job)
        except Exception as error:  # spec delivery.md 1: no poison
            self._observer.crash("pipeline", error)
            if job.entry.is_settled:
                return  # a copy would be a second mail
            if job.trail.reply is not None:
                job.entry.doubt()
            await self._give_back(job, CRASHED_SECONDS, "internal error")

    async def _give_back(self, job: Job, seconds: float, reason: str) -> None:
        await self._publisher.give_back(job.item, job.entry, job.message, job.seen_at, seconds, reason)

    # --- dns, bind, connect … message -------------------------------------------------------------------------------

    def _deliver(self, job: Job, content: Content | StoredContent) -> Coroutine[Any, Any, Attempt]:
        """Send; meanwhile what composing added to the message counts as held."""
        if isinstance(content, StoredContent):
            return self._go(job, content)
        job.trail.octets = content.octets
        added = _added_octets(job, content)
        return self._deliver_grown(job, content, added) if added > 0 else self._go(job, content)

    async def _deliver_grown(self, job: Job, content: Content, added: int) -> Attempt:
        self.added_octets += added
        try:
            return await self._go(job, content)
        finally:
            self.added_octets -= added

    def _go(self, job: Job, content: Content | StoredContent) -> Coroutine[Any, Any, Attempt]:
        """Take the only way there is, if it is known, or look for one."""
        allowed = allowed_egress_ips(job.message, self._rules.default_ips)
        if not allowed:
            raise self._nothing_to_bind(job.message)
        sole = self._known_sole_way(job, allowed)
        return self._walk(job, content, allowed) if sole is None else self._try_sole_way(job, content, sole)

    async def _walk(self, job: Job, content: Content | StoredContent, allowed: tuple[str | None, ...]) -> Attempt:
        """Walk the candidates until one takes the message or says something about it (spec delivery.md 8.1, 8.3)."""
        has_ipv4, has_ipv6 = families_of(allowed)
        # Whether to look for IPv6: yes, only where there is no A record, or (``None``) never.
        ipv6 = has_ipv6 if self._rules.ipv6 is None else self._rules.ipv6 or None
        walk = self._router.walk(job.target, ipv4=has_ipv4, ipv6=ipv6)
        failures: list[DeliveryError] = []
        tried = 0
        while candidates := (walk.try_next() or await walk.next()):
            if walk.temporary is not None and walk.temporary not in failures:
                failures.append(walk.temporary)
            terms = self._terms.try_decide(job.message, job.target, candidates)
            is_at_hand = terms is not None
            if terms is None:
                terms = await self._terms.decide(job.message, job.target, candidates)
            ways = self._order_ways(job, candidates, terms, allowed)
            if is_at_hand and len(ways) == 1 and (until := walk.sole_until) is not None:
                self._remember_sole_way(job, allowed, ways[0], until)
            for way in ways:
                try:
                    return await self._try_way(job, content, way)
                except HostDownError as down:
                    if not self._may_go_on(down.failure):
                        raise down.failure from None
                    failures.append(down.failure)  # skipped: not one of the addresses tried
                except DeliveryError as error:
                    if not self._may_go_on(error):
                        raise
                    is_unbound = error.state is DeliveryState.BIND and isinstance(error, Refused)
                    failure = self._nothing_to_bind(job.message, error.reason) if is_unbound else error
                    failures.append(failure.with_traceback(None))
                    tried += error.state is not DeliveryState.BIND
                if tried >= self._rules.max_hosts:
                    raise choose_failure(failures, self._retry_rules)
        if walk.temporary is not None and walk.temporary not in failures:
            failures.append(walk.temporary)
        if not failures:
            raise self._nothing_to_bind(job.message)
        raise choose_failure(failures, self._retry_rules)

    def _known_sole_way(self, job: Job, allowed: tuple[str | None, ...]) -> Way | None:
        """How a message gets there if there is but one way, and somebody found it a moment ago."""
        target = job.target
        known = self._sole_ways.get((target.destination, target.port, job.message.security, allowed))
        if known is None or not _is_shared(target) or known[0] <= self._clock.monotonic():
            return None
        return known[1]

    def _remember_sole_way(self, job: Job, allowed: tuple[str | None, ...], way: Way, until: float) -> None:
        """For messages that would find the same."""
        target = job.target
        if not _is_shared(target) or len(way.routes) != 1 or not self._terms.are_general(target):
            return
        if len(self._sole_ways) >= MAX_SOLE_WAYS:
            self._sole_ways.clear()
        self._sole_ways[target.destination, target.port, job.message.security, allowed] = (until, way)

    async def _try_sole_way(self, job: Job, content: Content | StoredContent, way: Way) -> Attempt:
        """What a walk over one candidate comes to."""
        try:
            return await self._try_way(job, content, way)
        except HostDownError as down:
            raise down.failure from None
        except Refused as error:
            if error.state is not DeliveryState.BIND:
                raise
            raise self._nothing_to_bind(job.message, error.reason) from None

    def _may_go_on(self, error: DeliveryError) -> bool:
        """Class N of spec results.md 5: the next host may do better."""
        if error.scope is Scope.HOST or error.state is DeliveryState.BIND:
            return True
        return self._rules.failover_on_4xx and error.reply is not None and error.reply.severity == 4

    def _order_ways(
        self, job: Job, candidates: tuple[Candidate, ...], terms: list[Terms], allowed: tuple[str | None, ...]
    ) -> list[Way]:
        """One per candidate that can be reached, the least loaded first."""
        login = self._terms.credentials(job.target)
        ways: list[Way] = []
        for candidate, demand in zip(candidates, terms, strict=True):
            if isinstance(demand, DeliveryError):
                ways.append(Way(NO_DEMAND, [], demand))
                continue
            address, port, policy = candidate.address, candidate.port, demand.policy
            if len(allowed) == 1:
                ip = allowed[0]
                if ip is None or (":" in ip) == candidate.is_ipv6:
                    ways.append(Way(demand, [Route(ip, address, port, policy, login)]))
                continue
            routes = {ip: Route(ip, address, port, policy, login) for ip in allowed}
            ips = order_egress_ips(
                allowed,
                job.message.last_egress_ip,
                ipv6=candidate.is_ipv6,
                has_idle=lambda ip, routes=routes: self._pool.has_idle(routes[ip]),  # type: ignore[misc]
                shuffle=self._shuffle,
            )
            if ips:
                ways.append(Way(demand, [routes[ip] for ip in ips]))
        if len(ways) > 1:
            # They are of one preference, in random order; a stable sort keeps that among equally loaded ones.
            ways.sort(key=lambda way: self._pool.load(way.routes[0]) if way.routes else 0)
        return ways

    def _try_way(self, job: Job, content: Content | StoredContent, way: Way) -> Coroutine[Any, Any, Attempt]:
        """One remote address: the local addresses in turn until one can be bound."""
        if way.refusal is not None:
            raise way.refusal
        if len(way.routes) == 1:
            return self._try_lane(job, content, self._pool.lane(way.routes[0]), way.demand)
        return self._try_routes(job, content, way)

    async def _try_routes(self, job: Job, content: Content | StoredContent, way: Way) -> Attempt:
        unbound: DeliveryError | None = None
        for route in way.routes:
            try:
                return await self._try_lane(job, content, self._pool.lane(route), way.demand)
            except Refused as error:
                if error.state is not DeliveryState.BIND:
                    raise
                unbound = error
        assert unbound is not None
        raise unbound

    async def _try_lane(self, job: Job, content: Content | StoredContent, lane: Lane, demand: TlsDemand) -> Attempt:
        """Get a session and send; a reused one that turns out dead is replaced once (spec delivery.md 8.2)."""
        deadline = job.item.consumed_at + self._rules.ack_limit
        session = await lane.acquire(job.ticket, deadline, demand=demand)
        try:
            return await self._transact(job, content, lane, session)
        except DeliveryError as error:
            if not _was_dead(error, session):
                raise
        self._admission.wait_again(job.ticket)
        session = await lane.acquire(job.ticket, deadline, fresh=True, demand=demand)
        return await self._transact(job, content, lane, session)

    async def _transact(self, job: Job, content: Content | StoredContent, lane: Lane, session: Session) -> Attempt:
        """One transaction on a session that is ours until it is released."""
        error: DeliveryError | None = None
        begun_at = 0.0
        try:
            checked_at = self._check_again(job, content)
            self._admission.started(job.ticket)
            session.messages += 1
            begun_at = checked_at
            ready = content.loaded if isinstance(content, StoredContent) else content
            if ready is not None and not self._composer.is_final(ready, session.client.capabilities):
                ready = await self._finish(ready, session)
            reply = await self._converse(job, content, ready, session)
        except DeliveryError as failure:
            if _was_dead(failure, session):
                session.abort()  # says nothing about the host
            else:
                error = failure
            raise
        except BaseException:
            if begun_at:
                session.abort()
            raise
        finally:
            if begun_at:
                now = self._clock.monotonic()
                self._observer.transaction_finished(begun_at - job.item.consumed_at, now - begun_at)
            lane.release(session, error)
        trail = job.trail
        trail.reply, trail.remote_mta = reply, session.client.remote_mta
        trail.announces_dsn = session.client.capabilities.dsn
        return self._accepted_attempt(job.message, session, reply)

    def _converse(
        self, job: Job, content: Content | StoredContent, ready: Content | None, session: Session
    ) -> Coroutine[Any, Any, Reply]:
        """The transaction; ``ready`` is what this peer gets, ``None`` while it is not loaded."""
        deadline = job.item.consumed_at + self._rules.ack_limit
        note = None if self._journal is None else partial(self._note_sending, self._journal, job.entry)
        transaction = _transaction(job.message, ready, self._rules.dsn)
        if ready is not None:
            job.trail.octets, job.trail.lead = ready.octets, ready.lead
            return session.transact(transaction, deadline, before_content=note)
        assert isinstance(content, StoredContent)
        return session.transact(transaction, deadline, partial(self._load, job, content, session), note)

    @staticmethod
    def _note_sending(journal: OutcomeJournal, entry: LedgerEntry) -> Awaitable[object] | None:
        """From now on a crash leaves it open whether the mail was accepted."""
        noted = journal.note_sending(entry)
        if journal.stops_delivery:
            raise NotNowError(PARKED_SECONDS, JOURNAL_IS_DOWN)
        return noted

    async def _load(self, job: Job, content: StoredContent, session: Session) -> bytes:
        """Octets for a peer that accepted the recipient; it may be gone by the time they are there."""
        final = await self._composer.finish(await content.load(), session.client.capabilities)
        job.trail.octets = octets = final.whole
        return octets

    async def _finish(self, content: Content, session: Session) -> Content:
        """What depends on the peer; nothing was sent for this message yet, so a failure leaves the session usable."""
        try:
            return await self._composer.finish(content, session.client.capabilities)
        except DeliveryError as error:
            raise session.blame(error) from None

    def _check_again(self, job: Job, content: Content | StoredContent) -> float:
        """What may have changed while waiting, right before the connection is used (spec messages.md 4.9).

        Returns:
            The monotonic instant of now.
        """
        if isinstance(content, StoredContent) and content.is_out_of_reach:
            raise NotNowError(STORE_PAUSE_SECONDS, STORE_IS_DOWN)
        if self._journal is not None and self._journal.stops_delivery:
            raise NotNowError(PARKED_SECONDS, JOURNAL_IS_DOWN)
        begun_at = self._clock.monotonic()
        if begun_at + self._rules.message_timeout > job.item.consumed_at + self._rules.ack_limit:
            raise NotNowError(PARKED_SECONDS, "no time left to send content")
        if begun_at >= job.deadline:
            raise expired("deadline passed while waiting for a connection")
        return begun_at

    # --- attempts ---------------------------------------------------------------------------------------------------

    def _accepted_attempt(self, message: Message, session: Session, reply: Reply) -> Attempt:
        extra: tuple[tuple[str, object], ...] = ()
        if self._rules.extended:
            extra = (*session.details(is_accepted=True), ("attempt", message.attempts + 1))
        return Attempt(
            state=_MESSAGE,
            result=_ACCEPTED,
            at=self._clock.now(),
            egress_ip=session.egress_ip,
            remote_ip=session.remote_ip,
            ordinal=session.messages,
            code=reply.code,
            status=reply.status,
            description=reply.description,
            extra=extra,
        )

    def _failed_attempt(self, message: Message, error: DeliveryError) -> Attempt:
        rules = self._rules
        number = message.attempts + 1 if rules.extended else None
        return failed_attempt(
            error, self._clock.now(), local_codes=rules.local_codes, connect_ips=rules.connect_ips, number=number
        )

    def _nothing_to_bind(self, message: Message, reason: str = "no local address is usable") -> DeliveryError:
        # The message's own addresses fail again in the same way; the configuration's can be repaired.
        return Refused(DeliveryState.BIND, Scope.SESSION, reason, is_final=message.ips is not None)


def _added_octets(job: Job, content: Content) -> int:
    """Octets of a message beyond `COPIES` of its body; of a small one, beyond its body, which is quicker to tell."""
    size, octets = len(job.item.body), content.octets
    if size <= SLICE_OCTETS:
        return len(octets) - size
    mime = job.message.mime
    held = size + len(octets)
    if mime is not None and mime is not octets:
        held += len(mime)
    return held - int(COPIES * size)


def _is_shared(target: Target) -> bool:
    """Whether all messages with this destination go there alike: the password of a login is no part of its key."""
    return target.smarthost is None or target.is_configured_smarthost


def _was_dead(error: DeliveryError, session: Session) -> bool:
    """A reused connection that gave no sign of life for this message: its own failure says nothing about the mail."""
    if session.messages < 2 or session.has_answered or error.state not in _MOVABLE_STATES:
        return False
    if error.reply is None:
        # Silence until the time of the attempt is up is of the scope SESSION: there is no time for another try.
        return error.result in _SILENCE and error.scope is Scope.HOST
    return error.reply.code in _GONE_CODES


def _transaction(message: Message, content: Content | None, configured: DsnOptions | None) -> Transaction:
    return Transaction(
        sender=message.sender,
        recipient=message.recipient,
        content=None if content is None else content.octets,
        lead=b"" if content is None else content.lead,
        has_8bit=content is not None and content.has_8bit,
        has_utf8_headers=content is not None and content.has_utf8_headers,
        dsn=relayed_wishes(message.dsn, configured),
        with_orcpt=message.dsn is not None,
    )
