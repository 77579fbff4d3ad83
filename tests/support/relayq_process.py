"""``relayq run`` as its users start it: a process of its own with a configuration file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 60.0


class RelayqProcess:
    """Started at once; ended in order on exit."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        *,
        environ: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        """Start it: one worker, unless ``settings`` say otherwise.

        Args:
            folder: For its configuration, its log and its journal.
            settings: By name.
            environ: Variables on top of ours.
            wrapper: A command that becomes the one behind it, such as ``prlimit --nofile=100``.
        """
        path = folder / "config.txt"
        given = {**settings}
        given.setdefault("journal-directory", str(folder / "journal"))
        given.setdefault("smtp-threads", "1")
        path.write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
        self.log_path = folder / "log.txt"
        command = [*wrapper, sys.executable, "-m", "relayq", "run", "--no-default-config", f"--config-file={path}"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **(environ or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_for_log(self, text: str, seconds: float = 60.0) -> None:
        """Until ``text`` stands in the log."""
        limit = time.monotonic() + seconds
        while text not in self.log:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < limit, f"{text!r} never came:\n{self.log}"
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Until it ends by itself; the exit code."""
        return self._process.wait(seconds)

    def __enter__(self) -> Self:
        """Already started."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Never leave it behind."""
        if self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
