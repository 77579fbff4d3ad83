"""Blocks from elsewhere: ``import`` (spec responsive.md 8)."""

from __future__ import annotations

from collections.abc import Iterable

from relayq.compose.responsive.blocks.frame import Page, Place
from relayq.compose.responsive.downloads import DownloadKind
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.values import Node, decode_json

MAX_IMPORTS = 3
"""Documents imported one inside the other."""


def expand_import(node: Node, place: Place, page: Page) -> tuple[Iterable[tuple[str, object]], Place]:
    """Blocks of a downloaded document: one, an array of them, or an object with ``blocks``.

    It stands in for JSON of the message, so its strings are templates.
    """
    url = clean_url(node.text("url", "source") or "")
    if not url:
        raise node.missing("url")
    inside = place._replace(imports=place.imports + 1)
    if inside.imports > MAX_IMPORTS:
        raise node.faults.leave_out(node.path, f"more than {MAX_IMPORTS} imports one inside the other")
    resource = page.resources.require(DownloadKind.JSON, url, node.path)
    if resource is None:
        return (), inside
    path = f"{node.path}.import"
    try:
        document = page.templates.render_tree(decode_json(resource.body), path, is_block=True)
    except ValueError as error:
        raise node.faults.leave_out(node.path, str(error)) from None
    if isinstance(document, dict) and "type" not in document:
        return Node(document, path, node.faults).entries("blocks") or (), inside
    if isinstance(document, list):
        return [(f"{path}[{index}]", one) for index, one in enumerate(document)], inside
    return [(path, document)], inside
