"""An SMTP server that accepts and forgets, unless its script says otherwise (spec operations.md 15).

For trials, benchmarks and tests: it runs inside any event loop, listens on the loopback interface unless told
otherwise, and can hand out what it received. It is strict about the order of commands, to find mistakes of clients.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import msgspec

from relayq.smtp import Capabilities, encode_keywords, encode_reply
from relayq.trial.login import ANY_LOGIN
from relayq.trial.script import EMPTY_SCRIPT, Script
from relayq.trial.session import SinkSession
from relayq.trial.state import ReceivedMessage, SinkCounters, SinkState

DEFAULT_HOST: Final = "127.0.0.1"
MAX_MESSAGE_OCTETS: Final = 64 * 1024 * 1024
BACKLOG: Final = 1024


class Sink:
    """The server; use it as ``async with Sink() as sink`` or call :meth:`start` and :meth:`close`.

    Attributes:
        host: Address it listens on.
        port: Port it listens on; the real one once started.
    """

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int = 0,
        *,
        script: Script = EMPTY_SCRIPT,
        tls: ssl.SSLContext | None = None,
        is_implicit_tls: bool = False,
        on_message: Callable[[ReceivedMessage], None] | None = None,
        keep_content: bool | None = None,
        hostname: str = "sink.test",
        max_message_octets: int = MAX_MESSAGE_OCTETS,
        seed: int | None = None,
    ) -> None:
        """Prepare the server.

        Args:
            host: Address to listen on.
            port: Port to listen on, 0 = a free one.
            script: What is not simply accepted.
            tls: Server side context; offers STARTTLS.
            is_implicit_tls: Encrypted from the first octet instead (RFC 8314).
            on_message: Called with each message; must not block.
            keep_content: Whether messages carry their content, default: when there is ``on_message``.
            hostname: Own name in replies.
            max_message_octets: Announced with SIZE, and enforced.
            seed: Makes ``share=`` of scripts repeatable.
        """
        self.host = host
        self.port = port
        self._tls = tls
        self._is_implicit_tls = is_implicit_tls
        encrypted = Capabilities(
            pipelining=True,
            size=True,
            size_limit=max_message_octets,
            eight_bit_mime=True,
            smtputf8=True,
            dsn=True,
            enhanced_status_codes=True,
            auth=ANY_LOGIN,
        )
        plain = msgspec.structs.replace(encrypted, starttls=tls is not None and not is_implicit_tls)
        self._state = SinkState(
            script=script,
            rng=random.Random(seed),
            tls=tls,
            on_message=on_message,
            keep_content=on_message is not None if keep_content is None else keep_content,
            max_message_octets=max_message_octets,
            greeting=encode_reply(220, (f"{hostname} ESMTP relayq sink",)),
            helo_reply=encode_reply(250, (hostname,)),
            ehlo_reply=encode_reply(250, (hostname, *encode_keywords(plain))),
            ehlo_reply_encrypted=encode_reply(250, (hostname, *encode_keywords(encrypted))),
        )
        self._server: asyncio.Server | None = None

    @property
    def counters(self) -> SinkCounters:
        """What happened so far."""
        return self._state.counters

    @property
    def open_connections(self) -> int:
        """Clients connected now."""
        return len(self._state.sessions)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be had.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: SinkSession(self._state, is_tls=self._is_implicit_tls),
            self.host,
            self.port,
            backlog=BACKLOG,
            ssl=self._tls if self._is_implicit_tls else None,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end all connections at once."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in tuple(self._state.sessions):
            session.abort()
        tasks = tuple(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
