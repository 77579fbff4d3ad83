from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from relayq.adapters.embedded import database
from relayq.ports import BrokerError, BrokerRefusedError, BrokerStorageError, TopologyError


def open_file(file: Path) -> None:
    database.prepare_file(file)
    database.connect(file).close()


def refusal(file: Path) -> BrokerError:
    """The error `open_file` raises; whatever there was is still there, byte for byte."""
    before = {path.name: path.read_bytes() for path in file.parent.glob("*") if path.is_file()}
    with pytest.raises(BrokerError) as caught:
        open_file(file)
    assert {path.name: path.read_bytes() for path in file.parent.glob("*") if path.is_file()} == before
    assert str(file) in str(caught.value) or str(file.parent) in str(caught.value)
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relayq.db"


def test_a_new_file_is_private_and_nothing_else_is_left(file: Path) -> None:
    open_file(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["relayq.db"]


def test_the_files_beside_it_are_private_too(file: Path) -> None:
    database.prepare_file(file)
    with closing(database.connect(file)) as connection:
        connection.execute("INSERT INTO owner (pid) VALUES (1)")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == dict.fromkeys(("relayq.db", "relayq.db-wal", "relayq.db-shm"), 0o600)


def test_every_commit_reaches_the_disk(file: Path) -> None:
    database.prepare_file(file)
    with closing(database.connect(file)) as connection:
        settings = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "journal_size_limit", "page_size")
        ]
    assert settings == ["wal", 2, 4000, 64 * 1024 * 1024, 8192]


def test_an_old_file_keeps_its_content_and_its_mode(file: Path) -> None:
    open_file(file)
    file.chmod(0o660)
    with closing(database.connect(file)) as connection:
        connection.execute("INSERT INTO owner (pid) VALUES (17)")
    database.prepare_file(file)
    with closing(database.connect(file)) as connection:
        assert connection.execute("SELECT pid FROM owner").fetchall() == [(17,)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o660


def test_one_file_comes_of_many_that_make_it_at_once(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: database.prepare_file(file), range(8)):
            pass
    open_file(file)
    assert [path.name for path in file.parent.iterdir()] == ["relayq.db"]


@pytest.mark.parametrize(
    "content", [b"", b"Dear diary, today I wrote a text file." * 50, b"SQLite format 3\x00", b"\0" * 9000]
)
def test_a_file_that_is_none_of_ours_is_left_alone(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert isinstance(refusal(file), TopologyError)


def test_another_applications_database_is_left_alone(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE message (id)")
        connection.commit()
    assert isinstance(refusal(file), TopologyError)


def test_another_applications_crashed_database_is_left_alone(file: Path, tmp_path: Path) -> None:
    origin = tmp_path / "elsewhere"
    origin.mkdir()
    with closing(sqlite3.connect(origin / "relayq.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE stranger (id)")
        connection.commit()
        for path in origin.iterdir():
            (file.parent / path.name).write_bytes(path.read_bytes())
    assert isinstance(refusal(file), TopologyError)


def test_a_newer_format_is_left_alone(file: Path) -> None:
    open_file(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    error = refusal(file)
    assert isinstance(error, TopologyError)
    assert str(database.SCHEMA_VERSION + 1) in str(error)


def test_a_folder_is_no_file(file: Path) -> None:
    file.mkdir()
    assert isinstance(refusal(file), TopologyError)


def filled(file: Path) -> None:
    database.prepare_file(file)
    with closing(database.connect(file)) as connection:
        connection.executemany(
            "INSERT INTO message VALUES (?, 0, NULL, ?)", [(number, bytes(9000)) for number in range(1, 40)]
        )
        connection.executemany("INSERT INTO ready VALUES ('q', 255, ?, 0)", [(number,) for number in range(1, 40)])


def exit_code(error: BrokerError) -> int:
    assert isinstance(error, BrokerStorageError)
    return error.exit_code


def test_a_file_cut_short_is_damaged(file: Path) -> None:
    filled(file)
    os.truncate(file, file.stat().st_size // 2)
    assert exit_code(refusal(file)) == 71


def test_a_file_overwritten_behind_its_header_is_damaged(file: Path) -> None:
    filled(file)
    with file.open("r+b") as stream:
        stream.seek(database.PAGE_BYTES)
        stream.write(b"\xff" * 8 * database.PAGE_BYTES)
    assert exit_code(refusal(file)) == 71


def test_a_file_without_its_tables_is_damaged(file: Path) -> None:
    open_file(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE ready")
    with pytest.raises(BrokerStorageError) as caught:
        open_file(file)
    assert caught.value.exit_code == 71


def test_the_folder_must_exist(tmp_path: Path) -> None:
    assert exit_code(refusal(tmp_path / "missing" / "relayq.db")) == 73
    assert not (tmp_path / "missing").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert exit_code(refusal(tmp_path / "plain" / "relayq.db")) == 73


def test_a_link_to_nowhere_cannot_be_created(file: Path, tmp_path: Path) -> None:
    file.symlink_to(tmp_path / "missing" / "target.db")
    with pytest.raises(BrokerStorageError) as caught:
        open_file(file)
    assert caught.value.exit_code == 73


SCRIPT = """
import os, sys
from pathlib import Path
from relayq.adapters.embedded import database
from relayq.ports import BrokerError
os.setgid(65534); os.setuid(65534)
try:
    database.prepare_file(Path(sys.argv[1]))
    database.connect(Path(sys.argv[1])).close()
except BrokerError as error:
    print(type(error).__name__, getattr(error, "exit_code", ""), error)
"""


def open_as_nobody(file: Path) -> str:
    command = [sys.executable, "-c", SCRIPT, str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_somebody_elses_file_is_refused(shared: Path) -> None:
    open_file(shared / "relayq.db")
    assert open_as_nobody(shared / "relayq.db").startswith(BrokerRefusedError.__name__)


def test_somebody_elses_folder_is_refused(shared: Path) -> None:
    (shared / "closed").mkdir(mode=0o700)
    assert open_as_nobody(shared / "closed" / "relayq.db").startswith(BrokerRefusedError.__name__)


def test_a_folder_that_cannot_be_written_takes_no_new_file(shared: Path) -> None:
    (shared / "open").mkdir(mode=0o755)
    assert open_as_nobody(shared / "open" / "relayq.db").startswith("BrokerStorageError 73")


def test_somebody_elses_file_beside_it_is_refused(shared: Path) -> None:
    shared.chmod(0o777)
    open_file(shared / "relayq.db")
    (shared / "relayq.db").chmod(0o666)
    (shared / "relayq.db-wal").touch(mode=0o600)
    answer = open_as_nobody(shared / "relayq.db")
    assert answer.startswith(BrokerRefusedError.__name__)
    assert "-wal" in answer
