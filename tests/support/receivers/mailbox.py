"""What a receiver has stored, and which of it is what was sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.02
DELIVERY_SECONDS = 45.0


def read_maildir(folder: Path) -> tuple[bytes, ...]:
    """Complete messages of a maildir, oldest first; empty while it does not exist."""
    files = sorted((*folder.glob("new/*"), *folder.glob("cur/*")), key=lambda file: file.stat().st_mtime_ns)
    return tuple(file.read_bytes() for file in files)


def await_stored(messages: Callable[[], tuple[bytes, ...]], mark: bytes, count: int = 1) -> tuple[bytes, ...]:
    """Wait until ``count`` stored messages contain ``mark`` and return them.

    A server says 250 before it has put a message into the mailbox.
    """
    limit = time.monotonic() + DELIVERY_SECONDS
    while True:
        found = tuple(octets for octets in messages() if mark in octets)
        if len(found) >= count:
            return found
        assert time.monotonic() < limit, f"{mark!r}: {len(found)} of {count} arrived"
        time.sleep(POLL_SECONDS)


def await_log(log: Callable[[], str], text: str) -> None:
    """Wait until a server has logged ``text``."""
    limit = time.monotonic() + DELIVERY_SECONDS
    while text not in log():
        assert time.monotonic() < limit, f"{text!r} was not logged:\n{log()}"
        time.sleep(POLL_SECONDS)


def split_added(stored: bytes, first: bytes) -> tuple[dict[str, str], bytes]:
    """Headers that a receiver put on top, by lower-case name, and everything from the line ``first`` on.

    Raises:
        AssertionError: The line is missing, or what stands above it is not a block of header fields.
    """
    at = 0 if stored.startswith(first) else stored.find(b"\n" + first) + 1
    assert stored.startswith(first, at), stored[:2000]
    added: dict[str, str] = {}
    name = ""
    for line in stored[:at].decode().replace("\r\n", "\n").split("\n")[:-1]:
        if line[:1] in {" ", "\t"}:
            assert name, line
            added[name] += line
            continue
        name, colon, value = line.partition(":")
        assert colon, f"not a header: {line!r}"
        assert name.isprintable(), line
        assert " " not in name, line
        name = name.lower()
        added[name] = added.get(name, "") + value.strip()
    return added, stored[at:]
