"""The name we introduce ourselves with, per local address (spec delivery.md 7)."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable

from relayq.ports import DnsError, Resolver

LOOKUP_SECONDS = 5.0
REMEMBER_SECONDS = 3600.0
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*", re.ASCII)


class EhloNames:
    """Configured name, else the reverse name of the local address when it resolves back, else the host's name."""

    def __init__(self, configured: str, hostname: str, resolver: Resolver, now: Callable[[], float]) -> None:
        self._configured = configured
        self._hostname = hostname
        self._resolver = resolver
        self._now = now
        self._known: dict[str, tuple[float, str]] = {}

    def reconfigure(self, configured: str) -> None:
        """Another configured name, empty for none, from the next session on."""
        self._configured = configured

    async def name_for(self, egress_ip: str) -> str:
        """Name for EHLO on a connection from ``egress_ip``; looked up at most once an hour, and never for long."""
        if self._configured:
            return self._configured
        known = self._known.get(egress_ip)
        if known is not None and known[0] > self._now():
            return known[1]
        name = await self._look_up(egress_ip) or self._hostname or self._literal(egress_ip)
        self._known[egress_ip] = (self._now() + REMEMBER_SECONDS, name)
        return name

    async def _look_up(self, egress_ip: str) -> str | None:
        try:
            # Nobody's reverse zone knows our private addresses; asking would only make the first greeting wait.
            if not ipaddress.ip_address(egress_ip).is_global:
                return None
            async with asyncio.timeout(LOOKUP_SECONDS):
                name = await self._resolver.fetch_name(egress_ip)
        except (TimeoutError, ValueError, DnsError):
            return None
        # The reverse zone may be somebody else's: what it says goes into a command.
        return name if name is not None and _HOST_NAME.fullmatch(name) else None

    @staticmethod
    def _literal(egress_ip: str) -> str:
        return f"[IPv6:{egress_ip}]" if ":" in egress_ip else f"[{egress_ip}]"
