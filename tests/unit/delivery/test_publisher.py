"""Publications that follow from an outcome, and the order in which they are confirmed."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker, MemoryItem, RecordingObserver
from relayq.delivery.ledger import LedgerEntry, OutcomeLedger
from relayq.delivery.publisher import Publisher, PublisherRules
from relayq.model import Attempt, DeliveryState, Outcome, ResultQueues, ResultType
from relayq.model.message_json import ParseRules, decode_members, parse_message
from relayq.ports import Properties, Publication, QueueRole
from tests.support.engine import eventually, mail

OUTBOX = "outbox"
QUEUES = ResultQueues(results="results", success="success", failure="failure", retry="retry")


class SmallBroker(MemoryBroker):
    """Takes no more than 400 octets."""

    @property
    def max_publish_bytes(self) -> int:
        return 400


class Desk:
    """A publisher and one consumed message."""

    def __init__(self, kind: type[MemoryBroker] = MemoryBroker) -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.broker = kind(self.clock)
        self.ledger = OutcomeLedger(self.clock.monotonic, lambda _: None)
        rules = PublisherRules(outbox=OUTBOX, queues=QUEUES, invalid_queue="invalid")
        self.publisher = Publisher(self.broker, self.ledger, rules, self.clock, self.observer)
        self.attempt = Attempt(state=DeliveryState.RCPTTO, result=ResultType.ERROR, at=self.clock.now(), code=451)
        self.items: list[MemoryItem] = []

    async def consume(
        self, message: dict[str, Any], properties: Properties | None = None
    ) -> tuple[Any, LedgerEntry, Any]:
        body = json.dumps(message).encode()
        given = Publication(queue=OUTBOX, body=body, properties=properties or Properties(), role=QueueRole.OUTBOX)
        await self.broker.publish([given])
        await self.broker.consume(OUTBOX, 1, self.items.append)  # type: ignore[arg-type]
        await eventually(lambda: len(self.items) == 1, "it is handed out")
        item = self.items[0]
        return item, self.ledger.begin(item), parse_message(decode_members(body), ParseRules())

    def copies(self, queue: str) -> list[Publication]:
        return [publication for publication in self.broker.published[1:] if publication.queue == queue]


async def publish(desk: Desk, outcome: Outcome, **members: Any) -> None:
    item, entry, message = await desk.consume(mail("m1", **members))
    next_at = desk.clock.now() + timedelta(seconds=600) if outcome is Outcome.RETRY else None
    await desk.publisher.publish(item, entry, message, desk.attempt, outcome, desk.clock.now(), next_at)


@pytest.mark.parametrize(
    ("outcome", "queues"),
    [
        (Outcome.SUCCESS, {"results", "success"}),
        (Outcome.FAILURE, {"results", "failure"}),
        (Outcome.RETRY, {"outbox", "retry"}),
    ],
)
async def test_the_queues_of_an_outcome(outcome: Outcome, queues: set[str]) -> None:
    desk = Desk()
    await publish(desk, outcome)
    assert {copy.queue for copy in desk.broker.published[1:]} == queues
    assert desk.broker.unsettled == []


async def test_a_result_too_large_for_the_broker_loses_its_content_even_with_keepmime() -> None:
    desk = Desk(SmallBroker)
    await publish(desk, Outcome.SUCCESS, keepmime=True, mime="x" * 500)
    assert "mime" not in json.loads(desk.copies("results")[0].body)
    assert len(desk.observer.warnings) == 1


async def test_a_copy_for_the_outbox_never_loses_its_content() -> None:
    desk = Desk(SmallBroker)
    await publish(desk, Outcome.RETRY, mime="x" * 500)
    assert json.loads(desk.copies(OUTBOX)[0].body)["mime"] == "x" * 500


async def test_the_message_is_acknowledged_only_when_everything_is_confirmed() -> None:
    desk = Desk()
    item, entry, message = await desk.consume(mail("m1"))
    desk.broker.set_blocked(blocked=True)
    work = desk.publisher.publish(item, entry, message, desk.attempt, Outcome.FAILURE, desk.clock.now(), None)
    publishing = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (publishing.done(), item.is_held, entry.is_settled) == (False, True, False)
    desk.broker.set_blocked(blocked=False)
    await publishing
    assert (item.is_held, entry.is_settled) == (False, True)


async def test_without_any_queue_the_message_is_acknowledged_at_once() -> None:
    desk = Desk()
    await publish(desk, Outcome.SUCCESS, queues={})
    assert desk.broker.published[1:] == []
    assert desk.broker.unsettled == []


async def test_a_message_given_back_gets_seen_once_and_keeps_delayed() -> None:
    desk = Desk()
    item, entry, message = await desk.consume(mail("m1", delayed="2026-01-01 00:00:00"))
    await desk.publisher.give_back(item, entry, message, desk.clock.now(), 60.0, "over capacity")
    [copy] = desk.copies(OUTBOX)
    assert copy.due_at == desk.clock.now() + timedelta(seconds=60)
    body = json.loads(copy.body)
    assert (list(body)[-1], body["delayed"]) == ("seen", "2026-01-01 00:00:00")
    assert desk.observer.waits == ["over capacity"]


async def test_a_message_given_back_as_it_came_is_octet_for_octet_the_same() -> None:
    desk = Desk()
    item, entry, _ = await desk.consume(mail("m1"), Properties(message_id="x"))
    await desk.publisher.give_back_verbatim(item, entry, 300.0, "internal error")
    [copy] = desk.copies(OUTBOX)
    assert (copy.body, copy.properties, copy.is_verbatim) == (item.body, item.properties, True)
    assert copy.due_at == desk.clock.now() + timedelta(seconds=300)


async def test_a_message_that_is_not_due_keeps_every_member() -> None:
    desk = Desk()
    item, entry, message = await desk.consume(mail("m1", delayed="2031-01-01 00:00:00"))
    await desk.publisher.delay(item, entry, message)
    [copy] = desk.copies(OUTBOX)
    assert json.loads(copy.body) == mail("m1", delayed="2031-01-01 00:00:00")
    assert copy.due_at == message.delayed_at


@pytest.mark.parametrize(("priority", "expected"), [(None, 4), (9, 9), (4, 4)])
async def test_the_priority_of_the_message_wins(priority: int | None, expected: int) -> None:
    desk = Desk()
    item, entry, message = await desk.consume(mail("m1", priority=priority), Properties(priority=4))
    await desk.publisher.publish(item, entry, message, desk.attempt, Outcome.SUCCESS, desk.clock.now(), None)
    assert desk.copies("results")[0].properties.priority == expected


async def test_a_body_that_is_no_message_is_shown_and_kept() -> None:
    desk = Desk()
    item, entry, _ = await desk.consume(mail("m1"))
    await desk.publisher.publish_invalid(item, entry, desk.attempt, b"no json")
    assert json.loads(desk.copies("failure")[0].body)["invalid-body"] == "no json"
    assert desk.copies("results")[0].body == desk.copies("failure")[0].body
    [verbatim] = desk.copies("invalid")
    assert (verbatim.body, verbatim.is_verbatim) == (item.body, True)
