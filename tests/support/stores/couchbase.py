"""A bucket of Couchbase in memory, in place of the client's own connection.

There is no server to test with. So that the fake cannot take what the client would refuse, every operation goes through
the client's code that makes a request of it, and what is in that request is all the fake knows.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from couchbase.exceptions import (
    DocumentNotFoundException,
    InvalidArgumentException,
    UnAmbiguousTimeoutException,
)
from couchbase.logic.collection_req_builder import CollectionRequestBuilder
from couchbase.logic.collection_types import CollectionDetails
from couchbase.transcoder import JSONTranscoder

LONGEST_ID_BYTES = 246
LARGEST_DOCUMENT_BYTES = 20 * 1024 * 1024
_RELATIVE_SECONDS = 30 * 24 * 3600  # what is longer is an instant


@dataclass
class Stored:
    """A document.

    Attributes:
        expire: Unix seconds, 0 = never.
    """

    value: bytes
    flags: int
    expire: float


@dataclass(frozen=True)
class FakeFound:
    value: bytes
    expiry_time: datetime | None


class FakeBucket:
    """What `relayq.adapters.store.couchbase.Collection` asks for.

    Attributes:
        documents: By id; expired ones are gone once somebody looks.
        is_down: Every operation times out.
        left: Connections that were closed.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Stored] = {}
        self.is_down = False
        self.left = 0
        self.calls: list[tuple[str, str]] = []
        self._build = CollectionRequestBuilder(CollectionDetails("bodies", "_default", "_default", JSONTranscoder()))

    async def get(self, key: str, *opts: Any) -> FakeFound:
        request, transcoder = self._build.build_get_request(key, None, *opts)
        document = self._find("get", request)
        value = document.value
        if projections := getattr(request, "projections", None):  # what was not asked for is no attribute at all
            content = json.loads(value)
            value = json.dumps({name: content[name] for name in projections if name in content}).encode()
        shown = getattr(request, "with_expiry", False) and document.expire
        expiry_time = datetime.fromtimestamp(document.expire) if shown else None  # noqa: DTZ006 as the client does it
        return FakeFound(transcoder.decode_value(value, document.flags), expiry_time)

    async def upsert(self, key: str, value: bytes, *opts: Any) -> None:
        request = self._build.build_upsert_request(key, value, None, *opts)
        self._look("upsert", request)
        if len(request.value) > LARGEST_DOCUMENT_BYTES:
            raise InvalidArgumentException("too large")
        assert request.durability_level
        self.documents[key] = Stored(request.value, request.flags, _instant(request.expiry))

    async def remove(self, key: str, *opts: Any) -> None:
        request = self._build.build_remove_request(key, None, *opts)
        self._find("remove", request)
        del self.documents[key]

    async def touch(self, key: str, expiry: timedelta, *opts: Any) -> None:
        request = self._build.build_touch_request(key, expiry, None, *opts)
        self._find("touch", request).expire = _instant(request.expiry)

    async def hang_up(self) -> None:
        """One of those who use it leaves."""
        self.left += 1

    def _look(self, verb: str, request: Any) -> None:
        """What every operation begins with."""
        self.calls.append((verb, request.key))
        if self.is_down:
            raise UnAmbiguousTimeoutException("timed out")
        if not 0 < len(request.key.encode()) <= LONGEST_ID_BYTES:
            raise InvalidArgumentException("the id is too long")
        now = time.time()
        self.documents = {one: kept for one, kept in self.documents.items() if not 0 < kept.expire <= now}

    def _find(self, verb: str, request: Any) -> Stored:
        self._look(verb, request)
        if request.key not in self.documents:
            raise DocumentNotFoundException
        return self.documents[request.key]


def _instant(expiry: int | None) -> float:
    if not expiry:
        return 0
    return time.time() + expiry if expiry < _RELATIVE_SECONDS else expiry
