"""The two versions of a document that people read: HTML and text (spec responsive.md 7 and 9)."""

from __future__ import annotations

from typing import NamedTuple

from relayq.compose.responsive.attachments import File
from relayq.compose.responsive.blocks import EXPANDERS, RENDERERS, Page, Place
from relayq.compose.responsive.downloads import Resources
from relayq.compose.responsive.html_edit import add_pixel, embed_images, has_image, rewrite_links
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.markup import read_font
from relayq.compose.responsive.rewriting import Rewriter
from relayq.compose.responsive.skeleton import page_html
from relayq.compose.responsive.templates import Templates
from relayq.compose.responsive.text_alternative import join_texts
from relayq.compose.responsive.values import Node
from relayq.compose.template import TemplateContext

MAX_HTML_OCTETS = 5 * 1024 * 1024


class Content(NamedTuple):
    """What there is to read; ``None`` where there is no such version.

    Attributes:
        html: HTML.
        text: Text.
        images: Files the HTML refers to.
    """

    html: str | None
    text: str | None
    images: list[File]


class Ingredients(NamedTuple):
    """What content is made with besides the document.

    Attributes:
        subject: Rendered subject.
        domain: Domain of the author.
        resources: Downloads.
        templates: For what is imported.
        limits: For regular expressions.
        icons: Pattern of icon addresses.
        autotext: Make a text from blocks.
    """

    subject: str
    domain: str
    resources: Resources
    templates: Templates
    limits: TemplateContext
    icons: str
    autotext: bool


def build_content(document: Node, ingredients: Ingredients) -> Content:
    """HTML and text of a document.

    Raises:
        DocumentError: Something of it cannot be used.
    """
    rewriter = Rewriter(document, ingredients.limits)
    with_embedding = (document.text("images") or "").lower() == "embed"
    text = document.text("text")
    html = _string_html(document)
    if html is None:
        with_texts = text is None and ingredients.autotext
        html, generated = _blocks(document, ingredients, rewriter, with_texts=with_texts, with_embedding=with_embedding)
        text = generated if text is None else text
    elif rewriter.rules:
        html = rewrite_links(html, rewriter.rewrite)
    html = _limited(html, document)
    images: list[File] = []
    if html is not None:
        with_pixel = _with_pixel(html, document)
        if with_embedding:
            # The pixel is added last: embedding it would tell nobody anything.
            html, images = embed_images(html, ingredients.resources, ingredients.domain)
        html = add_pixel(html, with_pixel) if with_pixel else html
    return Content(html, text, images)


def _string_html(document: Node) -> str | None:
    """HTML that is used as it is given."""
    content = document.values.get("content")
    if isinstance(content, str) and content:
        return content
    if isinstance(content, dict):
        return None
    return document.text("html") or None


def _blocks(
    document: Node, ingredients: Ingredients, rewriter: Rewriter, *, with_texts: bool, with_embedding: bool
) -> tuple[str | None, str | None]:
    """Page and text of ``content.blocks``, or of ``blocks`` where there are none."""
    is_string = isinstance(document.values.get("content"), str)
    content = None if is_string else document.node("content")
    entries = content.entries("blocks") if content is not None else None
    if entries is None:
        entries = document.entries("blocks")
    if entries is None:
        return None, None
    page = Page(
        faults=document.faults,
        resources=ingredients.resources,
        templates=ingredients.templates,
        rewriter=rewriter,
        renderers=RENDERERS,
        expanders=EXPANDERS,
        font=read_font(document.node("font")),
        subject=ingredients.subject,
        icons=ingredients.icons,
        with_texts=with_texts,
        with_embedding=with_embedding,
    )
    rows = page.rows(entries, Place())
    html = page_html(document, content, ingredients.subject, rows.table())
    return html, join_texts(rows.texts) if with_texts else None


def _with_pixel(html: str, document: Node) -> str:
    """Address of the tracking pixel to be added; empty for none."""
    tracking = document.node("tracking")
    if tracking is None:
        return ""
    url = clean_url(tracking.text("pixel") or "")
    return url if url and (tracking.boolean("force") or not has_image(html)) else ""


def _limited(html: str | None, document: Node) -> str | None:
    if html is None or len(html) * 4 <= MAX_HTML_OCTETS or len(html.encode("utf-8", "replace")) <= MAX_HTML_OCTETS:
        return html
    document.faults.fail(f"{document.path}.content", f"HTML larger than {MAX_HTML_OCTETS} octets")
    return None
