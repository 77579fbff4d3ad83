"""The proxy downloads go through: whether it can be reached. Nothing is asked of it, so a login is not tried."""

from __future__ import annotations

import asyncio
import ipaddress
from functools import partial
from typing import TYPE_CHECKING, Final

from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.ports import DnsError, ProxyAddress, Resolver

if TYPE_CHECKING:
    from relayq.config import Settings

AREA: Final = "downloads"

_finding = partial(Finding, AREA)
_MOST_ADDRESSES: Final = 4
_KEY: Final = "download-proxy"


def proxy_checks(settings: Settings, resolver: Resolver, limit: float) -> list[Check]:
    """One check if there is a proxy."""
    proxy = settings.downloads.proxy
    if proxy is None:
        return []
    fix = "let the proxy be reachable from here, or correct download-proxy (proxy-server)"
    return [Check(area=AREA, subject=_KEY, examine=lambda: _look(proxy, resolver, fix), limit=limit, fix=fix)]


async def _look(proxy: ProxyAddress, resolver: Resolver, fix: str) -> list[Finding]:
    expected = "a proxy that takes connections"
    try:
        addresses = await _addresses(proxy.host, resolver)
    except DnsError as error:
        return [_finding(_KEY, Verdict.WRONG, str(error), expected, fix)]
    trouble = f"{proxy.host} has no address"
    for address in addresses[:_MOST_ADDRESSES]:
        try:
            _, writer = await asyncio.open_connection(address, proxy.port)
        except OSError as error:
            trouble = f"{address} port {proxy.port}: {error.strerror or error}"
            continue
        writer.close()
        return [_finding(_KEY, Verdict.OK, f"{proxy.scheme} proxy at {address} port {proxy.port}")]
    return [_finding(_KEY, Verdict.WRONG, trouble, expected, fix)]


async def _addresses(host: str, resolver: Resolver) -> list[str]:
    """Of both families, IPv4 first.

    Raises:
        DnsError: There are none.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    answers = await asyncio.gather(
        *(resolver.fetch_addresses(host, ipv6=ipv6) for ipv6 in (False, True)), return_exceptions=True
    )
    found = [str(record) for answer in answers if not isinstance(answer, BaseException) for record in answer.records]
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if not found and errors:
        raise errors[0]
    return found
