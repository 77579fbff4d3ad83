"""Where a message goes: the target, the order of its hosts and addresses, and what is never connected to.

Pure: knows no DNS and no clock. ``relayq.delivery.router`` asks the resolver and applies these rules to the answers.
Source: spec delivery.md 6, 6.1 and 6.2; RFC 5321 section 5.1; RFC 7505.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any, Protocol

import msgspec

from relayq.model import InvalidAddressError, Message, Smarthost, parse_domain

SMTP_PORT = 25
HOSTS_PER_GROUP = 10
"""Hosts of one preference looked up together; more are rare, and one message must not ask a hundred questions."""

_BROADCAST = "255.255.255.255"
_IPV6_TAG = "ipv6:"


class Shuffler(Protocol):
    """The part of ``random.Random`` that routing needs."""

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        """Put a list into random order, in place."""
        ...


class TargetKind(enum.Enum):
    """What the name of a target is."""

    DOMAIN = "domain"
    """A domain whose mail exchangers are looked up."""
    HOST = "host"
    """A host whose addresses are looked up."""
    ADDRESS = "address"
    """An IP address: nothing is looked up."""


class Target(msgspec.Struct, frozen=True):
    """Where one message has to go.

    Attributes:
        kind: What ``name`` is.
        name: Domain or host in lower-case A-labels, or an IP address as text.
        port: Port to connect to.
        destination: Key of the destination queue: the domain, the address literal, or ``host:port`` with the user
            name behind a blank if there are credentials. Messages with equal keys go the same way.
        smarthost: Set if the target is a smarthost, with its credentials.
        is_configured_smarthost: It is the operator's: a typing mistake in it must not bounce mail.
    """

    kind: TargetKind
    name: str
    port: int
    destination: str
    smarthost: Smarthost | None = None
    is_configured_smarthost: bool = False


class Candidate(msgspec.Struct, frozen=True):
    """One address to try.

    Attributes:
        host: Host name in A-labels; the address itself when no name is known.
        preference: Of the mail exchanger, lower is better; 0 without one.
        address: IP address as text.
        port: Port to connect to.
        is_ipv6: Family of ``address``.
        is_authentic: Every answer that led here was validated by DNSSEC (needed for DANE, RFC 7672 section 2.2).
    """

    host: str
    preference: int
    address: str
    port: int
    is_ipv6: bool
    is_authentic: bool = False


class RoutingRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says about routes.

    Attributes:
        is_v6_first: IPv6 addresses of a host before its IPv4 ones (``ip-order``).
        own_endpoints: Address and port of everything this MTA accepts mail on: mail there would loop.
    """

    is_v6_first: bool = False
    own_endpoints: frozenset[tuple[str, int]] = frozenset()


def choose_target(message: Message, smarthost: Smarthost | None, mx_port: int) -> Target:
    """Decide where a message goes: first match of the table in spec delivery.md 6.

    Args:
        message: Its smarthost and its recipient decide.
        smarthost: The configured one.
        mx_port: ``smtp-out-port``.
    """
    if message.smarthost is not None:
        return smarthost_target(message.smarthost)
    if smarthost is not None:
        return smarthost_target(smarthost, is_configured=True)
    recipient = message.recipient
    if recipient.literal_ip is not None:
        return Target(TargetKind.ADDRESS, recipient.literal_ip, SMTP_PORT, recipient.domain)
    return Target(TargetKind.DOMAIN, recipient.domain, mx_port, recipient.domain)


@functools.lru_cache(maxsize=1024)
def smarthost_target(smarthost: Smarthost, *, is_configured: bool = False) -> Target:
    """Target for a smarthost: its addresses are looked up, never its mail exchangers (spec messages.md 4.16)."""
    name = smarthost.hostname.strip(" ").rstrip(".").lower()
    address = _parse_ip(name)
    if address is not None:
        kind, name = TargetKind.ADDRESS, address
    else:
        kind, name = TargetKind.HOST, _a_labels(name)
    user = f" {smarthost.username}" if smarthost.username is not None else ""
    shown = f"[{name}]" if ":" in name else name
    return Target(kind, name, smarthost.port, f"{shown}:{smarthost.port}{user}", smarthost, is_configured)


