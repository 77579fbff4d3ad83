"""HTML, text and pages of finished messages."""

from __future__ import annotations

import pytest

from relayq.cli.message_views import find_text, make_page

HEAD = b"Subject: x\r\nMIME-Version: 1.0\r\n"
BOTH = HEAD + (
    b'Content-Type: multipart/related; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b'<p>K=F6ln <img src=3D"cid:a%2Bb@x.test"> <img src=3D"CID:a+b@x.test"> <img src=3Dcid:nobody></p>=\r\n\r\n'
    b"--b\r\nContent-Type: image/gif\r\nContent-ID: <a+b@x.test>\r\nContent-Transfer-Encoding: base64\r\n\r\nR0lG\r\n"
    b"--b\r\nContent-Type: image/gif\r\nContent-ID: <nobody>\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n"
    b"--b--\r\n"
)


def html_message(html: str) -> bytes:
    return HEAD + b"Content-Type: text/html; charset=utf-8\r\n\r\n" + html.encode()


def test_texts_are_decoded() -> None:
    html = find_text(BOTH, "text/html")
    assert html is not None
    assert html.startswith("<p>Köln ")
    assert find_text(BOTH, "text/plain") is None
    assert find_text(b"Subject: x\r\n\r\na\r\nb\r\n", "text/plain") == "a\nb\n"


def test_embedded_images_stand_in_the_page() -> None:
    page = make_page(BOTH)
    assert page.count('src="data:image/gif;base64,R0lG"') == 2
    assert "src=cid:nobody" in page


@pytest.mark.parametrize(
    ("html", "before"),
    [
        ("<p>x</p>", ""),
        ("<!DOCTYPE html>\r\n<p>x</p>", "<!DOCTYPE html>"),
        (
            "<!-- <head> --><html lang=en>\r\n<head><title>t</title></head><body>x",
            "<!-- <head> --><html lang=en>\n<head>",
        ),
        ("<html><body><head>x", "<html>"),
    ],
)
def test_what_the_page_adds_comes_first(html: str, before: str) -> None:
    page = make_page(html_message(html))
    assert page.startswith(f'{before}<meta charset="utf-8"><meta http-equiv="Content-Security-Policy"')
    assert page.endswith(html.replace("\r\n", "\n").removeprefix(before))


def test_a_page_loads_nothing_from_elsewhere_unless_asked_to() -> None:
    assert "img-src data:;" in make_page(BOTH)
    assert "img-src data: http: https:;" in make_page(BOTH, has_web=True)
    assert "script" not in make_page(BOTH, has_web=True)


def test_without_html_the_page_shows_the_text() -> None:
    page = make_page(b"Subject: x\r\n\r\na < b\r\n")
    assert '<pre style="white-space:pre-wrap">a &lt; b\n</pre>' in page
    assert page.startswith("<!DOCTYPE html>\n<html><head><meta ")
