"""Bodies, and the largest message the broker takes (spec amqp.md 12)."""

from __future__ import annotations

import asyncio
import gzip

import msgspec

from relayq.ports import Publication

LEVEL = 6
"""Of gzip: a message this large is rare, and a smaller one may be the difference between delivery and failure."""


async def fit(publication: Publication, limit: int) -> Publication | None:
    """The publication as it is, compressed when it is larger than ``limit``; ``None`` when it is larger even then."""
    if len(publication.body) <= limit:
        return publication
    packed = await asyncio.to_thread(gzip.compress, publication.body, LEVEL, mtime=0)
    if len(packed) > limit:
        return None
    properties = msgspec.structs.replace(publication.properties, content_encoding="gzip")
    return msgspec.structs.replace(publication, body=packed, properties=properties, is_verbatim=True)
