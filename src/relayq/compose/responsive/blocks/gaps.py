"""Blocks between others: ``separator``, ``spacer`` (spec responsive.md 8)."""

from __future__ import annotations

import re

from relayq.compose.responsive.blocks.frame import Block, Inner
from relayq.compose.responsive.markup import colour, length, read_look, tag

_LINE = "-" * 40
_STYLE = re.compile(r"[A-Za-z]{1,20}")


def render_separator(block: Block) -> Inner:
    """A line."""
    node = block.node
    height = node.number("height")
    style = (node.text("style") or "solid").strip()
    line = " ".join(
        (
            length(4.0 if height is None else max(height, 0.0)),
            style if _STYLE.fullmatch(style) else "solid",
            colour(node) or "#cccccc",
        )
    )
    start = tag("div", (), (f"border-top:{line}", "font-size:0", "line-height:0"), read_look(node))
    return Inner(f"{start}&nbsp;</div>", (_LINE,))


def render_spacer(block: Block) -> Inner:
    """Nothing, of a height."""
    height = block.node.number("height")
    style = (f"height:{length(50.0 if height is None else max(height, 0.0))}", "font-size:0", "line-height:0")
    return Inner("&nbsp;", ("",), style, is_cell_main=True)
