"""Inlining inside messages: which parts, and what becomes of their encoding and charset (spec html-css-dkim.md 2.5)."""

from __future__ import annotations

import base64
import quopri

import pytest

from relayq.compose.css_matching import CssLimitError
from relayq.compose.inline_css import CssInliner

HTML = "<style>p{color:red}</style><p>Hi</p>\r\n"
INLINED = '<p style="color:red">Hi</p>\r\n'


def inline(mime: bytes, *, force: bool = False) -> bytes:
    return CssInliner().inline_message(mime, force=force)[0]


def message_of(body: bytes | str, *headers: str) -> bytes:
    octets = body.encode() if isinstance(body, str) else body
    fields = ("Subject: x", "MIME-Version: 1.0", *headers)
    return "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n" + octets


def test_the_example_of_the_specification() -> None:
    assert inline(message_of(HTML, "Content-Type: text/html")) == message_of(INLINED, "Content-Type: text/html")


@pytest.mark.parametrize(
    "mime",
    [
        message_of("<p>x</p>\r\n", "Content-Type: text/html"),
        message_of("<style media=print>p{a:b}</style><p>x</p>", "Content-Type: text/html"),
        message_of(HTML),
        message_of(HTML, "Content-Type: text/plain"),
        message_of(HTML, "Content-Type: text/html", "Content-Disposition: attachment"),
        message_of(HTML, "Content-Type: text/html; name=x.html"),
        message_of("PHN0eWxlPnA!", "Content-Type: text/html", "Content-Transfer-Encoding: base64"),
        message_of(f"=XX{HTML}", "Content-Type: text/html", "Content-Transfer-Encoding: quoted-printable"),
        message_of(HTML, "Content-Type: text/html", "Content-Transfer-Encoding: x-unknown"),
        b"",
        b"<style>",
        b"Content-Type: text/html\r\n\r\n",
        b"Content-Type: text/html",
    ],
)
def test_other_messages_stay_octet_identical(mime: bytes) -> None:
    assert inline(mime) == mime


def test_line_ends_of_an_unchanged_part_stay() -> None:
    mime = message_of("<style media=print>p{a:b}</style>\n<p>x</p>\r\n", "Content-Type: text/html")
    assert inline(mime) == mime


def test_line_ends_of_a_changed_part_become_crlf() -> None:
    mime = message_of("<style>p{a:b}</style>\n<p>\rx</p>\r\n", "Content-Type: text/html")
    assert inline(mime) == message_of('\r\n<p style="a:b">\r\nx</p>\r\n', "Content-Type: text/html")


def test_every_html_part_and_only_those_change() -> None:
    def parts(html: str) -> str:
        return (
            "preamble <style>p{a:b}</style>\r\n"
            f"--b\r\nContent-Type: text/plain\r\n\r\n{HTML}\r\n"
            f"--b\r\nContent-Type: text/html\r\n\r\n{html}\r\n"
            f"--b\r\ncontent-type: TEXT/HTML; charset=us-ascii\r\nX-Kept :  1\r\n\r\n{html}\r\n"
            f"--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment\r\n\r\n{HTML}\r\n"
            f"--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: text/html\r\n\r\n{HTML}\r\n--b--\r\nepilogue"
        )

    header = 'Content-Type: multipart/mixed; boundary="b"'
    assert inline(message_of(parts(HTML), header)) == message_of(parts(INLINED), header)


def test_signed_parts_stay() -> None:
    body = f"--b\r\nContent-Type: text/html\r\n\r\n{HTML}\r\n--b--\r\n"
    mime = message_of(body, 'Content-Type: multipart/signed; boundary="b"')
    assert inline(mime) == mime


def test_base64_stays_base64() -> None:
    headers = ("Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: base64")
    mime = message_of(base64.encodebytes(f"{HTML}ü".encode()), *headers)
    assert inline(mime) == message_of(base64.b64encode(f"{INLINED}ü".encode()) + b"\r\n", *headers)


def test_quoted_printable_stays_quoted_printable() -> None:
    headers = ("Content-Type: text/html; charset=iso-8859-1", "Content-Transfer-Encoding: quoted-printable")
    mime = message_of("<style>p{color:=\r\nred}</style><p>=FC</p>\r\n", *headers)
    header, _, body = inline(mime).partition(b"\r\n\r\n")
    assert header + b"\r\n\r\n" == message_of("", *headers)
    assert quopri.decodestring(body) == b'<p style="color:red">\xfc</p>\r\n'


def test_octets_that_do_not_fit_the_charset_survive() -> None:
    mime = message_of(
        HTML.encode() + b"\xff\xfe", "Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: 8bit"
    )
    assert inline(mime) == mime.replace(HTML.encode(), INLINED.encode())


def test_a_charset_that_cannot_hold_the_result_is_replaced() -> None:
    html = "<meta charset=iso-8859-1><style>p{content:'&'}</style><style>p{font-family:\\20AC}</style><p>\u00fc</p>"
    headers = ("Content-Type: text/html; charset=iso-8859-1", "Content-Transfer-Encoding: 8bit")
    assert inline(message_of(html.encode("latin_1"), *headers)).isascii() is False


def test_limits_are_errors_unless_forced() -> None:
    huge = "<style>p{a:b}" + " " * (1 << 20) + "</style>"
    body = f"--b\r\nContent-Type: text/html\r\n\r\n{huge}\r\n--b\r\nContent-Type: text/html\r\n\r\n{HTML}\r\n--b--\r\n"
    mime = message_of(body, 'Content-Type: multipart/mixed; boundary="b"')
    with pytest.raises(CssLimitError):
        inline(mime)
    assert inline(mime, force=True) == mime.replace(HTML.encode(), INLINED.encode())
