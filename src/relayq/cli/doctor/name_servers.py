"""The name servers, each by itself: does it answer, how fast, over TCP too, does it validate, does it make up names.

Asked is for the SOA record of the root, which every server that resolves for others knows and which is signed, and for
a random name below ``invalid.``, which must not exist (RFC 6761 section 6.4).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode

from relayq.adapters.dns.options import NameServer, make_name_server
from relayq.adapters.dns.system_files import parse_resolv_conf
from relayq.cli.doctor.finding import Check, Finding, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from relayq.config import Settings

AREA: Final = "dns"

_finding = partial(Finding, AREA)
SLOW_ANSWER: Final = 1.0
"""Seconds, beyond which mail to new domains waits noticeably."""
_PAYLOAD: Final = 1232  # DNS flag day 2020: passes every path without fragments
_FIX: Final = "correct dns-nameservers or /etc/resolv.conf; see whether UDP and TCP port 53 are open on the way"


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What one server had to say.

    Attributes:
        rcode: Response code, ``None`` = no usable answer.
        seconds: How long it took.
        is_authentic: The AD flag was set.
        tcp: It answers over TCP too.
        makes_up_names: It knows an address of a name that does not exist.
        trouble: Why there is no answer.
    """

    rcode: int | None
    seconds: float = 0.0
    is_authentic: bool = False
    tcp: bool = False
    makes_up_names: bool = False
    trouble: str = ""


def name_server_checks(settings: Settings, resolv_conf: Path, limit: float) -> list[Check]:
    """One check for all servers: what the loss of one means depends on the others."""

    async def examine() -> list[Finding]:
        servers = known_servers(settings, resolv_conf)
        answers = await asyncio.gather(*(ask(server, limit / 2) for server in servers))
        findings = list(judge_servers(servers, list(answers)))
        return [*findings, *judge_dane(settings.session.dane, servers, list(answers)), *judge_patience(settings)]

    return [Check(area=AREA, subject="name servers", examine=examine, limit=2 * limit, fix=_FIX)]


def known_servers(settings: Settings, resolv_conf: Path) -> tuple[NameServer, ...]:
    """Those of the configuration, or else those of the system."""
    if settings.dns.nameservers:
        return tuple(make_name_server(address, port) for address, port in settings.dns.nameservers)
    try:
        return parse_resolv_conf(resolv_conf.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return parse_resolv_conf("")


async def ask(server: NameServer, limit: float) -> ServerAnswer:
    """Ask one server everything, each question for at most ``limit`` seconds. Never raises for what it does."""
    question = dns.message.make_query(".", "SOA", use_edns=0, payload=_PAYLOAD)
    question.flags |= dns.flags.AD
    nonsense = dns.message.make_query(f"relayq-{secrets.token_hex(8)}.invalid.", "A")
    started = time.monotonic()
    over_udp, over_tcp, made_up = await asyncio.gather(
        _ask(_ask_udp(question, server), limit),
        _ask(dns.asyncquery.tcp(question, server.address, port=server.port), limit),
        _ask(_ask_udp(nonsense, server), limit),
    )
    seconds = time.monotonic() - started
    if isinstance(over_udp, str):
        return ServerAnswer(None, tcp=not isinstance(over_tcp, str), trouble=over_udp)
    return ServerAnswer(
        rcode=over_udp.rcode(),
        seconds=getattr(over_udp, "time", seconds),
        is_authentic=bool(over_udp.flags & dns.flags.AD),
        tcp=not isinstance(over_tcp, str),
        makes_up_names=not isinstance(made_up, str) and bool(made_up.answer),
    )


async def _ask(asking: Coroutine[Any, Any, dns.message.Message], limit: float) -> dns.message.Message | str:
    """The answer, or why there is none."""
    try:
        async with asyncio.timeout(limit):
            return await asking
    except TimeoutError:
        return f"no answer within {limit:g} s"
    except dns.exception.DNSException as error:
        return f"an answer that cannot be used: {type(error).__name__}"
    except (OSError, EOFError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


async def _ask_udp(question: dns.message.Message, server: NameServer) -> dns.message.Message:
    """The first answer to the question; unlike dnspython's own way this learns when nobody listens there.

    Raises:
        OSError: It cannot be sent, or nobody listens.
    """
    started = time.monotonic()
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Listener(question), remote_addr=(server.address, server.port)
    )
    try:
        transport.sendto(question.to_wire())
        answer = await protocol.answer
    finally:
        transport.close()
    answer.time = time.monotonic() - started
    return answer


class _Listener(asyncio.DatagramProtocol):
    """Waits for the answer to one question; what is none is passed over."""

    def __init__(self, question: dns.message.Message) -> None:
        self._question = question
        self.answer: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Something came from the server."""
        del addr
        try:
            message = dns.message.from_wire(data, ignore_trailing=True)
        except dns.exception.DNSException:
            return
        if self._question.is_response(message) and not self.answer.done():
            self.answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there."""
        if not self.answer.done():
            self.answer.set_exception(exc)


def judge_servers(servers: tuple[NameServer, ...], answers: list[ServerAnswer]) -> Iterator[Finding]:
    """One finding or more per server. A server that fails is only a warning while another one works."""
    findings = [list(_judge(server, answer)) for server, answer in zip(servers, answers, strict=True)]
    is_any_well = any(answer.rcode in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN} for answer in answers)
    for server_findings, answer in zip(findings, answers, strict=True):
        for finding in server_findings:
            if finding.verdict is Verdict.WRONG and is_any_well and not answer.makes_up_names:
                yield replace(finding, verdict=Verdict.WARNING)
            else:
                yield finding


