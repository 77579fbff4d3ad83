"""A video in a mail is a still picture that leads to it: ``video`` (spec responsive.md 8)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

from relayq.compose.responsive.blocks.frame import Block, Inner
from relayq.compose.responsive.blocks.pictures import Size, known_size, picture
from relayq.compose.responsive.downloads import DownloadKind
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.rewriting import Link
from relayq.compose.responsive.values import Node, as_mapping, decode_json

_YOUTUBE_HOSTS = frozenset(("youtube.com", "youtube-nocookie.com", "youtu.be"))
_VIMEO_HOSTS = frozenset(("vimeo.com", "player.vimeo.com"))
_YOUTUBE_FOLDERS = frozenset(("embed", "shorts", "v", "live"))
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{6,20}")
_YOUTUBE_STILL = Size(480, 360)  # hqdefault.jpg is of this size for every video
_MAX_PARAMETERS = 50


class _Still(NamedTuple):
    """Picture of a video and, where it is known, its size."""

    url: str
    size: Size | None


def render_video(block: Block) -> Inner:
    """The still picture, linked."""
    node = block.node
    url = clean_url(node.text("url", "source") or "")
    if not url:
        raise node.missing("url")
    rewriter = block.page.rewriter
    link = rewriter.read_link(node) or Link(rewriter.rewrite(url))
    still = _still(block, url)
    texts = (f"Video: {link.url}",)
    if still is None:
        return Inner("", texts)
    return Inner(picture(block, still.url, node.text("alt") or "", link, still.size), texts)


def _still(block: Block, url: str) -> _Still | None:
    """``None`` while it is missing."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.").removeprefix("m.")
    except ValueError:
        host = ""
    if host in _YOUTUBE_HOSTS and (video := youtube_id(url)):
        return _Still(f"https://img.youtube.com/vi/{video}/hqdefault.jpg", _YOUTUBE_STILL)
    if host in _VIMEO_HOSTS:
        return _vimeo_still(block, url)
    raise block.node.faults.leave_out(block.node.path, "not a video of YouTube or Vimeo")


def youtube_id(url: str) -> str | None:
    """Identifier of a video in one of the usual forms of its address, ``None`` for other pages."""
    parts = urlsplit(url)
    folders = [folder for folder in parts.path.split("/") if folder]
    found = ""
    if (parts.hostname or "").endswith("youtu.be"):
        found = folders[0] if folders else ""
    elif len(folders) > 1 and folders[0] in _YOUTUBE_FOLDERS:
        found = folders[1]
    elif parts.query.count("&") < _MAX_PARAMETERS:
        found = parse_qs(parts.query).get("v", [""])[0]
    return found if _YOUTUBE_ID.fullmatch(found) else None


def _vimeo_still(block: Block, url: str) -> _Still | None:
    path = block.node.path
    question = f"https://vimeo.com/api/oembed.json?url={quote(url, safe='')}"
    resource = block.page.resources.require(DownloadKind.JSON, question, path)
    if resource is None:
        return None
    try:
        answer = Node(as_mapping(decode_json(resource.body)) or {}, path, block.node.faults)
    except ValueError as error:
        raise block.node.faults.leave_out(path, str(error)) from None
    thumbnail = answer.values.get("thumbnail_url")
    still = clean_url(thumbnail) if isinstance(thumbnail, str) else ""
    if not still.startswith(("https://", "http://")):
        raise block.node.faults.leave_out(path, "Vimeo knows no picture")
    return _Still(still, known_size(answer, "thumbnail_width", "thumbnail_height"))
