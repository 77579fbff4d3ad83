"""What a worker answers when another one got a message that was handed out before (spec amqp.md 13)."""

from __future__ import annotations

import pytest

from relayq.delivery.ledger import key_of
from tests.unit.delivery.test_ledger import Desk, Item


class Asker(Desk):
    """A ledger and the answers it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bool] = []

    def answers(self, item: Item, *, is_unique: bool = False) -> bool:
        return self.ledger.answer(key_of(item), self.told.append, is_unique=is_unique)


@pytest.fixture
def desk() -> Asker:
    return Asker()


def test_nobody_knows_what_was_never_here(desk: Asker) -> None:
    assert not desk.answers(Item())
    assert desk.told == []


def test_what_was_published_before_the_channel_was_lost_is_known_once(desk: Asker) -> None:
    item = Item()
    desk.settled(item)
    desk.lose(item)
    assert desk.answers(Item())
    assert desk.told == [True]
    assert not desk.answers(Item()), "one entry stands for one redelivery"


def test_what_is_under_way_is_answered_when_it_is_published(desk: Asker) -> None:
    item = Item()
    entry = desk.ledger.begin(item)
    desk.lose(item)
    assert desk.answers(Item())
    assert desk.told == []
    desk.ledger.settle(entry)
    assert desk.told == [True]


def test_a_message_that_comes_back_twice_is_known_twice_if_it_is_unique(desk: Asker) -> None:
    item = Item(message_id="m")
    entry = desk.ledger.begin(item)
    desk.lose(item)
    assert desk.answers(Item(message_id="m"), is_unique=True)
    assert desk.answers(Item(message_id="m"), is_unique=True)
    desk.ledger.settle(entry)
    assert desk.told == [True, True]
    assert desk.answers(Item(message_id="m"), is_unique=True)
    assert desk.told == [True, True, True]


def test_what_is_given_up_is_the_others(desk: Asker) -> None:
    item = Item()
    entry = desk.ledger.begin(item)
    desk.lose(item)
    desk.answers(Item())
    desk.ledger.abandon(entry)
    assert desk.told == [False]


def test_a_twin_on_a_channel_that_is_open_is_not_taken_for_it_unless_the_producer_made_it_unique(desk: Asker) -> None:
    twin = desk.ledger.begin(Item())
    assert not desk.answers(Item())
    assert desk.answers(Item(), is_unique=True)
    desk.ledger.settle(twin)
    assert desk.told == [True]


def test_what_was_acknowledged_on_a_channel_that_is_open_is_known_to_the_broker(desk: Asker) -> None:
    desk.settled(Item())
    assert not desk.answers(Item(), is_unique=True)


def test_a_redelivery_that_was_acknowledged_for_another_worker_is_remembered_like_one_of_our_own(desk: Asker) -> None:
    item = Item(redelivered=True)
    desk.ledger.acknowledge(item)
    assert desk.acknowledged == [item]
    desk.lose(item)
    again = Item()
    assert desk.matches(again), "the acknowledgement was lost, not the mail"
    assert desk.acknowledged == [item, again]
