"""Redeliveries and what becomes of them, row by row of the tables in spec amqp.md 13."""

from __future__ import annotations

import dataclasses

import pytest

from relayq.delivery import ledger as module
from relayq.delivery.ledger import LOST_SECONDS, SETTLED_SECONDS, Knowledge, LedgerEntry, OutcomeLedger, key_of
from relayq.ports import Properties, RecollectionKind


class Channel:
    """What hands items out, until it is lost."""

    is_lost = False


class OneChannel:
    """The channel of all items that name no other; there is a new one whenever it is lost."""

    channel = Channel()

    @classmethod
    def lose(cls) -> None:
        cls.channel.is_lost = True
        cls.channel = Channel()


@dataclasses.dataclass(eq=False)
class Item:
    """One hand-out of a message by the broker."""

    body: bytes = b"{}"
    message_id: str | None = None
    redelivered: bool = False
    consumed_at: float = 0.0
    is_held: bool = True
    identity: bytes = b""
    origin: Channel = dataclasses.field(default_factory=lambda: OneChannel.channel)

    @property
    def properties(self) -> Properties:
        return Properties(message_id=self.message_id)


class Desk:
    """A ledger with a clock that is turned by hand, and a list of what was acknowledged."""

    def __init__(self, *, is_shared: bool = False) -> None:
        self.now = 1000.0
        self.acknowledged: list[object] = []
        self.ledger = OutcomeLedger(lambda: self.now, self.acknowledged.append, is_shared=is_shared)

    def settled(self, item: Item) -> LedgerEntry:
        """A message that was delivered, published and acknowledged."""
        entry = self.ledger.begin(item)
        self.ledger.settle(entry)
        return entry

    def lose(self, *items: Item) -> None:
        """The connection breaks: the broker takes everything back."""
        for item in items:
            item.is_held = False
        OneChannel.lose()
        self.ledger.channel_lost()

    def matches(self, item: Item) -> bool:
        """What a scheduler does that asks nobody, or whom nobody can tell anything."""
        item.redelivered = True
        asked = Knowledge.OWED if self.ledger.pays(item) else Knowledge.UNKNOWN
        is_matched = asked is Knowledge.UNKNOWN and self.ledger.matches(item)
        return is_matched or self.ledger.matches_after_all(item, asked)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_redelivery_nobody_knows_is_a_mail(desk: Desk) -> None:
    assert not desk.matches(Item())
    assert desk.ledger.hits == 0


def test_a_message_that_is_not_flagged_is_always_a_mail_of_its_own(desk: Desk) -> None:
    desk.settled(Item())

    second = desk.ledger.begin(Item())  # identical, and nobody asks the ledger about it

    desk.ledger.settle(second)
    assert len(desk.ledger) == 2
    assert desk.acknowledged == []


def test_a_flagged_message_with_a_known_outcome_is_acknowledged_and_uses_it_up(desk: Desk) -> None:
    desk.settled(Item(b"a"))
    desk.lose()
    again, third = Item(b"a"), Item(b"a")

    assert desk.matches(again)
    assert desk.acknowledged == [again]
    assert not desk.matches(third)
    assert desk.ledger.hits == 1


def test_a_flagged_message_that_is_under_way_waits_for_the_outcome(desk: Desk) -> None:
    first = Item()
    entry = desk.ledger.begin(first)
    desk.lose(first)
    again, third = Item(), Item()

    assert desk.matches(again)
    assert desk.acknowledged == []
    assert not desk.matches(third)
    desk.ledger.settle(entry)
    assert desk.acknowledged == [again]


def test_body_and_message_id_tell_messages_apart(desk: Desk) -> None:
    desk.settled(Item(b"a", "1"))
    desk.lose()

    assert not desk.matches(Item(b"b", "1"))
    assert not desk.matches(Item(b"a", "2"))
    assert not desk.matches(Item(b"a", None))
    assert not desk.matches(Item(b"a", ""))
    assert desk.matches(Item(b"a", "1"))


