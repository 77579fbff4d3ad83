"""Which selector matches which start tag of a document.

The engine (css-inline) builds a tree by the rules of HTML and matches at native speed, but what it writes is another
document. So it gets a copy in which every start tag has its number, and a sheet in which the rule of selector 7 says
``r7: 1``. From what it writes, only the ``style`` attributes and the numbers are read. Of most documents the copy holds
no more than decides what matches (`css_shape`); the number is an attribute then. In a whole copy it is part of a
``style`` attribute, in front of all others that are there: ``r3: 1;r7: 1;n: 12`` is start tag 12, matched by the
selectors 3 and 7.

What the engine does cannot be interrupted and grows with the square of some things, so the work is estimated first, and
done in batches between which the time can be looked at.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import css_inline

from relayq.compose.css_selectors import Selector
from relayq.compose.css_shape import NUMBER, replacement
from relayq.compose.css_sheet import STYLE_ATTRIBUTE
from relayq.compose.errors import ComposeError
from relayq.compose.html_repair import MAX_DEPTH, orderly_depth, repair
from relayq.compose.html_scan import OPEN, OTHER, RAW, REST, SLOT, WIDTH, Markup, style_of

MAX_ELEMENTS = 100_000
"""Spec html-css-dkim.md 2.5."""
MAX_CSS_CHARACTERS = 1 << 20
"""The same."""
UNLIMITED_STEPS = 1 << 62

_FEW_TAGS = 500
"""So few start tags cannot make a tree that is too deep or too large, however broken the document is."""

# One step takes 5 to 15 ns.
_MAX_STEPS = 300_000_000
_BATCH_STEPS = 30_000_000
_REPAIR_STEPS = 2_000  # an element in a tree as deep as they get
_MAX_MATCHES = 2_000_000

_MARKED_RULES = ("style", "svg style,math style", "body", "script,style,template,template *")
_STYLE, _FOREIGN_STYLE, _BODY, _EXCLUDED = range(len(_MARKED_RULES))
_FIRST = len(_MARKED_RULES)
_RULE_NUMBER = re.compile(r"r([0-9]+): 1;")
_MAX_KNOWN_RULES = 4096
_MAX_KNOWN_RULE = 300  # characters
_MAX_KNOWN_SELECTORS = 500
_MAX_KNOWN_ENGINES = 64
_SLOTS = tuple([f" {NUMBER}={number}" for number in range(2000)])
# The engine writes what it adds last. No text or value in a reduced document can look like this: texts are left out,
# and it escapes the quotes in values.
_NUMBER_AND_STYLE = rf' {NUMBER}="([0-9]+)"(?: (?!style=)[^ =]+="[^"]*+")*+'
_STYLE_WRITTEN = ' style="((?:r[0-9]+: 1;)++)"'
_NUMBERED = re.compile(_NUMBER_AND_STYLE + _STYLE_WRITTEN)
_MAYBE_NUMBERED = re.compile(f"(?:{_NUMBER_AND_STYLE})?+{_STYLE_WRITTEN}")
_ENGINE_SWITCH = re.compile("data-css-inline", re.IGNORECASE | re.ASCII)


class CssLimitError(ComposeError):
    """Inlining a document would take too much time or memory (spec html-css-dkim.md 2.5)."""


def never() -> bool:
    """There is always time."""
    return False


class Patience(NamedTuple):
    """How much work a document is worth.

    Attributes:
        is_late: Asked now and then; true means to give up. What is done in between is bounded.
        max_steps: Estimated work of matching all selectors; one step takes 5 to 15 ns.
        max_new_css: Characters of style sheets that were not seen before; a thousand take about a millisecond.
    """

    is_late: Callable[[], bool] = never
    max_steps: int = UNLIMITED_STEPS
    max_new_css: int = MAX_CSS_CHARACTERS

    def check(self) -> None:
        """Look at the time.

        Raises:
            CssLimitError: It is up.
        """
        if self.is_late():
            raise CssLimitError("inlining takes too long")


class Matches(NamedTuple):
    """What the selectors match.

    Start tags are numbered in the order in which they stand, from 0.

    Attributes:
        by_tag: For the number of a start tag in the body, the numbers of the selectors.
        found: All of these selectors.
        elsewhere: Numbers of the selectors that match an element without a start tag, or one outside of the body.
        styles: Numbers of the start tags that are ``<style>`` elements of HTML.
    """

    by_tag: Mapping[int, Sequence[int]]
    found: frozenset[int]
    elsewhere: frozenset[int]
    styles: frozenset[int]


def match_selectors(
    markup: Markup, selectors: Sequence[Selector], patience: Patience, reduced: list[str | None] | None = None
) -> Matches:
    """Match selectors that can all be decided against a document.

    Args:
        markup: The document.
        selectors: What to match.
        patience: Its clock is asked between batches of work.
        reduced: Pieces of a smaller document in which they match the same tags; its slots get filled.

    Raises:
        CssLimitError: Too many elements or matches, or too much work.
    """
    elements = len(markup.starts)
    if elements > MAX_ELEMENTS:
        raise CssLimitError(f"more than {MAX_ELEMENTS} elements")
    depth = orderly_depth(markup)
    nesting = MAX_DEPTH if depth is None else depth
    is_broken = depth is None and (elements > _FEW_TAGS or len(markup.pieces) > 4 * _FEW_TAGS * WIDTH)
    _check_steps(selectors, elements, nesting, patience, is_broken=is_broken)
    if reduced is None:
        mark, copy = _numbered_copy(markup, has_styles=any("style" in selector.attributes for selector in selectors))
        find: Callable[[str], Iterable[tuple[str, str]]] = functools.partial(
            _find_in_copy, re.compile(rf' style="((?:r[0-9]+: 1;)+)(?:{mark}: ([0-9]+)")?')
        )
    else:
        copy, find = _number(reduced, markup.starts), _find_in_reduced
    html = repair(copy, patience.check) if is_broken else "".join(filter(None, copy))
    reader = _Reader()
    first = _FIRST
    for batch in _batches(selectors, elements, nesting):
        patience.check()
        reader.read(find(_run(html, tuple([selector.engine or "" for selector in batch]), first)))
        first += len(batch)
    return reader.matches()


def _run(html: str, selectors: tuple[str, ...], first: int) -> str:
    """What the engine makes of a document: the number of the first selector is ``first``."""
    engine = (_known_engine if len(selectors) <= _MAX_KNOWN_SELECTORS else _engine)(selectors, first)
    return engine.inline(_clean(html))


def _engine(selectors: tuple[str, ...], first: int) -> css_inline.CSSInliner:
    """An engine with a rule for each of the marks and each selector; documents with the same sheets share it."""
    rules = [f"{rule}{{r{number}:1}}" for number, rule in enumerate(_MARKED_RULES)]
    rules += [f"{selector}{{r{number}:1}}" for number, selector in enumerate(selectors, first)]
    return css_inline.CSSInliner(
        extra_css=_clean("".join(rules)),
        inline_style_tags=False,
        keep_style_tags=True,
        keep_link_tags=True,
        load_remote_stylesheets=False,
    )


_known_engine = functools.lru_cache(_MAX_KNOWN_ENGINES)(_engine)


def _find_in_reduced(html: str) -> Iterable[tuple[str, str]]:
    """Numbers, empty for an element without a start tag, and rules as the engine wrote them."""
    found = _NUMBERED.findall(html)
    return found if len(found) == html.count(' style="r') else _MAYBE_NUMBERED.findall(html)


def _find_in_copy(styles: re.Pattern[str], html: str) -> Iterable[tuple[str, str]]:
    """The same for a whole copy, whose mark is in ``styles``."""
    return [(number, rules) for rules, number in styles.findall(html)]


def _number(reduced: list[str | None], starts: Sequence[int]) -> list[str | None]:
    """Number the start tags of a reduced document."""
    slots: list[str | None] = [None] * (len(reduced) // WIDTH)
    for row, slot in zip(starts, _SLOTS, strict=False):
        slots[row] = slot
    for number, row in enumerate(starts[len(_SLOTS) :], len(_SLOTS)):
        slots[row] = f" {NUMBER}={number}"
    reduced[SLOT::WIDTH] = slots
    return reduced


def _clean(text: str) -> str:
    """Text that is valid Unicode: octets that were not in the charset are lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _numbered_copy(markup: Markup, *, has_styles: bool) -> tuple[str, list[str | None]]:
    """Name of the property that holds the number of a start tag, and pieces of a document in which each has one.

    Of several attributes of one name the first counts, so those that are there need not be taken out. What is neither
    tag nor text is left out: if the tree builder took it for something else, the tree would grow.
    """
    copy = list(markup.pieces)
    # Nobody writes a document with its own checksum in it, so what looks like a number is one.
    mark = f"n{zlib.crc32(markup.text.encode('utf-8', 'surrogatepass')):x}"
    numbers = iter(range(len(markup.starts)))
    copy[SLOT::WIDTH] = [f' style="{mark}: {next(numbers)}"' if opening else None for opening in copy[OPEN::WIDTH]]
    copy[RAW::WIDTH] = ["x" if raw else None for raw in copy[RAW::WIDTH]]
    copy[OTHER::WIDTH] = [replacement(other) if other else None for other in copy[OTHER::WIDTH]]
    if has_styles:
        for row in markup.starts:
            rest = copy[row * WIDTH + REST] or ""
            style = style_of(rest)
            if style is not None:
                copy[row * WIDTH + REST] = f" {STYLE_ATTRIBUTE}{rest[style[1] : style[2]]}{rest}"
    if "data-css-inline" in markup.text.lower():
        copy[REST::WIDTH] = [rest and _ENGINE_SWITCH.sub("data-css-inlined", rest) for rest in copy[REST::WIDTH]]
    return mark, copy


