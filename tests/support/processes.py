"""Child processes that end with us: started in a session of their own, stopped by pid, never by name."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

POLL_INTERVAL = 0.05  # seconds between two looks at a condition that only polling can see
STOP_TIMEOUT = 20.0  # seconds a process gets between SIGTERM and SIGKILL

# Blocks until the write end of its standard input is closed, which the kernel does even when we die by SIGKILL.
_LEASH_SCRIPT = 'read -r _; kill -TERM "$@" 2>/dev/null'


class ServerNotReady(RuntimeError):
    """A server process ended, or did not answer in time, while it was being started."""


class Leash:
    """Ends a child by SIGTERM when we end, even if we are killed.

    ``PR_SET_PDEATHSIG`` would do the same, but it fires when the *thread* that started the child ends, and tests
    restart servers from short-lived worker threads.
    """

    def __init__(self, pid: int) -> None:
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            ["/bin/sh", "-c", _LEASH_SCRIPT, "leash", str(pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def release(self) -> None:
        """The child is gone: its number may be that of another process soon."""
        self._process.kill()
        self._process.wait()
        pipe: IO[bytes] | None = self._process.stdin
        if pipe is not None:
            pipe.close()


class Process:
    """One child process with its output in a file and a leash."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], log_file: Path, cwd: Path) -> None:
        with log_file.open("ab") as log:
            self._child = subprocess.Popen(
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._log_file = log_file
        self._leash = Leash(self._child.pid)

    @property
    def pid(self) -> int:
        """Process id of the child, also after it has ended."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the child has not ended yet."""
        return self._child.poll() is None

    def log_tail(self, lines: int = 20) -> str:
        """Return the last ``lines`` lines the child has written."""
        with contextlib.suppress(OSError):
            return "\n".join(self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return ""

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End the child with SIGTERM, with SIGKILL after ``timeout`` seconds; returns when it is gone."""
        if self.is_running:
            self._child.terminate()
            try:
                self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._reap()

    def kill(self) -> None:
        """End the child with SIGKILL; returns when it is gone."""
        self._child.kill()
        self._reap()

    def _reap(self) -> None:
        self._child.wait()
        self._leash.release()

    def wait_until(self, is_ready: Callable[[], bool], *, timeout: float, what: str) -> None:
        """Poll ``is_ready`` until it is true.

        Raises:
            ServerNotReady: the child ended, or ``timeout`` seconds passed. The child is left as it is.
        """
        deadline = time.monotonic() + timeout
        while not is_ready():
            if not self.is_running:
                raise ServerNotReady(f"{what} ended while starting:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerNotReady(f"{what} did not get ready within {timeout:.0f} s:\n{self.log_tail()}")
            time.sleep(POLL_INTERVAL)


def is_listening(address: str, port: int) -> bool:
    """Whether a socket listens on an IPv4 ``address`` and ``port``, found without connecting to it.

    A probing connection would be counted, logged or waited for by the server under test.
    """
    wanted = f"{_hex_address(address)}:{port:04X}"
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    rows = (line.split() for line in table.splitlines()[1:])
    return any(row[1] == wanted and row[3] == "0A" for row in rows)


def _hex_address(address: str) -> str:
    """Spell an IPv4 address as ``/proc/net/tcp`` does on a little-endian machine."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
