"""What the ledger and the publisher tell the journal, seen by the process after them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Sequence

import pytest

from relayq.adapters.journal import FileJournal
from relayq.adapters.journal import journal as journal_module
from relayq.adapters.memory import MemoryBroker
from relayq.delivery.ledger import SETTLED_SECONDS, OutcomeLedger, key_of
from relayq.delivery.publisher import Publisher, PublisherRules, mark_doubtful
from relayq.ports import OutboxItem, Properties, Publication, RecollectionKind
from tests.support.engine import eventually, mail
from tests.unit.adapters.journal import conftest
from tests.unit.delivery import test_ledger, test_publisher

SMALL = 1 << 18


@dataclasses.dataclass(eq=False)
class Copy(test_ledger.Item):
    """A copy that a process published to the outbox."""

    copy_id: bytes = b""

    @property
    def properties(self) -> Properties:
        return Properties(copy_id=self.copy_id)


async def test_outcomes_that_cannot_come_again_leave_the_journal(desk: conftest.Desk) -> None:
    journal = await desk.start(max_bytes=SMALL)
    ledger = OutcomeLedger(lambda: desk.now, lambda _: None, journal)
    for number in range(3_000):
        entry = ledger.begin(test_ledger.Item(body=b"%d" % number))
        journal.note_sending(entry)
        journal.note_decided(entry, b"x" * 200)
        ledger.settle(entry)
        desk.now += SETTLED_SECONDS / 100
    assert not desk.said, "nothing had to go before its time"


async def test_a_copy_that_arrived_is_not_replaced(desk: conftest.Desk) -> None:
    journal = await desk.start()
    ledger = OutcomeLedger(lambda: desk.now, lambda _: None, journal)
    entry = ledger.begin(test_ledger.Item())
    journal.note_moved(entry)
    first = journal.copy_id(entry)

    second = ledger.replace_copy(first)
    assert second not in {None, first}
    assert second is not None
    ledger.begin(Copy(copy_id=second))
    assert ledger.replace_copy(second) is None
    assert not ledger.supersede(entry, second)
    assert not journal.is_cancelled(second)


async def test_a_copy_that_cannot_be_cancelled_now_makes_its_message_doubtful(
    desk: conftest.Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may send the copy meanwhile; as soon as the disk takes it, the cancellation is there for all."""
    journal, other = await desk.start(), await desk.start()
    ledger = OutcomeLedger(lambda: desk.now, lambda _: None, journal)
    entry = ledger.begin(test_ledger.Item())
    copy_id = b"c" * 24
    with monkeypatch.context() as full:
        full.setattr(FileJournal, "_cancelled", lambda *_: f"{desk.folder}/missing/x")
        full.setattr(journal_module, "RETRY_SECONDS", 0.0)
        assert ledger.supersede(entry, copy_id)
    assert entry.is_doubtful
    assert journal.is_cancelled(copy_id)
    assert not other.is_cancelled(copy_id)

    journal.note_sending(entry)  # the disk takes it again

    assert other.is_cancelled(copy_id)
    assert not ledger.may_be_doubled(copy_id)
    again = ledger.begin(test_ledger.Item())
    assert ledger.supersede(again, copy_id)
    assert not again.is_doubtful


async def test_a_copy_that_replaces_one_that_cannot_be_cancelled_says_so(
    desk: conftest.Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await desk.start()
    ledger = OutcomeLedger(lambda: desk.now, lambda _: None, journal)
    entry = ledger.begin(test_ledger.Item())
    journal.note_moved(entry)
    copy_id = journal.copy_id(entry)
    monkeypatch.setattr(FileJournal, "_cancelled", lambda *_: f"{desk.folder}/missing/x")
    assert ledger.replace_copy(copy_id) is not None
    assert ledger.may_be_doubled(copy_id)
    assert json.loads(mark_doubtful(b'{"recipient":"a@b.test"}')) == {
        "recipient": "a@b.test", "possible-duplicate": True,
    }  # fmt: skip


async def test_without_a_journal_no_copy_has_an_identity() -> None:
    ledger = OutcomeLedger(lambda: 0.0, lambda _: None)
    assert ledger.replace_copy(b"x" * 16) is None
    assert ledger.supersede(ledger.begin(test_ledger.Item()), b"x" * 16)


class DeafBroker(MemoryBroker):
    """Takes everything and confirms nothing."""

    def settle(self, item: OutboxItem, publications: Sequence[Publication]) -> Awaitable[None]:
        self.published += publications
        return asyncio.get_running_loop().create_future()


class Office(test_publisher.Desk):
    """A publisher with a journal."""

    def __init__(self, journal: FileJournal) -> None:
        super().__init__(DeafBroker)
        self.ledger = OutcomeLedger(self.clock.monotonic, lambda _: None, journal)
        rules = PublisherRules(outbox=test_publisher.OUTBOX, queues=test_publisher.QUEUES)
        self.publisher = Publisher(self.broker, self.ledger, rules, self.clock, self.observer, journal=journal)


@pytest.mark.parametrize("is_verbatim", [False, True])
async def test_a_message_that_went_back_is_known_by_its_copy(desk: conftest.Desk, is_verbatim: bool) -> None:
    """The process dies before the broker confirmed: it may have the message, or its copy, or both."""
    journal = await desk.start()
    office = Office(journal)
    item, entry, message = await office.consume(mail("m1"))
    if is_verbatim:
        work = office.publisher.give_back_verbatim(item, entry, 300.0, "internal error")
    else:
        work = office.publisher.give_back(item, entry, message, office.clock.now(), 60.0, "over capacity")
    giving_back = asyncio.ensure_future(work)
    await eventually(lambda: bool(office.copies(test_publisher.OUTBOX)), "the copy is on its way")
    [copy] = office.copies(test_publisher.OUTBOX)
    giving_back.cancel()
    journal = await desk.restart(journal)

    recalled = journal.recall(key_of(item), is_unique=False)

    assert recalled is not None
    assert recalled.kind is RecollectionKind.MOVED
    assert recalled.copy_id == copy.copy_id
