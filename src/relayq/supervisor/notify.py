"""What systemd is told about this service: sd_notify(3), without its library. A socket named by the environment."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """The notification socket, or nobody when there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Connect, if a service manager wants to know.

        Args:
            environ: ``NOTIFY_SOCKET``, and ``WATCHDOG_USEC`` with ``WATCHDOG_PID``.
        """
        self._socket: socket.socket | None = None
        self._last_status = ""
        address = environ.get("NOTIFY_SOCKET", "")
        if address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            with contextlib.suppress(OSError):  # nobody there: then nobody is told
                self._socket.connect("\0" + address[1:] if address.startswith("@") else address)
        self.watchdog_seconds = _watchdog_seconds(environ) if self._socket is not None else None

    def ready(self, status: str) -> None:
        """It works now."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; ``ready`` ends it."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """It ends."""
        self._say("STOPPING=1", "STATUS=draining")

    def alive(self) -> None:
        """The event loop runs."""
        self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """What it is doing, for people; told when it changed."""
        if text != self._last_status:
            self._last_status = text
            self._say(f"STATUS={text}")

    def close(self) -> None:
        """Nothing follows."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a service manager that does not listen is no reason to stop
                self._socket.send("\n".join(lines).encode())


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """How often the service manager wants to hear from us; ``None`` if it does not, or means another process."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        pid = int(environ.get("WATCHDOG_PID", "0"))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 and pid in {0, os.getpid()} else None
