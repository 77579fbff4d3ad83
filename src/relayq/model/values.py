"""Checks of single JSON values of known properties (spec messages.md 3).

Every function takes a decoded JSON value and returns the typed one, or raises :class:`ValueError` with what was
expected. The value itself is never quoted: it may be a secret.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from datetime import datetime

from relayq.model.timestamp import parse_timestamp

_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off", ""))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DIGITS = re.compile(r"[0-9]{1,640}")
QUEUE_NAME_OCTETS = 255
_IP_CHARACTERS = 45
"""Longest text of an address: IPv4-mapped IPv6."""


def as_bool(value: object) -> bool:
    """Boolean, number, or one of the words of spec messages.md 3."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value != 0
    if isinstance(value, str):
        word = value.lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise ValueError("expected true or false")


def as_integer(value: object, minimum: int, maximum: int | None = None) -> int:
    """JSON integer, integral number, or string of ASCII digits, within bounds."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and _DIGITS.fullmatch(value)):
        number = int(value)
    if number is None or number < minimum or (maximum is not None and number > maximum):
        upper = "" if maximum is None else f" to {maximum}"
        raise ValueError(f"expected an integer from {minimum}{upper}")
    return number


def as_text(value: object, what: str = "a string") -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError(f"expected {what}")  # noqa: TRY004 - every bad value is one kind of error to the caller
    return value


def as_timestamp(value: object) -> datetime:
    """Aware UTC instant, in the form of spec messages.md 3."""
    return parse_timestamp(as_text(value, "a timestamp"))


def as_key(value: object) -> str:
    """Key of a message store entry: 1 to 1024 octets (spec messages.md 4.4)."""
    text = as_text(value, "a non-empty string")
    if not 1 <= len(text.encode("utf-8")) <= 1024:
        raise ValueError("expected a string of 1 to 1024 octets")
    return text


def as_queue_name(value: object) -> str | None:
    """Queue name; ``None`` for null and the empty string, which mean "not used"."""
    if value is None or value == "":
        return None
    name = as_text(value, "a queue name")
    if len(name.encode("utf-8")) > QUEUE_NAME_OCTETS or _CONTROL.search(name):
        raise ValueError(f"expected a queue name of at most {QUEUE_NAME_OCTETS} octets without control characters")
    return name


def parse_ip(text: str) -> str | None:
    """Canonical text of an IP address (RFC 5952 for IPv6, IPv4-mapped as IPv4), ``None`` if it is none."""
    # The bound keeps arbitrary text out of the cache.
    return _parse_ip(text) if len(text) <= _IP_CHARACTERS and "%" not in text else None


@functools.lru_cache(maxsize=4096)
def _parse_ip(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
