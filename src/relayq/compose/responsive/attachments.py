"""Attachments and embedded files of a document (spec responsive.md 6)."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from relayq.compose.encodings import decode_base64
from relayq.compose.errors import TransferDecodingError
from relayq.compose.parameters import parse_parameters
from relayq.compose.responsive.assemble import Leaf, file_leaf
from relayq.compose.responsive.downloads import DownloadKind, Resources, Slot
from relayq.compose.responsive.errors import LeftOut
from relayq.compose.responsive.links import clean_url
from relayq.compose.responsive.media_types import DEFAULT_TYPE, extension_of_type, is_media_type, type_of_name
from relayq.compose.responsive.templates import clean_line
from relayq.compose.responsive.values import Node

MAX_ATTACHMENTS = 100

_MAX_NAME_CHARACTERS = 200
_MAX_CONTENT_ID_CHARACTERS = 200
_FALLBACK_NAME = "attachment"
_DISPOSITIONS = frozenset(("attachment", "inline"))
_NOT_IN_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\"']")
_NOT_IN_CONTENT_ID = re.compile(r"[^!-;=?-~]")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9!#$&+.^_`{|}~-]{1,60}")
_OWN_PARAMETERS = frozenset(("name", "boundary"))


class File(NamedTuple):
    """An attachment before it is encoded.

    Attributes:
        content: Octets, or where they are kept aside.
        name: File name, cleaned, not empty.
        media_type: Valid and no multipart.
        parameters: Further parameters of the type.
        disposition: ``attachment`` or ``inline``.
        content_id: What the HTML refers to it by; ``None`` for an ordinary attachment.
    """

    content: bytes | Slot
    name: str
    media_type: str
    parameters: tuple[tuple[str, str], ...] = ()
    disposition: str = "attachment"
    content_id: str | None = None

    def to_leaf(self, *, is_embedded: bool) -> Leaf:
        """The part it becomes."""
        return file_leaf(
            self.content,
            self.media_type,
            self.parameters,
            self.name,
            disposition="inline" if is_embedded else self.disposition,
            content_id=self.content_id if is_embedded else None,
        )


def read_attachments(document: Node, resources: Resources) -> list[File]:
    """Files of ``attachments`` in order; those whose download is still missing are not among them.

    Raises:
        DocumentError: One of them cannot be had or read.
    """
    files: list[File] = []
    for count, node in enumerate(document.objects("attachments", one_allowed=True)):
        if count >= MAX_ATTACHMENTS:
            document.faults.fail(f"{document.path}.attachments", f"more than {MAX_ATTACHMENTS} attachments")
            break
        try:
            file = _read(node, resources)
        except LeftOut:
            continue
        if file is not None:
            files.append(file)
    return files


def _read(node: Node, resources: Resources) -> File | None:
    encoded = node.text("data")
    url = clean_url(node.text("url") or "")
    if encoded is None and not url:
        raise node.faults.leave_out(node.path, "data or url needed")
    if not url or encoded:
        return _from_data(node, encoded or "", resources)
    return _from_url(node, url, resources)


def _from_data(node: Node, encoded: str, resources: Resources) -> File:
    content = resources.slots.get(encoded) or _decode(node, encoded)
    name = clean_file_name(node.text("name") or "")
    given_type = node.text("type")
    media_type, parameters = _media_type(given_type or type_of_name(name) or DEFAULT_TYPE)
    return _file(node, content, name or _FALLBACK_NAME + extension_of_type(media_type), media_type, parameters)


def _decode(node: Node, encoded: str) -> bytes:
    try:
        return decode_base64(encoded.encode("ascii"))
    except (UnicodeEncodeError, TransferDecodingError):
        raise node.faults.leave_out(node.path, "data is not base64") from None


def _from_url(node: Node, url: str, resources: Resources) -> File | None:
    resource = resources.require(DownloadKind.ATTACHMENT, url, node.path)
    if resource is None:
        return None
    name = (
        clean_file_name(node.text("name") or "")
        or _disposition_name(resource.content_disposition or "")
        or name_from_url(url)
        or _FALLBACK_NAME
    )
    given_type = resource.content_type or node.text("type") or type_of_name(name) or DEFAULT_TYPE
    media_type, parameters = _media_type(given_type)
    return _file(node, resource.slot or resource.body, name, media_type, parameters)


def _file(
    node: Node, content: bytes | Slot, name: str, media_type: str, parameters: tuple[tuple[str, str], ...]
) -> File:
    disposition = (node.text("disposition") or "").strip().lower()
    content_id = _NOT_IN_CONTENT_ID.sub("", node.text("cid") or "")[:_MAX_CONTENT_ID_CHARACTERS]
    return File(
        content,
        name,
        media_type,
        parameters,
        disposition if disposition in _DISPOSITIONS else "attachment",
        content_id or None,
    )


def clean_file_name(text: str) -> str:
    """A file name without path, controls and quotes, cut to a sane length; may be empty."""
    last = re.split(r"[/\\]", text)[-1]
    cleaned = _NOT_IN_NAME.sub("", last).strip()[:_MAX_NAME_CHARACTERS].rstrip()
    return "" if cleaned in (".", "..") else cleaned


def name_from_url(url: str) -> str:
    """Last segment of the path of a URL as a file name; may be empty."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return clean_file_name(unquote(path.rpartition("/")[2]))


def _disposition_name(value: str) -> str:
    return clean_file_name(_parameters(value)[1].get("filename", ""))


def _media_type(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Type without, and its parameters with what we are ready to write."""
    written = text.partition(";")[0].strip()
    main, parameters = _parameters(text)
    if not is_media_type(main) or main.startswith("multipart/"):
        return DEFAULT_TYPE, ()
    kept = tuple(
        (name, clean_line(value))
        for name, value in parameters.items()
        if name not in _OWN_PARAMETERS and _PARAMETER_NAME.fullmatch(name)
    )
    return (written if written.lower() == main else main), kept


def _parameters(value: str) -> tuple[str, dict[str, str]]:
    return parse_parameters(value.encode("utf-8", "replace"))
