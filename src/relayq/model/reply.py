"""The server's answer to a command.

A reply is a value: how it was cut out of the byte stream is ``relayq.smtp``'s concern, what it means for a message is
``relayq.policy``'s.
"""

from __future__ import annotations

import msgspec

DESCRIPTION_LIMIT = 4096
"""Characters of a description in a result (spec results.md 2)."""

_CONTROLS_TO_BLANK = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029], " ")


class Reply(msgspec.Struct, frozen=True):
    """One complete reply, of one or more lines (RFC 5321 section 4.2).

    Attributes:
        code: Reply code of the last line, 200 to 599 for every reply the parser lets through.
        enhanced_status: ``X.Y.Z`` from the start of the first line (RFC 2034), ``None`` when the server sent none.
        lines: Text of each line in order, without code and without an enhanced status at its start; any octets but
            CR and LF. Never empty, but a line may be.
    """

    code: int
    enhanced_status: str | None
    lines: tuple[bytes, ...]

    @property
    def severity(self) -> int:
        """First digit of the code: all that is needed for a code nobody knows (RFC 5321 section 4.2)."""
        return self.code // 100

    @property
    def status(self) -> str:
        """The enhanced status, or ``X.0.0`` made from the code (spec results.md 2)."""
        if self.enhanced_status is not None:
            return self.enhanced_status
        digit = self.code // 100
        return "4.5.0" if digit == 3 else f"{digit}.0.0"

    @property
    def description(self) -> str:
        """All lines joined by one blank, safe to put on one line of a log or into a result (spec results.md 2)."""
        return describe_octets(b" ".join(self.lines))


def describe_octets(octets: bytes) -> str:
    """Text for whatever a peer sent: undecodable octets become U+FFFD, control characters blanks, and it is cut."""
    text = octets[: 4 * DESCRIPTION_LIMIT].decode("utf-8", "replace")
    if not text.isprintable():
        text = text.translate(_CONTROLS_TO_BLANK)
    return text[:DESCRIPTION_LIMIT].strip()