def test_an_outcome_is_forgotten_once_its_acknowledgement_was_certainly_processed(desk: Desk) -> None:
    desk.settled(Item(b"old"))
    desk.now += SETTLED_SECONDS - 0.5
    desk.settled(Item(b"new"))
    desk.now += 0.5
    desk.lose()

    assert not desk.matches(Item(b"old"))
    assert desk.matches(Item(b"new"))


def test_a_lost_channel_keeps_the_last_minute_for_an_hour(desk: Desk) -> None:
    desk.settled(Item(b"old"))
    desk.now += 30.0
    desk.settled(Item(b"new"))
    desk.now += 30.0
    desk.lose()
    desk.now += LOST_SECONDS - 1.0

    assert not desk.matches(Item(b"old"))
    assert desk.matches(Item(b"new"))

    desk.settled(Item(b"later"))
    desk.lose()
    desk.now += LOST_SECONDS
    assert not desk.matches(Item(b"later"))


def test_an_outcome_of_a_message_the_broker_took_back_is_kept_for_an_hour(desk: Desk) -> None:
    first = Item()
    entry = desk.ledger.begin(first)
    desk.lose(first)
    desk.ledger.settle(entry)
    desk.now += LOST_SECONDS - 1.0
    again = Item()

    assert desk.matches(again)
    assert desk.acknowledged == [again]


def test_each_of_two_twins_stands_for_one_redelivery(desk: Desk) -> None:
    """Two identical messages are two mails: one known outcome must not swallow both redeliveries."""
    desk.settled(Item())
    second = Item()
    running = desk.ledger.begin(second)
    desk.lose(second)
    again = [Item(), Item(), Item()]

    assert [desk.matches(item) for item in again] == [True, True, False]
    desk.ledger.settle(running)
    assert set(desk.acknowledged) == set(again[:2])


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_twin_that_is_forgotten_leaves_the_others_known(desk: Desk, gone: int) -> None:
    entries = [desk.ledger.begin(Item()) for _ in range(3)]

    assert desk.ledger.abandon(entries[gone]) == []
    desk.lose()

    assert [desk.matches(Item()) for _ in range(3)] == [True, True, False]


def test_the_message_under_way_is_matched_before_its_settled_twin(desk: Desk) -> None:
    """The one under way is certain to come back, the settled one only perhaps."""
    desk.settled(Item())
    second = Item()
    running = desk.ledger.begin(second)
    desk.lose(second)
    again = Item()

    assert desk.matches(again)
    assert desk.acknowledged == []
    desk.ledger.settle(running)
    assert desk.acknowledged == [again]


def test_an_acknowledgement_of_a_redelivery_may_get_lost_as_well(desk: Desk) -> None:
    desk.settled(Item())
    for _ in range(3):
        desk.lose()
        again = Item()
        assert desk.matches(again)
        assert desk.acknowledged[-1] is again
        assert not desk.matches(Item())
        desk.now += SETTLED_SECONDS - 1.0


def test_an_acknowledged_redelivery_is_forgotten_after_a_minute_too(desk: Desk) -> None:
    desk.settled(Item())
    desk.lose()
    assert desk.matches(Item())
    desk.now += SETTLED_SECONDS
    desk.lose()

    assert not desk.matches(Item())


def test_what_was_acknowledged_on_a_channel_that_is_open_matches_nothing(desk: Desk) -> None:
    """Its redelivery is impossible, so a flagged message of that kind is another one, which another process had."""
    desk.settled(Item())

    assert not desk.matches(Item())
    assert desk.acknowledged == []


def test_what_is_under_way_on_a_channel_that_is_open_matches_nothing(desk: Desk) -> None:
    """A flagged message that equals it is another one, which a process that died had: it must not get lost."""
    entry = desk.ledger.begin(Item())

    assert not desk.matches(Item())
    desk.ledger.settle(entry)
    assert desk.acknowledged == []


def test_a_twin_that_went_back_before_it_was_started_is_a_mail(desk: Desk) -> None:
    """One was sent and acknowledged, the other was not: exactly one of what comes back must be sent."""
    desk.settled(Item())
    waiting = Item()
    desk.ledger.abandon(desk.ledger.begin(waiting))
    desk.lose(waiting)
    desk.ledger.owe(waiting)

    assert [desk.matches(Item()) for _ in range(3)] == [False, True, False]


