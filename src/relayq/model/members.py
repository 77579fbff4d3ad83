"""A JSON object as raw slices: what is not changed leaves byte for byte as it came (spec messages.md 1).

Digits, escapes and inner white space survive because a value is never decoded here; only its syntax is checked.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping

import msgspec

MAX_NESTING = 128
"""Levels of a message, the object itself included (spec messages.md 1)."""

Members = dict[str, msgspec.Raw]
NULL = msgspec.Raw(b"null")

_slice = msgspec.json.Decoder(Members).decode
_slice_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

_PART_OCTETS = 1 << 18
_LINE_END = rb"\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_BRACKETS = re.compile(rb"[\[\]{}]")
_OPENING = b"[{"
_HALF_A_PAIR = "holds half a surrogate pair"
_MOST_DIGITS = 640
"""Python's own bound on what it makes of an integer's text without being told otherwise is not below this."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# An escaped backslash and a whole pair are consumed, so that what the group finds is half a pair.
_LONE_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u([dD][89a-fA-F][0-9a-fA-F]{2})"
)


class InvalidBodyError(ValueError):
    """A body that is no JSON object; the message says why and, where known, at which octet."""


def decode_members(body: bytes) -> Members:
    """Top-level members in order; a name given twice keeps its first place and its last value.

    Raises:
        InvalidBodyError: Not UTF-8, not strict JSON, no object, or nested deeper than 128 levels.
    """
    if body.startswith(_BYTE_ORDER_MARK):
        body = body[3:]
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidBodyError(f"not UTF-8 at octet {error.start}") from None
    members = slice_object(body)
    for raw in members.values():
        if memoryview(raw)[0] in _OPENING:
            _check_nesting(bytes(raw))
    return members


def slice_object(text: bytes | msgspec.Raw) -> Members:
    """Members of one JSON object that is known to be UTF-8.

    Raises:
        InvalidBodyError: Not strict JSON, no object, or nested deeper than can be followed.
    """
    try:
        return _slice(text)
    except RecursionError:
        raise InvalidBodyError(f"nested deeper than {MAX_NESTING} levels") from None
    except msgspec.DecodeError as error:
        if not _SURROGATE.search(text):
            raise InvalidBodyError(str(error)) from None
    return _slice_with_surrogates(bytes(text))


def _slice_with_surrogates(text: bytes) -> Members:
    """The same for objects with half a surrogate pair: legal JSON, which the decoder refuses.

    Each half is hidden behind a marker that a text cannot contain, since it depends on the whole of it.
    """
    marker, hidden = _hide_surrogates(text)
    try:
        members = _slice(hidden)
    except RecursionError:
        raise InvalidBodyError(f"nested deeper than {MAX_NESTING} levels") from None
    except msgspec.DecodeError as error:
        raise InvalidBodyError(str(error).partition(" (byte")[0]) from None  # its octets are not those of the body
    hidden_name = re.compile(f"{marker.decode('ascii')}(.{{4}}){marker.decode('ascii')}")
    return {
        hidden_name.sub(lambda half: chr(int(half[1], 16)), name): msgspec.Raw(_show_surrogates(marker, bytes(raw)))
        for name, raw in members.items()
    }


def _hide_surrogates(text: bytes) -> tuple[bytes, bytes]:
    """The marker, and the text with each half behind it."""
    marker = b"s" + hashlib.sha256(text).hexdigest().encode("ascii")
    return marker, _LONE_SURROGATE.sub(lambda half: marker + half[1] + marker if half[1] else half[0], text)


def _show_surrogates(marker: bytes, hidden: bytes) -> bytes:
    return re.sub(marker + rb"(.{4})" + marker, rb"\\u\1", hidden)


def without_lone_surrogates(text: bytes | msgspec.Raw) -> bytes:
    """The same JSON with U+FFFD for every half of a surrogate pair, for looking at it only."""
    return _LONE_SURROGATE.sub(lambda half: rb"\ufffd" if half[1] else half[0], text)


def _check_nesting(value: bytes) -> None:
    if value.count(b"{") + value.count(b"[") < MAX_NESTING:
        return
    depth = 1
    for match in _BRACKETS.finditer(_STRINGS.sub(b"", value)):
        depth += 1 if match[0] in _OPENING else -1
        if depth > MAX_NESTING:
            raise InvalidBodyError(f"nested deeper than {MAX_NESTING} levels")


