"""Other processes at the same queue file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.disk import Disk, small_disk
from tests.unit.adapters.embedded.support import PATIENCE

ROOT = Path(__file__).parents[3]


class Peer:
    """A running `tests.integration.embedded.peer`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def hears(self, line: str) -> None:
        """Wait until the peer has said ``line``."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while heard := await self._process.stdout.readline():
                if heard.decode().strip() == line:
                    return
        raise AssertionError(f"the peer ended without saying {line!r}")

    async def rest(self) -> list[str]:
        """Wait for the end of the peer; what it has said since the last time."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            text = await self._process.stdout.read()
            await self._process.wait()
        return text.decode().splitlines()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


StartPeer = Callable[..., Awaitable[Peer]]


@pytest.fixture
async def peers(file: Path) -> AsyncIterator[StartPeer]:
    """Starts a peer with a command and its arguments; all are ended with the test."""
    started: list[Peer] = []

    async def start(*command: object) -> Peer:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.embedded.peer",
            str(file),
            *map(str, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )
        started.append(Peer(process))
        return started[-1]

    yield start
    for peer in started:
        await peer.end()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relayq.db"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("needs the right to mount a small file system")
        yield disk
