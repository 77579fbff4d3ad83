"""What the next process knows about the messages of one that died."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from relayq.adapters.journal import records
from relayq.adapters.journal.past import SETTLED_SECONDS, PastEntry, Run, recollect
from relayq.ports import JournalEntry, RecollectionKind
from tests.unit.adapters.journal.conftest import KEYS, Desk, done, entry

SENT, DECIDED, DONE = RecollectionKind.SENT, RecollectionKind.DECIDED, RecollectionKind.DONE
RUNNING, MOVED = RecollectionKind.RUNNING, RecollectionKind.MOVED


async def test_content_that_was_sent_without_a_known_reply(desk: Desk) -> None:
    journal = await desk.start()
    assert journal.note_sending(entry("a")) is None
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert recalled.kind is SENT
    assert journal.recall(KEYS["a"], is_unique=True) is None, "one note stands for one redelivery"
    assert journal.recall(KEYS["b"], is_unique=True) is None


async def test_an_outcome_that_was_decided(desk: Desk) -> None:
    journal = await desk.start()
    item = entry("a")
    journal.note_sending(item)
    journal.note_decided(item, b"accepted")
    copy_id = journal.copy_id(item)
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert (recalled.kind, recalled.decision, recalled.copy_id) == (DECIDED, b"accepted", copy_id)


async def test_a_message_that_was_moved(desk: Desk) -> None:
    journal = await desk.start()
    item = entry("a")
    journal.note_moved(item)
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert recalled.kind is MOVED


async def test_a_message_of_which_only_the_acknowledgement_is_missing(desk: Desk) -> None:
    journal = await desk.start()
    item = entry("a")
    journal.note_decided(item, b"x")
    done(journal, item)
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert recalled.kind is DONE


async def test_an_acknowledgement_older_than_a_minute_arrived(desk: Desk) -> None:
    journal = await desk.start()
    old, new = entry("a"), entry("b")
    journal.note_decided(old, b"x")
    journal.note_decided(new, b"x")
    done(journal, old)
    desk.now += SETTLED_SECONDS + 1
    done(journal, new)
    for path in desk.folder.glob("*.journal"):
        os.utime(path, (desk.now, desk.now))
    journal = await desk.restart(journal)

    assert journal.recall(KEYS["a"], is_unique=True) is None
    assert journal.recall(KEYS["b"], is_unique=True) is not None


async def test_a_lost_channel_makes_acknowledgements_doubtful_for_longer(desk: Desk) -> None:
    journal = await desk.start()
    item, late = entry("a"), entry("b")
    journal.note_decided(item, b"x")
    journal.note_decided(late, b"x")
    done(journal, item)
    journal.note_lost()
    desk.now += SETTLED_SECONDS + 1
    journal.note_done(late, is_acknowledged=False)
    desk.now += SETTLED_SECONDS + 1
    third = entry("c")
    journal.note_decided(third, b"x")
    done(journal, third)
    journal = await desk.restart(journal)

    assert [journal.recall(KEYS[name], is_unique=True) is not None for name in "abc"] == [True, True, True]


@pytest.mark.parametrize("is_decided", [False, True])
async def test_twins_are_never_taken_for_each_other(desk: Desk, is_decided: bool) -> None:
    """Of two equal messages one was sent: which one comes back nobody knows, so both are sent, and say so."""
    journal = await desk.start()
    first = entry("a")
    journal.note_sending(first)
    if is_decided:
        journal.note_decided(first, b"x")
        done(journal, first)
    journal.note_twin(KEYS["a"])
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert (recalled.kind, recalled.decision) == (SENT, b"")
    assert journal.recall(KEYS["a"], is_unique=True) is None


@pytest.mark.parametrize(
    ("is_unique", "has_company", "kind"), [(False, True, SENT), (True, True, DONE), (False, False, DONE)]
)
async def test_an_acknowledged_one_may_be_a_twin_that_died_unstarted(
    desk: Desk, is_unique: bool, has_company: bool, kind: RecollectionKind
) -> None:
    """The other worker had it in hand and had not noted anything."""
    journal = await desk.start()
    other = await desk.start() if has_company else None
    first = entry("a")
    journal.note_decided(first, b"x")
    done(journal, first)
    if other is not None:
        await desk.die(other)
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=is_unique)

    assert recalled is not None
    assert recalled.kind is kind


async def test_as_many_twins_are_doubtful_as_were_sent(desk: Desk) -> None:
    journal = await desk.start()
    for _ in range(3):
        journal.note_sending(entry("a"))
    journal = await desk.restart(journal)

    kinds = [recalled and recalled.kind for recalled in (journal.recall(KEYS["a"], is_unique=True) for _ in range(4))]

    assert kinds == [SENT, SENT, SENT, None]


async def test_what_was_not_started_can_be_recalled_again(desk: Desk) -> None:
    journal = await desk.start()
    journal.note_sending(entry("a"))
    journal = await desk.restart(journal)
    recalled = journal.recall(KEYS["a"], is_unique=True)
    assert recalled is not None

    journal.put_back(recalled)

    assert journal.recall(KEYS["a"], is_unique=True) == recalled


async def test_a_second_crash_does_not_make_two_of_one(desk: Desk) -> None:
    """The second process sent it again and knows the reply: that counts for the third, not that there were two."""
    journal = await desk.start()
    journal.note_sending(entry("a"))
    journal = await desk.restart(journal)
    again = JournalEntry(KEYS["a"])
    again.recalled = journal.recall(KEYS["a"], is_unique=True)
    journal.note_sending(again)
    journal.note_decided(again, b"second")
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert (recalled.kind, recalled.decision) == (DECIDED, b"second")


async def test_a_second_crash_before_anything_was_noted_changes_nothing(desk: Desk) -> None:
    journal = await desk.start()
    journal.note_sending(entry("a"))
    journal = await desk.restart(journal)
    assert journal.recall(KEYS["a"], is_unique=True) is not None
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert recalled.kind is SENT


async def test_a_message_of_a_worker_that_lives_is_its_business(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relayq.adapters.journal.journal.READ_SECONDS", 0.0)
    one, other = await desk.start(), await desk.start()
    item = entry("a")
    one.note_sending(item)

    for _ in range(2):
        recalled = other.recall(KEYS["a"], is_unique=True)
        assert recalled is not None
        assert recalled.kind is RUNNING
    one.note_decided(item, b"x")
    recalled = other.recall(KEYS["a"], is_unique=True)
    assert recalled is not None
    assert recalled.kind is RUNNING
    one.note_done(item, is_acknowledged=False)
    recalled = other.recall(KEYS["a"], is_unique=True)
    assert recalled is not None
    assert recalled.kind is DONE
    assert other.recall(KEYS["a"], is_unique=True) is None


async def test_a_worker_that_lives_and_acknowledged_says_nothing_about_a_twin(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayq.adapters.journal.journal.READ_SECONDS", 0.0)
    one, other = await desk.start(), await desk.start()
    item = entry("a")
    one.note_decided(item, b"x")
    done(one, item)

    assert other.recall(KEYS["a"], is_unique=True) is None
    one.note_lost()
    assert other.recall(KEYS["a"], is_unique=True) is not None


async def test_a_worker_is_not_taken_for_dead_when_there_are_no_descriptors(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, other = await desk.start(), await desk.start()
    journal.note_sending(entry("a"))
    real = os.open

    def exhausted(path: Any, *rest: Any) -> int:
        if str(path).endswith(".lock"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", exhausted)
    recalled = other.recall(KEYS["a"], is_unique=True)
    assert recalled is not None
    assert recalled.kind is RUNNING


async def test_a_worker_that_dies_leaves_its_messages_to_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayq.adapters.journal.journal.READ_SECONDS", 0.0)
    one, other = await desk.start(), await desk.start()
    item = entry("a")
    one.note_sending(item)
    assert other.recall(KEYS["a"], is_unique=True) is not None
    one.note_decided(item, b"x")
    await desk.die(one)

    recalled = other.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert (recalled.kind, recalled.decision) == (DECIDED, b"x")


async def test_another_outbox_has_another_journal(desk: Desk) -> None:
    journal = await desk.start(instance="one")
    journal.note_sending(entry("a"))
    await desk.die(journal)

    other = await desk.start(instance="two")

    assert other.recall(KEYS["a"], is_unique=True) is None


async def test_copies_are_cancelled_for_every_process(desk: Desk) -> None:
    one, other = await desk.start(), await desk.start()
    copy_id = one.copy_id(entry("a"))

    assert not other.is_cancelled(copy_id)
    one.cancel_copy(copy_id)
    assert other.is_cancelled(copy_id)
    await desk.stop(one)
    assert other.is_cancelled(copy_id)


async def test_a_copy_that_was_published_again_is_known_by_its_last_identity(desk: Desk) -> None:
    journal = await desk.start()
    item = entry("a")
    journal.note_moved(item)
    first = journal.copy_id(item)
    second = journal.replace_copy(first)
    third = journal.replace_copy(second)
    assert len({first, second, third}) == 3
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert recalled.copy_id == third
    assert [journal.is_cancelled(copy_id) for copy_id in (first, second, third)] == [True, True, False]


async def test_cancellations_are_forgotten_long_after_their_messages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayq.adapters.journal.journal.CANCELLED_SECONDS", 100.0)
    journal = await desk.start()
    copy_id = journal.copy_id(entry("a"))
    journal.cancel_copy(copy_id)
    path = next(desk.folder.glob("*.cancelled"))
    desk.now = path.stat().st_mtime + 99
    journal = await desk.restart(journal)
    assert journal.is_cancelled(copy_id)

    desk.now += 2
    journal = await desk.restart(journal)

    assert not journal.is_cancelled(copy_id)


@pytest.mark.parametrize(
    "content",
    [b"", b"relayq", records.MAGIC, records.MAGIC + b"\0" * 8 + b"x" * 40, b"\xff" * 100, b"SQLite format 3\0" * 10],
)
async def test_files_that_are_none_of_ours_do_no_harm(desk: Desk, content: bytes) -> None:
    (desk.folder / "i.0123456789abcdef.00000001.journal").write_bytes(content)
    (desk.folder / "i.nonsense.00000001.journal").write_bytes(content)
    (desk.folder / "notes.txt").write_bytes(content)

    journal = await desk.start()

    assert journal.recall(KEYS["a"], is_unique=True) is None
    assert (desk.folder / "notes.txt").exists()


async def test_damage_ends_a_file_and_is_told(desk: Desk) -> None:
    journal = await desk.start()
    for name in "abc":
        journal.note_sending(entry(name))
    await desk.die(journal)
    path = next(desk.folder.glob("*.journal"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    journal = await desk.start()

    assert [journal.recall(KEYS[name], is_unique=True) is not None for name in "abc"] == [True, False, False]
    assert any("is damaged at octet" in text for _, text in desk.said)


async def test_a_report_has_an_identity_of_its_own(desk: Desk) -> None:
    journal = await desk.start()
    item = entry("a")
    journal.note_decided(item, b"x")
    copy_id, report_id = journal.copy_id(item), journal.copy_id(item, is_report=True)
    again = journal.replace_copy(report_id)
    journal = await desk.restart(journal)

    recalled = journal.recall(KEYS["a"], is_unique=True)

    assert recalled is not None
    assert (recalled.copy_id, recalled.report_id) == (copy_id, again)
    assert len({copy_id, report_id, again}) == 3


async def test_an_identity_without_a_note_keeps_nothing(desk: Desk) -> None:
    journal = await desk.start()
    item = entry("a")
    journal.copy_id(item)
    journal.note_done(item, is_acknowledged=True)
    journal.forget(item)
    await desk.stop(journal)

    assert desk.files == []


def test_damaged_renamings_lead_to_an_end() -> None:
    run = Run(b"r" * 8, Path("lock"))
    run.renamed, run.is_alive = {1: 2, 2: 1}, False
    item = PastEntry(run, 1, KEYS["a"])
    item.kind = records.SENDING

    assert recollect(item).kind is SENT
