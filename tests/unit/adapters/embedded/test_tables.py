from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayq.adapters.embedded import database, tables
from relayq.adapters.embedded.tables import NewMessage, QueueDepth, QueueTables

OWNER = 7


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    file = tmp_path / "relayq.db"
    database.prepare_file(file)
    connection = database.connect(file)
    yield connection
    connection.close()


@pytest.fixture
def queues(connection: sqlite3.Connection) -> QueueTables:
    return QueueTables(connection)


def new(body: bytes, *, queue: str = "q", rank: int = 255, due_at: int | None = None) -> NewMessage:
    return NewMessage(queue, rank, due_at, None, body)


def claim_all(queues: QueueTables, queue: str = "q") -> list[bytes]:
    messages, is_last = queues.claim(OWNER, queue, 200)
    assert is_last
    return [message.body for message in messages]


def count(connection: sqlite3.Connection, table: str) -> int:
    number: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return number


@pytest.mark.parametrize("number", [1, 2, 63, 64, 65, 127, 200])
def test_any_number_of_messages_goes_through(connection: sqlite3.Connection, number: int) -> None:
    queues = QueueTables(connection)
    bodies = [b"%d" % index for index in range(number)]
    queues.insert([new(body) for body in bodies], 0)
    messages, _ = queues.claim(OWNER, "q", number)
    assert [message.body for message in messages] == bodies
    assert (count(connection, "ready"), count(connection, "claimed")) == (0, number)
    queues.delete([message.id for message in messages])
    assert (count(connection, "message"), count(connection, "claimed")) == (0, 0)


def test_hand_out_is_by_rank_then_age_and_stops_at_the_limit(queues: QueueTables) -> None:
    queues.insert([new(b"1"), new(b"2", rank=3), new(b"3", rank=0), new(b"other", queue="p"), new(b"4", rank=3)], 0)
    messages, is_last = queues.claim(OWNER, "q", 3)
    assert [message.body for message in messages] == [b"3", b"2", b"4"]
    assert not is_last
    assert claim_all(queues) == [b"1"]
    assert claim_all(queues, "p") == [b"other"]


