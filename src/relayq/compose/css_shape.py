"""What of a document decides which selector matches which tag, as a smaller document and as one short key.

Documents made from one template differ in texts and addresses, but selectors match the same tags in all of them. So the
answer of the engine, the most expensive step, can be used again; and where there is none yet, the engine is given the
smaller document: half the work.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from relayq.compose.html_scan import END, OPEN, OTHER, RAW, REST, TEXT, WIDTH, Markup

_MAX_KNOWN = 8192
_MAX_KNOWN_CHARACTERS = 300
_MAX_ELEMENTS = 20_000
_BLANKS = " \t\n\r\f"
_ATTRIBUTE = re.compile(
    r"[\t\n\f\r /]*+(=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++)"
    r"((?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >]*+))?+)"
)
_LEADING = re.compile(r"(?:[ \t\n\f\r]|&#?[a-zA-Z0-9]++;?)*+")
# ``type`` decides where an <input> in a table goes, ``shadowrootmode`` what a <template> is.
_ALWAYS = frozenset(("class", "id", "type", "shadowrootmode"))
_DOCTYPE = re.compile("<!doctype", re.IGNORECASE)
_USUAL_BLANKS = frozenset(("\n", "\r\n", " ", "\n\n", "\r\n\r\n"))
_NO_BLANKS = frozenset[str]()
_LINE_ENDS = frozenset(("\n", "\r\n", "\r"))

NUMBER = "n"
"""Attribute that holds the number of a start tag for the engine; short, because it is in every one."""
# Selectors that look at them need the whole document: the engine reads them, or means something by them.
_NOT_REDUCIBLE = frozenset((NUMBER, "style", "data-css-inline"))


class Shape(NamedTuple):
    """What was left of a document.

    Attributes:
        key: Documents with one key have the same matches.
        pieces: Like `Markup.pieces`, with empty slots: a document in which selectors match the same tags as in the
            whole. ``None`` where the whole is needed.
    """

    key: bytes
    pieces: list[str | None] | None


class Shapes:
    """Documents as far as selectors that look at certain attributes can tell them apart."""

    def __init__(self, attributes: frozenset[str]) -> None:
        """``attributes`` are names in lower case; ``class`` and ``id`` count always."""
        self._attributes = attributes | _ALWAYS
        self._is_reducible = attributes.isdisjoint(_NOT_REDUCIBLE)
        self._known: dict[str, str] = {}

    def reduce(self, markup: Markup) -> Shape | None:
        """What counts of a document; ``None`` for one that is too large or too odd."""
        if markup.has_foreign or len(markup.starts) > _MAX_ELEMENTS:
            return None
        pieces = markup.pieces
        known = self._known
        shape: list[str | None] = [None] * len(pieces)
        text_class, usual_blanks = _text_class, _USUAL_BLANKS
        if markup.has_preformatted:
            text_class, usual_blanks = _preformatted_class, _NO_BLANKS
        shape[TEXT::WIDTH] = [
            text
            and (
                " " if text in usual_blanks else "x" if text[0] not in _BLANKS and "&" not in text else text_class(text)
            )
            for text in pieces[TEXT::WIDTH]
        ]
        shape[OPEN::WIDTH] = pieces[OPEN::WIDTH]
        shape[REST::WIDTH] = [rest and (known.get(rest) or self._reduce(rest)) for rest in pieces[REST::WIDTH]]
        for row, _ in markup.filled(RAW):
            shape[row * WIDTH + RAW] = "x"
        shape[END::WIDTH] = pieces[END::WIDTH]
        for row, other in markup.filled(OTHER):
            shape[row * WIDTH + OTHER] = replacement(other)
        text = "\0".join(filter(None, shape))
        octets = f"{len(markup.starts)}\0{text}".encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(octets, digest_size=16).digest()
        return Shape(key, shape if self._is_reducible else None)

    def _reduce(self, rest: str) -> str:
        """The attributes of a start tag that selectors look at."""
        found = _ATTRIBUTE.findall(rest, 0, len(rest) - 1)
        kept = [f" {name}{value}" for name, value in found if name.lower() in self._attributes]
        reduced = "".join(kept) + ">"
        if len(rest) < _MAX_KNOWN_CHARACTERS and len(self._known) < _MAX_KNOWN:
            self._known[rest] = reduced
        return reduced


def replacement(other: str) -> str:
    """What stands in a copy for markup that is neither tag nor text: an empty comment, or nothing for half a tag.

    A comment counts where it parts two texts: in a table the blank one behind it stays, all else is moved out of it.
    """
    if other[1] in "!?/":
        return other if _DOCTYPE.match(other) else "<!---->"
    return ""


def _text_class(text: str) -> str | None:
    """A text as far as it decides how the tree is built: blank or not."""
    if not text.strip(_BLANKS):
        return " "
    if "&" in text:  # a character reference may stand for a blank
        leading = _LEADING.match(text)
        assert leading is not None, "it may match nothing"
        if "&" in leading[0]:
            return text if leading.end() == len(text) else f"{leading[0]}x"
    # Blanks in front of a text may stay in an element that the text closes, such as <head>.
    return " x" if text[0] in _BLANKS else "x"


def _preformatted_class(text: str) -> str | None:
    """The same where the tree may be built without the line end behind a ``<pre>``, which may be all its content."""
    return "\n" if text in _LINE_ENDS else _text_class(text)
