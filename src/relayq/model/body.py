"""From the octets of a consumed message to plain JSON text (spec amqp.md 6)."""

from __future__ import annotations

import zlib

_PLAIN = frozenset(("", "identity", "utf-8", "utf8", "binary"))
_GZIP = frozenset(("gzip", "x-gzip"))
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib: 15 bits of window, gzip framing


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
    size = 0
    rest = body
    while rest:
        engine = zlib.decompressobj(_GZIP_WINDOW)
        try:
            part = engine.decompress(rest, max_bytes - size + 1)
        except zlib.error as error:
            raise UndecodableBodyError(f"damaged gzip data: {error}") from None
        size += len(part)
        if size > max_bytes:
            raise UndecodableBodyError(f"larger than {max_bytes} octets after decompression")
        if not engine.eof:
            raise UndecodableBodyError("gzip data ends too early")
        parts.append(part)
        rest = engine.unused_data
    return b"".join(parts)
