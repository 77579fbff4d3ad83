"""Addresses of links and images, and what rules make of them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from relayq.compose.responsive import DocumentError
from relayq.compose.responsive.links import clean_url, with_parameters
from relayq.compose.responsive.rewriting import compile_wildcard
from tests.support.documents import compose, html_of, inner_of, plan_of, text_of

SHOP = "http://shop.example.com/a/b?x=1"


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        (" https://x.test/a ", "https://x.test/a"),
        ('https://x.test/ü b"<>\\^`{|}', "https://x.test/%C3%BC%20b%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("https://x.test/%20%zz?a=b&c[]=d#e", "https://x.test/%20%zz?a=b&c[]=d#e"),
        ("https://x.test/a\r\nb\0", "https://x.test/a%0D%0Ab"),
        ("https://x.test/\ud800", "https://x.test/%3F"),
        ("mailto:a@x.test", "mailto:a@x.test"),
        ("/relative", "/relative"),
        ("#anchor", "#anchor"),
        ("javascript:alert(1)", ""),
        (" JaVaScript:alert(1)", ""),
        ("java\nscript:alert(1)", ""),
        ("\x01javascript:alert(1)", ""),
        ("vbscript:x", ""),
        ("data:text/html,x", ""),
        ("data:image/png;base64,AA", ""),
        ("", ""),
    ],
)
def test_clean_urls(given: str, cleaned: str) -> None:
    assert clean_url(given) == cleaned


def test_images_may_be_data() -> None:
    assert clean_url("data:image/png;base64,AA", is_image=True) == "data:image/png;base64,AA"
    assert clean_url("DATA:Image/png,A", is_image=True) == "DATA:Image/png,A"
    assert clean_url("data:text/html,A", is_image=True) == ""
    assert clean_url("javascript:data:image/x", is_image=True) == ""


@pytest.mark.parametrize(
    ("url", "parameters", "expected"),
    [
        ("http://x.test", [], "http://x.test"),
        ("http://x.test", [("a", "b")], "http://x.test?a=b"),
        ("http://shop.example.com?a=b", [("type", "x y")], "http://shop.example.com?a=b&type=x%20y"),
        ("http://x.test/?a=1&b=2&a=3#f", [("a", "+&=")], "http://x.test/?a=%2B%26%3D&b=2#f"),
        ("http://x.test/?a%20b=1", [("a b", "2")], "http://x.test/?a%20b=2"),
        ("http://x.test/?a", [("a", "")], "http://x.test/?a="),
        ("http://x.test/#f?x", [("a", "1")], "http://x.test/?a=1#f?x"),
        ("http://x.test/?", [("ü", "é")], "http://x.test/?%C3%BC=%C3%A9"),
    ],
)
def test_parameters(url: str, parameters: list[tuple[str, str]], expected: str) -> None:
    assert with_parameters(url, parameters) == expected


def rewritten(rules: object, url: str = SHOP, **link: Any) -> str:
    """Address of a linked block under rules of the document."""
    block = {"type": "link", "label": "x", "link": {"url": url, **link}}
    return (
        html_of({"rewrite": {"links": rules}, "content": {"blocks": [block]}})
        .partition('<a href="')[2]
        .partition('"')[0]
    )


@pytest.mark.parametrize(
    ("rules", "has_matched"),
    [
        ([{}], True),
        ([{"domain": {"equals": "shop.example.com"}}], True),
        ([{"domain": {"equals": "SHOP.example.com"}}], True),
        ([{"domain": {"equals": "example.com"}}], False),
        ([{"domain": {"contains": "Example"}}], True),
        ([{"domain": {"match": "*.example.co?"}}], True),
        ([{"domain": {"match": "example"}}], False),
        ([{"domain": {"regex": "^Shop\\."}}], True),
        ([{"path": {"equals": "/a/b"}}], True),
        ([{"path": {"equals": "/A/b"}}], False),
        ([{"path": {"match": "/a/*"}}], True),
        ([{"url": {"contains": "?x=1"}}], True),
        ([{"contains": "shop", "equals": "x"}], False),
        ([{"contains": "shop", "regex": "x=\\d$"}], True),
        ([{"match": "http://*"}], True),
        ([{"match": "http:??shop*[x]"}], False),
        ([{"domain": {"contains": "shop"}, "path": {"equals": "/"}}], False),
        ({"shop.": {}}, True),
        ({"hop.": {}}, False),
        ({"^shop": {}}, True),
        ({".*EXAMPLE": {}}, True),
        ({"shop.": {"path": {"equals": "/"}}}, False),
        ([], False),
        ({}, False),
    ],
)
def test_matchers(rules: Any, *, has_matched: bool) -> None:
    if isinstance(rules, dict):
        rules = {host: {**rule, "params": {"m": 1}} for host, rule in rules.items()}
    else:
        rules = [{**rule, "params": {"m": 1}} for rule in rules]
    assert rewritten(rules) == SHOP + ("&amp;m=1" if has_matched else "")


@pytest.mark.parametrize(
    ("rules", "link", "expected"),
    [
        ([{"params": {"a": 1, "b": True, "c": None}}], {}, "http://shop.example.com/a/b?x=1&a=1&b=true"),
        ([{"params": {"x": 2}}, {"params": {"x": 3}}], {}, "http://shop.example.com/a/b?x=3"),
        ([{"params": {"x": 2}, "last": True}, {"params": {"x": 3}}], {}, "http://shop.example.com/a/b?x=2"),
        ([{"equals": "n", "last": True}, {"params": {"x": 3}}], {}, "http://shop.example.com/a/b?x=3"),
        ([{"params": {"x": 2}}, {"params": {"x": 3}, "unique": "yes"}], {}, "http://shop.example.com/a/b?x=2"),
        ([{"equals": "n"}, {"params": {"x": 3}, "unique": True}], {}, "http://shop.example.com/a/b?x=3"),
        ([{"protocol": "https"}], {}, "https://shop.example.com/a/b?x=1"),
        ([{"protocol": "HTTPS://"}, {"url": {"contains": "http:"}, "params": {"y": 1}}], {},
         "https://shop.example.com/a/b?x=1&y=1"),
        ([{"params": {"x": 2}, "last": True}], {"params": {"x": 4, "z": "x y"}}, "http://shop.example.com/a/b?x=4&z=x%20y"),
        ([], {"params": {"type": "+"}}, "http://shop.example.com/a/b?x=1&type=%2B"),
    ],
)  # fmt: skip
def test_effects(rules: object, link: dict[str, Any], expected: str) -> None:
    assert rewritten(rules, **link) == expected.replace("&", "&amp;")


@pytest.mark.parametrize("url", ["mailto:a@x.test", "#x", "/a", "tel:123", "ftp://x.test/"])
def test_other_links_are_left_alone(url: str) -> None:
    assert rewritten([{"params": {"a": 1}}], url) == url


def test_rules_of_blocks_come_after_those_of_the_document() -> None:
    rules = {"links": [{"params": {"a": "top", "b": "top"}}]}
    own = {"links": [{"params": {"b": "block", "c": "block"}}]}
    blocks: list[dict[str, Any]] = [
        {"type": "button", "label": "x", "rewrite": own, "link": {"url": "http://x.test/1", "params": {"c": "link"}}},
        {"type": "link", "rewrite": own, "link": {"url": "http://x.test/2", "params": {"c": "link"}}},
        {"type": "html", "rewrite": own, "content": "<A CLASS=x HREF=http://x.test/3>x</A>"},
        {"type": "image", "src": "cid:x", "rewrite": own, "link": "http://x.test/4"},
    ]
    html = html_of({"rewrite": rules, "content": {"blocks": blocks}})
    assert 'href="http://x.test/1?a=top&amp;b=block&amp;c=link"' in html
    assert 'href="http://x.test/2?a=top&amp;b=block&amp;c=link"' in html
    assert '<A CLASS=x HREF="http://x.test/3?a=top&amp;b=block&amp;c=block">' in html
    assert 'href="http://x.test/4?a=top&amp;b=top"' in html
    assert text_of({"rewrite": rules, "content": {"blocks": blocks[2:3]}}) == (
        "x (http://x.test/3?a=top&b=block&c=block)"
    )


def test_a_string_changes_only_where_its_links_are() -> None:
    html = (
        "<!DOCTYPE html><!-- <a href='http://x.test'> -->"
        "<a\n class=x href='http://x.test/?a=1&amp;b=2' title='<a>'>1</a>"
        '<a href=http://x.test/c>2</a><a href="mailto:a@x.test">3</a><area href=" http://x.test ">'
        '<img src="http://x.test/i.png"><link href="http://x.test/s.css"><a name=x></a><style>a{b:c}</style>'
    )
    expected = (
        html.replace("'http://x.test/?a=1&amp;b=2'", '"http://x.test/?a=1&amp;b=2&amp;u=1"')
        .replace("href=http://x.test/c", 'href="http://x.test/c?u=1"')
        .replace('" http://x.test "', '"http://x.test?u=1"')
    )
    assert html_of({"content": html, "rewrite": {"links": [{"params": {"u": 1}}]}}) == expected
    assert html_of({"content": html, "rewrite": {"links": []}}) == html
    assert html_of({"content": html, "rewrite": {"links": [{"equals": "n", "params": {"u": 1}}]}}) == html


@pytest.mark.parametrize(
    ("rewrite", "message"),
    [
        ([], None),
        ({"links": None}, None),
        ("x", "mime.rewrite: expected an object"),
        ({"links": "x"}, "mime.rewrite.links: expected an array"),
        ({"links": ["x"]}, "mime.rewrite.links[0]: expected an object"),
        ({"links": {"x.test": 5}}, "mime.rewrite.links.x.test: expected an object"),
        ({"links": [{"protocol": "ftp"}]}, "mime.rewrite.links[0].protocol: expected http or https"),
        ({"links": [{"regex": "("}]}, "mime.rewrite.links[0].regex: invalid regular expression"),
        ({"links": [{"path": {"regex": "x" * 1001}}]}, "mime.rewrite.links[0].path.regex: longer than 1000 characters"),
        ({"links": [{"domain": 5}]}, "mime.rewrite.links[0].domain: expected an object"),
        ({"links": [{"domain": {"match": 5}}]}, "mime.rewrite.links[0].domain.match: expected a string"),
        ({"links": {"^(": {}}}, "mime.rewrite.links.^(: invalid regular expression"),
        ({"links": [{"last": "perhaps"}]}, "mime.rewrite.links[0].last: expected true or false"),
    ],
)
def test_errors(rewrite: object, message: str | None) -> None:
    mime = {"content": '<a href="http://x.test">', "rewrite": rewrite}
    if message is None:
        compose(mime)
        return
    with pytest.raises(DocumentError) as caught:
        compose(mime)
    assert str(caught.value) == message
    assert message in plan_of(mime, force=True).notes


def test_a_rule_without_its_condition_is_no_rule() -> None:
    rules = [{"regex": "(", "params": {"a": 1}}, {"params": {"b": 1}}]
    mime = {"content": '<a href="http://x.test/">', "rewrite": {"links": rules}}
    assert html_of(mime, force=True) == '<a href="http://x.test/?b=1">'


def test_expressions_that_take_too_long() -> None:
    content = f'<a href="http://x.test/{"x" * 200}01">'
    mime = {"content": content, "rewrite": {"links": [{"regex": "(x|xx)+1$", "params": {"a": 1}}]}}
    start = time.process_time()
    with pytest.raises(DocumentError, match=r"^mime\.rewrite\.links\[0\]\.regex: regular expression takes too long$"):
        compose(mime)
    assert html_of(mime, force=True) == content
    assert time.process_time() - start < 30


def test_odd_addresses() -> None:
    assert rewritten([{"domain": {"equals": "[x"}, "params": {"a": 1}}], "http://[x/") == "http://[x/?a=1"
    long = "http://x.test/" + "a" * 20_000
    assert rewritten([{"params": {"a": 1}}], long) == long
    for url in ("http://X.test", "http://X.test?b=2", "HTTPS://u:p@x.test:80/?b=2", "http://x.test:/#f"):
        assert "a=1" in rewritten([{"path": {"equals": "/"}, "domain": {"equals": "x.test"}, "params": {"a": 1}}], url)
    assert "a=1" in rewritten([{"domain": {"equals": "[2001:db8::1]"}, "params": {"a": 1}}], "http://[2001:db8::1]:80/")


def test_wildcards_take_little_time() -> None:
    start = time.process_time()
    assert compile_wildcard("*a" * 500).fullmatch("a" * 16_000 + "b") is None
    assert compile_wildcard("a*b?c*").fullmatch("a\nxb-c") is not None
    assert time.process_time() - start < 20


def test_links_without_a_usable_address() -> None:
    assert inner_of({"type": "heading", "content": "x", "link": "javascript:x"}) == '<h1 style="margin:0">x</h1>'
    assert "<span" in inner_of({"type": "button", "label": "x", "link": {"title": "T"}})
