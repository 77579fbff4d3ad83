"""Which addresses may be connected when somebody else says where to go (spec responsive.md 10).

An address is judged together with the IPv4 addresses it embeds: mapped, NAT64, 6to4 and Teredo ones end up there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_LAST_FOUR_OCTETS = (
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 within a site, RFC 8215
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible, RFC 4291 section 2.5.5.1
)


class ForbiddenAddressError(OSError):
    """An address that is not connected."""


class AddressGuard:
    """Networks that are forbidden, and exceptions."""

    def __init__(
        self, forbidden: Iterable[IpNetwork] = (), exceptions: Iterable[tuple[IpNetwork, int | None]] = ()
    ) -> None:
        """Nothing is resolved here.

        Args:
            forbidden: Networks never connected to.
            exceptions: Networks allowed nevertheless, on one port or (``None``) on every one.
        """
        self._forbidden: Sequence[IpNetwork] = tuple(forbidden)
        self._exceptions = tuple(exceptions)

    def may_connect(self, text: str, port: int) -> bool:
        """Whether a connection to this address is allowed; never to what is no address."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        forms = tuple(_forms(address))
        if any(form in network for network, only in self._exceptions if only in (None, port) for form in forms):
            return True
        return not any(form in network for network in self._forbidden for form in forms)

    def check(self, text: str, port: int) -> None:
        """See that a connection to this address is allowed.

        Raises:
            ForbiddenAddressError: It is not.
        """
        if not self.may_connect(text, port):
            raise ForbiddenAddressError("forbidden address")


def _forms(address: IpAddress) -> Iterator[IpAddress]:
    """The address, and those it leads to."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    for inner in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())):
        if inner is not None:
            yield inner
    if any(address in network for network in _LAST_FOUR_OCTETS):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
