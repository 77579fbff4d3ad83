"""The send log of the whole process: its lines, rotation by others, reloads, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from relayq.trial import Sink, parse_script
from tests.support.commands import Commands
from tests.support.relayq_process import RelayqProcess
from tests.unit.adapters.embedded.support import opened, publication

SCRIPT = r"""
rcptto *refused* 550 5.1.1 line one\nline two
rcptto *greylisted* first=1 450 4.2.0 later
"""
PATIENCE = 90.0


def settings_of(folder: Path, sink: Sink, **more: str) -> dict[str, str]:
    return {
        "rabbitmq-address": f"embedded://{folder}/queues.db",
        "rabbitmq-results": "results",
        "hostname": "me.test",
        "smtp-sink-address": "127.0.0.1",
        "smtp-sink-port": str(sink.port),
        "retry-interval": "1",
        "smtp-threads": "1",
        "send-log-file": f"{folder}/send.log",
    } | {key.replace("_", "-"): value for key, value in more.items()}


async def inject(folder: Path, *recipients: str) -> None:
    bodies = [
        json.dumps({"envelope": "a@b.test", "recipient": each, "mime": "Subject: x\r\n\r\nhi"}) for each in recipients
    ]
    async with opened(folder / "queues.db") as broker:
        await broker.publish([publication(body.encode()) for body in bodies])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.01)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_every_attempt_is_a_line_and_a_moved_file_is_made_anew(tmp_path: Path) -> None:
    """Spec operations.md 26, checks 15 and 16."""
    log = tmp_path / "send.log"
    sink = Sink("127.0.0.1", 0, script=parse_script(SCRIPT))
    await sink.start()
    recipients = ("c@[127.0.0.1]", "refused@[127.0.0.1]", "greylisted@[127.0.0.1]")
    with RelayqProcess(tmp_path, settings_of(tmp_path, sink, smtp_threads="2")) as running:
        await inject(tmp_path, *recipients)
        await until(lambda: len(lines_of(log)) == 4)
        fields = [line.split("] ", 1)[1] for line in lines_of(log)]
        place = "[127.0.0.1] [127.0.0.1] []"
        assert sorted(line.partition(" <a@b.test> ")[0] for line in fields) == [
            "message:accepted 1", "message:accepted 2", "rcptto:error 1", "rcptto:error 1",
        ]  # fmt: skip
        assert f"rcptto:error 1 <a@b.test> <refused@[127.0.0.1]> {place} 550 5.1.1 line one line two" in fields
        assert f"rcptto:error 1 <a@b.test> <greylisted@[127.0.0.1]> {place} 450 4.2.0 later" in fields

        os.rename(log, tmp_path / "send.log.1")
        await until(log.exists)
        await inject(tmp_path, "d@[127.0.0.1]")
        await until(lambda: len(lines_of(log)) == 1)
        assert "<d@[127.0.0.1]>" in lines_of(log)[0]
        assert len(lines_of(tmp_path / "send.log.1")) == 4
        assert await asyncio.to_thread(running.stop) == 0
    await sink.close()


async def test_a_reload_changes_file_and_format(tmp_path: Path) -> None:
    sink = Sink("127.0.0.1", 0)
    await sink.start()
    settings = settings_of(tmp_path, sink)
    settings.pop("send-log-file")
    with RelayqProcess(tmp_path, settings) as running:
        running.wait_for_log("delivering from")
        other = tmp_path / "other.log"
        config = tmp_path / "config.txt"
        before = config.read_text()
        config.write_text(before + f"send-log-file: {other}\nsend-log-format: {{$email.recipient}}|{{$result.code}}\n")
        os.kill(running.pid, signal.SIGHUP)
        await until(other.exists)
        await inject(tmp_path, "c@[127.0.0.1]")
        await until(lambda: lines_of(other) == ["c@[127.0.0.1]|250"])
        config.write_text(before + "send-log-file: /nonexistent/x.log\n")
        os.kill(running.pid, signal.SIGHUP)
        await asyncio.to_thread(running.wait_for_log, "the old one is still used")
        assert await asyncio.to_thread(running.stop) == 0
    await sink.close()


@pytest.mark.parametrize(
    ("option", "code", "text"),
    [
        ("--send-log-file=/nonexistent/send.log", 73, "cannot open /nonexistent/send.log"),
        ("--send-log-file=send.log", 78, "is not an absolute path"),
        ("--send-log-format={if}", 78, "is no template"),
    ],
)
def test_what_keeps_it_from_starting(tmp_path: Path, option: str, code: int, text: str) -> None:
    done = Commands(f"embedded://{tmp_path}/queues.db").run(
        "run", "--rabbitmq-results=results", "--smtp-threads=1", f"--journal-directory={tmp_path}/journal", option
    )
    assert (done.returncode, text in done.stderr.decode()) == (code, True), done.stderr
