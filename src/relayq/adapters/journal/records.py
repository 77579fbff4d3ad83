"""Notes ⇄ octets.

A file begins with a line that names the format and the eight octets of its *run*, the process that wrote it. Records
follow, each with its length and a CRC-32 over kind and payload. A crash can tear the last record only: reading stops at
the first one that is not whole, and nothing behind it is believed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAGIC = b"relayq journal 1\n"
RUN_OCTETS = 8
KEY_OCTETS = 32
HEADER_OCTETS = len(MAGIC) + RUN_OCTETS
MAX_PAYLOAD = 1 << 20
"""Octets; whatever claims to be longer is damage."""

SENDING, DECIDED, MOVED, DONE, UNACKNOWLEDGED, TWIN, LOST, REPLACES, RENAMED = range(1, 10)

_FRAME = struct.Struct("<II")
_NUMBERED = struct.Struct("<BQ")
_TIMED = struct.Struct("<Bd")
_ORIGIN = struct.Struct("<B8sQ")
_NUMBER = struct.Struct("<Q")
_PAIR = struct.Struct("<BQQ")
_crc = zlib.crc32


class Record(NamedTuple):
    """One note; what it does not have is zero or empty.

    Attributes:
        kind: One of the constants of this module.
        number: Of the hand-out, within its run; for ``RENAMED`` of the copy that is cancelled.
        at: Seconds since the epoch.
        numbers: Hand-outs that are done; for ``RENAMED`` the number of the copy that takes the place.
        run: Whose hand-out ``number`` is, for ``REPLACES``.
    """

    kind: int
    number: int = 0
    key: bytes = b""
    decision: bytes = b""
    at: float = 0.0
    numbers: Sequence[int] = ()
    run: bytes = b""


def frame(content: bytes) -> bytes:
    """A record around kind and payload."""
    return _FRAME.pack(len(content), _crc(content)) + content


def sending(number: int, key: bytes) -> bytes:
    """Content is about to be sent."""
    return frame(_NUMBERED.pack(SENDING, number) + key)


def decided(number: int, key: bytes, decision: bytes) -> bytes:
    """The outcome is known."""
    return frame(_NUMBERED.pack(DECIDED, number) + key + decision)


def moved(number: int, key: bytes) -> bytes:
    """A copy is about to be published to the outbox."""
    return frame(_NUMBERED.pack(MOVED, number) + key)


def done(at: float, numbers: Sequence[int], *, is_acknowledged: bool = True) -> bytes:
    """Everything that follows from these is confirmed; acknowledged unless the channel was lost before."""
    kind = DONE if is_acknowledged else UNACKNOWLEDGED
    return frame(_TIMED.pack(kind, at) + struct.pack(f"<{len(numbers)}Q", *numbers))


def twin(key: bytes) -> bytes:
    """Several messages with this key were in hand at once."""
    return frame(bytes((TWIN,)) + key)


def lost(at: float) -> bytes:
    """Acknowledgements may not have arrived."""
    return frame(_TIMED.pack(LOST, at))


def replaces(run: bytes, number: int) -> bytes:
    """What an earlier run knew of this hand-out is taken over by this run."""
    return frame(_ORIGIN.pack(REPLACES, run, number))


def renamed(number: int, new_number: int) -> bytes:
    """The copy of that number is published again as another, and cancelled."""
    return frame(_PAIR.pack(RENAMED, number, new_number))


def header(run: bytes) -> bytes:
    """Beginning of a file."""
    return MAGIC + run


def read_run(data: bytes) -> bytes | None:
    """The run that wrote a file, ``None`` when it is no journal of this format."""
    if len(data) < HEADER_OCTETS or not data.startswith(MAGIC):
        return None
    return data[len(MAGIC) : HEADER_OCTETS]


class Scan:
    """The whole records of some octets, in order.

    Attributes:
        position: Behind the last whole record.
        is_damaged: What stands there can never become a whole record.
    """

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.position = position
        self.is_damaged = False
        self._data = data

    def __iter__(self) -> Iterator[tuple[Record, bytes]]:
        """Each record, decoded and as it stands there."""
        data, size = self._data, len(self._data)
        while self.position + _FRAME.size <= size:
            length, checksum = _FRAME.unpack_from(data, self.position)
            start = self.position + _FRAME.size
            if not 0 < length <= MAX_PAYLOAD:
                self.is_damaged = True
                return
            if start + length > size:
                return
            content = data[start : start + length]
            record = _decode(content) if _crc(content) == checksum else None
            if record is None:
                self.is_damaged = True
                return
            raw = data[self.position : start + length]
            self.position = start + length
            yield record, raw


def _decode(content: bytes) -> Record | None:
    kind = content[0]
    if kind in {SENDING, DECIDED, MOVED}:
        return _decode_numbered(kind, content)
    if kind in {DONE, UNACKNOWLEDGED, LOST} and len(content) >= _TIMED.size:
        if (len(content) - _TIMED.size) % _NUMBER.size:
            return None
        numbers = [number for (number,) in _NUMBER.iter_unpack(content[_TIMED.size :])]
        return Record(kind, at=_TIMED.unpack_from(content)[1], numbers=numbers)
    if kind == TWIN and len(content) == 1 + KEY_OCTETS:
        return Record(kind, key=content[1:])
    if kind == REPLACES and len(content) == _ORIGIN.size:
        _, run, number = _ORIGIN.unpack(content)
        return Record(kind, number=number, run=run)
    if kind == RENAMED and len(content) == _PAIR.size:
        _, number, new_number = _PAIR.unpack(content)
        return Record(kind, number=number, numbers=(new_number,))
    return None


def _decode_numbered(kind: int, content: bytes) -> Record | None:
    key_end = _NUMBERED.size + KEY_OCTETS
    if len(content) < key_end:
        return None
    number = _NUMBERED.unpack_from(content)[1]
    return Record(kind, number, content[_NUMBERED.size : key_end], content[key_end:])
