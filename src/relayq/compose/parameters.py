"""Parameters of Content-Type and Content-Disposition: read leniently, written strictly (RFC 2045 section 5, RFC 2231).

Reading is bounded: a value is looked at up to a length, and holds no more parameters than anybody writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote_to_bytes

from relayq.compose.encodings import find_codec
from relayq.compose.errors import HeaderError
from relayq.compose.header_values import LINE_COLUMNS, check_value, fold_field
from relayq.compose.headers import field_value

_MAX_VALUE_OCTETS = 8192
_MAX_PARAMETERS = 100

# A quote that is never closed takes the rest, so that no octet is looked at twice.
_PARAMETER = re.compile(
    r"""
    [;\s=]*+ (?P<name>[^\s=;]++) \s*+
    (?: = \s*+ (?: "(?P<quoted>(?:[^"\\]|\\.)*+) (?:"[^;]*+|\\?\Z) | (?P<bare>[^;]*+) ) | [^;=]*+ )
    """,
    re.DOTALL | re.VERBOSE,
)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_COMMENT = re.compile(r"\s++\(.*", re.DOTALL)
_EXTENDED = re.compile(r"(?P<name>[^*]+)(?:\*(?P<section>[0-9]{1,3}))?(?P<is_encoded>\*)?")
_TOKEN = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+")
_QUOTED_PAIRS = str.maketrans({'"': r"\"", "\\": r"\\"})
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`{|}~"  # RFC 2231 section 7, beyond letters and digits
_CHARSET = re.compile(rb"(;[ \t\r\n]*+charset[ \t]*+=[ \t\r\n]*+)(?:\"[^\"]*+\"|[^;\s]*+)", re.IGNORECASE)
_ALWAYS_QUOTED = frozenset(("filename", "name", "boundary"))


def parse_parameters(value: bytes) -> tuple[str, dict[str, str]]:
    """Main value in lower case and its parameters, names in lower case, in order; the first of a name wins.

    Sections and charsets of RFC 2231 are put together and decoded. Octets that are not UTF-8 become lone surrogates.
    """
    text = value[:_MAX_VALUE_OCTETS].decode("utf-8", "surrogateescape")
    main, _, rest = text.partition(";")
    found: dict[str, str] = {}
    for match in _parameters(rest):
        name = match["name"].lower()
        if match["quoted"] is not None:
            found.setdefault(name, _QUOTED_PAIR.sub(r"\1", match["quoted"]))
        elif match["bare"] is not None:
            found.setdefault(name, _COMMENT.sub("", match["bare"]).strip())
    if any("*" in name for name in found):
        found = _join_sections(found)
    return _COMMENT.sub("", main).strip().lower(), found


def _parameters(text: str) -> Iterable[re.Match[str]]:
    at = 0
    for _ in range(_MAX_PARAMETERS):
        match = _PARAMETER.match(text, at)
        if match is None:
            return
        yield match
        at = match.end()


def _join_sections(found: Mapping[str, str]) -> dict[str, str]:
    """Parameters with ``name*``, ``name*0``, ``name*1*`` … joined to ``name``; these win over a plain ``name``."""
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    joined: dict[str, str] = {}
    for name, value in found.items():
        match = _EXTENDED.fullmatch(name)
        if match is None or "*" not in name:
            joined.setdefault(name, value)
        else:
            section = sections.setdefault(match["name"], {})
            section.setdefault(int(match["section"] or 0), (value, bool(match["is_encoded"])))
    for name, parts in sections.items():
        if 0 in parts:
            joined[name] = _decode_sections(parts)
    return joined


def _decode_sections(parts: Mapping[int, tuple[str, bool]]) -> str:
    first, is_encoded = parts[0]
    charset = "utf-8"
    if is_encoded and first.count("'") >= 2:
        charset, _, first = first.split("'", 2)
    octets = b""
    for number in range(len(parts)):
        if number not in parts:
            break
        value, is_encoded = parts[number] if number else (first, is_encoded)
        raw = value.encode("utf-8", "surrogateescape")
        octets += unquote_to_bytes(raw) if is_encoded else raw
    return octets.decode(find_codec(charset) or "utf-8", "replace")


def encode_parameter(name: str, value: str) -> list[str]:
    """A parameter as one or more pieces to be joined by ``; ``.

    ASCII is written as it is or as a quoted string. Anything else is written by RFC 2231, in sections where it is long,
    with a plain form for readers without it, in which every other character is an underscore.

    Raises:
        HeaderError: CR, LF or NUL in the value.
    """
    check_value(value)
    plain = "".join(character if " " <= character <= "~" else "_" for character in value)
    if name not in _ALWAYS_QUOTED and _TOKEN.fullmatch(plain):
        written = f"{name}={plain}"
    else:
        written = f'{name}="{plain.translate(_QUOTED_PAIRS)}"'
    if plain == value:
        return [written]
    return [written, *_extended(name, value)]


def _extended(name: str, value: str) -> list[str]:
    characters = [quote(character, safe=_ATTRIBUTE_CHARACTERS, errors="replace") for character in value]
    whole = f"{name}*=utf-8''{''.join(characters)}"
    room = LINE_COLUMNS - len(" ;")
    if len(whole) <= room:
        return [whole]
    pieces: list[str] = []
    piece = f"{name}*0*=utf-8''"
    for character in characters:
        if len(piece) + len(character) > room:
            pieces.append(piece)
            piece = f"{name}*{len(pieces)}*="
        piece += character
    return [*pieces, piece]


def encode_parameter_field(field: str, main: str, parameters: Iterable[tuple[str, str]]) -> bytes:
    """A field such as ``Content-Disposition: attachment; filename="…"``, folded between parameters, ending with CRLF.

    Raises:
        HeaderError: CR, LF or NUL in a value, a name that is no token, or a main value that is not printable ASCII.
    """
    if not (main.isascii() and main.isprintable()):
        raise HeaderError("not a media type or disposition")
    pieces = [main]
    for name, value in parameters:
        if not _TOKEN.fullmatch(name):
            raise HeaderError("not a parameter name")
        pieces += encode_parameter(name, value)
    # Blanks inside a quoted string are no place to fold: readers would have to undo it there, and some do not.
    folded = fold_field(field, "; ".join(piece.replace(" ", "\0") for piece in pieces))
    return folded.replace("\0", " ").encode("ascii")


def with_charset(field: bytes, media_type: str, charset: str) -> bytes:
    """A Content-Type field that names another charset; its other parameters stay as they stand.

    Args:
        field: The field with its line end, or nothing where the part has none.
        media_type: The type, to write a field that is missing or too odd to be edited.
        charset: Name of the charset.
    """
    _, colon, value = field.partition(b":")
    if colon and parse_parameters(field_value(field))[0] == media_type:
        edited, count = _CHARSET.subn(rb"\g<1>" + charset.encode("ascii"), value, count=1)
        if not count:
            edited = value.rstrip(b"; \t\r\n") + f"; charset={charset}\r\n".encode("ascii")
        edited_field = field[: len(field) - len(value)] + edited
        if parse_parameters(field_value(edited_field))[1].get("charset") == charset:
            return edited_field
    parameters = parse_parameters(field_value(field))[1] if field else {}
    kept = [(name, value) for name, value in parameters.items() if name != "charset" and _TOKEN.fullmatch(name)]
    return encode_parameter_field("Content-Type", media_type, [("charset", charset), *kept])
