"""The tags of an HTML document, found by the tokenisation rules of HTML (WHATWG HTML 13.2.5).

No tree is built and nothing is changed, so a document can be edited at a few spots and stays what it was everywhere
else. Whether a tag becomes an element is for a tree builder to say.

Tags inside comments, doctypes and raw text (``<style>``, ``<script>``, ``<title>`` …) are none. Scripts count as
switched on, so ``<noscript>`` holds raw text, as for the engine that matches selectors.

One call of a regular expression takes the whole document apart: a loop over its matches would take three times as long.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple


def words(text: str) -> frozenset[str]:
    """A set of names, written as they are read."""
    return frozenset(text.split())


TEXT, OPEN, SLOT, _SCRIPT, REST, RAW, END, OTHER = range(8)
"""Places in a row of `Markup.pieces`."""
WIDTH = 8

_BLANK = r"[\t\n\f\r ]"
_NAME = r"[a-zA-Z][^\t\n\f\r />]*+"
_ATTRIBUTE = (
    r"(?:=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++)"  # a name may begin with an equals sign, nowhere else hold one
    rf"{_BLANK}*+(?:={_BLANK}*+(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\f\r >]*+)|(?!=))"
)
# As nearly all attributes are written, which is found in two thirds of the time.
_USUAL_ATTRIBUTE = r" [^\t\n\f\r />=]++=\"[^\"]*+\""
_ANY_REST = rf"(?:[\t\n\f\r /]*+{_ATTRIBUTE})*+[\t\n\f\r /]*+>"
_REST = rf"(?:{_USUAL_ATTRIBUTE})*+(?:>|{_ANY_REST})"
_RAW_NAMES = "style|title|textarea|xmp|iframe|noembed|noframes|noscript|plaintext"
_FIRST_OF_RAW_NAMES = "[stxinp]"
_AFTER_NAME = r"(?=[\t\n\f\r />])"
_RAW = rf"(?:[^<]++|<(?!/\2{_AFTER_NAME}))*+"
# In a script, <!-- <script> hides the next end tag (WHATWG HTML 13.2.5.17 to 31).
_DOUBLE_ESCAPED = rf"<script{_AFTER_NAME}(?:[^<-]++|-(?!->)|<(?!/script{_AFTER_NAME}))*+(?:</script)?+"
_ESCAPED = rf"<!--(?!-?>)(?:[^<-]++|-(?!->)|{_DOUBLE_ESCAPED}|<(?!/?script{_AFTER_NAME}))*+"
_SCRIPT_TEXT = rf"(?:[^<]++|{_ESCAPED}|<(?!/script{_AFTER_NAME}|!--(?!-?>)))*+"
_OTHER_MARKUP = (
    r"<!--(?:-?>|(?:[^-]++|-(?!-!?>))*+(?:--!?>)?)"
    r"|<(?:[!?]|/(?![a-zA-Z]))[^>]*+>?"
    r"|</?[a-zA-Z].*+"  # a tag that ends with the document is none, and swallows all behind it
)
_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL
_TOKEN = re.compile(
    rf"(<(?:(?={_FIRST_OF_RAW_NAMES})(?:({_RAW_NAMES}){_AFTER_NAME}|(script){_AFTER_NAME}|{_NAME})|{_NAME}))"
    rf"({_REST})((?(2){_RAW})(?(3){_SCRIPT_TEXT}))"
    rf"|(</{_NAME}{_REST})|({_OTHER_MARKUP})",
    _FLAGS,
)
# In <svg> and <math> nothing is raw text, and there are sections of character data.
_NO_GROUP = "((?!))?"
_FOREIGN_TOKEN = re.compile(
    rf"(<{_NAME}){_NO_GROUP}{_NO_GROUP}({_REST})()|(</{_NAME}{_REST})|(<!\[CDATA\[.*?(?:\]\]>|\Z)|{_OTHER_MARKUP})",
    _FLAGS,
)
_END_NAME = re.compile(r"</([^\t\n\f\r />]+)")
_FOREIGN = frozenset(("svg", "math"))
BREAKOUT = words(
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta "
    "nobr ol p pre ruby s small span strong strike sub sup table tt u ul var"
)
"""HTML elements that end foreign content (WHATWG HTML 13.2.6.5); ``<font>`` does so with some attributes only."""
_ENDS_THAT_BREAK_OUT = frozenset(("p", "br"))

_WRITTEN_VALUE = rf"(?:{_BLANK}*+=(?:{_BLANK}*+)(?P<value>\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >]*+))?+"
_ATTRIBUTES = re.compile(rf"[\t\n\f\r /]*+(?P<name>=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++){_WRITTEN_VALUE}", _FLAGS)
_STYLE_ATTRIBUTE = re.compile(
    rf"(?:[\t\n\f\r /]*+(?!style(?:[\t\n\f\r />=]|$)){_ATTRIBUTE})*+[\t\n\f\r /]*+(?P<name>style){_WRITTEN_VALUE}",
    _FLAGS,
)
_MAX_KNOWN_CHARACTERS = 300
_MAX_KNOWN_STYLES = 2048
_MAX_DIGITS = 8  # and a semicolon; no character has a longer number
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#x[0-9a-f]+;?|[a-z0-9]+;?)(?P<next>=?)", _FLAGS)


class Attribute(NamedTuple):
    """An attribute of a start tag.

    Attributes:
        name: In lower case.
        value: Decoded.
    """

    name: str
    value: str


class Markup:
    """A document taken apart, without losing a character.

    Attributes:
        pieces: Rows of `WIDTH` pieces, and a last text. A row is a text and the token behind it: of a start tag `OPEN`
            (``<`` and name), `SLOT` (nothing, to be filled), `REST` (attributes to ``>``) and `RAW` (content if it is
            raw text); an end tag (`END`); or anything else, such as a comment (`OTHER`). Joined they are the document.
        starts: Rows that are start tags.
        text: The document as it was.
        has_foreign: There may be ``<svg>`` or ``<math>`` in it.
        has_preformatted: There may be ``<pre>`` or ``<listing>`` in it.
        has_odd_styles: There may be ``style`` attributes whose name is written in capitals.
    """

    __slots__ = ("has_foreign", "has_odd_styles", "has_preformatted", "pieces", "starts", "text")

    def __init__(self, text: str) -> None:
        lower = text.lower()
        self.has_foreign = "<svg" in lower or "<math" in lower
        self.has_preformatted = "<pre" in lower or "<listing" in lower
        self.has_odd_styles = text.count("style") != lower.count("style")
        pieces: list[str | None] = _split_with_foreign(text) if self.has_foreign else _TOKEN.split(text)
        pieces[SLOT::WIDTH] = pieces[_SCRIPT::WIDTH] = [None] * (len(pieces) // WIDTH)
        self.text = text
        self.pieces = pieces
        self.starts = list(itertools.compress(range(len(pieces) // WIDTH), pieces[OPEN::WIDTH]))

    def filled(self, place: int) -> list[tuple[int, str]]:
        """Rows that have something at a place, such as `RAW`, and what it is."""
        column = self.pieces[place::WIDTH]
        return [(row, column[row] or "") for row in itertools.compress(range(len(column)), column)]

    def join(self) -> str:
        """The document, with whatever was changed in the pieces."""
        return "".join(filter(None, self.pieces))


def end_name(end: str) -> str:
    """Name of an end tag in lower case."""
    found = _END_NAME.match(end)
    assert found is not None, "an end tag has a name"
    return found[1].lower()


def _split_with_foreign(text: str) -> list[str | None]:
    """Pieces of a document with ``<svg>`` or ``<math>`` in it; begun anew wherever one of them begins or ends."""
    pieces: list[str | None] = []
    depth = at = 0
    is_foreign: bool | None = None
    while is_foreign != (depth > 0):
        is_foreign = depth > 0
        for match in (_FOREIGN_TOKEN if is_foreign else _TOKEN).finditer(text, at):
            pieces += (text[at : match.start()], *match.groups())
            at = match.end()
            depth = _foreign_depth(depth, match)
            if is_foreign != (depth > 0):
                break
    pieces.append(text[at:])
    return pieces


def _foreign_depth(depth: int, match: re.Match[str]) -> int:
    """Nesting of ``<svg>`` and ``<math>`` behind a token; an HTML element ends it, as tree builders see it."""
    opening, end = match[OPEN], match[END]
    if opening:
        name = opening[1:].lower()
        if name in _FOREIGN:
            return depth if match[0].endswith("/>") else depth + 1
        return 0 if name in BREAKOUT else depth
    if not end or not depth:
        return depth
    name = end_name(end)
    if name in _ENDS_THAT_BREAK_OUT:
        return 0
    return depth - 1 if name in _FOREIGN else depth


def attributes_of(rest: str) -> Iterator[Attribute]:
    """Attributes of a start tag in order; of several with one name only the first counts.

    Args:
        rest: What stands behind its name.
    """
    at, end = 0, len(rest) - 1
    while (match := _ATTRIBUTES.match(rest, at, end)) is not None:
        yield Attribute(match["name"].lower(), _value(match["value"]))
        at = match.end()


def style_of(rest: str) -> tuple[str, int, int] | None:
    """Decoded ``style`` attribute of a start tag, the place behind its name in ``rest``, the place behind all of it."""
    if "tyle" not in rest and "style" not in rest.lower():
        return None
    return _known_style(rest) if len(rest) <= _MAX_KNOWN_CHARACTERS else _find_style(rest)


def _find_style(rest: str) -> tuple[str, int, int] | None:
    match = _STYLE_ATTRIBUTE.match(rest, 0, len(rest) - 1)
    if match is None:
        return None
    return _value(match["value"]), match.end("name"), match.end()


_known_style = functools.lru_cache(_MAX_KNOWN_STYLES)(_find_style)


def _value(written: str | None) -> str:
    if not written:
        return ""
    return decode_references(written[1:-1] if written[0] in "\"'" else written)


def decode_references(value: str) -> str:
    """Value of an attribute with its character references decoded (WHATWG HTML 13.2.5.73).

    A name without its semicolon counts only if neither a letter, a digit nor an equals sign follows.
    """
    return _REFERENCE.sub(_decode_reference, value) if "&" in value else value


def _decode_reference(match: re.Match[str]) -> str:
    whole, follows = match[0], match["next"]
    reference = whole[: len(whole) - len(follows)]
    if reference[1] == "#":
        # Python refuses to read numbers with thousands of digits.
        return ("\ufffd" if len(reference.lstrip("&#xX0")) > _MAX_DIGITS else html.unescape(reference)) + follows
    if reference[1:] not in html5 or (follows and reference[-1] != ";"):
        return whole
    return html.unescape(reference) + follows
