"""From the octets of a consumed message to plain JSON text (spec amqp.md 6)."""

from __future__ import annotations

import zlib

_PLAIN = frozenset(("", "identity", "utf-8", "utf8", "binary"))
_GZIP = frozenset(("gzip", "x-gzip"))
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib: 15 bits of window, gzip framing
_CHUNK_OCTETS = 65_536
_MAX_GZIP_MEMBERS = 1_000
"""A member may be 20 octets long and empty: without a bound a small body means millions of decompressors."""


class UndecodableBodyError(ValueError):
    """A body that cannot be decompressed, is too large, or announces an unknown encoding."""


def decode_body(body: bytes, content_encoding: str | None, max_bytes: int) -> bytes:
    """The body without compression, at most ``max_bytes`` long.

    A plain body that starts like gzip is decompressed as well: it cannot be JSON.

    Raises:
        UndecodableBodyError: Says why.
    """
    encoding = (content_encoding or "").strip().lower()
    if encoding in _GZIP or (encoding in _PLAIN and body.startswith(GZIP_MAGIC)):
        return _gunzip(body, max_bytes)
    if encoding not in _PLAIN:
        raise UndecodableBodyError("unknown content-encoding")
    if len(body) > max_bytes:
        raise UndecodableBodyError(f"larger than {max_bytes} octets")
    return body


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    """All members of a gzip stream, stopping as soon as the limit is passed."""
    parts: list[bytes] = []
    left = max_bytes
    at = 0
    for _ in range(_MAX_GZIP_MEMBERS):
        engine = zlib.decompressobj(_GZIP_WINDOW)
        while not engine.eof:
            # In pieces, because what follows a member is copied each time.
            chunk = body[at : at + _CHUNK_OCTETS]
            if not chunk:
                raise UndecodableBodyError("gzip data ends too early")
            try:
                part = engine.decompress(chunk, left + 1)
            except zlib.error as error:
                raise UndecodableBodyError(f"damaged gzip data: {error}") from None
            left -= len(part)
            if left < 0:
                raise UndecodableBodyError(f"larger than {max_bytes} octets after decompression")
            parts.append(part)
            at += len(chunk) - len(engine.unused_data)
        if at == len(body):
            return b"".join(parts)
    raise UndecodableBodyError(f"more than {_MAX_GZIP_MEMBERS} gzip members")
