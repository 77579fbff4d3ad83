"""The outcome journal as append-only files of one folder (`relayq.ports.OutcomeJournal`). Layer 4."""

from relayq.adapters.journal.journal import FileJournal, JournalOptions, SyncMode
from relayq.adapters.journal.location import find_folder

__all__ = ["FileJournal", "JournalOptions", "SyncMode", "find_folder"]
