"""Texts of a message as characters, and back into it once they were changed (spec templates.md 7, steps 1 to 7).

Only what must change changes: a text that stays what it was leaves its part octet-identical, and so do all other parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from relayq.compose.analysis import has_long_line
from relayq.compose.encodings import CharsetText, decode_body, decode_charset, encode_base64, encode_quoted_printable
from relayq.compose.errors import TransferDecodingError
from relayq.compose.headers import find_fields, replace_fields
from relayq.compose.mime_tree import Part, Splice, apply_splices, body_splice, header_splice, text_candidates
from relayq.compose.parameters import with_charset
from relayq.compose.recoding import MIME_VERSION, relabelling

_HEAD_CHARACTERS = 1024
_META_CHARSET = re.compile(r"(<meta\b[^>]*?\bcharset\s*+=\s*+[\"']?+)[^\"'\s/>;]++", re.IGNORECASE)
# They speak of octets that are no longer there.
_STALE = (b"content-md5", b"content-length", b"lines")


class TextPart(msgspec.Struct, frozen=True):
    """A text part of a message.

    Attributes:
        part: Where it lies.
        text: Its text, every line break an LF.
        decoded: The text as it was decoded; knows the way back to octets.
    """

    part: Part
    text: str
    decoded: CharsetText


def read_texts(mime: bytes, root: Part) -> list[TextPart]:
    """Texts of a message that may be rewritten, in the order in which they stand.

    A part whose transfer encoding is broken or unknown is left out: it is left alone.
    """
    found: list[TextPart] = []
    for part in text_candidates(root):
        try:
            octets = decode_body(mime[part.body_start : part.body_end], part.transfer_encoding)
        except TransferDecodingError:
            continue
        decoded = decode_charset(octets, part.parameters.get("charset"))
        found.append(TextPart(part, _with_line_feeds(decoded.text), decoded))
    return found


def write_texts(mime: bytes, root: Part, changes: Iterable[tuple[TextPart, str]]) -> bytes:
    """Message with other texts.

    Args:
        mime: The message the texts were read from.
        root: Its tree.
        changes: Texts that were read, each with what to write instead, any line breaks.
    """
    splices: list[Splice] = []
    root_changes: dict[bytes, bytes | None] = {}
    needs_mime = False
    for source, text in changes:
        if text == source.text:
            continue
        header_changes, body = _encode(mime, source, text)
        needs_mime = needs_mime or b"content-transfer-encoding" in header_changes
        header_changes |= dict.fromkeys(_STALE)
        if source.part is root:
            root_changes = header_changes
        else:
            splices += _edit_header(mime, source.part, header_changes)
        # Behind the header, which begins at the same place where both are empty.
        splices.append(body_splice(mime, source.part, body))
    if needs_mime and not find_fields(mime[root.start : root.header_end], b"mime-version"):
        root_changes = {b"mime-version": MIME_VERSION, **root_changes}
    return apply_splices(mime, [*_edit_header(mime, root, root_changes), *splices])


def _edit_header(mime: bytes, part: Part, changes: dict[bytes, bytes | None]) -> list[Splice]:
    block = mime[part.start : part.header_end]
    header = replace_fields(block, changes)
    return [] if header == block else [header_splice(part, header)]


def _encode(mime: bytes, source: TextPart, text: str) -> tuple[dict[bytes, bytes | None], bytes]:
    """Changes of the header and the body for a new text of a part."""
    part = source.part
    changes: dict[bytes, bytes | None] = {}
    text = _with_line_feeds(text).replace("\n", "\r\n")
    octets, charset = source.decoded.to_octets(text)
    if charset is not None:
        if part.media_type == "text/html":
            octets = _with_meta_charset(text, charset).encode(charset, "replace")
        fields = find_fields(mime[part.start : part.header_end], b"content-type")
        changes[b"content-type"] = with_charset(fields[0] if fields else b"", part.media_type, charset)
    encoding = _next_encoding(part.transfer_encoding, octets)
    if encoding != part.transfer_encoding:
        changes |= relabelling(encoding)
    if encoding == "base64":
        return changes, encode_base64(octets) + (b"\r\n" if part.body_end == len(mime) else b"")
    return changes, encode_quoted_printable(octets) if encoding == "quoted-printable" else octets


def _next_encoding(encoding: str, octets: bytes) -> str:
    """Transfer encoding of a part with new content: the one it had where that is allowed, else quoted-printable."""
    if encoding in {"base64", "quoted-printable"}:
        return encoding
    if encoding == "7bit" and octets.isascii() and not has_long_line(octets):
        return encoding
    if encoding == "8bit" and b"\0" not in octets and not has_long_line(octets):
        return encoding
    return "quoted-printable"


def _with_meta_charset(html: str, charset: str) -> str:
    """HTML whose own declaration names the charset it is written in, so that readers who trust it are not misled."""
    return _META_CHARSET.sub(rf"\g<1>{charset}", html[:_HEAD_CHARACTERS], count=1) + html[_HEAD_CHARACTERS:]


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
