"""How a body is stored: compressed or not, and in which parts (spec storage.md 7 and 8). Shared by the engines."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable

from relayq.ports import StoreDamagedError
from relayq.ports.store import LARGEST_BODY_BYTES

GZIP = "gzip"
IDENTITY = "identity"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_INLINE_BYTES = 64 * 1024
"""Work on more than this, a millisecond and up, is done in a thread where the caller is on the event loop."""


def pack(body: bytes, *, compress: bool) -> tuple[bytes, str]:
    """Octets to store and the name of their encoding; a body that does not get smaller stays as it is."""
    if compress and body:
        packer = zlib.compressobj(wbits=_GZIP_WINDOW)
        packed = packer.compress(body) + packer.flush()
        if len(packed) < len(body):
            return packed, GZIP
    return body, IDENTITY


def unpack(value: bytes, encoding: str | None) -> bytes:
    """The body again; ``None`` as encoding is what other programs leave out: as it is.

    Raises:
        StoreDamagedError: Not in that encoding, cut short, or larger than anything we store.
    """
    if encoding in (None, "", IDENTITY):
        return value
    if encoding != GZIP:
        raise StoreDamagedError("the encoding is unknown")
    unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        body = unpacker.decompress(value, LARGEST_BODY_BYTES + 1)
    except zlib.error as error:
        raise StoreDamagedError(f"gzip: {error}") from None
    if len(body) > LARGEST_BODY_BYTES:
        raise StoreDamagedError(f"gzip: unpacks to more than {LARGEST_BODY_BYTES} octets")
    if not unpacker.eof or unpacker.unused_data:
        raise StoreDamagedError("gzip: cut short, or something follows")
    return body


async def pack_aside(body: bytes, *, compress: bool) -> tuple[bytes, str]:
    """`pack` for callers on the event loop."""
    if not compress or len(body) <= _INLINE_BYTES:
        return pack(body, compress=compress)
    return await asyncio.to_thread(pack, body, compress=compress)


async def unpack_aside(value: bytes, encoding: str | None) -> bytes:
    """`unpack` for callers on the event loop; raises as it does."""
    if encoding != GZIP or len(value) <= _INLINE_BYTES // 4:
        return unpack(value, encoding)
    return await asyncio.to_thread(unpack, value, encoding)


def split(value: bytes, part_bytes: int) -> list[bytes]:
    """Parts of ``part_bytes`` octets in order, the last one shorter; empty when it fits into one entry."""
    if len(value) <= part_bytes:
        return []
    return [value[start : start + part_bytes] for start in range(0, len(value), part_bytes)]


def part_keys(key: str, count: int) -> list[str]:
    """Keys of the parts of ``key`` in order."""
    return [f"{key}.part{number}" for number in range(count)]


def join(parts: Iterable[bytes | None], size: int) -> bytes:
    """The value again, from its parts in order; ``None`` is a part that is gone.

    Raises:
        StoreDamagedError: A part is gone, or the sizes do not add up to ``size``.
    """
    found: list[bytes] = []
    total = 0
    for number, part in enumerate(parts):
        if part is None:
            raise StoreDamagedError(f"part {number} is missing")
        found.append(part)
        total += len(part)
        if total > size:
            break
    if total != size or size > LARGEST_BODY_BYTES:
        raise StoreDamagedError(f"the parts have {total} octets instead of {size}")
    return b"".join(found)
