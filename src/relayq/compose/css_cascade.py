"""Which declarations win on an element, and how they are written (spec html-css-dkim.md 2.4).

Documents made from one template share their rules, so what was worked out for one is remembered for the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from relayq.compose.css_declarations import Declaration, parse_style
from relayq.compose.css_matching import Matches, Patience, match_selectors
from relayq.compose.css_selectors import Selector
from relayq.compose.css_shape import Shapes
from relayq.compose.css_sheet import Rule
from relayq.compose.html_scan import Markup

_MAX_CACHED_STYLES = 4096
_MAX_CACHED_MATCHES = 32
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


class Matched(NamedTuple):
    """A rule that matches an element; sorts by precedence.

    Attributes:
        specificity: Of the most specific of its selectors that match.
        order: Place of the rule among all rules of the document.
        declarations: In order.
    """

    specificity: int
    order: int
    declarations: Sequence[Declaration]


class StyleRules:
    """All rules of a document, and the ``style`` attributes that were made from them.

    Attributes:
        selectors: Those that can be decided, each once; their number is their place.
        edited: Sheets without what went into the document, by their text and the selectors that match there and
            elsewhere; for who edits them.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._inlined = [rule.inlined for rule in rules]
        self._numbers: dict[str, int] = {}
        self._rules_by_number: list[list[tuple[int, int]]] = []
        self._known: dict[tuple[Sequence[int], str], str] = {}
        self.selectors: list[Selector] = []
        self.edited: dict[tuple[str, frozenset[int], frozenset[int]], str] = {}
        for order, rule in enumerate(rules):
            for selector in rule.selectors:
                if selector.engine is not None:
                    self._add(selector, selector.engine, order)
        self._shapes = Shapes(frozenset().union(*(selector.attributes for selector in self.selectors)))
        self._matches: OrderedDict[bytes, Matches] = OrderedDict()

    def match(self, markup: Markup, patience: Patience) -> Matches:
        """Which selector matches which start tag; see `match_selectors`."""
        shape = self._shapes.reduce(markup)
        if shape is None:
            return match_selectors(markup, self.selectors, patience)
        matches = self._matches.get(shape.key)
        if matches is None:
            matches = match_selectors(markup, self.selectors, patience, shape.pieces)
            self._matches[shape.key] = matches
            if len(self._matches) > _MAX_CACHED_MATCHES:
                self._matches.popitem(last=False)
        return matches

    def _add(self, selector: Selector, engine: str, order: int) -> None:
        number = self._numbers.setdefault(engine, len(self.selectors))
        if number == len(self.selectors):
            self.selectors.append(selector)
            self._rules_by_number.append([])
        # The engine sees no difference between :is() and :where(), which differ in what they weigh.
        self._rules_by_number[number].append((order, selector.specificity))

    def number_of(self, selector: Selector) -> int | None:
        """Number of a selector, ``None`` for one that cannot be decided."""
        return None if selector.engine is None else self._numbers[selector.engine]

    def style_of(self, matched: Sequence[int], own: str) -> str:
        """Escaped value of the ``style`` attribute of an element, empty where it stays as it is.

        Args:
            matched: Numbers of the selectors that match the element.
            own: Value of the ``style`` attribute it has.
        """
        written = self._known.get((matched, own))
        if written is None:
            written = self._write(matched, own)
            if len(self._known) < _MAX_CACHED_STYLES:
                self._known[matched, own] = written
        return written

    def _write(self, matched: Sequence[int], own: str) -> str:
        specificity_by_order: dict[int, int] = {}
        for number in matched:
            for order, specificity in self._rules_by_number[number]:
                specificity_by_order[order] = max(specificity, specificity_by_order.get(order, 0))
        rules = [
            Matched(specificity, order, self._inlined[order])
            for order, specificity in specificity_by_order.items()
            if self._inlined[order]
        ]
        return write_style(cascade(rules, parse_style(own))).translate(_ESCAPES) if rules else ""


def cascade(rules: Iterable[Matched], own: Sequence[Declaration]) -> list[Declaration]:
    """Declarations for the ``style`` attribute of an element, weakest first.

    The order keeps shorthands and longhands overriding each other as before. ``!important`` of a sheet has done its
    work here and is dropped: rules that stay in the sheet must still be able to override.

    Args:
        rules: Rules that match the element.
        own: What its ``style`` attribute says.
    """
    winners: dict[str, list[Declaration]] = {}
    ordered = sorted(rules)
    for is_important in (False, True):
        for rule in ordered:
            _override(winners, [found for found in rule.declarations if found.is_important == is_important])
        _override(winners, [found for found in own if found.is_important == is_important], keeps_important=True)
    return [declaration for declarations in winners.values() for declaration in declarations]


def _override(
    winners: dict[str, list[Declaration]], declarations: Sequence[Declaration], *, keeps_important: bool = False
) -> None:
    """Let the declarations of one rule win; several of one name stay together, the earlier ones are fallbacks."""
    grouped: dict[str, list[Declaration]] = {}
    for declaration in declarations:
        name = declaration.name
        same = grouped.pop(name, [])
        winner = declaration if keeps_important else Declaration(name, declaration.value, is_important=False)
        grouped[name] = [*(fallback for fallback in same if fallback != winner), winner]
    for name, same in grouped.items():
        winners.pop(name, None)
        winners[name] = same


def write_style(declarations: Iterable[Declaration]) -> str:
    """Text of a ``style`` attribute, not yet escaped for HTML."""
    return ";".join([f"{name}:{value}{'!important' if important else ''}" for name, value, important in declarations])
