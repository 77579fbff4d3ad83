"""Workers that are forked, in a process without threads."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, socket, sys
from relayq.supervisor.spawn import Spawned, fork

started = fork(3)
if isinstance(started, socket.socket):
    heard = started.recv(100)
    if heard == b"die":
        os.abort()
    started.sendall(heard + b" " + sys.stdin.buffer.read() + b".")
    started.recv(1)  # until the other end is closed, and held by nobody else
    sys.exit(7)
{parent}
"""


def run(parent: str) -> str:
    program = PROGRAM.format(parent=parent)
    done = subprocess.run(
        [sys.executable, "-c", program], input="not for them", capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_each_has_a_line_of_its_own_and_ends_with_it() -> None:
    parent = """
for number, (process, control) in enumerate(started):
    control.sendall(b"%d" % number)
    print(process.pid > 0, control.recv(100).decode())
for process, control in reversed(started):
    control.close()
    print(process.wait(), process.wait())
"""
    assert run(parent).splitlines() == ["True 0 .", "True 1 .", "True 2 .", "7 7", "7 7", "7 7"]


def test_how_they_end_is_told() -> None:
    parent = """
started[0].control.sendall(b"die")
print(started[0].process.wait())
started[1].process.kill()
print(started[1].process.wait())
started[1].process.kill()
"""
    assert run(parent).splitlines() == ["-6", "-9"]


@pytest.mark.parametrize("broken", ["os.fork", "socket.socketpair"])
def test_without_room_for_another_there_are_fewer(broken: str) -> None:
    parent = f"""
def fail(*_):
    raise BlockingIOError

{broken} = fail
print(fork(2))
"""
    assert run(parent).splitlines() == ["[]"]
