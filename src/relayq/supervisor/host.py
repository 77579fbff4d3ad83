"""What a server asks of the machine at its start: to be the only one, to be somebody else, to leave the terminal."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path


class HostError(Exception):
    """The machine refuses.

    Attributes:
        is_lock: It is about the lock file.
    """

    def __init__(self, text: str, *, is_lock: bool) -> None:
        super().__init__(text)
        self.is_lock = is_lock


class LockFile:
    """A file with the process id, locked for as long as the process lives; the kernel unlocks it whatever happens."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            HostError: Somebody else has it, or the file cannot be made.
        """
        self._path = path
        try:
            self._descriptor = self._take()
        except OSError as error:
            raise HostError(f"lock: cannot create {path}: {error.strerror}", is_lock=True) from None

    def _take(self) -> int:
        while True:
            # No link is followed: the folder may be writable by others.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_still_there(descriptor):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()}\n".encode())
                    return descriptor
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
                os.close(descriptor)
                text = f"lock: {self._path} is held by process {holder or '?'}: another instance is running"
                raise HostError(text, is_lock=True) from None
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its last holder removed it between our opening and locking it

    def _is_still_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):  # its folder may belong to root, which we were: empty, it does no harm
            os.ftruncate(self._descriptor, 0)
            self._path.unlink()
        os.close(self._descriptor)


def become(account: str) -> None:
    """Give up being root.

    Args:
        account: ``name``, or ``name:group``.

    Raises:
        HostError: There is no such user or group, or we may not.
    """
    name, _, group = account.partition(":")
    try:
        user = pwd.getpwnam(name)
        gid = grp.getgrnam(group).gr_gid if group else user.pw_gid
    except KeyError:
        raise HostError(f"user: there is no user or group {account!r}", is_lock=False) from None
    if os.geteuid() == user.pw_uid and os.getegid() == gid:
        return
    try:
        os.initgroups(name, gid)
        os.setgid(gid)
        os.setuid(user.pw_uid)
    except OSError as error:
        raise HostError(f"user: cannot become {account}: {error.strerror}", is_lock=False) from None
    os.environ["HOME"] = user.pw_dir


def detach() -> Callable[[], None] | int:
    """Leave the terminal. Call it before there are threads, or an event loop.

    Returns:
        In the process that goes on: what to call once it is ready. In the one that was started: its exit code, that of
        the other one if that never got ready.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        is_ready = os.read(reader, 1) == b"+"
        return 0 if is_ready else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(reader)
    os.setsid()

    def ready() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        os.close(nothing)
        os.write(writer, b"+")
        os.close(writer)

    return ready
