"""The wall clock is set while messages wait: they come after the time that was meant, in every process at the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from relayq.adapters.embedded import EmbeddedOptions
from relayq.adapters.embedded.store import Change, Consumer, Store
from relayq.adapters.memory import ManualClock
from tests.unit.adapters.embedded.support import publication

HOUR = 3600.0


class Process:
    """One that uses the file."""

    def __init__(self, file: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.store = Store(file, EmbeddedOptions(path=str(file)), clock)
        self.store.add_consumer(Consumer("outbox", 100, lambda _: None))

    def encoded(self, body: bytes, seconds: float) -> Change:
        change = Change(None, [publication(body, due_at=self.clock.now() + timedelta(seconds=seconds))])
        self.store.encode([change])
        return change

    def publish(self, body: bytes, seconds: float) -> None:
        self.store.commit([self.encoded(body, seconds)])

    def look(self) -> list[bytes]:
        """What is handed out now, as the thread finds it, which goes on while there is work."""
        bodies: list[bytes] = []
        self.store.watch()
        while self.store.has_work():
            bodies += [message.body for claim in self.store.commit([]) for message in claim.messages]
        return bodies


@contextmanager
def process(file: Path, clock: ManualClock) -> Iterator[Process]:
    one = Process(file, clock)
    try:
        yield one
    finally:
        one.store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


def set_by(clock: ManualClock, seconds: float) -> None:
    clock.set_now(clock.now() + timedelta(seconds=seconds))


@pytest.mark.parametrize("step", [-HOUR, -86_400.0])
def test_a_clock_that_is_set_back_does_not_make_a_message_late(file: Path, step: float) -> None:
    clock = ManualClock()
    with process(file, clock) as one:
        one.publish(b"later", 10.0)
        set_by(clock, step)
        clock.advance(9.0)
        assert one.look() == []
        clock.advance(1.0)
        assert one.look() == [b"later"]


def test_a_clock_that_is_set_forward_makes_no_message_late(file: Path) -> None:
    clock = ManualClock()
    with process(file, clock) as one:
        one.publish(b"within", HOUR)
        one.publish(b"beyond", HOUR + 10.0)
        set_by(clock, HOUR)
        assert one.look() == [b"within"]
        clock.advance(10.0)
        assert one.look() == [b"beyond"]


def test_all_processes_together_follow_the_clock_once(file: Path) -> None:
    clock = ManualClock()
    with process(file, clock) as one, process(file, clock) as other:
        one.publish(b"later", 2 * HOUR)
        assert other.look() == []
        set_by(clock, -HOUR)
        assert one.look() == other.look() == []
        clock.advance(2 * HOUR - 1.0)
        assert one.look() == other.look() == []
        clock.advance(1.0)
        assert one.look() + other.look() == [b"later"]


def test_a_process_that_starts_after_the_clock_was_set_back_follows_it(file: Path) -> None:
    clock = ManualClock()
    with process(file, clock) as one:
        one.publish(b"later", 10.0)
    set_by(clock, -HOUR)
    clock.advance(10.0)
    with process(file, clock) as other:
        assert other.look() == [b"later"]


def test_what_could_not_be_written_before_the_clock_was_set_back_is_not_late(file: Path) -> None:
    clock = ManualClock()
    with process(file, clock) as one:
        change = one.encoded(b"later", 10.0)
        set_by(clock, -HOUR)
        one.store.commit([change])
        clock.advance(10.0)
        assert one.look() == [b"later"]


def test_a_small_correction_changes_nothing(file: Path) -> None:
    clock = ManualClock()
    with process(file, clock) as one:
        one.publish(b"later", 10.0)
        set_by(clock, -0.5)
        clock.advance(10.0)
        assert one.look() == []
        clock.advance(0.5)
        assert one.look() == [b"later"]


def test_after_a_restart_of_the_machine_only_the_wall_clock_counts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with process(file, ManualClock()) as one:
        one.publish(b"later", 10.0)
    monkeypatch.setattr("relayq.adapters.embedded.store._boot_id", lambda: "another")
    clock = ManualClock(monotonic=500_000.0)
    with process(file, clock) as other:
        assert other.look() == []
        clock.advance(10.0)
        assert other.look() == [b"later"]


def test_a_file_of_an_earlier_version_gets_what_it_lacks(file: Path) -> None:
    clock = ManualClock()
    with process(file, clock) as one:
        one.publish(b"later", 10.0)
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE clock")
    connection.close()
    with process(file, clock) as one:
        clock.advance(10.0)
        assert one.look() == [b"later"]
