"""What happens to a message before and after its delivery: held, judged, sent away, settled in the books."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker, RecordingObserver
from relayq.delivery.admission import Admission, AdmissionLimits
from relayq.delivery.ledger import OutcomeLedger
from relayq.delivery.pace import MESSAGE_OCTETS, SHARE_OCTETS
from relayq.delivery.parked import parking_of
from relayq.delivery.pipeline import Job
from relayq.delivery.publisher import Publisher, PublisherRules
from relayq.delivery.scheduler import RESUME_SECONDS, Scheduler, SchedulerRules
from relayq.model import ResultQueues
from relayq.model.timestamp import format_timestamp
from relayq.policy.retry import RetryRules
from relayq.ports import BrokerRefusedError, Properties, Publication, QueueRole
from tests.support.engine import eventually, mail

OUTBOX = "outbox"
RULES = SchedulerRules(outbox=OUTBOX, prefetch=8, min_prefetch=2, max_memory=10_000, max_hold=100.0)
BURST = 1000
PER_TURN = SHARE_OCTETS // MESSAGE_OCTETS
"""Messages without octets that fit into one turn of the loop."""


class WaitingPipeline:
    """Holds every job until it is let go."""

    def __init__(self) -> None:
        self.added_octets = 0
        self.jobs: list[Job] = []
        self.go = asyncio.Event()
        self.publisher: Publisher
        self.admission: Admission

    async def guard(self, job: Job) -> None:
        self.jobs.append(job)
        try:
            await self.go.wait()
        finally:
            self.admission.started(job.ticket)
        await self.publisher.give_back(job.item, job.entry, job.message, job.seen_at, 60.0, "let go")


class NoPool:
    def sweep(self) -> None:
        """Nothing to forget."""

    async def close(self, grace: float) -> None:
        """Nothing to close."""


class Front:
    """A scheduler whose pipeline is the test."""

    def __init__(self, rules: SchedulerRules = RULES) -> None:
        self.clock = ManualClock()
        self.observer = RecordingObserver()
        self.admission = Admission(AdmissionLimits(max_queue=100, max_hold=rules.max_hold, prefetch=rules.prefetch))
        loop = asyncio.get_running_loop()
        self.scheduler = Scheduler(rules, RetryRules(), self.admission, None, self.clock, self.observer, loop)
        self.broker = MemoryBroker(self.clock, self.scheduler)
        self.settled_late: list[Any] = []
        ledger = OutcomeLedger(self.clock.monotonic, self.settled_late.append)
        queues = ResultQueues(results="results", failure="failure")
        publisher = Publisher(
            self.broker, ledger, PublisherRules(outbox=OUTBOX, queues=queues), self.clock, self.observer
        )
        self.pipeline = WaitingPipeline()
        self.pipeline.publisher, self.pipeline.admission = publisher, self.admission
        parts: Any = (self.broker, self.pipeline, publisher, NoPool(), ledger)
        self.scheduler.attach(*parts)

    async def send(self, *messages: dict[str, Any]) -> None:
        publications = [
            Publication(queue=OUTBOX, body=json.dumps(message).encode(), properties=Properties(), role=QueueRole.OUTBOX)
            for message in messages
        ]
        await self.broker.publish(publications)

    async def start(self) -> None:
        await self.broker.open()
        await self.scheduler.start()

    def sweep(self) -> None:
        sweeper = self.scheduler._sweeper
        assert sweeper is not None
        sweeper.cancel()
        self.scheduler._sweep()

    @property
    def prefetch(self) -> int:
        return self.scheduler._prefetch

    def check_books(self, held: int) -> None:
        assert self.scheduler.held == held
        assert (self.scheduler._held_bytes > 0) == (held > 0)


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    made = Front()
    await made.start()
    yield made
    made.broker.set_blocked(blocked=False)
    await made.scheduler.stop(0.5)
    made.check_books(0)
    await made.broker.close()


async def test_a_message_that_may_start_becomes_a_job(front: Front) -> None:
    await front.send(mail("m1"))
    await eventually(lambda: len(front.pipeline.jobs) == 1, "it starts")
    job = front.pipeline.jobs[0]
    assert job.message.recipient.text == "anna@example.test"
    assert job.target.destination == "example.test"
    assert job.seen_at == front.clock.now()
    assert (len(front.admission), front.scheduler.held, front.scheduler.is_consuming) == (1, 1, True)
    front.pipeline.go.set()
    await eventually(lambda: front.scheduler.held == 0, "it is settled")


async def test_fewer_messages_are_taken_while_large_ones_are_held(front: Front) -> None:
    await front.send(*(mail(f"m{number}", mime="x" * 600) for number in range(6)))
    await eventually(lambda: len(front.pipeline.jobs) == 6, "they start")
    for expected in (4, 2, 2):
        front.sweep()
        assert front.prefetch == expected
    front.pipeline.go.set()
    await eventually(lambda: front.scheduler.held == 0, "they are settled")
    front.pipeline.added_octets = 1_000_000  # what composing makes of little counts as well
    front.sweep()
    assert front.prefetch == 2
    front.pipeline.added_octets = 0
    for expected in (4, 8, 8):
        front.sweep()
        assert front.prefetch == expected
    await eventually(lambda: front.scheduler._tasks == set(), "the broker knows")
    assert front.broker._consumptions[0].prefetch == 8


async def test_what_memory_has_no_room_for_goes_back_and_comes_again(front: Front) -> None:
    await front.send(*(mail(f"m{number}", mime="x" * 1500) for number in range(6)))
    await eventually(lambda: not front.scheduler.is_consuming, "it is full")
    assert len(front.pipeline.jobs) == front.scheduler.held == 2
    assert front.prefetch == 1
    assert any("rabbitmq-max-memory" in text for text in map(str, front.observer.warnings))
    front.sweep()
    assert not front.scheduler.is_consuming, "nothing has become free"
    front.pipeline.go.set()
    await eventually(lambda: front.scheduler.held == 0, "they are settled")
    for _ in range(4):
        front.clock.advance(10.0)
        front.sweep()
        await eventually(lambda: front.scheduler.is_consuming and front.scheduler.held == 0, "it goes on")
    assert len(front.pipeline.jobs) == len({job.item.body for job in front.pipeline.jobs}) == 6


async def test_what_comes_compressed_counts_as_what_it_is(front: Front) -> None:
    for number in range(3):
        body = gzip.compress(json.dumps(mail(f"m{number}", mime="x" * 3000)).encode())
        await front.broker.publish(
            [Publication(queue=OUTBOX, body=body, properties=Properties(), role=QueueRole.OUTBOX)]
        )
    await eventually(lambda: len(front.pipeline.jobs) == 2, "they start")
    await eventually(lambda: not front.scheduler.is_consuming, "it is full")
    assert len(front.pipeline.jobs) == front.scheduler.held == 2
    front.pipeline.go.set()
    await eventually(lambda: front.scheduler.held == 0, "they are settled")
    assert front.scheduler._memory == 0
    front.clock.advance(RESUME_SECONDS)
    front.sweep()
    await eventually(lambda: len(front.pipeline.jobs) == 3, "the last one comes again")


async def test_what_drains_bring_goes_back_as_well_and_they_end(front: Front) -> None:
    place = parking_of("example.test")
    for number in range(4):
        body = json.dumps(mail(f"m{number}", mime="x" * 1500)).encode()
        publication = Publication(
            queue=OUTBOX, body=body, properties=Properties(), role=QueueRole.OUTBOX, parking=place
        )
        await front.broker.publish([publication])
    front.scheduler._parked.note("example.test")
    front.sweep()
    await eventually(lambda: len(front.pipeline.jobs) == 2, "as many start as there is room for")
    await eventually(lambda: front.scheduler._parked.allowance == 0, "the drain ends")
    assert front.scheduler.held == front.scheduler._parked.fetched == 2
    front.pipeline.go.set()

    def all_came() -> bool:
        front.clock.advance(1.0)
        front.sweep()
        return {bytes(job.message.members["id"]) for job in front.pipeline.jobs} == {b'"m%d"' % n for n in range(4)}

    await eventually(all_came, "there is room for the others")


async def test_one_that_is_larger_than_memory_is_taken_alone(front: Front) -> None:
    await front.send(mail("m1", mime="x" * 20_000))
    await eventually(lambda: len(front.pipeline.jobs) == 1, "it starts")
    front.pipeline.go.set()
    await eventually(lambda: front.scheduler.held == 0, "it is settled")


async def test_a_message_due_in_a_moment_waits_here_and_is_forgotten_when_it_is_lost(front: Front) -> None:
    due = format_timestamp(front.clock.now() + timedelta(seconds=1))
    front.clock.advance(0.5)
    await front.send(mail("m1", delayed=due))
    await eventually(lambda: len(front.scheduler._waiting_due) == 1, "it waits")
    front.check_books(1)
    front.broker.lose_items()
    front.check_books(0)
    await eventually(lambda: len(front.scheduler._waiting_due) == 1, "it comes back and waits again")
    front.check_books(1)


async def test_a_message_looked_at_while_the_broker_is_blocked_waits_for_the_end_of_that(front: Front) -> None:
    front.broker.set_blocked(blocked=True)
    front.broker._queues.store(
        Publication(queue=OUTBOX, body=json.dumps(mail("m1")).encode(), properties=Properties(), role=QueueRole.OUTBOX)
    )
    front.broker.wake()
    await eventually(lambda: front.scheduler.held == 1, "it is handed out")
    assert not front.scheduler.is_consuming
    assert not front.pipeline.jobs
    front.broker.lose_items()
    await eventually(lambda: len(front.scheduler._not_started) == 1, "it comes back")
    front.check_books(1)
    front.broker.set_blocked(blocked=False)
    await eventually(lambda: len(front.pipeline.jobs) == 1, "now it starts")


async def test_a_broker_blocked_for_too_long_gets_everything_back_and_is_asked_again_afterwards(front: Front) -> None:
    await front.send(mail("m1"))
    await eventually(lambda: len(front.pipeline.jobs) == 1, "it starts")
    front.broker.set_blocked(blocked=True)
    await eventually(lambda: len(front.scheduler._not_started) == 1, "it waits")
    front.clock.advance(RULES.max_hold + 1)
    front.sweep()
    await eventually(lambda: len(front.broker.ready(OUTBOX)) == 1, "it is back")
    front.check_books(0)
    front.broker.set_blocked(blocked=False)
    await eventually(lambda: len(front.pipeline.jobs) == 2, "it starts again")


async def test_a_broker_that_blocks_again_before_it_hands_out_gets_one_consumer(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.broker.set_blocked(blocked=True)
    front.clock.advance(RULES.max_hold + 1)
    front.sweep()
    go, asked = asyncio.Event(), []
    consume = front.broker.consume

    async def slowly(*arguments: Any) -> Any:
        asked.append(arguments)
        await go.wait()
        return await consume(*arguments)

    monkeypatch.setattr(front.broker, "consume", slowly)
    for blocked in (False, True, False):
        front.broker.set_blocked(blocked=blocked)
    go.set()
    await front.send(mail("m1"))
    await eventually(lambda: len(front.pipeline.jobs) == 1, "it starts")
    assert len(asked) == 1


async def test_a_broker_that_refuses_to_hand_out_after_blocking_is_asked_again(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    front.broker.set_blocked(blocked=True)
    front.clock.advance(RULES.max_hold + 1)
    front.sweep()
    asked = []
    consume = front.broker.consume

    async def refusing_once(*arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 1:
            raise BrokerRefusedError("the outbox is used by somebody else alone")
        return await consume(*arguments)

    monkeypatch.setattr(front.broker, "consume", refusing_once)
    front.broker.set_blocked(blocked=False)
    await front.send(mail("m1"))
    await eventually(lambda: len(front.observer.crashes) == 1, "the refusal is told")
    front.sweep()
    await asyncio.sleep(0)
    assert len(asked) == 1, "not at once"
    front.clock.advance(RESUME_SECONDS)
    front.sweep()
    await eventually(lambda: len(front.pipeline.jobs) == 1, "it starts")
    front.observer.crashes.clear()


async def test_a_message_sent_away_before_its_first_step_is_not_stuck(front: Front) -> None:
    await front.send(mail("m1"), mail("m2"))
    await eventually(lambda: front.scheduler.held == 2, "they are handed out")
    front.admission.send_all_away("held too long")  # their tasks have not run yet, or have: both are right
    await eventually(lambda: len(front.broker.parked("outbox.park.domain.example.test")) == 2, "they are parked")
    assert front.observer.waits == ["held too long"] * 2
    await eventually(lambda: front.scheduler.held == 0, "the books agree")
    assert len(front.admission) == 0


async def test_a_crash_of_the_settling_itself_is_logged_and_the_message_stays_unsettled(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(front.pipeline, "guard", broken)
    await front.send(mail("m1"))
    await eventually(lambda: len(front.observer.crashes) == 1, "it is noticed")
    await eventually(lambda: front.scheduler.held == 0, "the books agree")
    assert len(front.broker.unsettled) == 1
    front.admission.send_all_away("test")
    for ticket in [ticket for queue in front.admission._queues.values() for ticket in list(queue.tickets)]:
        front.admission.started(ticket)


async def test_nothing_is_started_once_it_stops(front: Front) -> None:
    stopping = asyncio.ensure_future(front.scheduler.stop(1.0))
    await front.send(mail("m1"))
    await stopping
    assert not front.pipeline.jobs
    assert len(front.broker.ready(OUTBOX)) + len(front.broker.unsettled) == 1


async def test_a_result_without_a_queue_is_written_to_the_log(front: Front) -> None:
    body = b'{"results":[\xff]}'
    front.scheduler.unroutable(Publication(queue="gone", body=body, properties=Properties(), role=QueueRole.RESULT))
    [warning] = front.observer.warnings
    assert "'gone'" in warning.text
    assert '{"results":[' in warning.text


async def test_a_message_the_broker_handed_out_too_often_is_refused() -> None:
    front = Front(msgspec.structs.replace(RULES, max_redeliveries=3))
    await front.start()
    for count in (2, 3):
        body = json.dumps(mail(f"m{count}")).encode()
        properties = Properties(delivery_count=count)
        await front.broker.publish([Publication(queue=OUTBOX, body=body, properties=properties, role=QueueRole.OUTBOX)])
    await eventually(lambda: len(front.pipeline.jobs) == 1, "one starts")
    await eventually(lambda: bool(front.broker.bodies("failure")), "the other is refused")
    [result] = json.loads(front.broker.bodies("failure")[0])["results"]
    assert (result["state"], result["result"]) == ("amqp", "invalid")
    assert "handed out 3 times" in str(front.observer.attempts[0].error)
    await front.scheduler.stop(0.1)
    await front.broker.close()


@pytest.fixture
async def burst() -> AsyncIterator[Front]:
    """Takes a burst whole."""
    made = Front(msgspec.structs.replace(RULES, prefetch=2 * BURST, max_memory=1 << 30))
    await made.start()
    yield made
    await made.scheduler.stop(0.0)
    made.check_books(0)
    await made.broker.close()


def ident_of(job: Job) -> str:
    """Its member ``id``."""
    return str(json.loads(bytes(job.message.members["id"])))


async def turns(count: int) -> None:
    """Let so many turns of the loop pass."""
    for _ in range(count):
        await asyncio.sleep(0)


async def send_burst(front: Front) -> None:
    """All of it is handed out at once, in the next turn of the loop."""
    await front.send(*(mail(f"m{number}") for number in range(BURST)))


async def test_a_burst_is_begun_over_many_turns_of_the_loop_and_in_its_order(burst: Front) -> None:
    begun = [0]
    await send_burst(burst)
    while begun[-1] < BURST and len(begun) < 10 * BURST:
        await asyncio.sleep(0)
        begun.append(len(burst.pipeline.jobs))
    assert burst.scheduler.held == burst.scheduler.consumed == BURST
    per_turn = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert max(per_turn) <= PER_TURN
    assert sum(1 for count in per_turn if count) >= BURST // PER_TURN
    assert [ident_of(job) for job in burst.pipeline.jobs] == [f"m{number}" for number in range(BURST)]


async def test_what_the_broker_takes_back_before_its_turn_is_begun_once_when_it_comes_again(burst: Front) -> None:
    await send_burst(burst)
    await turns(2)
    assert burst.scheduler.held == BURST
    assert len(burst.scheduler._not_started) >= BURST - 3 * PER_TURN
    burst.broker.lose_items()
    assert not burst.scheduler._not_started
    await eventually(lambda: burst.scheduler.held == BURST == len(burst.admission), "all have begun")
    await turns(2)
    waiting = [job for job in burst.pipeline.jobs if job.item.is_held]
    assert sorted(map(ident_of, waiting)) == sorted(f"m{number}" for number in range(BURST))


async def test_what_waits_for_its_turn_at_an_orderly_stop_goes_back(burst: Front) -> None:
    await send_burst(burst)
    await turns(2)
    assert burst.scheduler.held == BURST
    waiting = len(burst.scheduler._not_started)
    assert waiting >= BURST - 3 * PER_TURN
    await burst.scheduler.stop(0.0)
    assert len(burst.broker.ready(OUTBOX)) >= waiting
    assert len(burst.pipeline.jobs) <= 3 * PER_TURN
    assert len(burst.broker.ready(OUTBOX)) + len(burst.broker.unsettled) == BURST


async def test_a_blocked_broker_stops_a_burst_where_it_is_and_the_rest_goes_on_afterwards(burst: Front) -> None:
    await send_burst(burst)
    await turns(2)
    assert burst.scheduler.held == BURST
    burst.broker.set_blocked(blocked=True)
    await turns(BURST)
    assert len(burst.scheduler._not_started) == BURST
    burst.broker.set_blocked(blocked=False)
    await eventually(lambda: len(burst.admission) == BURST, "all wait for a session")
    assert burst.scheduler.consumed >= BURST


async def test_large_messages_have_turns_of_their_own_and_keep_their_place(burst: Front) -> None:
    idents = ["m0", "large1", "large2", "m3"]
    await burst.send(*(mail(ident, mime="x" * SHARE_OCTETS if "l" in ident else "x") for ident in idents))
    begun = [0]
    while begun[-1] < len(idents) and len(begun) < 100:
        await asyncio.sleep(0)
        begun.append(len(burst.pipeline.jobs))
    assert [ident_of(job) for job in burst.pipeline.jobs] == idents
    gaps = [begun.index(count + 1) - begun.index(count) for count in (1, 2)]
    assert gaps == [2, 2], "a turn for the digest, one to read it"


async def test_a_large_message_that_comes_again_is_matched(burst: Front) -> None:
    await burst.send(mail("large", mime="x" * SHARE_OCTETS))
    await eventually(lambda: len(burst.pipeline.jobs) == 1, "it starts")
    burst.admission.started(burst.pipeline.jobs[0].ticket)
    burst.broker.lose_items()
    await eventually(lambda: burst.scheduler.redelivered == 1, "it comes again")
    await turns(5)
    assert len(burst.pipeline.jobs) == 1
    burst.pipeline.go.set()
    await eventually(lambda: len(burst.settled_late) == 1, "it is acknowledged with the first")


@pytest.mark.parametrize("more", [{"delayed": "2099-01-01 00:00:00"}, {"maxdelivertime": "2016-01-01 00:00:00"}, {}])
async def test_unusable_header_edits_are_told_at_once_and_not_when_the_message_is_due(
    front: Front, more: dict[str, str]
) -> None:
    edits = {"append": {"X-A": "1\r\nBcc: x@y.test"}}
    await front.send(mail("m1", headers=edits, queues={"failure": "mine"}, **more))
    await eventually(lambda: bool(front.broker.bodies("mine")), "it is refused")
    [result] = json.loads(front.broker.bodies("mine")[0])["results"]
    assert (result["state"], result["result"]) == ("amqp", "invalid")
    await eventually(lambda: bool(front.observer.attempts), "it is told")
    assert str(front.observer.attempts[0].error).startswith("amqp/invalid: headers: append.X-A: ")
    assert not front.pipeline.jobs


@pytest.mark.parametrize("edits", [None, [], {}, {"append": {"X-A": "1"}, "note": float(2**70)}])
async def test_usable_header_edits_hold_up_nothing(front: Front, edits: object) -> None:
    message = mail("m1") | {"headers": edits}
    await front.send(message)
    await eventually(lambda: len(front.pipeline.jobs) == 1, "it starts")
