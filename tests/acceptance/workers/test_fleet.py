"""The places of workers when things go wrong that no configuration brings about."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayq.adapters.application_log import ApplicationLog
from relayq.adapters.figures import State
from relayq.config import load, parse_options
from relayq.supervisor import slot as slot_module
from relayq.supervisor.fleet import FALSE_STARTS, Fleet
from relayq.supervisor.messages import Failed, Started
from relayq.supervisor.spawn import Spawned
from tests.support.fleet import until

DIES = "import sys; sys.exit(3)"
FRAME = "import msgspec, socket, struct, sys; s = socket.socket(fileno=int(sys.argv[1])); "
REFUSES = (
    FRAME + "b = bytes.fromhex(sys.argv[2]); s.sendall(struct.pack('>I', len(b)) + b); s.close(); sys.exit(77)"
)  # fmt: skip
TALKS_NONSENSE = FRAME + "s.sendall(b'\\xff' * 64); s.recv(100000); import time; time.sleep(60)"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ApplicationLog]:
    log = ApplicationLog([str(tmp_path / "log")], "debug", "text")
    yield log
    log.close()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_module, "BACKOFF", (0.01,))


def spawns(monkeypatch: pytest.MonkeyPatch, script: str, *words: str) -> list[int]:
    """Every worker is this script; the list gets their process ids."""
    started: list[int] = []

    def spawn() -> Spawned:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", script, str(theirs.fileno()), *words]
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        started.append(process.pid)
        return Spawned(process, ours)

    monkeypatch.setattr(slot_module, "spawn", spawn)
    return started


def fleet_of(folder: Path, count: int, log: ApplicationLog) -> Fleet:
    options = (f"--rabbitmq-address=embedded://{folder}/q.db", "--hostname=a.test", "--journal-directory=")
    settings = load(parse_options(options), environ={}, no_default_config=True)
    return Fleet(settings, count, (), log, lambda: None)


async def test_workers_that_only_die_are_given_up(
    tmp_path: Path, log: ApplicationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = spawns(monkeypatch, DIES)
    async with asyncio.timeout(30):
        assert await fleet_of(tmp_path, 2, log).run() == 70
    assert FALSE_STARTS <= len(started) <= 2 * FALSE_STARTS
    text = (tmp_path / "log").read_text()
    assert "ended with code 3; the next one is started" in text
    assert "giving up" in text


async def test_what_a_worker_says_before_it_ends_is_the_exit_code(
    tmp_path: Path, log: ApplicationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    started = spawns(monkeypatch, REFUSES, msgspec.msgpack.encode(Failed(77)).hex())
    async with asyncio.timeout(30):
        assert await fleet_of(tmp_path, 3, log).run() == 77
    assert len(started) == 3


async def test_a_worker_that_started_once_is_replaced_for_ever(
    tmp_path: Path, log: ApplicationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msgspec

    started = spawns(monkeypatch, REFUSES, msgspec.msgpack.encode(Started()).hex())
    fleet = fleet_of(tmp_path, 1, log)
    running = asyncio.ensure_future(fleet.run())
    await until(lambda: len(started) > 2 * FALSE_STARTS, "one more")
    fleet.stop()
    async with asyncio.timeout(30):
        assert await running == 0
    assert fleet.restarts >= 2 * FALSE_STARTS


async def test_one_that_talks_nonsense_is_ended(
    tmp_path: Path, log: ApplicationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = spawns(monkeypatch, TALKS_NONSENSE)
    async with asyncio.timeout(30):
        assert await fleet_of(tmp_path, 1, log).run() == 70
    assert len(started) == FALSE_STARTS
    assert "was ended by signal SIGKILL" in (tmp_path / "log").read_text()


async def test_one_that_does_not_move_is_ended_and_replaced(
    tmp_path: Path, log: ApplicationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(tmp_path, 2, log)
    running = asyncio.ensure_future(fleet.run())
    await until(lambda: fleet.states() == [State.CONSUMING] * 2, "the start")
    monkeypatch.setattr(slot_module, "SILENT_SECONDS", 3.0)
    monkeypatch.setattr(slot_module, "LINGER_SECONDS", 0.2)
    frozen = fleet.processes()["worker 1"]
    os.kill(frozen, signal.SIGSTOP)
    await until(lambda: fleet.processes().get("worker 1", frozen) != frozen, "another worker")
    assert "worker 1 does not move" in (tmp_path / "log").read_text()
    monkeypatch.setattr(slot_module, "SILENT_SECONDS", 60.0)
    await until(lambda: fleet.states() == [State.CONSUMING] * 2, "both")
    fleet.stop()
    async with asyncio.timeout(30):
        assert await running == 0
