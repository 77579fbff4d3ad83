"""The HTTP client's way to ask our resolver."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import cast

from aiohttp.abc import AbstractResolver, ResolveResult

from relayq.ports import DnsError, Resolver


class AddressSource(AbstractResolver):
    """Addresses of web servers, by our resolver with its cache and its time limits."""

    def __init__(self, resolver: Resolver, check: Callable[[str, int], None] | None = None) -> None:
        """Nothing is asked yet.

        Args:
            resolver: Finds addresses.
            check: Raises `OSError` for an address and port that must not be connected; those are left out.
        """
        self._resolver = resolver
        self._check = check

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of both families, whichever is asked for.

        Raises:
            OSError: There is none; that of ``check`` if all of them must not be connected.
        """
        del family
        found: list[ResolveResult] = []
        trouble = OSError(f"{host} has no address")
        for is_ipv6 in (False, True):
            try:
                answer = await self._resolver.fetch_addresses(host, ipv6=is_ipv6)
            except DnsError as error:
                trouble = OSError(str(error))
                continue
            kind = socket.AF_INET6 if is_ipv6 else socket.AF_INET
            found += [
                {"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}
                for address in cast("tuple[str, ...]", answer.records)
            ]
        allowed = [result for result in found if self._is_allowed(result)]
        if found and not allowed and self._check is not None:
            self._check(found[0]["host"], port)
        if not allowed:
            raise trouble
        return allowed

    def _is_allowed(self, result: ResolveResult) -> bool:
        try:
            if self._check is not None:
                self._check(result["host"], result["port"])
        except OSError:
            return False
        return True

    async def close(self) -> None:
        """Nothing of its own."""
