"""Blocks of a document: each type is one function from properties to HTML and text (spec responsive.md 8)."""

from __future__ import annotations

from collections.abc import Mapping

from relayq.compose.responsive.blocks.buttons import render_button, render_link
from relayq.compose.responsive.blocks.columns import render_columns, render_container
from relayq.compose.responsive.blocks.frame import Expander, Page, Place, Renderer, Rows
from relayq.compose.responsive.blocks.gaps import render_separator, render_spacer
from relayq.compose.responsive.blocks.pictures import render_image
from relayq.compose.responsive.blocks.texts import render_heading, render_html, render_text

__all__ = ["EXPANDERS", "RENDERERS", "Page", "Place", "Rows"]

RENDERERS: Mapping[str, Renderer] = {
    "button": render_button,
    "columns": render_columns,
    "container": render_container,
    "heading": render_heading,
    "html": render_html,
    "image": render_image,
    "link": render_link,
    "separator": render_separator,
    "spacer": render_spacer,
    "text": render_text,
}
EXPANDERS: Mapping[str, Expander] = {}
"""Types that stand for other blocks."""
