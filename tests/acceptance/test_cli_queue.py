"""``relayq queue`` over both brokers: counting, watching, purging."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from relayq.cli.main import main
from tests.support.commands import Commands


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.server)])
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Commands:
    if request.param == "embedded":
        return Commands(f"embedded://{tmp_path}/queues.db")
    return Commands(request.getfixturevalue("rabbitmq_vhost"))


@pytest.fixture
def embedded(tmp_path: Path) -> Commands:
    return Commands(f"embedded://{tmp_path}/queues.db")


class Queue:
    """``relayq queue`` in this process."""

    def __init__(self, commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
        self._commands = commands
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        assert main(["queue", *self._commands.settings, *words]) == code, self._capsys.readouterr().err
        captured = self._capsys.readouterr()
        return captured.out, captured.err

    def counts(self) -> dict[str, Any]:
        """Queues by name, as JSON tells them."""
        return {each["queue"]: each for each in json.loads(self("--json")[0])["queues"]}


def test_counts_and_purge(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue(commands, capsys)
    commands.succeed("inject", given=b'{"recipient":"a@b.test"}' * 3)
    outbox = queue.counts()["outbox"]
    assert (outbox["ready"], outbox["roles"], outbox["exists"]) == (3, ["outbox", "inbox"], True)
    text, _ = queue()
    assert [line.split()[:4] for line in text.splitlines() if line.startswith("outbox ")] == [
        ["outbox", "outbox,", "inbox", "3"]
    ]
    output, told = queue("--purge", "outbox", "--yes", "--json")
    assert json.loads(output) == {"deleted": 3, "queues": [{"queue": "outbox", "deleted": 3}]}
    assert "outbox: 3 messages would be deleted" in told
    assert queue.counts()["outbox"]["ready"] == 0


def test_without_a_terminal_a_purge_needs_yes(commands: Commands) -> None:
    """Spec operations.md 26, check 21."""
    commands.succeed("inject", given=b"{}{}")
    done = commands.run("queue", "--purge", "outbox")
    assert done.returncode == 64
    assert b"outbox: 2 messages would be deleted" in done.stderr
    assert done.stderr.endswith(b"nothing was deleted: without a terminal --purge needs --yes\n")
    assert commands.succeed("results", "--queue=outbox", "--peek") == b"{}\n{}\n"


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 0), (b"\n", 130, 2), (b"n\n", 130, 2)])
def test_a_question_at_the_terminal(
    embedded: Commands, capsys: pytest.CaptureFixture[str], answer: bytes, code: int, left: int
) -> None:
    embedded.succeed("inject", given=b"{}{}")
    terminal, its_other_end = pty.openpty()
    try:
        with subprocess.Popen(
            embedded.line("queue", "--purge", "outbox"),
            stdin=its_other_end,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as asking:
            assert asking.stderr is not None
            told = b""
            while not told.endswith(b"[y/N] "):
                told += asking.stderr.read(1)
            os.write(terminal, answer)
            assert asking.wait(timeout=60) == code
    finally:
        os.close(terminal)
        os.close(its_other_end)
    assert Queue(embedded, capsys).counts().get("outbox", {"ready": 0})["ready"] == left


def test_watching_ends_on_a_signal(embedded: Commands) -> None:
    embedded.succeed("inject", given=b"{}")
    with embedded.start("queue", "--watch=0.1", "--json") as watching:
        try:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["queues"][0]["ready"] == 1
            embedded.succeed("inject", given=b"{}")
            while json.loads(watching.stdout.readline())["queues"][0]["ready"] != 2:
                pass
            watching.send_signal(signal.SIGINT)
            _, errors = watching.communicate(timeout=60)
        finally:
            watching.kill()
    assert (watching.returncode, errors) == (0, b"")


def test_domains(embedded: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue(embedded, capsys)
    embedded.succeed("inject", given=b'{"recipient":"a@one.test"}{"recipient":"b@two.test"}{"recipient":"c@two.test"}')
    text, _ = queue("--domains", "outbox")
    head, first, second = text.splitlines()[-3:]
    assert head.split()[:3] == ["domain", "messages", "ready"]
    assert (first.split()[:3], second.split()[:3]) == (["two.test", "2", "2"], ["one.test", "1", "1"])
    described = json.loads(queue("--domains=outbox", "--json")[0])["domains"]
    assert [(each["domain"], each["by-age"]) for each in described["domains"]] == [
        ("two.test", [2, 0, 0, 0, 0]),
        ("one.test", [1, 0, 0, 0, 0]),
    ]


@pytest.mark.server
def test_what_rabbitmq_does_not_show(rabbitmq_vhost: str, capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue(Commands(rabbitmq_vhost), capsys)
    assert "not available" in queue("--domains", "outbox", code=69)[1]
    assert "there is no queue 'nonsense'" in queue("--purge", "nonsense", "--yes", code=64)[1]
    assert "rabbitmqctl" in queue("--purge", "parking", "--yes", code=64)[1]
    assert "nothing to delete" in queue("--purge", "delay", "--yes")[1]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--yes"], 64, "--yes"),
        (["--purge=outbox", "--watch=1"], 64, "--purge"),
        (["--watch=0"], 64, "--watch"),
        (["--rabbitmq-address=embedded:///etc/hostname"], 78, "not a queue file"),
        (["--rabbitmq-address=embedded:///nonexistent/x.db", "--purge=outbox"], 0, "nothing to delete"),
    ],
)
def test_exit_codes(
    embedded: Commands, capsys: pytest.CaptureFixture[str], words: list[str], code: int, text: str
) -> None:
    assert text in Queue(embedded, capsys)(*words, code=code)[1]