def test_a_debt_is_forgotten_after_an_hour(desk: Desk) -> None:
    desk.ledger.owe(Item())
    desk.now += LOST_SECONDS - 1.0
    desk.settled(Item())
    desk.now += 1.0
    desk.lose()

    assert desk.matches(Item())


def test_debts_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for number in range(10):
        desk.ledger.owe(Item(b"%d" % number))

    assert len(desk.ledger._owed) == len(desk.ledger._owed_until) == 3


def test_a_waiting_redelivery_that_is_lost_itself_makes_room_for_the_next(desk: Desk) -> None:
    first, second, third = Item(), Item(), Item()
    entry = desk.ledger.begin(first)
    desk.lose(first)
    assert desk.matches(second)
    desk.lose(second)

    assert desk.matches(third)
    desk.ledger.settle(entry)
    assert desk.acknowledged == [third]


def test_a_waiting_redelivery_on_a_channel_that_lives_keeps_its_place(desk: Desk) -> None:
    first, second = Item(), Item()
    entry = desk.ledger.begin(first)
    desk.lose(first)
    assert desk.matches(second)
    desk.lose()  # another channel of the same process

    assert not desk.matches(Item())
    desk.ledger.settle(entry)
    assert desk.acknowledged == [second]


def test_the_acknowledgement_of_a_redelivery_that_waited_may_get_lost(desk: Desk) -> None:
    first = Item()
    entry = desk.ledger.begin(first)
    desk.lose(first)
    second = Item()
    desk.matches(second)
    desk.ledger.settle(entry)
    desk.lose(second)
    third = Item()

    assert desk.matches(third)
    assert desk.acknowledged == [second, third]


def test_a_message_of_another_channel_that_lives_is_over_when_it_is_acknowledged(desk: Desk) -> None:
    """It cannot come back: a twin of it, which another process had and never started, must not be taken for it."""
    other = Channel()
    entry = desk.ledger.begin(Item(origin=other))
    desk.lose()

    assert desk.ledger.settle(entry), "it is acknowledged, so its stored content can be deleted"
    assert not desk.matches(Item())
    assert desk.acknowledged == []


def test_an_acknowledgement_on_another_channel_that_lives_is_not_doubted(desk: Desk) -> None:
    other = Channel()
    desk.settled(Item(origin=other))
    desk.lose()

    assert not desk.matches(Item())
    other.is_lost = True
    desk.ledger.channel_lost()
    assert desk.matches(Item())


def test_a_message_under_way_on_another_channel_matches_nothing_until_that_is_lost(desk: Desk) -> None:
    other = Channel()
    entry = desk.ledger.begin(Item(origin=other))
    desk.lose()
    assert not desk.matches(Item())
    other.is_lost = True
    desk.ledger.channel_lost()
    again = Item()
    assert desk.matches(again)
    assert not desk.ledger.settle(entry) or desk.acknowledged == [again]


def test_what_was_not_started_is_no_outcome(desk: Desk) -> None:
    entry = desk.ledger.begin(Item())

    assert desk.ledger.abandon(entry) == []
    assert not desk.matches(Item())


def test_whoever_waits_for_something_that_is_abandoned_is_handed_back(desk: Desk) -> None:
    first, again = Item(), Item()
    entry = desk.ledger.begin(first)
    desk.lose(first)
    desk.matches(again)

    assert desk.ledger.abandon(entry) == [again]
    assert desk.ledger.abandon(entry) == []
    desk.lose(again)
    assert not desk.matches(Item())
    assert desk.acknowledged == []


