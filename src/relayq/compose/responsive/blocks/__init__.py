"""Blocks of a document: each type is one function from properties to HTML and text (spec responsive.md 8)."""

from __future__ import annotations

from collections.abc import Mapping

from relayq.compose.responsive.blocks.buttons import render_button, render_link
from relayq.compose.responsive.blocks.columns import render_columns, render_container
from relayq.compose.responsive.blocks.feeds import expand_feed
from relayq.compose.responsive.blocks.frame import Expander, Page, Place, Renderer, Rows
from relayq.compose.responsive.blocks.gaps import render_separator, render_spacer
from relayq.compose.responsive.blocks.imports import expand_import
from relayq.compose.responsive.blocks.pictures import render_image
from relayq.compose.responsive.blocks.social import render_follow, render_share
from relayq.compose.responsive.blocks.texts import render_heading, render_html, render_text
from relayq.compose.responsive.blocks.videos import render_video

__all__ = ["EXPANDERS", "RENDERERS", "Page", "Place", "Rows"]

RENDERERS: Mapping[str, Renderer] = {
    "button": render_button,
    "columns": render_columns,
    "container": render_container,
    "follow": render_follow,
    "heading": render_heading,
    "html": render_html,
    "image": render_image,
    "link": render_link,
    "separator": render_separator,
    "share": render_share,
    "spacer": render_spacer,
    "text": render_text,
    "video": render_video,
}
EXPANDERS: Mapping[str, Expander] = {"feed": expand_feed, "import": expand_import}
"""Types that stand for other blocks."""