def _parse_ip(text: str) -> str | None:
    """An address with or without brackets and ``IPv6:`` in canonical form, ``None`` for anything else."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare.removeprefix(_IPV6_TAG)))
    except ValueError:
        return None


def _a_labels(name: str) -> str:
    """A name that has no A-labels stays as it is: the look-up says what is wrong with it."""
    if name.isascii():
        return name
    try:
        return parse_domain(name)
    except InvalidAddressError:
        return name


def is_null_mx(hosts: Sequence[tuple[int, str]]) -> bool:
    """Whether a domain says that it accepts no mail: mail exchangers exist, and none but the root (RFC 7505).

    Args:
        hosts: Preference and host of each; the root is the empty string.
    """
    return bool(hosts) and not any(host for _, host in hosts)


def group_hosts(hosts: Iterable[tuple[int, str]], rng: Shuffler) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Groups of hosts to look up together, in the order in which they are to be tried.

    Args:
        hosts: Preference and host of each mail exchanger; the root among real ones is ignored, as is a repetition.
        rng: Decides about the order within one preference.

    Returns:
        Preference and hosts of each group, by ascending preference; several groups have the same preference if there
        are more than ``HOSTS_PER_GROUP``.
    """
    by_preference: dict[int, list[str]] = {}
    seen: set[str] = set()
    for preference, host in sorted(hosts):
        if host and host not in seen:
            seen.add(host)
            by_preference.setdefault(preference, []).append(host)
    groups: list[tuple[int, tuple[str, ...]]] = []
    for preference, names in by_preference.items():
        if len(names) > HOSTS_PER_GROUP:
            rng.shuffle(names)
        starts = range(0, len(names), HOSTS_PER_GROUP)
        groups += [(preference, tuple(names[start : start + HOSTS_PER_GROUP])) for start in starts]
    return tuple(groups)


def usable_address(text: str) -> str | None:
    """The address if mail can be sent there: not unspecified, broadcast or multicast; an IPv4-mapped one as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if mapped is not None:
        address = mapped
    if address.is_unspecified or address.is_multicast or str(address) == _BROADCAST:
        return None
    return str(address)


class HostCandidates(msgspec.Struct, frozen=True):
    """Addresses of one host, apart by family."""

    ipv4: tuple[Candidate, ...]
    ipv6: tuple[Candidate, ...]


def order_candidates(hosts: Sequence[HostCandidates], rules: RoutingRules, rng: Shuffler) -> tuple[Candidate, ...]:
    """Addresses of hosts of one preference in the order in which they are tried (spec delivery.md 6.2).

    Hosts in random order, the addresses of each together, one family before the other, random within a family.
    """
    if len(hosts) == 1:
        host = hosts[0]
        return _ordered_addresses(host, rules, rng)
    shuffled = list(hosts)
    rng.shuffle(shuffled)
    ordered: list[Candidate] = []
    for host in shuffled:
        ordered += _ordered_addresses(host, rules, rng)
    return tuple(ordered)


def _ordered_addresses(host: HostCandidates, rules: RoutingRules, rng: Shuffler) -> tuple[Candidate, ...]:
    first, second = (host.ipv6, host.ipv4) if rules.is_v6_first else (host.ipv4, host.ipv6)
    return _shuffled(first, rng) + _shuffled(second, rng)


def _shuffled(candidates: tuple[Candidate, ...], rng: Shuffler) -> tuple[Candidate, ...]:
    if len(candidates) < 2:
        return candidates
    copy = list(candidates)
    rng.shuffle(copy)
    return tuple(copy)


def would_loop(hosts: Iterable[HostCandidates], rules: RoutingRules) -> bool:
    """Whether one of the hosts is this MTA: then mail to it and to all of equal or worse preference comes back.

    RFC 5321 section 5.1.
    """
    own = rules.own_endpoints
    if not own:
        return False
    return any((entry.address, entry.port) in own for host in hosts for entry in host.ipv4 + host.ipv6)
