"""However blocks are nested, tables nest in what Word reads and in what everybody else reads (decision 0017)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from relayq.compose.inline_css import CssInliner
from relayq.compose.responsive import Resource
from relayq.compose.responsive.text_alternative import html_to_text
from tests.support.documents import html_of
from tests.support.gallery import Example, examples, picture
from tests.support.outlook import as_others, as_word, check_nesting

IMAGE = "https://x.test/a.png"
IMPORTED = "https://x.test/i.json"
ANSWERS = {
    IMAGE: Resource(picture(40, 30, "#dbeafe"), "image/png"),
    IMPORTED: Resource(b'[{"type":"text","content":"i"},{"type":"container","blocks":[]}]', "application/json"),
}
CONDITIONAL = "<!--[if mso]><p>Word</p><![endif]--><![if !mso]><p>others</p><![endif]>"
SPECIFIED = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>A</title>
<style type="text/css">
body{margin:0;padding:0;-webkit-text-size-adjust:100%;-ms-text-size-adjust:100%}
table{border-collapse:collapse}
@media only screen and (max-width:600px){
.re-main,.re-col{width:100%!important}
.re-col{display:block!important}
.re-desktop{display:none!important}
.re-mobile{display:table-row!important}
}
</style>
</head>
<body>
<table class="re-body" role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%">
<tr>
<td align="center" valign="top">
<table class="re-main" role="presentation" width="580" cellpadding="0" cellspacing="0" border="0" style="width:580px">
<tr>
<td class="re-content" align="left">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%">
<tr class="re-mobile" style="display:none;mso-hide:all"><td class="re-text" align="left" style="padding:0 0 10px 0">\
x</td></tr>
</table>
</td>
</tr>
</table>
</td>
</tr>
</table>
</body>
</html>"""
visibility = st.sampled_from([{}, {"visibility": {"device": "mobile"}}, {"visibility": {"device": "desktop"}}])
LEAVES: list[dict[str, Any]] = [
    {"type": "text", "content": "a < b\n<!--[if mso]>", "margin": 3},
    {"type": "heading", "content": "<![endif]-->", "size": 2, "link": "https://x.test/?a=b"},
    {"type": "html", "content": f"<p>x</p>{CONDITIONAL}"},
    {"type": "html", "content": "<ul><li>y</li></ul>"},
    {"type": "image", "src": IMAGE, "link": "https://x.test/"},
    {"type": "image", "src": IMAGE, "height": 20, "align": "center"},
    {"type": "button", "label": "-->", "corners": "round", "margin": {"top": 2}},
    {"type": "button", "label": "b", "link": "https://x.test/", "attributes": {"class": "<!--"}},
    {"type": "link", "link": "https://x.test/"},
    {"type": "separator"},
    {"type": "spacer", "height": 5},
    {"type": "import", "url": IMPORTED},
    {"type": "share", "label": "s", "platforms": ["twitter", "linkedin"], "link": "https://x.test/"},
]


def with_visibility(blocks: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda block, seen: {**block, **seen}, blocks, visibility)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, max_size=3)
    column = st.fixed_dictionaries({"blocks": several}, optional={"size": st.integers(1, 12)})
    columns = st.lists(column, min_size=1, max_size=4)
    containers: st.SearchStrategy[dict[str, Any]] = several.map(lambda given: {"type": "container", "blocks": given})
    rows: st.SearchStrategy[dict[str, Any]] = columns.map(lambda given: {"type": "columns", "columns": given})
    return st.one_of(with_visibility(containers), with_visibility(rows))


blocks = st.recursive(with_visibility(st.sampled_from(LEAVES)), nested, max_leaves=8)


def check(html: str) -> None:
    """Both views nest, and a reader of HTML5 sees the same elements as are written."""
    for view in (as_word(html), as_others(html)):
        found = check_nesting(view)
        assert len(re.findall("<table|<tr|<td", view)) == sum(tag in ("table", "tr", "td") for tag, _ in found)
        tree = LexborHTMLParser(view)
        assert [element.tag for element in tree.css("table, tr, td")] == [
            tag for tag, _ in found if tag in ("table", "tr", "td")
        ]
        for cell in tree.css("td"):
            assert cell.parent is not None
            assert cell.parent.tag == "tr"


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_gallery(example: Example) -> None:
    check(example.html())


@settings(max_examples=60)
@given(st.lists(blocks, max_size=4))
def test_nested_blocks(entries: list[dict[str, Any]]) -> None:
    html = html_of({"content": {"blocks": entries}, "subject": "--> <![endif]-->"}, answers=ANSWERS, force=True)
    check(html)
    check(CssInliner().inline_html(html))


def test_word_and_the_others_see_their_own() -> None:
    phones = {"visibility": {"device": "mobile"}}
    button = {"type": "button", "label": "Tap", "link": "https://x.test/"}
    columns = {"type": "columns", "columns": [{"blocks": [button]}, {"blocks": [button]}]}
    html = html_of({"content": {"blocks": [{**columns, **phones}, {"type": "text", "content": "all"}]}})
    word, others = as_word(html), as_others(html)
    assert ("Tap" in word, "PixelsPerInch>96<" in word, "all" in word) == (False, True, True)
    assert ("Tap" in others, "mso-table" in others, "all" in others) == (True, False, True)
    assert "o:OfficeDocumentSettings" not in html_to_text(html)


def test_outside_of_conditions_the_page_is_that_of_the_specification() -> None:
    text = {"type": "text", "content": "x", "visibility": {"device": "mobile"}}
    html = html_of({"subject": "A", "content": {"blocks": [text]}})
    conditions = r"<!--\[if mso\]>.*?<!\[endif\]-->\n|<!--\[if !mso\]><!-->\n|<!--<!\[endif\]-->\n"
    assert re.sub(conditions, "", html, flags=re.DOTALL) == SPECIFIED


def test_no_colours_for_the_dark() -> None:
    for example in examples():
        assert not re.search(r"prefers-color-scheme|color-scheme|\[data-ogs", example.html())


def test_the_check_finds_faults() -> None:
    for bad in ("<table><tr><td></tr></table>", "<table><td></td></table>", "<table>x</table>", "<p>"):
        with pytest.raises(AssertionError):
            check_nesting(f"<html><body>{bad}</body></html>")
    for bad in ("<!--[if mso]>x", "<!--[if mso]><!--[if mso]>x<![endif]--><![endif]-->", "<![endif]-->"):
        with pytest.raises(AssertionError):
            as_word(bad)
