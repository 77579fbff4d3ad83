"""What only a store in S3 does: names, metadata, uploads in parts, and servers that refuse, break off and come back."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Self

import obstore
import pytest
import trustme
from obstore.store import S3Store as Bucket

from relayq.adapters.store.s3 import MULTIPART_BYTES, S3Store, _open_bucket
from relayq.config.store_address import parse_store_address
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError
from tests.support.stores.moto import ACCESS_KEY, REGION, Moto

HOUR = timedelta(hours=1)
SECRET = "hunter2/+="  # as a secret key can look

Open = Callable[..., S3Store]


def address(endpoint: str, bucket: str, options: str = "", *, credentials: str = "") -> StoreAddress:
    given = credentials or f"{ACCESS_KEY}:{SECRET.replace('/', '%2F')}@"
    return parse_store_address(f"s3://{given}{REGION}/{bucket}?pathstyle=true&endpoint={endpoint}{options}")


@pytest.fixture
def bucket(moto: Moto) -> str:
    return moto.new_bucket()


@pytest.fixture
async def open_store(moto: Moto, bucket: str) -> AsyncIterator[Open]:
    stores: list[S3Store] = []

    def opened(options: str = "", *, name: str = bucket, endpoint: str = moto.url, threads: int = 1) -> S3Store:
        quick = timedelta(milliseconds=300)
        stores.append(S3Store(address(endpoint, name, options), threads, retry_timeout=quick))
        return stores[-1]

    yield opened
    for store in stores:
        await store.close()


@pytest.fixture
def objects(moto: Moto, bucket: str) -> Bucket:
    """The bucket as another program sees it."""
    return _open_bucket(address(moto.url, bucket), timedelta(seconds=1))


def soon() -> datetime:
    return (datetime.now(UTC) + HOUR).replace(microsecond=0)


# --- objects ---------------------------------------------------------------------------------------------------------


async def test_an_object_tells_encoding_and_expiry(open_store: Open, objects: Bucket) -> None:
    expire_at = soon()
    await open_store("&prefix=mail/").save("a/ü", b"body", expire_at)
    await open_store("&compression=gzip").save("packed", b"body " * 100, expire_at)
    plain, packed = obstore.get(objects, "mail/a/ü"), obstore.get(objects, "packed")
    expire = str(int(expire_at.timestamp()))
    assert {name: plain.attributes[name] for name in ("encoding", "expire")} == {
        "encoding": "identity",
        "expire": expire,
    }
    assert bytes(plain.bytes()) == b"body"
    assert packed.attributes["encoding"] == "gzip"
    assert bytes(packed.bytes()).startswith(b"\x1f\x8b")


async def test_a_large_body_is_uploaded_in_parts(open_store: Open, objects: Bucket) -> None:
    store = open_store("&compression=gzip")
    body = random.Random(2).randbytes(2 * MULTIPART_BYTES + 1)
    await store.save("large", body, soon())
    assert (obstore.head(objects, "large")["e_tag"] or "").endswith('-3"')
    assert obstore.get(objects, "large").attributes["encoding"] == "identity"
    assert await store.load("large") == body
    await store.refresh("large", soon() + HOUR)
    assert await store.load("large") == body


async def test_refreshing_changes_the_expiry_alone_and_only_to_later(open_store: Open, objects: Bucket) -> None:
    store, expire_at = open_store("&compression=gzip"), soon()
    await store.save("key", b"body " * 100, expire_at)
    stamp = obstore.head(objects, "key")
    for moment in (expire_at - HOUR / 2, expire_at):
        await store.refresh("key", moment)
        assert obstore.head(objects, "key") == stamp
    await store.refresh("key", expire_at + HOUR)
    attributes = obstore.get(objects, "key").attributes
    assert attributes["expire"] == str(int((expire_at + HOUR).timestamp()))
    assert attributes["encoding"] == "gzip"
    assert await store.load("key") == b"body " * 100


@pytest.mark.parametrize("expire", [None, "", "never", "-1", "1e9", "9" * 1000], ids=lambda text: str(text)[:10])
async def test_an_expiry_of_another_program_is_left_alone(
    open_store: Open, objects: Bucket, expire: str | None
) -> None:
    obstore.put(objects, "theirs", b"body", attributes={} if expire is None else {"expire": expire})
    before = obstore.head(objects, "theirs")
    await open_store().refresh("theirs", soon())
    assert obstore.head(objects, "theirs") == before


async def test_an_object_that_is_replaced_meanwhile_is_not_refreshed(
    open_store: Open, objects: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    await store.save("key", b"old", datetime.now(UTC))
    put = obstore.put_async

    async def slow_put(*arguments: object, **named: object) -> object:
        obstore.put(objects, "key", b"new")
        return await put(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(obstore, "put_async", slow_put)
    await store.refresh("key", soon())
    assert await store.load("key") == b"new"


async def test_an_object_larger_than_any_body_is_not_fetched(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    await store.save("key", b"1234", soon())
    monkeypatch.setattr("relayq.adapters.store.s3.LARGEST_BODY_BYTES", 3)
    with pytest.raises(StoreDamagedError, match="larger than"):
        await store.load("key")


# --- what is refused -------------------------------------------------------------------------------------------------


async def test_a_bucket_that_is_not_there_is_no_unknown_key(open_store: Open) -> None:
    store = open_store(name="nobody-made-it")
    for operation in (
        store.load("<Code>NoSuchKey</Code>"),
        store.save("key", b"body", soon()),
        store.refresh("key", soon()),
        store.delete("key"),
        store.probe(),
    ):
        with pytest.raises(StoreUnavailableError, match="NoSuchBucket: The specified bucket does not exist"):
            await operation


@pytest.fixture
def strict(moto: Moto, bucket: str) -> Iterator[None]:
    """The server asks for permission from now on, with the bucket made."""
    assert bucket
    moto.ask_for_permission(wanted=True)
    yield
    moto.ask_for_permission(wanted=False)


@pytest.mark.usefixtures("strict")
async def test_wrong_credentials_are_an_outage_that_tells_no_secret(open_store: Open) -> None:
    store = open_store()
    for operation in (store.load("key"), store.save("key", b"body", soon()), store.delete("key")):
        with pytest.raises(StoreUnavailableError, match=r"s3: InvalidAccessKeyId: ") as caught:
            await operation
        shown = f"{caught.value!r}{caught.value}{caught.value.__cause__!r}{store._address!r}{store._bucket!r}"
        assert "hunter2" not in shown
        assert "Signature=" not in shown


# --- servers that come and go ----------------------------------------------------------------------------------------


async def test_a_server_that_was_killed_is_found_again(open_store: Open, moto: Moto, bucket: str) -> None:
    used, fresh = open_store(threads=2), open_store()
    await used.save("key", b"body", soon())
    moto.kill()
    try:
        for store in (used, fresh):
            with pytest.raises(StoreUnavailableError, match=r"s3: .*Connection refused"):
                await store.load("key")
            with pytest.raises(StoreUnavailableError):
                await store.save("key", b"body", soon())
    finally:
        await asyncio.to_thread(moto.start)
    moto.request("PUT", f"/{bucket}")  # its memory is empty
    for store in (used, fresh):
        assert await store.load("key") is None
    await used.save("key", b"again", soon())
    assert await fresh.load("key") == b"again"


class Peer:
    """A server of a few lines: answers every request with the same octets and hangs up."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._context = context
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.answer)
        await writer.drain()
        writer.close()


