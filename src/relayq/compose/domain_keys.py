"""Signing keys of the database: which of them sign a message (spec html-css-dkim.md 4.1 and 4.5)."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import regex

from relayq.compose.headers import field_value, find_fields, find_header, has_huge_header
from relayq.compose.signing_keys import PrivateKeys, SigningKey, SigningKeyError, UnusableKeyError, parse_signing_keys
from relayq.model import InvalidAddressError, parse_domain

PATTERN_SECONDS = 0.05
_KINDS = frozenset(("exact", "fnmatch", "regex", "substr", "global"))
_REMEMBERED_DOMAINS = 1024
_MAX_AUTHOR_OCTETS = 10_000
# What can be told apart without understanding all of RFC 5322: what opens and is never closed takes the rest.
_PIECES = re.compile(r'"(?:[^"\\]|\\.)*+"?|<(?P<angle>[^>]*+)>?|(?P<special>[,:;()])|(?P<text>[^"<,:;()]++)', re.DOTALL)

Row = Mapping[str, object]


class Pattern(NamedTuple):
    """Which domains of authors a key is for.

    Attributes:
        kind: ``exact``, ``fnmatch``, ``regex``, ``substr`` or ``global``.
        text: Domain, wildcard, expression or part.
    """

    kind: str
    text: str

    def matches(self, domain: str) -> bool:
        """Whether it fits a domain in lower-case A-labels."""
        if self.kind == "global":
            return True
        text = self.text.lower()
        if self.kind == "exact":
            return domain == text
        if self.kind == "substr":
            return text in domain
        if self.kind == "fnmatch":
            return fnmatch.fnmatchcase(domain, text)
        try:
            return regex.search(self.text, domain, regex.IGNORECASE, timeout=PATTERN_SECONDS) is not None
        except (regex.error, TimeoutError):
            return False


class DomainKey(NamedTuple):
    """A key and the authors it is for; without a pattern those of its own domain."""

    key: SigningKey
    patterns: tuple[Pattern, ...]
    is_bound_to_dns: bool = False

    def signs(self, domain: str) -> bool:
        """Whether it signs for authors of a domain in lower-case A-labels."""
        if not self.patterns:
            return domain == self.key.domain
        return any(pattern.matches(domain) for pattern in self.patterns)


class DomainKeys:
    """All keys that are not given with a message."""

    def __init__(self, keys: Sequence[DomainKey] = ()) -> None:
        self._keys = tuple(keys)
        self._of = functools.lru_cache(_REMEMBERED_DOMAINS)(self._find)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._keys)

    def of_author(self, message: bytes) -> tuple[SigningKey, ...]:
        """Keys for the first author of a message; none if that is nobody."""
        domain = author_domain(message) if self._keys else None
        return () if domain is None else self._of(domain)

    def _find(self, domain: str) -> tuple[SigningKey, ...]:
        return tuple(one.key for one in self._keys if one.signs(domain))


NO_DOMAIN_KEYS = DomainKeys()


def author_domain(message: bytes) -> str | None:
    """Domain of the first mailbox of the first ``From``, in lower-case A-labels; ``None`` without a usable one."""
    if has_huge_header(message):
        return None  # nothing signs it
    span = find_header(message)
    fields = find_fields(message[span.start : span.end], b"from")
    if not fields:
        return None
    address = _first_address(field_value(fields[0])[:_MAX_AUTHOR_OCTETS].decode("utf-8", "replace"))
    try:
        return parse_domain(address.rpartition("@")[2].strip()) if "@" in address else None
    except InvalidAddressError:
        return None


def _first_address(text: str) -> str:
    """Address of the first mailbox of a list, which may stand in a group; empty without one."""
    plain, depth = "", 0
    for piece in _PIECES.finditer(text):
        special = piece["special"]
        if special == "(":
            depth += 1
        elif special == ")":
            depth = max(depth - 1, 0)
        elif depth:
            continue
        elif piece["angle"] is not None:
            return piece["angle"]
        elif special == ":":
            plain = ""
        elif special in (",", ";"):
            if "@" in plain:
                break
            plain = ""
        else:
            plain += piece["text"] or "quoted"
    return plain


def read_domain_keys(
    key_rows: Sequence[Row], pattern_rows: Sequence[Row], private_keys: PrivateKeys, *, oversign: bool
) -> tuple[tuple[DomainKey, ...], tuple[str, ...]]:
    """Keys of the tables ``dkim_keys`` and ``dkim_patterns``, and notes about rows that cannot be used.

    Args:
        key_rows: Rows of the first table.
        pattern_rows: Rows of the second one.
        private_keys: Where key material is tried.
        oversign: For rows that do not say.
    """
    notes: list[str] = []
    patterns = _read_patterns(pattern_rows, notes)
    found: list[DomainKey] = []
    for row in key_rows:
        name = f"dkim_keys {row.get('id')}"
        try:
            (key,) = parse_signing_keys(_entry(row), oversign=oversign, is_required=False)
            private_keys.load(key.key)
        except (SigningKeyError, UnusableKeyError) as error:
            notes.append(f"{name}: {error}, skipped")
            continue
        found.append(DomainKey(key, patterns.get(row.get("id"), ()), bool(row.get("match_dns"))))
    known = {row.get("id") for row in key_rows}
    notes += [f"dkim_patterns: no key {key_id!r}, skipped" for key_id in patterns if key_id not in known]
    return tuple(found), tuple(notes)


def _read_patterns(rows: Sequence[Row], notes: list[str]) -> dict[object, tuple[Pattern, ...]]:
    found: dict[object, tuple[Pattern, ...]] = {}
    for row in rows:
        kind, text = str(row.get("kind") or "").strip().lower(), str(row.get("pattern") or "").strip()
        reason = "" if kind in _KINDS else f"unknown kind {kind!r}"
        if not reason and kind != "global" and not text:
            reason = "no pattern"
        if not reason and kind == "regex":
            try:
                regex.compile(text)
            except regex.error:
                reason = "not a regular expression"
        if reason:
            # The key keeps an entry: without one it would sign for its own domain, which nobody asked for.
            notes.append(f"dkim_patterns {row.get('id')}: {reason}, skipped")
        key_id = row.get("key_id")
        found[key_id] = (*found.get(key_id, ()), Pattern("substr", "\0") if reason else Pattern(kind, text))
    return found


def _entry(row: Row) -> dict[str, object]:
    """A row as an entry of ``dkim`` would be in JSON."""
    entry = {name: row.get(name) for name in ("domain", "selector", "canonicalization", "priority", "identity")}
    entry["key"] = row.get("private_key")
    for name in ("headers", "protocols"):
        words = str(row.get(name) or "").replace(",", " ").split()
        if words:
            entry[name] = words
    for name in ("report", "oversign"):
        if row.get(name) is not None:
            entry[name] = bool(row[name])
    if row.get("expire"):
        entry["expire"] = row["expire"]
    return {name: value for name, value in entry.items() if value not in (None, "")}
