"""A finished message as somebody sees it: its HTML, its text, a page for a browser. Pure."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from relayq.compose import TransferDecodingError
from relayq.compose.encodings import decode_body
from relayq.compose.headers import field_value, find_fields
from relayq.compose.html_scan import OPEN, OTHER, REST, WIDTH, Markup
from relayq.compose.mime_tree import Part, parse_tree
from relayq.compose.text_parts import read_texts

PAGE_WIDTH: Final = 800
"""Pixels: what a mail client on a desktop has for a message."""

_CONTENT_ID = re.compile(r"cid:([^\"'\s()<>]+)", re.IGNORECASE)
_SAFE_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")
_OFFLINE: Final = "default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'"
_ONLINE: Final = (
    "default-src 'none'; img-src data: http: https:; font-src http: https:; style-src 'unsafe-inline' http: https:"
)


def find_text(mime: bytes, media_type: str) -> str | None:
    """The first text of that type that is shown, with LF line ends; ``None`` if there is none."""
    texts = read_texts(mime, parse_tree(mime))
    return next((text.text for text in texts if text.part.media_type == media_type), None)


def make_page(mime: bytes, *, has_web: bool = False) -> str:
    """The HTML of a message, or else its text, as a page on its own: centred, embedded images inside, no scripts.

    Args:
        mime: The message.
        has_web: The browser may load images and style sheets from elsewhere.
    """
    text = find_text(mime, "text/html")
    if text is None:
        plain = html.escape(find_text(mime, "text/plain") or "", quote=False)
        text = (
            f'<!DOCTYPE html>\n<html><head></head><body><pre style="white-space:pre-wrap">{plain}</pre></body></html>\n'
        )
    images = dict(_embedded(mime))

    def replace(match: re.Match[str]) -> str:
        return images.get(unquote(html.unescape(match[1])), match[0])

    policy = _ONLINE if has_web else _OFFLINE
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<style>html body{{max-width:{PAGE_WIDTH}px;margin-left:auto;margin-right:auto}}</style>"
    )
    return _with_head(_CONTENT_ID.sub(replace, text), head)


def _with_head(document: str, head: str) -> str:
    """A document with something at the start of its head, before anything that it may say itself."""
    markup = Markup(document)
    pieces = markup.pieces
    after = -1
    for row, opening in enumerate(pieces[OPEN::WIDTH]):
        name = (opening or "").lower()
        other = pieces[row * WIDTH + OTHER] or ""
        if other[:9].lower() == "<!doctype" and after < 0:
            after = row * WIDTH + OTHER
        elif name in {"<html", "<head"}:
            after = row * WIDTH + REST
        elif name:
            break
    if after < 0:
        return head + document
    pieces[after] = f"{pieces[after]}{head}"
    return markup.join()


def _embedded(mime: bytes) -> Iterator[tuple[str, str]]:
    """Content ids and ``data:`` addresses of the parts that have one."""
    waiting: list[Part] = [parse_tree(mime)]
    while waiting:
        part = waiting.pop()
        waiting += part.children
        fields = find_fields(mime[part.start : part.header_end], b"content-id")
        if part.children or not fields or not _SAFE_TYPE.fullmatch(part.media_type):
            continue
        content_id = field_value(fields[0]).decode("utf-8", "replace").strip("<> ")
        try:
            content = decode_body(mime[part.body_start : part.body_end], part.transfer_encoding)
        except TransferDecodingError:
            continue
        yield content_id, f"data:{part.media_type};base64,{base64.b64encode(content).decode('ascii')}"
