"""Any document, any sheet: nothing is raised, and nothing changes but styles (spec html-css-dkim.md 2.1)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from hypothesis import assume, example, given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from relayq.compose.css_cascade import Matched, StyleRules, cascade
from relayq.compose.css_declarations import Declaration, clean_value, parse_style
from relayq.compose.css_matching import Patience, match_selectors
from relayq.compose.css_sheet import Fate, Rule, edit_sheet, is_blank_sheet, parse_sheet
from relayq.compose.css_tokens import CssText
from relayq.compose.html_repair import repair
from relayq.compose.html_scan import (
    END,
    OPEN,
    OTHER,
    RAW,
    REST,
    SLOT,
    TEXT,
    WIDTH,
    Markup,
    attributes_of,
    end_name,
    style_of,
)
from relayq.compose.inline_css import CssInliner

NAMES = "a b i p div span ul li dd table tr td tbody form select option svg g template br img h1"
names = st.sampled_from(NAMES.split())
attributes = st.sampled_from(
    [
        "",
        " class=x",
        " id=y",
        " style=a:b",
        " STYLE='a:\"b\"'",
        ' style="c:d;e:(" title="x>y"',
        " style",
        "/",
        " x = y",
        " a=b/",
    ]
)
tags = st.one_of(
    st.builds("<{}{}>".format, names, attributes),
    st.builds("</{}>".format, names),
    st.builds("<{0}{1}>x</{0}>".format, names, attributes),
)
odd = st.sampled_from(
    [
        *("<", ">", "&", "&amp", '"', "'", "=", "/", "-", "--", "!", "\n", " ", "x", "ü", "\0", "\ud800", "\U0001f600"),
        "<!--",
        "-->",
        "<!-->",
        "--!>",
        "<![CDATA[",
        "]]>",
        "<!doctype html>",
        "<?",
        "<script>",
        "</script>",
        "<title>",
        "</title>",
        "<textarea>",
        "<style media=print>",
        "<style>",
        "</style>",
        "<plaintext>",
        "<head>",
        "<body>",
        "</body>",
    ]
)
selectors = st.lists(
    st.sampled_from(
        [
            *(
                "p",
                ".x",
                "#y",
                "*",
                "[style]",
                "[class]",
                " ",
                ">",
                "+",
                "~",
                ",",
                ":hover",
                ":not(",
                ":is(",
                ")",
                "b",
                "body",
            ),
            "::before",
            ":first-child",
            ":nth-child(2n+1)",
            "html",
            "ü",
            "\\31 ",
            ":empty",
            "a:link",
            "/*c*/",
            "!",
            "[",
        ]
    ),
    max_size=5,
).map("".join)
values = st.lists(
    st.sampled_from(
        [
            "red",
            " ",
            "!important",
            "var(--x)",
            "url(x)",
            '"a\'b"',
            "'c\"d'",
            "(",
            ")",
            "/*d*/",
            "\\9",
            "<",
            "&",
            "{",
            "}",
            "\n",
        ]
    ),
    max_size=4,
).map("".join)
declarations = st.lists(
    st.builds("{}:{}".format, st.sampled_from(["color", "MARGIN", "--x", "*z", "a b", ""]), values), max_size=3
).map(";".join)
rules = st.one_of(
    st.builds("{} {{{}}}".format, selectors, declarations),
    st.builds("@media x {{ {} {{{}}} }}".format, selectors, declarations),
    st.sampled_from(
        ["@import 'x';", "@font-face{a:b}", "<!--", "-->", "}", "{", "@x", "/*", "*/", " ", "'", "\\", ";"]
    ),
)
sheets = st.lists(rules, max_size=5).map("\n".join).filter(lambda css: "</style" not in css.lower())
styles = sheets.map(lambda css: f"<style>{css}</style>")
documents = st.lists(st.one_of(tags, tags, tags, odd, styles), max_size=14).map("".join)


@given(html=documents, important=st.booleans())
@example(html="<style>p{a:b}</style><p>x</p>", important=True)
def test_nothing_but_styles_changes(html: str, *, important: bool) -> None:
    inlined = CssInliner(important=important).inline_html(html)
    assert without_styles(inlined) == without_styles(html)


def without_styles(html: str) -> str:
    """A document without ``style`` attributes and without ordinary ``<style>`` elements."""
    markup = Markup(html)
    pieces = markup.pieces
    for row in markup.starts:
        at = row * WIDTH
        rest = pieces[at + REST] or ""
        if (pieces[at + OPEN] or "").lower() == "<style" and pieces[at + RAW]:
            for place in (OPEN, REST, RAW):
                pieces[at + place] = None
            if at + WIDTH + END < len(pieces) and not pieces[at + WIDTH + TEXT]:
                pieces[at + WIDTH + END] = None
        elif (found := style_of(rest)) is not None:
            pieces[at + REST] = rest[: found[1] - len("style")].rstrip(" ") + rest[found[2] :]
    return markup.join()


@given(documents)
def test_what_is_inlined_once_stays(html: str) -> None:
    inliner = CssInliner(important=False)
    once = inliner.inline_html(html)
    # What remains of a list of selectors can match again, so only the document is compared.
    assume("," not in html and "--x" not in html)
    assert without_styles(inliner.inline_html(once)) == without_styles(once)


@given(sheets, st.lists(st.sampled_from(["important", "unchanged", "gone"]), min_size=1))
def test_sheets_that_are_kept_do_not_change(css: str, fates: list[str]) -> None:
    sheet = parse_sheet(css)
    everything = {rule: frozenset(range(len(rule.selectors))) for rule in sheet.rules}
    nothing = frozenset[int]()
    assert edit_sheet(sheet, lambda rule: Fate(nothing, everything[rule], nothing), important=False) == css
    kept = edit_sheet(sheet, lambda rule: Fate(everything[rule], nothing, nothing), important=True)
    assert kept.replace("!important", "") == css.replace("!important", "")
    chosen = dict(zip(sheet.rules, itertools.cycle(fates), strict=False))

    def fate_of(rule: Rule) -> Fate:
        important, unchanged = (
            everything[rule] if chosen[rule] == fate else nothing for fate in ("important", "unchanged")
        )
        return Fate(important, unchanged, nothing)

    edited = edit_sheet(sheet, fate_of, important=False)
    assert is_subsequence(edited, css)


def is_subsequence(part: str, whole: str) -> bool:
    rest: Iterator[str] = iter(whole)
    return all(character in rest for character in part)


@given(st.text("p{}:;a@/*'\"\\()[]<!-\n", max_size=60) | sheets)
def test_any_text_is_a_sheet(css: str) -> None:
    text = CssText(css)
    assert [value.start for value in text.values] == sorted(value.start for value in text.values)
    assert "".join(css[value.start : value.end] for value in text.values) == css
    parse_sheet(css)
    is_blank_sheet(css)


@given(st.text("ab:;()'\"\\/*! \n<&", max_size=40) | declarations)
def test_what_was_read_from_a_style_reads_the_same_again(style: str) -> None:
    found = parse_style(style)
    written = ";".join(f"{name}:{value}{'!important' if important else ''}" for name, value, important in found)
    assert parse_style(written) == found
    assert parse_style(f"{written};zz:last")[-1] == Declaration("zz", "last", is_important=False)


@given(values)
def test_cleaning_a_value_twice_changes_nothing_more(value: str) -> None:
    assert clean_value(clean_value(value)) == clean_value(value)


some_declarations = st.lists(
    st.builds(Declaration, st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=4
)


@given(st.lists(st.tuples(st.integers(0, 2), some_declarations), max_size=4), some_declarations)
def test_the_cascade_picks_what_a_browser_picks(
    given_rules: list[tuple[int, list[Declaration]]], own: list[Declaration]
) -> None:
    matched = [Matched(specificity, order, found) for order, (specificity, found) in enumerate(given_rules)]
    ranked: dict[str, tuple[tuple[bool, bool, int, int, int], str]] = {}
    for specificity, order, found in matched:
        for at, (name, value, important) in enumerate(found):
            ranked[name] = max(
                ranked.get(name, ((False, False, -1, -1, -1), "")), ((important, False, specificity, order, at), value)
            )
    for at, (name, value, important) in enumerate(own):
        ranked[name] = max(ranked.get(name, ((False, False, -1, -1, -1), "")), ((important, True, 0, 0, at), value))
    winners = cascade(matched, own)
    assert {name: value for name, value, _ in winners} == {name: value for name, (_, value) in ranked.items()}


# Tags and trees.

pieces_of_tags = st.sampled_from(
    [
        *(
            "<p>",
            "</p>",
            "<b a=1>",
            "<b a='x>'>",
            '<i b="<u>">',
            "<u",
            "<",
            "</",
            "/>",
            ">",
            "!--",
            "-->",
            "--!>",
            "<!--",
        ),
        *(
            "<!-->",
            "<!",
            "]]>",
            "<![CDATA[",
            "<script>",
            "</script>",
            "<script",
            "<style>",
            "</style>",
            "<title>",
            "</title>",
        ),
        *(
            "<textarea>",
            "</textarea>",
            "x",
            " ",
            "\n",
            "=",
            "'",
            '"',
            "-",
            "/",
            "&",
            "<DIV>",
            "</Div >",
            "<a/b=c/>",
            "<br/>",
        ),
        "<table>",
        "<td>",
        "<plaintext>",
        "<xmp>",
        "</xmp>",
        "<iframe>",
        "</iframe>",
        "<x:y z>",
        "\f",
        "<1",
        "<é>",
        "<pé>",
    ]
)


@given(st.lists(pieces_of_tags, max_size=14).map("".join))
def test_our_tags_are_the_elements_of_a_browser_engine(html: str) -> None:
    markup = Markup(html)
    assert markup.join() == html
    for place, row in enumerate(markup.starts):
        markup.pieces[row * WIDTH + SLOT] = f' zq="{place}"'
    root = LexborHTMLParser(f"<body>{markup.join()}").root
    assert root is not None
    implied = {"html", "head", "body", "tbody", "tr", "colgroup", "p", "br"}
    for node in root.traverse(include_text=True):
        if node.tag == "-text":
            assert ' zq="' not in (node.text(deep=False) or "")
        elif node.tag and not node.tag.startswith("-"):
            number = node.attributes.get("zq")
            if number is None:
                assert node.tag in implied
            else:
                row = markup.starts[int(number)]
                assert (markup.pieces[row * WIDTH + OPEN] or "")[1:].lower() == node.tag
                found = list(attributes_of(markup.pieces[row * WIDTH + REST] or ""))
                assert {name for name, _ in found} == set(node.attributes) - {"zq"}


@given(st.lists(st.one_of(tags, odd.filter(lambda text: text != "<plaintext>")), min_size=1, max_size=10).map("".join))
def test_a_repaired_document_grows_no_tree(html: str) -> None:
    markup = Markup(html * 60)
    markup.pieces[OTHER::WIDTH] = [other and "<!---->" for other in markup.pieces[OTHER::WIDTH]]
    markup.pieces[RAW::WIDTH] = [raw and "x" for raw in markup.pieces[RAW::WIDTH]]
    root = LexborHTMLParser(repair(markup.pieces)).root
    assert root is not None
    elements = sum(not (node.tag or "-").startswith("-") for node in root.traverse())
    assert elements <= 3 * len(markup.starts) + 8


@given(documents)
def test_attributes_and_ends_are_found_in_every_tag(html: str) -> None:
    markup = Markup(html)
    for row in markup.starts:
        names_found = [attribute.name for attribute in attributes_of(markup.pieces[row * WIDTH + REST] or "")]
        assert all(name == name.lower() and not re.search("[\t\n\f\r />]", name) for name in names_found)
    assert all(end_name(end) for end in markup.pieces[END::WIDTH] if end)


shown = st.one_of(
    tags,
    st.sampled_from(
        [
            "x",
            " ",
            "\n",
            "\r\n",
            "&nbsp;",
            "&#32;",
            "<!--c-->",
            "<pre>",
            "</pre>",
            "<table>x<!--c--> <tr>",
            "<head>",
            "<colgroup>",
            " y",
        ]
    ),
)


@given(
    st.lists(shown, max_size=20).map("".join),
    st.lists(
        st.sampled_from(["p", ".x", "#y", "td b", "p > b", "b + i", ":empty", "li:nth-child(2n)", "*"]), min_size=1
    ),
)
@example("<table><tr>x<!--c--> <b>", [":empty"])
@example("<head>\n\nx", [":empty"])
@example("<head>&#32;x", [":empty"])
@example("<pre>\n</pre>", [":empty"])
def test_the_reduced_document_matches_as_the_whole_one(html: str, given: list[str]) -> None:
    rules = StyleRules(parse_sheet("".join(f"{selector}{{a:b}}" for selector in given)).rules)
    markup = Markup(html)
    shape = rules._shapes.reduce(markup)
    assume(shape is not None and shape.pieces is not None)
    assert shape is not None
    whole = match_selectors(markup, rules.selectors, Patience())
    assert match_selectors(markup, rules.selectors, Patience(), shape.pieces) == whole
