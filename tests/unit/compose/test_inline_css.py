"""CSS moved into ``style`` attributes, rule by rule (spec html-css-dkim.md 2)."""

from __future__ import annotations

import re

import pytest

from relayq.compose.inline_css import CssInliner


def inline(html: str, *, important: bool = True) -> str:
    return CssInliner(important=important).inline_html(html)


def styled(css: str, body: str, style: str = "<style>") -> str:
    return f"<html><head>{style}{css}</style></head><body>{body}</body></html>"


def body_of(html: str) -> str:
    return html.partition("<body>")[2].removesuffix("</body></html>")


def sheet_of(html: str) -> str | None:
    """What is left of the sheet, ``None`` when the element went."""
    start, _, rest = html.partition("<style>")
    return rest.partition("</style>")[0] if start != html else None


# Which CSS takes part (2.2).


@pytest.mark.parametrize(
    "style",
    [
        "<style>",
        "<STYLE>",
        "<style type='text/css'>",
        '<style type="TEXT/CSS" media="all">',
        "<style type='' media=''>",
        "<style media=screen>",
        "<style media=' Screen '>",
        "<style media=all id=x data-inline=true>",
        "<style type=text/css type=text/plain>",
    ],
)
def test_ordinary_sheets_are_inlined(style: str) -> None:
    html = inline(styled("p{color:red}", "<p>x</p>", style))
    assert html == '<html><head></head><body><p style="color:red">x</p></body></html>'


@pytest.mark.parametrize(
    "style",
    [
        "<style media=print>",
        "<style media='screen and (max-width:600px)'>",
        "<style media='screen, print'>",
        "<style media='only screen'>",
        "<style type='text/plain'>",
        "<style type='text/css; charset=utf-8'>",
        "<style data-embed>",
        "<style data-embed=''>",
        "<style data-inline=false>",
        '<style DATA-INLINE="False">',
    ],
)
def test_other_sheets_are_kept_untouched(style: str) -> None:
    html = styled("p{color:red} a:hover{color:blue}", "<p>x</p>", style)
    assert inline(html) == html


@pytest.mark.parametrize(
    "html",
    [
        "",
        "plain text",
        "<p class=x style='color:red'>x</p>",
        "<link rel=stylesheet href='a.css'><p>x</p>",
        "<style></style><p>x</p>",
        "<style> \n</style><p>x</p>",
        "<style>/* nothing */</style><p>x</p>",
        "<style>p{color:red}",
        "<!-- <style>p{color:red}</style> --><p>x</p>",
        "<title><style>p{color:red}</style></title><p>x</p>",
        "<script>'<style>p{color:red}</style>'</script><p>x</p>",
        "<textarea><style>p{color:red}</style></textarea><p>x</p>",
        "<svg><style>p{color:red}</style></svg><p>x</p>",
        "<p title='<style>p{color:red}</style>'>x</p>",
        "<styled>p{color:red}</styled><p>x</p>",
    ],
)
def test_documents_without_an_applicable_sheet_stay_as_they_are(html: str) -> None:
    assert inline(html) == html


def test_imports_and_links_are_kept_and_never_loaded() -> None:
    html = styled(
        "@import url('http://192.0.2.1/a.css'); p{color:red}", "<link rel=stylesheet href='/etc/x.css'><p>x</p>"
    )
    assert inline(html) == html.replace(" p{color:red}", "").replace("<p>", '<p style="color:red">')


def test_several_sheets_count_in_the_order_in_which_they_stand() -> None:
    html = "<style>p{color:red;margin:0}</style><p>x</p><style>p{color:blue}</style>"
    assert inline(html) == '<p style="margin:0;color:blue">x</p>'


def test_a_sheet_in_the_body_takes_part() -> None:
    assert inline("<body><p>x</p><style>p{a:b}</style></body>") == '<body><p style="a:b">x</p></body>'


# Which rules (2.3).


BODY = (
    '<div n=d id="d" class="x y" lang="en"><p n=p>1</p>'
    '<p n=q>2 <a n=l href="/">l</a><a n=n name="n">n</a></p><i n=i></i></div>'
)


