"""Blocks from items of a feed: ``feed`` (spec responsive.md 8).

What a feed says is foreign: it is sanitised, and no template.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from relayq.compose.responsive.blocks.frame import MAX_BLOCKS, Page, Place
from relayq.compose.responsive.downloads import DownloadKind, Resource
from relayq.compose.responsive.extras import load_extra
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.markup import escape
from relayq.compose.responsive.text_alternative import html_to_text
from relayq.compose.responsive.values import Node

_KINDS = ("heading", "image", "html")
_USUAL_ITEMS = 10
_MAX_MARKS = 50_000
"""Tags and references in a feed: the parser takes ten to thirty microseconds for each, and does not stop."""

_FEEDS_REMEMBERED = 8

_PLAIN = "text/plain"
_SCHEMES = frozenset(("http", "https", "mailto"))


class FeedItem(NamedTuple):
    """One entry of a feed; what it lacks is empty.

    Attributes:
        title: Plain text.
        link: Where it can be read.
        image: Address of a picture.
        html: Sanitised content.
    """

    title: str
    link: str
    image: str
    html: str


class Libraries(NamedTuple):
    """Modules without types."""

    feedparser: Any
    nh3: Any


def expand_feed(node: Node, place: Place, page: Page) -> tuple[Iterable[tuple[str, object]], Place]:
    """A heading, an image and the content of each item, as far as asked for and there."""
    url = clean_url(node.text("url", "source") or "")
    if not url:
        raise node.missing("url")
    given = node.entries("blocks")
    kinds = [kind for _, kind in given if kind in _KINDS] if given is not None else list(_KINDS)
    defaults = {kind: node.mapping(kind) for kind in _KINDS}
    limit = node.number("limit")
    resource = page.resources.require(DownloadKind.FEED, url, node.path)
    if resource is None:
        return (), place
    libraries = Libraries(load_extra("feedparser", node), load_extra("nh3", node))
    items = _remembered(resource, url, max(int(limit), 0) if limit is not None else _USUAL_ITEMS, libraries)
    if items is None:
        raise node.faults.leave_out(node.path, "not a feed")
    blocks: list[tuple[str, object]] = []
    for number, item in enumerate(items):
        own = _own_properties(item)
        path = f"{node.path}.items[{number}]"
        blocks += [(f"{path}.{kind}", {**defaults[kind], **own[kind], "type": kind}) for kind in kinds if own[kind]]
    return blocks, place


def _own_properties(item: FeedItem) -> Mapping[str, dict[str, object]]:
    """Properties of the blocks of an item; none for one that it has nothing for."""
    link = {"link": item.link} if item.link else {}
    return {
        "heading": {"content": item.title, **link} if item.title else {},
        "image": {"src": item.image, **link} if item.image else {},
        "html": {"content": item.html} if item.html else {},
    }


def parse_feed(resource: Resource, url: str, limit: int, libraries: Libraries) -> tuple[FeedItem, ...] | None:
    """Items of a feed in its order; ``None`` for what is no feed.

    Args:
        resource: What was downloaded.
        url: Where from; relative addresses in it are relative to that.
        limit: Most items wanted.
        libraries: What reads and cleans it.
    """
    if resource.body.count(b"<") > _MAX_MARKS or resource.body.count(b"&") > _MAX_MARKS:
        return None
    headers = {"content-location": url}
    if resource.content_type:
        headers["content-type"] = resource.content_type
    try:
        # As a stream: text would be taken for an address and fetched.
        feed = libraries.feedparser.parse(io.BytesIO(resource.body), response_headers=headers, sanitize_html=False)
        if not feed.get("version") and not feed.entries:
            return None
        return tuple(_item(entry, libraries.nh3) for entry in feed.entries[: min(limit, MAX_BLOCKS)])
    except Exception:  # octets from anywhere make the library fail in many ways, all of which mean that it is no feed
        return None


# A mailing has the same feed in every message, and reading one takes thousands of times what a look here takes.
_remembered = functools.lru_cache(maxsize=_FEEDS_REMEMBERED)(parse_feed)


def _item(entry: Any, nh3: Any) -> FeedItem:  # noqa: ANN401 - libraries without types
    title = entry.get("title_detail") or {}
    contents = entry.get("content") or [entry.get("summary_detail") or {}]
    return FeedItem(
        _plain(str(title.get("value") or ""), str(title.get("type") or "")),
        clean_url(str(entry.get("link") or "")),
        clean_url(_image(entry)),
        _sanitised(str(contents[0].get("value") or ""), str(contents[0].get("type") or ""), nh3),
    )


def _plain(text: str, media_type: str) -> str:
    return " ".join((text if media_type == _PLAIN else html_to_text(text)).split())


def _sanitised(text: str, media_type: str, nh3: Any) -> str:  # noqa: ANN401 - a library without types
    """HTML without scripts, styles, forms and event attributes."""
    if media_type == _PLAIN:
        return escape(text).replace("\n", "<br />")
    return str(nh3.clean(text, url_schemes=set(_SCHEMES), link_rel=None))


def _image(entry: Any) -> str:  # noqa: ANN401 - a library without types
    """Address of the picture of an entry: an enclosure, or one of the media extensions."""
    for enclosure in entry.get("enclosures") or ():
        if str(enclosure.get("type") or "").startswith("image/"):
            return str(enclosure.get("href") or "")
    for media in entry.get("media_content") or ():
        if media.get("medium") == "image" or str(media.get("type") or "").startswith("image/"):
            return str(media.get("url") or "")
    for thumbnail in entry.get("media_thumbnail") or ():
        return str(thumbnail.get("url") or "")
    return str((entry.get("image") or {}).get("href") or "")
