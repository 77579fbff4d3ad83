"""Where the parts of a message lie, and how to replace some of them: the message itself is never written anew.

One pass over the octets with a stack of the multiparts that are open. Each line that begins with two hyphens is looked
up once among their boundaries; a delimiter of an outer one closes all inside it, as RFC 2046 section 5.1.2 wants. So
the time is linear in the size, whatever the nesting. A multipart that never begins, one nested too deep, and a message
with too many parts stay closed boxes (`Part.is_opaque`): nobody may change what is inside, but nothing else is lost.

Content is expected with CRLF line ends (``relayq.smtp.normalise_line_ends``); a bare LF is understood as well, a bare
CR is an ordinary octet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

import msgspec

from relayq.compose.encodings import IDENTITY_ENCODINGS
from relayq.compose.headers import field_name, field_value, find_content_fields, find_header
from relayq.compose.parameters import parse_parameters

MAX_DEPTH = 50
"""Parts inside parts; mail that people read has six."""
MAX_PARTS = 2000

_MAX_BOUNDARY_OCTETS = 200  # RFC 2046 section 5.1.1 allows 70
_BLANKS = b" \t\r"
_SEALED_MULTIPARTS = frozenset(("multipart/signed", "multipart/encrypted"))
_SEALED_LEAVES = ("application/pgp", "application/x-pgp", "application/pkcs7-", "application/x-pkcs7-")
_EMPTY: dict[str, str] = {}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The message itself, a part of a multipart, or the message inside a ``message/rfc822`` part.

    Attributes:
        start: First octet of the first header field.
        header_end: Behind the last header field.
        body_start: Behind the empty line, or equal to ``header_end`` where that is missing.
        body_end: Where the body ends; the line break in front of a delimiter line belongs to the delimiter.
        media_type: ``type/subtype`` in lower case; ``text/plain`` if there is none or it is not one.
        has_content_type: There is a Content-Type field, whatever is in it.
        parameters: Parameters of Content-Type.
        transfer_encoding: In lower case, ``7bit`` if there is none.
        disposition: Main value of Content-Disposition in lower case, empty if there is none.
        has_file_name: It has a ``filename`` or ``name`` parameter, so it is meant to be a file.
        is_message: A whole message with a header of its own, not a MIME part.
        delimiters: Delimiter lines of a multipart as (start, end), line breaks around them left out, the closing one
            last.
        is_closed: The last one of ``delimiters`` is the closing one.
        is_opaque: A multipart or message whose inside is not known.
        children: Parts inside, in order; of a ``message/rfc822`` part the one message.
    """

    start: int
    header_end: int
    body_start: int
    body_end: int
    media_type: str
    has_content_type: bool
    parameters: dict[str, str]
    transfer_encoding: str
    disposition: str
    has_file_name: bool
    is_message: bool
    delimiters: tuple[tuple[int, int], ...]
    is_closed: bool
    is_opaque: bool
    children: tuple[Part, ...]

    @property
    def is_multipart(self) -> bool:
        """The body is made of parts, or should be."""
        return self.media_type.startswith("multipart/")

    @property
    def is_sealed(self) -> bool:
        """Signed or encrypted (S/MIME, PGP): not an octet of it may change."""
        return self.media_type in _SEALED_MULTIPARTS or self.media_type.startswith(_SEALED_LEAVES)

    def walk(self) -> Iterator[Part]:
        """This part and all parts inside it, in the order in which they stand."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            yield part
            waiting += reversed(part.children)


class Splice(NamedTuple):
    """Octets that take the place of ``mime[start:end]``."""

    start: int
    end: int
    octets: bytes


def apply_splices(mime: bytes, splices: Iterable[Splice]) -> bytes:
    """Message with some stretches replaced; everything else stays octet-identical.

    Raises:
        ValueError: Two of them overlap.
    """
    pieces: list[bytes] = []
    at = 0
    # By place only: what is put in at one point keeps its order.
    for start, end, octets in sorted(splices, key=itemgetter(0, 1)):
        if start < at or end < start:
            raise ValueError("splices overlap")
        pieces += (mime[at:start], octets)
        at = end
    pieces.append(mime[at:])
    return b"".join(pieces)


def body_splice(mime: bytes, part: Part, body: bytes) -> Splice:
    """Put ``body`` in place of the body of a leaf part.

    Line breaks without which it would run into the header or the next delimiter are added.
    """
    if body and part.body_start == part.header_end:
        body = b"\r\n" + body
    follows = mime[part.body_end : part.body_end + 1]
    if body and follows and follows not in b"\r\n":
        body += b"\r\n"
    return Splice(part.body_start, part.body_end, body)


def header_splice(part: Part, header: bytes) -> Splice:
    """Put ``header``, complete fields without the empty line, in place of the header of a part."""
    return Splice(part.start, part.header_end, header)


def parse_tree(mime: bytes) -> Part:
    """Tree of the parts of a message; never fails, whatever the octets."""
    return _Walk(mime).run()


def text_candidates(root: Part) -> list[Part]:
    """Text and HTML parts whose content may be rewritten (spec templates.md 7): shown, not attached, not sealed."""
    found: list[Part] = []
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.is_multipart:
            if not part.is_sealed:
                waiting += reversed(part.children)
        elif (
            part.media_type in {"text/plain", "text/html"}
            and part.disposition != "attachment"
            and not part.has_file_name
        ):
            found.append(part)
    return found


class _Open:
    """A part whose end is not known yet."""

    __slots__ = ("boundary", "children", "delimiters", "fields", "is_closed", "is_container", "is_message", "span")

    def __init__(self, mime: bytes, start: int, *, is_message: bool, in_digest: bool) -> None:
        self.span = find_header(mime, start)
        self.fields = _ContentFields(mime[self.span.start : self.span.end], in_digest=in_digest)
        self.is_message = is_message
        self.children: list[Part] = []
        self.delimiters: list[tuple[int, int]] = []
        self.is_closed = False
        self.is_container = self.fields.is_container
        self.boundary: bytes | None = None

    def close(self, end: int) -> Part:
        """The finished part, its body ending at ``end`` unless it has none."""
        start, header_end, body_start = self.span
        fields = self.fields
        return Part(
            start=start,
            header_end=header_end,
            body_start=body_start,
            body_end=max(end, body_start),
            media_type=fields.media_type,
            has_content_type=fields.has_content_type,
            parameters=fields.parameters,
            transfer_encoding=fields.transfer_encoding,
            disposition=fields.disposition,
            has_file_name=fields.has_file_name,
            is_message=self.is_message,
            delimiters=tuple(self.delimiters),
            is_closed=self.is_closed,
            is_opaque=self.is_container and not self.children,
            children=tuple(self.children),
        )


class _ContentFields:
    """What the header of a part says about its content; the first field of a name counts."""

    __slots__ = ("disposition", "has_content_type", "has_file_name", "media_type", "parameters", "transfer_encoding")

    def __init__(self, block: bytes, *, in_digest: bool) -> None:
        self.media_type = "message/rfc822" if in_digest else "text/plain"
        self.parameters = _EMPTY
        self.transfer_encoding = "7bit"
        self.disposition = ""
        values = _content_values(block)
        file_parameters = _EMPTY
        self.has_content_type = b"content-type" in values
        if self.has_content_type:
            main, self.parameters = parse_parameters(values[b"content-type"])
            kind, _, subtype = main.partition("/")
            self.media_type = main if kind and subtype and "/" not in subtype else "text/plain"
        if b"content-transfer-encoding" in values:
            self.transfer_encoding = parse_parameters(values[b"content-transfer-encoding"])[0].strip('"') or "7bit"
        if b"content-disposition" in values:
            self.disposition, file_parameters = parse_parameters(values[b"content-disposition"])
        self.has_file_name = any(
            name in parameters for parameters in (self.parameters, file_parameters) for name in ("filename", "name")
        )

    @property
    def is_container(self) -> bool:
        """A multipart, or a message that is not hidden in an encoding it may not have."""
        if self.media_type.startswith("multipart/"):
            return True
        return self.media_type == "message/rfc822" and self.transfer_encoding in IDENTITY_ENCODINGS


def _content_values(block: bytes) -> dict[bytes, bytes]:
    """First value of each ``Content-…`` field of a header block."""
    values: dict[bytes, bytes] = {}
    for field in find_content_fields(block):
        values.setdefault(field_name(field), field_value(field))
    return values


class _Walk:
    """One pass over a message."""

    def __init__(self, mime: bytes) -> None:
        self._mime = mime
        self._open: list[_Open] = []
        self._level_by_boundary: dict[bytes, int] = {}
        self._parts = 0

    def run(self) -> Part:
        mime = self._mime
        at = self._begin(0, is_message=True, in_digest=False)
        while self._level_by_boundary:
            found = mime.find(b"\n--", max(at - 1, 0))
            if found < 0:
                break
            at = self._line(found + 1)
            if self._parts > MAX_PARTS:
                return self._closed_box()
        return self._close_to(0, len(mime))

    def _line(self, start: int) -> int:
        """Look at the line at ``start``, which begins with two hyphens; returns where to go on."""
        hit = self._delimiter(start)
        if hit is None:
            return start + 2
        level, end, is_last = hit
        next_line = self._mime.find(b"\n", end) + 1 or len(self._mime)
        before = start - 2 if self._mime[start - 2 : start] == b"\r\n" else start - 1
        owner = self._open[level]
        if level + 1 < len(self._open):
            owner.children.append(self._close_to(level + 1, before))
        owner.delimiters.append((start, end))
        if is_last:
            owner.is_closed = True
            self._forget(owner)
            return next_line
        return self._begin(next_line, is_message=False, in_digest=owner.fields.media_type == "multipart/digest")

    def _delimiter(self, start: int) -> tuple[int, int, bool] | None:
        """Level of the multipart the line is a delimiter of, its end without the line break, whether it closes."""
        stop = self._mime.find(b"\n", start, start + 2 * _MAX_BOUNDARY_OCTETS)
        if stop < 0:
            if len(self._mime) > start + 2 * _MAX_BOUNDARY_OCTETS:
                return None
            stop = len(self._mime)
        line = self._mime[start:stop]
        text = line[2:].rstrip(_BLANKS)
        end = start + len(line.rstrip(b"\r"))
        level = self._level_by_boundary.get(text)
        closed_level = self._level_by_boundary.get(text[:-2]) if text.endswith(b"--") else None
        # One boundary may be another with two hyphens: what belongs to the outer multipart is never the inner's.
        if closed_level is not None and (level is None or closed_level < level):
            return closed_level, end, True
        return None if level is None else (level, end, False)

    def _begin(self, start: int, *, is_message: bool, in_digest: bool) -> int:
        """Open the part at ``start`` and the message inside it; returns where to look for delimiters."""
        while True:
            part = _Open(self._mime, start, is_message=is_message, in_digest=in_digest)
            self._open.append(part)
            self._parts += 1
            at = part.span.body_start
            if not part.is_container or len(self._open) > MAX_DEPTH or self._parts > MAX_PARTS:
                return at
            if part.fields.media_type == "message/rfc822":
                # Without the empty line nobody can tell the header of the part from that of the message in it.
                if part.span.has_separator and at < len(self._mime) and not self._is_delimiter(at):
                    start, is_message, in_digest = at, True, False
                    continue
                return at
            boundary = part.fields.parameters.get("boundary", "").rstrip()
            octets = boundary.encode("utf-8", "surrogateescape")
            # A boundary that is in use already belongs to the outer multipart.
            if 0 < len(octets) <= _MAX_BOUNDARY_OCTETS and octets not in self._level_by_boundary:
                part.boundary = octets
                self._level_by_boundary[octets] = len(self._open) - 1
            return at

    def _is_delimiter(self, start: int) -> bool:
        return self._mime.startswith(b"--", start) and self._delimiter(start) is not None

    def _close_to(self, level: int, end: int) -> Part:
        """Close the part at ``level`` and all inside it."""
        while True:
            part = self._open.pop()
            self._forget(part)
            closed = part.close(end)
            if len(self._open) == level:
                return closed
            self._open[-1].children.append(closed)

    def _forget(self, part: _Open) -> None:
        if part.boundary is not None:
            del self._level_by_boundary[part.boundary]
            part.boundary = None

    def _closed_box(self) -> Part:
        """The whole message as one box: too many parts to look into."""
        root = self._open[0]
        root.children.clear()
        root.delimiters.clear()
        root.is_closed = False
        return root.close(len(self._mime))