def reply(status: str, body: bytes = b"", length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    about = f'ETag: "x"\r\nLast-Modified: Wed, 04 Nov 2026 09:00:00 GMT\r\nContent-Length: {length}\r\n'
    return f"HTTP/1.1 {status}\r\n{about}Connection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "answer",
    [
        reply("404 Not Found"),
        reply("404 Not Found", b"<html>no such page: NoSuchKey</html>"),
        reply("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>"),
        reply("503 Slow Down", b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"),
        reply("301 Moved Permanently", b"<Error><Code>PermanentRedirect</Code></Error>"),
        reply("200 OK", b"half of it", 20),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["empty 404", "404 of a proxy", "403", "503", "301", "cut short", "another protocol", "nothing"],
)
async def test_an_answer_that_is_none_is_an_outage(open_store: Open, answer: bytes) -> None:
    async with Peer(answer) as peer, asyncio.timeout(90):
        store = open_store(endpoint=peer.url)
        with pytest.raises(StoreUnavailableError, match=r"^s3: .+") as caught:
            await store.load("key")
        assert len(str(caught.value)) < 400
        assert peer.requests


async def test_a_certificate_nobody_trusts_is_named_as_the_cause(open_store: Open) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with Peer(b"", context) as peer:
        with pytest.raises(StoreUnavailableError, match=r"UnknownIssuer"):
            await open_store(endpoint=peer.url).load("key")
        assert not peer.requests


async def test_a_server_that_does_not_answer_can_be_given_up(open_store: Open) -> None:
    answered = asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    store = open_store(endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    for _ in range(3):  # the only turn is free again each time
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.load("key"), 0.1)
    answered.set()
    server.close()
    await server.wait_closed()


# --- credentials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "key", "token"),
    [(f"{ACCESS_KEY}:secret@", ACCESS_KEY, None), ("@", "ENVKEY", "env token")],
    ids=["address", "environment"],
)
async def test_credentials_of_the_address_never_mix_with_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, credentials: str, key: str, token: str | None
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env token")
    missing = reply("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
    async with Peer(missing) as peer:
        store = S3Store(address(peer.url, "some-bucket", credentials=credentials))
        assert await store.load("some key") is None
        await store.close()
    [request] = peer.requests
    assert request.startswith("GET /some-bucket/some%20key HTTP/1.1\r\n")
    assert f"Credential={key}/" in request
    assert f"/{REGION}/s3/aws4_request" in request
    sent = re.search(r"x-amz-security-token: (.*)\r", request)
    assert (None if sent is None else sent[1]) == token
