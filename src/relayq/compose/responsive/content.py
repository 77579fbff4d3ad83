"""The two versions of a document that people read: HTML and text (spec responsive.md 7 and 9)."""

from __future__ import annotations

from typing import NamedTuple

from relayq.compose.responsive.errors import DocumentError
from relayq.compose.responsive.values import Node

MAX_HTML_OCTETS = 5 * 1024 * 1024


class Content(NamedTuple):
    """What there is to read; ``None`` where there is no such version."""

    html: str | None
    text: str | None


def build_content(document: Node) -> Content:
    """HTML and text of a document.

    Raises:
        DocumentError: Something of it cannot be used.
    """
    html = _limited(_string_html(document), document)
    return Content(html, document.text("text"))


def _string_html(document: Node) -> str | None:
    """HTML that is used as it is given."""
    content = document.values.get("content")
    if isinstance(content, str) and content:
        return content
    if content is not None and not isinstance(content, str) and document.node("content") is not None:
        raise DocumentError(f"{document.path}.content", "blocks are not supported yet")
    return document.text("html") or None


def _limited(html: str | None, document: Node) -> str | None:
    if html is None or len(html) * 4 <= MAX_HTML_OCTETS or len(html.encode("utf-8", "replace")) <= MAX_HTML_OCTETS:
        return html
    document.faults.fail(f"{document.path}.content", f"HTML larger than {MAX_HTML_OCTETS} octets")
    return None
