"""Declarations of CSS, from a rule or a ``style`` attribute (spec html-css-dkim.md 2.3 and 2.4)."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from relayq.compose.css_tokens import CssText, Node, Value, split_at, strip_blanks

_MAX_CACHED_STYLES = 4096
_MAX_CACHED_CHARACTERS = 2000

_NAME = re.compile(r"-?[a-z_][a-z0-9_-]*")
_VAR = re.compile(r"(?<![\w-])var\(", re.IGNORECASE | re.ASCII)

# What nearly every style attribute consists of; anything with a deeper syntax goes through the parser.
_PLAIN_VALUE = r"(?:[a-zA-Z0-9#.%,\t\n +-]|/(?!\*)|'[a-zA-Z0-9 ._-]*+'|(?:rgb|hsl)a?\([0-9.,% ]*+\))++"
_PLAIN_DECLARATION = rf"[\t\n ]*+([a-zA-Z][a-zA-Z-]*+)[\t\n ]*+:({_PLAIN_VALUE})(![\t\n ]*+important[\t\n ]*+)?+"
_PLAIN = re.compile(_PLAIN_DECLARATION, re.IGNORECASE | re.ASCII)
_PLAIN_STYLE = re.compile(rf"(?:{_PLAIN_DECLARATION};[\t\n ]*+)*+(?:{_PLAIN_DECLARATION})?+", re.IGNORECASE | re.ASCII)

_PIECE = re.compile(
    r"\\(?:\r\n|.)|(?P<blank>(?:\s|/\*.*?(?:\*/|\Z))++)|(?P<double>\"(?:[^\"\\]|\\(?:\r\n|.))*+\"?)|'(?:[^'\\]|\\(?:\r\n|.))*+'?"
    r"|url\(\s*+(?![\"'\s])(?:[^)\\]|\\.)*+\)?|[\w-]++|[^\s\\\"'\w/-]++|.",
    re.DOTALL | re.IGNORECASE | re.ASCII | re.ASCII,
)
_STRING_PIECE = re.compile(r"\\(?:\r\n|.)|'", re.DOTALL)


class Declaration(NamedTuple):
    """One declaration.

    Attributes:
        name: In lower case, except for a custom property.
        value: White space collapsed, comments left out, strings in single quotes.
        is_important: It has ``!important``.
    """

    name: str
    value: str
    is_important: bool


class PlacedDeclaration(NamedTuple):
    """A declaration and its place.

    Attributes:
        declaration: The declaration.
        start: Offset of its name.
        value_end: Offset behind its value, where ``!important`` may be put.
        end: Offset behind all of it.
        is_inlinable: It means the same in a ``style`` attribute: no custom property, no ``var()``.
    """

    declaration: Declaration
    start: int
    value_end: int
    end: int
    is_inlinable: bool


def parse_style(style: str) -> tuple[Declaration, ...]:
    """Declarations of a ``style`` attribute in order; what is broken is left out."""
    return _parse_style(style) if len(style) > _MAX_CACHED_CHARACTERS else _cached_style(style)


def _parse_style(style: str) -> tuple[Declaration, ...]:
    if _PLAIN_STYLE.fullmatch(style):
        return tuple(
            Declaration(name.lower(), " ".join(value.split()), bool(important))
            for name, value, important in _PLAIN.findall(style)
            if value.strip()
        )
    css = CssText(style)
    found = parse_declarations(css, css.values)
    if not css.is_closed and found and found[-1].end == len(style):
        found.pop()  # whatever is written behind it would become part of it
    return tuple(placed.declaration for placed in found)


_cached_style = functools.lru_cache(_MAX_CACHED_STYLES)(_parse_style)


def parse_declarations(css: CssText, values: Sequence[Value]) -> list[PlacedDeclaration]:
    """Declarations among the values of a block; what is broken is left out."""
    found = (_parse_declaration(css, strip_blanks(part)) for part in split_at(values, ";"))
    return [declaration for declaration in found if declaration is not None]


def _parse_declaration(css: CssText, values: Sequence[Value]) -> PlacedDeclaration | None:
    if not values or values[0].node.type != "ident":
        return None
    colon = next((at for at in range(1, len(values)) if not values[at].is_blank), 0)
    if not colon or not values[colon].is_literal(":"):
        return None
    value = strip_blanks(values[colon + 1 :])
    whole_end = values[-1].end
    value, is_important = _without_important(value)
    if not value or has_error(value):
        return None
    name = values[0].node.value
    if not name.startswith("--"):
        name = name.lower()
        if any(part.node.type == "{} block" or part.is_literal("!") for part in value):
            return None
    text = css.text[value[0].start : value[-1].end]
    return PlacedDeclaration(
        Declaration(name, clean_value(text), is_important),
        values[0].start,
        value[-1].end,
        whole_end,
        _NAME.fullmatch(name) is not None and not _VAR.search(text),
    )


def _without_important(values: Sequence[Value]) -> tuple[Sequence[Value], bool]:
    if values and values[-1].node.type == "ident" and values[-1].node.lower_value == "important":
        before = strip_blanks(values[:-1])
        if before and before[-1].is_literal("!"):
            return strip_blanks(before[:-1]), True
    return values, False


def has_error(values: Sequence[Value]) -> bool:
    """A bad string, a bad address or a closing bracket of nothing is among the values, at any depth."""
    waiting: list[Node] = [value.node for value in values]
    while waiting:
        node = waiting.pop()
        if node.type == "error":
            return True
        waiting += getattr(node, "content", None) or getattr(node, "arguments", None) or ()
    return False


def clean_value(text: str) -> str:
    """A value on one line: white space collapsed, comments left out, double-quoted strings in single quotes."""
    if not any(mark in text for mark in '"\\/\t\n\r\f') and "  " not in text:
        return text.strip(" ")
    return _PIECE.sub(_clean_piece, text).strip(" ")


def _clean_piece(match: re.Match[str]) -> str:
    if match["blank"]:
        return " "
    piece = match[0]
    if match["double"]:
        inner = piece[1:-1] if len(piece) > 1 and piece.endswith('"') else piece[1:]
        return f"'{_STRING_PIECE.sub(_requote, inner)}'"
    return piece


def _requote(match: re.Match[str]) -> str:
    """A quote inside a string: the one that now ends it is escaped, the other no longer needs to be."""
    return {"'": r"\'", r"\"": '"'}.get(match[0], match[0])
