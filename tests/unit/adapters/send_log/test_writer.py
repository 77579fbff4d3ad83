"""Lines and files that move, vanish, fill up and come back. Bounded polling: the writer is a thread."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relayq.adapters.send_log import writer as writer_module
from relayq.adapters.send_log.writer import LineWriter, LogFileError

PATIENCE = 90.0


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[tuple[str, str]] = []
        self.writer = LineWriter(path, lambda level, text: self.told.append((level, text)), interval=0.01)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < limit, (self.told, self.path)
            time.sleep(0.005)

    def wait_for_content(self, content: str) -> None:
        self.wait_for(lambda: self.path.exists() and self.path.read_text() == content)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "send.log")
    yield bench
    bench.writer.close()


def test_lines_are_written_and_the_file_is_not_for_everybody(bench: Bench) -> None:
    bench.writer.add("one")
    bench.writer.add("zwö")
    bench.wait_for_content("one\nzwö\n")
    assert bench.path.stat().st_mode & 0o137 == 0
    assert bench.told == []


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "x", lambda _level, _text: None, interval=60)
    for number in range(10_000):
        writer.add(str(number))
    writer.close()
    writer.close()
    assert (tmp_path / "x").read_text().splitlines() == [str(number) for number in range(10_000)]


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("before\n")
    writer = LineWriter(tmp_path / "x", lambda _level, _text: None)
    writer.add("after")
    writer.close()
    assert (tmp_path / "x").read_text() == "before\nafter\n"


def test_a_file_moved_away_is_made_anew(bench: Bench) -> None:
    """Spec operations.md 26, check 16; with the interval of the product this takes 0.2 s."""
    bench.writer.add("old")
    bench.wait_for_content("old\n")
    moved = bench.path.rename(bench.path.with_suffix(".1"))
    bench.wait_for(bench.path.exists)
    bench.writer.add("new")
    bench.wait_for_content("new\n")
    assert moved.read_text() == "old\n"
    bench.path.unlink()
    bench.writer.add("newer")
    bench.wait_for_content("newer\n")
    assert bench.told == []


def test_another_file_in_its_place_is_taken(bench: Bench) -> None:
    other = bench.path.with_suffix(".other")
    other.write_text("prepared\n")
    other.rename(bench.path)
    bench.writer.add("line")
    bench.wait_for_content("prepared\nline\n")


def test_a_full_disk_is_told_once_and_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    is_full = threading.Event()
    is_full.set()
    real = os.write

    def write(fd: int, octets: bytes) -> int:
        if is_full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, octets)

    monkeypatch.setattr(os, "write", write)
    bench.writer.add("one")
    bench.wait_for(lambda: len(bench.told) == 1)
    bench.writer.add("two")
    time.sleep(0.05)  # several tries
    assert bench.told == [
        ("critical", f"{bench.path}: No space left on device; lines wait in memory, delivery goes on")
    ]
    is_full.clear()
    bench.wait_for_content("one\ntwo\n")
    bench.wait_for(lambda: len(bench.told) == 2)
    assert bench.told[1] == ("info", f"{bench.path}: is written again")


def test_what_waits_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_WAITING", 100)
    may_write = threading.Event()
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: may_write.wait(PATIENCE) and real(fd, octets))
    bench.writer.add("first")
    bench.wait_for(lambda: not bench.writer._lines)  # taken, and now stuck
    for number in range(150):
        bench.writer.add(str(number))
    assert bench.writer.left_out == 50
    may_write.set()
    bench.wait_for_content("".join(f"{line}\n" for line in ("first", *range(100))))
    bench.wait_for(lambda: bench.told == [("warning", f"{bench.path}: 50 lines were left out")])


def test_characters_are_bounded_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_CHARACTERS", 1000)
    monkeypatch.setattr(os, "write", lambda _fd, _octets: _full())
    for _ in range(30):
        bench.writer.add("x" * 100)
    assert bench.writer.left_out >= 10
    monkeypatch.undo()


def _full() -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_writes_in_pieces(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: real(fd, octets[:7]))
    lines = [f"line {number}" for number in range(50)]
    for line in lines:
        bench.writer.add(line)
    bench.wait_for_content("".join(f"{line}\n" for line in lines))


def test_no_half_line_begins_a_new_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    is_full = threading.Event()

    def write(fd: int, octets: bytes) -> int:
        if is_full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        is_full.set()
        return real(fd, octets[:3])

    monkeypatch.setattr(os, "write", write)
    bench.writer.add("begun")
    bench.writer.add("whole")
    bench.wait_for(lambda: bool(bench.told))
    moved = bench.path.rename(bench.path.with_suffix(".1"))
    monkeypatch.setattr(os, "write", real)
    bench.wait_for_content("whole\n")
    assert moved.read_text() == "beg"


def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    bench = Bench(folder / "send.log")
    folder.rename(tmp_path / "away")
    bench.writer.add("line")
    bench.wait_for(lambda: bool(bench.told))
    assert "No such file" in bench.told[0][1]
    folder.mkdir()
    bench.wait_for_content("line\n")
    bench.writer.close()


def test_two_writers_of_one_file_do_not_mix_lines(tmp_path: Path) -> None:
    writers = [LineWriter(tmp_path / "x", lambda _level, _text: None, interval=0.001) for _ in range(2)]
    for number in range(5000):
        for name, writer in zip("ab", writers, strict=True):
            writer.add(name * (number % 50 + 1))
    for writer in writers:
        writer.close()
    lines = (tmp_path / "x").read_text().splitlines()
    assert len(lines) == 10_000
    assert all(len(set(line)) == 1 for line in lines)


def test_devices_are_not_taken_for_moved_files() -> None:
    writer = LineWriter(Path("/dev/null"), lambda _level, _text: None, interval=0.01)
    writer.add("line")
    writer.close()


@pytest.mark.parametrize("path", ["/nonexistent/send.log", "/"])
def test_what_cannot_be_opened(path: str) -> None:
    with pytest.raises(LogFileError, match="cannot open"):
        LineWriter(Path(path), lambda _level, _text: None)


def test_a_pipe_without_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogFileError):
        LineWriter(tmp_path / "pipe", lambda _level, _text: None)
