"""Bodies as files in a tree of directories, which other programs may read, write and compute the names of.

A file of ours carries its expiry as modification time, and an empty marker below ``.expire`` names it for the sweeper:
nobody has to walk through the tree. Files without a marker belong to other programs and are never swept.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TypeVar

from relayq.adapters.store.encoding import GZIP, IDENTITY, pack, unpack
from relayq.adapters.store.layout import (
    EXPIRY_FOLDER,
    GZIP_SUFFIX,
    TEMPORARY_PREFIX,
    expiry_hour,
    file_name,
    folder_of,
    folder_of_name,
)
from relayq.adapters.store.threads import IoThreads
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError
from relayq.ports.store import LARGEST_BODY_BYTES

SWEEP_BATCH = 1000
STALE_SECONDS = 86400.0
"""A temporary file this old was left behind by a process that ended while writing it."""

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_SUFFIXES = ("", GZIP_SUFFIX)

T = TypeVar("T")


class DirectoryStore:
    """`relayq.ports.MessageStore` on a file system; the work is done in threads."""

    def __init__(self, address: StoreAddress, threads: int = 1) -> None:
        self._files = BodyFiles(address.path, address.depth, compress=address.compress)
        self._threads = IoThreads("store", threads)

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        return await self._run(partial(self._files.load, key))

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body; it is on the disk when this returns."""
        await self._run(partial(self._files.save, key, body, int(expire_at.timestamp())))

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later."""
        await self._run(partial(self._files.refresh, key, int(expire_at.timestamp())))

    async def delete(self, key: str) -> None:
        """Remove an entry, hand-placed files too."""
        await self._run(partial(self._files.delete, key))

    async def sweep(self, now: datetime) -> bool:
        """Look at the next thousand markers of hours that have come."""
        return await self._run(partial(self._files.sweep, now.timestamp()))

    async def probe(self) -> None:
        """Look for a random key."""
        await self._run(partial(self._files.load, secrets.token_hex(16)))

    async def close(self) -> None:
        """End the threads."""
        await self._threads.close()

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await self._threads.run(call)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            raise StoreUnavailableError(f"directory: {error.strerror or error}{place}") from error


class BodyFiles:
    """The tree of files, for threads: every method blocks, and raises ``OSError`` when the file system refuses."""

    def __init__(self, root: str, depth: int, *, compress: bool) -> None:
        self._root = root
        self._depth = depth
        self._compress = compress
        self._is_prepared = False
        self._sweeping: Iterator[None] | None = None
        self._sweeper = threading.Lock()

    def load(self, key: str) -> bytes | None:
        """Body of ``key``: the plain file before the compressed one, its own folder before the top one."""
        self._prepare()
        name = file_name(key)
        for path in self._paths(name, folder_of(key, self._depth)):
            value = _read(path)
            if value is not None:
                return unpack(value, GZIP if path.endswith(f"{name}{GZIP_SUFFIX}") else IDENTITY)
        self._check_root()
        return None

    def save(self, key: str, body: bytes, expire_at: int) -> None:
        """Write a temporary file, flush it, rename it: a reader sees the old body or the new one, nothing between."""
        self._prepare()
        self._check_root()
        name, folder = file_name(key), folder_of(key, self._depth)
        value, encoding = pack(body, compress=self._compress)
        suffix = GZIP_SUFFIX if encoding == GZIP else ""
        old_expiry = self._expiry_of(name, folder)
        self._mark(name, expire_at)
        path = self._join(folder, name)
        self._write(folder, f"{path}{suffix}", value, expire_at)
        for other in _SUFFIXES:
            if other != suffix:
                _unlink(f"{path}{other}")
        if old_expiry is not None and expiry_hour(old_expiry) != expiry_hour(expire_at):
            self._unmark(name, old_expiry)

    def refresh(self, key: str, expire_at: int) -> None:
        """Give a file of ours a later modification time and another marker."""
        self._prepare()
        name, folder = file_name(key), folder_of(key, self._depth)
        for suffix in _SUFFIXES:
            path = f"{self._join(folder, name)}{suffix}"
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                old = os.stat(path).st_mtime
                if old >= expire_at or not os.path.exists(self._marker(name, old)):
                    return
                self._mark(name, expire_at)
                os.utime(path, (expire_at, expire_at))
                if expiry_hour(old) != expiry_hour(expire_at):
                    self._unmark(name, old)
                return
        self._check_root()

    def delete(self, key: str) -> None:
        """Remove every file `load` would find, and the marker."""
        self._prepare()
        name, folder = file_name(key), folder_of(key, self._depth)
        expiry = self._expiry_of(name, folder)
        removed = [_unlink(path) for path in self._paths(name, folder)]
        if expiry is not None:
            self._unmark(name, expiry)
        if not any(removed):
            self._check_root()

    # --- paths --------------------------------------------------------------------------------------------------------

    def _join(self, folder: str, name: str) -> str:
        return "/".join((self._root, folder, name)) if folder else f"{self._root}/{name}"

    def _paths(self, name: str, folder: str) -> list[str]:
        folders = (folder, "") if folder else ("",)
        return [f"{self._join(place, name)}{suffix}" for place in folders for suffix in _SUFFIXES]

    def _expiry_of(self, name: str, folder: str) -> float | None:
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return os.stat(f"{self._join(folder, name)}{suffix}").st_mtime
        return None

    def _prepare(self) -> None:
        """Make the top directory, once: one that vanishes later is a file system that is not mounted."""
        if not self._is_prepared:
            os.makedirs(self._root, _FOLDER_MODE, exist_ok=True)
            self._is_prepared = True

    def _check_root(self) -> None:
        """Nothing found must not mean that everything is gone."""
        if not stat.S_ISDIR(os.stat(self._root).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._root)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, folder: str, path: str, value: bytes, expire_at: int) -> None:
        temporary = self._join(folder, f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            descriptor = _create(temporary)
        except FileNotFoundError:
            self._make_folders(folder)
            descriptor = _create(temporary)
        try:
            try:
                _write_all(descriptor, value)
                os.utime(descriptor, (expire_at, expire_at))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
        except OSError:
            _unlink(temporary)
            raise
        _flush_folder(os.path.dirname(path))

    def _make_folders(self, folder: str) -> None:
        path = self._root
        for level in folder.split("/"):
            parent, path = path, f"{path}/{level}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, _FOLDER_MODE)
                _flush_folder(parent)

    def _marker(self, name: str, expire_at: float) -> str:
        return f"{self._root}/{EXPIRY_FOLDER}/{expiry_hour(expire_at)}/{name}"

    def _mark(self, name: str, expire_at: float) -> None:
        marker = self._marker(name, expire_at)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        try:
            descriptor = os.open(marker, flags, _FILE_MODE)
        except FileNotFoundError:
            for path in (f"{self._root}/{EXPIRY_FOLDER}", os.path.dirname(marker)):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path, _FOLDER_MODE)
            descriptor = os.open(marker, flags, _FILE_MODE)
        os.close(descriptor)

    def _unmark(self, name: str, expire_at: float) -> None:
        _unlink(self._marker(name, expire_at))

    # --- sweeping -----------------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> bool:
        """Look at up to `SWEEP_BATCH` markers, going on where the last call stopped; true while there are more."""
        self._prepare()
        if not self._sweeper.acquire(blocking=False):
            return False  # a call nobody waits for any more is still at work
        try:
            if self._sweeping is None:
                self._sweeping = self._sweep_all(now)
            looked_at = sum(1 for _ in islice(self._sweeping, SWEEP_BATCH))
        except OSError:
            self._sweeping = None
            raise
        finally:
            self._sweeper.release()
        if looked_at < SWEEP_BATCH:
            self._sweeping = None
        return looked_at == SWEEP_BATCH

    def _sweep_all(self, now: float) -> Iterator[None]:
        top = f"{self._root}/{EXPIRY_FOLDER}"
        try:
            hours = sorted(hour for hour in os.listdir(top) if hour <= expiry_hour(now))
        except FileNotFoundError:
            return
        for hour in hours:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{top}/{hour}") as entries:
                for entry in entries:
                    self._sweep_entry(entry.name, hour, now)
                    yield
            if hour < expiry_hour(now):
                with contextlib.suppress(OSError):  # somebody just put another marker there
                    os.rmdir(f"{top}/{hour}")

    def _sweep_entry(self, name: str, hour: str, now: float) -> None:
        """Remove what a marker names if its time has passed; and the marker, if its hour is not that of the file."""
        if not name.isascii():
            return  # none of ours
        path = self._join(folder_of_name(name, self._depth), name)
        remaining = None
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                expire_at = os.stat(f"{path}{suffix}").st_mtime
                if expire_at <= now:
                    _unlink(f"{path}{suffix}")
                else:
                    remaining = expire_at
        if remaining is None:
            _remove_stale(os.path.dirname(path), now)
        if remaining is None or expiry_hour(remaining) != hour:
            _unlink(f"{self._root}/{EXPIRY_FOLDER}/{hour}/{name}")


def _read(path: str) -> bytes | None:
    try:
        # A named pipe put there by somebody would hold the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None  # a level of folders has the name of a key of one digit
        if status.st_size > LARGEST_BODY_BYTES:
            raise StoreDamagedError(f"larger than {LARGEST_BODY_BYTES} octets: {path}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST_BODY_BYTES)
    finally:
        os.close(descriptor)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)


def _write_all(descriptor: int, value: bytes) -> None:
    rest = memoryview(value)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _flush_folder(path: str) -> None:
    """Make a rename survive a power failure, where the file system can."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(descriptor)


def _unlink(path: str) -> bool:
    """Remove a file; false when there is none."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    return True


def _remove_stale(folder: str, now: float) -> None:
    """Remove what a writer that was killed left behind."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX) and entry.stat().st_ctime < now - STALE_SECONDS:
                _unlink(entry.path)
