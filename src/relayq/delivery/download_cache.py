"""Downloads that may be used again, in memory: bounded by octets and by time (spec responsive.md 10)."""

from __future__ import annotations

import msgspec

from relayq.compose.responsive import Download, DownloadFailure, Resource

MAX_ENTRIES = 10_000
_ENTRY_OCTETS = 500
"""What an entry takes besides its body, roughly."""


class Request(msgspec.Struct, frozen=True):
    """What makes two downloads the same.

    Attributes:
        url: Address.
        max_bytes: Most octets wanted.
        is_start_enough: More octets are cut off instead of refused.
    """

    url: str
    max_bytes: int
    is_start_enough: bool

    @classmethod
    def of(cls, download: Download, max_bytes: int) -> Request:
        """The request for a download, none of which may be larger than ``max_bytes``."""
        limit = download.max_bytes
        return cls(download.url, max_bytes if limit is None else min(limit, max_bytes), download.is_start_enough)


class _Entry(msgspec.Struct, frozen=True):
    answer: Resource | DownloadFailure
    expires_at: float
    octets: int


class DownloadCache:
    """Answers by request; what was not used for longest goes first."""

    def __init__(self, max_octets: int) -> None:
        self._max_octets = max_octets
        self._entries: dict[Request, _Entry] = {}
        self.octets = 0

    def get(self, request: Request, now: float) -> Resource | DownloadFailure | None:
        """An answer that may be used, ``None`` if there is none.

        Args:
            request: What is wanted.
            now: Monotonic instant.
        """
        entry = self._entries.pop(request, None)
        if entry is None:
            return None
        if now >= entry.expires_at:
            self.octets -= entry.octets
            return None
        self._entries[request] = entry  # last in line
        return entry.answer

    def put(self, request: Request, answer: Resource | DownloadFailure, expires_at: float) -> None:
        """Keep an answer until a monotonic instant."""
        body = answer.body if isinstance(answer, Resource) else b""
        octets = _ENTRY_OCTETS + len(request.url) + len(body)
        if octets > self._max_octets:
            return
        previous = self._entries.pop(request, None)
        self.octets += octets - (previous.octets if previous is not None else 0)
        self._entries[request] = _Entry(answer, expires_at, octets)
        while self.octets > self._max_octets or len(self._entries) > MAX_ENTRIES:
            oldest = next(iter(self._entries))
            self.octets -= self._entries.pop(oldest).octets