def test_claim_is_bounded_in_messages_and_bytes(queues: QueueTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CLAIM_LIMIT", 3)
    monkeypatch.setattr(tables, "CLAIM_BYTES", 100)
    queues.insert([new(b"a" * size) for size in (1, 1, 1, 60, 60, 60, 500)], 0)
    sizes = []
    is_last = False
    while not is_last:
        messages, is_last = queues.claim(OWNER, "q", 10)
        sizes.append([len(message.body) for message in messages])
    assert sizes == [[1, 1, 1], [60, 60], [60, 500], []]


def test_released_messages_return_to_their_places(queues: QueueTables) -> None:
    queues.insert([new(b"1"), new(b"2"), new(b"3"), new(b"4", rank=1)], 0)
    messages, _ = queues.claim(OWNER, "q", 3)
    queues.release([messages[1].id], redelivered=True)
    queues.release([messages[0].id], redelivered=False)
    again, _ = queues.claim(OWNER, "q", 10)
    assert [(message.body, message.redelivered) for message in again] == [(b"4", False), (b"1", True), (b"3", False)]


def test_a_flag_once_set_can_be_read_again(queues: QueueTables) -> None:
    queues.insert([new(b"1")], 0)
    for expected in (False, True, True):
        messages, _ = queues.claim(OWNER, "q", 1)
        assert messages[0].redelivered is expected
        queues.release([messages[0].id], redelivered=True)


def test_delayed_messages_become_ready_at_their_time(queues: QueueTables) -> None:
    queues.insert([new(b"b", due_at=2000), new(b"a", due_at=1000), new(b"now", due_at=500), new(b"high", rank=0)], 500)
    assert queues.next_due("q") == 1000
    assert claim_all(queues) == [b"high", b"now"]
    queues.promote("q", 999)
    assert not queues.has_ready("q")
    queues.promote("q", 1000)
    assert claim_all(queues) == [b"a"]
    assert queues.next_due("q") == 2000
    assert queues.next_due("other") is None


def test_parking_places_whose_time_is_over_are_found_by_their_outbox(
    queues: QueueTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["q.park.domain.a", "q.park.domain.b", "q.park.domain.c", "q.park", "q.parked", "q", "p.park.domain.a"]
    queues.insert([new(b"1", queue=name, due_at=1000) for name in names], 0)
    queues.insert([new(b"2", queue="q.park.domain.b", due_at=500), new(b"3", queue="q.park.z", due_at=2000)], 0)
    assert queues.overdue_parkings("q", 499) == []
    assert queues.overdue_parkings("q", 500) == ["q.park.domain.b"]
    assert queues.overdue_parkings("q", 1000) == names[:3]
    monkeypatch.setattr(tables, "OVERDUE_LIMIT", 2)
    assert queues.overdue_parkings("q", 1000) == names[:2]
    queues.promote("q.park.domain.b", 1000, into="q")
    assert claim_all(queues) == [b"1", b"2"], "by age"
    assert queues.overdue_parkings("q", 1000) == ["q.park.domain.a", "q.park.domain.c"]


def test_parked_messages_are_claimed_before_their_time_and_given_back_to_the_outbox(queues: QueueTables) -> None:
    queues.insert([new(b"%d" % index, queue="q.park.a", rank=index, due_at=1000 - index) for index in range(4)], 0)
    messages, is_last = queues.claim_parked(OWNER, "q.park.a", 3, "q")
    assert [message.body for message in messages] == [b"3", b"2", b"1"], "what was parked first"
    assert not is_last
    queues.release([message.id for message in messages], redelivered=True)
    assert claim_all(queues) == [b"1", b"2", b"3"], "by rank again"
    rest, is_last = queues.claim_parked(OWNER, "q.park.a", 3, "q")
    assert ([message.body for message in rest], is_last) == ([b"0"], True)
    assert queues.claim_parked(OWNER, "q.park.a", 3, "q") == ([], True)


def test_claiming_parked_messages_is_bounded_in_bytes(queues: QueueTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CLAIM_BYTES", 10)
    queues.insert([new(b"x" * 6, queue="q.park.a", due_at=1000) for _ in range(3)], 0)
    messages, is_last = queues.claim_parked(OWNER, "q.park.a", 10, "q")
    assert (len(messages), is_last) == (2, False)


def test_a_flood_of_due_messages_is_moved_in_parts(queues: QueueTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PROMOTE_LIMIT", 2)
    queues.insert([new(b"%d" % index, due_at=1000) for index in range(5)], 0)
    moved = []
    for _ in range(4):
        queues.promote("q", 1000)
        moved.append(queues.depths(0)["q"].ready)
    assert moved == [2, 4, 5, 5]


def test_numbers_are_never_used_twice(queues: QueueTables) -> None:
    seen = set()
    for _ in range(3):
        queues.insert([new(b"x")], 0)
        messages, _ = queues.claim(OWNER, "q", 1)
        queues.delete([messages[0].id])
        seen.add(messages[0].id)
    assert len(seen) == 3
    first = queues.add_owner(1)
    queues.release_owner(first)
    assert queues.add_owner(1) != first


def test_messages_of_an_owner_are_taken_back_flagged(queues: QueueTables) -> None:
    owner, other = queues.add_owner(1), queues.add_owner(2)
    queues.insert([new(b"1"), new(b"2"), new(b"3")], 0)
    queues.claim(owner, "q", 2)
    queues.claim(other, "q", 1)
    assert queues.release_owner(owner) == 2
    assert queues.owners() == [other]
    messages, _ = queues.claim(other, "q", 5)
    assert [(message.body, message.redelivered) for message in messages] == [(b"1", True), (b"2", True)]


def test_depths_count_what_is_due_as_ready(queues: QueueTables) -> None:
    queues.insert([new(b"1"), new(b"2"), new(b"3", due_at=1000), new(b"4", due_at=2000), new(b"5", queue="p")], 0)
    queues.claim(OWNER, "q", 1)
    assert queues.depths(1500) == {"p": QueueDepth(1, 0, 0), "q": QueueDepth(2, 1, 1)}


def test_deleted_pages_are_used_again(connection: sqlite3.Connection) -> None:
    queues = QueueTables(connection)

    def round_trip() -> None:
        queues.insert([new(bytes(10_000)) for _ in range(50)], 0)
        messages, _ = queues.claim(OWNER, "q", 50)
        queues.delete([message.id for message in messages])

    round_trip()
    pages = connection.execute("PRAGMA page_count").fetchone()
    for _ in range(20):
        round_trip()
    assert connection.execute("PRAGMA page_count").fetchone() == pages
