"""Two workers, two messages that are equal in every octet, and a broker that goes away and comes back."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from relayq.delivery.ledger import Knowledge, OutcomeLedger, key_of
from relayq.ports import RecollectionKind
from relayq.supervisor.questions import together
from tests.unit.adapters.journal.conftest import Desk
from tests.unit.delivery.test_ledger import Item, OneChannel


@dataclasses.dataclass
class Worker:
    """A memory and its journal."""

    ledger: OutcomeLedger
    journal: Any
    acknowledged: list[Item]

    def takes(self, others: list[Worker]) -> str:
        """What becomes of an equal message that is handed out again here."""
        item = Item(redelivered=True)
        is_owed = self.ledger.pays(item)
        if not is_owed and self.ledger.matches(item):
            return "acknowledged"
        found = [
            other.ledger.answer(key_of(item), lambda _: None, is_unique=False, is_owed=is_owed) for other in others
        ]
        asked = Knowledge.UNKNOWN
        for one in found:
            asked = together(asked, one)
        if asked in {Knowledge.KNOWN, Knowledge.WAIT}:
            self.ledger.acknowledge(item)
            return "acknowledged"
        asked = Knowledge.OWED if is_owed else asked
        if self.ledger.matches_after_all(item, asked):
            return "acknowledged"
        recalled = self.ledger.recall(item, asked)
        if recalled is None:
            return "sent"
        return "sent, marked" if recalled.kind is RecollectionKind.SENT else "acknowledged"


async def worker(desk: Desk) -> Worker:
    journal = await desk.start()
    acknowledged: list[Item] = []
    ledger = OutcomeLedger(lambda: desk.now, acknowledged.append, journal, is_shared=True)  # type: ignore[arg-type]
    return Worker(ledger, journal, acknowledged)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0), (1, 1), (2, 0), (0, 2), (2, 1), (1, 2), (2, 2)])
async def test_one_that_was_not_started_is_a_mail(desk: Desk, order: tuple[int, int]) -> None:
    """``order``: which workers get the two of them, when the broker is back."""
    workers = [await worker(desk) for _ in range(3)]
    first, second, _ = workers
    sent, waiting = Item(), Item()
    entry = first.ledger.begin(sent)
    first.journal.note_sending(entry)
    first.journal.note_decided(entry, b"decided")
    unstarted = second.ledger.begin(waiting)
    OneChannel.lose()
    for one, item in zip(workers, (sent, waiting, None), strict=True):
        if item is not None:
            item.is_held = False
        one.ledger.channel_lost()
    second.ledger.abandon(unstarted)
    second.ledger.owe(waiting)
    first.ledger.settle(entry)

    fates = [workers[number].takes([one for one in workers if one is not workers[number]]) for number in order]

    assert any(fate.startswith("sent") for fate in fates), fates


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("survives", [True, False], ids=["all live", "one died"])
async def test_one_that_was_not_started_is_a_mail_though_its_twin_was_acknowledged(
    desk: Desk, place: int, survives: bool
) -> None:
    """The acknowledgement arrived before the broker went away: what comes back is the other one, to any worker."""
    workers = [await worker(desk) for _ in range(3)]
    first, second, third = workers
    sent, waiting = Item(), Item()
    entry = first.ledger.begin(sent)
    first.journal.note_decided(entry, b"decided")
    first.ledger.settle(entry)
    unstarted = second.ledger.begin(waiting)
    OneChannel.lose()
    sent.is_held = waiting.is_held = False
    for one in (first, third):
        one.ledger.channel_lost()
    if survives:
        second.ledger.channel_lost()
        second.ledger.abandon(unstarted)
        second.ledger.owe(waiting)
    else:
        await desk.die(second.journal)
        workers[1] = second = await worker(desk)

    fate = workers[place].takes([one for one in workers if one is not workers[place]])

    assert fate.startswith("sent" if survives else "sent, marked")


async def test_one_whose_acknowledgement_was_lost_is_not_sent_again_while_all_live(desk: Desk) -> None:
    workers = [await worker(desk) for _ in range(3)]
    sent = Item()
    entry = workers[0].ledger.begin(sent)
    workers[0].journal.note_decided(entry, b"decided")
    workers[0].ledger.settle(entry)
    OneChannel.lose()
    for one in workers:
        one.ledger.channel_lost()

    assert workers[2].takes(workers[:2]) == "acknowledged"
