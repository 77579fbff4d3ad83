"""Large files of described messages: kept aside while a message is composed, and put in at the end.

See `relayq.compose.responsive.large_files` for why. Everything is done on the loop, a slice per look at its time:
checking and encoding 10 MB takes some 40 ms of it, less than handing them to a process and back.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from relayq.compose.errors import TransferDecodingError
from relayq.compose.making import Answer, Order
from relayq.compose.responsive import DownloadKind, Resource
from relayq.compose.responsive.downloads import Slot
from relayq.compose.responsive.header_fields import Identity
from relayq.compose.responsive.large_files import (
    LARGE_OCTETS,
    LargeFile,
    Reading,
    marked_places,
    outline_of,
    read_files,
)
from relayq.model import Message

T = TypeVar("T")
_END = b""


class Paced(Protocol):
    """Does some work on the loop when it has time for it."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What ``work`` returns."""
        ...


class Aside(msgspec.Struct, frozen=True):
    """What an order lacks.

    Attributes:
        files: Kept aside, of the object and of downloads.
        mime: The whole object; ``None`` if nothing of it is kept aside.
        outline: What the order has of it.
        slots: What the order knows of its files.
        digest: Of the whole object.
    """

    files: tuple[LargeFile, ...] = ()
    mime: msgspec.Raw | None = None
    outline: bytes = b""
    slots: tuple[Slot, ...] = ()
    digest: str | None = None

    def __repr__(self) -> str:
        """Without content: this lands in logs."""
        return f"Aside({len(self.files)} files)"


class LargeFiles:
    """Keeps files aside and puts them in."""

    def __init__(self, paced: Paced) -> None:
        """``paced`` does some work on the loop when it has time for it."""
        self._paced = paced
        # Nobody can write a document that has a marker in it: it never leaves the process.
        self._secret = secrets.token_hex(16)

    def _marker(self, number: int) -> str:
        return f"=_{self._secret}-{number:04}"

    async def of(self, message: Message, mime: msgspec.Raw, seen_at: datetime) -> Aside | None:
        """What is kept aside of a message; ``None`` for nothing: it is small, or has to be read as a whole."""
        outline = outline_of(mime, self._marker)
        if outline is None:
            return None
        identity = Identity(
            envelope=message.sender,
            recipient=message.recipient.text,
            mime=outline.mime,
            data=None if message.data is None else bytes(message.data),
            seen_at=seen_at,
            host_name="",
        )
        reading = Reading()
        try:
            steps = read_files(outline, identity, reading)
            while await self._paced(partial(next, steps, False)):
                pass
        except TransferDecodingError:
            return None  # whoever composes the whole of it knows what that means for the message
        return Aside(outline.files, mime, outline.mime, reading.slots, reading.digest)

    def answer(self, answer: Answer, aside: Aside | None) -> tuple[Answer, Aside | None]:
        """A download as an order gets it: large attachments are kept aside."""
        found = answer.found
        if found is None or answer.download.kind is not DownloadKind.ATTACHMENT or len(found.body) < LARGE_OCTETS:
            return answer, aside
        aside = aside or Aside()
        file = LargeFile(self._marker(len(aside.files)), octets=found.body)
        resource = msgspec.structs.replace(found, body=b"", slot=Slot(file.marker, len(found.body)))
        return Answer(answer.download, resource), msgspec.structs.replace(aside, files=(*aside.files, file))

    @staticmethod
    def whole(order: Order, aside: Aside) -> Order:
        """The order with everything that was kept aside."""
        files = {file.marker: file.octets for file in aside.files if file.octets is not None}
        answers = tuple(
            answer
            if answer.found is None or answer.found.slot is None
            else Answer(answer.download, _with_body(answer.found, files[answer.found.slot.marker]))
            for answer in order.answers
        )
        if aside.mime is None:
            return msgspec.structs.replace(order, answers=answers)
        return msgspec.structs.replace(order, mime_object=bytes(aside.mime), slots=(), digest=None, answers=answers)

    async def put_in(self, octets: bytes, aside: Aside) -> bytes:
        """The message with its files where their markers are."""
        whole, at = io.BytesIO(), 0
        for place, file in marked_places(octets, aside.files):
            whole.write(octets[at:place])
            slices = file.encoded_slices()
            while (piece := await self._paced(partial(next, slices, _END))) is not _END:
                whole.write(piece)
            at = place + len(file.marker)
        whole.write(octets[at:])
        return whole.getvalue()


def _with_body(resource: Resource, body: bytes) -> Resource:
    return msgspec.structs.replace(resource, body=body, slot=None)
