"""What an operator can say about look-ups (spec config.md 8.5), and where a name server is."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec

DNS_PORT = 53
DOCKER_FORWARDER = "127.0.0.11"
"""Looks like a resolver on this host, but passes on whatever any server outside says."""
_HIGHEST_PORT = 65535


class NameServer(msgspec.Struct, frozen=True):
    """Where queries go.

    Attributes:
        address: IP address as text, an IPv6 zone included.
        port: UDP and TCP port.
        is_trusted: Its AD flag is believed: the way to it cannot be tampered with (RFC 6698 appendix A.3).
    """

    address: str
    port: int = DNS_PORT
    is_trusted: bool = False


class DnsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the resolver; durations in seconds, names and defaults those of spec config.md 8.5.

    Attributes:
        nameservers: IP address and port of each, asked instead of the system's; empty means those of the system.
        timeout: Wait after the last query of a look-up.
        interval: Ask again after this long.
        attempts: Queries before giving up.
        capacity: Look-ups in parallel; others wait their turn.
        waiting: Look-ups that may wait for their turn; beyond that they fail as if nobody answered.
        rotate: Begin with another name server each time.
        min_ttl: Answers are believed at least this long.
        max_ttl: Answers are believed at most this long.
        negative_ttl: "Does not exist" is believed at most this long.
        cache_entries: Answers remembered; a long one counts as several.
        trust_ad: Believe the AD flag of every name server, not only of those on this host.
        hosts_path: Hosts file; ``None`` for none.
        resolv_conf_path: System resolver configuration, read when ``nameservers`` is empty.
    """

    nameservers: tuple[tuple[str, int], ...] = ()
    timeout: float = 60.0
    interval: float = 3.0
    attempts: int = 5
    capacity: int = 100
    waiting: int = 100_000
    rotate: bool = False
    min_ttl: float = 60.0
    max_ttl: float = 86_400.0
    negative_ttl: float = 300.0
    cache_entries: int = 100_000
    trust_ad: bool = False
    hosts_path: Path | None = Path("/etc/hosts")
    resolv_conf_path: Path = Path("/etc/resolv.conf")


def parse_endpoint(text: str) -> tuple[str, int | None]:
    """Split ``ip``, ``ip:port`` or ``[ipv6]:port`` into the address in its canonical form and the port, if any.

    Raises:
        ValueError: It is neither.
    """
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an address with an optional port")
        port_text = rest[1:]
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    address = str(ipaddress.ip_address(host))
    if not port_text:
        return address, None
    if not (port_text.isascii() and port_text.isdigit()) or not 1 <= int(port_text) <= _HIGHEST_PORT:
        raise ValueError(f"{text!r} has no port between 1 and {_HIGHEST_PORT}")
    return address, int(port_text)


def make_name_server(address: str, port: int = DNS_PORT, *, trust_ad: bool = False) -> NameServer:
    """A name server by its IP address; resolvers on this host are always trusted.

    Raises:
        ValueError: Not an IP address.
    """
    is_local = ipaddress.ip_address(address).is_loopback and address != DOCKER_FORWARDER
    return NameServer(address, port, trust_ad or is_local)
