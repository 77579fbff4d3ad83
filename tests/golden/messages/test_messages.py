"""Bodies of the outbox and what is published for them, byte for byte (spec results.md 3, 7, 8 and 11)."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from relayq.adapters.memory import ManualClock, MemoryChannel, RecordingObserver
from relayq.delivery.attempts import expired, failed_attempt
from relayq.delivery.ledger import OutcomeLedger
from relayq.delivery.publisher import Publisher, PublisherRules
from relayq.model import (
    Attempt,
    DeliveryError,
    DeliveryState,
    Message,
    Refused,
    Reply,
    ResultQueues,
    ResultType,
    Scope,
    Unusable,
)
from relayq.model.errors import ERROR_BY_RESULT
from relayq.model.message_json import InvalidBodyError, InvalidMessageError, ParseRules, decode_members, parse_message
from relayq.model.timestamp import format_timestamp, parse_timestamp
from relayq.policy.retry import RetryRules, deadline_of, decide_outcome, has_expired
from relayq.ports import Broker, OutboxItem, Properties, Publication

CASES = sorted(Path(__file__).parent.glob("*.toml"))
RULES = RetryRules()
QUEUES = ResultQueues(results="results", success="success", failure="failure", retry="retry")


class Item:
    """A consumed message."""

    properties = Properties()
    redelivered = False
    consumed_at = 0.0
    is_held = True
    origin = MemoryChannel()
    identity = b""

    def __init__(self, body: bytes) -> None:
        self.body = body


class RecordingBroker:
    """Writes down what is published."""

    max_publish_bytes = 1 << 20

    def __init__(self) -> None:
        self.written = b""

    async def settle(self, item: OutboxItem, publications: Sequence[Publication]) -> None:
        for publication in publications:
            due = "" if publication.due_at is None else f" not before {format_timestamp(publication.due_at)}"
            self.written += f"{publication.queue}{due}\n".encode() + publication.body + b"\n"


class Desk:
    """One body, from consuming to publishing, with the dialogue replaced by its ending."""

    def __init__(self, body: bytes, case: dict[str, Any]) -> None:
        self.body = body
        self.now = parse_timestamp(case["now"])
        self.seen_at = parse_timestamp(case.get("seen", case["now"]))
        self.ending: dict[str, Any] = case.get("ending", {})
        self.broker = RecordingBroker()
        self.ledger = OutcomeLedger(lambda: 0.0, lambda _: None)
        rules = PublisherRules(outbox="outbox", queues=QUEUES)
        clock = ManualClock(self.now)
        self.publisher = Publisher(cast(Broker, self.broker), self.ledger, rules, clock, RecordingObserver())

    async def run(self) -> bytes:
        item = Item(self.body)
        entry = self.ledger.begin(item)
        try:
            members = decode_members(self.body)
        except InvalidBodyError:
            attempt = failed_attempt(Unusable(DeliveryState.AMQP, Scope.MESSAGE, ""), self.now)
            await self.publisher.publish_invalid(item, entry, attempt, self.body)
            return self.broker.written
        try:
            message = parse_message(members, ParseRules())
        except InvalidMessageError as error:
            kind = Refused if error.is_missing_content else Unusable
            state = DeliveryState.STORAGE if error.is_missing_content else DeliveryState.AMQP
            attempt = failed_attempt(kind(state, Scope.MESSAGE, ""), self.now)
            await self.publisher.publish_unusable(
                item, entry, members, attempt, error.queues, keep_mime=error.keep_mime
            )
            return self.broker.written
        failure, attempt = self._attempt(message)
        decision = decide_outcome(message, failure, attempt.at, self.seen_at, RULES)
        await self.publisher.publish(item, entry, message, attempt, decision.outcome, self.seen_at, decision.next_at)
        return self.broker.written

    def _attempt(self, message: Message) -> tuple[DeliveryError | None, Attempt]:
        reason = has_expired(message, self.now, deadline_of(message, self.seen_at, RULES), RULES)
        if reason is not None:
            failure = expired(reason)
            return failure, failed_attempt(failure, self.now)
        ending = self.ending
        reply = None
        if "code" in ending:
            reply = Reply(ending["code"], ending.get("status"), (ending.get("text", "").encode(),))
        if ending["result"] == ResultType.ACCEPTED:
            assert reply is not None
            return None, Attempt(
                state=DeliveryState(ending["state"]),
                result=ResultType.ACCEPTED,
                at=self.now,
                egress_ip=ending["from"],
                remote_ip=ending["to"],
                ordinal=ending["messages"],
                code=reply.code,
                status=reply.status,
                description=reply.description,
            )
        failure = ERROR_BY_RESULT[ResultType(ending["result"])](
            DeliveryState(ending["state"]),
            Scope.MESSAGE,
            "",
            reply=reply,
            received=ending["received"].encode() if "received" in ending else None,
            retry_after=ending.get("retry-after"),
        )
        failure.egress_ip, failure.remote_ip = ending.get("from"), ending.get("to")
        failure.ordinal = ending.get("messages")
        return failure, failed_attempt(failure, self.now)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_each_case_publishes_what_it_did_before(path: Path, update_golden: bool) -> None:
    case = tomllib.loads(path.read_text("utf-8"))
    written = asyncio.run(Desk(path.with_suffix(".in").read_bytes(), case).run())

    if update_golden:
        path.with_suffix(".out").write_bytes(written)
    assert written == path.with_suffix(".out").read_bytes()


def test_no_file_is_left_over() -> None:
    stems = {path.stem for path in CASES}

    assert len(stems) >= 20
    for suffix in (".in", ".out"):
        assert {path.stem for path in Path(__file__).parent.glob(f"*{suffix}")} == stems
