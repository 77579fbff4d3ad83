"""What the service manager hears: sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayq.supervisor.notify import ServiceManager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind(str(tmp_path / "notify"))
    end.settimeout(60)
    yield end
    end.close()


def environ(systemd: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), **more}


def heard(systemd: socket.socket) -> list[str]:
    return systemd.recv(4096).decode().split("\n")


def test_states(systemd: socket.socket) -> None:
    manager = ServiceManager(environ(systemd))
    manager.ready("2 consuming")
    assert heard(systemd) == ["READY=1", "STATUS=2 consuming"]
    manager.reloading()
    reloading, at = heard(systemd)
    assert reloading == "RELOADING=1"
    assert at.removeprefix("MONOTONIC_USEC=").isdigit()
    manager.alive()
    assert heard(systemd) == ["WATCHDOG=1"]
    manager.status("a")
    manager.status("a")
    manager.status("b")
    assert [heard(systemd), heard(systemd)] == [["STATUS=a"], ["STATUS=b"]]
    manager.stopping()
    assert heard(systemd)[0] == "STOPPING=1"
    manager.close()
    manager.alive()


def test_a_manager_that_is_gone_or_does_not_listen_is_no_trouble(systemd: socket.socket, tmp_path: Path) -> None:
    manager = ServiceManager(environ(systemd))
    for _ in range(10_000):  # more than the kernel keeps for somebody who does not read
        manager.alive()
    systemd.close()
    manager.ready("x")
    manager.close()
    nobody = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "none")})
    nobody.ready("x")
    nobody.close()


def test_abstract_sockets() -> None:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind(f"\0relayq-test-{os.getpid()}")
    manager = ServiceManager({"NOTIFY_SOCKET": f"@relayq-test-{os.getpid()}"})
    manager.alive()
    assert heard(end) == ["WATCHDOG=1"]
    manager.close()
    end.close()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog(systemd: socket.socket, given: dict[str, str], seconds: float | None) -> None:
    manager = ServiceManager(environ(systemd, **given))
    assert manager.watchdog_seconds == seconds
    manager.close()
    assert ServiceManager(given).watchdog_seconds is None
