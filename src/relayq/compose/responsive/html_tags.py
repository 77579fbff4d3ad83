"""Tags of an HTML text: where they stand and what they say (WHATWG HTML 13.2.5); nothing becomes a tree.

Enough for editing a few attributes in place and for reading the text between tags. No character is looked at more than
a few times, whatever the text is: a tag that never ends swallows all behind it, as it does in browsers.
"""

from __future__ import annotations

import html
import re
from html.entities import html5
from typing import NamedTuple

HIDDEN = "#hidden"
RAW = "#raw"

_VALUE = r"\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+|(?=>)"
_NAME = r"[^\t\n\f\r />][^\t\n\f\r />=]*+"
_ATTRIBUTE = rf"[\t\n\f\r /]*+{_NAME}(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:{_VALUE})|(?![\t\n\f\r ]*+=))"
_TOKEN = re.compile(
    rf"<(?:(?P<end>/?)(?P<name>[a-zA-Z][^\t\n\f\r />]*+)(?:{_ATTRIBUTE})*+[\t\n\f\r /]*+>"
    r"|(?P<cut>/?[a-zA-Z])"
    r"|!--(?:-?>|(?:[^-]++|-(?!-!?>))*+(?:--!?>)?)"
    r"|[!?/][^>]*+>?)"
)
_WRITTEN = re.compile(
    rf"[\t\n\f\r /]*+(?P<name>{_NAME})(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?P<value>\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >]*+))?+"
)
_RAW_TEXT = frozenset(
    ("style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes", "noscript", "plaintext")
)
_REFERENCE = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,8}|([a-zA-Z][a-zA-Z0-9]{0,40}));?(?P<next>=?)")


class Tag(NamedTuple):
    """A tag, or a stretch that is neither tag nor text.

    Attributes:
        name: In lower case; `HIDDEN` for comments and the like, `RAW` for content in which tags mean nothing.
        start: Offset of its first character.
        name_end: Offset behind the name.
        end: Offset behind its last character.
        is_end: It is an end tag.
    """

    name: str
    start: int
    name_end: int
    end: int
    is_end: bool = False


class Attribute(NamedTuple):
    """An attribute of a start tag.

    Attributes:
        value: Decoded, without blanks around it.
        name_end: Offset behind its name.
        end: Offset behind all of it.
    """

    value: str
    name_end: int
    end: int


def scan_tags(text: str, elements: frozenset[str] | None = None) -> list[Tag]:
    """Tags and hidden stretches in the order in which they stand.

    Args:
        text: HTML.
        elements: Only tags of these are wanted.
    """
    tags: list[Tag] = []
    append = tags.append
    at = 0
    while at >= 0:
        tokens = _TOKEN.finditer(text, at)
        at = -1
        for token in tokens:
            end_mark, name = token.group("end", "name")
            if name is None:
                start = token.start()
                if elements is None:
                    append(Tag(HIDDEN, start, start, len(text) if token["cut"] else token.end()))
                if token["cut"]:
                    return tags
                continue
            name = name.lower()
            if elements is None or name in elements:
                append(Tag(name, token.start(), token.end("name"), token.end(), end_mark == "/"))
            if name in _RAW_TEXT and not end_mark:
                at = _raw_text_end(text, name, token.end())
                if elements is None:
                    append(Tag(RAW, token.end(), token.end(), at))
                break
    return tags


def _raw_text_end(text: str, name: str, at: int) -> int:
    match = re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE).search(text, at) if name != "plaintext" else None
    return len(text) if match is None else match.start()


def find_attribute(text: str, tag: Tag, name: str) -> Attribute | None:
    """First attribute of that lower-case name, ``None`` without one."""
    at = tag.name_end
    while True:
        match = _WRITTEN.match(text, at, tag.end - 1)
        if match is None:
            return None
        if match["name"].lower() == name:
            written = match["value"] or ""
            bare = written[1:-1] if written[:1] in {'"', "'"} else written
            return Attribute(decode_references(bare).strip(), match.end("name"), match.end())
        at = match.end()


def decode_references(value: str) -> str:
    """Value of an attribute with its character references decoded.

    In an attribute a name without its semicolon is none if a letter, a digit or an equals sign follows, so that
    ``?a=1&copy=2`` stays what it is.
    """
    return _REFERENCE.sub(_decode_reference, value) if "&" in value else value


def _decode_reference(match: re.Match[str]) -> str:
    whole, name, follows = match[0], match[1], match["next"]
    reference = whole[: len(whole) - len(follows)]
    if name is not None and (reference[1:] not in html5 or (follows and reference[-1] != ";")):
        return whole
    return html.unescape(reference) + follows
