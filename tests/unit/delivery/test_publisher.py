"""Publications that follow from an outcome, and the order in which they are confirmed."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import string
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker, MemoryItem, RecordingObserver
from relayq.delivery.ledger import LedgerEntry, OutcomeLedger
from relayq.delivery.publisher import Publisher, PublisherRules
from relayq.model import Attempt, DeliveryState, Outcome, ResultQueues, ResultType
from relayq.model.message_json import ParseRules, decode_members, parse_message
from relayq.model.timestamp import format_timestamp
from relayq.ports import OutboxItem, Properties, Publication, PublicationTooLargeError, QueueRole
from tests.support.engine import eventually, mail

OUTBOX = "outbox"
QUEUES = ResultQueues(results="results", success="success", failure="failure", retry="retry")


class SmallBroker(MemoryBroker):
    """Takes no more than 400 octets."""

    @property
    def max_publish_bytes(self) -> int:
        return 400


class StrictBroker(MemoryBroker):
    """Takes less than it says for the outbox."""

    def settle(self, item: OutboxItem, publications: Sequence[Publication]) -> Awaitable[None]:
        for one in publications:
            if one.role is QueueRole.OUTBOX and len(one.body) > 400 and not one.is_verbatim:
                raise PublicationTooLargeError("too large")
        return super().settle(item, publications)


class Desk:
    """A publisher and one consumed message."""

    def __init__(self, kind: type[MemoryBroker] = MemoryBroker, delay_property: str = "delayed") -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.broker = kind(self.clock)
        self.ledger = OutcomeLedger(self.clock.monotonic, lambda _: None)
        rules = PublisherRules(outbox=OUTBOX, queues=QUEUES, invalid_queue="invalid", delay_property=delay_property)
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


def random_text(length: int) -> str:
    """Nothing that gzip could make smaller than three quarters."""
    return "".join(random.Random(1).choices(string.ascii_letters + string.digits + "+/", k=length))


async def publish(desk: Desk, outcome: Outcome, **members: Any) -> Outcome:
    item, entry, message = await desk.consume(mail("m1", **members))
    next_at = desk.clock.now() + timedelta(seconds=600) if outcome is Outcome.RETRY else None
    published = await desk.publisher.publish(item, entry, message, desk.attempt, outcome, desk.clock.now(), next_at)
    return published[1]


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


async def test_a_copy_for_the_outbox_too_large_for_the_broker_is_compressed_and_never_loses_its_content() -> None:
    desk = Desk(SmallBroker)
    assert await publish(desk, Outcome.RETRY, mime="x" * 500) is Outcome.RETRY
    copy = desk.copies(OUTBOX)[0]
    assert (copy.properties.content_encoding, copy.is_verbatim) == ("gzip", True)
    assert len(copy.body) <= 400
    assert json.loads(gzip.decompress(copy.body))["mime"] == "x" * 500
    assert json.loads(desk.copies("retry")[0].body)["results"][-1]["code"] == 451


async def test_a_retry_too_large_even_when_compressed_is_a_failure_with_the_result_of_that_attempt() -> None:
    desk = Desk(SmallBroker)
    assert await publish(desk, Outcome.RETRY, mime=random_text(700)) is Outcome.FAILURE
    assert {copy.queue for copy in desk.broker.published[1:]} == {"results", "failure"}
    [result] = json.loads(desk.copies("failure")[0].body)["results"]
    assert result["code"] == 451
    assert "delayed" not in json.loads(desk.copies("failure")[0].body)
    assert "too large" in desk.observer.warnings[0].text
    assert desk.broker.unsettled == []


async def test_a_retry_the_broker_refuses_unexpectedly_is_a_failure_too() -> None:
    desk = Desk(StrictBroker)
    assert await publish(desk, Outcome.RETRY, mime=random_text(700)) is Outcome.FAILURE
    assert {copy.queue for copy in desk.broker.published[1:]} == {"results", "failure"}
    assert json.loads(desk.copies("failure")[0].body)["results"][-1]["code"] == 451
    assert "too large" in desk.observer.warnings[0].text
    assert desk.broker.unsettled == []


@pytest.mark.parametrize("kind", [SmallBroker, StrictBroker])
async def test_a_message_that_only_waits_goes_back_as_it_came_when_it_is_too_large(kind: type[MemoryBroker]) -> None:
    desk = Desk(kind)
    item, entry, message = await desk.consume(mail("m1", mime=random_text(700)))
    await desk.publisher.give_back(item, entry, message, desk.clock.now(), 60.0, "test")
    [copy] = desk.copies(OUTBOX)
    assert (copy.body, copy.is_verbatim) == (item.body, True)
    assert copy.due_at == desk.clock.now() + timedelta(seconds=60)


async def test_a_result_too_large_without_its_content_is_compressed() -> None:
    desk = Desk(SmallBroker)
    await publish(desk, Outcome.SUCCESS, keepmime=True, mime="x" * 500, order="y" * 500)
    for queue in ("results", "success"):
        [copy] = desk.copies(queue)
        assert copy.properties.content_encoding == "gzip"
        assert json.loads(gzip.decompress(copy.body))["order"] == "y" * 500


async def test_a_result_too_large_even_when_compressed_is_left_to_the_log_and_the_message_is_done() -> None:
    desk = Desk(SmallBroker)
    order = random_text(700)
    await publish(desk, Outcome.SUCCESS, order=order)
    assert desk.broker.published[1:] == []
    assert desk.broker.unsettled == []
    [alarm] = [warning for warning in desk.observer.warnings if "too large" in warning.text]
    assert order in alarm.text


async def test_nextattempt_tells_the_next_attempt_when_asked_to() -> None:
    desk = Desk(delay_property="nextattempt")
    await publish(desk, Outcome.RETRY)
    [copy] = desk.copies(OUTBOX)
    due = format_timestamp(desk.clock.now() + timedelta(seconds=600))
    body = json.loads(copy.body)
    assert list(body)[-3:] == ["results", "nextattempt", "seen"]
    assert body["nextattempt"] == {"time": due}
    again = parse_message(decode_members(copy.body), ParseRules())
    assert again.delayed_at == copy.due_at


async def test_other_members_of_nextattempt_are_kept() -> None:
    desk = Desk(delay_property="nextattempt")
    given = {"by": "shop", "time": "2020-01-01 00:00:00", "n": 1}
    await publish(desk, Outcome.RETRY, nextattempt=given, delayed="2020-01-01 00:00:00")
    [copy] = desk.copies(OUTBOX)
    body = json.loads(copy.body)
    due = format_timestamp(desk.clock.now() + timedelta(seconds=600))
    assert body["nextattempt"] == given | {"time": due}
    assert body["delayed"] == "2020-01-01 00:00:00"
    assert parse_message(decode_members(copy.body), ParseRules()).delayed_at == copy.due_at


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
