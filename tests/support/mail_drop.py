"""A receiving server in a process of its own, which may be killed: what it accepted is in a file before its reply.

python -m tests.support.mail_drop PORT FILE SCRIPT
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from relayq.trial import ReceivedMessage, Sink, parse_script
from tests.support.ports import free_port
from tests.support.processes import Process, is_listening

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0


class MailDrop:
    """Started on entering a block; ended, whatever it does, on leaving it."""

    def __init__(self, folder: Path, script: str) -> None:
        self.port = free_port()
        self.host = "127.0.0.1"
        self._file = folder / "received"
        self._log = folder / "mail-drop.log"
        self._script = script
        self._process: Process

    def recipients(self) -> list[str]:
        """Of every mail that was accepted, oldest first, by all of its lives."""
        return self._file.read_text().split() if self._file.exists() else []

    def start(self) -> None:
        """Begin a life."""
        command = [sys.executable, "-m", __name__, str(self.port), str(self._file), self._script]
        self._process = Process(command, env=dict(os.environ), log_file=self._log, cwd=ROOT)
        self._process.wait_until(
            lambda: is_listening(self.host, self.port), timeout=START_SECONDS, what="the receiving server"
        )

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


async def _serve(port: int, path: Path, script: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(message: ReceivedMessage) -> None:
        os.write(descriptor, f"{message.recipients[0]}\n".encode())

    async with Sink(port=port, on_message=note, script=parse_script(script)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
