"""CSS of ``<style>`` elements moved into ``style`` attributes (spec html-css-dkim.md 2).

The document is edited at a few spots and never written anew. The steps: take the document apart
(`html_scan`), take the sheets
apart (`css_sheet`), ask which selector matches which tag (`css_matching`), work out the declarations of each element
(`css_cascade`), edit.
"""

from __future__ import annotations

import bisect
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from relayq.compose.css_cascade import StyleRules
from relayq.compose.css_matching import MAX_CSS_CHARACTERS, CssLimitError, Matches, Patience
from relayq.compose.css_sheet import Fate, Rule, Sheet, StyleSheets, edit_sheet, is_blank_sheet
from relayq.compose.html_scan import END, OPEN, RAW, REST, SLOT, WIDTH, Markup, attributes_of, style_of
from relayq.compose.mime_tree import parse_tree
from relayq.compose.text_parts import TextPart, read_texts, write_texts

_MAX_CACHED_RULES = 64
_MAX_EDITED = 16
_MEDIA = frozenset(("", "all", "screen"))


_ALL_PATIENCE = Patience()
_ELEMENTS_PER_CHECK = 1000
_MAX_WRITTEN = 10 * 1024 * 1024
"""Characters of ``style`` attributes in one document: a rule for ``*`` multiplies its length by the elements."""


class _Style(NamedTuple):
    """A ``<style>`` element that takes part.

    Attributes:
        number: Of its start tag.
        row: Of its start tag.
        sheet: Its content.
    """

    number: int
    row: int
    sheet: Sheet


class CssInliner:
    """Inlines documents, and remembers the sheets it has seen."""

    def __init__(self, *, important: bool = True) -> None:
        """``important`` is ``inlinecss-important``: rules that stay in a sheet win against ``style`` attributes."""
        self._important = important
        self._sheets = StyleSheets()
        self._rules: OrderedDict[tuple[str, ...], StyleRules] = OrderedDict()

    def inline_message(
        self, mime: bytes, patience: Patience = _ALL_PATIENCE, *, force: bool = False
    ) -> tuple[bytes, tuple[str, ...]]:
        """Message with every HTML part inlined that is shown and not sealed, and what had to stay as it was.

        All else stays octet-identical.

        Args:
            mime: Message with CRLF line ends.
            patience: How much work each part is worth.
            force: Leave a part unchanged instead of giving up.

        Raises:
            CssLimitError: A part is beyond the limits; the text names it: ``part 2 text/html: more than …``.
        """
        if _has_no_styles(mime):
            return mime, ()
        root = parse_tree(mime)
        changes: list[tuple[TextPart, str]] = []
        left: list[str] = []
        for number, source in enumerate(read_texts(mime, root), 1):
            if source.part.media_type != "text/html":
                continue
            try:
                changes.append((source, self.inline_html(source.text, patience)))
            except CssLimitError as error:
                reason = f"part {number} text/html: {error}"
                if not force:
                    raise CssLimitError(reason) from None
                left.append(reason)
        return write_texts(mime, root, changes), tuple(left)

    def inline_html(self, text: str, patience: Patience = _ALL_PATIENCE) -> str:
        """Document with its CSS inlined; the same document where there is nothing to inline.

        Raises:
            CssLimitError: It is beyond the limits.
        """
        if "<style" not in text and "<style" not in text.lower():
            return text
        markup = Markup(text)
        styles = self._styles(markup, patience)
        while styles:
            rules = self._rules_of(styles)
            matches = rules.match(markup, patience)
            real = [style for style in styles if style.number in matches.styles]
            if len(real) == len(styles):
                _edit_elements(markup, matches, rules, patience)
                self._edit_styles(markup, styles, matches, rules)
                return markup.join()
            # What looked like an element was none for the tree builder: its rules do not count.
            styles = real
        return text

    def _styles(self, markup: Markup, patience: Patience) -> list[_Style]:
        """``<style>`` elements that take part (spec html-css-dkim.md 2.2)."""
        styles: list[_Style] = []
        size = new = 0
        pieces = markup.pieces
        for row, text in markup.filled(RAW):
            at = row * WIDTH
            if (pieces[at + OPEN] or "").lower() != "<style" or not _takes_part(pieces[at + REST] or ""):
                continue
            size += len(text)
            if size > MAX_CSS_CHARACTERS:
                raise CssLimitError("more than 1 MiB of CSS")
            if not self._sheets.is_known(text):
                new += len(text)
            if new > patience.max_new_css:
                raise CssLimitError("more style sheets than there is time for")
            patience.check()
            sheet = self._sheets.parse(text)
            if sheet.rules or sheet.kept_important:
                styles.append(_Style(bisect.bisect_left(markup.starts, row), row, sheet))
        return styles

    def _rules_of(self, styles: Sequence[_Style]) -> StyleRules:
        """Rules of all sheets together; documents made from one template share them."""
        key = tuple(style.sheet.text for style in styles)
        rules = self._rules.get(key)
        if rules is None:
            rules = StyleRules([rule for style in styles for rule in style.sheet.rules])
            self._rules[key] = rules
            if len(self._rules) > _MAX_CACHED_RULES:
                self._rules.popitem(last=False)
        else:
            self._rules.move_to_end(key)
        return rules

    def _edit_styles(self, markup: Markup, styles: Sequence[_Style], matches: Matches, rules: StyleRules) -> None:
        def fate_of(rule: Rule) -> Fate:
            return _fate(rule, rules, matches.found, matches.elsewhere)

        for style in styles:
            # The same selectors match something in nearly all documents of a sheet, whatever their structure.
            key = (style.sheet.text, matches.found, matches.elsewhere)
            sheet = rules.edited.get(key)
            if sheet is None:
                sheet = edit_sheet(style.sheet, fate_of, important=self._important)
                if len(rules.edited) < _MAX_EDITED:
                    rules.edited[key] = sheet
            if sheet != style.sheet.text and is_blank_sheet(sheet):
                _remove(markup, style.row)
            else:
                markup.pieces[style.row * WIDTH + RAW] = sheet


