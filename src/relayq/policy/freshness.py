"""How long an answer of a web server may be used again (RFC 9111 section 4.2). Pure.

A download serves many messages to many people, so the cache that keeps it is a shared one.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime

UNSAID_SECONDS = 60.0
"""For an answer that says nothing about itself: as long as a failure, so that a mailing asks once in a while."""
_UNCHANGED_SHARE = 0.1
"""Of the time a file has not changed (RFC 9111 section 4.2.2)."""
_NEVER = frozenset(("no-store", "private", "no-cache"))
_DIRECTIVE = re.compile(r'\s*([A-Za-z-]+)\s*(?:=\s*(?:"([^"]*)"|([^",\s]*)))?\s*(?:,|$)')
_SECONDS = re.compile(r"[0-9]{1,10}")
_MAX_CHARACTERS = 1000


def fresh_seconds(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds from now on for which an answer may be used again; 0 if it may not.

    Args:
        headers: Header fields of the answer by names in lower case, several of a name joined by commas.
        now: When it came, aware.
    """
    directives = _directives(headers.get("cache-control", ""))
    if not _NEVER.isdisjoint(directives) or "*" in headers.get("vary", ""):
        return 0.0
    lifetime = _lifetime(directives, headers, _date(headers.get("date")) or now)
    return max(lifetime - (_number(headers.get("age", "")) or 0.0), 0.0)


def _lifetime(directives: Mapping[str, str], headers: Mapping[str, str], made_at: datetime) -> float:
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return _number(directives[name]) or 0.0  # one that cannot be read means stale
    if "expires" in headers:
        expire_at = _date(headers["expires"])
        return 0.0 if expire_at is None else (expire_at - made_at).total_seconds()
    changed_at = _date(headers.get("last-modified"))
    unchanged = 0.0 if changed_at is None else (made_at - changed_at).total_seconds()
    return max(unchanged * _UNCHANGED_SHARE, UNSAID_SECONDS)


def _directives(value: str) -> dict[str, str]:
    """Directives of ``Cache-Control`` by names in lower case; the first of a name counts."""
    found: dict[str, str] = {}
    for match in _DIRECTIVE.finditer(value[:_MAX_CHARACTERS]):
        found.setdefault(match[1].lower(), match[2] or match[3] or "")
    return found


def _number(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text.strip()) else None


def _date(text: str | None) -> datetime | None:
    if text is None or len(text) > _MAX_CHARACTERS:
        return None
    try:
        parsed = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
