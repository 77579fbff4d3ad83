"""Starting worker processes.

The first ones are forked from the process that reads the configuration, once it has loaded everything they need: that
costs each of them a few milliseconds. It is possible only while there is neither a thread nor an event loop. Whoever
takes the place of a worker that died, while the supervisor is running, is a new interpreter.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import NamedTuple, Protocol


class ChildProcess(Protocol):
    """What is used of ``subprocess.Popen``."""

    @property
    def pid(self) -> int:
        """Its id; nobody else's before `wait` has returned."""
        ...

    def kill(self) -> None:
        """Send it SIGKILL."""
        ...

    def wait(self) -> int:
        """Wait for its end; its exit code, or the negative number of the signal it died of."""
        ...


class ForkedProcess:
    """A child of ``fork``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def kill(self) -> None:
        """Send it SIGKILL."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; its exit code, or the negative number of the signal it died of."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


class Spawned(NamedTuple):
    """A process that waits for its first message.

    Attributes:
        process: It.
        control: Our end of its control socket; its end of life when it is closed.
    """

    process: ChildProcess
    control: socket.socket


def spawn() -> Spawned:
    """Start one with an interpreter of its own.

    Raises:
        OSError: The machine has no room for it.
    """
    ours, theirs = socket.socketpair()
    # -P: a folder somebody happened to be in when starting the server is no place to import modules from.
    command = [sys.executable, "-P", "-m", "relayq.supervisor.worker_process", str(theirs.fileno())]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Spawned(process, ours)


def fork(count: int) -> list[Spawned] | socket.socket:
    """Start several that begin where this process is.

    Returns:
        In this process: them; fewer if the machine has no room, and whoever is missing is for `spawn` to start. In each
        of them: its end of its control socket.
    """
    spawned: list[Spawned] = []
    for _ in range(count):
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            break
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            break
        if pid == 0:
            for control in (ours, *(each.control for each in spawned)):
                control.close()  # held here, it would not show that the supervisor is gone
            with open(os.devnull, "rb", buffering=0) as nothing, contextlib.suppress(OSError):
                os.dup2(nothing.fileno(), 0)
            return theirs
        theirs.close()
        spawned.append(Spawned(ForkedProcess(pid), ours))
    return spawned


def worker_count(configured: int) -> int:
    """How many workers there shall be; 0 stands for one per processor this process may use."""
    return configured or len(os.sched_getaffinity(0))