def _judge(server: NameServer, answer: ServerAnswer) -> Iterator[Finding]:
    subject = f"name server {server.address}" + (f" port {server.port}" if server.port != 53 else "")
    if answer.rcode is None:
        yield _finding(subject, Verdict.WRONG, answer.trouble, "an answer", _FIX)
        return
    if answer.rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        code = dns.rcode.to_text(dns.rcode.Rcode.make(answer.rcode))
        fix = "ask a server that resolves for this host, or permit this host there"
        yield _finding(subject, Verdict.WRONG, f"answers {code} to a question about the root", "NOERROR", fix)
        return
    if answer.makes_up_names:
        found = "has an address for a name that does not exist: mistyped domains become mail for somebody else"
        yield _finding(
            subject, Verdict.WRONG, found, "NXDOMAIN", "use another one, best a resolver on this host: dns-nameservers"
        )
    if not answer.tcp:
        found = "does not answer over TCP, which long answers need"
        yield _finding(subject, Verdict.WARNING, found, "answers over UDP and TCP", "open TCP port 53 on the way to it")
    shown = f"answers within {answer.seconds * 1000:.0f} ms" + (", validates DNSSEC" if answer.is_authentic else "")
    if answer.seconds > SLOW_ANSWER:
        fix = "run a resolver on this host, such as unbound"
        yield _finding(subject, Verdict.WARNING, shown, f"less than {SLOW_ANSWER * 1000:.0f} ms", fix)
    else:
        yield _finding(subject, Verdict.OK, shown)


def judge_dane(mode: str, servers: tuple[NameServer, ...], answers: list[ServerAnswer]) -> Iterator[Finding]:
    """DANE needs a resolver that validates, over a way nobody can tamper with."""
    if mode == "never":
        return
    validating = [server for server, answer in zip(servers, answers, strict=True) if answer.is_authentic]
    if any(server.is_trusted for server in validating):
        yield _finding("dane", Verdict.OK, "a validating resolver that can be trusted: TLSA records are honoured")
    elif validating:
        found = "a resolver validates, but the way to it may be tampered with: TLSA records are not honoured"
        yield _finding("dane", Verdict.OK, f"{found}; a validating resolver on this host would change that")
    else:
        yield _finding("dane", Verdict.OK, "no validating resolver: TLSA records are not honoured")


def judge_patience(settings: Settings) -> Iterator[Finding]:
    """A look-up that finds nobody must end long before the message has to be acknowledged."""
    dns_settings = settings.dns
    longest = dns_settings.interval * (dns_settings.attempts - 1) + dns_settings.timeout
    # MX records, then addresses of a host; what is left has to do for the SMTP dialogue.
    allowed = (settings.broker.ack_limit - settings.timeouts.message) / 4
    if longest > allowed:
        yield _finding(
            "timeouts",
            Verdict.WARNING,
            f"a look-up may take {longest:g} s (dns-interval, dns-attempts, dns-timeout)",
            f"at most {allowed:g} s, because a message has to be done within rabbitmq-ack-limit",
            "lower dns-timeout",
        )
