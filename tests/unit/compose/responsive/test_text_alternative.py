"""HTML as text."""

from __future__ import annotations

import time

import pytest

from relayq.compose.responsive.text_alternative import html_to_text, join_texts


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("  \n ", ""),
        ("a  b\n\tc", "a b c"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("a<br><br><br>b", "a\n\nb"),
        ("<br>a<br>", "a"),
        ("<p>a</p><p>b</p>c", "a\n\nb\n\nc"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<div><div>a</div></div>b", "a\nb"),
        ("<h1>a</h1>b<h2>c</h2>", "a\n\nb\n\nc"),
        ("<b>a</b><i>b</i> <u>c</u>", "ab c"),
        ("x<ul><li>a</li><li> <p>b</p></ul>y", "x\n\n- a\n\n- b\n\ny"),
        ("<ul><li>a<ul><li>b</ul></ul>", "- a\n\n- b"),
        ("<ul><li></li><li>b</li></ul>", "- b"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th><td>d</td></tr></table>e", "a b\nc d\n\ne"),
        ('<a href="https://x.test/?a=1&amp;b=2">here</a>.', "here (https://x.test/?a=1&b=2)."),
        ('<a href="https://x.test/">https://x.test/</a>', "https://x.test/"),
        ('<a href="mailto:a@x.test">a@x.test</a>', "a@x.test"),
        ('<a href="#top">up</a>', "up"),
        ("<a name=x>up</a>", "up"),
        ('<a href="https://x.test/"><img src=x alt="Lamp"></a> y', "Lamp (https://x.test/) y"),
        ('<a href="https://x.test/"><img src=x></a>', "(https://x.test/)"),
        ('<a href="https://x.test/">open <a href=b>two', "open (https://x.test/) two (b)"),
        ("<a href=x>a</a><a href=y>b</a>; <a href=z>c</a>d<b>e", "a (x) b (y); c (z) de"),
        ('<p><a href="https://x.test/"><b>x</b></a></p><p>y', "x (https://x.test/)\n\ny"),
        ("<img alt=' a  b '>c", "a bc"),
        ("&lt;b&gt; &amp;copy; &eacute;&nbsp;&#8364;", "<b> &copy; é €"),
        ("<head><title>t</title><style>s</style></head><body>b</body>", "b"),
        ("<head><meta>x<body>b", "b"),
        ("<style>a{}</style>x<script>if (a<b) {}</script>y<noscript><b>n</b></noscript>", "xy"),
        ("a<!-- b --><!--[if mso]><p>c</p><![endif]-->d<![if !mso]>e<![endif]>", "ade"),
        ("<!DOCTYPE html><?xml x?>a</ b>c", "ac"),
        ("a < b", "a < b"),
        ("1<2 <3", "1<2 <3"),
        ("a<b", "a"),
        ("a<a href='", "a"),
        ("a<!-- b", "a"),
        ("<template>x</template>y", "y"),
        ("<textarea>a<b></textarea>c", "a<b>c"),
        ("a<![CDATA[b]]>c", "ac"),
    ],
)
def test_conversion(source: str, text: str) -> None:
    assert html_to_text(source) == text


@pytest.mark.parametrize(
    "piece", ["<", "<a ", "<!--", "<p>", "<a href=x>", "<b x='", "&", "<li>", "<!", "</", "<head>"]
)
def test_time_is_linear(piece: str) -> None:
    start = time.process_time()
    html_to_text(piece * 50_000)
    assert time.process_time() - start < 30


def test_joining() -> None:
    assert join_texts(["a", "b"]) == "a\n\nb\n"
    assert join_texts(["a ", "b \t\nc\n\n"]) == "a\n\nb\nc\n"
    assert join_texts([]) is join_texts([" ", "\n"]) is None
