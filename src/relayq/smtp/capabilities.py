"""What a server announced in its reply to EHLO (RFC 5321 section 4.1.1.1, spec delivery.md 9)."""

from __future__ import annotations

import msgspec

from relayq.model import Reply

_MAX_SIZE_DIGITS = 20  # RFC 1870 section 4


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Extensions the peer announced; all absent before EHLO and after HELO.

    Attributes:
        size: ``SIZE`` was announced.
        size_limit: Octets it takes at most; ``None`` when it named no limit.
        auth: Names of the mechanisms in upper case.
    """

    pipelining: bool = False
    size: bool = False
    size_limit: int | None = None
    eight_bit_mime: bool = False
    smtputf8: bool = False
    starttls: bool = False
    dsn: bool = False
    chunking: bool = False
    enhanced_status_codes: bool = False
    auth: frozenset[str] = frozenset()


NO_CAPABILITIES = Capabilities()


def parse_capabilities(reply: Reply) -> Capabilities:
    """Capabilities from the reply to EHLO; the first line is a greeting, unknown keywords mean nothing to us."""
    found: dict[str, tuple[str, ...]] = {}
    for line in reply.lines[1:]:
        words = line.decode("ascii", "replace").upper().split()
        if not words:
            continue
        # "AUTH=LOGIN PLAIN" is how servers spelled it for clients older than RFC 2554.
        keyword, *arguments = ["AUTH", words[0][5:], *words[1:]] if words[0].startswith("AUTH=") else words
        found[keyword] = (*found.get(keyword, ()), *arguments)
    return Capabilities(
        pipelining="PIPELINING" in found,
        size="SIZE" in found,
        size_limit=_parse_size_limit(found.get("SIZE", ())),
        eight_bit_mime="8BITMIME" in found,
        smtputf8="SMTPUTF8" in found,
        starttls="STARTTLS" in found,
        dsn="DSN" in found,
        chunking="CHUNKING" in found,
        enhanced_status_codes="ENHANCEDSTATUSCODES" in found,
        auth=frozenset(filter(None, found.get("AUTH", ()))),
    )


def _parse_size_limit(arguments: tuple[str, ...]) -> int | None:
    """0 and anything unreadable mean that no limit is known."""
    if not arguments or len(arguments[0]) > _MAX_SIZE_DIGITS or not (arguments[0].isascii() and arguments[0].isdigit()):
        return None
    return int(arguments[0]) or None
