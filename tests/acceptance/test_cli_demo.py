"""``relayq demo``: the whole product in one command."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import run_here


def run_demo(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relayq", "demo", *options]
    environment = {"TMPDIR": str(folder), "RELAYQ_RABBITMQ_ADDRESS": "nonsense: no configuration is read"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env=_environment() | environment
    )


def _environment() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("RELAYQ_")}


def test_every_message_ends_exactly_once(tmp_path: Path) -> None:
    done = run_demo("--messages", "60", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "60 messages, exactly one final result each." in done.stdout
    for text in ("accepted at once", "accepted after a retry", "message/accepted", "rcptto/error", "message/lost"):
        assert text in done.stdout
    for kind in ("A success:", "A success after a retry:", "A failure:"):
        assert f"\n{kind}\n{{\n" in done.stdout
    assert re.search(r"60 of 60 finished", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_keep_leaves_the_queues(tmp_path: Path) -> None:
    done = run_demo("--messages", "3", "--keep", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert f"the queues are in {folder}" in done.stderr
    assert (folder / "demo.db").exists()


def test_a_script_of_ones_own(tmp_path: Path) -> None:
    script = tmp_path / "all.sink"
    script.write_text("rcptto * 550 5.7.1 closed\n", encoding="utf-8")
    done = run_demo("--messages", "10", "--script", str(script), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"failed\W+10", done.stdout)
    assert "closed" in done.stdout


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--messages", "0"], 64), (["--workers", "2"], 64), (["--script", "/nonexistent"], 78), (["word"], 64)],
)
def test_exit_codes(options: list[str], code: int) -> None:
    done = run_here(["demo", *options])
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def test_interrupted_it_cleans_up_and_says_how_far_it_came(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "relayq", "demo", "--messages", "100000"]
    environment = _environment() | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stderr is not None
            assert "finished" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "accepted at once" in output
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
