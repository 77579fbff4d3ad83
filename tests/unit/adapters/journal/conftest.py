"""A journal whose process can die."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relayq.adapters.journal import FileJournal, JournalOptions, SyncMode
from relayq.ports import JournalEntry

KEYS = {name: name.encode() * 32 for name in "abcdef"}


class Desk:
    """One folder, a clock that is turned by hand, and the processes that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = time.time()
        self.said: list[tuple[str, str]] = []
        self.journals: list[FileJournal] = []

    async def start(
        self, *, sync: SyncMode = SyncMode.NEVER, max_bytes: int = 1 << 20, stops: bool = False, instance: str = "i"
    ) -> FileJournal:
        """A process begins."""
        options = JournalOptions(folder=self.folder, instance=instance, sync=sync, max_bytes=max_bytes, stops=stops)
        journal = FileJournal(options, lambda level, text: self.said.append((level, text)), lambda: self.now)
        self.journals.append(journal)
        await journal.open()
        return journal

    async def die(self, journal: FileJournal) -> None:
        """A process ends as ``kill -9`` ends it: what was handed to the system stays, its memory is gone."""
        self.journals.remove(journal)
        journal._done.clear()
        await journal.close(is_clean=False)

    async def stop(self, journal: FileJournal) -> None:
        """A process ends in order."""
        self.journals.remove(journal)
        await journal.close(is_clean=True)

    async def restart(self, journal: FileJournal) -> FileJournal:
        """A process dies, and another begins."""
        await self.die(journal)
        return await self.start()

    @property
    def files(self) -> list[str]:
        """What lies in the folder, by kind."""
        return sorted(path.suffix for path in self.folder.iterdir())

    @property
    def octets(self) -> int:
        """How much lies in the folder."""
        return sum(path.stat().st_size for path in self.folder.iterdir())


def entry(name: str) -> JournalEntry:
    """A hand-out of the message called ``name``."""
    return JournalEntry(KEYS[name])


def done(journal: FileJournal, item: JournalEntry) -> None:
    """Acknowledged, and the note written at once."""
    journal.note_done(item, is_acknowledged=True)
    journal._flush_lazy()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    for journal in list(desk.journals):
        await desk.die(journal)
