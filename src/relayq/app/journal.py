"""The outcome journal that the configuration asks for."""

from __future__ import annotations

import hashlib

from relayq.adapters.journal import FileJournal, JournalOptions, SyncMode, find_folder
from relayq.config import AUTOMATIC, EmbeddedAddress, Settings
from relayq.ports import JournalError, Observer, OutcomeJournal


def open_journal(settings: Settings, observer: Observer) -> OutcomeJournal | None:
    """The journal, not yet opened; ``None`` when there is none.

    The usual folder is made when it can be, and done without when it cannot; one that was named must be usable.

    Raises:
        JournalError: The folder that was named cannot be used.
    """
    given = settings.journal
    if given.directory is None:
        return None
    is_named = given.directory != AUTOMATIC
    try:
        folder = find_folder(given.directory if is_named else None)
    except JournalError as error:
        if is_named:
            raise
        observer.warn(
            "journal", f"{error}: after a crash, mail may be sent twice without a mark; set journal-directory"
        )
        return None
    options = JournalOptions(
        folder=folder,
        instance=_instance(settings),
        sync=SyncMode(given.sync),
        max_bytes=given.max_size,
        stops=given.failure == "stop",
    )

    def report(level: str, text: str) -> None:
        tell = observer.alarm if level == "alarm" else observer.warn
        tell("journal", text)

    return FileJournal(options, report)


def _instance(settings: Settings) -> str:
    """Name of the outbox among those of this machine: processes that share it read each other's notes."""
    address = settings.broker.address
    shown = str(address) if isinstance(address, EmbeddedAddress) else ",".join(map(str, address))
    return hashlib.sha256(f"{shown} {settings.queues.outbox}".encode()).hexdigest()[:12]
