"""Whatever was noted, and wherever the crash cut the file: what is replayed is what was whole."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from relayq.adapters.journal import FileJournal, JournalOptions, SyncMode, records
from relayq.ports import JournalEntry, RecollectionKind

MESSAGES = 5
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["sending", "decided", "moved", "done", "lost", "twin"]), st.integers(0, MESSAGES - 1)),
    max_size=25,
)
KINDS = {
    "sending": RecollectionKind.SENT,
    "decided": RecollectionKind.DECIDED,
    "moved": RecollectionKind.MOVED,
    "done": RecollectionKind.DONE,
}
ORDER = list(KINDS)


def key(number: int) -> bytes:
    return bytes((number,)) * 32


def possible(steps: Sequence[Step]) -> list[Step]:
    """Without notes no engine would make: nothing comes after a message is done, and nothing is done first."""
    reached: dict[int, int] = {}
    kept: list[Step] = []
    for verb, number in steps:
        if verb in KINDS:
            rank, now = ORDER.index(verb), reached.get(number, -1)
            if rank <= now or (verb == "done" and now < 0) or now == ORDER.index("done"):
                continue
            reached[number] = rank
        kept.append((verb, number))
    return kept


def model(steps: Sequence[Step]) -> dict[int, RecollectionKind]:
    """What the next process should know."""
    known: dict[int, RecollectionKind] = {}
    twins = {number for verb, number in steps if verb == "twin"}
    for verb, number in steps:
        if verb in KINDS:
            known[number] = KINDS[verb]
    return {number: RecollectionKind.SENT if number in twins else kind for number, kind in known.items()}


async def write(folder: Path, steps: Sequence[Step]) -> list[int]:
    """Note everything; returns the size of the file after each step."""
    journal = FileJournal(options(folder), lambda *_: None)
    await journal.open()
    entries = [JournalEntry(key(number)) for number in range(MESSAGES)]
    sizes: list[int] = []
    for verb, number in steps:
        entry = entries[number]
        match verb:
            case "sending":
                journal.note_sending(entry)
            case "decided":
                journal.note_decided(entry, b"decision %d" % number)
            case "moved":
                journal.note_moved(entry)
            case "done":
                journal.note_done(entry, is_acknowledged=True)
                journal._flush_lazy()
            case "lost":
                journal.note_lost()
            case _:
                journal.note_twin(key(number))
        sizes.append(journal._segments.sizes[1])
    await journal.close(is_clean=False)
    return sizes


async def read(folder: Path) -> dict[int, RecollectionKind]:
    """What the next process knows."""
    journal = FileJournal(options(folder), lambda *_: None)
    await journal.open()
    found = {number: journal.recall(key(number), is_unique=True) for number in range(MESSAGES)}
    for number, recalled in found.items():
        if recalled is not None and recalled.kind is RecollectionKind.DECIDED:
            assert recalled.decision == b"decision %d" % number
    await journal.close(is_clean=False)
    return {number: recalled.kind for number, recalled in found.items() if recalled is not None}


def options(folder: Path) -> JournalOptions:
    return JournalOptions(folder=folder, instance="i", sync=SyncMode.NEVER)


@given(STEPS, st.data())
def test_a_crash_at_any_octet_leaves_what_was_whole(steps: list[Step], data: st.DataObject) -> None:
    steps = possible(steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = asyncio.run(write(folder, steps))
        path = next(folder.glob("*.journal"))
        octets = path.read_bytes()
        cut = data.draw(st.integers(0, len(octets)), label="cut")
        path.write_bytes(octets[:cut] + data.draw(st.binary(max_size=3), label="debris"))

        found = asyncio.run(read(folder))

    whole = [step for step, size in zip(steps, sizes, strict=True) if size <= cut]
    assert found == model(whole)


@given(st.binary(max_size=400))
def test_garbage_is_never_believed(garbage: bytes) -> None:
    """No octets make the reader fail, and a record needs its checksum."""
    scan = records.Scan(garbage)
    for record, raw in scan:
        assert raw in garbage
        assert record.kind in range(1, 10)
    assert scan.position <= len(garbage)
