"""The Couchbase adapter on a bucket in memory; the real client only for a server that is not there."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial

from relayq.adapters.store.couchbase import PART_BYTES, CouchbaseStore, Link, open_link
from relayq.ports import MessageStore, StoreAddress
from tests.support.ports import free_port
from tests.support.stores.couchbase import FakeBucket, Stored


class CouchbaseFactory:
    """A bucket per test."""

    can_compress = True
    can_split = True
    can_expire = True

    def __init__(self) -> None:
        self.bucket = FakeBucket()

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        return CouchbaseStore(
            couchbase_address(compress=compress), threads=2, part_bytes=part_bytes or PART_BYTES, connect=self.connect
        )

    async def connect(self, address: StoreAddress) -> Link:
        del address
        return Link(self.bucket, self.bucket.hang_up)

    def make_unreachable(self) -> MessageStore:
        return CouchbaseStore(
            couchbase_address(free_port()), connect=partial(open_link, patience=timedelta(milliseconds=100))
        )

    async def put_foreign(self, key: str, value: bytes) -> None:
        is_text = value.isascii()
        document = {"value": value.decode() if is_text else "/wD+", "base64": not is_text, "campaign": [7]}
        self.bucket.documents[key] = Stored(json.dumps(document).encode(), 0, 0)

    async def damage(self, key: str) -> None:
        if self.bucket.documents.pop(f"{key}.part1", None) is None:
            stored = self.bucket.documents[key]
            document = json.loads(stored.value)
            document["value"] = document["value"][: len(document["value"]) // 8 * 4]
            stored.value = json.dumps(document).encode()

    async def count(self) -> int:
        return len(self.bucket.documents)

    async def close(self) -> None:
        """The bucket goes with the test."""


def couchbase_address(port: int | None = None, *, compress: bool = False) -> StoreAddress:
    """Address of a bucket."""
    return StoreAddress(
        engine="couchbase",
        scheme="couchbase",
        hosts=(("127.0.0.1", port),),
        username="anna",
        password="hunter2",
        database="bodies",
        compress=compress,
    )
