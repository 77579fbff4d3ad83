"""Entries of ``dkim``: whether they are well-formed (spec messages.md 4.12, html-css-dkim.md 4.1).

Whether a key can sign is found out when it does; what is wrong here makes the message unusable, ``force`` or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from relayq.model.address import parse_domain
from relayq.model.members import NULL, Members, decode_some, decode_value, slice_array
from relayq.model.values import as_bool, as_integer, as_text, as_timestamp

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
_CANONICALIZATION = re.compile(r"(?:simple|relaxed)(?:/(?:simple|relaxed))?")
_PROTOCOLS = frozenset(("dkim", "arc"))
_BRACKET = ord("[")
_ALGORITHMS = frozenset(("sha256", "sha1"))


def check_dkim_entry(given: Members) -> None:
    """See that every known member of an entry has a usable value; null counts as absent, others are not looked at.

    Raises:
        ValueError: Names the member and what was expected.
    """
    for name, check in _CHECKS.items():
        raw = given.get(name, NULL)
        if raw == NULL:
            if name in _REQUIRED:
                raise ValueError(f"{name}: missing")
            continue
        try:
            check(decode_value(raw))
        except ValueError:
            raise ValueError(f"{name}: expected {_EXPECTED[name]}") from None


def decode_dkim(raw: msgspec.Raw) -> list[dict[str, object]]:
    """Entries of a ``dkim`` that was checked, with their known members."""
    entries = slice_array(raw) if memoryview(raw)[0] == _BRACKET else [raw]
    return [decode_some(entry, _CHECKS) for entry in entries]


def _check_domain(value: object) -> None:
    parse_domain(as_text(value))


def _check_selector(value: object) -> None:
    _demand(bool(_SELECTOR.fullmatch(as_text(value))))


def _check_key(value: object) -> None:
    _demand(as_text(value) != "")


def _check_headers(value: object) -> None:
    _demand(isinstance(value, list) and all(isinstance(name, str) for name in value))


def _check_canonicalization(value: object) -> None:
    _demand(bool(_CANONICALIZATION.fullmatch(as_text(value).lower())))


def _check_protocols(value: object) -> None:
    _demand(isinstance(value, list) and all(isinstance(word, str) and word.lower() in _PROTOCOLS for word in value))


def _check_priority(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):  # unlike other integers it may be negative
        as_integer(value, 0)


def _check_algorithm(value: object) -> None:
    _demand(as_text(value).lower() in _ALGORITHMS)


def _demand(is_usable: bool) -> None:
    if not is_usable:
        raise ValueError


_CHECKS: dict[str, Callable[[object], object]] = {
    "domain": _check_domain,
    "selector": _check_selector,
    "key": _check_key,
    "expire": as_timestamp,
    "headers": _check_headers,
    "canonicalization": _check_canonicalization,
    "protocols": _check_protocols,
    "report": as_bool,
    "priority": _check_priority,
    "algorithm": _check_algorithm,
    "oversign": as_bool,
    "identity": as_text,
}
_REQUIRED = frozenset(("domain", "selector", "key"))
_EXPECTED = {
    "domain": "a domain name",
    "selector": "DNS labels",
    "key": "a private key",
    "expire": "a timestamp",
    "headers": "an array of strings",
    "canonicalization": "simple or relaxed, for header/body",
    "protocols": "an array of dkim, arc",
    "report": "true or false",
    "priority": "an integer",
    "algorithm": "sha256",
    "oversign": "true or false",
    "identity": "a string",
}
