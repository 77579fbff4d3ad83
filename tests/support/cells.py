"""Every pair of state and result that an attempt can end with, and how to bring it about (spec results.md 5 and 5.1).

One table, read by the test that provokes each cell with a real worker and by the documentation of results.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from relayq.adapters.memory import MemoryResolver, MemoryStore
from relayq.model import DeliveryState, ResultType
from relayq.ports import DnsFailureKind
from tests.support.engine import DOMAIN
from tests.support.scripted_server import (
    Close,
    Expect,
    Reset,
    Send,
    Stall,
    Step,
    data,
    greeting,
    mailfrom,
    message,
    opening,
    rcptto,
    transaction,
)

_S = DeliveryState
_R = ResultType

SUCCESS, FAILURE, RETRY = "success", "failure", "retry"
UNREACHABLE = "nobody listens"
SILENT = "nobody answers"
SMARTHOST_PORT = 0
"""In a message's ``smarthost``: the port where the servers of the test listen."""

HELO_ONLY = [*greeting(), Expect(rb"EHLO [^\r\n]+\r\n"), Send(b"502 5.5.1 unknown command\r\n")]
HELO = [*HELO_ONLY, Expect(rb"HELO [^\r\n]+\r\n")]
EHLO = [*greeting(), Expect(rb"EHLO [^\r\n]+\r\n")]
MAIL = [*opening(), Expect(rb"MAIL FROM:[^\r\n]+\r\n")]
RCPT = [*opening(), *mailfrom(), Expect(rb"RCPT TO:[^\r\n]+\r\n")]
DATA = [*opening(), *mailfrom(), *rcptto(), Expect(rb"DATA\r\n")]
CONTENT = [*opening(), *mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n")]
GARBAGE = b"HTTP/1.1 400 Bad Request\r\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way to end an attempt.

    Attributes:
        state: Where it ends.
        result: How.
        when: What happens, as the documentation says it; unique together with the pair.
        outcome: ``success``, ``failure`` or ``retry`` for a first attempt.
        peer: What the only mail host does, ``UNREACHABLE``, ``SILENT``, or ``None`` if it is never asked.
        message: Members that differ from an ordinary message; ``None`` leaves one out.
        body: The whole body instead, when it is no usable JSON.
        options: Settings it takes.
        dns: What is done to the resolver.
        store: What is done to the message store; ``None`` when none is configured.
        connected: The result has ``from``, ``to`` and ``messages``.
        code: Expected, ``None`` for absent; so are ``status`` and ``description``.
    """

    state: DeliveryState
    result: ResultType
    when: str
    outcome: str
    peer: Sequence[Step] | str | None = None
    message: dict[str, Any] = dataclasses.field(default_factory=dict)
    body: bytes | None = None
    options: tuple[str, ...] = ()
    dns: Callable[[MemoryResolver], None] | None = None
    store: Callable[[MemoryStore], None] | None = None
    connected: bool = True
    code: int | None = None
    status: str | None = None
    description: str | None = None

    def __str__(self) -> str:
        """For the name of the test."""
        return f"{self.state}/{self.result}: {self.when}"


def _local(state: DeliveryState, result: ResultType, when: str, outcome: str, **more: Any) -> Cell:
    """Decided without a connection."""
    return Cell(state=state, result=result, when=when, outcome=outcome, connected=False, **more)


def _with_file(url: str) -> dict[str, Any]:
    """A message with an attachment that has to be downloaded."""
    return {"mime": {"from": "b@shop.test", "text": "x", "attachments": [{"url": url}]}}


def silence(state: DeliveryState, when: str, script: Sequence[Step], setting: str) -> Cell:
    options = (f"smtp-out-timeout-{setting}=0.15",)
    return Cell(
        state=state, result=_R.TIMEOUT, when=when, outcome=RETRY, peer=[*script, Stall()], options=options
    )  # fmt: skip


def losses(state: DeliveryState, script: Sequence[Step]) -> list[Cell]:
    return [
        Cell(state=state, result=_R.LOST, when="the server closes the connection", outcome=RETRY,
             peer=[*script, Close()]),
        Cell(state=state, result=_R.LOST, when="the connection is reset", outcome=RETRY, peer=[*script, Reset()]),
        Cell(state=state, result=_R.LOST, when="the server closes in the middle of a reply", outcome=RETRY,
             peer=[*script, Send(b"250-half a re"), Close()]),
    ]  # fmt: skip


def nonsense(state: DeliveryState, script: Sequence[Step], wrong: str) -> list[Cell]:
    """``wrong`` is a reply of a class without meaning here."""
    code, text = int(wrong[:3]), wrong[4:]
    status = "4.5.0" if code == 354 else "2.0.0"
    return [
        Cell(state=state, result=_R.INVALID, when="what arrives is no SMTP reply", outcome=RETRY,
             peer=[*script, Send(GARBAGE)], description="HTTP/1.1 400 Bad Request"),
        Cell(state=state, result=_R.INVALID, when=f"a {code} has no meaning here", outcome=RETRY,
             peer=[*script, Send(wrong.encode() + b"\r\n")], code=code, status=status, description=text),
        Cell(state=state, result=_R.INVALID, when="a reply line is too long", outcome=RETRY,
             peer=[*script, Send(b"250 " + b"x" * 5000 + b"\r\n")], description="250 " + "x" * 4092),
    ]  # fmt: skip


def refusals(state: DeliveryState, script: Sequence[Step], final: str = FAILURE) -> list[Cell]:
    """A 4xx, a 5xx, one without an enhanced status, one over several lines."""
    return [
        Cell(state=state, result=_R.ERROR, when="4xx", outcome=RETRY, peer=[*script, Send(b"451 4.3.2 Not now\r\n")],
             code=451, status="4.3.2", description="Not now"),
        Cell(state=state, result=_R.ERROR, when="421", outcome=RETRY,
             peer=[*script, Send(b"421 4.3.2 Closing\r\n"), Close()],
             code=421, status="4.3.2", description="Closing"),
        Cell(state=state, result=_R.ERROR, when="4xx without an enhanced status", outcome=RETRY,
             peer=[*script, Send(b"452 Disk full, later please\r\n")],
             code=452, status="4.0.0", description="Disk full, later please"),
        Cell(state=state, result=_R.ERROR, when="4xx with a status that contradicts it", outcome=RETRY,
             peer=[*script, Send(b"451 5.0.0 Not now\r\n")], code=451, status="5.0.0", description="Not now"),
        Cell(state=state, result=_R.ERROR, when="5xx", outcome=final, peer=[*script, Send(b"554 5.7.1 Never\r\n")],
             code=554, status="5.7.1", description="Never"),
        Cell(state=state, result=_R.ERROR, when="5xx over several lines", outcome=final,
             peer=[*script, Send(b"554-5.7.1 Never,\r\n554-5.7.1 really\r\n554 5.7.1 never\r\n")],
             code=554, status="5.7.1", description="Never, really never"),
        Cell(state=state, result=_R.ERROR, when="5xx without any text", outcome=final,
             peer=[*script, Send(b"554\r\n")], code=554, status="5.0.0", description=""),
    ]  # fmt: skip


AMQP = (
    _local(_S.AMQP, _R.INVALID, "the body is not JSON", FAILURE, body=b'{"recipient": "anna@example.test", "mime": '),
    _local(_S.AMQP, _R.INVALID, "the body is not UTF-8", FAILURE, body=b'{"recipient": "\xff"}'),
    _local(_S.AMQP, _R.INVALID, "the body is empty", FAILURE, body=b""),
    _local(_S.AMQP, _R.INVALID, "the body is JSON but no object", FAILURE, body=b'["anna@example.test"]'),
    _local(_S.AMQP, _R.INVALID, "the object is nested too deeply", FAILURE,
           body=b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"),
    _local(_S.AMQP, _R.INVALID, "there is no recipient", FAILURE, message={"recipient": None}),
    _local(_S.AMQP, _R.INVALID, "the recipient is no address", FAILURE, message={"recipient": "Anna <a@x.test>"}),
    _local(_S.AMQP, _R.INVALID, "the recipient would inject a command", FAILURE,
           message={"recipient": "anna@example.test\r\nDATA"}),
    _local(_S.AMQP, _R.INVALID, "a known property has an unusable value", FAILURE, message={"keepmime": "perhaps"}),
    _local(_S.AMQP, _R.TIMEOUT, "maxdelivertime has passed", FAILURE,
           message={"maxdelivertime": "2001-03-01 09:00:00"}),
    _local(_S.AMQP, _R.TIMEOUT, "delayed is not before maxdelivertime", FAILURE,
           message={"delayed": "2091-03-01 09:00:00", "maxdelivertime": "2091-03-01 09:00:00"}),
    _local(_S.AMQP, _R.TIMEOUT, "seen lies max-delivertime ago", FAILURE, message={"seen": "2001-03-01 09:00:00"}),
    _local(_S.AMQP, _R.TIMEOUT, "maxattempts are used up", FAILURE, message={"maxattempts": 1, "results": [
        {"state": "connect", "result": "timeout", "time": "2031-03-01 09:01:02"}]}),
)  # fmt: skip

BEFORE_CONNECTING = (
    _local(_S.STORAGE, _R.ERROR, "neither mime nor key", FAILURE, message={"mime": None}),
    _local(_S.STORAGE, _R.ERROR, "key without a store", FAILURE, message={"mime": None, "key": "k1"}),
    _local(_S.RESPONSIVE, _R.ERROR, "mime cannot be composed", FAILURE, message={"mime": "Subject: x\r\n\r\na\0b\r\n"}),
    _local(_S.RESPONSIVE, _R.ERROR, "what has to be downloaded must not be", FAILURE, message=_with_file("http://[::1]/")),
    _local(_S.RESPONSIVE, _R.TIMEOUT, "what has to be downloaded is not there now", RETRY,
           message=_with_file("http://files.test/a.pdf")),
    _local(_S.DNS, _R.ERROR, "the domain does not exist", FAILURE, message={"recipient": "anna@nowhere.test"}),
    _local(_S.DNS, _R.ERROR, "the domain has a null MX", FAILURE, dns=lambda dns: dns.set_mx(DOMAIN, [(0, "")])),
    _local(_S.DNS, _R.ERROR, "no mail host has an address", FAILURE,
           dns=lambda dns: dns.set_addresses("mx.example.test")),
    _local(_S.DNS, _R.ERROR, "no mail host exists", FAILURE,
           dns=lambda dns: dns.fail_addresses("mx.example.test", DnsFailureKind.NXDOMAIN)),
    _local(_S.DNS, _R.TIMEOUT, "no name server answers", RETRY,
           dns=lambda dns: dns.fail_mx(DOMAIN, DnsFailureKind.TIMEOUT)),
    _local(_S.DNS, _R.TIMEOUT, "no name server answers for the mail host", RETRY,
           dns=lambda dns: dns.fail_addresses("mx.example.test", DnsFailureKind.TIMEOUT)),
    _local(_S.DNS, _R.INVALID, "the answer cannot be used", RETRY,
           dns=lambda dns: dns.fail_mx(DOMAIN, DnsFailureKind.UNUSABLE)),
    _local(_S.DNS, _R.INVALID, "the answer about the mail host cannot be used", RETRY,
           dns=lambda dns: dns.fail_addresses("mx.example.test", DnsFailureKind.UNUSABLE)),
    _local(_S.BIND, _R.ERROR, "none of the message's ips is here", FAILURE, message={"ips": ["203.0.113.99"]}),
    _local(_S.BIND, _R.ERROR, "ips is empty", FAILURE, message={"ips": []}),
    _local(_S.BIND, _R.ERROR, "no address of the host's family", FAILURE, message={"ips": ["::1"]}),
    _local(_S.BIND, _R.ERROR, "none of smtp-default-ips is here", RETRY,
           options=("smtp-default-ips=203.0.113.98,203.0.113.99",)),
    _local(_S.CONNECT, _R.ERROR, "the connection is refused", RETRY, peer=UNREACHABLE),
    _local(_S.CONNECT, _R.TIMEOUT, "no connection comes about", RETRY, peer=SILENT,
           options=("smtp-out-timeout-connect=0.2",)),
)  # fmt: skip

OPENING = (
    silence(_S.INTRO, "no greeting", [], "intro"),
    silence(_S.INTRO, "the greeting never ends", [Send(b"220-welcome\r\n220-and\r\n")], "intro"),
    *losses(_S.INTRO, []),
    *nonsense(_S.INTRO, [], "354 Go ahead"),
    *refusals(_S.INTRO, []),
    Cell(
        state=_S.INTRO, result=_R.ERROR, when="5xx with intro-5xx: retry", outcome=RETRY,
        peer=[Send(b"554 5.7.1 Never\r\n")], options=("intro-5xx=retry",),
        code=554, status="5.7.1", description="Never",
    ),
    silence(_S.EHLO, "no answer to EHLO", EHLO, "ehlo"),
    silence(_S.EHLO, "the answer to EHLO never ends", [*EHLO, Send(b"250-mx.test\r\n250-SIZE\r\n")], "ehlo"),
    *losses(_S.EHLO, EHLO),
    *nonsense(_S.EHLO, EHLO, "354 Go ahead"),
    *[cell for cell in refusals(_S.EHLO, EHLO) if cell.outcome == RETRY],
    Cell(
        state=_S.EHLO, result=_R.ERROR, when="521: the host takes no mail", outcome=FAILURE,
        peer=[*EHLO, Send(b"521 5.3.2 No mail here\r\n")], code=521, status="5.3.2", description="No mail here",
    ),
    silence(_S.HELO, "no answer to HELO", HELO, "ehlo"),
    *losses(_S.HELO, HELO),
    *nonsense(_S.HELO, HELO, "354 Go ahead"),
    *refusals(_S.HELO, HELO),
)  # fmt: skip

TRANSACTION = (
    silence(_S.MAILFROM, "no answer to MAIL FROM", MAIL, "mailfrom"),
    *losses(_S.MAILFROM, MAIL),
    *nonsense(_S.MAILFROM, MAIL, "354 Go ahead"),
    *refusals(_S.MAILFROM, MAIL),
    Cell(
        state=_S.MAILFROM, result=_R.ERROR, when="the sender needs SMTPUTF8, which is not offered", outcome=FAILURE,
        peer=opening(), message={"envelope": "bücher@shop.test"},
    ),
    silence(_S.RCPTTO, "no answer to RCPT TO", RCPT, "rcptto"),
    *losses(_S.RCPTTO, RCPT),
    *nonsense(_S.RCPTTO, RCPT, "354 Go ahead"),
    *refusals(_S.RCPTTO, RCPT),
    Cell(
        state=_S.RCPTTO, result=_R.ERROR, when="552 too many recipients", outcome=RETRY,
        peer=[*RCPT, Send(b"552 5.5.3 Too many recipients\r\n")],
        code=552, status="5.5.3", description="Too many recipients",
    ),
    Cell(
        state=_S.RCPTTO, result=_R.ERROR, when="the recipient needs SMTPUTF8, which is not offered", outcome=FAILURE,
        peer=opening(), message={"recipient": "jürgen@example.test"},
    ),
    silence(_S.DATA, "no answer to DATA", DATA, "data"),
    *losses(_S.DATA, DATA),
    *nonsense(_S.DATA, DATA, "250 Fine"),
    *refusals(_S.DATA, DATA),
    silence(_S.MESSAGE, "no answer to the final dot", CONTENT, "message"),
    *losses(_S.MESSAGE, CONTENT),
    *nonsense(_S.MESSAGE, CONTENT, "354 Go ahead"),
    *refusals(_S.MESSAGE, CONTENT),
    Cell(
        state=_S.MESSAGE, result=_R.ACCEPTED, when="250", outcome=SUCCESS,
        peer=[*opening(), *transaction()], code=250, status="2.0.0", description="queued",
    ),
    Cell(
        state=_S.MESSAGE, result=_R.ACCEPTED, when="any other 2xx, without an enhanced status", outcome=SUCCESS,
        peer=[*opening(), *mailfrom("259 yes"), *rcptto("251 will forward"), *data(), *message("200 taken")],
        code=200, status="2.0.0", description="taken",
    ),
    Cell(
        state=_S.MESSAGE, result=_R.ACCEPTED, when="accepted over HELO", outcome=SUCCESS,
        peer=[*HELO, Send(b"250 mx.test\r\n"), *transaction()], code=250, status="2.0.0", description="queued",
    ),
)  # fmt: skip


def _hang(store: MemoryStore) -> None:
    """Let the store begin to load and never answer."""

    async def before(verb: str, key: str) -> None:
        del key
        if verb == "load":
            await asyncio.get_running_loop().create_future()

    store.before = before


def _fail(store: MemoryStore) -> None:
    store.is_down = True


def _damage(store: MemoryStore) -> None:
    store.damage("k1")


def _stored(result: ResultType, when: str, outcome: str, end: Sequence[Step] = (), **more: Any) -> Cell:
    """The content lies in the store under a key; ``end`` follows the accepted recipient."""
    return Cell(
        state=_S.STORAGE, result=result, when=when, outcome=outcome, message={"mime": None, "key": "k1"},
        peer=[*opening(), *mailfrom(), *rcptto(), *end], **more,
    )  # fmt: skip


_RSET = (Expect(rb"RSET\r\n"), Send(b"250 fine\r\n"))

STORAGE = (
    _stored(_R.ERROR, "the store does not know the key", FAILURE, _RSET, store=lambda store: None),
    _stored(_R.ERROR, "the entry is damaged", FAILURE, _RSET, store=_damage),
    _stored(_R.TIMEOUT, "the store does not answer in time", RETRY, _RSET, store=_hang, options=("storage-timeout=1",)),
    _stored(_R.TIMEOUT, "the store cannot be used", RETRY, _RSET, store=_fail),
    _stored(_R.LOST, "the server closes while the content is loaded", RETRY, [Close()], store=_hang),
    _stored(_R.LOST, "the connection is reset while the content is loaded", RETRY, [Reset()], store=_hang),
    _stored(_R.INVALID, "the server speaks while the content is loaded", RETRY, [Send(b"421 4.4.2 Bye\r\n"), Close()],
            store=_hang, code=421, status="4.4.2", description="Bye"),
    _stored(_R.INVALID, "what arrives while the content is loaded is no SMTP reply", RETRY, [Send(GARBAGE)],
            store=_hang, description="HTTP/1.1 400 Bad Request"),
    Cell(state=_S.RESPONSIVE, result=_R.ERROR, when="stored content cannot be composed", outcome=FAILURE,
         message={"mime": None, "key": "k1"}, peer=[*opening(), *mailfrom(), *rcptto(), *_RSET],
         store=lambda store: store.bodies.update(k1=b"Subject: x\r\n\r\na\0b\r\n")),
)  # fmt: skip

CELLS: tuple[Cell, ...] = (*AMQP, *BEFORE_CONNECTING, *OPENING, *TRANSACTION, *STORAGE)

NOT_REACHABLE: dict[tuple[DeliveryState, ResultType], str] = {
    (_S.AMQP, _R.ERROR): "needs the operator's rules (forced errors, suppression)",
}  # fmt: skip
"""Cells that exist but that nothing can bring about yet, each with the reason."""
