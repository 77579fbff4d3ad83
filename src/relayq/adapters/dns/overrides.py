"""The local override table: names whose mail goes to given addresses, without any query (spec operations.md 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from relayq.adapters.dns.options import parse_endpoint

Endpoint = tuple[str, int | None]
"""Address in canonical form, and the port if the entry names one."""


class Overrides:
    """Names to addresses: an exact name wins over ``*.parent``, the longer parent over the shorter.

    Args:
        table: Domain or host, or ``*.`` and a domain, to ``ip``, ``ip:port`` or ``[ipv6]:port`` entries.

    Raises:
        ValueError: An entry is not an address with an optional port, or a name has none.
    """

    def __init__(self, table: Mapping[str, Iterable[str]] | None = None) -> None:
        self._exact: dict[str, tuple[Endpoint, ...]] = {}
        self._below: dict[str, tuple[Endpoint, ...]] = {}
        for name, addresses in (table or {}).items():
            endpoints = tuple(parse_endpoint(address) for address in addresses)
            if not endpoints:
                raise ValueError(f"override of {name!r} names no address")
            name = name.lower().rstrip(".")
            if name.startswith("*."):
                self._below[name[2:]] = endpoints
            else:
                self._exact[name] = endpoints

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def find(self, name: str) -> tuple[Endpoint, ...] | None:
        """Addresses for a name in lower case, ``None`` if the table says nothing about it."""
        found = self._exact.get(name)
        if found is not None or not self._below:
            return found
        _, _, parent = name.partition(".")
        while parent:
            found = self._below.get(parent)
            if found is not None:
                return found
            _, _, parent = parent.partition(".")
        return None
