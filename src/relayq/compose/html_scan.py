"""Where the tags of an HTML document stand, found by the tokenisation rules of HTML (WHATWG HTML 13.2.5).

Only positions are found; no tree is built and nothing is changed, so a document can be edited at a few spots and stays
what it was everywhere else. Whether a tag becomes an element is for a tree builder to say.

Tags inside comments, doctypes and raw text (``<style>``, ``<script>``, ``<title>`` …) are none. Scripts count as
switched on, so ``<noscript>`` holds raw text, as for the engine that matches selectors.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple

_BLANK = r"[\t\n\f\r ]"
_ATTRIBUTE = (
    r"(?:=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++)"  # a name may begin with an equals sign, nowhere else hold one
    rf"{_BLANK}*+(?:=(?:{_BLANK}*+)(?:\"[^\"]*+\"|'[^']*+'|(?![\"'])[^\t\n\f\r >]*+)|(?!=))"
)
_TOKEN = re.compile(
    r"<(?:"
    rf"(?P<end>/?)(?P<name>[a-zA-Z][^\t\n\f\r />]*+)(?P<attributes>(?:[\t\n\f\r /]*+{_ATTRIBUTE})*+)[\t\n\f\r /]*+>"
    r"|(?P<cut>/?[a-zA-Z])"  # a tag that ends with the document is none, and swallows all behind it
    r"|!--(?:-?>|(?:[^-]++|-(?!-!?>))*+(?:--!?>)?)"
    r"|(?P<cdata>!\[CDATA\[)"
    r"|(?P<doctype>!(?i:doctype)[^>]*+>?)"
    r"|[!?/][^>]*+>?"
    r")"
)
_ATTRIBUTES = re.compile(
    r"[\t\n\f\r /]*+(?P<name>=[^\t\n\f\r />=]*+|[^\t\n\f\r />=]++)"
    rf"(?:{_BLANK}*+=(?:{_BLANK}*+)(?P<value>\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >]*+))?"
)
_RAW_TEXT = frozenset(("style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript"))
_RAW_TEXT_ENDS = {name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE) for name in _RAW_TEXT}
_SCRIPT_MARK = re.compile(r"<!--(?:-?>)?|-->|<(?P<end>/?)script(?=[\t\n\f\r />])", re.IGNORECASE)

# HTML elements that end foreign content (WHATWG HTML 13.2.6.5); <font> does so with some attributes only.
_BREAKOUT = frozenset(
    [
        "b",
        "big",
        "blockquote",
        "body",
        "br",
        "center",
        "code",
        "dd",
        "div",
        "dl",
        "dt",
        "em",
        "embed",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "hr",
        "i",
        "img",
        "li",
        "listing",
        "menu",
        "meta",
        "nobr",
        "ol",
        "p",
        "pre",
        "ruby",
        "s",
        "small",
        "span",
        "strong",
        "strike",
        "sub",
        "sup",
        "table",
        "tt",
        "u",
        "ul",
        "var",
    ]
)
_MAX_DIGITS = 8  # and a semicolon; no character has a longer number
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[a-zA-Z0-9]+;?)(?P<next>=?)")


HIDDEN = ""
RAW = "#raw"


class Tag(NamedTuple):
    """A start or end tag, or a stretch that is neither tag nor text.

    Attributes:
        name: In lower case; `HIDDEN` for a comment and what nobody reads, `RAW` for the content of a raw text element.
        start: Offset of its ``<``.
        name_end: Offset behind the name.
        end: Offset behind its ``>``.
        is_end: It is an end tag.
        is_foreign: It probably stands inside ``<svg>`` or ``<math>``.
    """

    name: str
    start: int
    name_end: int
    end: int
    is_end: bool = False
    is_foreign: bool = False


class Attribute(NamedTuple):
    """An attribute of a start tag.

    Attributes:
        name: In lower case.
        start: Offset of its name.
        end: Offset behind it.
        value: Decoded.
    """

    name: str
    start: int
    end: int
    value: str


def scan_tags(text: str) -> list[Tag]:
    """Tags of a document in the order in which they stand, and what hides between them; a doctype counts as text."""
    tags: list[Tag] = []
    append = tags.append
    search = _TOKEN.search
    foreign = 0
    match = search(text)
    while match is not None:
        name = match["name"]
        start, at = match.span()
        if name is not None:
            name = name.lower()
            is_end = match.end("end") > match.start("end")
            append(Tag(name, start, match.end("name"), at, is_end, foreign > 0))
            if name in _SWITCHING:
                if foreign or name in _FOREIGN:
                    foreign = _foreign_depth(foreign, name, text[at - 2] == "/", is_end)
                elif not is_end and name not in _BREAKOUT:
                    start, at = at, _raw_text_end(text, name, at)
                    append(Tag(RAW, start, start, at))
        elif match["doctype"] is None:
            if match["cut"]:
                at = len(text)
            elif match["cdata"]:
                at = text.find("]]>" if foreign else ">", at) + 1 or len(text)
            append(Tag(HIDDEN, start, start, at))
        match = search(text, at)
    return tags


_FOREIGN = frozenset(("svg", "math"))
_SWITCHING = _RAW_TEXT | _FOREIGN | _BREAKOUT | {"plaintext"}


def _foreign_depth(depth: int, name: str, is_closed: bool, is_end: bool) -> int:
    """Nesting of ``<svg>`` and ``<math>`` behind a tag; an HTML element ends it, as tree builders see it."""
    if name in _FOREIGN:
        if is_end:
            return max(depth - 1, 0)
        return depth if is_closed else depth + 1
    return 0 if name in _BREAKOUT and not is_end else depth


def _raw_text_end(text: str, name: str, at: int) -> int:
    """Where the content of a raw text element that begins at ``at`` ends: at its end tag, or with the document."""
    if name == "script":
        return _script_end(text, at)
    if name == "plaintext":
        return len(text)
    match = _RAW_TEXT_ENDS[name].search(text, at)
    return len(text) if match is None else match.start()


def _script_end(text: str, at: int) -> int:
    """The same for a script, in which ``<!-- <script>`` hides the next end tag (WHATWG HTML 13.2.5.17 to 31)."""
    is_escaped = is_double_escaped = False
    for mark in _SCRIPT_MARK.finditer(text, at):
        if mark["end"] is None:
            is_escaped = mark[0] == "<!--"
            is_double_escaped = is_double_escaped and is_escaped
        elif mark["end"] and not is_double_escaped:
            return mark.start()
        elif is_escaped:
            is_double_escaped = not mark["end"]
    return len(text)


def attributes_of(text: str, tag: Tag) -> Iterator[Attribute]:
    """Attributes of a start tag in order; of several with one name only the first counts."""
    at = tag.name_end
    while True:
        match = _ATTRIBUTES.match(text, at, tag.end - 1)
        if match is None:
            return
        value = match["value"] or ""
        if value[:1] in {'"', "'"}:
            value = value[1:-1]
        yield Attribute(match["name"].lower(), match.start("name"), match.end(), decode_references(value))
        at = match.end()


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
