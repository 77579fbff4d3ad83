"""Tracking pixels and embedded images."""

from __future__ import annotations

import hashlib

import pytest

from relayq.compose.responsive import DocumentError, DownloadFailure, DownloadKind, Resource
from tests.support.documents import compose, defects, html_of, parsed, part_of, plan_of

PIXEL = '<img src="https://t.test/?a=1&amp;b=2" width="1" height="1" alt="" style="display:block;border:0" />'
TRACKING = {"pixel": "https://t.test/?a=1&b=2"}


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>x", f"<p>x{PIXEL}"),
        ("<body><p>x</BODY ></html>", f"<body><p>x{PIXEL}</BODY ></html>"),
        ("</body><!-- </body> -->", f"{PIXEL}</body><!-- </body> -->"),
        ("<!-- <img> --><style><img></style>", f"<!-- <img> --><style><img></style>{PIXEL}"),
        ("<p><IMG SRC=x></p>", "<p><IMG SRC=x></p>"),
    ],
)
def test_pixel(html: str, expected: str) -> None:
    assert html_of({"content": html, "tracking": TRACKING}) == expected


def test_pixel_by_force() -> None:
    assert html_of({"content": "<img>", "tracking": {**TRACKING, "force": 1}}) == f"<img>{PIXEL}"
    assert html_of({"content": "<p>", "tracking": {"pixel": "javascript:x", "force": True}}) == "<p>"
    assert html_of({"content": "<p>", "tracking": {}}) == "<p>"


def test_pixel_in_a_page_of_blocks() -> None:
    html = html_of({"content": {"blocks": [{"type": "text", "content": "x"}]}, "tracking": TRACKING})
    assert html.endswith(f"</table>\n{PIXEL}</body>\n</html>")


@pytest.mark.parametrize(
    ("tracking", "path"), [("x", ""), ({"pixel": 5}, ".pixel"), ({**TRACKING, "force": "perhaps"}, ".force")]
)
def test_wrong_tracking(tracking: object, path: str) -> None:
    with pytest.raises(DocumentError, match=rf"^mime\.tracking{path}: expected"):
        compose({"content": "<p>", "tracking": tracking})


def cid(content: bytes) -> str:
    return f"cid:{hashlib.sha256(content).hexdigest()[:32]}@shop.example"


def test_embedding() -> None:
    html = (
        "<img src=https://x.test/a.png><IMG alt='x' SRC='https://x.test/b%20c.gif?x=1&amp;y=2'>"
        "<img src=' https://x.test/d '><img src='/e.png'><img src='cid:f'><img src='https://x.test/404'><img>"
        "<img src='data:image/gif;base64,R0lG OCE='><img src='data:image/svg+xml,%3Csvg/%3E'>"
        "<img src='data:image/gif;base64,!'><img src='data:image/gif;base64,'><img src='data:text/html,x'>"
        "<!-- <img src='https://x.test/g.png'> --><img src='https://x.test/page'>"
    )
    answers = {
        "https://x.test/a.png": Resource(b"one"),
        "https://x.test/b%20c.gif?x=1&y=2": Resource(b"two", "image/gif; x=y"),
        "https://x.test/d": Resource(b"one", "image/webp"),
        "https://x.test/404": DownloadFailure("HTTP 404", is_temporary=True),
        "https://x.test/page": Resource(b"<html>", "text/html"),
    }
    mime = {"from": "a@shop.example", "content": html, "images": "Embed", "tracking": {**TRACKING, "force": True}}
    downloads = plan_of(mime).downloads
    assert [download.url for download in downloads] == list(answers)
    assert {(download.kind, download.is_required, download.max_bytes) for download in downloads} == {
        (DownloadKind.IMAGE, False, None)
    }
    message = compose(mime, answers=answers)
    changes = {
        "src=https://x.test/a.png": f'src="{cid(b"one")}"',
        "SRC='https://x.test/b%20c.gif?x=1&amp;y=2'": f'SRC="{cid(b"two")}"',
        "src=' https://x.test/d '": f'src="{cid(b"one")}"',
        "src='data:image/gif;base64,R0lG OCE='": f'src="{cid(b"GIF8!")}"',
        "src='data:image/svg+xml,%3Csvg/%3E'": f'src="{cid(b"<svg/>")}"',
    }
    expected = html
    for old, new in changes.items():
        expected = expected.replace(old, new)
    assert part_of(message, "text/html") == expected + PIXEL
    related = parsed(message)
    assert not defects(related)
    assert related.get_content_type() == "multipart/related"
    images = [part for part in related.walk() if part.get_content_maintype() == "image"]
    assert [(part.get_content_type(), part.get_filename(), part["Content-ID"]) for part in images] == [
        ("image/png", "a.png", f"<{cid(b'one')[4:]}>"),
        ("image/gif", "b c.gif", f"<{cid(b'two')[4:]}>"),
        ("image/gif", "image.gif", f"<{cid(b'GIF8!')[4:]}>"),
        ("image/svg+xml", "image.svg", f"<{cid(b'<svg/>')[4:]}>"),
    ]


def test_probing_and_embedding_fetch_once() -> None:
    block = {"type": "image", "src": "https://x.test/a.gif"}
    content = b"GIF89a\x3a\x00\x01\x00\0\0\0"
    mime = {"images": "embed", "content": {"blocks": [block]}}
    (download,) = plan_of(mime).downloads
    assert download.kind is DownloadKind.IMAGE
    html = part_of(compose(mime, answers={download.url: Resource(content)}), "text/html")
    assert f'<img src="{cid(content)}" alt="" width="58" ' in html


def test_images_are_left_alone_by_default() -> None:
    assert plan_of({"content": "<img src='https://x.test/a.png'>"}).downloads == ()
    assert plan_of({"content": "<img src='https://x.test/a.png'>", "images": "default"}).downloads == ()
    with pytest.raises(DocumentError, match=r"^mime\.images: expected a string"):
        compose({"images": True})
