"""What a document needs from elsewhere, as values: requests out, answers in (spec responsive.md 10).

Nothing here connects to anything. Composing asks `Resources` for what it needs; what is not there yet becomes a request
that somebody answers before composing is tried once more.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

import msgspec

from relayq.compose.responsive.errors import Faults

MAX_DOWNLOADS = 100
"""Addresses in one message."""

_PROBE_OCTETS = 64 * 1024
_TEXT_OCTETS = 2 * 1024 * 1024


class DownloadKind(enum.Enum):
    """What a resource is for."""

    ATTACHMENT = "attachment"
    CONTENT = "content"
    """Text or HTML of a block."""
    JSON = "json"
    """Blocks to import, or the answer of a video host."""
    FEED = "feed"
    IMAGE = "image"
    """To be embedded."""
    PROBE = "probe"
    """The start of an image, for its dimensions."""


_LIMITS = {
    DownloadKind.CONTENT: _TEXT_OCTETS,
    DownloadKind.JSON: _TEXT_OCTETS,
    DownloadKind.FEED: _TEXT_OCTETS,
    DownloadKind.PROBE: _PROBE_OCTETS,
}


class Download(msgspec.Struct, frozen=True):
    """A request for a resource.

    Attributes:
        kind: What it is for.
        url: ``http`` or ``https`` address.
    """

    kind: DownloadKind
    url: str

    @property
    def max_bytes(self) -> int | None:
        """Most octets this kind may have after decompression, ``None`` where only ``download-maxsize`` says."""
        return _LIMITS.get(self.kind)

    @property
    def is_start_enough(self) -> bool:
        """More octets than `max_bytes` are not an error: the rest is not needed."""
        return self.kind is DownloadKind.PROBE

    @property
    def is_required(self) -> bool:
        """Without it the message fails, unless ``force`` is set."""
        return self.kind not in (DownloadKind.IMAGE, DownloadKind.PROBE)


class Resource(msgspec.Struct, frozen=True):
    """What came back.

    Attributes:
        body: Octets, decompressed.
        content_type: ``Content-Type`` of the answer.
        content_disposition: ``Content-Disposition`` of the answer.
        slot: Where the body is kept aside; ``body`` is empty then.
    """

    body: bytes
    content_type: str | None = None
    content_disposition: str | None = None
    slot: Slot | None = None


class Slot(msgspec.Struct, frozen=True):
    """A file that is kept aside while the message is made.

    Attributes:
        marker: Stands for it, in base64 as well; no document contains it.
        size: Its octets.
    """

    marker: str
    size: int


class ContentNeededError(Exception):
    """A file that is kept aside has to be looked into."""


class DownloadFailure(msgspec.Struct, frozen=True):
    """A resource that cannot be had.

    Attributes:
        cause: For the log: ``HTTP 404``, ``forbidden address``.
        is_temporary: Another attempt may have it.
    """

    cause: str
    is_temporary: bool


Answers = Mapping[Download, Resource | DownloadFailure]


class Resources:
    """Answers so far, and what was asked for in vain.

    Attributes:
        missing: Requests without an answer, in the order in which they came up.
        slots: Files of the document that are kept aside, by marker.
    """

    def __init__(self, answers: Answers, faults: Faults, slots: Iterable[Slot] = ()) -> None:
        self.missing: dict[Download, None] = {}
        self.slots = {slot.marker: slot for slot in slots}
        self._answers = answers
        self._faults = faults
        self._urls = {download.url for download in answers}

    def require(self, kind: DownloadKind, url: str, path: str) -> Resource | None:
        """A resource the message is not complete without; ``None`` while it is missing.

        Raises:
            DocumentError: It cannot be had.
            LeftOut: It cannot be had, and what needs it is left out.
        """
        answer = self._look_up(kind, url)
        if isinstance(answer, DownloadFailure):
            raise self._faults.leave_out(path, answer.cause, is_temporary=answer.is_temporary)
        return answer

    def try_for(self, kind: DownloadKind, url: str) -> Resource | None:
        """A resource the message can do without; ``None`` while it is missing and when it cannot be had."""
        answer = self._look_up(kind, url)
        return None if isinstance(answer, DownloadFailure) else answer

    def _look_up(self, kind: DownloadKind, url: str) -> Resource | DownloadFailure | None:
        if not url.lower().startswith(("http://", "https://")):
            return DownloadFailure("neither http nor https", is_temporary=False)
        download = Download(kind, url)
        answer = self._answers.get(download)
        if answer is not None:
            return _checked(download, answer)
        if url not in self._urls and len(self._urls) >= MAX_DOWNLOADS:
            return DownloadFailure(f"more than {MAX_DOWNLOADS} downloads", is_temporary=False)
        self._urls.add(url)
        self.missing[download] = None
        return None


def _checked(download: Download, answer: Resource | DownloadFailure) -> Resource | DownloadFailure:
    """An answer of at most the size its kind may have."""
    limit = download.max_bytes
    if isinstance(answer, DownloadFailure) or limit is None or len(answer.body) <= limit or download.is_start_enough:
        return answer
    return DownloadFailure(f"larger than {limit} octets", is_temporary=False)
