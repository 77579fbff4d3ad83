"""Tags of documents (WHATWG HTML 13.2.5)."""

from __future__ import annotations

import pytest

from relayq.compose.html_scan import (
    END,
    OPEN,
    OTHER,
    RAW,
    REST,
    WIDTH,
    Markup,
    attributes_of,
    decode_references,
    end_name,
    style_of,
)


def tags_of(text: str) -> str:
    """Names of the tags of a document, and the content of raw text in brackets."""
    markup = Markup(text)
    assert markup.join() == text
    found: list[str] = []
    for at in range(0, len(markup.pieces) - 1, WIDTH):
        opening, raw, end = (markup.pieces[at + place] for place in (OPEN, RAW, END))
        if opening:
            found.append(opening[1:].lower() + (f"[{raw}]" if raw else ""))
        elif end:
            found.append("/" + end_name(end))
        else:
            assert markup.pieces[at + OTHER]
    assert [row for row in markup.starts if not markup.pieces[row * WIDTH + REST]] == []
    return " ".join(found)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ""),
        ("text", ""),
        ("<p>x</p>", "p /p"),
        ("<P CLASS=x>x</P >", "p /p"),
        ("<o:p></o:p><v:rect/>", "o:p /o:p v:rect"),
        ("<a/b=c/><br/>", "a br"),
        ("<p\n\ta = 'x>y' b=\"<b>\"c=</p>", "p"),
        ("<p a=b'c\"d>x", "p"),
        ("<p =a ==b / =>x", "p"),
        ("<p/ / a>x", "p"),
        ("</p a='>'><b>", "/p b"),
        ("1 < 2 <3 <<b>> < i>", "b>".rstrip(">")),
        ("<ü><b>", "b"),
        ("<bü><i>", "bü i"),
        # What is no tag.
        ("<!DOCTYPE html><b>", "b"),
        ('<!doctype a "b>c"><i>', "i"),
        ("<!-- <b> --><i>", "i"),
        ("<!--><b> --><i>", "b i"),
        ("<!---><b>--><i>", "b i"),
        ("<!-- <b> --!><i>", "i"),
        ("<!-- <b> ---><i>", "i"),
        ("<!-- -- <b> -- ><i> --><u>", "u"),
        ("<!-- <b>", ""),
        ("<![if !mso]><b><![endif]>", "b"),
        ("<![CDATA[<b>]]><i>", "i"),
        ("<?php <b> ?><i>", "i"),
        ("</ <b>><i>", "i"),
        ("</><i>", "i"),
        ("<!", ""),
        ("</", ""),
        ("<", ""),
        # A tag that is not finished swallows the rest.
        ("<b><i", "b"),
        ("<b></i", "b"),
        ("<b><i a='><u>", "b"),
        ('<b></i a="><u>', "b"),
        # Raw text.
        ("<style><b></style><i>", "style[<b>] /style i"),
        ("<STYLE>x</Style\n><i>", "style[x] /style i"),
        ("<style/>x</style/><i>", "style[x] /style i"),
        ("<style>x</styles></style><i>", "style[x</styles>] /style i"),
        ("<style>x", "style[x]"),
        ("<style>x</style", "style[x</style]"),
        ("<title><b></title><textarea></b></textarea>", "title[<b>] /title textarea[</b>] /textarea"),
        ("<xmp><b></xmp><iframe><b></iframe>", "xmp[<b>] /xmp iframe[<b>] /iframe"),
        ("<noembed><b></noembed><noframes><b></noframes>", "noembed[<b>] /noembed noframes[<b>] /noframes"),
        ("<noscript><b></noscript>", "noscript[<b>] /noscript"),
        ("<plaintext><b></plain>", "plaintext[<b></plain>]"),
        ("<styles><b>", "styles b"),
        # Scripts.
        ("<script>a<b</script><i>", "script[a<b] /script i"),
        ("<script><!-- </script><i>", "script[<!-- ] /script i"),
        ("<script><!--<script></script>--></script><i>", "script[<!--<script></script>-->] /script i"),
        ("<script><!--<script>--></script><i>", "script[<!--<script>-->] /script i"),
        ("<script><!--<script></script></script><i>", "script[<!--<script></script>] /script i"),
        ("<script><!--<scripts></script><i>", "script[<!--<scripts>] /script i"),
        ("<script><!--><script></script><i>", "script[<!--><script>] /script i"),
        ("<script><!---><script></script><i>", "script[<!---><script>] /script i"),
        ("<script><script></script><i>", "script[<script>] /script i"),
        ("<script><!--<script>x", "script[<!--<script>x]"),
        # Foreign content.
        ("<svg><style><b></style></svg>", "svg style b /style /svg"),
        ("<svg><title><g/></title><path/></svg><title><b></title>", "svg title g /title path /svg title[<b>] /title"),
        ("<svg><![CDATA[<b>]]><g></svg>", "svg g /svg"),
        ("<svg><![CDATA[<b>", "svg"),
        ("<math><style><mi></style></math><style><b></style>", "math style mi /style /math style[<b>] /style"),
        ("<svg/><style><b></style>", "svg style[<b>] /style"),
        ("<svg><svg></svg><style><g></style></svg>", "svg svg /svg style g /style /svg"),
        ("<svg><p><style><b></style>", "svg p style[<b>] /style"),
        ("<svg></p><style><b></style>", "svg /p style[<b>] /style"),
        ("<svg><!--<g>--><g/></svg>", "svg g /svg"),
        ("</svg><style><b></style><svg>", "/svg style[<b>] /style svg"),
        ("<svgs><style><b></style><svg>", "svgs style[<b>] /style svg"),
    ],
)
def test_tags(text: str, tags: str) -> None:
    assert tags_of(text) == tags


