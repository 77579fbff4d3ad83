"""Headers of a message as octets: find, read, edit; what is not touched stays as it is, octet by octet.

Nothing here parses a message as a whole. A header block is a run of fields from its start to the first line that is
neither a field nor the continuation of one. That is the empty line, or, where a message has none, the first line of its
body: the mail servers further on draw the line at the same place and put the empty line in.

Content is expected with CRLF line ends (``relayq.smtp.normalise_line_ends``). A bare LF is understood as well; a bare
CR is an ordinary octet here although it becomes a line end on the wire, so callers normalise first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from relayq.compose.errors import HeaderError
from relayq.compose.header_values import encode_field, header_value_text, is_field_name
from relayq.model.members import decode_some, decode_value

# Possessive: a hostile line without a colon must not be looked at twice. Two hyphens in front make a delimiter line,
# even where a boundary with a colon makes it look like a field; no field is named so.
_FIELD_START = re.compile(rb"(?!--)[!-9;-~]++[ \t]*+:")
_BLOCK_END = re.compile(rb"\n(?![ \t]|(?!--)[!-9;-~]++[ \t]*+:)")
_FIELD = re.compile(rb"[^\n]++(?:\n[ \t][^\n]*+)*+\n?")
_LINE_END = re.compile(rb"\r?\n")
_MAILBOX_LINES = (b"From ", b">From ")
MAX_SIGNED_OCTETS = 256 * 1024
"""Of a header that is signed or searched for an ARC chain, in Python: 20 MB of it took 3 s. Servers take much less."""
_SHOWN_CHARACTERS = 60
"""Of a name in an error."""
_EDITS = ("remove", "replace", "update", "prepend", "append", "add")
_SHORT_OCTETS = 4096
_MOST_KNOWN = 256


class HeaderSpan(NamedTuple):
    """Where the header block of a message or part lies.

    Attributes:
        start: First octet of the first field.
        end: Behind the last line of the last field; equal to ``start`` when there is no field.
        body_start: Behind the empty line; equal to ``end`` when the empty line is missing.
    """

    start: int
    end: int
    body_start: int

    @property
    def has_separator(self) -> bool:
        """An empty line ends the block."""
        return self.body_start > self.end


class HeaderEdits(msgspec.Struct, frozen=True, kw_only=True):
    """Edits of ``headers`` in the outer JSON, ready to be applied: names in lower case, fields encoded and folded.

    Attributes:
        remove: Names whose fields go.
        replace: Name → fields; the first occurrence is overwritten, further ones go, and none means appended.
        update: The same, but nothing happens where there is none.
        prepend: Fields put in front.
        append: Fields put behind the last one.
    """

    remove: frozenset[bytes] = frozenset()
    replace: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    update: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    prepend: bytes = b""
    append: bytes = b""


def find_header(mime: bytes, start: int = 0, end: int | None = None) -> HeaderSpan:
    """Header block that begins at ``start``; nothing at or behind ``end`` is looked at.

    An mbox line (``From somebody date``) in front of the fields belongs to neither header nor body.
    """
    if end is None:
        end = len(mime)
    if _FIELD_START.match(mime, start, end) is None:
        fields = _behind_mailbox_line(mime, start, end)
        if fields is None:
            return HeaderSpan(start, start, _behind_line_end(mime, start, end))
        start = fields
    match = _BLOCK_END.search(mime, start, end)
    block_end = end if match is None else match.start() + 1
    return HeaderSpan(start, block_end, _behind_line_end(mime, block_end, end))


def has_huge_header(mime: bytes) -> bool:
    """The header has more than `MAX_SIGNED_OCTETS`; no more of it is looked at."""
    if len(mime) <= MAX_SIGNED_OCTETS:
        return False
    start, end, _ = find_header(mime, end=MAX_SIGNED_OCTETS + 1)
    if start < end <= MAX_SIGNED_OCTETS:
        # Or it only seems to end there, since the name of the next field was cut off.
        return _BLOCK_END.match(mime, end - 1) is None
    return end > MAX_SIGNED_OCTETS or find_header(mime).end > MAX_SIGNED_OCTETS


def _behind_mailbox_line(mime: bytes, start: int, end: int) -> int | None:
    if not mime.startswith(_MAILBOX_LINES, start):
        return None
    fields = mime.find(b"\n", start, end) + 1
    return fields if fields and _FIELD_START.match(mime, fields, end) else None


def _behind_line_end(mime: bytes, at: int, end: int) -> int:
    match = _LINE_END.match(mime, at, end)
    return at if match is None else match.end()


def split_fields(block: bytes) -> list[bytes]:
    """Fields of a header block with their folds and line ends; joined they are the block again."""
    return _FIELD.findall(block)


def field_name(field: bytes) -> bytes:
    """Name of a field in lower case."""
    return field[: field.find(b":")].rstrip(b" \t").lower()


def field_value(field: bytes) -> bytes:
    """Value of a field, unfolded, without the blanks around it."""
    value = field[field.find(b":") + 1 :]
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t")


def find_fields(block: bytes, name: bytes) -> list[bytes]:
    """Fields of that lower-case name in a header block, first one first, as they stand."""
    return [match[0] for match in _matches(block, name) if field_name(match[0]) == name]


def find_content_fields(block: bytes) -> list[bytes]:
    """Fields whose names begin with ``Content-``, first one first, as they stand."""
    return [match[0] for match in _matches(block, b"content-")]


def _matches(block: bytes, prefix: bytes) -> Iterator[re.Match[bytes]]:
    """Fields whose names begin with ``prefix``; a long header is not taken apart for the few that are looked for."""
    lower = b"\n" + block.lower()
    needle = b"\n" + prefix
    at = lower.find(needle)
    while at >= 0:
        match = _FIELD.match(block, at)
        assert match is not None, "a name stands there"
        yield match
        at = lower.find(needle, at + 1)


def replace_fields(block: bytes, changes: Mapping[bytes, bytes | None]) -> bytes:
    """Header block with some fields changed: the first of a name is overwritten in place, further ones of it go.

    Args:
        block: Header block.
        changes: Lower-case name → complete field with its line end, appended where there is none of that name;
            ``None`` removes.
    """
    fields = _named(split_fields(block))
    fields = [pair for pair in fields if changes.get(pair[0], b"") is not None]
    _replace(fields, {name: field for name, field in changes.items() if field is not None}, append=True)
    return _join(fields)


def edit_headers(mime: bytes, edits: HeaderEdits) -> bytes:
    """Message with its top-level header edited: remove, replace, update, prepend, append, in this order.

    A message without a header block gets one, with the empty line that ends it (spec html-css-dkim.md 3).
    """
    span = find_header(mime)
    fields = _named(split_fields(mime[span.start : span.end]))
    if edits.remove:
        fields = [pair for pair in fields if pair[0] not in edits.remove]
    if edits.replace:
        _replace(fields, edits.replace, append=True)
    if edits.update:
        _replace(fields, edits.update, append=False)
    block = edits.prepend + _join([*fields, (b"", edits.append)] if edits.append else fields)
    is_new = span.body_start == span.start
    return mime[: span.start] + block + (b"\r\n" if is_new and block else b"") + mime[span.end :]


def _named(fields: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(field_name(field), field) for field in fields]


def _replace(fields: list[tuple[bytes, bytes]], new: Mapping[bytes, bytes], *, append: bool) -> None:
    """Overwrite the first field of each name in ``new`` and drop its further ones, in one pass over ``fields``."""
    seen: set[bytes] = set()
    kept: list[tuple[bytes, bytes]] = []
    for name, field in fields:
        if name not in new:
            kept.append((name, field))
        elif name not in seen:
            seen.add(name)
            kept.append((name, new[name]))
    if append:
        kept += [(name, field) for name, field in new.items() if name not in seen]
    fields[:] = kept


def _join(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Fields as one block; only the very last line of a message can lack its line end."""
    return b"".join(
        [field if field.endswith(b"\n") or not field else field + b"\r\n" for _, field in fields[:-1]]
        + [field for _, field in fields[-1:]]
    )


