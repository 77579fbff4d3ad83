"""``relayq sink`` as a process."""

from __future__ import annotations

import json
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.commands import run_here
from tests.support.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def running_sink(*options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    command = [sys.executable, "-m", "relayq", "sink", "--listen", f"127.0.0.1:{port}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == f"relayq: listening on 127.0.0.1:{port}\n"
            yield process, port
        finally:
            if process.poll() is None:
                process.kill()


def send(port: int, recipient: str = "c@d.test", text: bytes = b"hi\r\n") -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.sendmail("a@b.test", [recipient], text)


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    return output, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_accepts_and_counts_until_told_to_stop(number: int) -> None:
    with running_sink() as (process, port):
        send(port)
        send(port)
        output, errors = end(process, number)
    assert output == ""
    assert errors == "relayq: 2 messages over 2 connections\n"


def test_print_gives_a_json_line_per_message() -> None:
    with running_sink("--print") as (process, port):
        send(port, "zoe@d.test")
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        send(port, "last@d.test")
        output, _ = end(process)
    assert line.pop("time")
    assert line.pop("ehlo")
    assert line == {
        "client": "127.0.0.1",
        "tls": False,
        "envelope": "a@b.test",
        "recipients": ["zoe@d.test"],
        "size": 4,
        "code": 250,
        "messages": 1,
    }
    assert json.loads(output)["recipients"] == ["last@d.test"]


def test_an_output_nobody_reads_ends_it() -> None:
    with running_sink("--print") as (process, port):
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                send(port)
            except OSError:
                break
        assert process.wait(timeout=60) == 0


def test_the_example_script_works() -> None:
    with running_sink("--script", str(EXAMPLES / "greylisting.sink")) as (process, port):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            send(port, "anna@greylist.test")
        assert caught.value.recipients["anna@greylist.test"][0] == 450
        send(port, "anna@greylist.test")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(port, "nobody@example.org")
        _, errors = end(process)
    assert errors.startswith("relayq: 1 messages")


def test_certificate_offers_starttls(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    with running_sink("--certificate", str(certificate), "--key", str(key)) as (process, port):
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            assert client.starttls()[0] == 220
            client.sendmail("a@b.test", ["c@d.test"], b"hi")
        end(process)


def run_sink(*options: str) -> tuple[int, str, str]:
    """One that ends at once."""
    done = run_here(["sink", *options])
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_mistakes_in_a_script_are_all_told(tmp_path: Path) -> None:
    script = tmp_path / "bad.sink"
    script.write_text("rcptto * explode\n\nnonsense\n", encoding="utf-8")
    code, _, errors = run_sink("--script", str(script))
    assert code == 78
    assert errors.startswith(f"relayq: {script}, line 1: 'explode' is no action")
    assert f"relayq: {script}, line 3: unknown step 'nonsense'" in errors


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--script", "/nonexistent"], 78),
        (["--script", "/"], 78),
        (["--certificate", "/nonexistent"], 78),
        (["--certificate", "/etc/hostname"], 78),
        (["--key", "/etc/hostname"], 64),
        (["--listen", "127.0.0.1"], 64),
        (["--listen", "127.0.0.1:99999"], 64),
        (["--listen", "192.0.2.1:2525"], 71),
        (["word"], 64),
    ],
)
def test_exit_codes(options: list[str], code: int) -> None:
    found, output, errors = run_sink(*options)
    assert (found, output) == (code, ""), errors
    assert "Traceback" not in errors


def test_a_port_in_use_is_71() -> None:
    with running_sink() as (_, port):
        code, _, errors = run_sink("--listen", f"127.0.0.1:{port}")
    assert code == 71
    assert "cannot listen" in errors
