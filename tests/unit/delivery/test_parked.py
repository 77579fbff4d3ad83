"""When messages that were parked at the broker are fetched, and when not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relayq.adapters.memory import ManualClock, MemoryBroker, RecordingObserver
from relayq.delivery.admission import Admission, AdmissionLimits, Ticket
from relayq.delivery.parked import ParkedDestinations, parking_of
from relayq.ports import Broker, OutboxItem, Parking, Properties, Publication, QueueRole
from tests.support.engine import eventually

OUTBOX = "outbox"
SLOW, FAST = "slow.test", "fast.test"


class Yard:
    """Parked destinations around an admission the test fills; what drains bring is kept."""

    def __init__(self, flush_prefetch: int = 40) -> None:
        self.clock = ManualClock()
        self.broker = MemoryBroker(self.clock)
        self.observer = RecordingObserver()
        self.admission = Admission(AdmissionLimits(max_queue=20, prefetch=100))
        self.loop = SteppedLoop()
        loop: Any = self.loop
        self.items: list[OutboxItem] = []
        self.crashes = 0
        self.parked = ParkedDestinations(
            self.broker, OUTBOX, self.admission, flush_prefetch, self.items.append, self.observer, loop
        )

    async def park(self, destination: str, count: int, seconds: float = 0.0) -> None:
        await self.broker.publish(
            [
                Publication(
                    queue=OUTBOX,
                    body=b"%d" % number,
                    properties=Properties(),
                    role=QueueRole.OUTBOX,
                    parking=parking_of(destination),
                )
                for number in range(count)
            ]
        )
        self.parked.note(destination, seconds)

    def fill(self, destination: str, count: int) -> list[Ticket]:
        tickets = [self.admission.admit(destination, 0.0) for _ in range(count)]
        return [ticket for ticket in tickets if ticket is not None]

    def sweep(self, *, may_drain: bool = True, most: int | None = None) -> None:
        self.parked.sweep(may_drain=may_drain, most=most)

    def left(self, destination: str) -> int:
        return len(self.broker.parked(parking_of(destination).queue(OUTBOX)))

    async def settle(self) -> None:
        items = list(self.items)
        self.items.clear()
        for item in items:
            self.parked.done(item)
        await asyncio.gather(*(self.broker.settle(item, ()) for item in items if item.is_held))


class SteppedLoop:
    """The running loop with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.create_task: Callable[..., Any] = asyncio.get_running_loop().create_task

    def time(self) -> float:
        return self.now


@pytest.fixture
async def yard() -> AsyncIterator[Yard]:
    made = Yard()
    await made.broker.open()
    yield made
    made.parked.stop()
    await eventually(lambda: made.parked.allowance == 0, "no drain is left")
    await made.broker.close()
    assert len(made.observer.crashes) == made.crashes


async def test_what_is_parked_is_fetched_when_hardly_anything_waits(yard: Yard) -> None:
    tickets = yard.fill(SLOW, 11)
    await yard.park(SLOW, 3)
    yard.sweep()
    assert yard.parked.allowance == 0, "more than half of what may wait does"
    yard.admission.started(tickets.pop())
    yard.sweep()
    await eventually(lambda: len(yard.items) == 3, "they are fetched")
    await eventually(lambda: yard.parked.allowance == 0, "the drain ends")
    yard.sweep()
    assert yard.parked.allowance == 0, "nothing is left to be fetched"


async def test_a_drain_ends_when_the_destination_has_enough_and_goes_on_later(yard: Yard) -> None:
    await yard.park(SLOW, 50)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 4, "the share of one drain")
    tickets = yard.fill(SLOW, 20)
    yard.sweep()
    await eventually(lambda: yard.parked.allowance == 0, "the drain ends")
    await yard.settle()
    assert yard.left(SLOW) == 46
    yard.sweep()
    assert yard.parked.allowance == 0
    for ticket in tickets:
        yard.admission.started(ticket)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 4, "the next ones")
    for _ in range(12):
        await yard.settle()
        await eventually(lambda: bool(yard.items) or yard.left(SLOW) == 0, "it goes on")
    assert yard.left(SLOW) == 0


async def test_drains_share_what_may_be_fetched(yard: Yard) -> None:
    for number in range(12):
        await yard.park(f"d{number}.test", 10)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 40, "ten drains of four")
    assert yard.parked.allowance == 40
    yard.sweep()
    assert yard.parked.allowance == 40
    assert (yard.left("d10.test"), yard.left("d11.test")) == (10, 10)


async def test_more_may_be_fetched_after_a_change_of_the_setting(yard: Yard) -> None:
    await yard.park(SLOW, 10)
    yard.parked.flush_prefetch = 80
    yard.sweep()
    await eventually(lambda: len(yard.items) == 8, "a tenth of it")


async def test_what_was_held_for_too_long_is_not_fetched_at_once(yard: Yard) -> None:
    await yard.park(SLOW, 1, 60.0)
    await yard.park(FAST, 1)
    yard.parked.note(SLOW)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 1, "the other one is")
    yard.loop.now = 60.0
    yard.sweep()
    await eventually(lambda: len(yard.items) == 2, "now it is")


async def test_nothing_is_fetched_while_memory_or_the_broker_forbid_it(yard: Yard) -> None:
    await yard.park(SLOW, 50)
    yard.sweep(may_drain=False)
    assert yard.parked.allowance == 0
    yard.sweep()
    await eventually(lambda: len(yard.items) == 4, "it is fetched")
    yard.sweep(may_drain=False)
    await eventually(lambda: yard.parked.allowance == 0, "the drain ends")