@pytest.mark.parametrize(
    ("selector", "matched"),
    [
        ("p", "pq"),
        ("P", "pq"),
        (".x", "d"),
        (".x.y", "d"),
        ("#d", "d"),
        ("[lang]", "d"),
        ("[LANG=en]", "d"),
        ('[lang="EN" i]', "d"),
        ("[class~=y]", "d"),
        ("[class^=x]", "d"),
        ("[class$='y']", "d"),
        ("[class*=' ']", "d"),
        ("[lang|=en]", "d"),
        ("div p", "pq"),
        ("div > p", "pq"),
        ("div>p>a", "ln"),
        ("p + p", "q"),
        ("p ~ i", "i"),
        ("body p", "pq"),
        ("html p", "pq"),
        ("p:not(:first-child)", "q"),
        ("p:not(.a, :first-child)", "q"),
        (":is(i, b)", "i"),
        ("div :is(i, p > a)", "lni"),
        (":where(i)", "i"),
        ("i:empty", "i"),
        ("p:first-child", "p"),
        ("i:last-child", "i"),
        ("div:only-child", "d"),
        ("p:nth-child(2)", "q"),
        ("p:nth-child( 2n + 1 )", "p"),
        ("p:nth-child(even)", "q"),
        ("p:nth-last-child(-n+2)", "q"),
        ("p:nth-of-type(1)", "p"),
        ("p:nth-last-of-type(1)", "q"),
        ("p:first-of-type", "p"),
        ("p:last-of-type", "q"),
        ("i:only-of-type", "i"),
        ("a:link", "l"),
        ("a:any-link", "l"),
        (":link", "l"),
        ("p/**/ /**/a", "ln"),
        (":not(:not(p))", "pq"),
        ("\\70", "pq"),
        ("#\\64 ", "d"),
    ],
)
def test_decidable_selectors_are_inlined_and_removed(selector: str, matched: str) -> None:
    html = inline(styled(f"{selector} {{ color: red }}", BODY))
    assert "".join(re.findall(r' style="color:red" n=(\w)', html)) == matched
    assert html.replace(' style="color:red"', "") == styled("", BODY, "").replace("</style>", "")


@pytest.mark.parametrize(
    "selector",
    [
        *("a:hover", "a:active", "a:focus", "a:visited", "a:target", "input:checked", "a:focus-within", "A:HOVER"),
        *("p::before", "p:before", "p::first-line", "p:first-line", "p::after", "::selection", "p:first-letter"),
        *("p:unknown", "p:has(a)", "p:lang(en)", "p:nth-child(2 of a)", "p:not(:hover)", ":is(p, :hover)", "p:is()"),
        *("p!", "p >", "> p", "p > > a", ".1", "#1", "p..x", "ns|p", "*|p", "p || a", "&", "p:nth-child(x)", "p::-x"),
        *("[lang=5]", "[=x]", "[lang ! x]", "p *p", ":is(p:not(:not(div p)))"),
    ],
)
def test_other_selectors_are_kept_and_made_important(selector: str) -> None:
    html = inline(styled(f"{selector} {{ color : red ; }}p{{margin:0}}", BODY))
    assert sheet_of(html) == f"{selector} {{ color : red!important ; }}"
    assert 'color:red"' not in html


@pytest.mark.parametrize(
    "selector", [".ExternalClass", "#outlook a", "u + .body", "b", ".X", "p:empty", "[lang=de]", "p > div"]
)
def test_a_selector_that_matches_nothing_is_kept_unchanged(selector: str) -> None:
    html = inline(styled(f"{selector} {{ color : red }} i{{a:b}}", BODY))
    assert sheet_of(html) == f"{selector} {{ color : red }}"


def test_a_list_is_split() -> None:
    html = inline(styled("i{m:0} /*1*/ a, a:hover ,.ExternalClass,b , i { color: red } /*2*/", "<a>1</a><i>2</i>"))
    assert sheet_of(html) == " /*1*/ a:hover { color: red!important } .ExternalClass, b { color: red } /*2*/"
    assert body_of(html) == '<a style="color:red">1</a><i style="m:0;color:red">2</i>'


