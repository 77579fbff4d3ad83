"""What a worker answers when another one got a message that was handed out before (spec amqp.md 13)."""

from __future__ import annotations

import pytest

from relayq.delivery.ledger import Knowledge, key_of
from relayq.ports import RecollectionKind
from tests.unit.delivery.test_ledger import Desk, Item


class Asker(Desk):
    """A ledger and the answers it gave later."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bool] = []

    def answers(self, item: Item, *, is_unique: bool = False, is_owed: bool = False) -> Knowledge:
        return self.ledger.answer(key_of(item), self.told.append, is_unique=is_unique, is_owed=is_owed)


@pytest.fixture
def desk() -> Asker:
    return Asker()


def test_nobody_knows_what_was_never_here(desk: Asker) -> None:
    assert desk.answers(Item()) is Knowledge.UNKNOWN
    assert desk.told == []


def test_what_was_acknowledged_before_the_channel_was_lost_is_known_perhaps_and_once(desk: Asker) -> None:
    item = Item()
    desk.settled(item)
    desk.lose(item)
    assert desk.answers(Item()) is Knowledge.PERHAPS
    assert desk.answers(Item()) is Knowledge.UNKNOWN, "one entry stands for one redelivery"


def test_what_was_acknowledged_before_the_channel_was_lost_is_known_if_it_is_unique(desk: Asker) -> None:
    desk.settled(Item(message_id="m"))
    desk.lose()
    assert desk.answers(Item(message_id="m"), is_unique=True) is Knowledge.KNOWN


def test_what_was_published_after_the_channel_was_lost_is_known(desk: Asker) -> None:
    entry = desk.ledger.begin(Item())
    desk.lose()
    desk.ledger.settle(entry)
    assert desk.answers(Item()) is Knowledge.KNOWN


def test_what_is_under_way_is_answered_when_it_is_published(desk: Asker) -> None:
    item = Item()
    entry = desk.ledger.begin(item)
    desk.lose(item)
    assert desk.answers(Item()) is Knowledge.WAIT
    assert desk.told == []
    desk.ledger.settle(entry)
    assert desk.told == [True]


def test_a_message_that_comes_back_twice_is_known_twice_if_it_is_unique(desk: Asker) -> None:
    item = Item(message_id="m")
    entry = desk.ledger.begin(item)
    desk.lose(item)
    assert desk.answers(Item(message_id="m"), is_unique=True) is Knowledge.WAIT
    assert desk.answers(Item(message_id="m"), is_unique=True) is Knowledge.WAIT
    desk.ledger.settle(entry)
    assert desk.told == [True, True]
    assert desk.answers(Item(message_id="m"), is_unique=True) is Knowledge.KNOWN


def test_what_is_given_up_is_the_others(desk: Asker) -> None:
    item = Item()
    entry = desk.ledger.begin(item)
    desk.lose(item)
    desk.answers(Item())
    desk.ledger.abandon(entry)
    assert desk.told == [False]


def test_a_twin_on_a_channel_that_is_open_is_not_taken_for_it_unless_the_producer_made_it_unique(desk: Asker) -> None:
    twin = desk.ledger.begin(Item())
    assert desk.answers(Item()) is Knowledge.TWIN
    assert desk.answers(Item(), is_unique=True) is Knowledge.WAIT
    desk.ledger.settle(twin)
    assert desk.told == [True]


def test_what_was_acknowledged_on_a_channel_that_is_open_is_known_to_the_broker(desk: Asker) -> None:
    desk.settled(Item())
    assert desk.answers(Item(), is_unique=True) is Knowledge.UNKNOWN


def test_a_redelivery_that_was_acknowledged_for_another_worker_is_remembered_like_one_of_our_own(desk: Asker) -> None:
    item = Item(redelivered=True)
    desk.ledger.acknowledge(item)
    assert desk.acknowledged == [item]
    desk.lose(item)
    again = Item()
    assert desk.matches(again), "the acknowledgement was lost, not the mail"
    assert desk.acknowledged == [item, again]


def test_what_was_not_started_here_is_a_mail_there_and_once(desk: Asker) -> None:
    desk.ledger.owe(Item())
    assert desk.answers(Item()) is Knowledge.OWED
    assert desk.answers(Item()) is Knowledge.UNKNOWN


def test_a_message_that_is_unique_is_a_mail_only_if_nobody_else_sends_it(desk: Asker) -> None:
    """It was handed to another process after this one, which may have begun with it."""
    desk.ledger.owe(Item(message_id="m"))
    assert desk.answers(Item(message_id="m"), is_unique=True) is Knowledge.UNKNOWN


def test_whoever_did_not_start_one_itself_uses_up_nothing_but_what_is_certain(desk: Asker) -> None:
    desk.settled(Item())
    desk.lose()
    assert desk.answers(Item(), is_owed=True) is Knowledge.UNKNOWN
    assert desk.answers(Item()) is Knowledge.PERHAPS


@pytest.mark.parametrize("asked", list(Knowledge))
def test_what_is_done_with_an_answer(asked: Knowledge) -> None:
    """With a twin of it that was acknowledged here, perhaps in vain."""
    desk = Desk(is_shared=True)
    desk.settled(Item())
    desk.lose()
    again = Item(redelivered=True)
    assert not desk.ledger.matches(again)

    is_over = desk.ledger.matches_after_all(again, asked)

    assert is_over == (asked in {Knowledge.UNKNOWN, Knowledge.PERHAPS})
    if not is_over:
        recalled = desk.ledger.recall(again, asked)
        is_marked = recalled is not None and recalled.kind is RecollectionKind.SENT
        assert is_marked == (asked is not Knowledge.OWED)


def test_strangers_make_a_message_without_an_id_doubtful() -> None:
    """What another machine had and did not start may equal what was acknowledged here: it is sent, with a mark."""
    desk = Desk()
    desk.ledger.has_strangers = True
    desk.settled(Item())
    desk.settled(Item(message_id="m"))
    desk.lose()

    assert not desk.matches(Item())
    recalled = desk.ledger.recall(Item())
    assert recalled is not None
    assert recalled.kind is RecollectionKind.SENT
    assert desk.matches(Item(message_id="m"))


def test_strangers_make_what_nobody_knows_doubtful_but_not_what_was_not_started_here() -> None:
    desk = Desk()
    assert desk.ledger.recall(Item()) is None
    desk.ledger.has_strangers = True
    recalled = desk.ledger.recall(Item())
    assert recalled is not None
    assert recalled.kind is RecollectionKind.SENT
    assert desk.ledger.recall(Item(), Knowledge.OWED) is None
