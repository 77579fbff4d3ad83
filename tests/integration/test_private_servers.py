"""The private servers themselves: ready when they say so, gone when closed, isolated from each other."""

from __future__ import annotations

import asyncio
import os
import smtplib
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ports import BLOCK, free_port
from tests.support.processes import Process, ServerNotReady, is_listening
from tests.support.servers import RabbitMqNode, SmtpSink


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_free_port_is_below_the_ephemeral_range_and_never_given_twice() -> None:
    ports = [free_port("127.0.0.1", "127.0.0.2") for _ in range(20)]
    assert len(set(ports)) == 20
    assert max(ports) < 32_768


def test_free_port_avoids_a_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken, other = server.getsockname()[1], free_port()
        monkeypatch.setattr("tests.support.ports._ports", deque([taken, other]))
        assert free_port() == other
        monkeypatch.setattr("tests.support.ports._ports", deque([taken]))
        with pytest.raises(RuntimeError, match="no free port"):
            free_port()


def test_another_process_is_never_given_a_port_of_ours() -> None:
    script = "from tests.support.ports import BLOCK, free_port; print(*{free_port() for _ in range(500)})"
    first = free_port()
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True)
    theirs = set(map(int, done.stdout.split()))
    assert 0 < len(theirs) <= BLOCK
    assert not theirs & {first, *(free_port() for _ in range(BLOCK))}


def test_a_process_that_ends_early_is_reported_with_its_output(tmp_path: Path) -> None:
    process = Process(["/bin/sh", "-c", "echo broken; exit 3"], env={}, log_file=tmp_path / "out", cwd=tmp_path)
    with pytest.raises(ServerNotReady, match="broken"):
        process.wait_until(lambda: False, timeout=20, what="it")
    process.stop()


OWNER_SCRIPT = """
import os, sys, time
from pathlib import Path
from tests.support.processes import Process
here = Path(sys.argv[1])
child = Process(["sleep", "60"], env={"PATH": os.defpath}, log_file=here / "out", cwd=here)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER_SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    assert is_alive(child)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    # Nobody of ours can wait for a grandchild: look until it is gone, or is a zombie that init has yet to collect.
    watcher = Process(["sleep", "20"], env={"PATH": os.defpath}, log_file=tmp_path / "watch", cwd=tmp_path)
    watcher.wait_until(lambda: not is_alive(child) or "State:\tZ" in status(child), timeout=15, what="the leash")
    watcher.stop()


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return "State:\tZ"


def test_a_virtual_host_is_given_once(rabbitmq: RabbitMqNode) -> None:
    first, second = rabbitmq.new_vhost(), rabbitmq.new_vhost()
    assert first != second
    listed = rabbitmq.rabbitmqctl("list_vhosts")
    assert first.rpartition("/")[2] in listed.split()
    assert second.rpartition("/")[2] in listed.split()
    assert "guest" in rabbitmq.rabbitmqctl("list_permissions", "-p", first.rpartition("/")[2])


def test_rabbitmqctl_failure_carries_its_output(rabbitmq: RabbitMqNode) -> None:
    with pytest.raises(RuntimeError, match="not found"):
        rabbitmq.rabbitmqctl("no_such_command")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_node_survives_a_crash_and_leaves_nothing_behind(own_rabbitmq: RabbitMqNode) -> None:
    node, port, pid = own_rabbitmq, own_rabbitmq.port, own_rabbitmq.pid
    epmd, folder = node._epmd, node._folder
    assert epmd is not None
    assert folder is not None
    node.rabbitmqctl("add_vhost", "kept")

    node.kill()
    assert not is_alive(pid)
    assert not is_listening("127.0.0.1", port)

    node.start()
    assert node.port == port
    assert node.pid != pid
    assert "kept" in node.rabbitmqctl("list_vhosts").split()

    pid = node.pid
    node.close()
    assert not is_alive(pid)
    assert not epmd.is_running
    assert not folder.exists()


def test_a_sink_keeps_what_it_accepted(smtp_sink: SmtpSink) -> None:
    with smtplib.SMTP(smtp_sink.address, smtp_sink.port, timeout=20) as client:
        client.sendmail("a@sender.test", ["b@recipient.test"], b"Subject: one\r\n\r\nhello\r\n")
        (dump,) = smtp_sink.messages()
    assert b"X-Mail-Args: <a@sender.test>" in dump
    assert b"X-Rcpt-Args: <b@recipient.test>" in dump
    assert dump.rstrip().endswith(b"hello")


def test_sink_options_are_passed_on(smtp_sink_factory: Callable[..., SmtpSink]) -> None:
    sink = smtp_sink_factory("-f", "RCPT", "-B", "550 5.1.1 nobody here", address="127.0.0.3")
    with smtplib.SMTP(sink.address, sink.port, timeout=20) as client:
        client.ehlo("client.test")
        client.mail("a@sender.test")
        assert client.rcpt("b@recipient.test") == (550, b"5.1.1 nobody here")


def test_a_sink_comes_back_on_its_port(smtp_sink: SmtpSink) -> None:
    port, pid = smtp_sink.port, smtp_sink.pid
    smtp_sink.stop()
    assert not is_listening(smtp_sink.address, port)
    smtp_sink.start()
    assert is_listening(smtp_sink.address, port)
    assert smtp_sink.pid != pid


async def test_async_tests_run_on_the_chosen_loop() -> None:
    chosen = os.environ.get("RELAYQ_TEST_LOOP", "uvloop")
    module = type(asyncio.get_running_loop()).__module__
    assert chosen == "both" or module.startswith(chosen)
