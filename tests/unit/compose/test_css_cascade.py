"""Which declarations win, and how and where they are written (spec html-css-dkim.md 2.4)."""

from __future__ import annotations

import pytest

from relayq.compose.inline_css import CssInliner


def inline(html: str, *, important: bool = True) -> str:
    return CssInliner(important=important).inline_html(html)


def styled(css: str, body: str, style: str = "<style>") -> str:
    return f"<html><head>{style}{css}</style></head><body>{body}</body></html>"


def body_of(html: str) -> str:
    return html.partition("<body>")[2].removesuffix("</body></html>")


# Cascade (2.4).


@pytest.mark.parametrize(
    ("css", "tag", "style"),
    [
        ("p{color:red} p{color:blue}", "<p>", "color:blue"),
        ("#i{color:red} .c{color:blue} p{color:green}", "<p id=i class=c>", "color:red"),
        (".c{color:blue} p{color:green}", "<p class=c>", "color:blue"),
        (".c.c{color:red} .d.c{color:blue} .c{color:green}", '<p class="c d">', "color:blue"),
        ("[class]{color:red} p{color:blue}", "<p class=c>", "color:red"),
        ("p:first-child{color:red} p{color:blue}", "<p>", "color:red"),
        (":where(#i){color:red} p{color:blue}", "<p id=i>", "color:blue"),
        (":is(#i, p){color:red} .c{color:blue}", "<p class=c>", "color:red"),
        ("p:not(#x){color:red} .c{color:blue}", "<p class=c>", "color:red"),
        (":is(p){color:red} :where(p){color:blue}", "<p>", "color:red"),
        (":where(p){color:red} :is(p){color:blue}", "<p>", "color:blue"),
        ("p,.c{color:red} p.c{color:blue} .c{margin:0}", "<p class=c>", "margin:0;color:blue"),
        ("p{color:red}", '<p style="color:blue">', "color:blue"),
        ("p{color:red!important}", '<p style="color:blue">', "color:red"),
        ("p{color:red!important}", '<p style="color:blue!important">', "color:blue!important"),
        ("p{color:red ! IMPORTANT} #i{color:blue}", "<p id=i>", "color:red"),
        ("p{color:red!important} #i{color:blue!important}", "<p id=i>", "color:blue"),
        ("p{color:red!important;color:blue}", "<p>", "color:red"),
        # Fallbacks of the same rule.
        ("p{display:-webkit-box;display:flex}", "<p>", "display:-webkit-box;display:flex"),
        ("p{display:-webkit-box;color:red;display:flex}", "<p>", "color:red;display:-webkit-box;display:flex"),
        ("p{display:block} p{display:-webkit-box;display:flex}", "<p>", "display:-webkit-box;display:flex"),
        ("p{color:red;color:red}", "<p>", "color:red"),
        ("p{m:0}", '<p style="color:red;color:rgba(0,0,0,.5)">', "m:0;color:red;color:rgba(0,0,0,.5)"),
        # Shorthands and longhands override each other as before.
        ("p{margin:0} .c{margin-top:1px}", "<p class=c>", "margin:0;margin-top:1px"),
        ("p{margin-top:1px} .c{margin:0}", "<p class=c>", "margin-top:1px;margin:0"),
        (".c{margin:0} p{margin-top:1px}", "<p class=c>", "margin-top:1px;margin:0"),
        ("p{margin-top:1px!important}", '<p style="margin:4px">', "margin:4px;margin-top:1px"),
        ("p{margin:0;color:red}", '<p style="color:blue;margin:4px">', "color:blue;margin:4px"),
        # Spelling.
        ("P{COLOR:Red;Font-Family:Arial ,\n\tVerdana}", "<p>", "color:Red;font-family:Arial , Verdana"),
        ("p{margin : 0  auto}", "<p>", "margin:0 auto"),
        ("p{font-family:\"Segoe UI\", 'A B'}", "<p>", "font-family:'Segoe UI', 'A B'"),
        ('p{font-family:"O\'Neil"}', "<p>", "font-family:'O\\'Neil'"),
        ('p{content:"a  \\" b"}', "<p>", "content:'a  &quot; b'"),
        ("p{a:b/*c*/d /* e */ f}", "<p>", "a:b d f"),
        ("p{background:url(a?b&c=<d>)}", "<p>", "background:url(a?b&amp;c=&lt;d&gt;)"),
        ("p{background:url(http://x.example/*/a.png)}", "<p>", "background:url(http://x.example/*/a.png)"),
        ("p{width:100px\\9}", "<p>", "width:100px\\9"),
        ("p{color:#FFF;width:calc( 1px + 2px )}", "<p>", "color:#FFF;width:calc( 1px + 2px )"),
        ("p{mso-line-height-rule:exactly;-webkit-x:y}", "<p>", "mso-line-height-rule:exactly;-webkit-x:y"),
        (
            "p{filter:progid:DXImageTransform.M.g(a='#80',b=2)}",
            "<p>",
            "filter:progid:DXImageTransform.M.g(a='#80',b=2)",
        ),
        ("p{a:b}", '<p style="">', "a:b"),
        ("p{a:b}", "<p style>", "a:b"),
        ("p{a:b}", '<p style="c:d;">', "a:b;c:d"),
        ("p{a:b}", '<p style="*c:d;e:(;f:g">', "a:b"),
        ("p{a:b}", '<p style="--x:1;c:var(--x)">', "a:b;--x:1;c:var(--x)"),
        ("p{a:b}", "<p style=c:d>", "a:b;c:d"),
        ("p{a:b}", "<p style='c:\"d\"'>", "a:b;c:'d'"),
        ("p{a:b}", '<p style="c:&quot;d&#39;s&quot;;e:url(x?a&amp;b)">', "a:b;c:'d\\'s';e:url(x?a&amp;b)"),
    ],
)
def test_cascade(css: str, tag: str, style: str) -> None:
    written = body_of(inline(styled(css, tag)))
    assert written.partition(' style="')[2].partition('"')[0] == style
    assert 'style="' not in written.partition(' style="')[2]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<p>", '<p style="a:b">'),
        ("<P\nCLASS = c >", '<P style="a:b"\nCLASS = c >'),
        ("<p/>", '<p style="a:b"/>'),
        ("<p id=x STYLE = 'c:d' title=y>", '<p id=x STYLE="a:b;c:d" title=y>'),
        ("<p style=c:d title=y>", '<p style="a:b;c:d" title=y>'),
        ("<p style title=y>", '<p style="a:b" title=y>'),
        ("<p style=c:d style=e:f>", '<p style="a:b;c:d" style=e:f>'),
        ("<p title='style=x' data-style=y>", "<p style=\"a:b\" title='style=x' data-style=y>"),
        ('<p title="a>b"x=y>', '<p style="a:b" title="a>b"x=y>'),
    ],
)
def test_where_the_attribute_goes(tag: str, expected: str) -> None:
    assert body_of(inline(styled("p{a:b}", f"{tag}x</p>"))) == f"{expected}x</p>"


def test_elements_without_a_matching_rule_stay_as_they_are() -> None:
    body = "<P STYLE='color : red;;'  class=x>&copy; &nbsp;\n<br/><img src=a.png style=\"a:b;\"></P>"
    assert body_of(inline(styled("i{a:b} q:hover{c:d}", f"{body}<i></i>"))) == f'{body}<i style="a:b"></i>'


def test_selectors_see_the_style_attributes_of_the_source() -> None:
    html = styled("[style*='x:y'] {a:b} [style]{c:d}", "<p style='x:y'></p><p></p><p style=z:w></p>")
    assert body_of(inline(html)) == '<p style="a:b;c:d;x:y"></p><p></p><p style="c:d;z:w"></p>'


def test_the_switch_of_the_engine_is_none_of_ours() -> None:
    html = styled("p{a:b}", '<p data-css-inline="ignore">x</p>')
    assert body_of(inline(html)) == '<p style="a:b" data-css-inline="ignore">x</p>'
