"""Edits of finished HTML: links, tracking pixel, embedded images; all else stays as it is, character by character."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from relayq.compose.encodings import decode_base64
from relayq.compose.errors import TransferDecodingError
from relayq.compose.responsive.attachments import File, name_from_url
from relayq.compose.responsive.downloads import DownloadKind, Resources
from relayq.compose.responsive.html_tags import Attribute, find_attribute, scan_tags
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.markup import escape
from relayq.compose.responsive.media_types import extension_of_type, is_media_type, type_of_name

_LINKS = frozenset(("a", "area"))
_IMAGES = frozenset(("img",))
_BODY = frozenset(("body",))
_ID_DIGITS = 32


class _Change(NamedTuple):
    """A new value for an attribute."""

    attribute: Attribute
    value: str


def _attributes(html: str, elements: frozenset[str], name: str) -> Iterator[Attribute]:
    """First attribute of that name of each start tag of those elements."""
    for tag in scan_tags(html, elements):
        if not tag.is_end:
            attribute = find_attribute(html, tag, name)
            if attribute is not None:
                yield attribute


def _apply(html: str, changes: list[_Change]) -> str:
    pieces: list[str] = []
    at = 0
    for attribute, value in changes:
        pieces += (html[at : attribute.name_end], f'="{escape(value)}"')
        at = attribute.end
    return "".join((*pieces, html[at:])) if changes else html


def rewrite_links(html: str, change: Callable[[str], str]) -> str:
    """HTML with the addresses of its links changed."""
    changes: list[_Change] = []
    for attribute in _attributes(html, _LINKS, "href"):
        changed = change(attribute.value)
        if changed != attribute.value:
            changes.append(_Change(attribute, changed))
    return _apply(html, changes)


def has_image(html: str) -> bool:
    """There is an ``<img>``."""
    return "<img" in html.lower() and any(not tag.is_end for tag in scan_tags(html, _IMAGES))


def add_pixel(html: str, url: str) -> str:
    """HTML with a tracking pixel at the end of its body."""
    pixel = f'<img src="{escape(url)}" width="1" height="1" alt="" style="display:block;border:0" />'
    ends = [tag.start for tag in scan_tags(html, _BODY) if tag.is_end]
    at = ends[-1] if ends else len(html)
    return f"{html[:at]}{pixel}{html[at:]}"


def embed_images(html: str, resources: Resources, domain: str) -> tuple[str, list[File]]:
    """HTML that refers to its images by Content-ID, and the images, each once; what cannot be had stays an address.

    Args:
        html: HTML.
        resources: Gives the images.
        domain: Right side of the Content-IDs.
    """
    files: dict[str, File] = {}
    changes: list[_Change] = []
    for attribute in _attributes(html, _IMAGES, "src"):
        image = _image(attribute.value, resources)
        if image is None:
            continue
        content, media_type, name = image
        content_id = f"{hashlib.sha256(content).hexdigest()[:_ID_DIGITS]}@{domain}"
        name = name or f"image{extension_of_type(media_type)}"
        files.setdefault(content_id, File(content, name, media_type, (), "inline", content_id))
        changes.append(_Change(attribute, f"cid:{content_id}"))
    return _apply(html, changes), list(files.values())


def _image(source: str, resources: Resources) -> tuple[bytes, str, str] | None:
    """Content, type and name of an image."""
    if source[:11].lower() == "data:image/":
        return _decode_data_url(source)
    if not source[:8].lower().startswith(("http://", "https://")):
        return None
    url = clean_url(source)
    resource = resources.try_for(DownloadKind.IMAGE, url)
    if resource is None:
        return None
    name = name_from_url(url)
    media_type = (resource.content_type or type_of_name(name) or "").partition(";")[0].strip()
    return (resource.body, media_type, name) if _is_image(media_type) else None


def _decode_data_url(url: str) -> tuple[bytes, str, str] | None:
    """RFC 2397; ``None`` for one that cannot be decoded."""
    kind, comma, encoded = url.partition(",")
    media_type = kind[len("data:") :].partition(";")[0].strip()
    content = unquote_to_bytes(encoded)
    if kind.lower().rstrip().endswith(";base64"):
        try:
            content = decode_base64(content)
        except (TransferDecodingError, binascii.Error):
            return None
    return (content, media_type, "") if comma and content and _is_image(media_type) else None


def _is_image(media_type: str) -> bool:
    return is_media_type(media_type) and media_type.lower().startswith("image/")
