"""The same elements in a document whose tags are all closed where they should be.

Tree builders follow the standard to the letter: a formatting element that was not closed (``<b>``) is opened again in
every block that follows, so 30 KB of tags can become two million elements; elements that were not closed stand inside
one another; and engines that walk the tree recursively end the process with it. In a document in which every element
is closed, in the order in which they were opened, nothing of that can happen.

Optional end tags are put where the standard implies them (WHATWG HTML 13.1.2.4), elements that were forgotten end with
the element around them, end tags of nothing are left out, and what is nested deeper than anybody nests, or stands in a
table but in no cell, is left empty. For well-formed documents this changes nothing; for the others the tree comes close
to what browsers make of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from relayq.compose.html_scan import BREAKOUT, END, OPEN, WIDTH, Markup, end_name, words

MAX_DEPTH = 400
"""Tables of newsletters reach a tenth of it. Implied elements, at most two for each table, come on top."""

_VOID = words(
    "area base basefont bgsound br col embed frame hr img image input keygen link meta param source track wbr"
)
_UNIQUE = frozenset(("html", "head", "body"))
_NEVER_OPEN = _VOID | _UNIQUE
_HEADINGS = words("h1 h2 h3 h4 h5 h6")
_CELLS = frozenset(("td", "th"))
_TABLE_PARTS = _CELLS | words("tr tbody thead tfoot caption colgroup")
_TABLES = frozenset(("table", "template"))
_SCOPES = _CELLS | _TABLES | words("caption applet object marquee")
_BLOCKS = frozenset(("address", "div", "p"))
_SPECIAL = (
    _SCOPES
    | _BLOCKS
    | words(
        "article aside blockquote button center colgroup dd details dir dl dt fieldset figcaption figure footer form "
        "frameset h1 h2 h3 h4 h5 h6 header hgroup li listing main menu nav ol plaintext pre search section select "
        "summary tbody tfoot thead tr ul"
    )
)
_CLOSES_PARAGRAPH = _HEADINGS | words(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer header hgroup "
    "main menu nav ol p search section summary ul pre listing form li dd dt plaintext hr xmp table"
)
_CONTEXTS = _CELLS | _TABLES | words("tr tbody thead tfoot caption colgroup")
_OPEN_CONTEXTS = _CELLS | {"caption", "template"}
_BETWEEN_CELLS = words("table tr tbody thead tfoot colgroup")
_MAX_CACHED_TAG = 20
_PIECES_PER_CHECK = 1000 * WIDTH
_FOREIGN = frozenset(("svg", "math"))
_INTEGRATION_POINTS = words("foreignobject desc title mi mo mn ms mtext annotation-xml")
_NOT_NESTED = frozenset(("a", "nobr"))
_ALLOWED_IN_TABLES = _TABLE_PARTS | words("table style script template form")
# What tree builders ignore, move to another place, or read by other rules.
_DELICATE = frozenset(("</form>", "</frameset>", "</svg>", "</math>"))
_ENDS_BETWEEN_CELLS = frozenset(f"</{name}>" for name in _BETWEEN_CELLS)
_ENDS_IN_TABLES = frozenset(f"</{name}>" for name in _ALLOWED_IN_TABLES)
_SECTIONS = frozenset(("tbody", "thead", "tfoot"))
_WALLS_BY_PART = {
    "td": _TABLES | _SECTIONS | {"tr"},
    "th": _TABLES | _SECTIONS | {"tr"},
    "tr": _TABLES | _SECTIONS,
}
_SIBLINGS = {
    "li": frozenset(("li",)),
    "dd": frozenset(("dd", "dt")),
    "dt": frozenset(("dd", "dt")),
}
_ENDS_ON_TOP = {
    "option": frozenset(("option",)),
    "optgroup": frozenset(("option", "optgroup")),
    "rt": frozenset(("rt", "rp")),
    "rp": frozenset(("rt", "rp")),
    **dict.fromkeys(_HEADINGS, _HEADINGS),
}


def orderly_depth(markup: Markup) -> int | None:
    """How deep the elements are nested if each is closed in its place and none would be moved away, else ``None``."""
    stack: list[str] = []
    depth = deepest = 0
    ends = _Ends()
    pieces = markup.pieces
    for opening, end in zip(pieces[OPEN::WIDTH], pieces[END::WIDTH], strict=False):
        if opening:
            expected = ends[opening]
            if expected:
                if stack and stack[-1] in _ENDS_BETWEEN_CELLS and expected not in _ENDS_IN_TABLES:
                    return None
                if expected in _DELICATE and (expected != "</form>" or expected in stack):
                    return None
                stack.append(expected)
                depth += 1
                if depth > deepest:
                    deepest = depth
        elif end:
            if not stack or stack.pop() != end:
                return None
            depth -= 1
    return None if stack or deepest > MAX_DEPTH else deepest


class _Ends(dict[str, str]):
    """End tags for ``<`` and a name, empty for an element without one; few different ones occur in a document."""

    def __missing__(self, opening: str) -> str:
        name = opening[1:]
        end = "" if name.lower() in _VOID else f"</{name}>"
        if len(opening) < _MAX_CACHED_TAG:
            self[opening] = end
        return end


def unhurried() -> None:
    """There is always time."""


def repair(pieces: Sequence[str | None], check: Callable[[], None] = unhurried) -> str:
    """The document with every element closed.

    Args:
        pieces: What `Markup.pieces` holds.
        check: Called now and then; raises to give up.
    """
    elements = _OpenElements()
    for at in range(0, len(pieces) - 1, WIDTH):
        if at % _PIECES_PER_CHECK == 0:
            check()
        text, opening, slot, _, rest, raw, end, other = pieces[at : at + WIDTH]
        elements.write(text)
        if opening:
            elements.start(opening, f"{slot or ''}{rest}", raw or "")
        elif end:
            elements.end(end_name(end))
        else:
            elements.write(other)
    elements.write(pieces[-1])
    return elements.finish()


class _OpenElements:
    """Names of the elements that are open, innermost last, and the document as far as it is written."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._stack: list[str] = []
        self._counts: Counter[str] = Counter()
        self._between_cells = [False]  # for each open element and the document: what comes next stands in no cell

    def write(self, text: str | None) -> None:
        """Write text, or what is as harmless."""
        if text:
            self._written.append(text)

    def start(self, opening: str, rest: str, raw: str) -> None:
        """Write a start tag behind the end tags it implies, and its content if that is raw text."""
        name = opening[1:].lower()
        if name == "form" and self._counts["form"]:
            return  # is ignored, whereas its end tag closes the outer one
        if name in _TABLE_PARTS and not self._has_any(_TABLES):
            return
        if name == "select" and self._counts["select"]:
            self.end(name)
            return
        self._close_implied(name)
        is_foreign = self._has_any(_FOREIGN)
        is_closed = is_foreign and rest.endswith("/>")
        self._written += (opening, rest[:-2] + ">" if is_closed else rest, raw)
        if name in _NEVER_OPEN and not is_foreign:
            return
        is_misplaced = name == "frameset" or (name not in _ALLOWED_IN_TABLES and self._between_cells[-1])
        if is_closed or name in _NEVER_OPEN or is_misplaced or len(self._stack) >= MAX_DEPTH:
            self._written.append(f"</{name}>")
        else:
            self._open(name)

    def end(self, name: str) -> None:
        """Write an end tag behind those of what stands inside; nothing where there is no such element."""
        if name in _TABLE_PARTS or name in _TABLES:
            walls = frozenset(("template",)) if name == "table" else _TABLES
        elif name in _SPECIAL:
            walls = _SCOPES
        else:
            walls = _SPECIAL
        self._close_through(_HEADINGS if name in _HEADINGS else frozenset((name,)), walls)

    def finish(self) -> str:
        """The document, with whatever was still open closed."""
        self._close_from(0)
        return "".join(self._written)

    def _open(self, name: str) -> None:
        """What stands in a table but in no cell is moved out of it, and opened again and again where it formats."""
        self._stack.append(name)
        self._counts[name] += 1
        is_between = name not in _OPEN_CONTEXTS if name in _CONTEXTS else self._between_cells[-1]
        self._between_cells.append(is_between)

    def _has_any(self, names: frozenset[str]) -> bool:
        counts = self._counts
        return any(counts[name] for name in names)

    def _close_implied(self, name: str) -> None:
        if name in _SIBLINGS:
            self._close_through(_SIBLINGS[name], _SPECIAL - _BLOCKS)
        if name in _CLOSES_PARAGRAPH:
            self._close_through(frozenset(("p",)), _SCOPES | {"button"})
        if name in BREAKOUT:
            self._leave_foreign()
        if name in _NOT_NESTED:
            self._close_through(frozenset((name,)), _SPECIAL)
        elif name == "button":
            self._close_through(frozenset(("button",)), _SCOPES)
        elif name == "table":
            self._close_through(frozenset(("table",)), _OPEN_CONTEXTS)
        elif name in _TABLE_PARTS:
            self._close_down_to(_WALLS_BY_PART.get(name, _TABLES))
        elif name in _ENDS_ON_TOP and self._stack and self._stack[-1] in _ENDS_ON_TOP[name]:
            self._close_from(len(self._stack) - 1)

    def _leave_foreign(self) -> None:
        """HTML elements end ``<svg>`` and ``<math>``, unless they stand where these hold HTML."""
        if not self._has_any(_FOREIGN):
            return
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] in _INTEGRATION_POINTS:
                return
            if self._stack[at] in _FOREIGN:
                self._close_from(at)

    def _close_through(self, names: frozenset[str], walls: frozenset[str]) -> None:
        """Close the innermost element of these names and all inside it, unless a wall stands between."""
        if not self._has_any(names):
            return
        for at in range(len(self._stack) - 1, -1, -1):
            here = self._stack[at]
            if here in names:
                self._close_from(at)
                return
            if here in walls:
                return

    def _close_down_to(self, walls: frozenset[str]) -> None:
        """Close what a part of a table ends: everything inside its table or row."""
        at = len(self._stack)
        while self._stack[at - 1] not in walls:
            at -= 1
        self._close_from(at)

    def _close_from(self, at: int) -> None:
        closed = self._stack[at:]
        self._written += [f"</{name}>" for name in reversed(closed)]
        self._counts.subtract(closed)
        del self._stack[at:]
        del self._between_cells[at + 1 :]
