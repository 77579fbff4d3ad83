"""What the ARC chain of a message was worth when it came (spec html-css-dkim.md 5).

Judged before anything is changed: header edits and conversions break the signatures the chain is judged by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from relayq.compose.arc import NEW, Arrival
from relayq.compose.arc_chain import ArcSet, BrokenChainError, chain_keys, judge_chain, read_chain
from relayq.compose.dkim import HUGE_HEADER, MessageHeader
from relayq.compose.headers import has_huge_header
from relayq.ports import Clock, DnsError, DnsFailureKind, Resolver

LOOKUP_SECONDS = 5.0
"""For all public keys of a chain: what is sealed is advice, and nobody waits long for it."""


T = TypeVar("T")


class OffLoop(Protocol):
    """Does some work while the loop goes on."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What ``work`` returns or raises."""
        ...


async def _do(work: Callable[[], T], off_loop: OffLoop | None) -> T:
    return work() if off_loop is None else await off_loop(work)


def _read(message: bytes) -> tuple[MessageHeader, Sequence[ArcSet]]:
    header = MessageHeader(message)
    return header, read_chain(header)


class Arrivals:
    """Judges chains with public keys from DNS."""

    def __init__(self, resolver: Resolver, clock: Clock, warn: Callable[[str, str], None]) -> None:
        self._resolver = resolver
        self._clock = clock
        self._warn = warn

    async def judge(self, message: bytes, off_loop: OffLoop | None = None) -> Arrival | None:
        """What a message was like; ``None`` if that cannot be told, or if nothing may be added any more.

        Args:
            message: Octets as they came, line ends CRLF.
            off_loop: Where a message is read that takes a while; ``None`` for here.
        """
        if has_huge_header(message):
            self._warn("arc", f"no ARC set: {HUGE_HEADER}")
            return None
        try:
            header, sets = await _do(partial(_read, message), off_loop)
        except BrokenChainError as error:
            self._warn("arc", f"no ARC set: {error}")
            return None
        if not sets:
            return NEW
        if sets[-1].seal.get("cv", "").lower() == "fail":
            return None  # whoever sealed it last has said all there is to say (RFC 8617 section 5.1.2)
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                records = await self._find(chain_keys(sets))
        except (DnsError, TimeoutError) as error:
            self._warn("arc", f"no ARC set: {str(error) or 'public keys were not found in time'}")
            return None
        judge = partial(judge_chain, message, header, sets, records, self._clock.now())
        return Arrival(len(sets), await _do(judge, off_loop))

    async def _find(self, names: tuple[str, ...]) -> dict[str, str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._find_one(name)) for name in names]
        records = {}
        for name, task in zip(names, tasks, strict=True):
            found = task.result()
            if isinstance(found, DnsError):
                raise found
            if found is not None:
                records[name] = found
        return records

    async def _find_one(self, name: str) -> str | DnsError | None:
        try:
            answer = await self._resolver.fetch_txt(name)
        except DnsError as error:
            return None if error.kind is DnsFailureKind.NXDOMAIN else error
        return str(answer.records[0]) if answer.records else None
