"""Parts to one message: transfer encodings and the multipart tree (spec responsive.md 5.4 and 5.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from relayq.compose.encodings import base64_size, encode_base64, encode_quoted_printable
from relayq.compose.header_values import LINE_COLUMNS, LINE_LIMIT
from relayq.compose.headers import find_header
from relayq.compose.parameters import encode_parameter
from relayq.compose.responsive.downloads import ContentNeededError, Slot
from relayq.compose.responsive.media_types import DEFAULT_TYPE

MakeBoundary = Callable[[], str]
"""Gives a new boundary each time: ``=_`` and 32 random hex digits."""

_MAX_COLLISIONS = 10
_LOOKED_INTO = ("message/", "text/html")
_VISIBLE = bytes((*b"\t\r\n", *range(0x20, 0x7F)))


class Leaf(NamedTuple):
    """A part that is not a multipart, or a multipart that is already put together.

    Attributes:
        fields: Its ``Content-*`` fields, each ending with CRLF.
        chunks: Its body, encoded; a line break at its end belongs to the content.
        may_hold_boundary: The body is such that a boundary could occur in it.
        aside: Octets the body has beyond that, because its file is kept aside.
    """

    fields: bytes
    chunks: tuple[bytes, ...]
    may_hold_boundary: bool = False
    aside: int = 0


class Parts(NamedTuple):
    """Everything a message consists of below its header fields."""

    text: Leaf | None = None
    html: Leaf | None = None
    embedded: Sequence[Leaf] = ()
    attachments: Sequence[Leaf] = ()


def text_leaf(subtype: str, text: str) -> Leaf:
    """A text in ``utf-8``: as it is if it is plain and harmless, else in the shorter one of the two encodings."""
    octets = _with_crlf(text.replace("\0", "").encode("utf-8", "replace"))
    encoding, body = _encode_text(octets, may_be_plain=subtype == "plain")
    fields = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return Leaf(fields.encode("ascii"), (body,), may_hold_boundary=encoding == "7bit")


def _encode_text(octets: bytes, *, may_be_plain: bool) -> tuple[str, bytes]:
    if may_be_plain and _is_plain(octets):
        return "7bit", octets
    encoded = encode_quoted_printable(octets)
    if len(encoded) <= base64_size(len(octets)):
        return "quoted-printable", encoded
    return "base64", encode_base64(octets)


def _is_plain(octets: bytes) -> bool:
    return (
        not octets.translate(None, _VISIBLE)
        and b" \r\n" not in octets
        and b"\t\r\n" not in octets
        and not octets.endswith((b" ", b"\t"))
        and b"\nFrom " not in octets
        and not octets.startswith(b"From ")
        and max(map(len, octets.split(b"\r\n"))) <= LINE_COLUMNS
    )


def _with_crlf(octets: bytes) -> bytes:
    if b"\r" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return octets.replace(b"\n", b"\r\n")


def file_leaf(
    content: bytes | Slot,
    media_type: str,
    parameters: Iterable[tuple[str, str]],
    file_name: str,
    *,
    disposition: str,
    content_id: str | None = None,
) -> Leaf:
    """A file in base64; a message as it is, as RFC 2046 section 5.2.1 demands, or else as plain octets.

    Args:
        content: Octets of the file, or where they are kept aside.
        media_type: Valid and no multipart.
        parameters: Further parameters of the type, their values without controls.
        file_name: Without controls and quotes.
        disposition: ``attachment`` or ``inline``.
        content_id: Printable ASCII without blanks and angle brackets.

    Raises:
        ContentNeededError: A message, or HTML, which others look into, is kept aside.
    """
    encoding, body = "base64", b""
    if isinstance(content, Slot):
        if media_type.lower().startswith(_LOOKED_INTO):
            raise ContentNeededError
    elif media_type.lower().startswith("message/"):
        plain = _with_crlf(content)
        if not _is_message(plain):
            media_type, parameters = DEFAULT_TYPE, ()
        else:
            encoding, body = "7bit", plain
    fields = [
        _folded("Content-Type", media_type, [*parameters, ("name", file_name)]),
        f"Content-Transfer-Encoding: {encoding}\r\n",
    ]
    if content_id is not None:
        fields.append(f"Content-ID: <{content_id}>\r\n")
    fields.append(_folded("Content-Disposition", disposition, [("filename", file_name)]))
    if isinstance(content, Slot):
        body = content.marker.encode("ascii")
        aside = base64_size(content.size) - len(body)
        return Leaf("".join(fields).encode("ascii"), (body,), aside=aside)
    if encoding == "base64":
        body = encode_base64(content)
    return Leaf("".join(fields).encode("ascii"), (body,), may_hold_boundary=encoding == "7bit")


def _is_message(octets: bytes) -> bool:
    """Can stand as it is where a reader expects a message."""
    span = find_header(octets)
    return (
        span.start == 0 < span.end
        and span.has_separator
        and octets.isascii()
        and b"\0" not in octets
        and max(map(len, octets.split(b"\r\n"))) <= LINE_LIMIT
    )


def _folded(name: str, value: str, parameters: Iterable[tuple[str, str]]) -> str:
    """A field with every parameter on a line of its own."""
    pieces: list[str] = []
    for parameter in parameters:
        plain, *extended = encode_parameter(*parameter)
        # The full form goes first: of two that stand for the same parameter many readers take the first.
        pieces += (*extended, plain)
    return ";\r\n ".join([f"{name}: {value}", *pieces]) + "\r\n"


def assemble(fields: bytes, parts: Parts, make_boundary: MakeBoundary) -> bytes:
    """A whole message; levels with a single child are left out, outer boundaries are taken first.

    Args:
        fields: Header fields without ``Content-*``, each ending with CRLF.
        parts: Content; without text and HTML the body is an empty text.
        make_boundary: Where boundaries come from.
    """
    all_leaves = [leaf for leaf in (parts.text, parts.html, *parts.embedded, *parts.attachments) if leaf is not None]
    boundaries = _Boundaries(make_boundary, all_leaves)
    mixed = boundaries.take() if parts.attachments else ""
    alternative = boundaries.take() if parts.text is not None and parts.html is not None else ""
    related = boundaries.take() if parts.html is not None and parts.embedded else ""

    body = parts.html
    if body is not None and related:
        body = _multipart("related", related, [body, *parts.embedded])
    if body is None:
        body = parts.text or text_leaf("plain", "")
    elif parts.text is not None:
        body = _multipart("alternative", alternative, [parts.text, body])
    if parts.attachments:
        body = _multipart("mixed", mixed, [body, *parts.attachments])
    end = b"" if body.chunks[-1].endswith(b"\r\n") or not any(body.chunks) else b"\r\n"
    return b"".join((fields, body.fields, b"\r\n", *body.chunks, end))


def _multipart(subtype: str, boundary: str, children: Sequence[Leaf]) -> Leaf:
    delimiter = f"--{boundary}".encode("ascii")
    chunks: list[bytes] = []
    for child in children:
        chunks += (delimiter, b"\r\n", child.fields, b"\r\n", *child.chunks, b"\r\n")
    chunks += (delimiter, b"--")
    fields = _folded("Content-Type", f"multipart/{subtype}", [("boundary", boundary)])
    return Leaf(fields.encode("ascii"), tuple(chunks))


class _Boundaries:
    """Boundaries that occur in none of the parts."""

    def __init__(self, make_boundary: MakeBoundary, leaves: Iterable[Leaf]) -> None:
        self._make_boundary = make_boundary
        self._plain = [chunk for leaf in leaves if leaf.may_hold_boundary for chunk in leaf.chunks]

    def take(self) -> str:
        """The next one, which no part has in its content.

        Raises:
            ValueError: Whoever makes them can be foreseen.
        """
        for _ in range(_MAX_COLLISIONS):
            boundary = self._make_boundary()
            if not any(boundary.encode("ascii") in chunk for chunk in self._plain):
                return boundary
        raise ValueError("boundaries that occur in the content")
