"""Texts out of a message and back into it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from relayq.compose.mime_tree import parse_tree
from relayq.compose.text_parts import read_texts, write_texts
from tests.support.mime_oracle import leaves_by_stdlib
from tests.support.torture import FILE, MESSAGES, TOP, TortureMessage, crlf, mime_part, multipart

LONG = "x" * 999


def rewritten(mime: bytes, change: Callable[[str], str]) -> bytes:
    root = parse_tree(mime)
    return write_texts(mime, root, [(text, change(text.text)) for text in read_texts(mime, root)])


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.name)
def test_unchanged_texts_leave_the_message_octet_identical(message: TortureMessage) -> None:
    assert rewritten(message.mime, lambda text: text) == message.mime


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.name)
def test_a_changed_text_is_read_back(message: TortureMessage) -> None:
    root = parse_tree(message.mime)
    texts = [text.text for text in read_texts(message.mime, root)]
    changed = rewritten(message.mime, lambda text: f"Łódź {text}")
    assert [text.text for text in read_texts(changed, parse_tree(changed))] == [f"Łódź {text}" for text in texts]


def test_worked_example_of_the_specification() -> None:
    header = (
        "From: shop@example.com\nX-Tag: {$name}\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=%s\nContent-Transfer-Encoding: quoted-printable\n\n"
    )
    mime = crlf(header % "iso-8859-1" + "Beste {$name},\nsaldo {$amount} (caf=E9)\n")

    def render(text: str) -> str:
        assert text == "Beste {$name},\nsaldo {$amount} (café)\n"
        return text.replace("{$name}", "Łukasz").replace("{$amount}", "1.234,50")

    assert rewritten(mime, render) == crlf(header % "utf-8" + "Beste =C5=81ukasz,\nsaldo 1.234,50 (caf=C3=A9)\n")


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("7bit", "new\n", "7bit"),
        ("7bit", "ü\n", "quoted-printable"),
        ("7bit", f"{LONG}\n", "quoted-printable"),
        ("8bit", "ü\n", "8bit"),
        ("8bit", f"ü{LONG}\n", "quoted-printable"),
        ("8bit", "ü\0\n", "quoted-printable"),
        ("binary", "new\n", "quoted-printable"),
        ("quoted-printable", "new\n", "quoted-printable"),
        ("base64", "new\n", "base64"),
    ],
)
def test_transfer_encodings(encoding: str, text: str, expected: str) -> None:
    header = f"{TOP}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: %s\n\n"
    changed = rewritten(crlf(header % encoding), lambda _: text)
    assert changed.startswith(crlf(header % expected))
    assert changed.endswith(b"\r\n")
    assert leaves_by_stdlib(changed) == [("text/plain", crlf(text))]


LABEL = "Content-Type: text/plain; charset=utf-8\n"
FLOWED = "Content-Type: text/plain; format=flowed"
EIGHT_BIT = "MIME-Version: 1.0\nContent-Transfer-Encoding: 8bit\n"


@pytest.mark.parametrize(
    ("header", "text", "changed"),
    [
        ("", "new\n", ""),
        ("X: 1\n", "ü\n", f"X: 1\nMIME-Version: 1.0\n{LABEL}"),
        ("Content-MD5: x\nLines: 1\nContent-Length: 1\nX: 1\n", "new\n", "X: 1\n"),
        ("Content-Type: text/plain\n", "new\n", "Content-Type: text/plain\n"),
        (f"{FLOWED}\n", "ü\n", f"{FLOWED}; charset=utf-8\n"),
        (EIGHT_BIT, "ü\n", f"{EIGHT_BIT}{LABEL}"),
    ],
)
def test_headers_change_only_where_they_must(header: str, text: str, changed: str) -> None:
    result = rewritten(crlf(f"{header}\nold\n"), lambda _: text)
    assert result.startswith(crlf(changed))
    assert result.count(b"MIME-Version") == ("ü" in text)
    assert b"Content-MD5" not in result
    assert b"Content-Length" not in result
    assert result.count(b"Content-Type") <= 1
    assert leaves_by_stdlib(result) == [("text/plain", crlf(text))]


@pytest.mark.parametrize(
    ("html", "declared"),
    [
        ("<meta charset=iso-8859-1>", "<meta charset=utf-8>"),
        ("<META CHARSET = 'iso-8859-1' />", "<META CHARSET = 'utf-8' />"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">',
            '<meta http-equiv="Content-Type" content="text/html; charset=utf-8">',
        ),
        ("<meta name=x><p>charset=x", "<meta name=x><p>charset=x"),
        ("<!-- -->\n" * 200 + "<meta charset=x>", "<!-- -->\n" * 200 + "<meta charset=x>"),
        ("<meta charset=a><meta charset=b>", "<meta charset=utf-8><meta charset=b>"),
    ],
)
def test_the_declaration_in_html_follows_the_charset(html: str, declared: str) -> None:
    header = "MIME-Version: 1.0\nContent-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit\n\n"
    mime = crlf(f"{header}{html}\n")
    assert rewritten(mime, lambda text: text + "é").endswith(crlf(html, "latin-1") + b"\r\n\xe9")
    changed = rewritten(mime, lambda text: text + "Ł\n")
    assert changed == crlf(header.replace("iso-8859-1", "utf-8") + declared + "\nŁ\n")


def test_several_texts_at_once() -> None:
    parts = (
        mime_part("text/plain; charset=us-ascii", "one\n"),
        FILE,
        mime_part("text/html", "<p>two\n"),
        mime_part("text/plain", "broken =ZZ\n", "quoted-printable"),
    )
    mime = crlf(multipart("mixed", *parts, header="From: a@b.example\n"))
    root = parse_tree(mime)
    one, two = read_texts(mime, root)
    assert (one.text, two.text) == ("one", "<p>two")
    changed = write_texts(mime, root, [(two, "<p>zwölf"), (one, "eins\rzwei\ndrei\r\nvier")])
    assert [body for _, body in leaves_by_stdlib(changed)][::2] == [
        b"eins\r\nzwei\r\ndrei\r\nvier",
        "<p>zwölf".encode(),
    ]
    assert changed.startswith(b"From: a@b.example\r\n")
    assert changed.count(b"MIME-Version: 1.0\r\n") == 1
    assert crlf(parts[0].replace("one", "eins\nzwei\ndrei\nvier")) in changed
    assert crlf(FILE) in changed
    assert crlf(parts[3]) in changed


def test_octets_that_do_not_fit_their_charset_survive() -> None:
    mime = crlf(
        b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\na\xffb\n"
    )
    assert rewritten(mime, lambda text: text.replace("b", "ü")) == mime.replace(b"b\r\n", "ü\r\n".encode())
