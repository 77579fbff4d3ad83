"""Lines on their way to a file, written by a thread: no disk, however slow or full, makes a delivery wait.

Rotation is for others: the thread sees that the path leads to another file, or to none, and opens it anew. Lines are
appended in whole batches by one call each, so several processes may write to one file without mixing their lines.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

MAX_WAITING: Final = 100_000
"""Lines kept while the file takes none (spec operations.md 12)."""
MAX_CHARACTERS: Final = 64 * 1024 * 1024
"""And their characters: servers may answer at length."""
BATCH: Final = 4096
"""Lines written by one call."""
INTERVAL: Final = 0.2
"""Seconds between two looks at what waits and at the path."""
MODE: Final = 0o640
CLOSE_PATIENCE: Final = 5.0

Report = Callable[[str, str], None]
"""Level (``info``, ``warning``, ``critical``) and text; called in the thread of the writer."""


class LogFileError(Exception):
    """The file cannot be opened (exit code 73)."""


class LineWriter:
    """One file. `add` is called on the event loop, everything else happens in a thread."""

    def __init__(self, path: Path, report: Report, *, interval: float = INTERVAL) -> None:
        """Open the file, and start to write.

        Args:
            path: Absolute path; its folder exists.
            report: Told about trouble, once until it is over.
            interval: Seconds between two looks.

        Raises:
            LogFileError: It cannot be opened.
        """
        self._path = path
        self._report = report
        self._interval = interval
        self._lines: deque[str] = deque()
        # Characters put in and taken out: each is counted by one thread alone, so neither needs a lock.
        self._added = 0
        self._taken = 0
        self._left_out = 0
        self._told_left_out = 0
        self._unwritten = b""
        self._is_cut = False
        self._is_in_trouble = False
        self._stopping = threading.Event()
        self._fd: int | None = None
        try:
            self._open()
        except OSError as error:
            raise LogFileError(f"cannot open {path}: {error.strerror}") from None
        self._thread = threading.Thread(target=self._run, name=f"log {path.name}", daemon=True)
        self._thread.start()

    @property
    def left_out(self) -> int:
        """Lines that were not written because too many waited."""
        return self._left_out

    def add(self, line: str) -> None:
        """Write a line, which must not contain an end of line, soon."""
        if len(self._lines) < MAX_WAITING and self._added - self._taken < MAX_CHARACTERS:
            self._added += len(line)
            self._lines.append(line)
        else:
            self._left_out += 1

    def close(self, patience: float = CLOSE_PATIENCE) -> None:
        """End once what waits is written, as far as the file takes it; wait for that no longer. Idempotent."""
        self._stopping.set()
        self._thread.join(patience)

    # Everything below runs in the thread.

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._look()
        self._look()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        waiting = len(self._lines) + self._unwritten.count(b"\n")
        if waiting:
            self._report("critical", f"{self._path}: {waiting} lines could not be written before the end")

    def _look(self) -> None:
        try:
            if self._fd is None or self._was_moved():
                self._open()
            self._write()
        except OSError as error:
            if not self._is_in_trouble:
                self._is_in_trouble = True
                text = f"{self._path}: {error.strerror or error}; lines wait in memory, delivery goes on"
                self._report("critical", text)
            return
        if self._is_in_trouble:
            self._is_in_trouble = False
            self._report("info", f"{self._path}: is written again")
        left_out = self._left_out
        if left_out != self._told_left_out:
            self._report("warning", f"{self._path}: {left_out - self._told_left_out} lines were left out")
            self._told_left_out = left_out

    def _was_moved(self) -> bool:
        """The path leads elsewhere now; only files are rotated, not terminals and pipes."""
        assert self._fd is not None
        opened = os.fstat(self._fd)
        if not stat.S_ISREG(opened.st_mode):
            return False
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino)

    def _open(self) -> None:
        # A pipe nobody reads must not stop the thread, nor the start: opening it fails then.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self._path, flags, MODE)
        os.set_blocking(fd, True)
        previous, self._fd = self._fd, fd
        if previous is not None:
            os.close(previous)
            if self._is_cut:
                # The rest of a line whose beginning stands in the other file would be no line.
                self._unwritten = self._unwritten.partition(b"\n")[2]
                self._is_cut = False

    def _write(self) -> None:
        assert self._fd is not None
        while self._unwritten or self._lines:
            if not self._unwritten:
                batch = [self._lines.popleft() for _ in range(min(len(self._lines), BATCH))]
                self._taken += sum(map(len, batch))
                self._unwritten = ("\n".join(batch) + "\n").encode("utf-8", "backslashreplace")
            written = os.write(self._fd, self._unwritten)
            self._is_cut = self._unwritten[written - 1 : written] != b"\n"
            self._unwritten = self._unwritten[written:]
