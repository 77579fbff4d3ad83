"""Text and HTML as parts, and how parts become one message."""

from __future__ import annotations

import pytest

from relayq.compose.responsive import DocumentError, Occasion, build_mime, parse_document
from relayq.compose.responsive.assemble import text_leaf
from tests.support.documents import SEEN_AT, compose, defects, has_part, parsed, part_of, plan_of


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "7bit"),
        ("a\n\tb", "7bit"),
        ("x" * 78, "7bit"),
        ("x" * 79, "quoted-printable"),
        ("a \nb", "quoted-printable"),
        ("a\t\nb", "quoted-printable"),
        ("a ", "quoted-printable"),
        ("a\nFrom b", "quoted-printable"),
        ("From b", "quoted-printable"),
        ("a\nFrommer", "7bit"),
        ("a\x7f", "quoted-printable"),
        ("\x1b[0m", "quoted-printable"),
        ("é", "base64"),
        ("een twee é", "quoted-printable"),
        ("日本語の長い文章です。" * 3, "base64"),
    ],
)
def test_encoding_of_text(text: str, encoding: str) -> None:
    leaf = text_leaf("plain", text)
    assert leaf.fields.decode() == (
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    )
    assert max(map(len, b"".join(leaf.chunks).split(b"\r\n"))) <= 78


@pytest.mark.parametrize("text", ["a", "een\ntwee é", "日本語の長い文章です。" * 30])
def test_encoding_of_html(text: str) -> None:
    assert (b"base64" in text_leaf("html", text).fields) == (len(text) > 100)
    assert b"7bit" not in text_leaf("html", text).fields
    assert part_of(compose({"content": text}), "text/html") == text


@pytest.mark.parametrize("text", ["a\nb\n", "a\r\nb\r\n", "a\rb\r"])
def test_line_ends(text: str) -> None:
    assert compose({"text": text}).endswith(b"\r\n\r\na\r\nb\r\n")
    assert b"\r\n\r\na\r\nb\r\n\r\n--" in compose({"text": text, "content": "x"})


def test_no_octet_gets_lost_or_through() -> None:
    text = "".join(map(chr, range(1, 0x250))) + "\U0001f600 \ud800"
    expected = text.replace("\r", "\n").replace("\ud800", "?")
    assert part_of(compose({"text": "a\0" + text + "\0"}), "text/plain") == "a" + expected + ""


@pytest.mark.parametrize(
    ("mime", "structure"),
    [
        ({}, "text/plain"),
        ({"text": ""}, "text/plain"),
        ({"text": "a"}, "text/plain"),
        ({"textVersion": "a"}, "text/plain"),
        ({"content": "a"}, "text/html"),
        ({"html": "a"}, "text/html"),
        ({"text": "", "content": "a"}, "text/html"),
        ({"text": "a", "content": "b"}, "multipart/alternative text/plain text/html"),
        ({"attachments": [{"data": "YQ=="}]}, "multipart/mixed text/plain application/octet-stream"),
        ({"html": "b", "attachments": [{"data": "YQ=="}]}, "multipart/mixed text/html application/octet-stream"),
        ({"html": "b", "attachments": [{"data": "YQ==", "cid": "x"}]},
         "multipart/related text/html application/octet-stream"),
        ({"text": "a", "html": "b", "attachments": [{"data": "YQ==", "cid": "x"}]},
         "multipart/alternative text/plain multipart/related text/html application/octet-stream"),
        ({"text": "a", "html": "b", "attachments": [{"data": "YQ=="}]},
         "multipart/mixed multipart/alternative text/plain text/html application/octet-stream"),
    ],
)  # fmt: skip
def test_structure(mime: dict[str, object], structure: str) -> None:
    message = compose(mime)
    tree = parsed(message)
    assert [part.get_content_type() for part in tree.walk()] == structure.split()
    assert not defects(tree)
    assert message.isascii()
    assert message.endswith(b"\r\n")


def test_empty_message() -> None:
    assert compose({}).partition(b"\r\n\r\n")[2] == b""


def test_content_wins_over_html() -> None:
    assert part_of(compose({"content": "a", "html": "b"}), "text/html") == "a"
    assert part_of(compose({"content": "", "html": "b"}), "text/html") == "b"


