"""Command lines as the server role reads them (RFC 5321 section 4.1): line in, event out."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from relayq.smtp.server_events import (
    AuthRequested,
    DataRequested,
    Ehlo,
    Helo,
    MailFrom,
    Noop,
    Quit,
    RcptTo,
    Reset,
    ServerEvent,
    StartTlsRequested,
    Unknown,
)

MAX_KEPT_OCTETS = 1024
"""How much of a line that was not understood is reported."""

# The alternatives begin with different octets, so matching takes linear time.
_PATH = re.compile(rb'(?i:FROM|TO): *<((?:"(?:[^"\\]|\\.)*"|[^">])*)>(?: +([^ ].*))?', re.DOTALL)
_SOURCE_ROUTE = re.compile(r"@[^:]*:")
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)


class Chunk(msgspec.Struct, frozen=True):
    """``BDAT``: the octets follow at once, without a reply in between (RFC 3030 section 2)."""

    size_bytes: int
    is_last: bool


def parse_command(line: bytes) -> ServerEvent | Chunk:
    """The command on a line without its line end; :class:`Unknown` when there is none."""
    word, _, argument = line.partition(b" ")
    verb = word.decode("ascii", "replace").upper()
    parse = _PARSERS.get(verb)
    if parse is None:
        return unknown(line, "command")
    return parse(argument.strip(b" ")) or unknown(line, "syntax")


def unknown(line: bytes, reason: str) -> Unknown:
    """A line that cannot be understood, cut to a bounded length."""
    verb = line[:MAX_KEPT_OCTETS].split(b" ", 1)[0].decode("ascii", "replace").upper()
    return Unknown(verb, line[:MAX_KEPT_OCTETS], reason)


def _parse_path(argument: bytes, keyword: bytes) -> tuple[str, dict[str, str | None]] | None:
    match = _PATH.fullmatch(argument)
    if match is None or argument[: len(keyword)].upper() != keyword:
        return None
    parameters: dict[str, str | None] = {}
    if match[2] is not None:
        for word in match[2].decode("utf-8", "replace").split():
            name, equals, value = word.partition("=")
            parameters[name.upper()] = value if equals else None
    address = match[1].decode("utf-8", "replace")
    if address.startswith("@"):
        address = _SOURCE_ROUTE.sub("", address, count=1)
    return address, parameters


def _parse_mail(argument: bytes) -> ServerEvent | None:
    path = _parse_path(argument, b"FROM:")
    return None if path is None else MailFrom(*path)


def _parse_rcpt(argument: bytes) -> ServerEvent | None:
    path = _parse_path(argument, b"TO:")
    return None if path is None else RcptTo(*path)


def _parse_ehlo(argument: bytes) -> ServerEvent | None:
    return Ehlo(argument.decode("utf-8", "replace")) if argument else None


def _parse_helo(argument: bytes) -> ServerEvent | None:
    return Helo(argument.decode("utf-8", "replace")) if argument else None


def _parse_auth(argument: bytes) -> ServerEvent | None:
    words = argument.split()
    if not 1 <= len(words) <= 2:
        return None
    initial = words[1] if len(words) == 2 else None
    return AuthRequested(words[0].decode("ascii", "replace").upper(), b"" if initial == b"=" else initial)


def _parse_chunk(argument: bytes) -> Chunk | None:
    match = _CHUNK.fullmatch(argument.decode("ascii", "replace"))
    return None if match is None else Chunk(int(match[1]), match[2] is not None)


def _without_argument(event: ServerEvent) -> Callable[[bytes], ServerEvent | None]:
    return lambda argument: None if argument else event


def _ignoring_argument(event: ServerEvent) -> Callable[[bytes], ServerEvent | None]:
    return lambda argument: event


_PARSERS: dict[str, Callable[[bytes], ServerEvent | Chunk | None]] = {
    "EHLO": _parse_ehlo,
    "HELO": _parse_helo,
    "MAIL": _parse_mail,
    "RCPT": _parse_rcpt,
    "DATA": _without_argument(DataRequested()),
    "BDAT": _parse_chunk,
    "RSET": _without_argument(Reset()),
    "NOOP": _ignoring_argument(Noop()),
    "QUIT": _without_argument(Quit()),
    "STARTTLS": _without_argument(StartTlsRequested()),
    "AUTH": _parse_auth,
}
