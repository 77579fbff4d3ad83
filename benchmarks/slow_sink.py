"""``relayq sink`` with a script, as a process of its own that benchmarks use in place of smtp-sink."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.support import Child
from tests.support.ports import free_port
from tests.support.processes import is_listening

START_SECONDS = 20.0


class ScriptedSink:
    """Use as a context manager; ``port`` and ``pid`` are known from the start.

    Args:
        script: What is not simply accepted; the lines ``relayq sink --script`` reads.
        host: Where it listens.
        port: Its port, 0 = a free one.
    """

    def __init__(self, script: str = "", host: str = "127.0.0.1", port: int = 0) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="relayq-bench-")
        path = Path(self._folder.name) / "sink.txt"
        path.write_text(script, encoding="utf-8")
        self._host = host
        self.port = port or free_port(host)
        self._process = Child(
            [sys.executable, "-m", "relayq", "sink", "--listen", f"{host}:{self.port}", "--script", str(path)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        limit = time.monotonic() + START_SECONDS
        while not is_listening(self._host, self.port):
            if time.monotonic() > limit or self._process.poll() is not None:
                raise SystemExit("the scripted sink did not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._folder.cleanup()
