"""What the server role reports: one command, answer or message at a time, each waiting for its reply.

Addresses and arguments are text as received; octets that are not UTF-8 come as U+FFFD. Nothing is judged here but form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec


class GreetingDue(msgspec.Struct, frozen=True):
    """The connection is open; always the first event."""


class Ehlo(msgspec.Struct, frozen=True):
    """``EHLO name``."""

    name: str


class Helo(msgspec.Struct, frozen=True):
    """``HELO name``."""

    name: str


class StartTlsRequested(msgspec.Struct, frozen=True):
    """``STARTTLS``: after a 2xx reply is written comes the handshake, then ``tls_established``."""


class AuthRequested(msgspec.Struct, frozen=True):
    """``AUTH``: a 3xx reply asks for an :class:`AuthResponse`.

    Attributes:
        mechanism: In upper case.
        initial_response: Base64 as received; ``None`` when there is none, empty when it is ``=`` (RFC 4954 section 4).
    """

    mechanism: str
    initial_response: bytes | None


class AuthResponse(msgspec.Struct, frozen=True):
    """A line of the login dialogue: base64 as received, ``None`` when the client cancels with ``*``."""

    octets: bytes | None


class MailFrom(msgspec.Struct, frozen=True):
    """``MAIL FROM``: what stands between the angle brackets, empty for the null sender.

    Attributes:
        address: Without brackets and source route.
        parameters: Keyword in upper case to value; ``None`` for a keyword alone.
    """

    address: str
    parameters: Mapping[str, str | None]


class RcptTo(msgspec.Struct, frozen=True):
    """``RCPT TO``; members as for :class:`MailFrom`."""

    address: str
    parameters: Mapping[str, str | None]


class DataRequested(msgspec.Struct, frozen=True):
    """``DATA``: after a 3xx reply the content is received."""


class ChunkReceived(msgspec.Struct, frozen=True):
    """A ``BDAT`` chunk before the last one; ``size_bytes`` counts the content received so far."""

    size_bytes: int


class MessageReceived(msgspec.Struct, frozen=True):
    """The content is complete.

    Attributes:
        content: Without dot-stuffing and final dot; ``None`` when it was not kept or was too large.
        size_bytes: Octets received, before dots were removed, without the final dot.
        is_too_large: It exceeds what the server takes.
    """

    content: bytes | None
    size_bytes: int
    is_too_large: bool = False


class Reset(msgspec.Struct, frozen=True):
    """``RSET``."""


class Noop(msgspec.Struct, frozen=True):
    """``NOOP``."""


class Quit(msgspec.Struct, frozen=True):
    """``QUIT``: the connection is closed after the reply."""


class Unknown(msgspec.Struct, frozen=True):
    """A line that is none of the above.

    Attributes:
        verb: First word in upper case; a known one when its argument has the wrong form.
        line: As received, cut to a bounded length.
        reason: ``command``, ``syntax`` or ``length``.
    """

    verb: str
    line: bytes
    reason: str


class PeerClosed(msgspec.Struct, frozen=True):
    """The client has closed; needs no reply."""


ServerEvent: TypeAlias = (
    GreetingDue
    | Ehlo
    | Helo
    | StartTlsRequested
    | AuthRequested
    | AuthResponse
    | MailFrom
    | RcptTo
    | DataRequested
    | ChunkReceived
    | MessageReceived
    | Reset
    | Noop
    | Quit
    | Unknown
    | PeerClosed
)
