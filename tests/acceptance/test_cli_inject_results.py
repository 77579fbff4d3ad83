"""``relayq inject`` and ``relayq results`` as processes, over the embedded broker and RabbitMQ."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import Commands

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=["embedded", "rabbitmq"])
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Commands:
    if request.param == "embedded":
        return Commands(f"embedded://{tmp_path}/queues.db")
    return Commands(request.getfixturevalue("rabbitmq_vhost"))


@pytest.fixture
def embedded(tmp_path: Path) -> Commands:
    return Commands(f"embedded://{tmp_path}/queues.db")


def test_json_goes_in_and_comes_out_unchanged(commands: Commands) -> None:
    lines = b"".join(b'{"recipient": "a%d@b.test", "n": 1.10}\n' % number for number in range(1000))
    assert commands.succeed("inject", given=lines) == b""
    assert commands.succeed("results", "--queue", "outbox", "--count", "400") == b"".join(lines.splitlines(True)[:400])
    assert commands.succeed("results", "--queue=outbox", "--count=600") == b"".join(lines.splitlines(True)[400:])
    assert commands.succeed("results", "--queue=outbox") == b""


def test_peek_takes_nothing_away(commands: Commands) -> None:
    commands.succeed("inject", given=b'{"n":1}\n{"n":2}\n')
    assert commands.succeed("results", "--queue=outbox", "--peek", "--count=1") == b'{"n":1}\n'
    assert commands.succeed("results", "--queue=outbox", "--peek") == b'{"n":1}\n{"n":2}\n'
    assert commands.succeed("results", "--queue=outbox", "--count=2") == b'{"n":1}\n{"n":2}\n'


def test_a_thousand_lines_with_a_damaged_one(commands: Commands) -> None:
    lines = [b'{"n":%d}' % number for number in range(1, 1001)]
    lines[499] = b'{"n":500,'
    done = commands.run("inject", given=b"\n".join(lines))
    assert done.returncode == 65
    assert done.stderr.startswith(b"relayq: standard input, line 500: ")
    assert done.stderr.endswith(b"relayq: 499 messages were confirmed before\n")
    assert commands.succeed("results", "--queue=outbox", "--peek", "--count=500").count(b"\n") == 499


def test_follow_prints_what_comes_later_and_ends_on_a_signal(commands: Commands) -> None:
    commands.succeed("inject", given=b'{"n":1}')
    with commands.start("results", "--queue=outbox", "--follow") as following:
        try:
            assert following.stdout is not None
            assert following.stdout.readline() == b'{"n":1}\n'
            commands.succeed("inject", given=b'{"n":2}')
            assert following.stdout.readline() == b'{"n":2}\n'
            following.send_signal(signal.SIGINT)
            output, errors = following.communicate(timeout=60)
        finally:
            following.kill()
    assert (following.returncode, output, errors) == (0, b"", b"")
    assert commands.succeed("results", "--queue=outbox") == b""


def test_a_closed_pipe_loses_nothing_that_was_not_written(embedded: Commands) -> None:
    line = json.dumps({"text": "x" * 20_000}).encode()
    embedded.succeed("inject", given=b"\n".join([line] * 200))
    with embedded.start("results", "--queue=outbox", "--count=150") as printing:
        assert printing.stdout is not None
        assert printing.stdout.readline() == line + b"\n"
        printing.stdout.close()
        assert printing.wait(timeout=60) == 0
        assert printing.stderr is not None
        assert printing.stderr.read() == b""
    # At least one line was read; lines are acknowledged by the batch, so a few of those written may come again.
    left = embedded.succeed("results", "--queue=outbox").count(b"\n")
    assert 150 <= left <= 200


def test_example_files(embedded: Commands) -> None:
    examples = [str(EXAMPLES / name) for name in ("message.json", "messages.jsonl")]
    embedded.succeed("inject", *examples)
    embedded.succeed("inject", "-t", str(EXAMPLES / "letter.eml"))
    found = [json.loads(line) for line in embedded.succeed("results", "--queue=outbox", "--count=6").splitlines()]
    recipients = ["anna@example.org", "anna@greylist.test", "nobody@example.org", "carl@example.org"]
    assert [each["recipient"] for each in found] == [*recipients, "carl@example.org", "archive@shop.example"]
    letter = found[-1]
    assert letter["envelope"] == "anna@shop.example"
    assert (letter["tags"], letter["maxattempts"]) == (["spring"], 5)
    assert letter["cli"]["command"] == "relayq inject"
    assert letter["cli"]["arguments"] == ["--extract-recipients", str(EXAMPLES / "letter.eml")]
    assert "X-MQ" not in letter["mime"]
    assert "archive" not in letter["mime"]


def test_settings_do_not_reach_the_message(tmp_path: Path) -> None:
    secret = Commands(f"embedded://{tmp_path}/queues.db")
    secret.succeed("inject", "--server-id=secret", "--recipient", "c@d.test", given=b"Subject: x\n\nhi\n")
    (line,) = secret.succeed("results", "--queue=outbox", "--count=1").splitlines()
    assert json.loads(line)["cli"]["arguments"] == ["--recipient=c@d.test"]


def test_inbox_setting(embedded: Commands) -> None:
    embedded.succeed("inject", "--rabbitmq-inbox=incoming", given=b"{}")
    assert embedded.succeed("results", "--queue=outbox") == b""
    assert embedded.succeed("results", "--queue=incoming", "--count=1") == b"{}\n"
    embedded.succeed("inject", "--rabbitmq-inbox=", given=b"{}")
    assert embedded.succeed("results", "--queue=outbox") == b""


def test_a_table_has_a_head_and_a_row_per_message(embedded: Commands) -> None:
    result = {"state": "rcptto", "result": "error", "time": "2031-03-01 09:00:04", "code": 550, "description": "No"}
    embedded.succeed("inject", given=json.dumps({"recipient": "a@b.test", "results": [result]}).encode())
    head, row = embedded.succeed("results", "--queue=outbox", "--table", "--count=1").decode().splitlines()
    assert head.split() == ["time", "(UTC)", "recipient", "state", "result", "code", "description"]
    assert row.split() == ["2031-03-01", "09:00:04", "a@b.test", "rcptto", "error", "550", "No"]


def test_default_queues(embedded: Commands) -> None:
    for queue in ("results", "success", "failure"):
        embedded.succeed("inject", f"--rabbitmq-inbox={queue}", given=b'{"q":"%b"}' % queue.encode())
    both = ["--rabbitmq-success=success", "--rabbitmq-failure=failure"]
    assert embedded.succeed("results", "--count=2", *both) == b'{"q":"success"}\n{"q":"failure"}\n'
    assert embedded.succeed("results", "--count=1", "--rabbitmq-results=results", *both) == b'{"q":"results"}\n'
    done = embedded.run("results")
    assert done.returncode == 78
    assert b"--queue" in done.stderr


@pytest.mark.parametrize(
    ("words", "given", "code"),
    [
        (["inject", "/nonexistent"], b"", 65),
        (["inject"], b"", 65),
        (["inject"], b"Subject: no recipient\n\n", 65),
        (["inject", "--format=json"], b"[]", 65),
        (["inject", "--nonsense"], b"{}", 64),
        (["inject", "--rabbitmq-qos=many"], b"{}", 78),
        (["inject", "--rabbitmq-address=embedded:///nonexistent/x.db"], b"{}", 73),
        (["inject", "--rabbitmq-address=embedded:///etc/hostname"], b"{}", 78),
    ],
)
def test_exit_codes(embedded: Commands, words: list[str], given: bytes, code: int) -> None:
    done = embedded.run(*words, given=given)
    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    assert done.stderr.startswith(b"relayq: ")


def test_wrong_credentials_are_77(rabbitmq_vhost: str) -> None:
    scheme, _, rest = rabbitmq_vhost.partition("://")
    done = Commands(f"{scheme}://nobody:wrong@{rest.partition('@')[2]}").run("inject", given=b"{}")
    assert done.returncode == 77, done.stderr
    assert b"wrong" not in done.stderr


def test_an_interrupted_injection_tells_what_is_confirmed(embedded: Commands) -> None:
    with subprocess.Popen(
        embedded.line("inject"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as injecting:
        try:
            assert injecting.stdin is not None
            injecting.stdin.write(b'{"n":1}\n')
            injecting.stdin.flush()
            assert embedded.succeed("results", "--queue=outbox", "--follow", "--count=1") == b'{"n":1}\n'
            injecting.send_signal(signal.SIGINT)
            assert injecting.wait(timeout=60) == 130
            assert injecting.stderr is not None
            assert b"interrupted" in injecting.stderr.read()
        finally:
            injecting.kill()
