"""What all blocks have in common: page, rows, cells, visibility, limits."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from relayq.compose.responsive import DocumentError, Resource, ResponsiveOptions
from tests.support.documents import Answers, compose, has_part, html_of, inner_of, plan_of, rows_of, text_of

TEXT = {"type": "text", "content": "x", "padding": 0}


def cell(block: dict[str, Any], **how: Any) -> str:
    """Start tag of the cell of a block."""
    row = rows_of({**TEXT, **block}, **how)
    return row[row.index("<td") : row.index(">", row.index("<td")) + 1]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({}, '<td class="re-text" align="left" style="padding:0">'),
        ({"padding": None}, '<td class="re-text" align="left" style="padding:0 0 10px 0">'),
        ({"padding": 5}, '<td class="re-text" align="left" style="padding:5px">'),
        ({"padding": "5px"}, '<td class="re-text" align="left" style="padding:5px">'),
        ({"padding": 2.5}, '<td class="re-text" align="left" style="padding:2.5px">'),
        ({"padding": -5}, '<td class="re-text" align="left" style="padding:0">'),
        ({"padding": {"top": 1, "left": "2"}}, '<td class="re-text" align="left" style="padding:1px 0 10px 2px">'),
        ({"padding": {"bottom": -1}}, '<td class="re-text" align="left" style="padding:0">'),
        ({"align": "center"}, '<td class="re-text" align="center" style="padding:0">'),
        ({"align": "RIGHT "}, '<td class="re-text" align="right" style="padding:0">'),
        ({"align": "justify"}, '<td class="re-text" align="left" style="padding:0">'),
        ({"background": {"color": "red"}}, '<td class="re-text" align="left" style="background-color:red;padding:0">'),
        ({"font": {"size": 12, "family": "Arial"}},
         '<td class="re-text" align="left" style="font-family:Arial;font-size:12px;padding:0">'),
        ({"css": {"border": "1px solid", "b": 5}},
         '<td class="re-text" align="left" style="padding:0;border:1px solid;b:5">'),
        ({"container": {"css": {"a": "c"}, "attributes": {"id": "i"}}, "css": {"a": "b"}},
         '<td class="re-text" align="left" id="i" style="padding:0;a:b;a:c">'),
        ({"attributes": {"Class": "mine", "style": "x:y;", "title": '<"&>'}},
         '<td class="mine" align="left" title="&lt;&quot;&amp;&gt;" style="padding:0;x:y">'),
        ({"css": {"bad name": "x", "x:y": 1, "ok": None, "no": [1]}, "attributes": {"1x": "a", "on x": "b", "x": True}},
         '<td class="re-text" align="left" x="true" style="padding:0">'),
        ({"css": []}, '<td class="re-text" align="left" style="padding:0">'),
    ],
)  # fmt: skip
def test_cells(block: dict[str, Any], expected: str) -> None:
    assert cell(block) == expected


def test_margins_are_outside_of_the_background() -> None:
    row = rows_of({**TEXT, "margin": {"top": 10}, "background": {"color": "#fff"}, "visibility": {"device": "desktop"}})
    assert row == (
        '<tr class="re-desktop"><td style="padding:10px 0 0 0">\n'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%">\n'
        '<tr><td class="re-text" align="left" style="background-color:#fff;padding:0">x</td></tr>\n'
        "</table>\n</td></tr>"
    )


@pytest.mark.parametrize(
    ("value", "is_colour"),
    [
        ("red", True), ("#fff", True), ("#AABBCCDD", True), ("rgb(1, 2, 3)", True), ("RGBA(1,2,3,.5)", True),
        (" red ", True),
        ("", False), ("#ff", False), ("red;x:y", False), ('"red"', False), ("{red}", False), ("url(x)", False),
        ("red'", False),
        ("url(http://x.test/a)", False), ("rgb(url(x))", False), ("a" * 99, False),
    ],
)  # fmt: skip
def test_colours(value: str, *, is_colour: bool) -> None:
    assert (f"background-color:{value.strip()};" in cell({"background": {"color": value}})) == is_colour


@pytest.mark.parametrize(
    ("font", "style"),
    [
        ({"weight": 700, "color": "red", "lineHeight": 20, "size": "14", "family": "'Open Sans', Arial"},
         "font-family:'Open Sans', Arial;font-size:14px;line-height:20px;color:red;font-weight:700;"),
        ({"size": "14px", "line-height": "1.5em", "weight": "bold"},
         "font-size:14px;line-height:1.5em;font-weight:bold;"),
        ({"size": 12.5}, "font-size:12.5px;"),
        ({"family": 'A "B"'}, "font-family:A &quot;B&quot;;"),
        ({"family": "a;b:c", "color": "url(x)", "size": "1}"}, ""),
        ({"family": "", "odd": 1}, ""),
        ([], ""),
    ],
)  # fmt: skip
def test_fonts(font: object, style: str) -> None:
    assert cell({"font": font}) == f'<td class="re-text" align="left" style="{style}padding:0">'


def test_font_of_the_document_is_overlaid() -> None:
    document = {"font": {"family": "Arial", "size": 14}}
    assert "font-family:Arial;font-size:20px;color:red;" in cell({"font": {"size": 20, "color": "red"}}, mime=document)


@pytest.mark.parametrize(
    ("visibility", "start"),
    [
        ({"device": "always"}, "<tr><td"),
        ({"device": "odd"}, "<tr><td"),
        ({"device": "desktop", "output": "mailonly"}, '<tr class="re-desktop"><td'),
        ({"device": "Mobile", "output": "always"},
         '<!--[if !mso]><!-->\n<tr class="re-mobile" style="display:none;mso-hide:all"><td'),
        ({"output": "webonly"}, ""),
    ],
)  # fmt: skip
def test_visibility(visibility: dict[str, str], start: str) -> None:
    row = rows_of({**TEXT, "visibility": visibility})
    assert row.startswith(start)
    assert bool(row) == bool(start)


def test_word_skips_what_is_for_phones_once() -> None:
    phones = {"visibility": {"device": "mobile"}}
    inside = {**TEXT, **phones}
    row = '<tr class="re-mobile" style="display:none;mso-hide:all"><td class="re-'
    whole = rows_of({"type": "container", **phones, "margin": 1, "blocks": [inside]})
    assert whole.startswith("<!--[if !mso]><!-->\n<tr class")
    assert whole.endswith("</tr>\n<!--<![endif]-->")
    assert (whole.count("[if"), whole.count("[endif]"), whole.count(row)) == (1, 1, 1)
    conditional = {"type": "html", "content": "<!--[if mso]>a<![EndIf]-->b", **phones}
    assert rows_of(conditional).startswith(f"{row}html")
    assert rows_of(conditional, inside).count("<!--[if !mso]><!-->") == 1


def test_what_stands_for_other_blocks_passes_its_device_on() -> None:
    entries: list[Any] = [
        {"type": "text", "content": "x"},
        {"type": "container", "blocks": [{"type": "text", "content": "y"}]},
        {"type": "text", "content": "z", "visibility": {"device": "mobile"}},
    ]
    answers = {"https://x.test/": Resource(json.dumps(entries).encode(), "application/json")}
    block = {"type": "import", "url": "https://x.test/", "visibility": {"device": "desktop"}}
    rows = rows_of(block, answers=answers)
    assert re.findall(r'<tr[^>]*><td class="re-[a-z]+', rows) == [
        '<tr class="re-desktop"><td class="re-text',
        '<tr class="re-desktop"><td class="re-container',
        '<tr><td class="re-text',
        '<tr class="re-mobile" style="display:none;mso-hide:all"><td class="re-text',
    ]
    document = {"content": {"blocks": [{**block, "visibility": {"device": "mobile"}}, TEXT]}}
    assert text_of(document, answers=answers) == "x"


def test_blocks_left_out_fetch_nothing() -> None:
    block = {"type": "html", "url": "https://x.test/", "visibility": {"output": "webonly"}}
    assert plan_of({"content": {"blocks": [block]}}).downloads == ()


def test_page() -> None:
    mime = {
        "subject": 'A <b> & "c"', "background": {"color": "#eee"}, "css": {"margin": "0"},
        "attributes": {"width": "90%", "id": "w"},
        "content": {"blocks": [],
                    "background": {"color": "white"}, "css": {"x": "y"}, "attributes": {"align": "center"}},
    }  # fmt: skip
    html = html_of(mime)
    assert html.startswith("<!DOCTYPE html PUBLIC ")
    assert '<title>A &lt;b&gt; &amp; &quot;c&quot;</title>\n<style type="text/css">\n' in html
    assert (
        '<table class="re-body" role="presentation" width="90%" cellpadding="0" cellspacing="0" border="0" id="w" '
        'style="width:100%;background-color:#eee;margin:0">\n'
    ) in html
    assert '<td class="re-content" align="center" style="background-color:white;x:y">\n<table role' in html
    assert html.endswith("</table>\n</body>\n</html>")
    bare = html_of({"content": {"blocks": []}})
    assert '<td class="re-content" align="left">\n' in bare
    assert "<title></title>" in bare


def test_where_blocks_may_stand() -> None:
    rows = rows_of(TEXT)
    assert rows in html_of({"blocks": [TEXT]})
    assert rows in html_of({"blocks": [TEXT], "content": {"css": {"a": "b"}}})
    assert rows in html_of({"blocks": [{"type": "spacer"}], "content": {"blocks": [TEXT]}})
    assert html_of({"blocks": [TEXT], "content": "<p>"}) == "<p>"
    assert not has_part(compose({"content": {}}), "text/html")
    assert not has_part(compose({"content": []}), "text/html")
    assert rows in html_of({"html": "<p>", "content": {"blocks": [TEXT]}})


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([{"type": "marquee"}], "mime.content.blocks[0]: unknown type"),
        ([TEXT, {"content": "x"}], "mime.content.blocks[1]: type needed"),
        ([{"type": 5}], "mime.content.blocks[0].type: expected a string"),
        (["x"], "mime.content.blocks[0]: expected an object"),
        ({"type": "text"}, "mime.content.blocks: expected an array"),
        ([{**TEXT, "padding": "wide"}], "mime.content.blocks[0].padding: expected a number"),
        ([{**TEXT, "padding": True}], "mime.content.blocks[0].padding: expected a number"),
        ([{**TEXT, "padding": 10**4000}], "mime.content.blocks[0].padding: expected a number"),
        ([{**TEXT, "margin": {"top": []}}], "mime.content.blocks[0].margin.top: expected a number"),
        ([{**TEXT, "background": "red"}], "mime.content.blocks[0].background: expected an object"),
        ([{**TEXT, "background": {"color": 5}}], "mime.content.blocks[0].background.color: expected a string"),
        ([{**TEXT, "align": 5}], "mime.content.blocks[0].align: expected a string"),
        ([{**TEXT, "font": 5}], "mime.content.blocks[0].font: expected an object"),
        ([{**TEXT, "font": {"family": 5.5}}], None),
        ([{**TEXT, "font": {"family": []}}], "mime.content.blocks[0].font.family: expected a string"),
        ([{**TEXT, "css": "x"}], "mime.content.blocks[0].css: expected an object"),
        ([{**TEXT, "container": 1}], "mime.content.blocks[0].container: expected an object"),
        ([{**TEXT, "visibility": "mobile"}], "mime.content.blocks[0].visibility: expected an object"),
        ([TEXT] * 2001, "mime.content: more than 2000 blocks"),
    ],
)  # fmt: skip
def test_errors(blocks: object, message: str | None) -> None:
    mime = {"content": {"blocks": blocks}}
    if message is None:
        compose(mime)
        return
    with pytest.raises(DocumentError) as caught:
        compose(mime)
    assert str(caught.value) == message
    assert message in plan_of(mime, force=True).notes


def test_with_force_the_rest_is_sent() -> None:
    rows = rows_of({**TEXT, "padding": "wide"}, {"type": "marquee"}, {"type": "text"}, TEXT, force=True)
    assert rows.count("<tr>") == 2
    assert rows.count(">x</td>") == 2


def test_nesting() -> None:
    def nested(levels: int) -> dict[str, Any]:
        return TEXT if levels == 1 else {"type": "container", "blocks": [nested(levels - 1)]}

    assert ">x</td>" in rows_of(nested(10))
    with pytest.raises(DocumentError, match=r"\.blocks\[0\]: nested deeper than 10 levels$"):
        rows_of(nested(11))


def test_large_texts_that_are_used_again_and_again() -> None:
    mime = {"content": {"blocks": [{"type": "text", "content": "{$x}"}] * 20}}
    with pytest.raises(DocumentError, match="HTML larger than"):
        compose(mime, data={"x": "y" * 1_000_000})
    assert len(html_of(mime, data={"x": "y" * 1_000_000}, force=True)) < 5 * 1024 * 1024


def test_texts() -> None:
    def blocks(*texts: str) -> dict[str, Any]:
        return {"content": {"blocks": [{"type": "text", "content": text} for text in texts]}}

    assert text_of(blocks("a", "b \n\n", "", " c")) == "a\n\nb\n\n c\n".removesuffix("\n")
    assert text_of(blocks("", "")) is None
    assert text_of({**blocks("a"), "text": ""}) is None
    assert text_of({**blocks("a"), "text": "b"}) == "b"
    assert text_of(blocks("a"), options=ResponsiveOptions(autotext=False)) is None
    devices = [{"type": "text", "content": name, "visibility": {"device": name}} for name in ("desktop", "mobile")]
    assert text_of({"content": {"blocks": devices}}) == "desktop"
    spacer = {"content": {"blocks": [TEXT, {"type": "spacer"}, TEXT, {"type": "spacer"}]}}
    assert text_of(spacer) == "x\n\n\n\nx"


def test_templates() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "text", "content": "{$a} & co"},
        {"type": "html", "content": "{if 1 &gt; 0}{$a}{/if}"},
        {"type": "columns", "columns": [{"size": "{$n}", "blocks": [{"type": "html", "source": "{$a}"}]}]},
    ]
    rows = rows_of(*blocks, data={"a": "<i>", "n": 6})
    assert ">&lt;i&gt; &amp; co</td>" in rows
    assert rows.count("><i></td>") == 2
    assert 'width="50%"' in rows
    assert ">&lt;i&gt;</td>" in rows_of(blocks[1], data={"a": "<i>"}, options=ResponsiveOptions(escape_html=True))
    with pytest.raises(DocumentError, match=r"^mime\.content\.blocks\[0\]\.css\.color: line 1: "):
        rows_of({**TEXT, "css": {"color": "{$"}}, data={})
    with pytest.raises(DocumentError, match="unknown type"):
        rows_of({**TEXT, "type": "{$t}"}, data={"t": "text"})


def test_content_that_grows_with_templates_is_bounded() -> None:
    with pytest.raises(DocumentError, match="templates give more than"):
        compose({"css": {"x": ["{$a}b"] * 100}}, data={"a": "y" * 1_000_000}, force=True)


def test_inner() -> None:
    answers: Answers = {}
    assert inner_of(TEXT, answers=answers) == "x"
