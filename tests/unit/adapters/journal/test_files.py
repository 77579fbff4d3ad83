"""How much a journal keeps, and what it does when the disk does not want it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from pathlib import Path

import pytest

from relayq.adapters.journal import FileJournal, SyncMode, find_folder
from relayq.adapters.journal import journal as module
from relayq.adapters.journal.segments import Segments
from relayq.ports import JournalEntry, JournalError
from tests.support.engine import eventually
from tests.unit.adapters.journal.conftest import KEYS, Desk, done, entry

SMALL = 1 << 18
SEGMENT = module.MIN_SEGMENT_BYTES


def deliver(journal: FileJournal, *, decision: bytes = b"x" * 200) -> JournalEntry:
    """One message, up to its acknowledgement."""
    item = JournalEntry(os.urandom(32))
    journal.note_sending(item)
    journal.note_decided(item, decision)
    journal.note_done(item, is_acknowledged=True)
    return item


async def test_what_is_forgotten_gives_its_file_back(desk: Desk) -> None:
    journal = await desk.start(max_bytes=SMALL)
    for _ in range(10_000):
        journal.forget(deliver(journal))
        assert desk.files.count(".journal") <= 2

    assert journal.recall(KEYS["a"], is_unique=True) is None
    await desk.stop(journal)
    assert desk.files == []


async def test_one_message_that_takes_long_does_not_keep_everything_behind_it(desk: Desk) -> None:
    journal = await desk.start(max_bytes=SMALL)
    slow, decided = entry("a"), entry("b")
    journal.note_sending(slow)
    journal.note_decided(decided, b"the decision")
    for _ in range(5_000):
        journal.forget(deliver(journal))
    assert desk.octets <= SMALL + 2 * SEGMENT
    assert not desk.said
    journal = await desk.restart(journal)

    assert journal.recall(KEYS["a"], is_unique=True) is not None
    recalled = journal.recall(KEYS["b"], is_unique=True)
    assert recalled is not None
    assert recalled.decision == b"the decision"


async def test_it_never_grows_beyond_its_size(desk: Desk) -> None:
    """A broker that confirms nothing for hours: the oldest notes go, and that is told."""
    journal = await desk.start(max_bytes=SMALL)
    items = []
    for _ in range(5_000):
        items.append(JournalEntry(os.urandom(32)))
        journal.note_decided(items[-1], b"x" * 200)
    assert desk.octets <= SMALL + 2 * SEGMENT
    assert any("over journal-max-size" in text for _, text in desk.said)
    for item in items:  # late, and harmless
        journal.note_done(item, is_acknowledged=True)
        journal.forget(item)
    journal = await desk.restart(journal)

    assert journal.recall(items[0].key, is_unique=True) is None
    assert journal.recall(items[-1].key, is_unique=True) is not None


async def test_notes_about_messages_whose_first_ones_had_to_go(desk: Desk) -> None:
    """An outcome that cannot be noted would send an accepted mail again."""
    journal = await desk.start(max_bytes=SMALL)
    items = [JournalEntry(os.urandom(32)) for _ in range(10_000)]
    for item in items:
        journal.note_sending(item)
    assert any("over journal-max-size" in text for _, text in desk.said)

    for item in items:
        journal.note_decided(item, b"x" * 20)
        journal.note_done(item, is_acknowledged=True)
        journal.forget(item)

    assert not journal._entries
    assert not any(journal._counts.values())


async def test_a_clean_end_leaves_nothing_an_unclean_one_everything(desk: Desk) -> None:
    journal = await desk.start()
    deliver(journal)
    await desk.stop(journal)
    assert desk.files == []

    journal = await desk.start()
    journal.note_sending(entry("a"))
    await desk.stop(journal)
    assert desk.files == [".journal", ".lock"]


async def test_an_end_soon_after_a_lost_channel_is_not_clean(desk: Desk) -> None:
    journal = await desk.start()
    deliver(journal)
    journal.note_lost()
    await desk.stop(journal)

    journal = await desk.start()
    assert desk.files.count(".journal") == 2


async def test_notes_of_dead_processes_go_when_nobody_can_ask_for_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await desk.start()
    await desk.die(journal)
    journal = await desk.start()
    assert journal.has_dead(), "there was nothing in it, but somebody died"
    await desk.stop(journal)
    desk.now += module.KEEP_SECONDS + 60.0
    journal = await desk.start()
    assert desk.files == [".journal", ".lock"], "there was nothing in it"
    assert not journal.has_dead()
    desk.now -= module.KEEP_SECONDS + 60.0
    journal.note_sending(entry("a"))
    await desk.die(journal)
    monkeypatch.setattr(module, "KEEP_SECONDS", 0.01)

    journal = await desk.start()
    await eventually(lambda: desk.files == [".journal", ".lock"], "the old notes go")

    assert journal.recall(KEYS["a"], is_unique=True) is None


async def test_a_crash_loop_does_not_fill_the_disk(desk: Desk) -> None:
    for _ in range(12):
        journal = await desk.start(max_bytes=SMALL)
        for _ in range(500):
            journal.note_decided(JournalEntry(os.urandom(32)), b"x" * 50)
        last = JournalEntry(os.urandom(32))
        journal.note_sending(last)
        await desk.die(journal)

    journal = await desk.start(max_bytes=SMALL)

    assert desk.octets < 2 * SMALL
    assert journal.recall(last.key, is_unique=True) is not None
    assert any("earlier process were deleted" in text for _, text in desk.said)


# --- trouble --------------------------------------------------------------------------------------------------------


def full_disk(journal: FileJournal, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """While the list is not empty nothing can be written."""
    is_full = [True]
    append, start_next = Segments.append, Segments.start_next

    def fail_append(self: Segments, octets: bytes) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, octets)

    def fail_start(self: Segments) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        start_next(self)

    monkeypatch.setattr(Segments, "append", fail_append)
    monkeypatch.setattr(Segments, "start_next", fail_start)
    return is_full


async def test_a_full_disk_is_told_once_and_delivery_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    journal = await desk.start()
    is_full = full_disk(journal, monkeypatch)

    for _ in range(3):
        journal.forget(deliver(journal))
    assert [level for level, _ in desk.said] == ["alarm"]
    assert "No space left on device; delivery goes on" in desk.said[0][1]
    assert not journal.stops_delivery

    is_full.clear()
    journal.note_sending(entry("a"))
    assert [level for level, _ in desk.said] == ["alarm", "info"]
    journal = await desk.restart(journal)
    assert journal.recall(KEYS["a"], is_unique=True) is not None


async def test_delivery_stops_when_the_settings_say_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    journal = await desk.start(stops=True)
    is_full = full_disk(journal, monkeypatch)
    before = journal.stops_delivery

    journal.note_sending(entry("a"))
    assert (before, journal.stops_delivery) == (False, True)
    assert "nothing is sent until it can" in desk.said[0][1]

    is_full.clear()
    assert not journal.stops_delivery


async def test_a_file_size_limit_of_the_system(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: the system takes a part of a record and no more; the next file is whole again."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    journal = await desk.start()
    first = deliver(journal)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal._segments.sizes[1] + 100, hard))
    try:
        torn = JournalEntry(KEYS["a"])
        journal.note_decided(torn, b"x" * 500)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [level for level, _ in desk.said] == ["alarm"]
    journal.note_sending(entry("b"))
    journal = await desk.restart(journal)

    assert journal.recall(KEYS["a"], is_unique=True) is None
    assert journal.recall(KEYS["b"], is_unique=True) is not None
    assert journal.recall(first.key, is_unique=True) is not None


async def test_a_disk_that_is_full_at_the_start_is_no_reason_not_to_start(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = [True]
    start_next = Segments.start_next

    def fail(self: Segments) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        start_next(self)

    monkeypatch.setattr(Segments, "start_next", fail)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    journal = await desk.start()
    assert [level for level, _ in desk.said] == ["alarm"]

    is_full.clear()
    journal.note_sending(entry("a"))

    journal = await desk.restart(journal)
    assert journal.recall(KEYS["a"], is_unique=True) is not None


async def test_a_folder_that_is_none_is_an_error(desk: Desk) -> None:
    file = desk.folder / "file"
    file.touch()
    desk.folder = file

    with pytest.raises(JournalError, match="cannot be used: Not a directory"):
        await desk.start()
    desk.journals.clear()
    desk.folder = file.parent


# --- durability -----------------------------------------------------------------------------------------------------


async def test_content_waits_for_the_disk_and_shares_its_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    fdatasync = os.fdatasync

    def counted(fd: int) -> None:
        calls.append(fd)
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    journal = await desk.start(sync=SyncMode.ALWAYS)
    noted = [journal.note_sending(JournalEntry(os.urandom(32))) for _ in range(100)]

    async with asyncio.timeout(60):
        for future in noted:
            assert future is not None
            await future

    assert 1 <= len(calls) <= 50


async def test_a_disk_that_fails_when_it_has_to_be_sure(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = await desk.start(sync=SyncMode.ALWAYS)
    monkeypatch.setattr(os, "fdatasync", fail)

    noted = journal.note_sending(entry("a"))
    assert noted is not None
    async with asyncio.timeout(60):
        await noted

    assert [level for level, _ in desk.said] == ["alarm"]
    assert journal.note_sending(entry("b")) is None


async def test_without_its_note_nothing_may_be_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = await desk.start(sync=SyncMode.ALWAYS, stops=True)
    monkeypatch.setattr(os, "fdatasync", fail)

    noted = journal.note_sending(entry("a"))
    assert noted is not None
    with pytest.raises(OSError, match="Input/output error"):
        await noted


async def test_notes_are_on_disk_within_a_second(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.01)
    journal = await desk.start(sync=SyncMode.SECOND)
    assert journal.note_sending(entry("a")) is None

    await eventually(lambda: len(calls) == 1, "a flush")
    journal.note_sending(entry("b"))
    await eventually(lambda: len(calls) == 2, "a second one")
    assert journal._syncing is None or len(calls) == 2


async def test_a_note_nothing_depends_on_comes_a_moment_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAZY_SECONDS", 0.01)
    journal = await desk.start()
    item = entry("a")
    journal.note_decided(item, b"x")
    before = desk.octets
    journal.note_done(item, is_acknowledged=True)
    assert desk.octets == before

    await eventually(lambda: desk.octets > before, "the note is written")


async def test_descriptors_are_not_left_behind(desk: Desk) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for sync in SyncMode:
        journal = await desk.start(sync=sync, max_bytes=SMALL)
        for _ in range(1000):
            journal.forget(deliver(journal))
        done(journal, entry("a"))
        await desk.stop(journal)

    assert len(os.listdir("/proc/self/fd")) <= before


# --- where ----------------------------------------------------------------------------------------------------------


def test_the_usual_folder_is_made(tmp_path: Path) -> None:
    system = tmp_path / "lib"
    assert find_folder(None, system_folder=system, home=tmp_path) == tmp_path / ".local/state/relayq/journal"
    system.mkdir()
    assert find_folder(None, system_folder=system, home=tmp_path) == system / "journal"
    assert (system / "journal").stat().st_mode & 0o777 == 0o700
    assert find_folder(str(tmp_path / "x" / "y")) == tmp_path / "x" / "y"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="file/journal: Not a directory"):
        find_folder(str(tmp_path / "file" / "journal"))


# --- who else there is ----------------------------------------------------------------------------------------------


async def test_processes_of_this_machine_are_counted(desk: Desk) -> None:
    first, second = await desk.start(), await desk.start()
    await desk.start(instance="j")
    assert (first.count_living(), second.count_living()) == (2, 2)
    await desk.die(second)
    assert first.count_living() == 1


async def test_strangers_are_remembered_beyond_the_process(desk: Desk) -> None:
    journal = await desk.start()
    assert journal.strangers_age() is None
    journal.note_strangers()
    journal = await desk.restart(journal)
    desk.now += 1000.0
    age = journal.strangers_age()
    assert age is not None
    assert 0.0 < age <= 1000.0
    assert (await desk.start(instance="j")).strangers_age() is None
