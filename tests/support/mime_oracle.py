"""What another reader makes of a message: the parser of the standard library, and our own tree beside it."""

from __future__ import annotations

import email
import email.message
import warnings

from relayq.compose.encodings import decode_body
from relayq.compose.errors import TransferDecodingError
from relayq.compose.mime_tree import parse_tree

Leaf = tuple[str, bytes]


def leaves_by_stdlib(mime: bytes) -> list[Leaf]:
    """Media type and decoded content of every leaf part, in order."""
    found: list[Leaf] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in email.message_from_bytes(mime).walk():
            if not part.is_multipart():
                payload = part.get_payload(decode=True)
                assert isinstance(payload, bytes)
                found.append((part.get_content_type(), payload))
    return found


def leaves_by_tree(mime: bytes) -> list[Leaf]:
    """The same by our own tree; bodies that cannot be decoded as they stand."""
    found: list[Leaf] = []
    for part in parse_tree(mime).walk():
        if part.children:
            continue
        body = mime[part.body_start : part.body_end]
        try:
            found.append((part.media_type, decode_body(body, part.transfer_encoding)))
        except TransferDecodingError:
            found.append((part.media_type, body))
    return found
