"""HTML as text, and the text alternative of blocks (spec responsive.md 9)."""

from __future__ import annotations

import html
from collections.abc import Iterable

from relayq.compose.responsive.html_tags import RAW, Tag, find_attribute, scan_tags

_LINE_NAMES = """
    address article aside blockquote body caption center dd details div dt fieldset figcaption figure footer form
    header hr li main nav option pre section summary tbody tfoot thead tr
"""
_LINES = frozenset(_LINE_NAMES.split())
_PARAGRAPHS = frozenset(("dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "table", "ul"))
_CELLS = frozenset(("td", "th"))
_DROPPED = frozenset(
    ("head", "iframe", "noembed", "noframes", "noscript", "script", "style", "template", "title", "xmp")
)


def html_to_text(source: str) -> str:
    """What HTML says, without its looks: no hard wrapping, at most one empty line in a row."""
    writer = _Writer()
    dropped = ""
    at = 0
    for tag in scan_tags(source):
        if not dropped:
            writer.text(source[at : tag.start])
        at = tag.end
        if dropped:
            # A head without end ends where the body begins.
            if (tag.is_end and tag.name == dropped) or (dropped == "head" and tag.name == "body"):
                dropped = ""
        elif tag.name == RAW:
            writer.text(source[tag.start : tag.end])
        elif tag.name in _DROPPED:
            dropped = "" if tag.is_end else tag.name
        else:
            _write_tag(writer, source, tag)
    if not dropped:
        writer.text(source[at:])
    return writer.finish()


def _write_tag(writer: _Writer, source: str, tag: Tag) -> None:
    name = tag.name
    if name == "br":
        writer.line_break()
    elif name in _PARAGRAPHS:
        writer.new_line(2)
    elif name in _LINES:
        writer.new_line(1)
        if name == "li" and not tag.is_end:
            writer.mark = "- "
    elif name in _CELLS:
        writer.blank()
    elif name == "a":
        writer.end_link(is_cut=not tag.is_end)
        if not tag.is_end:
            writer.start_link(_attribute(source, tag, "href"))
    elif name == "img" and not tag.is_end:
        writer.words(_attribute(source, tag, "alt"))


def _attribute(source: str, tag: Tag, name: str) -> str:
    attribute = find_attribute(source, tag, name)
    return attribute.value if attribute is not None else ""


class _Writer:
    """Collects words and line breaks.

    Attributes:
        mark: What goes in front of the next words.
    """

    def __init__(self) -> None:
        self.mark = ""
        self._pieces: list[str] = []
        self._line_breaks = 0
        self._is_blank_due = False
        self._is_behind_address = False
        self._link = ""
        self._link_start = 0

    def text(self, source: str) -> None:
        """Text between tags; entities are decoded."""
        if source:
            self.words(html.unescape(source) if "&" in source else source)

    def words(self, text: str) -> None:
        """Text without markup; blanks collapse."""
        words = text.split()
        if not words:
            self._is_blank_due = self._is_blank_due or bool(text)
            return
        # What is a word would become part of the address in front of it; a comma would not.
        if text[0].isspace() or (self._is_behind_address and words[0][0].isalnum()):
            self._is_blank_due = True
        if self._pieces and self._line_breaks:
            self._pieces.append("\n" * self._line_breaks)
        elif self._pieces and self._is_blank_due:
            self._pieces.append(" ")
        self._pieces.append(self.mark + " ".join(words))
        self.mark = ""
        self._line_breaks = 0
        self._is_blank_due = text[-1].isspace()
        self._is_behind_address = False

    def blank(self) -> None:
        """What follows is set apart."""
        self._is_blank_due = True

    def line_break(self) -> None:
        """One more line break."""
        self._line_breaks = min(self._line_breaks + 1, 2)

    def new_line(self, line_breaks: int) -> None:
        """What follows begins a line, with an empty one in front if ``line_breaks`` is 2."""
        self._line_breaks = max(self._line_breaks, line_breaks)

    def start_link(self, url: str) -> None:
        """A link begins; one within the page is none."""
        self._link = "" if url.startswith("#") else url
        self._link_start = len(self._pieces)

    def end_link(self, *, is_cut: bool = False) -> None:
        """A link ends, maybe only because another one begins: its address follows unless the words were the address."""
        url = " ".join(self._link.split())
        words = "".join(self._pieces[self._link_start :]).strip()
        self._link = ""
        if url and words not in (url, url.removeprefix("mailto:")):
            self._is_blank_due = True
            self.words(f"({url})")
            self._is_blank_due = is_cut
            self._is_behind_address = True

    def finish(self) -> str:
        """Everything written."""
        self.end_link()
        return "".join(self._pieces)


def join_texts(texts: Iterable[str]) -> str | None:
    """Texts of blocks with an empty line between two; ``None`` when there is nothing in them."""
    lines = "\n\n".join(text.rstrip() for text in texts).split("\n")
    joined = "\n".join(line.rstrip() for line in lines).rstrip()
    return f"{joined}\n" if joined else None
