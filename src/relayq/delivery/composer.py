"""Content of a message as octets for the wire, in the order of spec messages.md 6.

Two steps, because one depends on the peer: :meth:`Composer.prepare` before DNS, so what cannot be composed costs no
connection, and :meth:`Composer.finish` on the session, after EHLO.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from relayq.compose import ConversionImpossibleError, LongLineError, analyse, to_seven_bit, treat_long_lines
from relayq.model import DeliveryState, Message, Refused, Scope
from relayq.smtp import Capabilities, normalise_line_ends


class ComposerRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        eight_bit: What happens to 8-bit content for a peer without 8BITMIME.
        long_lines: What happens to lines of more than 998 octets.
    """

    eight_bit: Literal["convert", "send"] = "convert"
    long_lines: Literal["keep", "wrap", "fail"] = "keep"


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to be sent, before anything that depends on the peer.

    Attributes:
        octets: CRLF line ends, no NUL, before dot-stuffing.
        has_8bit: There are octets above 127.
        has_utf8_headers: Some of them in the header.
        force: Where a step fails, do without it.
    """

    octets: bytes
    has_8bit: bool = False
    has_utf8_headers: bool = False
    force: bool = False


class Composer:
    """Makes content; pure but for its rules."""

    def __init__(self, rules: ComposerRules) -> None:
        self._rules = rules

    def prepare(self, message: Message) -> Content:
        """Content of a message that carries it in the JSON.

        Raises:
            Refused: ``responsive/error``: it needs something that cannot be done, or has a NUL octet.
        """
        wish = _unsupported(message)
        if wish is not None:
            raise _impossible(f"{wish} is not supported yet")
        mime = message.mime
        assert mime is not None
        if b"\0" in mime:
            if not message.force:
                raise _impossible("mime: NUL octet")
            mime = mime.replace(b"\0", b"")
        octets = self._with_tidy_lines(normalise_line_ends(mime), message)
        if octets.isascii():
            return Content(octets=octets, force=message.force)
        found = analyse(octets)
        return Content(octets=octets, has_8bit=True, has_utf8_headers=found.has_utf8_headers, force=message.force)

    def _with_tidy_lines(self, octets: bytes, message: Message) -> bytes:
        if self._rules.long_lines == "keep":
            return octets
        try:
            return treat_long_lines(octets, self._rules.long_lines)
        except LongLineError as error:
            if message.force:
                return octets
            raise _impossible(f"mime: {error}") from None

    def finish(self, content: Content, capabilities: Capabilities) -> Content:
        """The same content as this peer can take it.

        Raises:
            Refused: ``responsive/error``: it has 8-bit octets that cannot be converted, and the peer lacks 8BITMIME.
        """
        if not content.has_8bit or capabilities.eight_bit_mime or self._rules.eight_bit == "send":
            return content
        try:
            octets = to_seven_bit(content.octets)
        except ConversionImpossibleError as error:
            if content.force:
                return content
            raise _impossible(f"the server takes no 8-bit content: {error}") from None
        return msgspec.structs.replace(content, octets=octets, has_8bit=not octets.isascii())


def _impossible(reason: str) -> Refused:
    return Refused(DeliveryState.RESPONSIVE, Scope.MESSAGE, reason)


def _unsupported(message: Message) -> str | None:
    """What the message asks for that would be wrong to leave out silently; ``None`` when nothing."""
    if message.mime is None:
        return "mime as an object"
    if message.data is not None:
        return "data"
    if message.inline_css:
        return "inlinecss"
    if message.dkim is not None:
        return "dkim"
    return None
