"""Asking the name servers one question until one of them gives an answer that can be used.

Queries go out ``interval`` apart, each from a socket and a port of its own and under its own identifier, to the next
server that has not failed yet; what arrives late on an older one still counts. A server that says SERVFAIL or REFUSED
is not asked again, and the next one is asked at once. After the last query ``timeout`` seconds remain. The question is
settled by the first answer or NXDOMAIN; only when there is none, by what the failures have in common.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence

import msgspec

from relayq.adapters.dns.options import NameServer
from relayq.adapters.dns.wire import Query, Reply, Verdict, encode_query, read_reply

TCP_LIMIT = 10.0
"""Seconds for one question over TCP; the servers meant here are near."""
MAX_STRAY_DATAGRAMS = 32
"""Wrong answers on one socket, after which somebody is guessing and the question goes over TCP."""
_MAX_DATAGRAM = 65_535
_SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})


class Timing(msgspec.Struct, frozen=True):
    """Seconds between queries, number of queries, seconds after the last one."""

    interval: float
    attempts: int
    timeout: float


class ServerMemory:
    """What the conversations of one process have learned about servers: who does not know EDNS."""

    def __init__(self) -> None:
        self._without_edns: set[NameServer] = set()

    def knows_edns(self, server: NameServer) -> bool:
        """Whether to use EDNS with it."""
        return server not in self._without_edns

    def forget_edns(self, server: NameServer) -> None:
        """It stumbled over EDNS."""
        self._without_edns.add(server)

    def clear(self) -> None:
        """Give every server another chance."""
        self._without_edns.clear()


class Settled(msgspec.Struct, frozen=True):
    """How a conversation ended: the reply and who gave it; ``server`` is ``None`` if nobody gave a usable one."""

    reply: Reply
    server: NameServer | None = None


SILENCE = Reply(Verdict.SERVFAIL, text="no answer")
"""A server that says nothing is as good as one that says SERVFAIL (spec delivery.md 6.1)."""


class Conversation:
    """One question to several servers. Use once.

    Args:
        name: Name in lower-case A-labels.
        record_type: Number of the record type.
        servers: Whom to ask, first one first; not empty.
    """

    def __init__(
        self, name: str, record_type: int, servers: Sequence[NameServer], timing: Timing, memory: ServerMemory
    ) -> None:
        self._name = name
        self._type = record_type
        self._servers = servers
        self._timing = timing
        self._memory = memory
        self._failures: dict[int, Reply] = {}
        self._asked = 0
        self._sockets: list[_UdpQuery] = []
        self._inbox: list[tuple[_UdpQuery, Reply]] = []
        self._wakeup: asyncio.Future[None] | None = None

    async def run(self) -> Settled:
        """Ask until settled. Never raises for a reason of the network or the servers."""
        loop = asyncio.get_running_loop()
        try:
            for attempt in range(self._timing.attempts):
                server = self._next_server()
                if server is None:
                    break
                # Some firewalls swallow whatever carries EDNS: the later queries do without.
                self._send(server, with_edns=self._memory.knows_edns(self._servers[server]) and attempt < 3)
                is_last = attempt == self._timing.attempts - 1
                patience = self._timing.timeout if is_last else self._timing.interval
                settled = await self._listen(loop.time() + patience, is_last=is_last)
                if settled is not None:
                    return settled
            return Settled(self._verdict_without_answer())
        finally:
            for query in self._sockets:
                query.close()

    def _next_server(self) -> int | None:
        """Index of the next server in turn that has not failed."""
        for _ in self._servers:
            index = self._asked % len(self._servers)
            self._asked += 1
            if index not in self._failures:
                return index
        return None

    def _send(self, index: int, *, with_edns: bool) -> None:
        query = encode_query(self._name, self._type, with_edns=with_edns)
        try:
            self._sockets.append(_UdpQuery(self, index, self._servers[index], query))
        except OSError as error:
            # No route, no permission: this server cannot be asked. A shortage of ours says nothing about the server.
            if error.errno not in _SHORTAGE:
                self._failures[index] = SILENCE

    def received(self, query: _UdpQuery, reply: Reply) -> None:
        """A socket has something; called on the event loop."""
        self._inbox.append((query, reply))
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _listen(self, deadline: float, *, is_last: bool) -> Settled | None:
        """Wait for an answer; ``None`` means it is time for the next query."""
        while True:
            in_hand = bool(self._inbox)
            while self._inbox:
                settled = await self._consider(*self._inbox.pop(0))
                if settled is not None:
                    return settled
            if self._is_pointless(is_last=is_last, in_hand=in_hand):
                return None
            if not await self._something_or(deadline):
                return None

    def _is_pointless(self, *, is_last: bool, in_hand: bool) -> bool:
        """Nothing to wait for: everybody failed, or another server can be asked instead of one that just failed."""
        if len(self._failures) == len(self._servers):
            return True
        if is_last:
            return not any(query.is_open and query.index not in self._failures for query in self._sockets)
        return in_hand and self._asked < len(self._servers)

    async def _consider(self, query: _UdpQuery, reply: Reply) -> Settled | None:
        if reply.verdict is Verdict.NO_EDNS:
            self._memory.forget_edns(query.server)
            self._send(query.index, with_edns=False)
            return None
        if reply.verdict is Verdict.TRUNCATED:
            reply = await ask_tcp(query.server, self._name, self._type, min(TCP_LIMIT, self._timing.timeout))
        if reply.verdict in (Verdict.ANSWER, Verdict.NXDOMAIN):
            return Settled(reply, query.server)
        if reply is not SILENCE:
            self._failures[query.index] = reply
        return None

    async def _something_or(self, deadline: float) -> bool:
        """True when something arrived before the deadline."""
        loop = asyncio.get_running_loop()
        wakeup = self._wakeup = loop.create_future()
        timer = loop.call_at(deadline, _wake, wakeup)
        try:
            await wakeup
        finally:
            timer.cancel()
            self._wakeup = None
        return bool(self._inbox)

    def _verdict_without_answer(self) -> Reply:
        """Unusable only if that is all anybody had to say (spec delivery.md 6.2)."""
        replies = [self._failures.get(index, SILENCE) for index in range(len(self._servers))]
        for reply in replies:
            if reply.verdict is Verdict.SERVFAIL:
                return reply
        return replies[0]


class _UdpQuery:
    """One datagram sent from a port of its own, and a reader for what comes back to it.

    Raises:
        OSError: It cannot be sent.
    """

    def __init__(self, conversation: Conversation, index: int, server: NameServer, query: Query) -> None:
        self._conversation = conversation
        self.index = index
        self.server = server
        self._query = query
        self._strays = 0
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self.is_open = True
        try:
            self._socket.setblocking(False)
            # Connected: the kernel picks a random port and lets nothing in that comes from elsewhere.
            self._socket.connect((server.address, server.port))
            self._socket.send(query.octets)
            self._loop.add_reader(self._socket.fileno(), self._readable)
        except BaseException:
            self.is_open = False
            self._socket.close()
            raise

    def _readable(self) -> None:
        try:
            octets = self._socket.recv(_MAX_DATAGRAM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # The host is there but nobody listens: a server that restarts may be back for the next query.
            self._finish(SILENCE)
            return
        reply = read_reply(self._query, octets)
        if reply.verdict is not Verdict.NOT_OURS:
            self._finish(reply)
            return
        self._strays += 1
        if self._strays >= MAX_STRAY_DATAGRAMS:
            self._finish(Reply(Verdict.TRUNCATED))

    def _finish(self, reply: Reply) -> None:
        self.close()
        self._conversation.received(self, reply)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()


async def ask_tcp(server: NameServer, name: str, record_type: int, limit: float) -> Reply:
    """Ask one server over TCP (RFC 7766), for at most ``limit`` seconds. Never raises for a reason of the network."""
    loop = asyncio.get_running_loop()
    query = encode_query(name, record_type, with_edns=False)
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    try:
        async with asyncio.timeout(limit):
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.setblocking(False)
                await loop.sock_connect(connection, (server.address, server.port))
                await loop.sock_sendall(connection, len(query.octets).to_bytes(2, "big") + query.octets)
                length = int.from_bytes(await _read_exactly(connection, 2), "big")
                octets = await _read_exactly(connection, length)
    except (OSError, EOFError, TimeoutError):
        return Reply(Verdict.SERVFAIL, text="no answer over TCP")
    reply = read_reply(query, octets)
    if reply.verdict in (Verdict.NOT_OURS, Verdict.TRUNCATED):
        return Reply(Verdict.UNUSABLE, text="malformed answer over TCP")
    return reply


async def _read_exactly(connection: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    while count:
        part = await loop.sock_recv(connection, count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _wake(wakeup: asyncio.Future[None]) -> None:
    if not wakeup.done():
        wakeup.set_result(None)
