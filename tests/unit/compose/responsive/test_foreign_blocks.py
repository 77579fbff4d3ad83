"""Blocks that come from elsewhere: imports, feeds, videos."""

from __future__ import annotations

import importlib
import json
import time
from types import ModuleType
from typing import Any

import pytest

from relayq.compose.responsive import DocumentError, DownloadFailure, DownloadKind, Plan, Resource
from relayq.compose.responsive.blocks.feeds import Libraries, parse_feed
from relayq.compose.responsive.blocks.pictures import image_size
from relayq.compose.responsive.blocks.videos import youtube_id
from tests.support.documents import compose, inner_of, plan_of, rows_of, text_of

URL = "https://x.test/blocks.json"
IMPORT = {"type": "import", "url": URL}
TEXT = {"type": "text", "content": "a"}


def reply(value: object) -> Resource:
    return Resource(json.dumps(value).encode(), "application/json")


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (TEXT, 1),
        ([TEXT, TEXT], 2),
        ({"blocks": [TEXT, TEXT, TEXT]}, 3),
        ([], 0),
        ({}, 0),
        ({"blocks": []}, 0),
    ],
)
def test_imports(document: object, count: int) -> None:
    (download,) = plan_of({"content": {"blocks": [IMPORT]}}).downloads
    assert (download.kind, download.url, download.is_required) == (DownloadKind.JSON, URL, True)
    assert rows_of(IMPORT, answers={URL: reply(document)}) == "\n".join([rows_of(TEXT)] * count)


