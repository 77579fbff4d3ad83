"""Around a block: its place on the page, its cell and its row (spec responsive.md 7.2 to 7.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from relayq.compose.responsive.downloads import Resources
from relayq.compose.responsive.errors import Faults, LeftOut
from relayq.compose.responsive.markup import (
    NO_LOOK,
    TABLE_END,
    TABLE_START,
    Font,
    Sides,
    background,
    font_style,
    read_font,
    read_look,
    read_sides,
    tag,
)
from relayq.compose.responsive.rewriting import Rewriter
from relayq.compose.responsive.templates import Templates
from relayq.compose.responsive.values import Node, as_mapping

PAGE_WIDTH = 580
MAX_BLOCKS = 2000
MAX_NESTING = 10
MAX_CHARACTERS = 5 * 1024 * 1024
"""Of HTML, roughly: the exact limit is on octets of the finished page."""

_TEXT_TYPES = frozenset(("text", "html", "heading", "link", "button", "share", "follow"))
_TEXT_PADDING = Sides(bottom=10.0)
_NO_SIDES = Sides()
_ALIGNMENTS = frozenset(("left", "center", "right"))
_ROW_STARTS = {
    "desktop": '<tr class="re-desktop">',
    "mobile": '<tr class="re-mobile" style="display:none;mso-hide:all">',
}
_NOT_FOR_WORD = ("<!--[if !mso]><!-->\n", "<!--<![endif]-->\n")
_CONDITION_END = "<![endif]"


class Place(NamedTuple):
    """Where blocks stand.

    Attributes:
        width: Available width in pixels.
        depth: Nesting, 1 at the top.
        is_in_columns: Somewhere inside columns.
        is_mobile: Inside of something for phones only.
        device: What blocks are for that stand for one in the document.
        imports: Documents imported one inside the other.
    """

    width: int = PAGE_WIDTH
    depth: int = 1
    is_in_columns: bool = False
    is_mobile: bool = False
    device: str = "always"
    imports: int = 0


class Rows(NamedTuple):
    """Rows of a table, each ending with a line break, and the texts of their blocks."""

    html: str
    texts: tuple[str, ...]

    def table(self) -> str:
        """The rows in a table of their own."""
        return f"{TABLE_START}{self.html}{TABLE_END}"


class Inner(NamedTuple):
    """What stands in the cell of a block.

    Attributes:
        html: Content of the cell.
        texts: What it says in the text alternative.
        style: Declarations that come first in the style of the cell.
        is_cell_main: ``css`` and ``attributes`` of the block are for the cell, as there is no other main element.
    """

    html: str
    texts: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    is_cell_main: bool = False


class Page:
    """What all blocks of a document share.

    Attributes:
        faults: Takes what is wrong.
        resources: Downloads.
        templates: For imported blocks.
        rewriter: Changes links.
        font: Font of the document.
        subject: Subject of the message.
        icons: Pattern of icon addresses, or empty.
        with_texts: Texts are needed.
        with_embedding: Images will be embedded.
    """

    def __init__(
        self,
        *,
        faults: Faults,
        resources: Resources,
        templates: Templates,
        rewriter: Rewriter,
        renderers: Mapping[str, Renderer],
        expanders: Mapping[str, Expander],
        font: Font,
        subject: str,
        icons: str = "",
        with_texts: bool = True,
        with_embedding: bool = False,
    ) -> None:
        self.faults = faults
        self.resources = resources
        self.templates = templates
        self.rewriter = rewriter
        self.font = font
        self.subject = subject
        self.icons = icons
        self.with_texts = with_texts
        self.with_embedding = with_embedding
        self._renderers = renderers
        self._expanders = expanders
        self._blocks = 0
        self._characters = 0

    def spend(self, html: str, path: str) -> None:
        """Count HTML, so that a document cannot grow without bound by using something large again and again.

        Raises:
            DocumentError: Too much, without ``force``.
            LeftOut: Too much.
        """
        if self._characters + len(html) > MAX_CHARACTERS:
            raise self.faults.leave_out(path, f"HTML larger than {MAX_CHARACTERS} octets")
        self._characters += len(html)

    def rows(self, entries: Iterable[tuple[str, object]], place: Place) -> Rows:
        """Blocks by path, one row each; what cannot be used is left out if that is allowed."""
        html: list[str] = []
        texts: list[str] = []
        for path, value in entries:
            try:
                rows = self._block(path, value, place)
            except LeftOut:
                continue
            html.append(rows.html)
            texts += rows.texts
        return Rows("".join(html), tuple(texts))

    def _block(self, path: str, value: object, place: Place) -> Rows:
        mapping = as_mapping(value)
        if mapping is None:
            raise self.faults.leave_out(path, "expected an object")
        node = Node(mapping, path, self.faults)
        self._blocks += 1
        if self._blocks > MAX_BLOCKS:
            raise self.faults.leave_out("mime.content", f"more than {MAX_BLOCKS} blocks")
        if place.depth > MAX_NESTING:
            raise self.faults.leave_out(path, f"nested deeper than {MAX_NESTING} levels")
        block_type = node.text("type")
        if block_type is None:
            raise node.missing("type")
        device = _device(node, place.device)
        if device is None:
            return Rows("", ())
        expander = self._expanders.get(block_type)
        if expander is not None:
            entries, inside = expander(node, place._replace(device=device), self)
            return self.rows(entries, inside)
        renderer = self._renderers.get(block_type)
        if renderer is None:
            raise self.faults.leave_out(path, "unknown type")
        inside = place._replace(is_mobile=True) if device == "mobile" else place
        rows = _row(Block(node, block_type, inside, self), renderer, device)
        return rows if place.is_mobile or device != "mobile" else _for_phones(rows)


def _device(node: Node, usual: str) -> str | None:
    """Kind of device a block is for; ``None`` for one that is not for mail."""
    visibility = node.node("visibility")
    if visibility is None:
        return usual
    if (visibility.text("output") or "").lower() == "webonly":
        return None
    device = (visibility.text("device") or "").lower()
    return device if device in _ROW_STARTS else usual


class Block:
    """A block that is being rendered.

    Attributes:
        node: Its properties.
        page: The page.
        place: Where it stands.
        padding: Inside of its background.
        margin: Outside of its background.
        width: What its content has, in pixels.
    """

    __slots__ = ("margin", "node", "padding", "page", "place", "type", "width")

    def __init__(self, node: Node, block_type: str, place: Place, page: Page) -> None:
        self.node = node
        self.type = block_type
        self.page = page
        self.place = place
        self.padding = read_sides(node, "padding", _TEXT_PADDING if block_type in _TEXT_TYPES else _NO_SIDES)
        self.margin = read_sides(node, "margin", _NO_SIDES)
        self.width = max(round(place.width - self.padding.horizontal - self.margin.horizontal), 1)

    @property
    def align(self) -> str:
        """``left``, ``center`` or ``right``."""
        given = (self.node.text("align") or "").strip().lower()
        return given if given in _ALIGNMENTS else "left"

    @property
    def own_font(self) -> Font:
        """Font the block itself asks for."""
        return read_font(self.node.node("font"))

    @property
    def font(self) -> Font:
        """Font of the document overlaid by that of the block."""
        return {**self.page.font, **self.own_font}

    def inside(self, width: int, *, is_in_columns: bool = False) -> Place:
        """Place of blocks inside this one."""
        place = self.place
        return place._replace(
            width=width, device="always", depth=place.depth + 1, is_in_columns=place.is_in_columns or is_in_columns
        )


Renderer = Callable[[Block], Inner]
Expander = Callable[[Node, Place, Page], tuple[Iterable[tuple[str, object]], Place]]


def _row(block: Block, renderer: Renderer, device: str) -> Rows:
    inner = renderer(block)
    block.page.spend("" if block.type in ("columns", "container") else inner.html, block.node.path)
    cell = tag(
        "td",
        (("class", f"re-{block.type}"), ("align", block.align)),
        (*inner.style, background(block.node), block.padding.declaration()),
        read_look(block.node) if inner.is_cell_main else NO_LOOK,
        read_look(block.node.node("container")),
    )
    start = _ROW_STARTS.get(device, "<tr>")
    row = f"{cell}{inner.html}</td></tr>\n"
    if any(block.margin):
        outer = tag("td", (), (block.margin.declaration(),))
        row = f"{start}{outer}\n{TABLE_START}<tr>{row}{TABLE_END}\n</td></tr>\n"
    else:
        row = start + row
    return Rows(row, inner.texts)


def _for_phones(rows: Rows) -> Rows:
    """Rows that only phones show, with what keeps other readers from showing them.

    Word hides the row, but not a table in one of its cells, so it is told to skip all of it. It would end that at the
    first end of a condition, which must not be one of the document's own in the midst of the row.
    """
    before, after = ("", "") if _CONDITION_END in rows.html.lower() else _NOT_FOR_WORD
    # A text reader has no small screen: what is for phones only stands there in its other form already.
    return Rows(f"{before}{rows.html}{after}", ())


def text_style(font: Font) -> tuple[str, ...]:
    """A font as declarations of a cell."""
    return (font_style(font),)
