"""Text to header fields and back: folding, encoded words (RFC 2047), display names (spec responsive.md 4 and 5.3).

Whatever comes in, no CR, LF or NUL goes out other than the line ends written here: a value cannot add a header, end the
header or cut it off.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Iterator

import msgspec
import pybase64

from relayq.compose.encodings import decode_unlabelled, find_codec
from relayq.compose.errors import HeaderError
from relayq.model import InvalidAddressError, parse_address

LINE_COLUMNS = 78
"""RFC 5322 section 2.1.1: lines should not be longer."""
LINE_LIMIT = 998
"""RFC 5322 section 2.1.1: lines must not be longer."""

_WORD_START = "=?"
_WORD_COLUMNS = 75  # RFC 2047 section 2
_WORD_FRAME = len("=?utf-8?q??=")
_LONGEST_CHARACTER = 12  # four octets as =XX
_MAX_NAME_CHARACTERS = 255

_NAME = re.compile(r"[!-9;-~]+")
_PLAIN = re.compile(r"[\t -~]*")
_BREAKING = re.compile(r"[\r\n\0]")
_PIECE = re.compile(r"[ \t]+[^ \t]+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++(?: ++[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++)*+")
_ENCODED_WORD = re.compile(r"=\?([^?*\s]{1,60})(?:\*[^?\s]{0,60})?\?([bBqQ])\?([^?]*)\?=")
_BAD_HEX = re.compile(rb"=(?![0-9A-Fa-f]{2})")
# One mailbox of a list with the comma behind it; comments and groups do not match.
_MAILBOX = re.compile(r'[ \t]*+((?:"(?:[^"\\]|\\.)*+"|[^"<>,;:()\\])*+)(?:<([^<> \t]*+)>)?+[ \t]*+(,|$)')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_QUOTED_PAIRS = str.maketrans({'"': r"\"", "\\": r"\\"})

_ADDRESS_FIELD_NAMES = """
    from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc resent-bcc
    disposition-notification-to return-receipt-to errors-to mail-followup-to
"""
_ADDRESS_FIELDS = frozenset(_ADDRESS_FIELD_NAMES.split())
_PHRASE_OCTETS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")


def _q_table(literal: frozenset[int]) -> tuple[str, ...]:
    table = [chr(octet) if octet in literal else f"={octet:02X}" for octet in range(256)]
    table[ord(" ")] = "_"
    return tuple(table)


# In text any visible character may stand but three with a meaning; in a display name far fewer (RFC 2047 section 5).
_Q_TEXT = _q_table(frozenset(range(0x21, 0x7F)) - frozenset(b"=?_"))
_Q_PHRASE = _q_table(_PHRASE_OCTETS)


def is_field_name(name: str) -> bool:
    """RFC 5322 section 3.6.8, and short enough to leave room for a value."""
    return len(name) <= _MAX_NAME_CHARACTERS and _NAME.fullmatch(name) is not None


def header_value_text(value: object) -> str:
    """A JSON value as the text of a header: strings as they are, numbers and booleans in JSON spelling.

    Raises:
        HeaderError: Neither string, finite number nor boolean.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
        return msgspec.json.encode(value).decode("ascii")
    raise HeaderError("expected a string, a number or a boolean")


def encode_field(name: str, value: str) -> bytes:
    """One header field, folded and ending with CRLF.

    ASCII is folded at blanks to 78 columns; a longer word stays whole. Any other value, and one with a word that makes
    a line of more than 998 octets, is written completely as encoded words. Only in address fields the addresses stay
    outside of them (RFC 2047 section 5 rule 3), as far as the value can be taken apart.

    Raises:
        HeaderError: ``name`` is no field name, or ``value`` has CR, LF or NUL.
    """
    if not is_field_name(name):
        raise HeaderError("not a field name")
    check_value(value)
    column = len(name) + 2
    text: str | None = None
    if _PLAIN.fullmatch(value):
        if column + len(value) <= LINE_COLUMNS:
            return f"{name}: {value}\r\n".encode("ascii")
        text = value
    elif name.lower() in _ADDRESS_FIELDS:
        text = _encode_mailboxes(value, column)
    if text is not None:
        field = fold_field(name, text).encode()
        if max(map(len, field.split(b"\r\n"))) <= LINE_LIMIT:
            return field
    return fold_field(name, " ".join(encode_words(value, column=column))).encode("ascii")


def encode_rendered_field(name: str, value: str) -> bytes:
    """The same for a value with foreign text in it: what merely looks like an encoded word is none to the reader."""
    if _WORD_START not in value:
        return encode_field(name, value)
    return fold_field(name, " ".join(encode_words(value, column=len(name) + 2))).encode("ascii")


def check_value(value: str) -> None:
    """Raise `HeaderError` when ``value`` could break out of its field."""
    if _BREAKING.search(value):
        raise HeaderError("CR, LF or NUL in a value")


def fold_field(name: str, value: str) -> str:
    """``name: value`` with CRLF put in front of blanks where a line would exceed 78 columns; ends with CRLF.

    Unfolding gives ``value`` back, every blank of it. No line consists of blanks only, which some would take for the
    end of the header.
    """
    line = f"{name}:"
    lines: list[str] = []
    end = 0
    for match in _PIECE.finditer(" " + value):
        piece = match[0]
        end = match.end()
        is_first = not lines and len(line) == len(name) + 1
        if len(line) + len(piece) > LINE_COLUMNS and not (is_first and len(piece) > LINE_COLUMNS):
            lines.append(line)
            line = piece
        else:
            line += piece
    lines.append(line + (" " + value)[end:])
    return "\r\n".join(lines) + "\r\n"


