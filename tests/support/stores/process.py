"""A server of other people that is one process, can be killed, and comes back on its port with its data."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.processes import POLL_INTERVAL, STOP_TIMEOUT, Process, is_listening

LOOPBACK = "127.0.0.1"
START_SECONDS = 60.0
PYTHON_SERVERS = Path(__file__).parents[3] / ".cache" / "test-servers" / "python"
"""The environment that ``scripts/install-test-servers`` makes; what is in there is never imported by tests."""


class StoreServer:
    """Base of such servers: a folder, a port and a process.

    Attributes:
        folder: Its data and its output; removed by `close`.
        port: Where it listens, on 127.0.0.1.
    """

    name = ""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"relayq-{self.name}-"))
        self.port = free_port()
        self._process: Process | None = None

    def command(self) -> Sequence[str]:
        """What is run."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """What its environment has besides the path."""
        return {}

    @property
    def pid(self) -> int:
        """Process id, also after it has ended."""
        assert self._process is not None, "the server was never started"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            ServerNotReady: It ended, or did not listen in time; its output is in the message.
        """
        self._process = Process(
            self.command(),
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **self.environment()},
            log_file=self.folder / "output",
            cwd=self.folder,
        )
        self._process.wait_until(lambda: is_listening(LOOPBACK, self.port), timeout=START_SECONDS, what=self.name)

    def stop(self) -> None:
        """End it in order; `start` brings it back."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """Let it do nothing more, without closing anything; returns once every thread has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        deadline = time.monotonic() + STOP_TIMEOUT
        # Behind the name in parentheses comes the state.
        while any(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "T" for task in tasks.iterdir()):
            assert time.monotonic() < deadline, f"{self.name} does not stop"
            time.sleep(POLL_INTERVAL)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder; nothing in there has to be put in order first."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
