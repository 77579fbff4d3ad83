"""Blocks with a picture: ``image`` (spec responsive.md 8.1), and what ``video`` shares with it."""

from __future__ import annotations

import io
import re
from typing import Any, NamedTuple

from relayq.compose.responsive.blocks.frame import Block, Inner
from relayq.compose.responsive.downloads import DownloadKind
from relayq.compose.responsive.extras import try_extra
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.markup import decimal, read_look, tag
from relayq.compose.responsive.rewriting import Link
from relayq.compose.responsive.values import MAX_NUMBER, Node, as_number

_PERCENT = re.compile(r"[ \t]*([0-9]{1,6}(?:\.[0-9]{1,9})?)[ \t]*%[ \t]*")
_MARGINS = {"center": "margin:0 auto", "right": "margin:0 0 0 auto"}


class Size(NamedTuple):
    """Natural dimensions in pixels."""

    width: int
    height: int


class _Extent(NamedTuple):
    """How large a picture is shown.

    Attributes:
        percent: Of the available width; ``None`` where only the browser will know.
        height: In pixels; ``None`` for what follows from the width.
    """

    percent: float | None
    height: float | None


def render_image(block: Block) -> Inner:
    """A picture, linked or not."""
    source = clean_url(block.node.text("src") or "", is_image=True)
    if not source:
        raise block.node.missing("src")
    alt = block.node.text("alt") or ""
    link = block.page.rewriter.read_link(block.node)
    html = picture(block, source, alt, link, None)
    words = [alt, link.url] if link is not None else [f"[{alt}]" if alt else ""]
    text = ": ".join(word for word in words if word)
    return Inner(html, (text,) if text else ())


def picture(block: Block, source: str, alt: str, link: Link | None, natural: Size | None) -> str:
    """The ``<img>`` of a block, inside its link.

    Args:
        block: Gives dimensions, alignment and looks.
        source: Address of the picture.
        alt: Text instead of it.
        link: Where it leads.
        natural: Dimensions where they are known without looking.
    """
    extent = _extent(block, source, natural)
    attributes = [("src", source), ("alt", alt)]
    if extent.percent is not None:
        attributes.append(("width", str(int(block.width * extent.percent / 100 + 0.5))))
    if extent.height is not None:
        attributes.append(("height", str(int(extent.height + 0.5))))
    style = (
        "display:block",
        _MARGINS.get(block.align, ""),
        "width:auto" if extent.percent is None else f"width:{decimal(extent.percent)}%",
        "max-width:100%",
        "height:auto" if extent.height is None else f"height:{decimal(extent.height)}px",
        "border:0",
    )
    image = tag("img", attributes, style, read_look(block.node), read_look(block.node.node("img")), is_empty=True)
    if link is None:
        return image
    start = tag("a", link.attributes(), ("text-decoration:none",), link.look, read_look(block.node.node("a")))
    return f"{start}{image}</a>"


def _extent(block: Block, source: str, natural: Size | None) -> _Extent:
    """Rows of the table in spec responsive.md 8.1."""
    percent = _given_percent(block)
    height = block.node.number("height")
    if height is not None and height <= 0:
        height = None
    if percent is not None:
        return _Extent(percent, height)
    size = natural or _probe(block, source)
    if size is None:
        return _Extent(100.0 if height is None else None, height)
    width = size.width if height is None else height * size.width / size.height
    return _Extent(_share(width, block.width), None)


def _given_percent(block: Block) -> float | None:
    _, value = block.node.find("width")
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        percent = min(float(match[1]), 100.0)
        return percent or None
    width = block.node.number("width")
    return _share(width, block.width) if width is not None and width > 0 else None


def _share(width: float, available: int) -> float:
    return min(width, available) / available * 100


def _probe(block: Block, source: str) -> Size | None:
    """Natural size of a picture on the web; ``None`` while it is missing and when nobody can tell."""
    if not source[:8].lower().startswith(("http://", "https://")):
        return None
    imagesize = try_extra("imagesize", block.node)
    if imagesize is None:
        return None
    # What will be fetched as a whole need not be fetched twice.
    kind = DownloadKind.IMAGE if block.page.with_embedding else DownloadKind.PROBE
    resource = block.page.resources.try_for(kind, source)
    return image_size(resource.body, imagesize) if resource is not None else None


def image_size(body: bytes, imagesize: Any) -> Size | None:  # noqa: ANN401 - a library without types
    """Dimensions of a picture from its first octets, ``None`` where they do not say."""
    # No mail reader shows SVG, and its dimensions would need an XML parser.
    if body[:256].lstrip().startswith(b"<"):
        return None
    try:
        width, height = imagesize.get(io.BytesIO(body))
    except Exception:  # octets from anywhere make the library fail in many ways, all of which mean that nobody can tell
        return None
    return Size(int(width), int(height)) if 0 < width <= MAX_NUMBER and 0 < height <= MAX_NUMBER else None


def known_size(node: Node, width: str, height: str) -> Size | None:
    """Dimensions that somebody else tells as two numbers."""
    found = [as_number(node.values.get(name)) for name in (width, height)]
    if found[0] is None or found[1] is None or min(found[0], found[1]) < 1:
        return None
    return Size(int(found[0]), int(found[1]))