@pytest.mark.parametrize(
    ("rest", "attributes"),
    [
        (">", []),
        (" />", []),
        (" a>", [("a", "")]),
        (" A=B c='d' E=\"f\">", [("a", "B"), ("c", "d"), ("e", "f")]),
        ("\n a \t=\r\n b>", [("a", "b")]),
        ("/a/b/>", [("a", ""), ("b", "")]),
        (" a=b/>", [("a", "b/")]),
        (" a= >", [("a", "")]),
        (" a=''b>", [("a", ""), ("b", "")]),
        (" =a ==b>", [("=a", "=b")]),
        (" a=b ==c>", [("a", "b"), ("=", "c")]),
        (" a=b a=c>", [("a", "b"), ("a", "c")]),
        (" a=\"<'>\" b='&quot;&amp;amp;'>", [("a", "<'>"), ("b", '"&amp;')]),
    ],
)
def test_attributes(rest: str, attributes: list[tuple[str, str]]) -> None:
    assert [tuple(attribute) for attribute in attributes_of(rest)] == attributes


@pytest.mark.parametrize(
    ("rest", "value", "replaced"),
    [
        (" style=a>", "a", " style!>"),
        (" STYLE = 'a&gt;' b>", "a>", " STYLE! b>"),
        (' a style="b" style="c">', "b", ' a style! style="c">'),
        (" style>", "", " style!>"),
        (" style/>", "", " style!/>"),
        (" sTyLe=a>", "a", " sTyLe!>"),
        (" a='style=x' style=y>", "y", " a='style=x' style!>"),
    ],
)
def test_style_attributes(rest: str, value: str, replaced: str) -> None:
    found = style_of(rest)
    assert found is not None
    assert found[0] == value
    assert f"{rest[: found[1]]}!{rest[found[2] :]}" == replaced


@pytest.mark.parametrize("rest", [">", " styles=a>", " a=style>", " a='style=b'>", " data-style=a>", " \u017ftyle=a>"])
def test_no_style_attribute(rest: str) -> None:
    assert style_of(rest) is None


@pytest.mark.parametrize(
    ("written", "decoded"),
    [
        ("a & b", "a & b"),
        ("&amp;&lt;&gt;&quot;&#39;", "&<>\"'"),
        ("&copy;&copy", "\u00a9\u00a9"),
        ("&copy=1&copy;=1", "&copy=1\u00a9=1"),
        ("&copy1 &notit; &unknown; &;", "&copy1 &notit; &unknown; &;"),
        ("?a=1&b=2&lt=3", "?a=1&b=2&lt=3"),
        ("&#65;&#x41;&#X41&#65", "AAAA"),
        ("&#65=&#65;=", "A=A="),
        ("&#0;&#x110000;&#xD800;", "\ufffd\ufffd\ufffd"),
        ("&#0000000000000000065;&#" + "9" * 5000 + ";&#x" + "f" * 5000, "A\ufffd\ufffd"),
        ("&#;&#x;&#xg;", "&#;&#x;&#xg;"),
    ],
)
def test_character_references_of_attributes(written: str, decoded: str) -> None:
    assert decode_references(written) == decoded
