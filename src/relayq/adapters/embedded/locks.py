"""Locks between the processes of one machine, kept by the kernel and gone with their process.

One file beside the database, of which single bytes are locked: byte 0 is the turn to write, byte N says that owner N
lives. Open-file-description locks are used (fcntl(2)): unlike classic POSIX locks they do not vanish when some other
part of the process closes the same file, and two brokers in one process exclude each other as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

TURN = 0
"""Byte that whoever writes to the database holds."""

_FLOCK = struct.Struct("@hhqqi0q")
"""``struct flock``: type, whence, start, length, pid."""


class TurnTimeoutError(Exception):
    """Somebody else kept the turn for too long."""


class MachineLocks:
    """Byte locks in one file."""

    def __init__(self, path: Path, like: os.stat_result) -> None:
        """Open or make the lock file.

        Args:
            path: Its path.
            like: The database's file: the lock file gets the same owner when we are root.

        Raises:
            OSError: It cannot be opened.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:
            os.fchown(self._fd, like.st_uid, like.st_gid)

    def try_lock(self, byte: int) -> bool:
        """Take one byte unless another holder has it."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                return False
            raise
        return True

    def unlock(self, byte: int) -> None:
        """Give one byte back."""
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, byte, 1, 0))

    def is_locked(self, byte: int) -> bool:
        """Whether another holder has the byte; our own locks do not count."""
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind: int = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK

    @contextlib.contextmanager
    def turn(self, patience: float) -> Iterator[None]:
        """Hold the turn to write.

        Every transaction and every checkpoint of every process runs inside a turn. SQLite's own lock would do for
        transactions, but its waiters sleep up to 100 ms between two looks; and up to version 3.51.2 a checkpoint that
        coincides with another connection's commit can, very rarely, lose a transaction ("WAL-reset bug").

        Raises:
            TurnTimeoutError: ``patience`` seconds passed.
        """
        deadline = time.monotonic() + patience
        pause = 0.0005
        while not self.try_lock(TURN):
            if time.monotonic() >= deadline:
                raise TurnTimeoutError(f"another process has been writing for {patience:.0f} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.002)
        try:
            yield
        finally:
            self.unlock(TURN)

    def close(self) -> None:
        """Give everything back."""
        os.close(self._fd)