def slice_array(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Entries of a slice that is a JSON array.

    Raises:
        ValueError: It is no array.
    """
    try:
        return _slice_array(raw)
    except msgspec.ValidationError as error:
        raise _unusable(error, "an array") from None
    except msgspec.DecodeError:
        marker, hidden = _hide_surrogates(bytes(raw))
    return [msgspec.Raw(_show_surrogates(marker, bytes(entry))) for entry in _slice_array(hidden)]


def decode_text(raw: msgspec.Raw) -> str:
    """A slice that is a JSON string.

    Raises:
        ValueError: It is no string, or holds half a surrogate pair.
    """
    try:
        return _decode_text(raw)
    except msgspec.DecodeError as error:
        raise _unusable(error, "a string") from None


def decode_octets(raw: msgspec.Raw) -> bytes:
    """A slice that is a JSON string, in UTF-8.

    A large one is decoded in parts: as one string it would take four octets for each of its characters as soon as there
    is a single one beyond U+FFFF.

    Raises:
        ValueError: It is no string, or holds half a surrogate pair.
    """
    if len(memoryview(raw)) <= _PART_OCTETS:
        return decode_text(raw).encode()
    octets = io.BytesIO()
    for part in decoded_parts(raw):
        octets.write(part)
    return octets.getvalue()


def decoded_parts(raw: msgspec.Raw) -> Iterator[bytes]:
    """What `decode_octets` returns, part by part.

    Raises:
        ValueError: It is no string, or holds half a surrogate pair.
    """
    try:
        for part in _parts(memoryview(raw)):
            yield _decode_text(part).encode()
    except msgspec.DecodeError:
        decode_text(raw)  # tells what is wrong with the whole
        raise


def _parts(string: memoryview) -> Iterator[bytes]:
    """JSON strings that make up a large one: each but the last one ends with an escaped line end."""
    at, end = 1, len(string) - 1
    while end - at > _PART_OCTETS:
        part = bytes(string[at : at + _PART_OCTETS])
        cut = part.rfind(_LINE_END)
        if cut < 0 or _backslashes_before(part, cut) % 2:
            break
        cut += len(_LINE_END)
        yield b'"%b"' % part[:cut]
        at += cut
    yield b'"%b' % bytes(string[at:])


def _backslashes_before(octets: bytes, at: int) -> int:
    return at - len(octets[:at].rstrip(b"\\"))


def decode_value(raw: msgspec.Raw) -> object:
    """A slice as a plain JSON value; a number too wide for the decoder becomes the nearest float, maybe infinite.

    Raises:
        ValueError: It holds half a surrogate pair.
    """
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        if any(half[1] for half in _LONE_SURROGATE.finditer(raw)):
            raise ValueError(_HALF_A_PAIR) from None
    # Syntax and nesting were checked when the object was sliced, so only a number can be what the decoder refused.
    return json.loads(bytes(raw).decode("utf-8"), parse_int=_parse_integer)


def _parse_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def decode_some(raw: msgspec.Raw, names: Iterable[str]) -> dict[str, object]:
    """Members of those names of a slice that is an object, decoded; nothing in the others matters.

    Raises:
        ValueError: It is no object, or one of them holds half a surrogate pair.
    """
    given = slice_object(raw)
    return {name: decode_value(given[name]) for name in names if name in given}


def _unusable(error: msgspec.DecodeError, expected: str) -> ValueError:
    """Syntax was checked when the object was sliced, so beside a wrong type only one thing can be wrong."""
    if isinstance(error, msgspec.ValidationError):
        return ValueError(f"expected {expected}")
    return ValueError(_HALF_A_PAIR)


def encode_members(
    members: Mapping[str, msgspec.Raw], changes: Mapping[str, bytes] | None = None, drop: Container[str] = ()
) -> bytes:
    """The object again: untouched values byte for byte, changed ones in place, new ones at the end in given order.

    Args:
        members: As decoded.
        changes: Name → raw JSON value.
        drop: Names to leave out.
    """
    pending = dict(changes) if changes else {}
    parts: list[bytes | msgspec.Raw] = []
    for name, raw in members.items():
        if name in drop:
            continue
        value = pending.pop(name, raw) if pending else raw
        parts += (b",", _NAMES.get(name) or encode_name(name), value)
    for name, value in pending.items():
        parts += (b",", encode_name(name), value)
    if not parts:
        return b"{}"
    parts[0] = b"{"
    parts.append(b"}")
    return b"".join(parts)


def change_object(raw: msgspec.Raw | None, changes: Mapping[str, bytes]) -> bytes:
    """Raw value of a member that is an object, with changes as for `encode_members`; others of it stay byte for byte.

    What is absent, null or an empty array counts as an empty object.
    """
    try:
        given = {} if raw is None else decode_members(bytes(raw))
    except InvalidBodyError:
        given = {}
    return encode_members(given, changes)


_NAMES: dict[str, bytes] = {}
_NAMES_LIMIT = 4096
_LONGEST_CACHED_NAME = 256


def encode_name(name: str) -> bytes:
    """Name of a member with its colon."""
    encoded = _NAMES.get(name)
    if encoded is None:
        try:
            encoded = _encode(name) + b":"
        except UnicodeEncodeError:
            encoded = json.dumps(name).encode("ascii") + b":"
        if len(_NAMES) < _NAMES_LIMIT and len(encoded) <= _LONGEST_CACHED_NAME:
            _NAMES[name] = encoded
    return encoded