def _check_steps(
    selectors: Sequence[Selector], elements: int, nesting: int, patience: Patience, *, is_broken: bool
) -> None:
    """Refuse what cannot be interrupted, and everything that is more than ``patience`` allows."""
    most, total = 0, _REPAIR_STEPS * elements * is_broken
    for selector in selectors:
        steps = _steps(selector, elements, nesting)
        most = max(most, steps)
        total += steps
    if most > _MAX_STEPS or total > patience.max_steps:
        raise CssLimitError("inlining would take too long")


def _steps(selector: Selector, elements: int, nesting: int) -> int:
    """Work of matching a selector against all elements."""
    assert selector.engine is not None
    return elements * (1 + len(selector.engine) // 16 + nesting * selector.looks_up + elements * selector.looks_back)


def _batches(selectors: Sequence[Selector], elements: int, nesting: int) -> Iterator[Sequence[Selector]]:
    """Selectors in groups, each of bounded work.

    An element keeps its matches in a list that is searched for each new one: so groups may not get too long either.
    """
    longest = max(int((_BATCH_STEPS * 4 / (elements + 1)) ** 0.5), 8)
    first = steps = 0
    for number, selector in enumerate(selectors):
        more = _steps(selector, elements, nesting)
        if number > first and (steps + more > _BATCH_STEPS or number - first == longest):
            yield selectors[first:number]
            first, steps = number, 0
        steps += more
    yield selectors[first:]


class _Reader:
    """Reads what the engine wrote, one batch after the other."""

    def __init__(self) -> None:
        self._by_tag: dict[int, tuple[int, ...]] = {}
        self._elsewhere: set[int] = set()
        self._found_styles: set[int] = set()
        self._count = 0

    def read(self, written: Iterable[tuple[str, str]]) -> None:
        """Add the matches of one batch: number of the start tag, empty where there is none, and rules.

        An element that was not closed may be opened again elsewhere; the first one stands where its tag stands.

        Raises:
            CssLimitError: More elements match than anybody wants to wait for.
        """
        in_body = False
        parsed: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        found: dict[int, tuple[int, ...]] = {}
        for number_text, rules in written:
            known = parsed.get(rules)
            if known is None:
                known = parsed[rules] = _known_rules(rules) if len(rules) <= _MAX_KNOWN_RULE else _parse_rules(rules)
            matched, marks = known
            if in_body and number_text and not marks:
                found.setdefault(int(number_text), matched)
                continue
            number = int(number_text) if number_text else -1
            if marks:
                in_body = in_body or _BODY in marks
                if _STYLE in marks and _FOREIGN_STYLE not in marks and number not in found:
                    self._found_styles.add(number)
            if number < 0 or not in_body or _EXCLUDED in marks:
                self._elsewhere.update(matched)
            else:
                found.setdefault(number, matched)
        self._count += sum(map(len, found.values()))
        if self._count > _MAX_MATCHES:
            raise CssLimitError("too many elements match")
        if self._by_tag:
            found = {number: self._by_tag.get(number, ()) + found.get(number, ()) for number in {*self._by_tag, *found}}
        self._by_tag = found

    def matches(self) -> Matches:
        """Everything that was read."""
        found = frozenset().union(*set(self._by_tag.values()))
        return Matches(self._by_tag, found, frozenset(self._elsewhere), frozenset(self._found_styles))


def _parse_rules(rules: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Selectors and marked rules of a ``style`` attribute; few different ones occur in a document."""
    numbers = sorted(int(number) for number in _RULE_NUMBER.findall(rules))
    marks = tuple(number for number in numbers if number < _FIRST)
    return tuple(number - _FIRST for number in numbers if number >= _FIRST), marks


_known_rules = functools.lru_cache(_MAX_KNOWN_RULES)(_parse_rules)
