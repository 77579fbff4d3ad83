"""``relayq run`` as a process: from the outbox through a server to a result, and every way to end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.support.commands import run_here
from tests.support.scripted_server import RecordingSink

MESSAGE = {"envelope": "a@b.test", "recipient": "c@[127.0.0.1]", "mime": "Subject: x\r\n\r\nhi\r\n", "order": 7}


def words(folder: Path, command: str, *more: str) -> list[str]:
    settings = [
        f"--rabbitmq-address=embedded://{folder}/queues.db",
        "--rabbitmq-results=results",
        f"--journal-directory={folder}/journal",
        *(["--smtp-threads=1"] if command == "run" else []),
    ]
    return [command, "--no-default-config", "--hostname=me.test", *settings, *more]


async def start(words: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relayq", *words, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def ask(folder: Path, command: str, *more: str, given: bytes = b"") -> bytes:
    process = await start(words(folder, command, *more))
    output, errors = await process.communicate(given)
    assert process.returncode == 0, errors
    return output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_message_travels_from_the_outbox_to_its_result(tmp_path: Path, number: signal.Signals) -> None:
    async with RecordingSink() as sink:
        await ask(tmp_path, "inject", given=json.dumps(MESSAGE).encode())
        route = [f"--smtp-sink-address={sink.host}", f"--smtp-sink-port={sink.port}"]
        running = await start(words(tmp_path, "run", *route))
        try:
            (received,) = await sink.wait_for(1)
            line = await ask(tmp_path, "results", "--follow", "--count=1")
            running.send_signal(number)
            _, errors = await asyncio.wait_for(running.communicate(), 60)
        finally:
            if running.returncode is None:
                running.kill()
    assert running.returncode == 0, errors
    assert b"Traceback" not in errors
    assert (received.sender, received.recipients, received.content) == (
        "a@b.test", ("c@[127.0.0.1]",), b"Subject: x\r\n\r\nhi\r\n",
    )  # fmt: skip
    result = json.loads(line)
    assert (result["recipient"], result["order"], "mime" in result) == ("c@[127.0.0.1]", 7, False)
    assert [(each["state"], each["result"]) for each in result["results"]] == [("message", "accepted")]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--rabbitmq-qos=many"], 78),
        (["--nonsense"], 64),
        (["word"], 64),
        (["--rabbitmq-address=embedded:///nonexistent/queues.db"], 73),
        (["--rabbitmq-address=embedded:///etc/hostname"], 78),
    ],
)
def test_exit_codes(tmp_path: Path, options: list[str], code: int) -> None:
    done = run_here(words(tmp_path, "run", *options))
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
