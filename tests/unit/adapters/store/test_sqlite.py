from __future__ import annotations

import contextlib
import random
import sqlite3
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relayq.adapters.store import sqlite
from relayq.adapters.store.sqlite import BodyRows, SqliteStore
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError

NOW = int(time.time())
SOON = NOW + 7200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "bodies.db"


@pytest.fixture
def rows(path: Path) -> BodyRows:
    return BodyRows(str(path), compress=False, part_bytes=1000)


def select(path: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def change(path: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, values)


def test_a_row_has_what_other_programs_look_for(rows: BodyRows, path: Path) -> None:
    before = int(time.time())
    rows.save("abc", b"body", SOON)
    [row] = select(path, "SELECT id, value, encoding, size, parts, expire FROM messages")
    assert row == ("abc", b"body", "identity", 4, 0, SOON)
    [(modified,)] = select(path, "SELECT modified FROM messages")
    assert isinstance(modified, int)
    assert before <= modified <= time.time()
    assert "messages_expire" in str(select(path, "SELECT name FROM sqlite_master WHERE type = 'index'"))
    rows.close()


def test_a_new_file_is_prepared_by_many_at_once(tmp_path: Path) -> None:
    for turn in range(10):
        together = threading.Barrier(8)
        file = tmp_path / f"{turn}.db"

        def write(number: int, file: Path = file, together: threading.Barrier = together) -> None:
            rows = BodyRows(str(file), compress=False, part_bytes=1000)
            together.wait()
            rows.save(f"key-{number}", b"body", SOON)
            rows.close()

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(write, range(8))) == [None] * 8
        assert select(file, "SELECT count(*) FROM messages") == [(8,)]


def test_nobody_else_may_read(rows: BodyRows, path: Path) -> None:
    rows.save("abc", b"body", SOON)
    assert {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    rows.close()


def test_parts(rows: BodyRows, path: Path) -> None:
    body = random.Random(1).randbytes(2500)
    rows.save("abc", body, SOON)
    found = select(path, "SELECT id, length(value), size, parts, expire FROM messages ORDER BY id")
    assert found == [
        ("abc", 0, 2500, 3, SOON),
        ("abc.part0", 1000, 1000, 0, SOON),
        ("abc.part1", 1000, 1000, 0, SOON),
        ("abc.part2", 500, 500, 0, SOON),
    ]
    assert rows.load("abc") == body
    rows.close()


def test_what_other_programs_write_is_read(rows: BodyRows, path: Path) -> None:
    rows.load("x")
    change(path, "INSERT INTO messages (id, value) VALUES ('text', 'caf\u00e9')")
    change(path, "INSERT INTO messages (id, value) VALUES ('null', NULL)")
    change(path, "INSERT INTO messages (id, value, encoding) VALUES ('odd', x'00', 'zstd')")
    assert rows.load("text") == "caf\u00e9".encode()
    assert rows.load("null") == b""
    with pytest.raises(StoreDamagedError):
        rows.load("odd")
    rows.close()


@pytest.mark.parametrize(
    "column", ["size = 5", "size = 'x'", "size = NULL", "parts = 2", "parts = 1000000", "parts = -1"]
)
def test_figures_that_make_no_sense_are_damage(rows: BodyRows, path: Path, column: str) -> None:
    rows.save("abc", b"x" * 2500, SOON)
    change(path, f"UPDATE messages SET {column} WHERE id = 'abc'")
    with pytest.raises(StoreDamagedError):
        rows.load("abc")
    rows.close()


def test_sweeping_in_batches(rows: BodyRows, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "SWEEP_BATCH", 4)
    for number in range(10):
        rows.save(f"old-{number}", b"x", NOW - 10)
    rows.save("new", b"x", SOON)
    left = []
    while rows.sweep(NOW):
        left.append(select(path, "SELECT count(*) FROM messages")[0][0])
    assert left == [7, 3]
    assert select(path, "SELECT id FROM messages") == [("new",)]
    rows.close()


def test_a_file_that_is_replaced_is_noticed(rows: BodyRows, path: Path) -> None:
    rows.save("abc", b"old", SOON)
    for found in list(path.parent.iterdir()):
        found.unlink()
    with pytest.raises(FileNotFoundError):
        rows.load("abc")
    path.touch(0o600)
    assert rows.load("abc") is None
    rows.save("abc", b"new", SOON)
    rows.close()
    assert select(path, "SELECT value FROM messages") == [(b"new",)]


def test_a_damaged_file_is_looked_at_afresh_once_it_is_repaired(rows: BodyRows, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        rows.load("abc")
    path.write_bytes(b"")
    rows.save("abc", b"x", SOON)
    assert rows.load("abc") == b"x"
    rows.close()


async def test_a_locked_file_is_an_outage_that_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOCK_SECONDS", 0.05)
    store = SqliteStore(StoreAddress(engine="sqlite", scheme="sqlite", path=str(path)))
    expire_at = datetime.now(UTC) + timedelta(hours=1)
    await store.save("abc", b"x", expire_at)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            await store.save("abc", b"y", expire_at)
        assert await store.load("abc") == b"x"
    await store.save("abc", b"z", expire_at)
    assert await store.load("abc") == b"z"
    await store.close()