def encode_words(text: str, *, column: int = 1, is_phrase: bool = False) -> list[str]:
    """Encoded words that stand for ``text``, each at most 75 characters, split only between characters.

    Charset ``utf-8``; encoding ``q`` if that is not longer, else ``b``. Lone surrogates become question marks.

    Args:
        text: Any text.
        column: Columns in front of the first word on its line; the first word is kept short enough to fit there, unless
            hardly anything would fit.
        is_phrase: Part of a display name: fewer characters may stand for themselves (RFC 2047 section 5 rule 3).
    """
    first = min(_WORD_COLUMNS, LINE_COLUMNS - column) - _WORD_FRAME
    if first < _LONGEST_CHARACTER:
        first = _WORD_COLUMNS - _WORD_FRAME
    characters = [character.encode("utf-8", "replace") for character in text]
    q_words = list(_q_words(characters, first, _Q_PHRASE if is_phrase else _Q_TEXT))
    b_words = list(_b_words(characters, first))
    return q_words if sum(map(len, q_words)) + len(q_words) <= sum(map(len, b_words)) + len(b_words) else b_words


def _q_words(characters: list[bytes], room: int, table: tuple[str, ...]) -> Iterator[str]:
    payload = ""
    for character in characters:
        piece = "".join([table[octet] for octet in character])
        if len(payload) + len(piece) > room:
            yield f"=?utf-8?q?{payload}?="
            payload, room = "", _WORD_COLUMNS - _WORD_FRAME
        payload += piece
    yield f"=?utf-8?q?{payload}?="


def _b_words(characters: list[bytes], room: int) -> Iterator[str]:
    payload = b""
    octets = room // 4 * 3
    for character in characters:
        if len(payload) + len(character) > octets:
            yield f"=?utf-8?b?{pybase64.b64encode(payload).decode('ascii')}?="
            payload, octets = b"", (_WORD_COLUMNS - _WORD_FRAME) // 4 * 3
        payload += character
    yield f"=?utf-8?b?{pybase64.b64encode(payload).decode('ascii')}?="


def encode_mailbox(name: str, address: str, *, column: int = 1) -> str:
    """``Name <address>`` on one line, or the address alone without a name (spec responsive.md 4).

    Args:
        name: Display name as text, neither quoted nor encoded.
        address: Bare address; a domain with non-ASCII letters is written as A-labels.
        column: Columns in front of it on its line.

    Raises:
        HeaderError: No address, or CR, LF or NUL in the name.
    """
    check_value(name)
    try:
        spec = parse_address(address).wire.decode()
    except InvalidAddressError as error:
        raise HeaderError(str(error)) from None
    return f"{encode_display_name(name, column=column)} <{spec}>" if name else spec


def encode_display_name(name: str, *, column: int = 1) -> str:
    """A display name as atoms and blanks, else as a quoted string, else as encoded words."""
    # What merely looks like an encoded word would be decoded by many readers, even in a quoted string, and some of them
    # look for addresses afterwards.
    if not _PLAIN.fullmatch(name) or _WORD_START in name:
        return " ".join(encode_words(name, column=column, is_phrase=True))
    if _ATOMS.fullmatch(name):
        return name
    return f'"{name.translate(_QUOTED_PAIRS)}"'


def _encode_mailboxes(value: str, column: int) -> str | None:
    """An address list with only its display names encoded; ``None`` when it cannot be taken apart."""
    mailboxes: list[str] = []
    at = 0
    while True:
        match = _MAILBOX.match(value, at)
        if match is None:
            return None
        name, address = (match[1], match[2]) if match[2] is not None else ("", match[1])
        try:
            mailboxes.append(encode_mailbox(_unquote(name), address.strip(), column=column))
        except HeaderError:
            return None
        if not match[3]:
            return ", ".join(mailboxes)
        at, column = match.end(), 1


def _unquote(phrase: str) -> str:
    """Text of a display name written as a mix of atoms and quoted strings; encoded words in it are decoded."""
    bare = _QUOTED.sub(lambda match: _QUOTED_PAIR.sub(r"\1", match[1]), phrase)
    return decode_words(bare).strip(" \t")


def decode_octets(value: bytes) -> str:
    """An unfolded header value as text: encoded words decoded, other octets read as UTF-8 or else windows-1252."""
    return decode_words(decode_unlabelled(value))


def decode_words(text: str) -> str:
    """Text with all encoded words decoded; blanks between two of them vanish.

    A word in a charset nobody knows, or that is broken, stays as it is. Neighbours of one charset are decoded together,
    because many mailers split in the middle of a character.
    """
    if "=?" not in text:
        return text
    parts: list[str] = []
    pending: list[bytes] = []
    codec, end = "ascii", 0
    for match in _ENCODED_WORD.finditer(text):
        decoded = _decode_word(match)
        if decoded is None:
            continue
        between = text[end : match.start()]
        is_joined = bool(end) and not between.strip(" \t")
        if decoded[0] != codec or not is_joined:
            parts += (b"".join(pending).decode(codec, "replace"), "" if is_joined else between)
            codec, pending = decoded[0], []
        pending.append(decoded[1])
        end = match.end()
    parts += (b"".join(pending).decode(codec, "replace"), text[end:])
    return "".join(parts)


def _decode_word(match: re.Match[str]) -> tuple[str, bytes] | None:
    """Codec and octets of an encoded word; ``None`` when it stays as it is."""
    codec = find_codec(match[1])
    if codec is None or not match[3].isascii():
        return None
    payload = match[3].encode("ascii")
    if match[2] in "qQ":
        if _BAD_HEX.search(payload):
            return None
        return codec, binascii.a2b_qp(payload, header=True)
    try:
        return codec, pybase64.b64decode(payload.rstrip(b"=") + b"=" * (-len(payload.rstrip(b"=")) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None
