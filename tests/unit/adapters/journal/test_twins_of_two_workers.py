"""Two workers, two messages that are equal in every octet, and a broker that goes away and comes back."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from relayq.delivery.ledger import OutcomeLedger, key_of
from relayq.ports import RecollectionKind
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
        if self.ledger.matches(item):
            return "acknowledged"
        if any(other.ledger.answer(key_of(item), lambda _: None, is_unique=False) for other in others):
            return "acknowledged"
        recalled = self.ledger.recall(item)
        if recalled is None:
            return "sent"
        return "sent, marked" if recalled.kind is RecollectionKind.SENT else "acknowledged"


async def worker(desk: Desk) -> Worker:
    journal = await desk.start()
    acknowledged: list[Item] = []
    ledger = OutcomeLedger(lambda: desk.now, acknowledged.append, journal)  # type: ignore[arg-type]
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
