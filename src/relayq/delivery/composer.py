"""Content of a message as octets for the wire (spec messages.md 6)."""

from __future__ import annotations

from relayq.model import DeliveryState, Message, Refused, Scope
from relayq.smtp import normalise_line_ends


def compose(message: Message) -> bytes:
    """Final octets of a message whose content lies in the JSON: CRLF line ends, before dot-stuffing.

    Raises:
        Refused: ``responsive/error``: the content needs something that cannot be done, or has a NUL octet.
    """
    wish = _unsupported(message)
    if wish is not None:
        raise Refused(DeliveryState.RESPONSIVE, Scope.MESSAGE, f"{wish} is not supported yet")
    mime = message.mime
    assert mime is not None
    if b"\0" in mime:
        if not message.force:
            raise Refused(DeliveryState.RESPONSIVE, Scope.MESSAGE, "mime: NUL octet")
        mime = mime.replace(b"\0", b"")
    return normalise_line_ends(mime)


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