def test_imports_are_rendered() -> None:
    document = {"blocks": [{"type": "html", "content": "{if 1 &gt; 0}{$a}{/if}"}, {"type": "text", "content": "{$a}"}]}
    rows = rows_of({"type": "import", "source": "https://x.test/{$f}"}, data={"a": "<i>", "f": "f"},
                   answers={"https://x.test/f": reply(document)})  # fmt: skip
    assert "><i></td>" in rows
    assert ">&lt;i&gt;</td>" in rows
    assert ">{$a}</td>" in rows_of(IMPORT, answers={URL: reply({"type": "text", "content": "{$a}"})})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Resource(b"<html>"), "mime.content.blocks[0]: not JSON"),
        (Resource(b"[" * 100_000), "mime.content.blocks[0]: nested too deeply"),
        (Resource(b"[" * 500 + b"]" * 500), "mime.content.blocks[0]: nested too deeply"),
        (Resource(b" " * (2 * 1024 * 1024 + 1)), "mime.content.blocks[0]: larger than 2097152 octets"),
        (DownloadFailure("HTTP 404", is_temporary=False), "mime.content.blocks[0]: HTTP 404"),
        (reply("text"), "mime.content.blocks[0].import: expected an object"),
        (reply([{"type": "text"}]), "mime.content.blocks[0].import[0]: content or url needed"),
        (reply({"blocks": [{"type": "odd"}]}), "mime.content.blocks[0].import.blocks[0]: unknown type"),
        (reply({"blocks": 5}), "mime.content.blocks[0].import.blocks: expected an array"),
        (reply({"type": "text", "content": "{$"}), "mime.content.blocks[0].import.content: line 1: unexpected "),
    ],
)
def test_wrong_imports(answer: Resource | DownloadFailure, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        rows_of(IMPORT, answers={URL: answer}, data={})
    assert str(caught.value).startswith(message)
    assert rows_of(IMPORT, TEXT, answers={URL: answer}, force=True).endswith(rows_of(TEXT))


def test_imports_in_imports() -> None:
    def chain(length: int) -> dict[str, Resource | DownloadFailure]:
        urls = [f"https://x.test/{number}" for number in range(1, length + 1)]
        answers: dict[str, Resource | DownloadFailure] = {
            url: reply({"type": "import", "url": urls[number + 1]}) if number + 1 < length else reply(TEXT)
            for number, url in enumerate(urls)
        }
        return answers

    first = {"type": "import", "url": "https://x.test/1"}
    assert rows_of(first, answers=chain(3)) == rows_of(TEXT)
    with pytest.raises(DocumentError, match="more than 3 imports one inside the other"):
        rows_of(first, answers=chain(4))
    with pytest.raises(DocumentError, match="more than 3 imports"):
        rows_of(IMPORT, answers={URL: reply([IMPORT, IMPORT])})


def test_imports_count_like_local_blocks() -> None:
    with pytest.raises(DocumentError, match="more than 2000 blocks"):
        rows_of(IMPORT, answers={URL: reply([TEXT] * 2000)})
    columns = {"type": "columns", "columns": [{"blocks": [IMPORT]}]}
    with pytest.raises(DocumentError, match="columns inside columns"):
        rows_of(columns, answers={URL: reply({"type": "columns", "columns": [{"blocks": []}]})})
    assert rows_of({**IMPORT, "visibility": {"output": "webonly"}}) == ""


FEED_URL = "https://news.test/feed.xml"
FEED = {"type": "feed", "url": FEED_URL}
RSS = """<?xml version="1.0"?>
<rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel><title>News</title>
<item><title>A &amp;amp; B &lt;b&gt;x&lt;/b&gt; {$a}</title><link>/1?a=1&amp;b=2</link>
<description>&lt;p onclick="x" style="a:b"&gt;Hi {$a}&lt;script&gt;alert(1)&lt;/script&gt;
&lt;form&gt;&lt;input&gt;&lt;/form&gt;
&lt;a href="javascript:x"&gt;l&lt;/a&gt;
&lt;a href="/m"&gt;m&lt;/a&gt;&lt;img src="data:image/png;base64,AA"&gt;</description>
<enclosure url="https://news.test/a.jpg" type="image/jpeg" length="1"/></item>
<item><title>two</title><media:thumbnail url="https://news.test/t.png"/></item>
<item><description>three</description><media:content url="https://news.test/c.png" medium="image"/></item>
</channel></rss>"""


def feed(block: dict[str, Any] | None = None, body: str = RSS, **how: Any) -> str:
    answers = {FEED_URL: Resource(body.encode(), "application/rss+xml")}
    return rows_of({**FEED, "image": {"width": 58}, **(block or {})}, answers=answers, **how)


def test_feeds() -> None:
    (download,) = plan_of({"content": {"blocks": [FEED]}}).downloads
    assert (download.kind, download.max_bytes, download.is_required) == (DownloadKind.FEED, 2 * 1024 * 1024, True)
    rows = feed(data={"a": "secret"})
    assert "secret" not in rows
    kinds = [row.partition('"')[0] for row in rows.split('<td class="re-')[1:]]
    assert kinds == ["heading", "image", "html", "heading", "image", "image", "html"]
    assert '<a href="https://news.test/1?a=1&amp;b=2" style="color:inherit">A &amp; B x {$a}</a></h1>' in rows
    assert 'style="text-decoration:none"><img src="https://news.test/a.jpg" alt="" width="58"' in rows
    assert "<p>Hi {$a}" in rows
    assert '<a>l</a>\n<a href="https://news.test/m">m</a><img>' in rows
    for forbidden in ("script", "onclick", "form", 'style="a:b', "javascript", "data:image"):
        assert forbidden not in rows


def test_parts_of_feeds() -> None:
    rows = feed(
        {"blocks": ["html", "heading", "odd"], "heading": {"size": 2, "type": "odd", "content": "no"}, "limit": 1}
    )
    kinds = [row.partition('"')[0] for row in rows.split('<td class="re-')[1:]]
    assert kinds == ["html", "heading"]
    assert '<h2 style="margin:0"><a href="https://news.test/1' in rows
    assert feed({"limit": 0}) == feed({"limit": -1}) == feed({"blocks": []}) == ""
    many = f"<rss version='2.0'><channel>{'<item><title>x</title></item>' * 20}</channel></rss>"
    assert feed(body=many).count("<h1") == 10
    assert feed({"limit": "15"}, body=many).count("<h1") == 15


def test_text_of_feeds() -> None:
    mime = {"content": {"blocks": [{**FEED, "limit": 1, "blocks": ["heading", "html"]}]}}
    assert text_of(mime, answers={FEED_URL: Resource(RSS.encode())}) == (
        "A & B x {$a} <https://news.test/1?a=1&b=2>\n\nHi {$a}\n\nl m (https://news.test/m)"
    )


def test_plain_texts_in_feeds() -> None:
    atom = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>x</title><entry><title>a &lt;b&gt;</title>
    <content type="text">c &lt; d\ne</content></entry></feed>"""
    libraries = Libraries(importlib.import_module("feedparser"), importlib.import_module("nh3"))
    items = parse_feed(Resource(atom), FEED_URL, 10, libraries)
    assert items is not None
    assert (items[0].title, items[0].html, items[0].link) == ("a <b>", "c &lt; d<br />e", "")


@pytest.mark.parametrize(
    "body",
    ["", "http://127.0.0.1/", "/etc/passwd", "<html><p>x", "{}", "<rss><channel>" + "<a>" * 50_000, "&amp;" * 60_000],
)
def test_what_is_no_feed(body: str) -> None:
    start = time.process_time()
    with pytest.raises(DocumentError, match=r"^mime\.content\.blocks\[0\]: not a feed$"):
        feed(body=body)
    assert feed(body=body, force=True) == ""
    assert time.process_time() - start < 30


def test_entities_of_feeds_do_not_grow() -> None:
    entities = "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    body = f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">{entities}]><rss version="2.0"><channel>'
    assert len(feed(body=f"{body}<item><title>&j;</title></item></channel></rss>")) < 1000
    outside = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><rss version="2.0"><channel>'
    assert "root" not in feed(body=f"{outside}<item><title>x&a;</title></item></channel></rss>")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "feed"}, ": url needed"),
        ({"type": "import"}, ": url needed"),
        ({"type": "video"}, ": url needed"),
        ({**FEED, "limit": "many"}, ".limit: expected a number"),
        ({**FEED, "heading": "x"}, ".heading: expected an object"),
        ({**FEED, "blocks": "html"}, ".blocks: expected an array"),
        ({**FEED, "url": "ftp://x.test/"}, ": neither http nor https"),
        ({"type": "video", "url": "https://video.test/1"}, ": not a video of YouTube or Vimeo"),
        ({"type": "video", "url": "https://www.youtube.com/watch"}, ": not a video of YouTube or Vimeo"),
        ({"type": "video", "url": "https://[x/"}, ": not a video of YouTube or Vimeo"),
    ],
)
def test_errors(block: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        compose({"content": {"blocks": [block]}})
    assert str(caught.value) == f"mime.content.blocks[0]{message}"


@pytest.mark.parametrize(
    ("url", "video"),
    [
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=1", "dQw4w9WgXcQ"),
        ("https://m.youtube.com/watch?a=b&v=dQw4w9WgXcQ", "dQw4w9WgXcQ"),
        ("https://youtu.be/dQw4w9WgXcQ?t=1", "dQw4w9WgXcQ"),
        ("https://www.youtube.com/embed/dQw4w9WgXcQ", "dQw4w9WgXcQ"),
        ("https://www.youtube.com/shorts/dQw4w9WgXcQ/", "dQw4w9WgXcQ"),
        ("https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ", "dQw4w9WgXcQ"),
        ("https://www.youtube.com/watch?v=../x", None),
        ("https://www.youtube.com/channel/dQw4w9WgXcQ", None),
        ("https://youtu.be/", None),
        ("https://www.youtube.com/?" + "&" * 100 + "v=dQw4w9WgXcQ", None),
    ],
)
def test_addresses_of_videos(url: str, video: str | None) -> None:
    assert youtube_id(url) == video


def test_youtube() -> None:
    block = {"type": "video", "url": "http://youtu.be/dQw4w9WgXcQ", "alt": "Film", "embed": True}
    assert inner_of(block) == (
        '<a href="http://youtu.be/dQw4w9WgXcQ" style="text-decoration:none">'
        '<img src="https://img.youtube.com/vi/dQw4w9WgXcQ/hqdefault.jpg" alt="Film" width="480" '
        'style="display:block;width:82.76%;max-width:100%;height:auto;border:0" /></a>'
    )
    assert text_of({"content": {"blocks": [block]}}) == "Video: http://youtu.be/dQw4w9WgXcQ"
    linked = {
        **block,
        "source": block.pop("url"),
        "link": {"url": "https://x.test/", "params": {"a": 1}},
        "width": "50%",
    }
    assert '<a href="https://x.test/?a=1"' in inner_of(linked)
    assert 'width="290"' in inner_of(linked)


OEMBED = "https://vimeo.com/api/oembed.json?url=https%3A%2F%2Fvimeo.com%2F123"


def test_vimeo() -> None:
    block = {"type": "video", "url": "https://vimeo.com/123"}
    (download,) = plan_of({"content": {"blocks": [block]}}).downloads
    assert (download.kind, download.url) == (DownloadKind.JSON, OEMBED)
    told = {"thumbnail_url": "https://i.vimeo.test/1.jpg", "thumbnail_width": 295, "thumbnail_height": 166}
    assert inner_of(block, answers={OEMBED: reply(told)}) == (
        '<a href="https://vimeo.com/123" style="text-decoration:none">'
        '<img src="https://i.vimeo.test/1.jpg" alt="" width="295" '
        'style="display:block;width:50.86%;max-width:100%;height:auto;border:0" /></a>'
    )
    untold = {OEMBED: reply({"thumbnail_url": "https://i.vimeo.test/1.jpg", "thumbnail_width": 295})}
    (probe,) = plan_of({"content": {"blocks": [block]}}, answers=untold).downloads
    assert (probe.kind, probe.url) == (DownloadKind.PROBE, "https://i.vimeo.test/1.jpg")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (reply({}), "Vimeo knows no picture"),
        (reply([]), "Vimeo knows no picture"),
        (reply({"thumbnail_url": "javascript:x"}), "Vimeo knows no picture"),
        (reply({"thumbnail_url": 5}), "Vimeo knows no picture"),
        (Resource(b"<html>"), "not JSON"),
        (DownloadFailure("HTTP 404", is_temporary=False), "HTTP 404"),
    ],
)
def test_vimeo_without_a_picture(answer: Resource | DownloadFailure, message: str) -> None:
    block = {"type": "video", "url": "https://vimeo.com/123"}
    with pytest.raises(DocumentError, match=message):
        inner_of(block, answers={OEMBED: answer})
    assert rows_of(block, answers={OEMBED: answer}, force=True) == ""


def test_libraries_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> ModuleType:
        if name in {"feedparser", "nh3", "imagesize"}:
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert feed(force=True) == ""
    with pytest.raises(DocumentError, match=r"feedparser is not installed: pip install relayq\[responsive\]"):
        feed()
    image = {"type": "image", "src": "https://x.test/a.png"}
    plan = plan_of({"content": {"blocks": [image]}})
    assert plan.downloads == ()
    assert plan.notes == ("mime.content.blocks[0]: imagesize is not installed: pip install relayq[responsive]",)
    assert 'width="580"' in rows_of(image)


class Broken:
    """A library that fails on what it is given."""

    def __getattr__(self, name: str) -> Any:
        raise RecursionError


def test_libraries_that_fail() -> None:
    assert parse_feed(Resource(RSS.encode()), FEED_URL, 10, Libraries(Broken(), Broken())) is None
    assert image_size(b"GIF89a", Broken()) is None


def test_pictures_of_items() -> None:
    item = (
        '<item><enclosure url="https://x.test/a.mp3" type="audio/mpeg" length="1"/>'
        '<media:content url="https://x.test/b.mp4" type="video/mp4"/></item>'
    )
    rows = feed(body=RSS.replace("</channel>", f"{item}</channel>"))
    assert "a.mp3" not in rows
    assert "b.mp4" not in rows


def test_rounds_are_few() -> None:
    answers: dict[str, Resource | DownloadFailure] = {
        URL: reply([{"type": "image", "src": "https://x.test/i.gif"}, FEED]),
        FEED_URL: Resource(RSS.encode()),
    }
    plan: Plan = plan_of({"content": {"blocks": [IMPORT]}}, answers=answers)
    assert [download.url for download in plan.downloads] == [
        "https://x.test/i.gif", "https://news.test/a.jpg", "https://news.test/t.png", "https://news.test/c.png",
    ]  # fmt: skip
