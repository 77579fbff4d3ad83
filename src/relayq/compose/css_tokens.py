"""Component values of CSS with the places they come from (CSS Syntax Level 3).

tinycss2 knows where each value begins, as line and column, but not where it ends. Since every character belongs to some
value, a value ends where the next one of its list begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import tinycss2

_LINE_END = re.compile(r"\r\n|[\r\n\f]")
_LONG_NUMBER = re.compile(r"[0-9]{1000,}")
_SENTINEL = "\ue000end"

Node = Any
"""A node of tinycss2, which has no types: ``type``, ``value``, ``content``, ``arguments`` as its documentation says."""


class Value(NamedTuple):
    """A component value and its place in the text.

    Attributes:
        node: The value.
        start: Offset of its first character.
        end: Offset behind its last one.
    """

    node: Node
    start: int
    end: int

    @property
    def is_blank(self) -> bool:
        """White space or a comment."""
        kind: str = self.node.type
        return kind in {"whitespace", "comment"}

    def is_literal(self, text: str) -> bool:
        """A delimiter such as ``:``."""
        return bool(self.node.type == "literal" and self.node.value == text)


class CssText:
    """A text taken apart into component values.

    Attributes:
        text: The text.
        values: Its values, those inside blocks left out.
        is_closed: No block, function, string or comment is open where it ends.
    """

    __slots__ = ("_line_starts", "is_closed", "text", "values")

    def __init__(self, text: str) -> None:
        self.text = text
        self._line_starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
        # Python refuses to read integers of thousands of digits; nobody needs the value of such a number here.
        readable = _LONG_NUMBER.sub(lambda number: f"{number[0][0]}.{number[0][2:]}", text)
        nodes = tinycss2.parse_component_value_list(f"{readable};{_SENTINEL}")
        last = nodes[-1]
        self.is_closed = last.type == "ident" and last.value == _SENTINEL
        self.values = [value for value in self.placed(nodes, len(text)) if value.start < len(text)]

    def placed(self, nodes: Sequence[Node], end: int) -> list[Value]:
        """Values of a list of nodes that ends at ``end``."""
        starts = [self._line_starts[node.source_line - 1] + node.source_column - 1 for node in nodes]
        # Behind the text stands the sentinel.
        ends = [min(start, end) for start in starts[1:]] + [end] * bool(starts)
        return [Value(node, start, stop) for node, start, stop in zip(nodes, starts, ends, strict=True)]

    def inside(self, block: Value) -> list[Value]:
        """Values inside a block that is closed."""
        return self.placed(block.node.content, block.end - 1)


def strip_blanks(values: Sequence[Value]) -> Sequence[Value]:
    """The same values without white space and comments at both ends."""
    first, last = 0, len(values)
    while first < last and values[first].is_blank:
        first += 1
    while first < last and values[last - 1].is_blank:
        last -= 1
    return values[first:last]


def split_at(values: Sequence[Value], literal: str) -> list[Sequence[Value]]:
    """Stretches between delimiters; blocks and functions count as one value each."""
    parts: list[Sequence[Value]] = []
    first = 0
    for at, value in enumerate(values):
        if value.is_literal(literal):
            parts.append(values[first:at])
            first = at + 1
    parts.append(values[first:])
    return parts
