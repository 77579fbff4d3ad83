"""HTML as Outlook for Windows reads it: conditional comments are taken or skipped as Word does; and whether it nests.

Behind a condition that does not hold Word looks for the first ``<![endif]``, even if that is of a condition inside.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

_CONDITION = re.compile(r"(?:<!--|<!)\[if ([^\]]*)\](?:><!-->|>-->|>)")
_END = re.compile(r"(?:<!--)?<!\[endif\](?:-->|>)", re.IGNORECASE)
_SEEN = {"mso": True, "!mso": False, "gte mso 9": True}
_EMPTY = frozenset(("br", "hr", "img", "link", "meta"))
_PARENTS = {
    "table": ("td", "body"),
    "tbody": ("table",),
    "tr": ("table", "tbody"),
    "td": ("tr",),
    "body": ("html",),
    "head": ("html",),
}
_INSIDE = {"table": ("tr", "tbody"), "tbody": ("tr",), "tr": ("td",)}


def as_word(html: str) -> str:
    """What is left for Word, without conditions.

    Raises:
        AssertionError: A condition stands inside of another, has no end, or nobody knows it.
    """
    pieces: list[str] = []
    at = 0
    while (condition := _CONDITION.search(html, at)) is not None:
        end = _END.search(html, condition.end())
        assert end is not None, f"{condition[0]} without end"
        inside = html[condition.end() : end.start()]
        assert not _CONDITION.search(inside), f"a condition inside of {condition[0]}"
        pieces += [html[at : condition.start()], inside if _SEEN[condition[1].strip()] else ""]
        at = end.end()
    rest = html[at:]
    assert not _END.search(rest), "the end of a condition that never began"
    return "".join((*pieces, rest))


def as_others(html: str) -> str:
    """What is left for everybody else: conditional comments are comments."""
    return re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL)


def check_nesting(html: str) -> list[tuple[str, int]]:
    """Elements with their depth, in order.

    Raises:
        AssertionError: A tag is not closed where it has to be, or a piece of a table is not inside of its like.
    """
    checker = _Checker()
    checker.feed(html)
    checker.close()
    assert not checker.open, f"never closed: {checker.open}"
    return checker.found


class _Checker(HTMLParser):
    """Wants every element closed, innermost first."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parent = self.open[-1] if self.open else ""
        if tag in _PARENTS:
            assert parent in _PARENTS[tag], f"<{tag}> in <{parent}> at {self.getpos()}"
        assert tag in _INSIDE.get(parent, (tag,)), f"<{tag}> in <{parent}> at {self.getpos()}"
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {self.get_starttag_text()}"
        self.found.append((tag, len(self.open)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _EMPTY or ":" in tag, f"<{tag} /> at {self.getpos()}"
        self.found.append((tag, len(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without start at {self.getpos()}"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        assert not data.strip() or inside not in (*_INSIDE, ""), f"text in <{inside}> at {self.getpos()}: {data!r}"
