"""From a decided outcome to confirmed publications (spec results.md 3 and 7, amqp.md 7 to 9)."""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import datetime, timedelta

import msgspec

from relayq.delivery.bodies import Bodies
from relayq.delivery.body_moves import BodyMoves
from relayq.delivery.decision import Decision, encode_decision
from relayq.delivery.fitting import fit
from relayq.delivery.ledger import LedgerEntry, OutcomeLedger
from relayq.delivery.reporter import Finding, Reporter, Trail, with_delay_sent
from relayq.delivery.result_queues import ResultQueueNames
from relayq.model import Attempt, DeliveryError, Message, Outcome, ResultQueues
from relayq.model.message_json import append_attempt, change_object, decode_members, encode_invalid_body, encode_members
from relayq.model.secrets import strip_secrets
from relayq.model.timestamp import format_timestamp
from relayq.policy import storage
from relayq.policy.storage import StorageRules
from relayq.ports import (
    Broker,
    Clock,
    Observer,
    OutboxItem,
    OutcomeJournal,
    Parking,
    Properties,
    Publication,
    PublicationTooLargeError,
    QueueRole,
    RecollectionKind,
)

LOGGED_BYTES = 65_536
"""Of a result that can only be written to the log."""

_MIME_ONLY = ("mime",)
# Looked up once: a member of an enum costs more than comparing it.
_RETRY, _SUCCESS = Outcome.RETRY, Outcome.SUCCESS
_RESULT = QueueRole.RESULT
_DOUBT = "possible-duplicate"


class PublisherRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        outbox: Queue retries go back to.
        queues: Configured result queues.
        invalid_queue: Verbatim copies of what could not be parsed; empty for none.
        delay_property: Member that tells when a retry is due: ``delayed`` or ``nextattempt``.
        storage: Which bodies are stored and deleted.
        has_secrets: Results contain private keys and passwords, as the message does.
    """

    outbox: str
    queues: ResultQueues
    invalid_queue: str = ""
    delay_property: str = "delayed"
    storage: StorageRules = StorageRules()
    has_secrets: bool = True


class Publisher:
    """Publishes outcomes; each method returns once the broker confirmed everything and the item is settled."""

    def __init__(
        self,
        broker: Broker,
        ledger: OutcomeLedger,
        rules: PublisherRules,
        clock: Clock,
        observer: Observer,
        bodies: Bodies | None = None,
        reporter: Reporter | None = None,
        journal: OutcomeJournal | None = None,
    ) -> None:
        self._broker = broker
        self._reporter = reporter
        self._body_moves = BodyMoves(bodies, rules.storage, clock)
        self._journal = journal
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._names = ResultQueueNames(rules.outbox, observer)
        self._rules = rules

    def reconfigure(self, rules: PublisherRules) -> None:
        """Other rules from the next outcome on."""
        self._rules = rules
        self._body_moves.rules = rules.storage
        self._names.reconfigure(rules.outbox)

    async def publish(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, attempt: Attempt, outcome: Outcome,
        seen_at: datetime, next_at: datetime | None, error: DeliveryError | None = None, trail: Trail | None = None,
        *, is_last: bool = False,
    ) -> tuple[Attempt, Outcome]:  # fmt: skip
        """Publish what follows from an attempt; returns attempt and outcome as published.

        The outcome is a failure instead of a retry when the message is too large for the broker to wait there.

        Args:
            item: The consumed message.
            entry: Its place in the ledger.
            message: As it was before the attempt.
            attempt: What happened.
            outcome: What it means.
            seen_at: First due pick-up.
            next_at: Instant of the next attempt, for a retry.
            error: What ended the attempt, ``None`` when the content was accepted.
            trail: What a report could tell beyond that.
            is_last: A report that is too large for the broker is left to the log, like a result.
        """
        if entry.is_doubtful or message.is_doubtful:
            attempt = msgspec.structs.replace(attempt, possible_duplicate=True)
        if self._journal is not None:
            self._note_decided(self._journal, entry, attempt, outcome, seen_at, next_at, error, trail)
        report = None
        if self.may_report(message):
            report = await self._report(item, entry, message, attempt, outcome, seen_at, error, trail)
        if report is not None and is_last:
            report = msgspec.structs.replace(report, role=QueueRole.RESULT)
        changes: dict[str, bytes] = {"results": append_attempt(message.members, attempt, message.attempts)}
        queues = self._rules.queues if message.queues is None else message.queues
        properties = _with_priority(item.properties, message.priority)
        publications: list[Publication] = [] if report is None else [report]
        if outcome is _RETRY:
            assert next_at is not None
            changes.update(self._retry_changes(message, seen_at, next_at, is_reported=report is not None))
            key = await self._body_moves.move_for_outbox(message, seen_at)
            copy = await self._fit_copy(self._outbox_copy(entry, message, changes, properties, next_at, key))
            if copy is None:
                return await self._publish_without(item, entry, message, attempt, outcome, seen_at, error, trail)
            publications.append(copy)
            names: tuple[str | None, ...] = (queues.retry,)
        else:
            key = None
            names = (queues.results, queues.success if outcome is _SUCCESS else queues.failure)
        copies = self._plain_copies(message, changes, properties, names)
        if copies is None:
            copies = await self._result_copies(message, changes, properties, names, seen_at, key)
        publications += copies
        try:
            await self._broker.settle(item, publications)
        except PublicationTooLargeError:  # the broker takes less than it seemed to
            return await self._publish_without(item, entry, message, attempt, outcome, seen_at, error, trail)
        is_acknowledged = self._ledger.settle(entry)
        if message.key is not None:
            await self._body_moves.tidy(message, outcome, seen_at, is_acknowledged=is_acknowledged)
        return attempt, outcome

    async def _publish_without(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, attempt: Attempt, outcome: Outcome,
        seen_at: datetime, error: DeliveryError | None, trail: Trail | None,
    ) -> tuple[Attempt, Outcome]:  # fmt: skip
        """Publish an outcome without the copy for the outbox that the broker does not take (spec amqp.md 12)."""
        self._observer.warn("publisher", "given up: too large for the broker even when compressed")
        outcome = Outcome.FAILURE if outcome is Outcome.RETRY else outcome
        return await self.publish(item, entry, message, attempt, outcome, seen_at, None, error, trail, is_last=True)

    @staticmethod
    def _note_decided(
        journal: OutcomeJournal, entry: LedgerEntry, attempt: Attempt, outcome: Outcome, seen_at: datetime,
        next_at: datetime | None, error: DeliveryError | None, trail: Trail | None,
    ) -> None:  # fmt: skip
        """From now on a crash leads to the same results, and to no second mail."""
        trail = trail or Trail()
        cause = None if error is None else error.cause
        decision = Decision(outcome, attempt, seen_at, next_at, cause, trail.remote_mta, trail.announces_dsn)
        journal.note_decided(entry, encode_decision(decision))

    def _retry_changes(
        self, message: Message, seen_at: datetime, next_at: datetime, *, is_reported: bool
    ) -> dict[str, bytes]:
        """Members of a message that goes back to be tried again, besides its results."""
        name, value = self._due(message, next_at)
        changes = {name: value}
        if message.seen_at is None:
            changes["seen"] = _timestamp(seen_at)
        if is_reported:
            changes["dsn"] = with_delay_sent(message.members)
        return changes

    def _due(self, message: Message, at: datetime) -> tuple[str, bytes]:
        """Name and raw value of the member that tells the next attempt (spec messages.md 8)."""
        name, value = self._rules.delay_property, _timestamp(at)
        if name == "nextattempt":
            value = change_object(message.members.get(name), {"time": value})
        return name, value

    async def publish_unusable(
        self, item: OutboxItem, entry: LedgerEntry, members: Mapping[str, msgspec.Raw], attempt: Attempt,
        queues: ResultQueues | None, *, keep_mime: bool, error: DeliveryError | None = None,
        salvaged: Message | None = None,
    ) -> None:  # fmt: skip
        """Publish the failure of a JSON object that is no usable message.

        Args:
            item: The consumed message.
            entry: Its place in the ledger.
            members: Of the object.
            attempt: What is wrong with it.
            queues: Its own queues, ``None`` for the configured ones.
            keep_mime: Leave the content in the result.
            error: What is wrong with it.
            salvaged: What of it can be reported about, ``None`` for nothing.
        """
        report = None
        if salvaged is not None:
            report = await self._report(item, entry, salvaged, attempt, Outcome.FAILURE, attempt.at, error, None)
        left_out = () if keep_mime else _MIME_ONLY
        changes = self._without_secrets({"results": append_attempt(members, attempt)}, members, left_out)
        body = self._without_mime(encode_members(members, changes, left_out), members, changes)
        chosen = self._rules.queues if queues is None else queues
        await self._publish_failure(item, entry, body, chosen, [] if report is None else [report])

    async def publish_invalid(self, item: OutboxItem, entry: LedgerEntry, attempt: Attempt, body: bytes | None) -> None:
        """Publish the failure of a body that is no JSON object (spec results.md 8).

        Args:
            item: The consumed message.
            entry: Its place in the ledger.
            attempt: The ``amqp/invalid`` one.
            body: The octets behind the encoding, ``None`` when that could not be undone: then as they came.
        """
        shown = item.body if body is None else body
        result = encode_invalid_body(shown, attempt, is_encoded=body is None)
        await self._publish_failure(item, entry, result, self._rules.queues, [])

    async def _publish_failure(
        self, item: OutboxItem, entry: LedgerEntry, body: bytes, queues: ResultQueues, reports: list[Publication]
    ) -> None:
        fresh = item.properties
        names = self._names.usable((queues.results, queues.failure))
        publications = reports + await self._copies(names, body, fresh)
        if self._rules.invalid_queue:
            publications.append(
                Publication(
                    queue=self._rules.invalid_queue,
                    body=item.body,
                    properties=fresh,
                    role=QueueRole.RESULT,
                    is_verbatim=True,
                )
            )
        await self._settle(item, entry, publications)

    async def give_back(
        self,
        item: OutboxItem,
        entry: LedgerEntry,
        message: Message,
        seen_at: datetime | None,
        seconds: float,
        reason: str,
    ) -> None:
        """Send a message that may not start back towards the outbox, without a result; ``delayed`` is not touched."""
        changes: dict[str, bytes] = {}
        if seen_at is not None and message.seen_at is None:
            changes["seen"] = _timestamp(seen_at)
        key = await self._body_moves.move_for_outbox(message, seen_at)
        due_at = self._clock.now() + timedelta(seconds=seconds)
        await self._give_back(item, entry, message, changes, due_at, reason, key)

    async def park(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, seen_at: datetime, parking: Parking, reason: str
    ) -> None:
        """Send a message that is due, but may not go now, to a parking place; only ``seen`` is added."""
        changes = {} if message.seen_at is not None else {"seen": _timestamp(seen_at)}
        key = await self._body_moves.move_for_outbox(message, seen_at)
        await self._give_back(item, entry, message, changes, None, reason, key, parking)

    async def give_back_verbatim(self, item: OutboxItem, entry: LedgerEntry, seconds: float, reason: str) -> None:
        """Send a message we choke on back towards the outbox as it came."""
        copy = Publication(
            queue=self._rules.outbox,
            body=item.body,
            properties=item.properties,
            role=QueueRole.OUTBOX,
            due_at=self._clock.now() + timedelta(seconds=seconds),
            is_verbatim=True,
            copy_id=self._copy_id(entry, is_decided=False),
        )
        await self._settle(item, entry, [copy])
        self._observer.message_waits(reason)

    async def acknowledge(self, item: OutboxItem, entry: LedgerEntry) -> None:
        """Everything that follows from a message was published by an earlier process."""
        await self._settle(item, entry, [])

    async def hold(self, item: OutboxItem, entry: LedgerEntry, message: Message, queue: str) -> None:
        """Put a message aside that may have been accepted before; a human decides about it."""
        changes = {_DOUBT: b"true"}
        copy = Publication(
            queue=queue,
            body=encode_members(message.members, changes),
            properties=item.properties,
            role=QueueRole.OUTBOX,
            copy_id=self._copy_id(entry, is_decided=False),
        )
        await self._settle(item, entry, [copy])
        self._observer.warn("publisher", f"a message that may have been delivered is held in queue {queue!r}")

    async def delay(self, item: OutboxItem, entry: LedgerEntry, message: Message) -> None:
        """Send a message that is not due yet back until its ``delayed`` time."""
        key = await self._body_moves.move_for_outbox(message, message.seen_at)
        await self._give_back(item, entry, message, {}, message.delayed_at, "not due yet", key)

    async def _give_back(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, changes: dict[str, bytes],
        due_at: datetime | None, reason: str, key: str | None, parking: Parking | None = None,
    ) -> None:  # fmt: skip
        properties = _with_priority(item.properties, message.priority)
        whole = self._outbox_copy(entry, message, changes, properties, due_at, key, parking, is_decided=False)
        copy = await self._fit_copy(whole)
        as_it_came = msgspec.structs.replace(whole, body=item.body, properties=item.properties, is_verbatim=True)
        try:
            await self._settle(item, entry, [as_it_came if copy is None else copy])
        except PublicationTooLargeError:  # the broker takes less than it seemed to, but it took that once
            await self._settle(item, entry, [as_it_came])
        self._observer.message_waits(reason)

    def _outbox_copy(
        self,
        entry: LedgerEntry,
        message: Message,
        changes: Mapping[str, bytes],
        properties: Properties,
        due_at: datetime | None,
        key: str | None,
        parking: Parking | None = None,
        *,
        is_decided: bool = True,
    ) -> Publication:
        """``key`` is where the content was moved to, ``None`` when it stays."""
        drop: tuple[str, ...] = ()
        if entry.is_doubtful:
            changes = {**changes, _DOUBT: b"true"}
        if key is not None:
            changes, drop = {**changes, "key": _quoted(key)}, _MIME_ONLY
        return Publication(
            queue=self._rules.outbox,
            body=encode_members(message.members, changes, drop),
            properties=properties,
            role=QueueRole.OUTBOX,
            due_at=due_at,
            parking=parking,
            copy_id=self._copy_id(entry, is_decided=is_decided),
        )

    def _copy_id(self, entry: LedgerEntry, *, is_decided: bool) -> bytes:
        """Identity of the copy that is about to take the place of a message, noted before it is published."""
        if self._journal is None:
            return b""
        if not is_decided:
            self._journal.note_moved(entry)
        return self._journal.copy_id(entry)

    def _plain_copies(
        self, message: Message, changes: Mapping[str, bytes], properties: Properties, names: tuple[str | None, ...]
    ) -> list[Publication] | None:
        """The results as nearly all are; ``None`` when a body has to be stored for them, or they are too large."""
        if storage.stores_for_results(message, self._rules.storage.policy):
            return None
        queues = self._names.usable(names)
        if not queues:
            return []
        left_out = storage.members_left_out(message, is_stored=False)
        body = encode_members(message.members, self._without_secrets(changes, message.members, left_out), left_out)
        if len(body) > self._broker.max_publish_bytes:
            return None
        return [Publication(queue=queue, body=body, properties=properties, role=_RESULT) for queue in queues]

    async def _result_copies(
        self,
        message: Message,
        changes: Mapping[str, bytes],
        properties: Properties,
        names: tuple[str | None, ...],
        seen_at: datetime,
        key: str | None,
    ) -> list[Publication]:
        """``key`` is where the content was moved to already, ``None`` when it was not."""
        queues = self._names.usable(names)
        if not queues:
            return []
        if storage.stores_for_results(message, self._rules.storage.policy):
            if key is None:
                key = await self._body_moves.move_for_results(message, seen_at)
            if key is not None:
                changes = {**changes, "key": _quoted(key)}
        else:
            key = None
        left_out = storage.members_left_out(message, is_stored=key is not None)
        changes = self._without_secrets(changes, message.members, left_out)
        body = encode_members(message.members, changes, left_out)
        return await self._copies(queues, self._without_mime(body, message.members, changes), properties)

    async def _copies(self, queues: list[str], body: bytes, properties: Properties) -> list[Publication]:
        """The same result for each queue; one that no broker takes is left to the log (spec amqp.md 8)."""
        if not queues:
            return []
        copies = [Publication(queue=queue, body=body, properties=properties, role=_RESULT) for queue in queues]
        if len(body) <= self._broker.max_publish_bytes:
            return copies
        first = await self._fit_copy(copies[0])
        if first is None:
            shown = body[:LOGGED_BYTES].decode("utf-8", "replace")
            self._observer.alarm("publisher", f"result for {queues} is too large even when compressed: {shown}")
            return []
        return [first, *(msgspec.structs.replace(first, queue=queue) for queue in queues[1:])]

    async def _fit_copy(self, publication: Publication) -> Publication | None:
        limit = self._broker.max_publish_bytes
        return publication if len(publication.body) <= limit else await fit(publication, limit)

    def _without_secrets(
        self, changes: Mapping[str, bytes], members: Mapping[str, msgspec.Raw], left_out: Container[str]
    ) -> Mapping[str, bytes]:
        """Changes for a result, with those of ``result-secrets`` (spec messages.md 4.12)."""
        if self._rules.has_secrets:
            return changes
        return {**strip_secrets({name: raw for name, raw in members.items() if name not in left_out}), **changes}

    def _without_mime(self, body: bytes, members: Mapping[str, msgspec.Raw], changes: Mapping[str, bytes]) -> bytes:
        """A result too large for the broker loses its content, even with ``keepmime`` (spec amqp.md 12)."""
        if len(body) <= self._broker.max_publish_bytes or "mime" not in members:
            return body
        self._observer.warn("publisher", "a result is larger than the broker takes: its mime was left out")
        return encode_members(members, changes, _MIME_ONLY)

    async def _settle(self, item: OutboxItem, entry: LedgerEntry, publications: list[Publication]) -> bool:
        """Publish and acknowledge; false when the broker had taken the message back by then."""
        await self._broker.settle(item, publications)
        return self._ledger.settle(entry)

    # --- reports ----------------------------------------------------------------------------------------------------

    def may_report(self, message: Message) -> bool:
        """Whether there is somebody to report to, and a queue for it."""
        return self._reporter is not None and self._reporter.has_queue(message)

    async def _report(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, attempt: Attempt, outcome: Outcome,
        seen_at: datetime, error: DeliveryError | None, trail: Trail | None,
    ) -> Publication | None:  # fmt: skip
        """The report to the sender, ``None`` when none is due."""
        if self._reporter is None or message.sender is None:
            return None
        finding = Finding(
            message=message, attempt=attempt, outcome=outcome, error=error, seen_at=seen_at, trail=trail or Trail()
        )
        action = self._reporter.decide(finding)
        if action is None or self._is_reported(entry):
            return None
        try:
            report = await self._reporter.write(item, finding, action, self._broker.max_publish_bytes)
            if self._names.is_reserved(report.queue):
                self._names.warn_of(report.queue)
                return None
            key = await self._body_moves.move_for_outbox(report.as_message(), None)
            body = report.encode(key)
        except Exception as failure:  # an accepted message must not be sent again because nobody can be told of it
            self._observer.crash("reporter", failure)
            return None
        if report.queue != self._rules.outbox:
            return Publication(queue=report.queue, body=body, properties=Properties(), role=QueueRole.RESULT)
        copy_id = b"" if self._journal is None else self._journal.copy_id(entry, is_report=True)
        return Publication(
            queue=report.queue, body=body, properties=Properties(), role=QueueRole.OUTBOX, copy_id=copy_id
        )

    def _is_reported(self, entry: LedgerEntry) -> bool:
        """Whether the report an earlier process wrote is under way; one that may exist is cancelled instead."""
        recalled = entry.recalled
        if recalled is None or recalled.kind is not RecollectionKind.DECIDED:
            return False
        return not self._ledger.supersede(entry, recalled.report_id)


def mark_doubtful(body: bytes) -> bytes:
    """A message for the outbox that says of itself that it may be sent twice."""
    return encode_members(decode_members(body), {_DOUBT: b"true"})


def _quoted(key: str) -> bytes:
    return b'"' + key.encode("ascii") + b'"'


def _timestamp(at: datetime) -> bytes:
    return b'"' + format_timestamp(at).encode("ascii") + b'"'


def _with_priority(properties: Properties, priority: int | None) -> Properties:
    if priority is None or priority == properties.priority:
        return properties
    return msgspec.structs.replace(properties, priority=priority)