def test_a_list_of_one_kind_keeps_its_spelling() -> None:
    css = "a:hover ,\na:focus{ color:red}.x,\t.z{a:b}"
    html = inline(styled(f"{css}i{{a:b}}", "<i></i>"))
    assert sheet_of(html) == "a:hover ,\na:focus{ color:red!important}.x,\t.z{a:b}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "@media (max-width:600px) { p { font-size: 18px } }",
            "@media (max-width:600px) { p { font-size: 18px!important } }",
        ),
        (
            "@media screen{p{a:b;c:d!important;e:f /* g */;}}",
            "@media screen{p{a:b!important;c:d!important;e:f!important /* g */;}}",
        ),
        ("@MEDIA print{a:hover{x:y}}", "@MEDIA print{a:hover{x:y!important}}"),
        (
            "@supports (a:b) { @media x { p { a:b } q{c:d} } }",
            "@supports (a:b) { @media x { p { a:b!important } q{c:d!important} } }",
        ),
        ("@layer a { p { a:b } }", "@layer a { p { a:b!important } }"),
        ("@media x { @font-face { src:url(x) } p{a:b} }", "@media x { @font-face { src:url(x) } p{a:b!important} }"),
        ("@font-face { font-family: X; src: url(x) }", None),
        ("@keyframes k { from { a:b } to { a:c } }", None),
        ("@-webkit-keyframes k { from { a:b } }", None),
        ("@page { margin: 1cm }", None),
        ("@page :first { margin: 1cm; @top-left { a:b } }", None),
        ('@charset "utf-8";', None),
        ("@namespace url(http://www.w3.org/1999/xhtml);", None),
        ("@layer a, b;", None),
        ("@unknown { p { a:b } }", None),
        ("@import 'x.css';", None),
    ],
)
def test_at_rules_are_kept(before: str, after: str | None) -> None:
    html = inline(styled(f"{before} i{{a:b}}", "<i></i><p>x</p>"))
    assert sheet_of(html) == (after or before)
    assert body_of(html) == '<i style="a:b"></i><p>x</p>'
    untouched = inline(styled(f"{before} i{{a:b}}", "<i></i><p>x</p>"), important=False)
    assert sheet_of(untouched) == before


@pytest.mark.parametrize(
    ("rule", "style", "left"),
    [
        ("p{color:red;background:var(--b)}", "color:red", "p { background:var(--b)!important }"),
        (
            "p{--b:blue;color:red;width:calc(1px + VAR(--x)) !important}",
            "color:red",
            "p { --b:blue!important; width:calc(1px + VAR(--x))!important }",
        ),
        ("p,q{--x:1;a:b}", "a:b", "p { --x:1!important } q{--x:1;a:b}"),
        ("p{background:var(--b)}", None, "p { background:var(--b)!important }"),
    ],
)
def test_what_depends_on_variables_stays_in_the_sheet(rule: str, style: str | None, left: str) -> None:
    html = inline(styled(rule, "<p>x</p>"))
    assert body_of(html) == (f'<p style="{style}">x</p>' if style else "<p>x</p>")
    assert sheet_of(html) == left


def test_a_word_that_only_looks_like_a_variable_is_inlined() -> None:
    assert body_of(inline(styled("p{a:-var(b)}", "<p>x</p>"))) == '<p style="a:-var(b)">x</p>'


@pytest.mark.parametrize(
    "broken",
    [
        "p{color:red q{a:b}}",  # the brace of the first rule is missing
        "p{color:red{}}",
        "p",
        "p{color:red",
        "@media x{p{color:red}",
        "p{color:'red",
        "p{color:red\\}",
        "p[{color:red}",
        "@media {",
        "p{color:red}}p",
    ],
)
def test_a_broken_rule_at_the_end_is_kept(broken: str) -> None:
    html = inline(styled(f"i{{a:b}}{broken}", "<i></i><p>x</p>"))
    if broken == "p{color:red}}p":
        assert sheet_of(html) == "}p"
    else:
        assert sheet_of(html) == broken
        assert body_of(html) == '<i style="a:b"></i><p>x</p>'


def test_the_rules_behind_a_broken_one_count() -> None:
    html = inline(styled("} p{color:red} p{*zoom:1;:x;a;b:;margin:0;c:d)}", "<p>x</p>"))
    assert body_of(html) == '<p style="margin:0">x</p>'
    assert sheet_of(html) == "} p{color:red!important}"


def test_the_marks_that_hide_a_sheet_are_no_rules() -> None:
    assert inline("<style><!-- p{color:red} --></style><p>x</p>") == '<p style="color:red">x</p>'
    html = inline("<style>\n<!--\np{color:red}\na:hover{x:y}\n-->\n</style><p>x</p>")
    assert html == '<style>\n<!--\na:hover{x:y!important}\n-->\n</style><p style="color:red">x</p>'


