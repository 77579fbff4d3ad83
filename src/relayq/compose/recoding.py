"""Another transfer encoding for some parts of a message, everything else left octet-identical.

Used where a peer takes no 8-bit octets and where lines are too long. What a reader decodes stays the same, octet by
octet.
"""

from __future__ import annotations

from collections.abc import Mapping

from relayq.compose.encodings import base64_size, decode_body, encode_base64, encode_quoted_printable
from relayq.compose.headers import find_fields, replace_fields
from relayq.compose.mime_tree import Part, Splice, body_splice, header_splice

MIME_VERSION = b"MIME-Version: 1.0\r\n"

_NO_CHANGES: Mapping[bytes, bytes | None] = {}
# They speak of octets that are no longer there; readers of old mailbox formats cut messages by them.
_STALE: Mapping[bytes, bytes | None] = {b"content-length": None, b"lines": None}


def is_recodable(part: Part) -> bool:
    """A leaf that may have any transfer encoding: not sealed, and no kind of message (RFC 2045 section 6.4).

    Among the messages, those of RFC 6532 section 3.5 may.
    """
    if part.children or part.is_opaque or part.is_sealed:
        return False
    return not part.media_type.startswith("message/") or part.media_type.startswith("message/global")


def recode_leaf(mime: bytes, part: Part) -> list[Splice]:
    """Splices that give a leaf part a 7-bit body with lines of at most 76 octets.

    Text becomes quoted-printable, or base64 if that is shorter, all else base64; a part that has one of the two already
    keeps it. Text without a Content-Type is labelled UTF-8 if it is: readers guess from raw octets, not from encoded.

    Raises:
        TransferDecodingError: The body is broken, or its encoding unknown.
    """
    content = decode_body(mime[part.body_start : part.body_end], part.transfer_encoding)
    name, body = _encode(content, part)
    if name == "base64" and part.body_end == len(mime):
        body += b"\r\n"
    changes: dict[bytes, bytes | None] = {}
    if not part.has_content_type and _is_utf8_beyond_ascii(content):
        changes[b"content-type"] = b"Content-Type: text/plain; charset=utf-8\r\n"
    if name != part.transfer_encoding:
        changes |= relabelling(name)
    return [*header_edit(mime, part, changes), body_splice(mime, part, body)]


def _encode(content: bytes, part: Part) -> tuple[str, bytes]:
    if part.transfer_encoding != "base64" and part.media_type.startswith("text/"):
        body = encode_quoted_printable(content)
        if part.transfer_encoding == "quoted-printable" or len(body) <= base64_size(len(content)):
            return "quoted-printable", body
    return "base64", encode_base64(content)


def _is_utf8_beyond_ascii(content: bytes) -> bool:
    if content.isascii():
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def relabelling(transfer_encoding: str) -> dict[bytes, bytes | None]:
    """Change of a header that names another transfer encoding."""
    field = f"Content-Transfer-Encoding: {transfer_encoding}\r\n".encode("ascii")
    return {b"content-transfer-encoding": field}


def header_edit(mime: bytes, part: Part, changes: Mapping[bytes, bytes | None] = _NO_CHANGES) -> list[Splice]:
    """Splice for the header of a part in which something was recoded; empty when its header stays as it is.

    Besides ``changes``, sizes that became wrong go, and a message gets MIME-Version: without it a reader need not
    decode anything.
    """
    block = mime[part.start : part.header_end]
    changes = {**_STALE, **changes}
    if part.is_message and not find_fields(block, b"mime-version"):
        changes = {b"mime-version": MIME_VERSION, **changes}
    header = replace_fields(block, changes)
    return [] if header == block else [header_splice(part, header)]
