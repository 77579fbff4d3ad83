"""The S3 adapter on moto's server: a bucket per test."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import quote

from relayq.adapters.store.s3 import S3Store
from relayq.ports import MessageStore, StoreAddress
from tests.support.ports import free_port
from tests.support.stores.moto import ACCESS_KEY, REGION, SECRET_KEY, Moto


class S3Factory:
    """A bucket per test."""

    can_compress = True
    can_split = False
    can_expire = False

    def __init__(self, server: Moto) -> None:
        self._server = server
        self._bucket = server.new_bucket()

    def make(self, *, compress: bool = False, part_bytes: int | None = None) -> MessageStore:
        del part_bytes
        return S3Store(s3_address(self._server.url, self._bucket, compress=compress), threads=2)

    def make_unreachable(self) -> MessageStore:
        nowhere = s3_address(f"http://127.0.0.1:{free_port()}", self._bucket)
        return S3Store(nowhere, retry_timeout=timedelta(milliseconds=50))

    async def put_foreign(self, key: str, value: bytes) -> None:
        self._server.request("PUT", self._path(key), value)

    async def damage(self, key: str) -> None:
        value = self._server.request("GET", self._path(key))
        self._server.request("PUT", self._path(key), value[: len(value) // 2], {"x-amz-meta-encoding": "gzip"})

    async def count(self) -> int:
        return len(re.findall(rb"<Key>", self._server.request("GET", f"/{self._bucket}?list-type=2")))

    def _path(self, key: str) -> str:
        return f"/{self._bucket}/mail/{quote(key)}"

    async def close(self) -> None:
        """The bucket goes with the server."""


def s3_address(endpoint: str, bucket: str, *, compress: bool = False, prefix: str = "mail/") -> StoreAddress:
    """Address of a bucket of a compatible server."""
    return StoreAddress(
        engine="s3",
        scheme="s3",
        hosts=((REGION, None),),
        username=ACCESS_KEY,
        password=SECRET_KEY,
        database=bucket,
        endpoint=endpoint,
        path_style=True,
        prefix=prefix,
        compress=compress,
    )
