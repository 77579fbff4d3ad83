"""8-bit content for a peer without 8BITMIME (RFC 6152 section 3, spec messages.md 6)."""

from __future__ import annotations

from collections.abc import Iterator

from relayq.compose.errors import ConversionImpossibleError, TransferDecodingError
from relayq.compose.headers import find_fields
from relayq.compose.mime_tree import Part, Splice, apply_splices, parse_tree
from relayq.compose.recoding import header_edit, is_recodable, recode_leaf, relabelling

_SEVEN_BIT_OCTETS = bytes(range(128)) + b"?" * 128


def to_seven_bit(mime: bytes) -> bytes:
    """Message whose bodies have no octet above 127; decoded, every part is what it was.

    Header fields stay as they are even where they are raw UTF-8: they go out like that to any peer. What nobody reads,
    the text before the first and behind the last part of a multipart, gets question marks. A message without an 8-bit
    octet in a body comes back unchanged, so a second conversion changes nothing.

    Args:
        mime: Content with CRLF line ends, before it is signed here.

    Raises:
        ConversionImpossibleError: An 8-bit octet is in something signed or encrypted, or covered by a DKIM signature
            that is already there, or where the MIME structure is broken.
    """
    if mime.isascii():
        return mime
    root = parse_tree(mime)
    splices = _convert(mime, root)
    if not splices:
        return mime
    if find_fields(mime[root.start : root.header_end], b"dkim-signature"):
        raise ConversionImpossibleError("8-bit content is covered by a DKIM signature")
    return apply_splices(mime, splices)


def _convert(mime: bytes, part: Part) -> list[Splice]:
    """Splices for the body of a part and everything inside; empty when only headers have 8-bit octets."""
    if mime[part.body_start : part.body_end].isascii():
        return []
    if not part.children:
        return _convert_leaf(mime, part)
    splices = [splice for child in part.children for splice in _convert(mime, child)]
    splices += _convert_margins(mime, part)
    if not splices:
        return []
    if part.is_sealed:
        raise ConversionImpossibleError("8-bit content in a signed or encrypted part")
    changes = {}
    if part.transfer_encoding in {"8bit", "binary"} and _has_clean_headers(mime, part):
        changes = relabelling("7bit")
    return [*header_edit(mime, part, changes), *splices]


def _convert_leaf(mime: bytes, part: Part) -> list[Splice]:
    if part.is_sealed:
        raise ConversionImpossibleError("8-bit content in a signed or encrypted part")
    if not is_recodable(part):
        raise ConversionImpossibleError("8-bit content in a part that cannot be looked into")
    try:
        return recode_leaf(mime, part)
    except TransferDecodingError as error:
        raise ConversionImpossibleError(f"8-bit content in a part with {error}") from None


def _convert_margins(mime: bytes, part: Part) -> Iterator[Splice]:
    """What lies between the parts inside ``part``: preamble, epilogue, delimiter lines."""
    at = part.body_start
    edges = [(child.start, child.body_end) for child in part.children]
    for start, end in (*edges, (part.body_end, part.body_end)):
        margin = mime[at:start]
        if not margin.isascii():
            if any(not mime[first:last].isascii() for first, last in part.delimiters if at <= first < start):
                raise ConversionImpossibleError("8-bit octets in a boundary")
            yield Splice(at, start, margin.translate(_SEVEN_BIT_OCTETS))
        at = end


def _has_clean_headers(mime: bytes, part: Part) -> bool:
    """No header inside ``part`` has 8-bit octets, so nothing in its body will have any."""
    return all(mime[inner.start : inner.header_end].isascii() for inner in part.walk() if inner is not part)
