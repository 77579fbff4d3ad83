"""What has been learned, for as long as it may be believed, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from relayq.ports import DnsAnswer, DnsFailureKind, MxRecord, TlsaRecord

OCTETS_PER_UNIT = 512
"""An answer weighs one, and one more for each of these: an ordinary one takes about this much memory."""
_OCTETS_PER_RECORD = 32

Question = tuple[str, int]
"""Name in lower-case A-labels, record type by number."""


class Failure(msgspec.Struct, frozen=True):
    """A question without an answer, remembered like one."""

    kind: DnsFailureKind
    text: str
    expires_at: float


class Cache:
    """Answers by question; those not asked for longest go first.

    Args:
        capacity: Answers kept. One with much in it counts as several, so hostile answers cannot fill the memory.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Question, DnsAnswer | Failure] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now: float) -> DnsAnswer | Failure | None:
        """What is known at the monotonic instant ``now``."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        if entry.expires_at <= now:
            self._drop(question)
            return None
        self._entries.move_to_end(question)
        return entry

    def put(self, question: Question, entry: DnsAnswer | Failure) -> None:
        """Remember, replacing what was known."""
        if question in self._entries:
            self._drop(question)
        self._entries[question] = entry
        self._weight += _weight(entry)
        while self._weight > self._capacity and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._weight -= _weight(oldest)

    def _drop(self, question: Question) -> None:
        self._weight -= _weight(self._entries.pop(question))


def _weight(entry: DnsAnswer | Failure) -> int:
    if isinstance(entry, Failure):
        return 1
    octets = sum(_OCTETS_PER_RECORD + len(_variable_part(record)) for record in entry.records)
    return 1 + octets // OCTETS_PER_UNIT


def _variable_part(record: MxRecord | TlsaRecord | str) -> str | bytes:
    if isinstance(record, str):
        return record
    return record.host if isinstance(record, MxRecord) else record.association
