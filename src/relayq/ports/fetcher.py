"""What composing asks of the web: one resource at a time, within limits (spec responsive.md 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:  # commands that compose nothing start in half the time
    from relayq.compose.responsive import Resource


class Fetched(msgspec.Struct, frozen=True):
    """A resource as it came.

    Attributes:
        resource: Itself, decompressed.
        fresh_seconds: How long it may be used again, by what the server says; 0 if it may not.
    """

    resource: Resource
    fresh_seconds: float


class DownloadError(Exception):
    """A resource that cannot be had now.

    Attributes:
        cause: Short phrase for the log, without anything the server said.
        is_temporary: Asking again may help.
    """

    def __init__(self, cause: str, *, is_temporary: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.is_temporary = is_temporary


class Fetcher(Protocol):
    """Gets resources by HTTP. Never from networks that are forbidden, whatever names, redirects and DNS say.

    Keeps nothing between two calls but connections. Belongs to one event loop; several calls may run at once, and each
    may be cancelled at any point.
    """

    async def fetch(self, url: str, max_bytes: int, *, is_start_enough: bool) -> Fetched:
        """One resource, asked for once, in a bounded time.

        Args:
            url: Address, from outside and unchecked.
            max_bytes: Most octets of it, counted after decompression.
            is_start_enough: A resource with more octets is cut instead of refused.

        Raises:
            DownloadError: It cannot be had.
        """
        ...

    async def close(self) -> None:
        """Close connections. Idempotent; no call may be running or follow."""
        ...
