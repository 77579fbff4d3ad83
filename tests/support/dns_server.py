"""A name server on loopback that does whatever a test asks for, UDP and TCP on one port.

It answers like a resolver: records of its table, CNAMEs followed, NXDOMAIN and NODATA with an SOA. A ``Misbehaviour``
per question, or for all of them, makes it late, silent, wrong or malicious. Runs in the event loop of the test::

    async with FakeDnsServer() as server:
        server.add("example.test", "MX", "10 mx.example.test.")
        server.misbehave("slow.test", "MX", Misbehaviour(delay=0.2))
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.support.ports import free_port

UDP_WITHOUT_EDNS = 512
MAX_CNAMES_FOLLOWED = 20


@dataclass(frozen=True, kw_only=True)
class Misbehaviour:
    """How a question is answered.

    Attributes:
        rcode: Response code instead of an answer, e.g. ``SERVFAIL``.
        delay: Seconds before the answer.
        drop: That many queries for the question get no answer at all; -1 for every one.
        truncate: Over UDP the answer is empty and says there is more.
        raw: Octets sent instead of the answer; ``{id}`` stands for those of the identifier.
        mangle: Changes the octets of a complete answer.
        strays: Octets sent before the answer, each of them a datagram.
        authentic: Set the AD flag if the query asked for it.
        is_flat: CNAMEs are answered but not followed, and there is no SOA.
        no_soa: Negative answers come without SOA.
        refuse_edns: FORMERR without a question section for whatever carries EDNS.
        is_deaf_to_tcp: Connections are accepted and never answered.
        tcp_raw: Octets sent over TCP instead of the answer, length included.
    """

    rcode: str | None = None
    delay: float = 0.0
    drop: int = 0
    truncate: bool = False
    raw: bytes | None = None
    mangle: Callable[[bytes], bytes] | None = None
    strays: Callable[[bytes], list[bytes]] | None = None
    authentic: bool = False
    is_flat: bool = False
    no_soa: bool = False
    refuse_edns: bool = False
    is_deaf_to_tcp: bool = False
    tcp_raw: bytes | None = None


@dataclass(frozen=True)
class Question:
    """One query as it arrived."""

    name: str
    kind: str
    transport: str
    source_port: int
    query_id: int
    has_edns: bool


@dataclass
class _Zone:
    records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = field(default_factory=dict)

    def exists(self, name: dns.name.Name) -> bool:
        return any(owner.is_subdomain(name) for owner, _ in self.records)


class FakeDnsServer:
    """See the module.

    Attributes:
        host: Address it listens on.
        port: UDP and TCP port.
        questions: Every query received, oldest first.
        soa_ttl: TTL of the SOA in negative answers.
        soa_minimum: Its last field.
        default: Misbehaviour of questions without one of their own.
    """

    def __init__(self, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.host = host
        self.port = port or free_port(host)
        self.questions: list[Question] = []
        self.soa_ttl = 300
        self.soa_minimum = 300
        self.default = Misbehaviour()
        self._zone = _Zone()
        self._misbehaviours: dict[tuple[str, str], Misbehaviour] = {}
        self._dropped: dict[tuple[str, str], int] = {}
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """``ip:port``, as ``dns-nameservers`` takes it."""
        return f"{self.host}:{self.port}"

    def add(self, name: str, kind: str, *values: str, ttl: int = 300) -> None:
        """Records of one name and type in presentation format, replacing any; without values the name just exists."""
        owner = dns.name.from_text(name)
        rdtype = dns.rdatatype.from_text(kind)
        if values:
            rrset = dns.rrset.from_text_list(owner, ttl, dns.rdataclass.IN, rdtype, list(values))
        else:
            rrset = dns.rrset.RRset(owner, dns.rdataclass.IN, rdtype)
        self._zone.records[owner, rdtype] = rrset

    def misbehave(self, name: str, kind: str, misbehaviour: Misbehaviour) -> None:
        """Answer this question differently."""
        self._misbehaviours[name, kind] = misbehaviour
        self._dropped.pop((name, kind), None)

    def count(self, name: str, kind: str) -> int:
        """How many queries for a question arrived."""
        return sum(1 for question in self.questions if (question.name, question.kind) == (name, kind))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve_tcp, self.host, self.port)
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(self.host, self.port))
        self._udp = transport

    async def stop(self) -> None:
        """Stop listening; questions under way get no answer. Idempotent."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()
            self._tcp = None

    def datagram_received(self, octets: bytes, peer: tuple[str, int]) -> None:
        """A query came over UDP."""
        self._start(self._serve_udp(octets, peer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_udp(self, octets: bytes, peer: tuple[str, int]) -> None:
        query, how = self._note(octets, "udp", peer[1])
        if self._is_dropped(query, how):
            return
        await asyncio.sleep(how.delay)
        answer = self._answer(query, how, is_udp=True)
        for datagram in [*(how.strays(answer) if how.strays is not None else []), answer]:
            if self._udp is not None:
                self._udp.sendto(datagram, peer)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                octets = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                query, how = self._note(octets, "tcp", writer.get_extra_info("peername")[1])
                if how.is_deaf_to_tcp:
                    await reader.read()
                    return
                await asyncio.sleep(how.delay)
                answer = self._answer(query, how, is_udp=False)
                framed = len(answer).to_bytes(2, "big") + answer
                writer.write(framed if how.tcp_raw is None else how.tcp_raw)
                if how.tcp_raw is not None:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _note(self, octets: bytes, transport: str, source_port: int) -> tuple[dns.message.Message, Misbehaviour]:
        query = dns.message.from_wire(octets)
        name, kind = _question(query)
        self.questions.append(Question(name, kind, transport, source_port, query.id, query.edns >= 0))
        return query, self._misbehaviours.get((name, kind), self.default)

    def _is_dropped(self, query: dns.message.Message, how: Misbehaviour) -> bool:
        question = _question(query)
        dropped = self._dropped.get(question, 0)
        self._dropped[question] = dropped + 1
        return how.drop < 0 or dropped < how.drop

    def _answer(self, query: dns.message.Message, how: Misbehaviour, *, is_udp: bool) -> bytes:
        if how.raw is not None:
            return how.raw.replace(b"{id}", query.id.to_bytes(2, "big"))
        if how.refuse_edns and query.edns >= 0:
            return query.id.to_bytes(2, "big") + b"\x80\x01" + bytes(8)
        response = dns.message.make_response(query, recursion_available=True)
        if how.rcode is not None:
            response.set_rcode(dns.rcode.from_text(how.rcode))
            return response.to_wire()
        self._fill(query, response, how)
        if how.authentic and query.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        octets = response.to_wire(max_size=65_535)
        limit = (query.payload if query.edns >= 0 else UDP_WITHOUT_EDNS) if is_udp else 65_535
        if is_udp and (how.truncate or len(octets) > limit):
            response.answer, response.authority = [], []
            response.flags |= dns.flags.TC
            octets = response.to_wire()
        return octets if how.mangle is None else how.mangle(octets)

    def _fill(self, query: dns.message.Message, response: dns.message.Message, how: Misbehaviour) -> None:
        name, rdtype = query.question[0].name, query.question[0].rdtype
        for _ in range(MAX_CNAMES_FOLLOWED):
            rrset = self._zone.records.get((name, rdtype))
            if rrset:
                response.answer.append(rrset)
                return
            alias = self._zone.records.get((name, dns.rdatatype.CNAME))
            if not alias:
                break
            response.answer.append(alias)
            if how.is_flat:
                return
            name = alias[0].target
        if not self._zone.exists(name):
            response.set_rcode(dns.rcode.NXDOMAIN)
        if not (how.no_soa or how.is_flat):
            soa = f"ns.test. admin.test. 1 3600 600 86400 {self.soa_minimum}"
            response.authority.append(dns.rrset.from_text(name.parent(), self.soa_ttl, "IN", "SOA", soa))


def _question(query: dns.message.Message) -> tuple[str, str]:
    asked = query.question[0]
    return asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: FakeDnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram_received(data, addr)
