"""A web that exists only in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from relayq.compose.responsive import Resource
from relayq.ports import DownloadError, Fetched


class MemoryFetcher:
    """`relayq.ports.Fetcher` over a dictionary.

    Attributes:
        pages: What there is by address: a resource, how it came, or why it cannot be had.
        asked: Addresses asked for, oldest first.
        before: Awaited before each answer, with the address.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Resource | Fetched | DownloadError] = {}
        self.asked: list[str] = []
        self.before: Callable[[str], Awaitable[None]] | None = None

    async def fetch(self, url: str, max_bytes: int, *, is_start_enough: bool) -> Fetched:
        """See the port; an unknown address is ``HTTP 404``, and answers stay fresh for an hour if they do not say."""
        self.asked.append(url)
        if self.before is not None:
            await self.before(url)
        page = self.pages.get(url, DownloadError("HTTP 404", is_temporary=False))
        if isinstance(page, DownloadError):
            raise page
        if isinstance(page, Resource):
            page = Fetched(page, 3600.0)
        if len(page.resource.body) <= max_bytes:
            return page
        if not is_start_enough:
            raise DownloadError(f"larger than {max_bytes} octets", is_temporary=False)
        start = page.resource.body[:max_bytes]
        return Fetched(
            Resource(start, page.resource.content_type, page.resource.content_disposition), page.fresh_seconds
        )

    async def close(self) -> None:
        """Nothing is open."""
