"""The host's own files: which name servers to ask, and names that need no query.

Both are read again when their modification time changes, looked at no more than every few seconds (spec delivery.md
6.2, config.md 8.5). What stands in them and cannot be understood is passed over, as the system's own resolver does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from relayq.adapters.dns.options import NameServer, make_name_server

CHECK_INTERVAL = 5.0
"""Seconds between two looks at a file's modification time."""
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_NAME_SERVERS = 8

T = TypeVar("T")
HostsTable = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""Name in lower case to its IPv4 and its IPv6 addresses."""


class WatchedFile(Generic[T]):
    """Parsed content of a file that may change at any time.

    Args:
        path: The file; ``None`` or a missing file counts as empty.
        parse: Makes the value of the text; must not raise.
    """

    def __init__(self, path: Path | None, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._value = parse("")
        self._signature: tuple[int, int, int] | None = None
        self._next_check = float("-inf")

    def current(self, now: float) -> T:
        """The value as of at most ``CHECK_INTERVAL`` seconds ago; ``now`` is monotonic."""
        if now >= self._next_check:
            self._next_check = now + CHECK_INTERVAL
            self._refresh()
        return self._value

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
            if signature == self._signature:
                return
            with self._path.open("rb") as file:
                text = file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            # Replaced at this very moment, or never there: keep what was read before.
            return
        self._signature = signature
        self._value = self._parse(text)


def parse_hosts(text: str) -> HostsTable:
    """Read the format of ``/etc/hosts``: an address, then names for it; ``#`` starts a comment."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) < 2:
            continue
        try:
            address = ipaddress.ip_address(fields[0])
        except ValueError:
            continue
        for name in fields[1:]:
            by_family = found.setdefault(name.lower().rstrip("."), ([], []))
            addresses = by_family[address.version == 6]
            if str(address) not in addresses:
                addresses.append(str(address))
    return {name: (tuple(v4), tuple(v6)) for name, (v4, v6) in found.items()}


def parse_resolv_conf(text: str) -> tuple[NameServer, ...]:
    """Name servers in the order of the file (resolv.conf(5)); the one on this host when it names none."""
    addresses: list[str] = []
    trust_ad = False
    for line in text.splitlines():
        fields = line.partition("#")[0].partition(";")[0].split()
        if len(fields) > 1 and fields[0] == "nameserver":
            addresses.append(fields[1])
        elif fields and fields[0] == "options":
            trust_ad = trust_ad or "trust-ad" in fields
    servers: list[NameServer] = []
    for address in addresses:
        try:
            servers.append(make_name_server(address, trust_ad=trust_ad))
        except ValueError:
            continue
    return tuple(servers[:MAX_NAME_SERVERS]) or (make_name_server("127.0.0.1"),)
