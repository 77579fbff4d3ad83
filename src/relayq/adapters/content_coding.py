"""``Content-Encoding`` undone while it arrives, a bounded piece at a time (RFC 9110 section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_OCTETS = 65_536
_MAX_MEMBERS = 1000
"""A gzip member may be 20 octets long and empty: without a bound a small body means millions of decompressors."""
_GZIP_WINDOW = 31  # zlib: 15 bits of window, gzip framing
_ZLIB_WINDOW = 15
_RAW_WINDOW = -15
_GZIP = frozenset(("gzip", "x-gzip"))


class CodingError(ValueError):
    """An encoding that is not known, or data that is damaged."""


class Decoder:
    """One encoding of one body: none, ``gzip`` or ``deflate``."""

    def __init__(self, coding: str) -> None:
        """Nothing is read yet.

        Args:
            coding: Value of the header field; empty for none.

        Raises:
            CodingError: Not known, or more than one.
        """
        coding = coding.strip().lower()
        self._is_deflate = coding == "deflate"
        self._is_gzip = coding in _GZIP
        self._members = 0
        self._engine: zlib._Decompress | None = None
        if coding not in ("", "identity") and not self._is_deflate and not self._is_gzip:
            raise CodingError("unknown content-encoding")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded octets of the next ``data``, in pieces of at most `PIECE_OCTETS` if it was encoded.

        Raises:
            CodingError: The data is damaged.
        """
        if not self._is_gzip and not self._is_deflate:
            yield data
            return
        while data:
            if self._engine is None or self._engine.eof:
                self._engine = self._next_engine(data)
            try:
                piece = self._engine.decompress(data, PIECE_OCTETS)
            except zlib.error:
                raise CodingError("damaged content-encoding") from None
            data = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
            yield piece

    def finish(self) -> None:
        """See that the body was complete.

        Raises:
            CodingError: It ended too early.
        """
        if self._engine is not None and not self._engine.eof:
            raise CodingError("content-encoding ends too early")

    def _next_engine(self, data: bytes) -> zlib._Decompress:
        if self._engine is not None and self._is_deflate:
            raise CodingError("more data than encoded")
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise CodingError("damaged content-encoding")
        if self._is_gzip:
            return zlib.decompressobj(_GZIP_WINDOW)
        # Many servers leave out the zlib wrapper that "deflate" means (RFC 9110 section 8.4.1.2, note).
        return zlib.decompressobj(_ZLIB_WINDOW if data[0] & 0x0F == zlib.DEFLATED else _RAW_WINDOW)
