"""Blocks that are a link: ``button`` (spec responsive.md 8.2), ``link``."""

from __future__ import annotations

from relayq.compose.responsive.blocks.frame import Block, Inner
from relayq.compose.responsive.markup import Sides, colour, escape, font_style, read_look, read_sides, tag

_BUTTON_COLOUR = "#2ba6cb"
_LABEL_COLOUR = "#ffffff"
_BUTTON_PADDING = Sides(8.0, 16.0, 8.0, 16.0)
_RADIUS = {"radius": "border-radius:3px", "round": "border-radius:500px"}
_TABLE = '<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="border-collapse:separate"><tr>'


def render_button(block: Block) -> Inner:
    """A box of one colour with a label in it."""
    node = block.node
    rules = block.page.rewriter.read_rules(node)
    link = block.page.rewriter.read_link(node, "link", rules)
    label = node.text("label")
    if label is None:
        label = link.label if link is not None else ""
    if not label:
        raise node.missing("label")
    ground = colour(node) or _BUTTON_COLOUR
    font = dict(block.font)
    font["color"] = ""
    style = (
        font_style({name: value for name, value in font.items() if value}),
        f"color:{block.own_font.get('color', _LABEL_COLOUR)}",
        "display:inline-block",
        "text-decoration:none",
    )
    look = read_look(node.node("a"))
    if link is None:
        inside = f"{tag('span', (), style)}{escape(label)}</span>"
    else:
        inside = f"{tag('a', link.attributes(), style, link.look, look)}{escape(label)}</a>"
    cell = tag(
        "td",
        (("align", "center"), ("bgcolor", ground)),
        (
            f"background-color:{ground}",
            _RADIUS.get((node.text("corners") or "").lower(), ""),
            read_sides(node, "size", _BUTTON_PADDING).declaration(),
        ),
        read_look(node),
    )
    return Inner(f"{_TABLE}{cell}{inside}</td></tr></table>", (f"{label}: {link.url}" if link is not None else label,))


def render_link(block: Block) -> Inner:
    """A line of text that leads somewhere."""
    node = block.node
    rules = block.page.rewriter.read_rules(node)
    link = block.page.rewriter.read_link(node, "link", rules)
    if link is None:
        raise node.missing("link")
    label = node.text("label") or link.label or link.url
    style = font_style(block.font) or "text-decoration:underline"
    start = tag("a", link.attributes(), (style,), link.look, read_look(node), read_look(node.node("a")))
    return Inner(f"{start}{escape(label)}</a>", (label if label == link.url else f"{label}: {link.url}",))
