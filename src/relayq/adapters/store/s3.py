"""Bodies as objects in a bucket of Amazon S3 or something like it (spec storage.md 6).

An object is named after its key and carries ``encoding`` and ``expire`` (seconds since 1970) as metadata. The server
removes what has expired by a lifecycle rule of the bucket, which knows the age of objects and not our metadata.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store as Bucket

from relayq.adapters.store.encoding import pack_aside, unpack_aside
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError
from relayq.ports.store import LARGEST_BODY_BYTES

if TYPE_CHECKING:
    from obstore import Attributes, PutMode
    from obstore.store import S3Config, S3Credential

MULTIPART_BYTES = 8 * 1024 * 1024
"""Larger objects are uploaded in parts of this size (spec storage.md 6)."""
MOST_PARALLEL_PARTS = 4
LONGEST_NAME_BYTES = 1024  # Amazon S3 user guide, "Naming Amazon S3 objects"

# A first answer that takes longer is an outage; the caller limits the whole operation, however large its body is.
CONNECT_TIMEOUT = timedelta(seconds=5)
READ_TIMEOUT = timedelta(seconds=60)
MOST_RETRIES = 2
RETRY_TIMEOUT = timedelta(seconds=10)

_ENCODING = "encoding"
_EXPIRE = "expire"
_LONGEST_REASON = 300
_NO_SUCH_KEY = "NoSuchKey"

# What the client refuses in names, what marks an escape, and what could be taken for the code of an error in the text
# of one. Everything else is left alone: producers then find the names they expect.
_ESCAPED = re.compile(r"[\x00-\x1f\x7f%<>]|(?<![^/])\.{1,2}(?![^/])|(?<![^/])/|/(?![\s\S])")
_CODE = re.compile(r"<Code>([^<]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")
# What the system says, or what is wrong with a certificate or an answer, in the structure behind the text of an error.
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|(?:InvalidCertificate|hyper::Error)\(\s*(\w+)')
_FAILURES = (BaseError, OSError, ValueError)  # `FileNotFoundError` is what 404 becomes


class S3Store:
    """`relayq.ports.MessageStore` on a bucket; the client works in threads of its own."""

    def __init__(self, address: StoreAddress, threads: int = 1, *, retry_timeout: timedelta = RETRY_TIMEOUT) -> None:
        self._address = address
        self._retry_timeout = retry_timeout
        self._slots = asyncio.Semaphore(threads)
        self._bucket: Bucket | None = None

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        async with self._operation() as bucket:
            found = await _fetch(bucket, object_name(self._address.prefix, key))
        return None if found is None else await unpack_aside(found.value, found.attributes.get(_ENCODING))

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body; S3 answers once it lies in several places."""
        value, encoding = await pack_aside(body, compress=self._address.compress)
        attributes: Attributes = {_ENCODING: encoding, _EXPIRE: str(int(expire_at.timestamp()))}
        async with self._operation() as bucket:
            await obstore.put_async(
                bucket,
                object_name(self._address.prefix, key),
                value,
                attributes=attributes,
                chunk_size=MULTIPART_BYTES,
                max_concurrency=MOST_PARALLEL_PARTS,
            )

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later.

        S3 changes neither metadata nor the age of an object without writing it again. So it is, but only where the
        expiry does move, and only over what was read.
        """
        name = object_name(self._address.prefix, key)
        expire = int(expire_at.timestamp())
        async with self._operation() as bucket:
            found = await _fetch(bucket, name, unless_expires_after=expire)
            if found is None:
                return
            attributes: Attributes = {**found.attributes, _EXPIRE: str(expire)}
            mode: PutMode = "overwrite" if found.e_tag is None else {"e_tag": found.e_tag}
            try:
                await obstore.put_async(bucket, name, found.value, attributes=attributes, mode=mode)
            except PreconditionError:
                return  # replaced meanwhile: no longer our business
            except FileNotFoundError as error:
                _raise_unless_missing(error)

    async def delete(self, key: str) -> None:
        """Remove an object."""
        async with self._operation() as bucket:
            try:
                await obstore.delete_async(bucket, object_name(self._address.prefix, key))
            except FileNotFoundError as error:
                _raise_unless_missing(error)

    async def sweep(self, now: datetime) -> bool:
        """Leave it to the lifecycle rule of the bucket."""
        del now
        return False

    async def probe(self) -> None:
        """Look for a random key."""
        await self.load(secrets.token_hex(16))

    async def close(self) -> None:
        """Drop the client, which ends its connections."""
        self._bucket = None

    @contextlib.asynccontextmanager
    async def _operation(self) -> AsyncIterator[Bucket]:
        """Wait for a turn; what goes wrong becomes an error of the port."""
        async with self._slots:
            try:
                if self._bucket is None:
                    self._bucket = _open_bucket(self._address, self._retry_timeout)
                yield self._bucket
            except _FAILURES as error:
                raise StoreUnavailableError(f"s3: {_reason(error)}") from None


@dataclass(frozen=True, slots=True)
class _Found:
    """An object as it lies there."""

    value: bytes
    attributes: Attributes
    e_tag: str | None


async def _fetch(bucket: Bucket, name: str, *, unless_expires_after: int | None = None) -> _Found | None:
    """An object, ``None`` when there is none.

    Args:
        bucket: Where it is.
        name: Its name.
        unless_expires_after: ``None`` as well when it has no expiry, or one that is not before these seconds.

    Raises:
        StoreDamagedError: It is larger than anything we store.
    """
    try:
        answer = await obstore.get_async(bucket, name)
    except FileNotFoundError as error:
        _raise_unless_missing(error)
        return None
    attributes, about = answer.attributes, answer.meta
    if unless_expires_after is not None:
        expire = attributes.get(_EXPIRE, "")
        # Nobody knows what another program means by something that is no number of seconds.
        if not (expire.isascii() and expire.isdigit()) or int(expire[:20]) >= unless_expires_after:
            return None
    if about["size"] > LARGEST_BODY_BYTES:
        raise StoreDamagedError(f"larger than {LARGEST_BODY_BYTES} octets")
    return _Found((await answer.bytes_async()).to_bytes(), attributes, about["e_tag"])


def _raise_unless_missing(error: FileNotFoundError) -> None:
    """Pass over what S3 says when there is no such object, and over nothing else that is a 404.

    A bucket that is not there, or a proxy that knows nothing of it, would else make every message fail for good.
    """
    if _code(str(error)) != _NO_SUCH_KEY:
        raise error


def object_name(prefix: str, key: str) -> str:
    """Name of the object of a key: both as they are, wherever that is a name the client takes and no other key has.

    Octets that it refuses are written as ``%XX``, and so are ``%``, ``<`` and ``>``, the dots of a segment ``.`` or
    ``..``, and a slash at either end or behind another. Longer names than S3 allows end in the key's SHA-256.
    """
    name = _escape(f"{prefix}{key}")
    if len(name.encode("utf-8")) > LONGEST_NAME_BYTES:
        return _escape(f"{prefix}sha256-{hashlib.sha256(key.encode('utf-8')).hexdigest()}")
    return name


def _escape(name: str) -> str:
    return _ESCAPED.sub(lambda match: "".join(f"%{ord(character):02X}" for character in match[0]), name)


# --- the client ------------------------------------------------------------------------------------------------------


def _open_bucket(address: StoreAddress, retry_timeout: timedelta) -> Bucket:
    [(region, _)] = address.hosts
    config: S3Config = {
        "region": region,
        "virtual_hosted_style_request": not address.path_style,
        # One request per object: not all servers know the other form, and permissions for it are rarely given.
        "disable_bulk_delete": True,
    }
    if address.endpoint is not None:
        endpoint, is_in_host = _place(address.endpoint, address.database, path_style=address.path_style)
        config["endpoint"], config["virtual_hosted_style_request"] = endpoint, is_in_host
    return Bucket(
        address.database,
        config=config,
        client_options={
            "allow_http": address.endpoint is not None and address.endpoint.lower().startswith("http:"),
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            "timeout": timedelta(hours=1),
            "user_agent": "relayq",
        },
        retry_config={"max_retries": MOST_RETRIES, "retry_timeout": retry_timeout},
        credential_provider=None if address.username is None else _Credentials(address),
    )


class _Credentials:
    """Those of the address.

    Given as settings, the client would add a session token from the environment, which belongs to other keys.
    """

    def __init__(self, address: StoreAddress) -> None:
        self._address = address

    def __call__(self) -> S3Credential:
        return {
            "access_key_id": self._address.username or "",
            "secret_access_key": self._address.password or "",
            "token": None,
            "expires_at": None,
        }


def _place(endpoint: str, bucket: str, *, path_style: bool) -> tuple[str, bool]:
    """URL that the client wants for a server, and whether the bucket is in its host."""
    parts = urlsplit(endpoint)
    if path_style or _is_ip_address(parts.hostname or ""):
        return endpoint, False
    return urlunsplit(parts._replace(netloc=f"{bucket}.{parts.netloc}")), True


def _is_ip_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def _code(text: str) -> str | None:
    found = _CODE.search(text)
    return None if found is None else found[1]


def _reason(error: Exception) -> str:
    """Code and message of the server, or of the system; never the whole text, which has pages.

    Neither shows more than the access key, and the server only that it does not know it.
    """
    text = str(error)
    if (code := _code(text)) is not None:
        message = _MESSAGE.search(text)
        reason = f"{code}: {message[1]}" if message else code
    else:
        reason = text.partition("\n")[0].rpartition(" - ")[2]
        if (found := _CAUSE.search(text)) is not None:
            reason = f"{reason} ({found[1] or found[2]})"
    return " ".join(reason.split())[:_LONGEST_REASON]
