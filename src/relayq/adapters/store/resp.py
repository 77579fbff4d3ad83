"""A connection to Redis: requests leave at once, answers come back in their order (protocol RESP 2).

Whoever asks does not wait for those who asked before, so one connection is enough, and what many operations send in one
turn of the loop travels together. An operation that is cancelled leaves its place in the line: its answer still comes,
and is thrown away.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from relayq.adapters.store.connections import TryAgainError
from relayq.ports.store import LARGEST_BODY_BYTES

SILENCE_SECONDS = 5.0
"""A server that owes answers and has said nothing for so long is taken for dead."""

_MOST_BUFFERED_BYTES = LARGEST_BODY_BYTES + 1024 * 1024
_NOT_ENOUGH = object()

Command = tuple[Any, ...]  # texts, octets and whole numbers
Reply = Any  # bytes, int, None, `hiredis.ReplyError`, or a list of these


class RespConnection(asyncio.Protocol):
    """One connection, made by ``loop.create_connection``."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[_Request] = deque()
        self._heard_at = 0.0
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._closed = asyncio.Event()

    @property
    def is_usable(self) -> bool:
        """Open, and the server does not leave requests unanswered."""
        if self._transport is None or self._transport.is_closing():
            return False
        return not self._waiting or time.monotonic() - self._heard_at < SILENCE_SECONDS

    async def request(self, *commands: Command) -> Sequence[Reply]:
        """Send commands in one piece and return an answer for each; refusals of the server are answers too.

        Raises:
            TryAgainError: The connection was lost before all answers were there.
        """
        packed = b"".join([hiredis.pack_command(command) for command in commands])
        if not self._may_write.is_set():
            await self._may_write.wait()
        if self._transport is None or self._transport.is_closing():
            raise TryAgainError("redis: the connection was lost")
        if not self._waiting:
            self._heard_at = time.monotonic()
        request = _Request(len(commands))
        self._waiting.append(request)
        self._transport.write(packed)
        return await request.answered

    def terminate(self) -> None:
        """Cut it; whoever waits for an answer is told."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close it and wait until that is done."""
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    # --- called by the event loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of another family

    def data_received(self, data: bytes) -> None:
        """Hand out what is complete."""
        self._heard_at = time.monotonic()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOT_ENOUGH:
                self._answer(reply)
        except (hiredis.HiredisError, IndexError):  # not the protocol, or an answer nobody asked for
            self.terminate()
            return
        if self._reader.len() > _MOST_BUFFERED_BYTES:
            self.terminate()

    def _answer(self, reply: Reply) -> None:
        request = self._waiting[0]
        request.replies.append(reply)
        if len(request.replies) == request.count:
            self._waiting.popleft()
            if not request.answered.done():
                request.answered.set_result(request.replies)

    def pause_writing(self) -> None:
        """The server reads more slowly than we write."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits."""
        del error
        self._may_write.set()
        self._closed.set()
        for request in self._waiting:
            if not request.answered.done():
                request.answered.set_exception(TryAgainError("redis: the connection was lost"))
        self._waiting.clear()


class _Request:
    """Commands that were sent together.

    Attributes:
        count: How many answers are due.
        replies: Those that have come.
        answered: Done with all of them.
    """

    __slots__ = ("answered", "count", "replies")

    def __init__(self, count: int) -> None:
        self.count = count
        self.replies: list[Reply] = []
        self.answered: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
