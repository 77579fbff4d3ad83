"""Starting a worker process. It knows nothing else, so that the first ones can start while the rest is being loaded."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import NamedTuple


class Spawned(NamedTuple):
    """A process that waits for its first message.

    Attributes:
        process: It.
        control: Our end of its control socket; its end of life when it is closed.
    """

    process: subprocess.Popen[bytes]
    control: socket.socket


def spawn() -> Spawned:
    """Start one.

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


def worker_count(configured: int) -> int:
    """How many workers there shall be; 0 stands for one per processor this process may use."""
    return configured or len(os.sched_getaffinity(0))
