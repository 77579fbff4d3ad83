"""Where tags stand."""

from __future__ import annotations

import itertools
import time

import pytest

from relayq.compose.responsive.html_tags import HIDDEN, RAW, decode_references, find_attribute, scan_tags


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("a < b <3 <", []),
        ("<p>a</p ><BR/><x:y-z1>", ["p", "/p", "br", "x:y-z1"]),
        ("<a title='>' b=\">\" c=d'e\"f>x</a>", ["a", "/a"]),
        ("<a =b=c / d= e f = 'g'h>", ["a"]),
        ("<a b=>x", ["a"]),
        ("<a b=c/>", ["a"]),
        ("<!-- <p> --><p><!--><b><!---><i><!-- x --!><u>", [HIDDEN, "p", HIDDEN, "b", HIDDEN, "i", HIDDEN, "u"]),
        ("<!-- <p>", [HIDDEN]),
        ("<!DOCTYPE html><?php a ?><![endif]></ b><p>", [HIDDEN] * 4 + ["p"]),
        ("<!--[if mso]><p><![endif]--><!--[if !mso]><!--><b><!--<![endif]-->", [HIDDEN, HIDDEN, "b", HIDDEN]),
        ("<style><p></STYLE ><p>", ["style", RAW, "/style", "p"]),
        ("<title><p></titlex></title>", ["title", RAW, "/title"]),
        ("<script><p>", ["script", RAW]),
        ("<plaintext><p></plaintext>", ["plaintext", RAW]),
        ("<style/>x</style>", ["style", RAW, "/style"]),
        ("<p><a href='x><b>", ["p", HIDDEN]),
        ("<p><a href=x", ["p", HIDDEN]),
        ("<p></", ["p", HIDDEN]),
    ],
)
def test_tags(text: str, names: list[str]) -> None:
    tags = scan_tags(text)
    assert [("/" if tag.is_end else "") + tag.name for tag in tags] == names
    assert all(one.end <= other.start for one, other in itertools.pairwise(tags))
    assert all(text[tag.start : tag.name_end].lstrip("</").lower() == tag.name for tag in tags if tag.name[0] != "#")


def test_some_tags() -> None:
    text = "<p><a href=x><!-- <a> --><style><a></style></A><b><i title='"
    assert [tag.name for tag in scan_tags(text, frozenset(("a", "i")))] == ["a", "a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<a href=x>", "x"),
        ("<a HREF = 'x y'>", "x y"),
        ('<a href="x&amp;y" href=z>', "x&y"),
        ("<a title='href=a' href=b>", "b"),
        ("<a xhref=a href>", ""),
        ("<a href=>", ""),
        ("<a/href=b/c>", "b/c"),
        ("<a href=' b '>", "b"),
        ("<a =href=b href=c>", "c"),
        ("<a>", None),
        ("<a hrefs=x data-href=y>", None),
    ],
)
def test_attributes(text: str, value: str | None) -> None:
    (tag,) = scan_tags(text)
    attribute = find_attribute(text, tag, "href")
    assert (attribute.value if attribute is not None else None) == value
    if attribute is not None:
        assert text[: attribute.name_end].lower().endswith("href")
        assert text[attribute.end] in " >"


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("a", "a"),
        ("&amp;&lt;&quot;&#39;&#x41;&eacute;", "&<\"'Aé"),
        ("?a=1&copy=2&amp=3&copyx&unknown;&", "?a=1&copy=2&amp=3&copyx&unknown;&"),
        ("&copy &amp", "© &"),
        ("&copy;=", "©="),
        ("&#65=&#x41", "A=A"),
        ("&#0;&#1114112;&#xd800;", "\ufffd\ufffd\ufffd"),
        ("&#" + "9" * 5000, None),
    ],
)
def test_references(value: str, decoded: str | None) -> None:
    assert decoded is None or decode_references(value) == decoded
    decode_references(value)


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a",
        "<a ",
        "<a b='",
        '<a b="',
        "<!--",
        "<!-",
        "<style>",
        "<!",
        "</",
        "=",
        "<a =",
        "<a b= ",
        "&",
        "-",
        "<a>",
    ],
)
def test_time_is_linear(piece: str) -> None:
    start = time.process_time()
    text = "<p " + piece * 100_000
    for tag in scan_tags(text) + scan_tags(piece * 100_000):
        assert find_attribute(text, tag, "href") is None
    assert time.process_time() - start < 30