def _has_no_styles(mime: bytes) -> bool:
    """No part can hold a ``<style>`` element: nothing is encoded, and the word does not occur."""
    lower = mime.lower()
    return b"<style" not in lower and b"base64" not in lower and b"quoted-printable" not in lower


def _takes_part(rest: str) -> bool:
    given: dict[str, str] = {}
    for attribute in attributes_of(rest):
        given.setdefault(attribute.name, attribute.value.strip("\t\n\f\r ").lower())
    return (
        given.get("type", "") in {"", "text/css"}
        and given.get("media", "") in _MEDIA
        and "data-embed" not in given
        and given.get("data-inline") != "false"
    )


def _fate(rule: Rule, rules: StyleRules, found: frozenset[int], elsewhere: frozenset[int]) -> Fate:
    """What becomes of a rule (spec html-css-dkim.md 2.3)."""
    important: set[int] = set()
    unchanged: set[int] = set()
    left: set[int] = set()
    for at, selector in enumerate(rule.selectors):
        number = rules.number_of(selector)
        if number is None:
            important.add(at)
        elif number in elsewhere or number not in found:
            unchanged.add(at)
        else:
            left.add(at)
    return Fate(important, unchanged, left)


def _edit_elements(markup: Markup, matches: Matches, rules: StyleRules, patience: Patience) -> None:
    """Write new ``style`` attributes."""
    pieces = markup.pieces
    starts = markup.starts
    may_have_style = "" if markup.has_odd_styles else "style"
    slots: dict[Sequence[int], str] = {}
    size = 0
    elements = iter(matches.by_tag.items())
    while some := tuple(itertools.islice(elements, _ELEMENTS_PER_CHECK)):
        patience.check()
        for number, matched in some:
            at = starts[number] * WIDTH
            rest = pieces[at + REST]
            own = style_of(rest) if rest and may_have_style in rest else None
            if own is None:
                slot = slots.get(matched)
                if slot is None:
                    written = rules.style_of(matched, "")
                    slot = slots[matched] = f' style="{written}"' if written else ""
                pieces[at + SLOT] = slot
                size += len(slot)
            elif written := rules.style_of(matched, own[0]):
                pieces[at + REST] = f'{rest[: own[1]]}="{written}"{rest[own[2] :]}'  # type: ignore[index]
                size += len(written)
        if size > _MAX_WRITTEN:
            raise CssLimitError("more than 10 MiB of style attributes")


def _remove(markup: Markup, row: int) -> None:
    """Take out a raw text element, its end tag included."""
    at = row * WIDTH
    for piece in (OPEN, SLOT, REST, RAW):
        markup.pieces[at + piece] = None
    # Only the end of the document can come before the end tag.
    if at + WIDTH + END < len(markup.pieces):
        markup.pieces[at + WIDTH + END] = None
