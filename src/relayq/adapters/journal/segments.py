"""The files one process writes: appended to, replaced by the next when full, removed oldest first."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

SUFFIX = ".journal"
LOCK_SUFFIX = ".lock"


class Segments:
    """Files of one run, numbered from 1. Every method may raise ``OSError``.

    Attributes:
        current: Number of the file that is written to, 0 before the first.
        left: Octets until the next write should go to a new file; none when there is no file to write to.
    """

    def __init__(self, folder: Path, prefix: str, header: bytes, segment_bytes: int) -> None:
        """Nothing is opened yet.

        Args:
            folder: Where.
            prefix: Beginning of the file names.
            header: First octets of every file.
            segment_bytes: A file that reached this is followed by the next.
        """
        self._folder = folder
        self._prefix = prefix
        self._header = header
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._unsynced: list[int] = []
        self._is_folder_synced = False
        self._sizes: dict[int, int] = {}
        self.current = 0
        self.left = 0

    @property
    def sizes(self) -> dict[int, int]:
        """Octets of each file that exists, by number, oldest first."""
        if self._fd >= 0:
            self._sizes[self.current] = self._segment_bytes - self.left
        return self._sizes

    @property
    def total_bytes(self) -> int:
        """Octets of all files."""
        return sum(self.sizes.values())

    def path(self, number: int) -> Path:
        """Name of a file."""
        return self._folder / f"{self._prefix}.{number:08d}{SUFFIX}"

    def start_next(self) -> None:
        """Go on with a new file."""
        path = self.path(self.current + 1)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            written = _write_all(fd, self._header)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self.set_aside()
        self._fd = fd
        self._is_folder_synced = False
        self.current += 1
        self.left = self._segment_bytes - written
        self._sizes[self.current] = written

    def append(self, octets: bytes) -> None:
        """Hand octets to the system: from then on they survive the process, though not yet a power cut."""
        written = os.write(self._fd, octets)
        self.left -= written
        if written < len(octets):
            self.left -= _write_all(self._fd, octets[written:])

    def set_aside(self) -> None:
        """Write no more to the current file; after a failure its end cannot be trusted."""
        if self._fd >= 0:
            self._sizes[self.current] = self._segment_bytes - self.left
            self._unsynced.append(self._fd)
            self._fd = -1
            self.left = 0

    def sync(self) -> None:
        """Make durable what was written before the call. For another thread; one call at a time."""
        old = self._take_unsynced()
        try:
            for fd in old:
                os.fdatasync(fd)
            if self._fd >= 0:
                os.fdatasync(self._fd)
            if not self._is_folder_synced:
                self._is_folder_synced = True
                self._sync_folder()
        finally:
            for fd in old:
                os.close(fd)

    def _sync_folder(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def release_old(self) -> None:
        """Close files that are not written to any more, without making them durable."""
        for fd in self._take_unsynced():
            os.close(fd)

    def _take_unsynced(self) -> list[int]:
        """Each descriptor once, whichever thread asks."""
        taken: list[int] = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._unsynced.pop())
        return taken

    def remove(self, number: int) -> None:
        """Delete a file."""
        self._sizes.pop(number, None)
        with contextlib.suppress(FileNotFoundError):
            self.path(number).unlink()

    def close(self) -> None:
        """Close all; the files stay."""
        self.set_aside()
        self.release_old()


def _write_all(fd: int, octets: bytes) -> int:
    """Write everything; what is left of a write that failed half-way is cut off when the file is read."""
    written = os.write(fd, octets)
    while written < len(octets):  # the last octets of a file system
        more = os.write(fd, octets[written:])
        if not more:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more
    return written
