"""Links to social networks: ``share``, ``follow`` (spec responsive.md 8.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from relayq.compose.responsive.blocks.frame import Block, Inner, text_style
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.markup import NO_LOOK, Look, escape, read_look, tag
from relayq.compose.responsive.rewriting import read_link
from relayq.compose.responsive.values import Node

_NAMES = {"facebook": "Facebook", "twitter": "Twitter", "linkedin": "LinkedIn"}
_PROFILES = {
    "facebook": "https://www.facebook.com/",
    "twitter": "https://twitter.com/",
    "linkedin": "https://www.linkedin.com/company/",
}
_ICON_TYPES = frozenset(
    ("flower", "glossy", "grey", "leaf", "polygon", "rectangular", "rounded", "roundedcorners", "waterdrop")
)
_USUAL_ICON = "rounded"
_ICON_SIZE = 32
_MAX_ICON_SIZE = 512
_GAP = "&nbsp; "  # between links, which would look like one word after the other


class SocialLink(NamedTuple):
    """A link to a network.

    Attributes:
        platform: Lower-case name.
        url: Where it leads.
        look: Attributes given for it.
    """

    platform: str
    url: str
    look: Look


def render_share(block: Block) -> Inner:
    """Links that share a page."""
    node = block.node
    platforms = node.entries("platforms")
    if platforms is None:
        raise node.missing("platforms")
    # What is shared is told to others, not followed: rules for links of the mail would only disturb.
    link = read_link(node, "link", str)
    if link is None:
        raise node.missing("link")
    text = node.text("description") or link.title or block.page.subject
    found: list[SocialLink] = []
    for path, value in platforms:
        entry = Node(value if isinstance(value, dict) else {"name": value}, path, node.faults)
        platform = (entry.text("name", "platform") or "").strip().lower()
        settings = (node.node(platform) if platform in _NAMES else None) or Node({}, path, node.faults)
        url = share_url(platform, link.url, text, settings)
        if url is None:
            node.faults.note(path, "platform left out")
        else:
            look = read_look(entry)
            found.append(SocialLink(platform, url, look if look != NO_LOOK else read_look(settings)))
    return _links(block, found)


def share_url(platform: str, url: str, text: str, settings: Node) -> str | None:
    """Address that shares ``url``, ``None`` for a platform that has none.

    Args:
        platform: Lower-case name.
        url: What is shared.
        text: What is said about it.
        settings: What the document says about the platform.
    """
    shared = _encoded(url)
    if platform == "linkedin":
        return f"https://www.linkedin.com/sharing/share-offsite/?url={shared}"
    if platform == "twitter":
        tags = ",".join(_encoded(one.lstrip("#")) for one in _words(settings, "hashtags"))
        via = (settings.text("via") or "").strip().removeprefix("@")
        return (
            f"https://twitter.com/intent/tweet?url={shared}&text={_encoded(text)}"
            f"{f'&hashtags={tags}' if tags else ''}{f'&via={_encoded(via)}' if via else ''}"
        )
    if platform == "facebook":
        _, application = settings.find("appid", "appId")
        if isinstance(application, str | int) and application:
            back = clean_url(settings.text("redirect", "redirect_uri") or "") or url
            return (
                f"https://www.facebook.com/dialog/share?app_id={_encoded(str(application))}&href={shared}"
                f"&redirect_uri={_encoded(back)}"
            )
        return f"https://www.facebook.com/sharer/sharer.php?u={shared}"
    return None


def _words(node: Node, name: str) -> Iterable[str]:
    """Elements of an array of strings, or of a string with commas."""
    _, value = node.find(name)
    words = value if isinstance(value, list) else (node.text(name) or "").split(",")
    return [word.strip() for word in words if isinstance(word, str) and word.strip()]


def render_follow(block: Block) -> Inner:
    """Links to profiles."""
    node = block.node
    platforms = node.node("platforms")
    if platforms is None:
        raise node.missing("platforms")
    found: list[SocialLink] = []
    for name, value in platforms.values.items():
        if value is None:
            continue
        path = f"{platforms.path}.{name}"
        entry = Node(value if isinstance(value, dict) else {"identifier": value}, path, node.faults)
        platform = name.strip().lower()
        url = profile_url(platform, entry.text("identifier") or "")
        if url is None:
            node.faults.note(path, "platform left out")
        else:
            found.append(SocialLink(platform, url, read_look(entry)))
    return _links(block, found)


def profile_url(platform: str, identifier: str) -> str | None:
    """Address of a profile: the one given, or that of a user name where the platform is known."""
    url = clean_url(identifier)
    if platform == "googleplus" or not url:
        return None
    if url.lower().startswith(("https://", "http://")):
        return url
    folder = _PROFILES.get(platform)
    return folder + _encoded(identifier.strip().removeprefix("@")) if folder is not None else None


def _encoded(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _links(block: Block, links: Iterable[SocialLink]) -> Inner:
    label = block.node.text("label") or ""
    pieces = [escape(label)] if label else []
    lines = [label] if label else []
    icon = _icon_pattern(block)
    for link in links:
        name = _NAMES.get(link.platform, link.platform.capitalize())
        url = block.page.rewriter.rewrite(link.url)
        style = "text-decoration:none" if icon else "text-decoration:underline"
        inside = _icon(icon, link.platform, name, block) if icon else escape(name)
        pieces.append(f"{tag('a', (('href', url),), (style,), link.look)}{inside}</a>")
        lines.append(f"{name}: {url}")
    return Inner(_GAP.join(pieces), ("\n".join(lines),) if lines else (), text_style(block.font), is_cell_main=True)


def _icon_pattern(block: Block) -> str:
    """Address pattern with type and size filled in; empty where links are words."""
    if not block.page.icons:
        return ""
    icon = block.node.node("icon")
    kind = ((icon.text("type") if icon is not None else None) or _USUAL_ICON).lower()
    pattern = block.page.icons.replace("{type}", kind if kind in _ICON_TYPES else _USUAL_ICON)
    return pattern.replace("{size}", str(_icon_size(block)))


def _icon_size(block: Block) -> int:
    icon = block.node.node("icon")
    size = icon.number("size") if icon is not None else None
    return int(size) if size is not None and 1 <= size <= _MAX_ICON_SIZE else _ICON_SIZE


def _icon(pattern: str, platform: str, name: str, block: Block) -> str:
    size = str(_icon_size(block))
    source = pattern.replace("{platform}", quote(platform, safe=""))
    attributes = (("src", source), ("alt", name), ("width", size), ("height", size))
    return tag("img", attributes, ("border:0", "vertical-align:middle"), is_empty=True)
