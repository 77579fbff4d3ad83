"""Limits, space, memory, clock, libraries, files: judged as values where the machine cannot be bent."""

from __future__ import annotations

import importlib.util
import os
import resource
import time
from pathlib import Path

import pytest

from relayq.cli.doctor.configuration import look_at_files, look_at_warnings
from relayq.cli.doctor.finding import Verdict
from relayq.cli.doctor.machine import (
    ClockCheck,
    available_memory,
    judge_clock,
    judge_space,
    look_at_authorities,
    look_at_journal,
    look_at_libraries,
    look_at_memory,
    look_at_open_files,
    look_at_space,
    read_clock_state,
)
from relayq.config import load, parse_options
from tests.unit.cli.doctor.settings import settings

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("soft", "hard", "verdict"),
    [
        (1024, 4096, Verdict.OK),  # relayq raises the soft limit
        (1024, 1024, Verdict.WARNING),
        (1024, resource.RLIM_INFINITY, Verdict.OK),
        (1100, 1100, Verdict.OK),
    ],
)
def test_open_files(soft: int, hard: int, verdict: Verdict) -> None:
    (finding,) = look_at_open_files(settings(), soft, hard)
    assert finding.verdict is verdict
    if verdict is Verdict.WARNING:
        assert "at most 924 of 1000" in finding.found
        assert "LimitNOFILE=2000" in finding.fix


def space(free: int, files: int = 10**6, free_files: int = 10**6) -> os.statvfs_result:
    return os.statvfs_result((4096, 1, 10**9, free, free, files, free_files, free_files, 0, 255))


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (space(2048 * MIB), Verdict.OK),
        (space(500 * MIB), Verdict.WARNING),
        (space(50 * MIB), Verdict.WRONG),
        (space(2048 * MIB, free_files=10), Verdict.WARNING),
        (space(2048 * MIB, files=0, free_files=0), Verdict.OK),  # a file system without such a count
    ],
)
def test_space(state: os.statvfs_result, verdict: Verdict) -> None:
    assert judge_space("space", state).verdict is verdict


def test_folders_are_looked_at_once_per_file_system(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    options = [
        f"--rabbitmq-address=embedded://{tmp_path}/q.db",
        f"--storage-address=dir://{tmp_path}/store",
        "--application-log=/nonexistent/log.txt",
    ]
    first, missing = look_at_space(settings(*options))
    assert first.subject == f"space for queues, {tmp_path}"
    assert (missing.verdict, missing.subject) == (Verdict.WRONG, "logs /nonexistent")
    assert list(look_at_space(settings())) == []


def test_the_journal(tmp_path: Path) -> None:
    (off,) = look_at_journal(settings())
    assert off.verdict is Verdict.WARNING
    (well,) = look_at_journal(settings(f"--journal-directory={tmp_path}"))
    assert (well.verdict, well.found) == (Verdict.OK, str(tmp_path))
    (tmp_path / "file").touch()
    (wrong,) = look_at_journal(settings(f"--journal-directory={tmp_path}/file"))
    assert wrong.verdict is Verdict.WRONG
    (space,) = look_at_space(settings(f"--journal-directory={tmp_path}"))
    assert space.subject == f"space for the journal, {tmp_path}"


def test_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1 kB\nMemAvailable:     102400 kB\n")
    assert available_memory(meminfo) == 100 * MIB
    (finding,) = look_at_memory(settings("--smtp-threads=1"), meminfo)
    assert finding.verdict is Verdict.WARNING
    (finding,) = look_at_memory(settings("--smtp-threads=1", "--rabbitmq-max-memory=50MB"), meminfo)
    assert finding.verdict is Verdict.OK
    meminfo.write_text("nonsense")
    (finding,) = look_at_memory(settings(), meminfo)
    assert finding.verdict is Verdict.UNKNOWN


def test_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = look_at_libraries()
    assert finding.verdict is Verdict.OK
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    (finding,) = look_at_libraries()
    assert finding.verdict is Verdict.WARNING
    assert finding.fix.startswith("pip install 'relayq[responsive]'")


def test_trusted_authorities() -> None:
    (finding,) = look_at_authorities()
    assert finding.verdict in {Verdict.OK, Verdict.WARNING}


NOW = 1_900_000_000.0


@pytest.mark.parametrize(
    ("newest", "state", "verdict"),
    [
        (NOW - 86_400, (True, 0.01), Verdict.OK),
        (NOW, (False, 16.0), Verdict.WARNING),
        (NOW, None, Verdict.UNKNOWN),
        (NOW + 90_000, (True, 0.01), Verdict.WRONG),
    ],
)
def test_the_clock(newest: float, state: tuple[bool, float] | None, verdict: Verdict) -> None:
    assert judge_clock(NOW, newest, state).verdict is verdict


def test_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    check = ClockCheck()
    assert len(list(check.findings())) == 1
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 5)
    jump, _ = check.findings()
    assert jump.found.startswith("jumped by +5.0 s")


def test_the_kernel_tells_about_the_clock_or_does_not() -> None:
    state = read_clock_state()
    assert state is None or state[1] >= 0


def test_files_with_secrets(tmp_path: Path) -> None:
    secret, harmless = tmp_path / "secret.txt", tmp_path / "harmless.txt"
    secret.write_text("rabbitmq-address: amqp://u:p@broker.example/\n")
    harmless.write_text("rabbitmq-qos: 500\n")
    harmless.chmod(0o644)

    def look() -> list[tuple[str, Verdict]]:
        known = load(parse_options(["--hostname=x.test"]), [harmless, secret], no_default_config=True)
        return [(finding.subject, finding.verdict) for finding in look_at_files(known)]

    secret.chmod(0o644)
    assert look() == [(str(secret), Verdict.WARNING)]
    secret.chmod(0o640)
    assert look() == [(str(secret), Verdict.OK)]


def test_warnings_of_the_configuration() -> None:
    (well,) = look_at_warnings(settings(), {})
    assert well.verdict is Verdict.OK
    warning, leftover = look_at_warnings(settings("--rabbitmq-results="), {"MAILERQ_RABBITMQ_OUTBOX": "x"})
    assert (warning.subject, warning.verdict) == ("rabbitmq-results", Verdict.WARNING)
    assert "RELAYQ_RABBITMQ_OUTBOX" in leftover.fix
