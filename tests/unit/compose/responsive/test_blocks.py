"""Every type of block of tier B: HTML, text, and what is wrong with it."""

from __future__ import annotations

import importlib
import struct
from typing import Any

import pytest

from relayq.compose.responsive import DocumentError, DownloadFailure, DownloadKind, Resource
from relayq.compose.responsive.blocks.pictures import image_size
from tests.support.documents import html_of, inner_of, plan_of, rows_of, text_of

URL = "https://shop.example/a"
BUTTON = '<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="border-collapse:separate"><tr>'


def text(block: dict[str, Any], **how: Any) -> str | None:
    """Text of one block."""
    return text_of({"content": {"blocks": [block]}}, **how)


def gif(width: int, height: int) -> Resource:
    return Resource(b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0", "image/gif")


@pytest.mark.parametrize(
    ("block", "html", "plain"),
    [
        ({"type": "text", "content": "5 < 6 & \"so\" 'on'\r\nBye\n"},
         "5 &lt; 6 &amp; &quot;so&quot; 'on'<br />Bye<br />",
         "5 < 6 & \"so\" 'on'\nBye"),
        ({"type": "text", "source": "a"}, "a", "a"),
        ({"type": "text", "content": ""}, "", None),
        ({"type": "html", "content": "<p>a</p>\r\n<b>b</b>"}, "<p>a</p>\n<b>b</b>", "a\n\nb"),
        ({"type": "heading", "content": "a & b"}, '<h1 style="margin:0">a &amp; b</h1>', "a & b"),
        ({"type": "heading", "content": "a", "size": "3", "css": {"x": "y"}, "attributes": {"id": "i"},
          "font": {"size": 9}},
         '<h3 id="i" style="margin:0;font-size:9px;x:y">a</h3>', "a"),
        ({"type": "heading", "content": "a", "link": URL},
         f'<h1 style="margin:0"><a href="{URL}" style="color:inherit">a</a></h1>', f"a <{URL}>"),
        ({"type": "button", "label": "Buy"},
         BUTTON + '<td align="center" bgcolor="#2ba6cb" style="background-color:#2ba6cb;padding:8px 16px 8px 16px">'
         '<span style="color:#ffffff;display:inline-block;text-decoration:none">Buy</span></td></tr></table>', "Buy"),
        ({"type": "button", "label": "B&B", "link": {"url": URL, "title": "T", "attributes": {"id": "l"}},
          "color": "red", "size": 4, "corners": "round", "font": {"color": "blue", "size": 9}, "css": {"c": "d"},
          "attributes": {"id": "t"},
          "a": {"css": {"e": "f"}, "attributes": {"rel": "r"}}},
         BUTTON
         + '<td align="center" bgcolor="red" id="t" style="background-color:red;border-radius:500px;padding:4px;c:d">'
         f'<a href="{URL}" title="T" id="l" rel="r" style="font-size:9px;color:blue;display:inline-block;'
         'text-decoration:none;e:f">B&amp;B</a></td></tr></table>', f"B&B: {URL}"),
        ({"type": "link", "link": URL}, f'<a href="{URL}" style="text-decoration:underline">{URL}</a>', URL),
        ({"type": "link", "link": {"url": URL, "label": "L", "title": "T"}, "font": {"size": 9}, "css": {"a": "b"}},
         f'<a href="{URL}" title="T" style="font-size:9px;a:b">L</a>', f"L: {URL}"),
        ({"type": "link", "label": "M", "link": {"url": URL, "label": "L"}},
         f'<a href="{URL}" style="text-decoration:underline">M</a>', f"M: {URL}"),
        ({"type": "separator"},
         '<div style="border-top:4px solid #cccccc;font-size:0;line-height:0">&nbsp;</div>', "-" * 40),
        ({"type": "separator", "color": "red", "style": "dotted", "height": "2px", "css": {"a": "b"}},
         '<div style="border-top:2px dotted red;font-size:0;line-height:0;a:b">&nbsp;</div>', "-" * 40),
        ({"type": "separator", "color": "x;y", "style": "a b", "height": -1},
         '<div style="border-top:0 solid #cccccc;font-size:0;line-height:0">&nbsp;</div>', "-" * 40),
        ({"type": "spacer"}, "&nbsp;", None),
    ],
)  # fmt: skip
def test_blocks(block: dict[str, Any], html: str, plain: str | None) -> None:
    assert inner_of(block) == html
    assert text(block) == plain


def test_spacer() -> None:
    start = (
        '<tr><td class="re-spacer" align="left" style="height:{};font-size:0;line-height:0;padding:0">&nbsp;</td></tr>'
    )
    assert rows_of({"type": "spacer"}) == start.format("50px")
    assert rows_of({"type": "spacer", "height": "7"}) == start.format("7px")
    assert rows_of({"type": "spacer", "height": 0}) == start.format("0")


def test_headings_take_family_and_colour_from_the_document() -> None:
    document = {"font": {"family": "Arial", "size": 14, "color": "red", "weight": 700, "lineHeight": 20}}
    row = rows_of({"type": "heading", "content": "a", "font": {"weight": 400}}, mime=document)
    assert row == (
        '<tr><td class="re-heading" align="left" style="padding:0 0 10px 0">'
        '<h1 style="margin:0;font-family:Arial;color:red;font-weight:400">a</h1></td></tr>'
    )


def test_button_keeps_its_white_over_the_font_of_the_document() -> None:
    document = {"font": {"color": "black", "size": 9}}
    assert 'style="font-size:9px;color:#ffffff;' in inner_of({"type": "button", "label": "B"}, mime=document)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "text"}, "content or url needed"),
        ({"type": "text", "url": ""}, "content or url needed"),
        ({"type": "html", "url": "javascript:x"}, "content or url needed"),
        ({"type": "html", "url": "file:///etc/passwd"}, "neither http nor https"),
        ({"type": "heading"}, "content needed"),
        ({"type": "image"}, "src needed"),
        ({"type": "image", "src": "javascript:x"}, "src needed"),
        ({"type": "image", "src": "data:text/html,x"}, "src needed"),
        ({"type": "button"}, "label needed"),
        ({"type": "link", "label": "x"}, "link needed"),
        ({"type": "link", "link": "JavaScript:x"}, "link needed"),
        ({"type": "link", "link": {"label": "x"}}, "link needed"),
        ({"type": "columns"}, "columns needed"),
        ({"type": "columns", "columns": []}, "columns needed"),
        ({"type": "columns", "columns": [{}] * 13}, "more than 12 columns"),
        ({"type": "container"}, "blocks needed"),
    ],
)
def test_required_properties(block: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        rows_of(block)
    assert str(caught.value) == f"mime.content.blocks[0]: {message}"
    assert rows_of(block, force=True) == ""


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "heading", "content": "x", "size": 7}, "size: expected a number from 1 to 6"),
        ({"type": "heading", "content": "x", "size": []}, "size: expected a number"),
        ({"type": "image", "src": URL, "width": "wide"}, "width: expected a number"),
        ({"type": "image", "src": URL, "height": "50%", "width": 5}, "height: expected a number"),
        ({"type": "button", "label": "x", "link": 5}, "link: expected a string"),
        ({"type": "button", "label": "x", "link": {"url": URL, "params": 5}}, "link.params: expected an object"),
        (
            {"type": "button", "label": "x", "link": {"url": URL, "params": {"a": []}}},
            "link.params.a: expected a string",
        ),
        ({"type": "columns", "columns": [{"size": 13}]}, "columns[0].size: expected a number from 1 to 12"),
        ({"type": "columns", "columns": [{"size": 0.5}]}, "columns[0].size: expected a number from 1 to 12"),
        ({"type": "columns", "columns": [{}, {"blocks": {}}]}, "columns[1].blocks: expected an array"),
        ({"type": "columns", "columns": [{}, 5]}, "columns[1]: expected an object"),
    ],
)
def test_wrong_values(block: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        rows_of(block)
    assert str(caught.value) == f"mime.content.blocks[0].{message}"
    assert rows_of(block, force=True, answers={URL: Resource(b"")}).count("<tr") >= 1


def img(attributes: str, style: str) -> str:
    return f'<img src="{URL}" alt="" {attributes}style="display:block;{style};border:0" />'


@pytest.mark.parametrize(
    ("block", "attributes", "style"),
    [
        ({"width": "50%"}, 'width="290" ', "width:50%;max-width:100%;height:auto"),
        ({"width": "150 %"}, 'width="580" ', "width:100%;max-width:100%;height:auto"),
        ({"width": 290}, 'width="290" ', "width:50%;max-width:100%;height:auto"),
        ({"width": "290px"}, 'width="290" ', "width:50%;max-width:100%;height:auto"),
        ({"width": "100"}, 'width="100" ', "width:17.24%;max-width:100%;height:auto"),
        ({"width": 1000}, 'width="580" ', "width:100%;max-width:100%;height:auto"),
        ({"width": 58, "height": 20}, 'width="58" height="20" ', "width:10%;max-width:100%;height:20px"),
        ({"width": 58, "align": "center"}, 'width="58" ', "margin:0 auto;width:10%;max-width:100%;height:auto"),
        ({"width": 58, "align": "right"}, 'width="58" ', "margin:0 0 0 auto;width:10%;max-width:100%;height:auto"),
        ({"width": 140, "padding": {"left": 100}, "margin": {"right": 200}}, 'width="140" ',
         "width:50%;max-width:100%;height:auto"),
        ({"width": 5, "padding": 400}, 'width="1" ', "width:100%;max-width:100%;height:auto"),
        ({"width": 58, "css": {"a": "b"}, "img": {"css": {"c": "d"}, "attributes": {"id": "i"}}}, 'width="58" id="i" ',
         "width:10%;max-width:100%;height:auto"),
    ],
)  # fmt: skip
def test_image_sizes(block: dict[str, Any], attributes: str, style: str) -> None:
    given = {"type": "image", "src": URL, **block}
    assert plan_of({"content": {"blocks": [given]}}).downloads == ()
    expected = img(attributes, style)
    if "css" in block:
        expected = expected.replace("border:0", "border:0;a:b;c:d")
    assert expected in rows_of(given)


@pytest.mark.parametrize(
    ("block", "answer", "attributes", "style"),
    [
        ({}, gif(290, 100), 'width="290" ', "width:50%;max-width:100%;height:auto"),
        ({}, gif(2000, 100), 'width="580" ', "width:100%;max-width:100%;height:auto"),
        ({"height": 50}, gif(580, 100), 'width="290" ', "width:50%;max-width:100%;height:auto"),
        ({"height": "50px", "width": 0}, gif(580, 100), 'width="290" ', "width:50%;max-width:100%;height:auto"),
        ({}, Resource(b"nothing"), 'width="580" ', "width:100%;max-width:100%;height:auto"),
        ({}, DownloadFailure("HTTP 404", is_temporary=True), 'width="580" ', "width:100%;max-width:100%;height:auto"),
        ({"height": 50}, Resource(b""), 'height="50" ', "width:auto;max-width:100%;height:50px"),
        ({"height": -50}, Resource(b""), 'width="580" ', "width:100%;max-width:100%;height:auto"),
    ],
)
def test_probed_images(block: dict[str, Any], answer: Resource, attributes: str, style: str) -> None:
    given = {"type": "image", "src": URL, **block}
    (download,) = plan_of({"content": {"blocks": [given]}}).downloads
    assert (download.kind, download.max_bytes, download.is_start_enough) == (DownloadKind.PROBE, 65536, True)
    assert not download.is_required
    assert inner_of(given, answers={URL: answer}) == img(attributes, style)


@pytest.mark.parametrize("source", ["cid:logo@x.test", "data:image/png;base64,AAAA", "/a.png"])
def test_sources_that_are_not_probed(source: str) -> None:
    given = {"type": "image", "src": source}
    assert plan_of({"content": {"blocks": [given]}}).downloads == ()
    assert f'<img src="{source}" alt="" width="580" ' in inner_of(given)


def test_image_with_a_link() -> None:
    given = {
        "type": "image", "src": "https://x.test/ü?a=1&b=2", "alt": 'A "b"', "width": 58,
        "link": {"url": URL, "title": "T"}, "a": {"css": {"x": "y"}},
    }  # fmt: skip
    assert inner_of(given) == (
        f'<a href="{URL}" title="T" style="text-decoration:none;x:y">'
        '<img src="https://x.test/%C3%BC?a=1&amp;b=2" alt="A &quot;b&quot;" width="58" '
        'style="display:block;width:10%;max-width:100%;height:auto;border:0" /></a>'
    )


@pytest.mark.parametrize(
    ("block", "plain"),
    [
        ({}, None),
        ({"alt": "Lamp"}, "[Lamp]"),
        ({"alt": "Lamp", "link": URL}, f"Lamp: {URL}"),
        ({"link": URL}, URL),
    ],
)
def test_text_of_images(block: dict[str, Any], plain: str | None) -> None:
    assert text({"type": "image", "src": URL, "width": 5, **block}) == plain


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0"


def test_sizes_of_images() -> None:
    imagesize = importlib.import_module("imagesize")
    assert image_size(png(3, 4), imagesize) == (3, 4)
    assert image_size(png(1, 1), imagesize) == (1, 1)
    assert (
        image_size(png(0, 4), imagesize)
        is image_size(png(2_000_000, 4), imagesize)
        is image_size(png(3, 4)[:20], imagesize)
        is None
    )
    assert image_size(b"<svg width='3' height='4'></svg>", imagesize) is None
    jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\x00\x11\x08\x00\x04\x00\x03\x03"
    assert image_size(jpeg + b"\0" * 20, imagesize) == (3, 4)


@pytest.mark.parametrize(
    ("sizes", "shares"),
    [
        ([None], ["100"]),
        ([None, None], ["50", "50"]),
        ([None] * 5, ["20"] * 5),
        ([None] * 7, ["14.29"] * 7),
        ([None] * 12, ["8.33"] * 12),
        ([8, 4], ["66.67", "33.33"]),
        (["6", None, None], ["50", "25", "25"]),
        ([3, 3], ["25", "25"]),
        ([12, 12], ["50", "50"]),
        ([12, None], ["66.67", "33.33"]),
        ([6, 6, None], ["37.5", "37.5", "25"]),
    ],
)
def test_shares_of_columns(sizes: list[object], shares: list[str]) -> None:
    html = rows_of({"type": "columns", "columns": [{"size": size, "blocks": []} for size in sizes]})
    for share in set(shares):
        cell = f'<td class="re-col" width="{share}%" valign="top" style="width:{share}%;vertical-align:top">'
        assert html.count(cell) == shares.count(share)


@pytest.mark.parametrize(
    ("sizes", "rest"),
    [([4], "66.67"), ([3, 4.5], "37.5"), ([6, 6], ""), ([None] * 7, ""), ([9, 9], ""), ([11.999], "")],
)
def test_what_columns_leave_of_a_row_stays_empty(sizes: list[float | None], rest: str) -> None:
    html = rows_of({"type": "columns", "columns": [{"size": size, "blocks": []} for size in sizes]})
    cell = f'<td class="re-desktop" width="{rest}%" style="width:{rest}%;font-size:0;line-height:0">&nbsp;</td>\n</tr>'
    assert (cell in html, "re-desktop" in html) == (bool(rest), bool(rest))


def test_columns() -> None:
    columns = [
        {"size": 3, "background": {"color": "red"}, "container": {"css": {"a": "b"}, "attributes": {"id": "i"}},
         "blocks": [{"type": "image", "src": URL, "width": "145px"}]},
        {"blocks": [{"type": "text", "content": "two", "padding": 0}]},
    ]  # fmt: skip
    block = {"type": "columns", "columns": columns, "css": {"c": "d"}, "container": {"css": {"e": "f"}}}
    table = '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%">\n'
    image = (
        f'<img src="{URL}" alt="" width="145" style="display:block;width:100%;max-width:100%;height:auto;border:0" />'
    )
    assert rows_of(block) == (
        f'<tr><td class="re-columns" align="left" style="padding:0;c:d;e:f">\n{table}<tr>\n'
        '<td class="re-col" width="25%" valign="top" id="i" '
        f'style="width:25%;vertical-align:top;background-color:red;a:b">\n{table}'
        f'<tr><td class="re-image" align="left" style="padding:0">{image}</td></tr>\n</table>\n</td>\n'
        f'<td class="re-col" width="75%" valign="top" style="width:75%;vertical-align:top">\n{table}'
        '<tr><td class="re-text" align="left" style="padding:0">two</td></tr>\n</table>\n</td>\n'
        "</tr>\n</table>\n</td></tr>"
    )
    two = {"type": "columns", "columns": [{"blocks": [{"type": "text", "content": name}]} for name in "ab"]}
    assert text(two) == "a\n\nb"


def test_columns_in_columns() -> None:
    inner = {"type": "columns", "columns": [{"blocks": []}]}
    for between in (inner, {"type": "container", "blocks": [inner]}):
        with pytest.raises(DocumentError, match=r"\]: columns inside columns$"):
            rows_of({"type": "columns", "columns": [{"blocks": [between]}]})
    rows_of({"type": "container", "blocks": [inner, inner]})


def test_container() -> None:
    block = {
        "type": "container", "padding": 40, "css": {"a": "b"},
        "blocks": [{"type": "image", "src": URL, "width": "250px"}, {"type": "text", "content": "x"}],
    }  # fmt: skip
    rows = rows_of(block)
    assert rows.startswith('<tr><td class="re-container" align="left" style="padding:40px;a:b">\n<table role')
    assert 'width="250" style="display:block;width:50%;' in rows
    assert rows.endswith("</tr>\n</table>\n</td></tr>")
    assert text(block) == "x"


def test_content_by_url() -> None:
    block = {"type": "html", "url": URL}
    (download,) = plan_of({"content": {"blocks": [block]}}).downloads
    assert (download.kind, download.max_bytes, download.is_required) == (DownloadKind.CONTENT, 2 * 1024 * 1024, True)
    answers = {URL: Resource("\ufeff<p>{$x}é</p>\r\n".encode(), "text/html")}
    assert inner_of(block, answers=answers, data={"x": 1}) == "<p>{$x}é</p>\n"
    latin = {URL: Resource(b"\xe9\x80 & \r", "text/plain; charset=iso-8859-1")}
    assert inner_of({"type": "text", "url": URL}, answers=latin) == "é\x80 &amp; <br />"
    broken = {URL: Resource(b"\xe9", "text/plain; charset=utf-8")}
    assert inner_of({"type": "text", "url": URL}, answers=broken) == "?"


@pytest.mark.parametrize("is_temporary", [True, False])
def test_failed_content(*, is_temporary: bool) -> None:
    answers = {URL: DownloadFailure("HTTP 500", is_temporary=is_temporary)}
    blocks = [{"type": "html", "url": URL}, {"type": "text", "content": "x"}]
    with pytest.raises(DocumentError) as caught:
        rows_of(*blocks, answers=answers)
    assert (str(caught.value), caught.value.is_temporary) == ("mime.content.blocks[0]: HTTP 500", is_temporary)
    assert rows_of(*blocks, answers=answers, force=True).count("<tr>") == 1


def test_lines_in_documents_do_not_matter() -> None:
    assert html_of({"content": {"blocks": [{"type": "html", "content": "a\rb"}]}}).count("a\nb") == 1