def test_the_oldest_outcome_goes_when_there_are_too_many(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for name in (b"1", b"2", b"3", b"4"):
        desk.settled(Item(name))
    desk.lose()

    assert len(desk.ledger) == 3
    assert [desk.matches(Item(name)) for name in (b"1", b"2", b"3", b"4")] == [False, True, True, True]


def test_what_a_lost_channel_left_is_older_than_what_was_settled_since(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for name in (b"1", b"2", b"3"):
        desk.settled(Item(name))
    desk.lose()
    for name in (b"4", b"5"):
        desk.settled(Item(name))
    desk.lose()

    assert [desk.matches(Item(name)) for name in (b"1", b"2")] == [False, False]
    assert [desk.matches(Item(name)) for name in (b"3", b"4", b"5")] == [True, True, True]
    assert len(desk.ledger) <= 3


def test_messages_under_way_are_not_counted_among_the_outcomes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 1)
    entries = [desk.ledger.begin(Item(b"%d" % number)) for number in range(3)]

    assert len(desk.ledger) == 0
    for entry in entries:
        desk.ledger.settle(entry)
    assert len(desk.ledger) == 1
    desk.lose()
    assert desk.matches(Item(b"2"))


def test_nothing_is_left_behind(desk: Desk) -> None:
    """A million mails later the memory in use is that of the last minute."""
    for number in range(1000):
        desk.now += 1.0
        item = Item(b"%d" % (number % 10))
        entry = desk.ledger.begin(item)
        if number % 7 == 0:
            desk.lose(item)
            desk.matches(Item(item.body))
        if number % 5 == 0:
            desk.ledger.abandon(entry)
        else:
            desk.ledger.settle(entry)
    desk.now += LOST_SECONDS
    last = Item(b"last")
    desk.settled(last)
    desk.now += SETTLED_SECONDS
    desk.lose()

    assert len(desk.ledger) == 0
    assert desk.ledger._certain == desk.ledger._perhaps == {}
    assert not desk.ledger._recent
    assert desk.ledger._awaited == set()


def test_thousands_of_twins_cost_no_more_than_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that sends one body over and over must not make every message walk all of them."""
    steps = 0

    class Counting(LedgerEntry, eq=False):
        def __getattribute__(self, name: str) -> object:
            nonlocal steps
            steps += 1
            return super().__getattribute__(name)

    monkeypatch.setattr(module, "LedgerEntry", Counting)
    entries = [desk.ledger.begin(Item()) for _ in range(2000)]
    for entry in entries:
        desk.ledger.settle(entry)
    desk.now += SETTLED_SECONDS
    desk.matches(Item())

    assert len(desk.ledger) == 0
    assert steps < 2000 * 50


def test_among_several_processes_a_twin_that_was_acknowledged_matches_nothing() -> None:
    """The other process had an equal message too, and its copy may come here: it is sent, with a mark."""
    desk = Desk(is_shared=True)
    desk.settled(Item())
    desk.settled(Item())
    desk.lose()
    again = Item()

    assert not desk.matches(again)
    recalled = desk.ledger.recall(again)
    assert recalled is not None
    assert recalled.kind is RecollectionKind.SENT
    assert desk.ledger.answer(key_of(again), lambda _: None, is_unique=False) is Knowledge.TWIN


def test_among_several_processes_a_message_without_twins_is_matched() -> None:
    desk = Desk(is_shared=True)
    desk.settled(Item(b"a"))
    desk.settled(Item(b"b"))
    desk.lose()

    assert desk.matches(Item(b"a"))
    assert desk.ledger.recall(Item(b"a")) is None


def test_among_several_processes_what_is_certain_to_come_back_is_matched_all_the_same() -> None:
    desk = Desk(is_shared=True)
    items = [Item(), Item()]
    entries = [desk.ledger.begin(item) for item in items]
    desk.lose(*items)
    for entry in entries:
        desk.ledger.settle(entry)

    assert [desk.matches(Item()) for _ in range(3)] == [True, True, False]


def test_twins_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    desk = Desk(is_shared=True)
    for number in range(10):
        for _ in range(2):
            desk.ledger.begin(Item(b"%d" % number))

    assert len(desk.ledger._twins) == 3


def test_what_the_broker_took_back_before_another_process_answered_comes_again() -> None:
    """The answer said that its outcome is published, but nothing could be acknowledged."""
    desk = Desk(is_shared=True)
    desk.ledger.channel_lost()
    desk.ledger.acknowledge(Item(redelivered=True, is_held=False))
    assert desk.acknowledged == []
    again = Item(redelivered=True)
    assert desk.ledger.matches(again)
    assert desk.acknowledged == [again]
    assert not desk.ledger.matches(Item(redelivered=True)), "it stands for one redelivery"