def test_a_string_is_not_touched() -> None:
    html = (
        "<!DOCTYPE html>\n<P CLASS=x>&copy;&nbsp;<![if !mso]>x<![endif]><!-- {$x} --><a href='http://x.test?a=1&b=2'>"
    )
    assert part_of(compose({"content": html}), "text/html") == html + ""
    assert not has_part(compose({"content": html}), "text/plain")


def test_templates() -> None:
    mime = {
        "subject": "{$a}",
        "text": "{$a}",
        "content": "<p>{$a}{$b}</p>{if 1 &gt; 0}x{/if}",
        "name": "{$",
        "version": "{$",
    }
    message = compose(mime, data={"a": "<&>"})
    assert part_of(message, "text/html") == "<p><&></p>x"
    assert part_of(message, "text/plain") == "<&>"
    assert part_of(compose(mime), "text/plain") == "{$a}"
    mime["data"] = {"a": "own", "b": "mine"}  # type: ignore[assignment]
    assert part_of(compose(mime), "text/html") == "<p>ownmine</p>x"
    assert part_of(compose(mime, data={"a": "outer"}), "text/html") == "<p>outermine</p>x"
    assert part_of(compose({"text": "{$recipient} {$envelope}"}, data={}), "text/plain") == (
        "ann@example.org bounces@shop.example"
    )


def test_template_errors() -> None:
    mime = {"from": "a@x.test", "subject": "{$a}", "text": "\n{if $a}", "content": "{$a}"}
    with pytest.raises(DocumentError, match=r"^mime\.text: line 2: ") as caught:
        compose(mime, data={"a": "secret"})
    assert "secret" not in str(caught.value)
    message = compose(mime, data={"a": "secret"}, force=True)
    assert part_of(message, "text/plain") == "\n{if $a}"
    assert part_of(message, "text/html") == "secret"


def test_output_is_not_rendered_again() -> None:
    assert part_of(compose({"text": "{$a}"}, data={"a": "{$b}", "b": "x"}), "text/plain") == "{$b}"


@pytest.mark.parametrize(
    ("mime", "message"),
    [
        ({"text": 5}, "mime.text: expected a string"),
        ({"text": ["x"]}, "mime.text: expected a string"),
        ({"html": {}}, "mime.html: expected a string"),
        ({"content": 5}, "mime.content: expected an object"),
        ({"data": 5}, "mime.data: expected an object"),
        ({"content": "x" * (5 * 1024 * 1024 + 1)}, "mime.content: HTML larger than 5242880 octets"),
    ],
)
def test_errors(mime: dict[str, object], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        compose(mime)
    assert str(caught.value) == message


def test_html_of_the_largest_size() -> None:
    html = "x" * (5 * 1024 * 1024)
    assert len(compose({"content": html})) > len(html)


def test_html_too_large_is_left_out_with_force() -> None:
    message = compose({"text": "x", "content": "x" * (5 * 1024 * 1024 + 1)}, force=True)
    assert not has_part(message, "text/html")


def test_message_too_large() -> None:
    attachment = {"data": "YWFh" * (7 * 1024 * 1024)}
    with pytest.raises(DocumentError, match=r"^mime: larger than 52428800 octets$"):
        compose({"text": "x", "attachments": [attachment] * 2}, force=True)


def test_a_plan_with_downloads_left() -> None:
    with pytest.raises(ValueError, match="downloads"):
        build_mime(plan_of({"attachments": {"url": "https://x.test/a"}}), lambda: "x")


def test_notes_are_bounded() -> None:
    notes = plan_of({"to": ["broken"] * 300}, force=True).notes
    assert len(notes) == 100


def test_unusable_data() -> None:
    for data in (b"[1]", b"{", b"5"):
        with pytest.raises(DocumentError, match=r"^data: "):
            parse_document(b"{}", Occasion(envelope=None, recipient="a@x.test", seen_at=SEEN_AT, data=data))


def test_nothing_of_the_content_in_logs() -> None:
    entry = {"domain": "shop.example", "selector": "s1", "key": "secret"}
    plan = plan_of(
        {"text": "secret", "dkim": entry, "data": {"a": "secret"}, "attachments": {"url": "https://x.test/a"}}
    )
    assert repr(plan) == "Plan(Document(text, dkim, data, attachments), downloads=1)"
    assert "secret" not in repr((plan.__rich_repr__(), plan.document.__rich_repr__()))
