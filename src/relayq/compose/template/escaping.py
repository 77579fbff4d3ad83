"""Texts made safe for the places they are put into (spec templates.md 6), and the way back."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from urllib.parse import quote_plus

import pybase64

Escape = Callable[[str], str]

_BLANKS = str.maketrans("", "", " \t\n\r\v\f")
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SURROGATE_BASE = 0x10000
_JSON_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_JSON_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})(?:\\u([Dd][C-Fc-f][0-9A-Fa-f]{2}))?|(["\\/bfnrt]))|(\\)')


def octets(text: str) -> bytes:
    """UTF-8 of a text; lone surrogates, which broken octets of a part turn into, are no obstacle."""
    return text.encode("utf-8", "surrogatepass")


def escape_html(text: str) -> str:
    """For text and attribute values in HTML."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("'", "&#39;")


def escape_url(text: str) -> str:
    """For values in the query of a URL: letters, digits, ``_.-`` stay, a space is a plus."""
    return quote_plus(octets(text)).replace("~", "%7E")


def unescape_url(text: str) -> str:
    """Undoes `escape_url`; a percent sign without two digits stays, octets that are no UTF-8 become U+FFFD."""
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    # As quoted-printable it is decoded without making an object of every octet.
    encoded = _BROKEN_PERCENT.sub("=25", text.replace("=", "=3D")).replace("%", "=")
    return binascii.a2b_qp(octets(encoded)).decode("utf-8", "replace")


def escape_base64(text: str) -> str:
    """Base64 of the UTF-8 octets in one line."""
    return pybase64.b64encode(octets(text)).decode("ascii")


def unescape_base64(text: str) -> str | None:
    """Text that base64 stands for, ``None`` when it is none; octets that are no UTF-8 become U+FFFD."""
    compact = text.translate(_BLANKS)
    if not compact.isascii():
        return None
    try:
        decoded = pybase64.b64decode(compact, validate=True)
    except ValueError:
        return None
    return decoded.decode("utf-8", "replace")


def escape_json(text: str) -> str:
    """For the inside of a JSON string; quotes around it are not added."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def unescape_json(text: str) -> str:
    """Undoes the escapes of a JSON string; the first invalid one ends it."""
    if "\\" not in text:
        return text
    pieces: list[str] = []
    at = 0
    for match in _JSON_ESCAPE.finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        high, low, simple, broken = match.groups()
        if broken:
            return "".join(pieces)
        pieces.append(_JSON_ESCAPES[simple] if simple else _code_unit(high, low))
    pieces.append(text[at:])
    return "".join(pieces)


def _code_unit(high: str, low: str | None) -> str:
    first = int(high, 16)
    if low is not None and 0xD800 <= first < 0xDC00:
        return chr(_SURROGATE_BASE + ((first - 0xD800) << 10) + int(low, 16) - 0xDC00)
    character = "\ufffd" if 0xD800 <= first < 0xE000 else chr(first)
    return character if low is None else character + "\ufffd"


ESCAPERS: dict[str, Escape] = {
    "html": escape_html,
    "url": escape_url,
    "base64": escape_base64,
    "json": escape_json,
}
"""By the names templates use; any other name escapes nothing."""
