"""Hosts and ports as settings contain them; mail domains are stricter, see ``relayq.model.parse_domain``."""

from __future__ import annotations

import ipaddress
import re

from relayq.config.problems import BadValueError
from relayq.model import InvalidAddressError, parse_domain

DIGITS = re.compile(r"[0-9]{1,18}")
HIGHEST_PORT = 65535

# Names of containers do contain underscores.
_NAME = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_MAX_NAME_OCTETS = 253


def parse_mail_host(text: str) -> str:
    """Parse a name this host is known by, in lower-case A-labels.

    Raises:
        BadValueError: It is an address, or no name in the sense of RFC 5321.
    """
    try:
        name = parse_domain(text)
    except InvalidAddressError as error:
        raise BadValueError(f"is no host name: {error}") from None
    if DIGITS.fullmatch(name.rpartition(".")[2]):
        raise BadValueError("is no host name: it ends in a number")
    return name


def parse_host(text: str) -> str:
    """Parse the name or address of a server to connect to; IPv6 with or without brackets comes back without.

    Raises:
        BadValueError: It is neither.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare or bare is not text:
        return str(_parse_ip(bare, ipaddress.IPv6Address))
    if DIGITS.fullmatch(text.rpartition(".")[2]):
        return str(_parse_ip(text, ipaddress.IPv4Address))
    if text.isascii():
        if len(text) > _MAX_NAME_OCTETS or not _NAME.fullmatch(text):
            raise BadValueError("is neither a host name nor an IP address")
        return text
    return parse_mail_host(text)


def parse_port(text: str) -> int:
    """Parse a port number.

    Raises:
        BadValueError: Not a number between 1 and 65535.
    """
    if not DIGITS.fullmatch(text):
        raise BadValueError("is not a port number")
    if not 1 <= int(text) <= HIGHEST_PORT:
        raise BadValueError(f"is not a port between 1 and {HIGHEST_PORT}")
    return int(text)


def split_port(text: str) -> tuple[str, str]:
    """Split ``host``, ``host:port``, ``[IPv6]:port`` or a bare IPv6 address into host and port text.

    The port text is empty when there is none.

    Raises:
        BadValueError: An opening bracket is never closed, or something else than a port follows it.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or rest == ":":
            raise BadValueError("has a broken bracket")
        return f"[{host}]", rest[1:]
    if text.count(":") > 1:
        return text, ""
    host, colon, port = text.partition(":")
    if colon and not port:
        raise BadValueError("ends in a colon")
    return host, port


def _parse_ip(
    text: str, family: type[ipaddress.IPv4Address | ipaddress.IPv6Address]
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return family(text)
    except ValueError:
        raise BadValueError("is neither a host name nor an IP address") from None
