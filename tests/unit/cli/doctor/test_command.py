"""The command as a whole: exit codes, output, and peers that never answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from relayq.cli.doctor.command import own_name
from relayq.cli.main import main


def doctor(*words: str) -> int:
    return main(
        [
            "doctor",
            "--no-default-config",
            "--hostname=mail.example.org",
            "--rabbitmq-results=results",
            "--journal-directory=",
            *words,
        ]
    )


def embedded(tmp_path: Path) -> str:
    return f"--rabbitmq-address=embedded://{tmp_path}/q.db"


def test_nothing_wrong_but_the_name_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(embedded(tmp_path), "--dns-nameservers=127.0.0.1:1", "--json", "--timeout=5") == 78
    output = json.loads(capsys.readouterr().out)
    assert output["verdict"] == "wrong"
    wrong = [finding["subject"] for finding in output["findings"] if finding["verdict"] == "wrong"]
    assert wrong == ["name server 127.0.0.1 port 1"]
    areas = [finding["area"] for finding in output["findings"]]
    assert list(dict.fromkeys(areas)) == ["configuration", "broker", "dns", "addresses", "machine"]


def test_only_problems_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(embedded(tmp_path), "--dns-nameservers=127.0.0.1:1", "--problems", "--timeout=5") == 78
    output = capsys.readouterr().out
    assert "  wrong    name server 127.0.0.1 port 1: Connection refused\n" in output
    assert "\n  ok  " not in output


def test_a_configuration_that_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--rabbitmq-qos=many", "--smtp-max-hosts=0", "--json") == 78
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["subject"] for finding in findings] == ["rabbitmq-qos", "smtp-max-hosts"]
    assert {finding["verdict"] for finding in findings} == {"wrong"}


def test_peers_that_never_answer_keep_it_no_longer_than_their_limit(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as broker,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server,
    ):
        name_server.bind(("127.0.0.1", 0))
        started = time.monotonic()
        code = doctor(
            f"--rabbitmq-address=amqp://127.0.0.1:{broker.getsockname()[1]}/",
            f"--dns-nameservers=127.0.0.1:{name_server.getsockname()[1]}",
            "--smarthost=relay.example",
            "--timeout=0.5",
            "--json",
        )
        assert time.monotonic() - started < 60
    assert code == 78
    found = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    (connection,) = (finding for subject, finding in found.items() if subject.startswith("connection to "))
    assert connection["found"].endswith("did not answer within 0.5 s")
    assert found["smarthost"]["verdict"] == "wrong"


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 4096, b"AMQP\x00\x01\x00\x00"])
def test_a_broker_that_speaks_something_else(greeting: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(greeting)
                peer.recv(1000)

        threading.Thread(target=greet, daemon=True).start()
        port = listener.getsockname()[1]
        words = [f"--rabbitmq-address=amqp://127.0.0.1:{port}/", "--dns-nameservers=127.0.0.1:1", "--timeout=2"]
        assert doctor(*words, "--json") == 78
    found = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert found[f"connection to 127.0.0.1:{port}"]["verdict"] == "wrong"


def test_the_own_name_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    may_answer = threading.Event()

    def ask() -> str:
        may_answer.wait(30)
        return "late.example.org"

    monkeypatch.setattr(socket, "getfqdn", ask)
    monkeypatch.setattr(socket, "gethostname", lambda: "short")
    assert own_name(0.05) == "short"
    may_answer.set()
