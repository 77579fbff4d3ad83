"""What inlining refuses, survives and remembers (spec html-css-dkim.md 2.5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relayq.compose import css_matching, inline_css
from relayq.compose.css_matching import CssLimitError, Patience
from relayq.compose.css_sheet import Sheet, parse_sheet
from relayq.compose.inline_css import CssInliner


def inline(html: str, *, important: bool = True) -> str:
    return CssInliner(important=important).inline_html(html)


def styled(css: str, body: str, style: str = "<style>") -> str:
    return f"<html><head>{style}{css}</style></head><body>{body}</body></html>"


def body_of(html: str) -> str:
    return html.partition("<body>")[2].removesuffix("</body></html>")


# Limits (2.5).


def test_too_much_css_is_beyond_the_limits() -> None:
    html = styled("p{a:b}" + " " * (1 << 20), "<p>x</p>")
    with pytest.raises(CssLimitError, match="1 MiB"):
        inline(html)
    with pytest.raises(CssLimitError, match="1 MiB"):
        inline(f"<style>p{{a:b}}{'/' * (1 << 19)}</style>" * 2)
    untouched = styled("p{a:b}" + " " * (1 << 20), "<p>x</p>", "<style media=print>")
    assert inline(untouched) == untouched


def test_too_many_elements_are_beyond_the_limits() -> None:
    with pytest.raises(CssLimitError, match="100000 elements"):
        inline(styled("p{a:b}", "<b></b>" * 100_000))
    assert inline("<b></b>" * 100_001) == "<b></b>" * 100_001


def test_the_clock_is_looked_at() -> None:
    with pytest.raises(CssLimitError, match="too long"):
        CssInliner().inline_html(styled("p{a:b}", "<p>x</p>"), Patience(lambda: True))


def test_the_clock_is_looked_at_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(css_matching, "_BATCH_STEPS", 1)
    answers = iter([False, False, False, True])
    with pytest.raises(CssLimitError, match="too long"):
        CssInliner().inline_html(styled("p{a:b} i{a:b} b{c:d}", "<p>x</p>"), Patience(lambda: next(answers)))


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    html = styled("p{a:b} p.x{c:d} b{e:f} * {g:h} i{i:j} div{k:l}", "<p class=x>1<b>2</b></p><i></i>")
    expected = inline(html)
    monkeypatch.setattr(css_matching, "_BATCH_STEPS", 1)
    assert inline(html) == expected


@pytest.mark.parametrize("css", [".a ~ b ~ i{c:d}", "*:not(a ~ b){c:d}"])
def test_work_that_cannot_be_interrupted_is_refused(css: str) -> None:
    with pytest.raises(CssLimitError, match="too long"):
        inline(styled(css, "<b></b>" * 30_000))


def test_too_many_matches_are_beyond_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(css_matching, "_MAX_MATCHES", 5)
    with pytest.raises(CssLimitError, match="too many"):
        inline(styled("p{a:b} *{c:d}", "<p>1</p>" * 3))


def test_a_document_must_not_grow_without_end() -> None:
    css = "*{" + "".join(f"a{number}:b;" for number in range(5_000)) + "}"
    with pytest.raises(CssLimitError, match="10 MiB"):
        inline(styled(css, "<i></i>" * 1_000))


def test_little_patience_is_for_little_work() -> None:
    html = styled("p{a:b} i{c:d}", "<p>1</p>" * 100)
    for patience in (Patience(max_steps=100), Patience(max_new_css=10)):
        with pytest.raises(CssLimitError):
            CssInliner().inline_html(html, patience)
    inliner = CssInliner()
    assert inliner.inline_html(html, Patience(max_steps=1_000)) == inline(html)
    assert inliner.inline_html(html, Patience(max_new_css=0)) == inline(html)  # the sheet is known now
    with pytest.raises(CssLimitError, match="too long"):
        inliner.inline_html(styled("p{a:b}", "<p>" * 2_000), Patience(max_steps=1_000_000))  # has to be put in order


def test_the_clock_is_looked_at_while_tags_are_put_in_order() -> None:
    answers = iter([False, False, True])
    with pytest.raises(CssLimitError, match="too long"):
        CssInliner().inline_html(styled("p{a:b}", "<p>" * 2_000), Patience(lambda: next(answers)))


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 50_000,
        "<b id={}><p>x" * 20_000,
        "<table><td>" * 20_000,
        "<form><form></form></form>" * 20_000,
        "<svg><g>" * 20_000,
        "<a><div>" * 20_000,
        "<table><i>x<tr>" * 20_000,
        "<select><title>" + "<b>" * 20_000 + "</title>",
        "</p>" * 100_000,
        "<template>" * 20_000,
        "<!--" + "<p>" * 20_000,
        "<p " * 20_000,
        "<p style='" * 20_000,
        "<p style='x:" + "(" * 100_000 + "'>",
    ],
    ids=lambda html: html[:16],
)
def test_malicious_documents_do_no_harm(html: str) -> None:
    whole = f"<style>p{{a:b}}</style>{html}"
    inlined = inline(whole)
    assert len(inlined) < 20 * len(whole)


@pytest.mark.parametrize(
    "css",
    [
        "{" * 50_000,
        "(" * 50_000,
        "p{a:" + "(" * 50_000 + ")}",
        ":not(" * 50_000,
        "p{a:b}" * 20_000,
        "p" + ",p" * 20_000 + "{a:b}",
        "p{" + "a:b;" * 20_000 + "}",
        "/*" * 50_000,
        "@media x{" * 5_000,
        "p{a:1" + "0" * 5_000 + "}",
        "p:nth-child(1" + "0" * 5_000 + "){a:b}",
        "\\" * 50_000,
        "'" * 50_001,
        "p{a:url(" * 20_000,
        "a b " * 20_000 + "{a:b}",
        "<!--" * 20_000,
        "}" * 50_000,
        "p\0{a\0:b\0}",
    ],
    ids=lambda css: css[:16],
)
def test_malicious_sheets_do_no_harm(css: str) -> None:
    html = inline(f"<style>{css}</style><p>x</p>")
    assert html.endswith(">x</p>")


# Remembering.


def test_a_sheet_is_taken_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def counting(text: str) -> Sheet:
        parsed.append(text)
        return parse_sheet(text)

    monkeypatch.setattr("relayq.compose.css_sheet.parse_sheet", counting)
    inliner = CssInliner()
    for name in ("Ann", "Bob", "Ann"):
        assert inliner.inline_html(styled("p{a:b}", f"<p>{name}</p>")).endswith(
            f'<p style="a:b">{name}</p></body></html>'
        )
    assert parsed == ["p{a:b}"]


def test_documents_of_one_template_ask_the_engine_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    run: Callable[[str, tuple[str, ...], int], str] = css_matching._run

    def counting(html: str, selectors: tuple[str, ...], first: int) -> str:
        runs.append(html)
        return run(html, selectors, first)

    monkeypatch.setattr(css_matching, "_run", counting)
    inliner = CssInliner()
    css = "p.x{a:b} a[title]{c:d} p:empty{e:f}"

    def inlined(body: str) -> str:
        return body_of(inliner.inline_html(styled(css, body)))

    assert inlined("<p class=x>Ann</p><a href=/1>x</a>") == '<p style="a:b" class=x>Ann</p><a href=/1>x</a>'
    assert (
        inlined("<p class=x>Bob &amp; co</p><a href=/2>y</a>")
        == '<p style="a:b" class=x>Bob &amp; co</p><a href=/2>y</a>'
    )
    assert inlined("<p class=x style=g:h>!</p><a href=/3>z</a>") == '<p class=x style="a:b;g:h">!</p><a href=/3>z</a>'
    assert len(runs) == 1
    assert inlined("<p class=y>Ann</p><a href=/1>x</a>") == "<p class=y>Ann</p><a href=/1>x</a>"
    assert inlined("<p class=x>Ann</p><a href=/1 title=t>x</a>").endswith('<a style="c:d" href=/1 title=t>x</a>')
    assert inlined("<p class=x></p><a href=/1>x</a>") == '<p style="a:b;e:f" class=x></p><a href=/1>x</a>'
    assert inlined("<p class=x>Ann</p><i></i><a href=/1>x</a>").startswith('<p style="a:b" class=x>')
    assert len(runs) == 5


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline_css, "_MAX_CACHED_RULES", 2)
    monkeypatch.setattr("relayq.compose.css_cascade._MAX_CACHED_MATCHES", 2)
    monkeypatch.setattr("relayq.compose.css_cascade._MAX_CACHED_STYLES", 2)
    inliner = CssInliner()
    inliner._sheets._limit = 20
    for number in range(6):
        html = styled(f"p{{a:b{number}}}", "<p></p>" * number + "<p style=c:d></p>")
        assert f'style="a:b{number};c:d"' in inliner.inline_html(html)
        assert inliner.inline_html(styled("p{a:b}", "<p></p>" * (number + 1))).count('style="a:b"') == number + 1
    assert len(inliner._rules) <= 2
    assert inliner._sheets._size <= 20
