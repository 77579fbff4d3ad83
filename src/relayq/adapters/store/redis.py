"""Bodies in Redis: a hash per key, which the server removes when its time has come (spec storage.md 6)."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from datetime import datetime

import hiredis

from relayq.adapters.store.connections import CLOSE_SECONDS, TRIES, TryAgainError, one_line
from relayq.adapters.store.encoding import pack_aside, unpack_aside
from relayq.adapters.store.resp import Command, Reply, RespConnection
from relayq.ports import StoreAddress, StoreDamagedError, StoreUnavailableError

CONNECT_SECONDS = 10.0
DEFAULT_PORT = 6379

_WRONG_TYPE = "WRONGTYPE"
_DENIED = ("NOAUTH", "WRONGPASS", "NOPERM", "ERR invalid password", "ERR Client sent AUTH")
_OTHER_SERVER_MAY_HELP = ("LOADING", "MASTERDOWN", "READONLY", "NOAUTH")
"""Connecting again may lead to another server, or find this one ready."""


class RedisStore:
    """`relayq.ports.MessageStore` in a Redis database, or in what speaks its protocol."""

    def __init__(self, address: StoreAddress, threads: int = 1) -> None:
        """Begin without a connection.

        Args:
            address: Where.
            threads: Not needed: the server does one thing after the other anyway.
        """
        del threads
        self._address = address
        self._connection: RespConnection | None = None
        self._connecting = asyncio.Lock()

    async def load(self, key: str) -> bytes | None:
        """Return the body of ``key``."""
        try:
            [fields] = await self._ask(("HMGET", self._name(key), "value", "encoding"))
        except _WrongTypeError as error:
            raise StoreDamagedError(str(error)) from error
        match fields:
            case [None, _]:
                return None
            case [bytes(value), None]:
                return value
            case [bytes(value), bytes(encoding)]:
                return await unpack_aside(value, encoding.decode("ascii", "replace"))
        raise self._nonsense()

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep a body; whether it would survive a crash of the server is a matter of its configuration."""
        value, encoding = await pack_aside(body, compress=self._address.compress)
        name = self._name(key)
        # No transaction: Redis 7.0 cannot restore one from its log when its user `default` is switched off. All fields
        # change in one command anyway; only if both sides of the connection go between the two an entry stays for ever.
        await self._ask(
            ("HSET", name, "value", value, "encoding", encoding, "modified", int(time.time())),
            ("EXPIREAT", name, int(expire_at.timestamp())),
        )

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Move an expiry to later."""
        name = self._name(key)
        [left] = await self._ask(("PTTL", name))
        if not isinstance(left, int):
            raise self._nonsense()
        # Negative: there is no such key, or it lives for ever.
        if 0 <= left < (expire_at.timestamp() - time.time()) * 1000:
            await self._ask(("EXPIREAT", name, int(expire_at.timestamp())))

    async def delete(self, key: str) -> None:
        """Remove an entry of any kind."""
        await self._ask(("UNLINK", self._name(key)))

    async def sweep(self, now: datetime) -> bool:
        """Nothing: the server does it."""
        del now
        return False

    async def probe(self) -> None:
        """Look for a random key."""
        await self._ask(("HMGET", self._name(secrets.token_hex(16)), "value"))

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
            except TimeoutError:
                connection.terminate()

    def _name(self, key: str) -> bytes:
        return f"{self._address.prefix}{key}".encode()

    # --- requests ---------------------------------------------------------------------------------------------------

    async def _ask(self, *commands: Command) -> Sequence[Reply]:
        """Answers to commands that may be sent twice, because a lost connection does not say how far they got.

        Raises:
            StoreUnavailableError: The server cannot be reached, or refuses one of them.
        """
        for _ in range(TRIES - 1):
            try:
                return await self._ask_once(commands)
            except TryAgainError:
                continue
        return await self._ask_once(commands)

    async def _ask_once(self, commands: tuple[Command, ...]) -> Sequence[Reply]:
        connection = self._connection
        if connection is None or not connection.is_usable:
            connection = await self._connected()
        replies = await connection.request(*commands)
        if (refusal := _refusal_in(replies)) is not None:
            if refusal.startswith(_OTHER_SERVER_MAY_HELP):
                connection.terminate()
            if refusal.startswith(_WRONG_TYPE):
                raise _WrongTypeError("the key holds something else than a hash")
            raise StoreUnavailableError(f"redis: {refusal}")
        return replies

    def _nonsense(self) -> StoreUnavailableError:
        """Leave a server that answers something else than it was asked."""
        if self._connection is not None:
            self._connection.terminate()
        return StoreUnavailableError("redis: an answer that does not fit the question")

    async def _connected(self) -> RespConnection:
        async with self._connecting:
            connection = self._connection
            if connection is not None:
                if connection.is_usable:
                    return connection  # somebody else was faster
                connection.terminate()
            self._connection = None
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    self._connection = await _connect(self._address)
            except OSError as error:  # a timeout is one
                raise StoreUnavailableError(f"redis: {str(error) or 'no answer in time'}") from error
            except TryAgainError as error:
                raise StoreUnavailableError(str(error)) from error
            return self._connection


class _WrongTypeError(StoreUnavailableError):
    """A key holds something else than what we put there."""


async def _connect(address: StoreAddress) -> RespConnection:
    """Open a connection and log in.

    Raises:
        OSError: The server cannot be reached.
        StoreUnavailableError: It refuses the login, or does not have the database.
    """
    [(host, port)] = address.hosts
    tls = None
    if address.scheme == "rediss":
        tls = ssl.create_default_context(cafile=dict(address.parameters).get("ssl-ca"))
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(RespConnection, host, port or DEFAULT_PORT, ssl=tls)
    raw: socket.socket = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    login: list[Command] = []
    if address.password is not None:
        user = () if address.username is None else (address.username,)
        login.append(("AUTH", *user, address.password))
    try:
        refusal = _refusal_in(await connection.request(*login, ("SELECT", address.database)))
    except BaseException:
        connection.terminate()
        raise
    if refusal is not None:
        connection.terminate()
        raise StoreUnavailableError(f"redis: {refusal}")
    return connection


def _refusal_in(replies: Sequence[Reply]) -> str | None:
    """Text of the first refusal; what concerns a login is said in our own words."""
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            text = one_line(str(reply))
            return f"{text.split(' ', 1)[0]} access denied" if text.startswith(_DENIED) else text
    return None