def read_header_edits(raw: msgspec.Raw) -> HeaderEdits:
    """Edits from the raw ``headers`` member of the outer JSON; members of it that nobody knows may hold anything.

    Raises:
        HeaderError: It is not usable.
    """
    octets = bytes(raw)
    return _read_short(octets) if len(octets) <= _SHORT_OCTETS else _read(octets)


def _read(octets: bytes) -> HeaderEdits:
    raw = msgspec.Raw(octets)
    try:
        return parse_header_edits(decode_some(raw, _EDITS) if octets[:1] == b"{" else decode_value(raw))
    except HeaderError:
        raise
    except ValueError as error:
        raise HeaderError(f"headers: {error}") from None


_read_short = functools.lru_cache(maxsize=_MOST_KNOWN)(_read)
"""Asked for twice, at pick-up and when the message is composed, and often the same for all messages of a mailing."""


def parse_header_edits(value: object) -> HeaderEdits:
    """Edits from the decoded ``headers`` member of the outer JSON (spec html-css-dkim.md 3, messages.md 8).

    ``None`` and an empty array count as an empty object; unknown members are ignored.

    Raises:
        HeaderError: A wrong type, a name that is no field name, or CR, LF or NUL in a value.
    """
    if value is None or value == []:
        return HeaderEdits()
    if not isinstance(value, dict):
        raise HeaderError("headers: expected an object")
    given = {name: member for name, member in value.items() if member is not None}
    return HeaderEdits(
        remove=_names_to_remove(given.get("remove", ())),
        replace={name.lower().encode(): field for name, field in _encoded(given, "replace")},
        update={name.lower().encode(): field for name, field in _encoded(given, "update")},
        prepend=b"".join(field for _, field in _encoded(given, "prepend")),
        append=b"".join(field for member in ("append", "add") for _, field in _encoded(given, member)),
    )


def _names_to_remove(value: object) -> frozenset[bytes]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        raise HeaderError("headers.remove: expected a name or an array of names")
    for name in names:
        if not isinstance(name, str) or not is_field_name(name):
            raise HeaderError("headers.remove: not a field name")
    return frozenset(name.lower().encode() for name in names)


def _encoded(given: Mapping[str, object], member: str) -> Iterable[tuple[str, bytes]]:
    """Name and encoded fields of every entry of one member, in JSON order."""
    entries = given.get(member, {})
    if entries == []:
        return
    if not isinstance(entries, dict):
        raise HeaderError(f"headers.{member}: expected an object")
    for name, value in entries.items():
        values = value if isinstance(value, list) else [value]
        try:
            yield name, b"".join(encode_field(name, header_value_text(one)) for one in values)
        except HeaderError as error:
            shown = ascii(name[:_SHOWN_CHARACTERS])[1:-1]
            raise HeaderError(f"headers.{member}.{shown}: {error}") from None