async def test_no_more_is_fetched_than_there_is_memory_for(yard: Yard) -> None:
    await yard.park(SLOW, 50)
    await yard.park(FAST, 50)
    yard.sweep(most=0)
    assert yard.parked.allowance == 0
    yard.sweep(most=3)
    assert yard.parked.allowance == 3
    yard.sweep(most=3)
    assert yard.parked.allowance == 3, "what is coming counts"
    await eventually(lambda: len(yard.items) == 3, "they are fetched")


async def test_a_drain_too_small_for_the_room_there_is_is_replaced(yard: Yard) -> None:
    yard.admission.limits = AdmissionLimits(max_queue=2, prefetch=100)
    tickets = yard.fill(SLOW, 1)
    await yard.park(SLOW, 50)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 1, "one by one")
    yard.admission.limits = AdmissionLimits(max_queue=20, prefetch=100)
    yard.admission.started(tickets.pop())
    yard.sweep()
    await eventually(lambda: yard.parked.allowance == 0, "the drain ends")
    yard.sweep()
    await eventually(lambda: len(yard.items) == 5, "four at a time")


async def test_a_drain_whose_messages_are_all_with_sessions_is_replaced(yard: Yard) -> None:
    """What it brought is neither waiting nor settled: the destination could take more at once."""
    await yard.park(SLOW, 50)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 4, "the share of one drain")
    yard.sweep()
    await eventually(lambda: yard.parked.allowance == 0, "the drain ends")
    yard.sweep()
    await eventually(lambda: len(yard.items) == 8, "the next ones")


async def test_what_was_fetched_and_is_not_settled_counts(yard: Yard) -> None:
    for number in range(10):
        await yard.park(f"d{number}.test", 8)
    for _ in range(3):
        yard.sweep()
        await eventually(lambda: len(yard.items) == 40, "as many as may be out")
    await eventually(lambda: yard.parked.allowance == 0, "the drains ended")
    yard.sweep()
    assert yard.parked.allowance == 0
    assert yard.parked.fetched == 40
    assert all(yard.parked.is_fetched(item) for item in yard.items)
    await yard.settle()
    yard.sweep()
    await eventually(lambda: len(yard.items) == 40, "the next ones")


async def test_it_knows_how_many_are_parked(yard: Yard) -> None:
    for _ in range(6):
        await yard.park(SLOW, 1)
    assert (yard.parked.count(SLOW), yard.parked.count(FAST)) == (6, 0)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 4, "the share of one drain")
    assert yard.parked.count(SLOW) == 2
    await yard.settle()
    await eventually(lambda: yard.left(SLOW) == 0, "the rest")
    await yard.settle()
    await eventually(lambda: yard.parked.allowance == 0, "the drain ends")
    assert yard.parked.count(SLOW) == 0


async def test_what_others_fetched_is_forgotten_when_the_place_is_empty(yard: Yard) -> None:
    for _ in range(3):
        yard.parked.note(SLOW)
    yard.sweep()
    await eventually(lambda: yard.parked.count(SLOW) == 0, "nothing was found")


async def test_trouble_and_bugs_do_not_make_it_forget(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    async def drain(_self: Broker, queue: str, parking: Parking, *_: object) -> bool:
        calls.append(parking.queue(queue))
        if len(calls) == 1:
            raise RuntimeError("a bug")
        return len(calls) == 3

    monkeypatch.setattr(MemoryBroker, "drain", drain)
    yard.parked.note(SLOW)
    for count in (1, 2, 3):
        yard.sweep()
        await eventually(lambda count=count: len(calls) == count, "it is tried")  # type: ignore[misc]
        await eventually(lambda: yard.parked.allowance == 0, "it ends")
    yard.sweep()
    assert calls == ["outbox.park.domain.slow.test"] * 3
    yard.crashes = 1


async def test_what_is_remembered_is_bounded(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.delivery.parked.MAX_DESTINATIONS", 2)
    for name in ("a.test", "b.test", "c.test"):
        await yard.park(name, 1)
    yard.sweep()
    await eventually(lambda: len(yard.items) == 2, "two are fetched")
    assert yard.left("c.test") == 1


@pytest.mark.parametrize(
    ("ident", "name"),
    [
        ("Customer.EXAMPLE", "customer.example"),
        ("[192.0.2.1]", None),
        ("münchen.example", None),
        ("a" * 100, "a" * 100),
        ("a" * 101, None),
        ("", None),
        ("mx.test:2525", "mx.test:2525"),
        ("line\nbreak", None),
        ("trailing\n", None),
        ("\udcff", None),
    ],
)
def test_names_of_parking_queues(ident: str, name: str | None) -> None:
    queue = parking_of(ident).queue("out")
    prefix, rest = queue[: len("out.park.domain.")], queue[len("out.park.domain.") :]
    assert prefix == "out.park.domain."
    if name is None:
        assert len(rest) == 16
        assert set(rest) <= set("0123456789abcdef")
    else:
        assert rest == name


def test_a_name_too_long_for_amqp_uses_the_hash() -> None:
    assert len(parking_of("a" * 100).queue("o" * 150).encode()) <= 255
    assert Parking("domain.paused", "a.test", 3600).queue("outbox") == "outbox.park.domain.paused.a.test"
