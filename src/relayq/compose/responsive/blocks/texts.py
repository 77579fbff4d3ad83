"""Blocks with text: ``text``, ``html``, ``heading`` (spec responsive.md 8)."""

from __future__ import annotations

from relayq.compose.encodings import decode_charset
from relayq.compose.parameters import parse_parameters
from relayq.compose.responsive.blocks.frame import Block, Inner, text_style
from relayq.compose.responsive.downloads import DownloadKind, Resource
from relayq.compose.responsive.html_edit import rewrite_links
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.markup import Font, escape, font_style, read_look, tag
from relayq.compose.responsive.text_alternative import html_to_text

_BYTE_ORDER_MARK = "\ufeff"
_LEVELS = range(1, 7)
_FROM_DOCUMENT = ("font-family", "color")


def render_text(block: Block) -> Inner:
    """Plain text."""
    text = _content(block)
    html = escape(text).replace("\n", "<br />")
    return Inner(html, _texts(text), text_style(block.font), is_cell_main=True)


def render_html(block: Block) -> Inner:
    """HTML as it is, but for its links."""
    source = _content(block)
    rules = block.page.rewriter.read_rules(block.node)
    html = source
    if rules or block.page.rewriter.rules:
        html = rewrite_links(source, lambda url: block.page.rewriter.rewrite(url, rules))
    texts = _texts(html_to_text(html)) if block.page.with_texts else ()
    return Inner(html, texts, text_style(block.font), is_cell_main=True)


def render_heading(block: Block) -> Inner:
    """A heading, linked or not."""
    text = block.node.text("content")
    if text is None:
        raise block.node.missing("content")
    size = block.node.number("size")
    level = int(size) if size is not None else 1
    if level not in _LEVELS:
        block.node.faults.fail(f"{block.node.path}.size", "expected a number from 1 to 6")
        level = 1
    link = block.page.rewriter.read_link(block.node)
    html = escape(text)
    if link is not None:
        html = f"{tag('a', link.attributes(), ('color:inherit',), link.look)}{html}</a>"
        text = f"{text} <{link.url}>"
    start = tag(f"h{level}", (), ("margin:0", font_style(_heading_font(block))), read_look(block.node))
    return Inner(f"{start}{html}</h{level}>", _texts(text))


def _heading_font(block: Block) -> Font:
    """Size and weight of the document's font would make all levels look alike."""
    return {name: value for name, value in block.page.font.items() if name in _FROM_DOCUMENT} | dict(block.own_font)


def _content(block: Block) -> str:
    """``content``, or what lies at ``url``, with LF line ends; empty while it is missing."""
    text = block.node.text("content", "source")
    if text is None:
        url = clean_url(block.node.text("url") or "")
        if not url:
            raise block.node.missing("content or url")
        resource = block.page.resources.require(DownloadKind.CONTENT, url, block.node.path)
        text = _decode(resource) if resource is not None else ""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _decode(resource: Resource) -> str:
    parameters = parse_parameters((resource.content_type or "").encode("utf-8", "replace"))[1]
    decoded = decode_charset(resource.body, parameters.get("charset")).text
    # Octets the charset does not know are lone surrogates here.
    return decoded.removeprefix(_BYTE_ORDER_MARK).encode("utf-8", "replace").decode("utf-8")


def _texts(text: str) -> tuple[str, ...]:
    return (text,) if text else ()
