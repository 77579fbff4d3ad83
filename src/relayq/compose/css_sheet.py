"""Style sheets taken apart into rules, and put together again without the rules that went into ``style`` attributes.

A sheet is a text that gets edited: what stays keeps its spelling (spec html-css-dkim.md 2.1 and 2.3). So a rule is
first of all a place in the text. Taking a sheet apart costs about a millisecond per kilobyte; `StyleSheets` remembers.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from relayq.compose.css_declarations import Declaration, PlacedDeclaration, parse_declarations
from relayq.compose.css_selectors import Selector, parse_selectors
from relayq.compose.css_tokens import CssText, Value, strip_blanks

MAX_CACHED_CHARACTERS = 1 << 22

STYLE_ATTRIBUTE = "data-relayq-style"
"""Name under which the engine finds the ``style`` attributes of a document."""

# At-rules that hold rules. In all others nothing is changed: what they hold is no ordinary declaration.
_GROUPS = frozenset(
    (
        "media",
        "supports",
        "layer",
        "container",
        "scope",
        "starting-style",
        "document",
        "-moz-document",
    )
)
_MAX_NESTING = 20
_BLANKS = "\t\n\f\r "
_NOTHING = re.compile(r"(?:[\t\n\f\r ]|/\*.*?(?:\*/|\Z)|<!--|-->)*+", re.DOTALL)
_IMPORTANT = "!important"


class Rule(NamedTuple):
    """An ordinary rule: selectors and declarations.

    Attributes:
        blank_start: Where the white space in front of it begins.
        start: Offset of its first selector.
        block_start: Offset of its ``{``, or of the white space in front of it.
        end: Offset behind its ``}``.
        selectors: In order.
        declarations: In order, without the broken ones.
    """

    blank_start: int
    start: int
    block_start: int
    end: int
    selectors: tuple[Selector, ...]
    declarations: tuple[PlacedDeclaration, ...]

    @property
    def inlined(self) -> tuple[Declaration, ...]:
        """Declarations that go into ``style`` attributes."""
        return tuple(placed.declaration for placed in self.declarations if placed.is_inlinable)

    @property
    def left(self) -> tuple[PlacedDeclaration, ...]:
        """Declarations that mean something only in a sheet."""
        return tuple(placed for placed in self.declarations if not placed.is_inlinable)


class Sheet(NamedTuple):
    """A style sheet.

    Attributes:
        text: The sheet.
        rules: Rules whose selectors may be decided, in order.
        kept_important: Where in rules that are kept in any case ``!important`` belongs, ascending.
    """

    text: str
    rules: tuple[Rule, ...]
    kept_important: tuple[int, ...]


class Fate(NamedTuple):
    """What becomes of a rule.

    Attributes:
        important: Numbers of the selectors for which it is kept, stronger than any ``style`` attribute.
        unchanged: Numbers of the selectors for which it is kept as it is.
        left: Numbers of the selectors for which what cannot be inlined is kept.
    """

    important: AbstractSet[int]
    unchanged: AbstractSet[int]
    left: AbstractSet[int]


class StyleSheets:
    """Sheets that were taken apart once, the least recently used forgotten beyond a number of characters in all."""

    def __init__(self, limit: int = MAX_CACHED_CHARACTERS) -> None:
        self._limit = limit
        self._size = 0
        self._by_digest: OrderedDict[bytes, Sheet] = OrderedDict()

    def is_known(self, text: str) -> bool:
        """`parse` costs next to nothing."""
        return _digest(text) in self._by_digest

    def parse(self, text: str) -> Sheet:
        """The sheet."""
        digest = _digest(text)
        sheet = self._by_digest.get(digest)
        if sheet is not None:
            self._by_digest.move_to_end(digest)
            return sheet
        sheet = parse_sheet(text)
        self._by_digest[digest] = sheet
        self._size += len(text)
        while self._size > self._limit:
            self._size -= len(self._by_digest.popitem(last=False)[1].text)
        return sheet


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def parse_sheet(text: str) -> Sheet:
    """Take a sheet apart; whatever is broken belongs to no rule."""
    css = CssText(text)
    rules: list[Rule] = []
    important: list[int] = []
    for part in _split_rules(css.values):
        if not css.is_closed and part[-1].end == len(text):
            continue
        if part[-1].node.type == "{} block":
            rule = None if part[0].node.type == "at-keyword" else _rule(css, part)
            if rule is None:
                important += _important_places(css, part, 0)
            else:
                rules.append(rule)
    return Sheet(text, tuple(rules), tuple(important))


def _split_rules(values: Sequence[Value]) -> list[Sequence[Value]]:
    """Rules without the white space and comments around them; the last one may lack its block."""
    rules: list[Sequence[Value]] = []
    first = -1
    for at, value in enumerate(values):
        if first < 0:
            if value.is_blank or value.is_literal("<!--") or value.is_literal("-->"):
                continue
            first = at
        is_at_rule = values[first].node.type == "at-keyword"
        if value.node.type == "{} block" or (is_at_rule and value.is_literal(";")):
            rules.append(values[first : at + 1])
            first = -1
    if first >= 0:
        rules.append(strip_blanks(values[first:]))
    return rules


def _rule(css: CssText, values: Sequence[Value]) -> Rule | None:
    """An ordinary rule, ``None`` for one with a block inside its own: nested or broken, it stays as it is."""
    block = values[-1]
    inside = css.inside(block)
    if any(value.node.type == "{} block" for value in inside):
        return None
    text = css.text
    prelude = strip_blanks(values[:-1])
    start = values[0].start
    blank_start = len(text[:start].rstrip(_BLANKS)) if start and text[start - 1] in _BLANKS else start
    return Rule(
        blank_start,
        start,
        prelude[-1].end if prelude else block.start,
        block.end,
        tuple(parse_selectors(text, prelude, STYLE_ATTRIBUTE)),
        tuple(parse_declarations(css, inside)),
    )


def _important_places(css: CssText, values: Sequence[Value], depth: int) -> list[int]:
    """Ends of the values in an at-rule that holds rules, where ``!important`` is missing."""
    first, block = values[0].node, values[-1]
    if first.type != "at-keyword":
        return _missing_important(parse_declarations(css, css.inside(block))) if depth else []
    if first.lower_value not in _GROUPS or depth == _MAX_NESTING:
        return []
    return [
        place
        for part in _split_rules(css.inside(block))
        if part[-1].node.type == "{} block"
        for place in _important_places(css, part, depth + 1)
    ]


def _missing_important(declarations: Sequence[PlacedDeclaration]) -> list[int]:
    return [placed.value_end for placed in declarations if not placed.declaration.is_important]


def edit_sheet(sheet: Sheet, fate_of: Callable[[Rule], Fate], *, important: bool) -> str:
    """Text of a sheet after some of its rules went into the document.

    Args:
        sheet: The sheet.
        fate_of: What becomes of a rule.
        important: Declarations that are kept become stronger than ``style`` attributes.
    """
    edits: list[tuple[int, int, str]] = []
    if important:
        edits += [(place, place, _IMPORTANT) for place in sheet.kept_important]
    for rule in sheet.rules:
        edits += _edit_rule(sheet.text, rule, fate_of(rule), important=important)
    return apply_edits(sheet.text, edits)


def _edit_rule(text: str, rule: Rule, fate: Fate, *, important: bool) -> list[tuple[int, int, str]]:
    everything = len(rule.selectors)
    left = fate.left if rule.left else frozenset[int]()
    if len(fate.unchanged) == everything:
        return []
    strengthened = _missing_important(rule.declarations) if important else []
    if len(fate.important) == everything:
        return [(place, place, _IMPORTANT) for place in strengthened]
    if not (fate.important or fate.unchanged or left):
        return [(rule.blank_start, rule.end, "")]
    block = text[rule.block_start : rule.end]
    pieces: list[str] = []
    if left:
        pieces.append(_selectors(rule, left) + _block_of(text, rule, important=important))
    if fate.important:
        at = rule.block_start
        strong = apply_edits(block, [(place - at, place - at, _IMPORTANT) for place in strengthened])
        pieces.append(_selectors(rule, fate.important) + strong)
    if fate.unchanged:
        pieces.append(_selectors(rule, fate.unchanged) + block)
    return [(rule.start, rule.end, " ".join(pieces))]


def _selectors(rule: Rule, numbers: AbstractSet[int]) -> str:
    return ", ".join(rule.selectors[number].text for number in sorted(numbers))


def _block_of(text: str, rule: Rule, *, important: bool) -> str:
    """Block with just the declarations that cannot be inlined."""
    written = [
        text[placed.start : placed.value_end] + (_IMPORTANT if important or placed.declaration.is_important else "")
        for placed in rule.left
    ]
    return " { " + "; ".join(written) + " }"


def is_blank_sheet(text: str) -> bool:
    """Nothing but white space, comments and the marks that hide a sheet from browsers of old."""
    return _NOTHING.fullmatch(text) is not None


def apply_edits(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """Text with some stretches, given as (start, end, replacement), replaced; they do not overlap."""
    pieces: list[str] = []
    at = 0
    for start, end, replacement in sorted(edits):
        pieces += (text[at:start], replacement)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)
