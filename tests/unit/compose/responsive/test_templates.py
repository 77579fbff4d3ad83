"""Strings of a document as templates."""

from __future__ import annotations

import pytest

from relayq.compose.responsive.errors import DocumentError, Faults
from relayq.compose.responsive.templates import Templates
from relayq.compose.template import template_context
from tests.support.documents import SEEN_AT


def templates(*, force: bool = False) -> Templates:
    context = template_context({"x": 1}, envelope="", recipient="a@x.test", now=SEEN_AT, time_left=lambda: 1.0)
    return Templates(context, Faults(force=force), escape_html=False)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_a_template_are_one_kind(end: str) -> None:
    assert templates().render(f"a{{$x}}{end}b{end}", "mime.text") == "a1\nb\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_errors_count_lines_of_every_kind(end: str) -> None:
    with pytest.raises(DocumentError, match=r"^mime\.text: line 3: "):
        templates().render(f"a{end}b{end}{{if $x}}", "mime.text")


def test_what_is_no_template_stays_as_it_is() -> None:
    assert templates().render("a\r\nb\rc", "mime.text") == "a\r\nb\rc"
    assert templates(force=True).render("a\r\n{if $x}", "mime.text") == "a\r\n{if $x}"
