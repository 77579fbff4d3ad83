"""From a decided outcome to confirmed publications (spec results.md 3 and 7, amqp.md 7 to 9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from relayq.delivery.ledger import LedgerEntry, OutcomeLedger
from relayq.model import Attempt, Message, Outcome, ResultQueues
from relayq.model.message_json import append_attempt, encode_invalid_body, encode_members
from relayq.model.timestamp import format_timestamp
from relayq.ports import Broker, Clock, Observer, OutboxItem, Properties, Publication, QueueRole

MAX_WARNED_NAMES = 1000

_MIME_ONLY = ("mime",)


class PublisherRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        outbox: Queue retries go back to.
        queues: Configured result queues.
        invalid_queue: Verbatim copies of what could not be parsed; empty for none.
    """

    outbox: str
    queues: ResultQueues
    invalid_queue: str = ""


class Publisher:
    """Publishes outcomes; each method returns once the broker confirmed everything and the item is settled."""

    def __init__(
        self, broker: Broker, ledger: OutcomeLedger, rules: PublisherRules, clock: Clock, observer: Observer
    ) -> None:
        self._broker = broker
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._observer = observer
        self._warned: set[str] = set()

    async def publish(
        self,
        item: OutboxItem,
        entry: LedgerEntry,
        message: Message,
        attempt: Attempt,
        outcome: Outcome,
        seen_at: datetime,
        next_at: datetime | None,
    ) -> None:
        """Publish what follows from an attempt.

        Args:
            item: The consumed message.
            entry: Its place in the ledger.
            message: As it was before the attempt.
            attempt: What happened.
            outcome: What it means.
            seen_at: First due pick-up.
            next_at: Instant of the next attempt, for a retry.
        """
        changes: dict[str, bytes] = {"results": append_attempt(message.members, attempt)}
        queues = self._rules.queues if message.queues is None else message.queues
        properties = _with_priority(item.properties, message.priority)
        publications: list[Publication] = []
        if outcome is Outcome.RETRY:
            assert next_at is not None
            changes["delayed"] = _timestamp(next_at)
            if message.seen_at is None:
                changes["seen"] = _timestamp(seen_at)
            publications.append(self._outbox_copy(message, changes, properties, next_at))
            names: tuple[str | None, ...] = (queues.retry,)
        else:
            names = (queues.results, queues.success if outcome is Outcome.SUCCESS else queues.failure)
        publications += self._result_copies(message, changes, properties, names)
        await self._settle(item, entry, publications)

    async def publish_unusable(
        self, item: OutboxItem, entry: LedgerEntry, members: Mapping[str, msgspec.Raw], attempt: Attempt,
        queues: ResultQueues | None, *, keep_mime: bool,
    ) -> None:  # fmt: skip
        """Publish the failure of a JSON object that is no usable message."""
        changes = {"results": append_attempt(members, attempt)}
        body = self._fit(encode_members(members, changes, () if keep_mime else _MIME_ONLY), members, changes)
        chosen = self._rules.queues if queues is None else queues
        await self._publish_failure(item, entry, body, chosen)

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
        await self._publish_failure(item, entry, result, self._rules.queues)

    async def _publish_failure(self, item: OutboxItem, entry: LedgerEntry, body: bytes, queues: ResultQueues) -> None:
        fresh = item.properties
        publications = [
            Publication(queue=queue, body=body, properties=fresh, role=QueueRole.RESULT)
            for queue in self._usable_names((queues.results, queues.failure))
        ]
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
        due_at = self._clock.now() + timedelta(seconds=seconds)
        await self._give_back(item, entry, message, changes, due_at, reason)

    async def give_back_verbatim(self, item: OutboxItem, entry: LedgerEntry, seconds: float, reason: str) -> None:
        """Send a message we choke on back towards the outbox as it came."""
        copy = Publication(
            queue=self._rules.outbox,
            body=item.body,
            properties=item.properties,
            role=QueueRole.OUTBOX,
            due_at=self._clock.now() + timedelta(seconds=seconds),
            is_verbatim=True,
        )
        await self._settle(item, entry, [copy])
        self._observer.message_waits(reason)

    async def delay(self, item: OutboxItem, entry: LedgerEntry, message: Message) -> None:
        """Send a message that is not due yet back until its ``delayed`` time."""
        await self._give_back(item, entry, message, {}, message.delayed_at, "not due yet")

    async def _give_back(
        self, item: OutboxItem, entry: LedgerEntry, message: Message, changes: dict[str, bytes],
        due_at: datetime | None, reason: str,
    ) -> None:  # fmt: skip
        properties = _with_priority(item.properties, message.priority)
        await self._settle(item, entry, [self._outbox_copy(message, changes, properties, due_at)])
        self._observer.message_waits(reason)

    def _outbox_copy(
        self, message: Message, changes: Mapping[str, bytes], properties: Properties, due_at: datetime | None
    ) -> Publication:
        return Publication(
            queue=self._rules.outbox,
            body=encode_members(message.members, changes),
            properties=properties,
            role=QueueRole.OUTBOX,
            due_at=due_at,
        )

    def _result_copies(
        self, message: Message, changes: Mapping[str, bytes], properties: Properties, names: tuple[str | None, ...]
    ) -> list[Publication]:
        queues = self._usable_names(names)
        if not queues:
            return []
        body = encode_members(message.members, changes, () if message.keep_mime else _MIME_ONLY)
        body = self._fit(body, message.members, changes)
        return [Publication(queue=queue, body=body, properties=properties, role=QueueRole.RESULT) for queue in queues]

    def _fit(self, body: bytes, members: Mapping[str, msgspec.Raw], changes: Mapping[str, bytes]) -> bytes:
        """A result too large for the broker loses its content, even with ``keepmime`` (spec amqp.md 12)."""
        if len(body) <= self._broker.max_publish_bytes:
            return body
        self._observer.warn("publisher", "a result is larger than the broker takes: its mime was left out")
        return encode_members(members, changes, _MIME_ONLY)

    def _usable_names(self, names: tuple[str | None, ...]) -> list[str]:
        """Queues to publish to, each once; a result on the outbox or in a delay queue would be mailed again."""
        outbox = self._rules.outbox
        usable: list[str] = []
        for name in names:
            if not name or name in usable:
                continue
            if (
                name == outbox
                or name.startswith(("amq.", f"{outbox}.delay.", f"{outbox}.park."))
                or name == f"{outbox}.poison"
            ):
                self._warn_reserved(name)
                continue
            usable.append(name)
        return usable

    def _warn_reserved(self, name: str) -> None:
        """Once per name: every message of a producer may name it."""
        if name not in self._warned and len(self._warned) < MAX_WARNED_NAMES:
            self._warned.add(name)
            self._observer.warn("publisher", f"result queue {name!r} is reserved: nothing is published to it")

    async def _settle(self, item: OutboxItem, entry: LedgerEntry, publications: list[Publication]) -> None:
        await self._broker.settle(item, publications)
        self._ledger.settle(entry)


def _timestamp(at: datetime) -> bytes:
    return b'"' + format_timestamp(at).encode("ascii") + b'"'


def _with_priority(properties: Properties, priority: int | None) -> Properties:
    if priority is None or priority == properties.priority:
        return properties
    return msgspec.structs.replace(properties, priority=priority)