def test_rules_are_cut_out_with_the_white_space_in_front_of_them() -> None:
    html = inline(
        "<style>\n p {a:b}\n\n /* c */\n i{a:b}\r\n b:hover { x : y }\n q{z:z} p{c:d}\n</style><p></p><i></i>"
    )
    assert sheet_of(html) == "\n\n /* c */\r\n b:hover { x : y!important }\n q{z:z}\n"


@pytest.mark.parametrize(
    ("selector", "body", "expected"),
    [
        ("*", "<p>x<script></script><b></b></p>", '<p style="a:b">x<script></script><b style="a:b"></b></p>'),
        ("p", "<template><p></p></template><p></p>", '<template><p></p></template><p style="a:b"></p>'),
        (
            "tbody",
            "<table><tr><td></table><table><tbody></table>",
            '<table><tr><td></table><table><tbody style="a:b"></table>',
        ),
    ],
)
def test_a_rule_that_also_matches_elsewhere_is_inlined_and_kept(selector: str, body: str, expected: str) -> None:
    html = inline(styled(f"{selector} {{a:b}}", body))
    assert html.partition("<body")[2].partition(">")[2] == f"{expected}</body></html>"
    assert sheet_of(html) == f"{selector} {{a:b}}"


@pytest.mark.parametrize("selector", ["html", "head", "title", ":root", "head > *", "style", "script", "template"])
def test_a_rule_that_matches_only_elsewhere_is_kept(selector: str) -> None:
    head = f"<title>t</title><style>{selector} {{a:b}}</style>"
    html = f"<html><head>{head}</head><body><script></script><template></template></body></html>"
    assert inline(html) == html


def test_an_implied_body_cannot_take_a_style() -> None:
    html = "<style>body{a:b} p{c:d}</style><p>x</p>"
    assert inline(html) == '<style>body{a:b}</style><p style="c:d">x</p>'


def test_a_body_with_a_tag_takes_one() -> None:
    assert inline("<style>body{a:b}</style><BODY class=c>x") == '<BODY style="a:b" class=c>x'


def test_importance_can_be_switched_off() -> None:
    html = inline(styled("p{c:d} a:hover{a:b} @media x{p{e:f}} q,a:focus{g:h}", "<p></p>"), important=False)
    assert sheet_of(html) == " a:hover{a:b} @media x{p{e:f}} a:focus{g:h} q{g:h}"


# The source is edited (2.1).


@pytest.mark.parametrize(
    "kept",
    [
        "<!--[if mso]><style>p{mso-a:b}</style><p>x</p><![endif]-->",
        "<!--[if gte mso 9]><xml><o:OfficeDocumentSettings/></xml><![endif]-->",
        '<!--[if mso]><v:roundrect href="x" style="a:b"/><![endif]-->',
        "<!-- <p> -->",
        "<!-->",
        "<!--->",
        "<?xml version='1.0'?>",
        '<v:rect style="width:1px" /><o:p></o:p><w:anchorlock/>',
        "<script>if (a < b) document.write('<p>')</script>",
        "<textarea><p></textarea>",
        "&copy &nbsp;&#x41;&lt;p&gt;",
        "<IMG SRC=x ALT='a\"b'>",
        "a < b <3",
        "\u00a0\ud83d\ude00\ufffd",
        "<svg><path d='M0'/><title><x></title></svg>",
        "<math><mi>x</mi></math>",
    ],
)
def test_everything_else_stays(kept: str) -> None:
    doctype = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/x.dtd">\r\n'
    html = doctype + styled("p{a:b}", f"{kept}<p>1</p>{kept}<p>2{kept}")
    assert inline(html) == html.replace("<style>p{a:b}</style>", "").replace("<p>1", '<p style="a:b">1').replace(
        "<p>2", '<p style="a:b">2'
    )


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("<!--[if !mso]><!-->", "<!--<![endif]-->"),
        ("<![if !mso]>", "<![endif]>"),
        ("<!--[if !mso]> -->", "<!-- <![endif]-->"),
    ],
)
def test_what_mso_alone_does_not_see_takes_part(start: str, end: str) -> None:
    html = f"{start}<style>p{{a:b}}</style><p>x</p>{end}<p>y</p>"
    assert inline(html) == f'{start}<p style="a:b">x</p>{end}<p style="a:b">y</p>'


