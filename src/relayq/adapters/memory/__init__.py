"""Every port without a world behind it: for unit tests and dry runs, held to the same contract suites. Layer 4."""

from relayq.adapters.memory.broker import MemoryBroker, MemoryChannel, MemoryItem, RecordingListener
from relayq.adapters.memory.clock import ManualClock
from relayq.adapters.memory.database import MemoryDatabase
from relayq.adapters.memory.fetcher import MemoryFetcher
from relayq.adapters.memory.observer import (
    AttemptFinished,
    CrashCaught,
    MessageWaits,
    RecordingObserver,
    ResourceFetched,
    SessionClosed,
    SessionOpened,
    TlsFailed,
    Warned,
)
from relayq.adapters.memory.queues import MemoryQueues
from relayq.adapters.memory.resolver import MemoryResolver
from relayq.adapters.memory.store import MemoryStore
from relayq.adapters.memory.workshop import LocalWorkshop

__all__ = [
    "AttemptFinished",
    "CrashCaught",
    "LocalWorkshop",
    "ManualClock",
    "MemoryBroker",
    "MemoryChannel",
    "MemoryDatabase",
    "MemoryFetcher",
    "MemoryItem",
    "MemoryQueues",
    "MemoryResolver",
    "MemoryStore",
    "MessageWaits",
    "RecordingListener",
    "RecordingObserver",
    "ResourceFetched",
    "SessionClosed",
    "SessionOpened",
    "TlsFailed",
    "Warned",
]