@pytest.mark.parametrize(
    ("css", "body", "expected"),
    [
        ("li+li{a:b}", "<ul><li>1<li>2</ul>", '<ul><li>1<li style="a:b">2</ul>'),
        ("p>b{a:b}", "<p>1<div><b>2</b></div>", "<p>1<div><b>2</b></div>"),
        ("tr>td{a:b}", "<table><td>1</table>", '<table><td style="a:b">1</table>'),
        ("td td{a:b}", "<table><tr><td>1<td>2</table>", "<table><tr><td>1<td>2</table>"),
        ("div>p{a:b}", "<div><table><p>x</p></table></div>", '<div><table><p style="a:b">x</p></table></div>'),
        ("b>i{a:b}", "<b><p><i>x</i></b></p>", '<b><p><i style="a:b">x</i></b></p>'),
        ("p>b{a:b}", "<p><b>1</p><p>2</p>", '<p><b style="a:b">1</p><p>2</p>'),
        ("a a{a:b}", "<a>1<a>2", "<a>1<a>2"),
    ],
)
def test_the_tree_is_that_of_a_browser(css: str, body: str, expected: str) -> None:
    assert body_of(inline(styled(css, body))) == expected


@pytest.mark.parametrize("filler", [0, 600])
def test_a_large_careless_document_is_read_nearly_as_well(filler: int) -> None:
    css = "li+li{a:b} td>p{c:d} p>p{e:f} div>b{g:h} b b{i:j}"
    body = "<ul><li>1<li>2</ul><table><tr><td><p>3<p>4<td>5<tr><td></table><div><b>6</div><b>7" + "<i></i>" * filler
    html = body_of(inline(styled(css, body)))
    assert html.startswith(
        '<ul><li>1<li style="a:b">2</ul><table><tr><td><p style="c:d">3<p style="c:d">4<td>5<tr><td></table>'
        '<div><b style="g:h">6</div><b'
    )


# What the document says to the engine instead of to a reader.


@pytest.mark.parametrize("switch", ['data-css-inline="ignore"', "DATA-CSS-INLINE=ignore", "data-css-inline='keep'"])
def test_switches_of_the_engine_mean_nothing_to_it(switch: str) -> None:
    html = inline(styled("p{color:red}", f"<p {switch}>x</p>"))
    assert html == f'<html><head></head><body><p style="color:red" {switch}>x</p></body></html>'


def test_octets_that_were_no_characters_stay_where_they_were() -> None:
    html = inline(styled("p{color:red}", "<p title='\udce9'>\udcff</p>"))
    assert html == "<html><head></head><body><p style=\"color:red\" title='\udce9'>\udcff</p></body></html>"


def test_a_sheet_that_is_none_for_a_reader_changes_nothing() -> None:
    html = "<html><head></head><body><textarea><style>p{color:red}</style></textarea><p>x</p></body></html>"
    assert inline(html) == html


@pytest.mark.parametrize(
    "selector",
    ["p:nth-child(99999999999n)", "p:nth-child(2147483648)", "[title='x' j]", "[title='x' 5]", "[title~x~y]"],
)
def test_selectors_nobody_can_decide_stay_in_the_sheet(selector: str) -> None:
    html = inline(styled(f"{selector}{{color:red}}p{{margin:0}}", "<p title='x'>x</p>"))
    assert selector in (sheet_of(html) or "")
    assert body_of(html) == "<p style=\"margin:0\" title='x'>x</p>"


@pytest.mark.parametrize("declaration", ["color:red !ie", "color:a!b", "color:red !", "color:! important"])
def test_declarations_no_reader_understands_are_left_out(declaration: str) -> None:
    html = inline(styled(f"p{{{declaration};margin:0}}", "<p>x</p>"))
    assert body_of(html) == '<p style="margin:0">x</p>'


def test_a_block_among_declarations_leaves_its_rule_in_the_sheet_and_is_dropped_from_an_attribute() -> None:
    sheet = "p{color:red {x};margin:0}"
    html = inline(styled(f"{sheet}p{{top:0}}", "<p style='color:red {x};padding:0'>x</p>"))
    assert sheet in (sheet_of(html) or "")
    assert body_of(html) == '<p style="top:0;padding:0">x</p>'
