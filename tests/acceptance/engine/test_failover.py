"""Which host gets a message, and which is asked next (spec delivery.md 8.1, 8.3, 14.1)."""

from __future__ import annotations

from typing import Any

import pytest

from relayq.ports import DnsFailureKind
from tests.support.engine import DOMAIN, OUTBOX, Engine, eventually, mail
from tests.support.scripted_server import (
    Close,
    Expect,
    Reset,
    ScriptedServer,
    Send,
    Stall,
    Step,
    data,
    ehlo,
    greeting,
    mailfrom,
    message,
    opening,
    quit_session,
    rcptto,
    transaction,
)

ACCEPT = [*opening(), *transaction(), *quit_session()]
NOT_SMTP = [Send(b"SSH-2.0-OpenSSH_9.6\r\n")]
BUSY = greeting("421 4.3.2 Busy")
CLOSED = greeting("554 5.7.1 Your address is blocked")
EHLO = [*greeting(), Expect(rb"EHLO [^\r\n]+\r\n")]
NO_HELO = [*EHLO, Send(b"502 what\r\n"), Expect(rb"HELO [^\r\n]+\r\n"), Send(b"550 5.7.1 No\r\n")]
MAIL = [*opening(), Expect(rb"MAIL FROM:[^\r\n]+\r\n")]
RCPT = [*opening(), *mailfrom(), Expect(rb"RCPT TO:[^\r\n]+\r\n")]
DATA = [*opening(), *mailfrom(), *rcptto(), Expect(rb"DATA\r\n")]
CONTENT = [*opening(), *mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n")]
REFUSED = "nobody listens"


async def hosts(engine: Engine, *scripts: list[Step] | str) -> list[ScriptedServer | None]:
    """One mail host per script, in this order of preference."""
    engine.route(
        DOMAIN, *((10 * number, f"mx{number}.test", f"127.0.0.{number}") for number in range(1, len(scripts) + 1))
    )
    servers: list[ScriptedServer | None] = []
    for number, script in enumerate(scripts, 1):
        serves = not isinstance(script, str)
        servers.append(await engine.serve(script, address=f"127.0.0.{number}") if serves else None)  # type: ignore[arg-type]
    return servers


def counts(servers: list[ScriptedServer | None]) -> list[int]:
    return [server.count for server in servers if server is not None]


async def test_the_best_host_is_asked_first_and_others_not_at_all() -> None:
    async with Engine() as engine:
        servers = await hosts(engine, ACCEPT, ACCEPT, ACCEPT)
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).last["to"] == "127.0.0.1"
        assert counts(servers) == [1, 0, 0]
        assert ("A", "mx2.test") not in engine.resolver.questions


@pytest.mark.parametrize(
    "trouble",
    [
        REFUSED, [Stall()], [Close()], [Reset()], NOT_SMTP, BUSY, CLOSED, [*EHLO, Stall()], [*EHLO, Close()],
        [*EHLO, *NOT_SMTP], [*EHLO, Send(b"521 no mail\r\n")], NO_HELO, [*MAIL, Stall()], [*MAIL, Close()],
        [*MAIL, *NOT_SMTP], [*RCPT, Stall()], [*RCPT, Close()], [*RCPT, *NOT_SMTP],
    ],
    ids=[
        "refused", "silent", "closed", "reset", "not-smtp", "421", "554", "ehlo-silent", "ehlo-closed", "ehlo-garbage",
        "521", "helo-550", "mail-silent", "mail-closed", "mail-garbage", "rcpt-silent", "rcpt-closed", "rcpt-garbage",
    ],
)  # fmt: skip
async def test_a_host_in_trouble_hands_over_to_the_next_without_a_result(trouble: Any) -> None:
    shorts = [f"smtp-out-timeout-{phase}=0.1" for phase in ("intro", "ehlo", "mailfrom", "rcptto")]
    async with Engine(*shorts) as engine:
        servers = await hosts(engine, trouble, ACCEPT)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.kind == "success"
        assert len(outcome.attempts) == 1
        assert outcome.last["to"] == "127.0.0.2"
        assert counts(servers)[-1] == 1


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        ([*MAIL, Send(b"550 5.1.7 no\r\n")], "failure"),
        ([*RCPT, Send(b"550 5.1.1 no\r\n")], "failure"),
        ([*DATA, Send(b"554 no\r\n")], "failure"),
        ([*CONTENT, Send(b"554 no\r\n")], "failure"),
        ([*MAIL, Send(b"451 later\r\n")], "retry"),
        ([*RCPT, Send(b"450 later\r\n")], "retry"),
        ([*DATA, Send(b"451 later\r\n")], "retry"),
        ([*CONTENT, Send(b"451 later\r\n")], "retry"),
        ([*DATA, Close()], "retry"),
        ([*DATA, Stall()], "retry"),
        ([*DATA, *NOT_SMTP], "retry"),
        ([*CONTENT, Close()], "retry"),
        ([*CONTENT, Stall()], "retry"),
        ([*CONTENT, *NOT_SMTP], "retry"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_verdict_and_doubt_about_content_are_never_taken_to_another_host(verdict: Any, kind: str) -> None:
    limits = ("smtp-out-timeout-data=0.1", "smtp-out-timeout-message=0.1") if isinstance(verdict[-1], Stall) else ()
    async with Engine(*limits) as engine:
        servers = await hosts(engine, verdict, ACCEPT)
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == kind
        assert counts(servers) == [1, 0]


async def test_failover_on_4xx_takes_a_greylisted_message_to_the_next_host() -> None:
    async with Engine("failover-on-4xx=true") as engine:
        servers = await hosts(engine, [*RCPT, Send(b"450 4.2.0 later\r\n")], ACCEPT)
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == "success"
        assert counts(servers) == [1, 1]


async def test_failover_on_4xx_never_takes_a_refused_message_to_the_next_host() -> None:
    async with Engine("failover-on-4xx=true") as engine:
        servers = await hosts(engine, [*RCPT, Send(b"550 5.1.1 no\r\n")], ACCEPT)
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == "failure"
        assert counts(servers) == [1, 0]


async def test_no_more_than_smtp_max_hosts_addresses_are_tried() -> None:
    async with Engine("smtp-max-hosts=2") as engine:
        servers = await hosts(engine, [Close()], [Close()], ACCEPT)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.cell == ("intro", "lost")
        assert outcome.last["to"] == "127.0.0.2"
        assert counts(servers) == [1, 1, 0]


async def test_hosts_that_are_marked_down_do_not_count_as_tried() -> None:
    async with Engine("smtp-max-hosts=2") as engine:
        engine.route("other.test", (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        servers = await hosts(engine, [Close()], [Close()], ACCEPT)
        await engine.send(mail("m1", recipient="anna@other.test"))
        await engine.outcome("m1")
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).kind == "success"
        assert counts(servers) == [1, 1, 1]


@pytest.mark.parametrize(
    ("first", "second", "cell", "kind", "remote"),
    [
        (CLOSED, CLOSED, ("intro", "error"), "failure", "127.0.0.2"),
        (CLOSED, BUSY, ("intro", "error"), "retry", "127.0.0.2"),
        (BUSY, CLOSED, ("intro", "error"), "retry", "127.0.0.1"),
        ([Close()], CLOSED, ("intro", "lost"), "retry", "127.0.0.1"),
        (CLOSED, REFUSED, ("connect", "error"), "retry", None),
        (REFUSED, CLOSED, ("connect", "error"), "retry", None),
        ([Close()], BUSY, ("intro", "error"), "retry", "127.0.0.2"),
    ],
    ids=["F F", "F T", "T F", "lost F", "F refused", "refused F", "lost T"],
)
async def test_of_several_hosts_the_last_transient_failure_is_the_result(
    first: Any, second: Any, cell: tuple[str, str], kind: str, remote: str | None
) -> None:
    async with Engine() as engine:
        await hosts(engine, first, second)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.cell == cell
        assert outcome.kind == kind
        assert outcome.last.get("to") == remote


async def test_a_host_that_could_not_be_looked_up_keeps_the_mail_alive() -> None:
    async with Engine() as engine:
        await hosts(engine, CLOSED)
        engine.resolver.set_mx(DOMAIN, [(10, "mx1.test"), (20, "mx2.test")])
        engine.resolver.fail_addresses("mx2.test", DnsFailureKind.TIMEOUT)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.cell == ("dns", "timeout")
        assert outcome.kind == "retry"
        assert "to" not in outcome.last


async def test_hosts_of_one_preference_share_the_messages() -> None:
    async with Engine() as engine:
        engine.route(DOMAIN, *((10, f"mx{number}.test", f"127.0.0.{number}") for number in (1, 2)))
        forever = [*opening(), *transaction() * 40]
        servers = [await engine.serve(forever, address=f"127.0.0.{number}") for number in (1, 2)]
        await engine.send(*(mail(f"m{number}") for number in range(30)))
        for number in range(30):
            assert (await engine.outcome(f"m{number}")).kind == "success"
        assert all(server.count for server in servers)


async def test_a_peer_that_cannot_take_the_address_leaves_the_session_usable_and_another_host_is_asked() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        plain = await engine.serve([*opening(), *transaction(), *quit_session()])
        able = await engine.serve(
            [*opening("SMTPUTF8", "8BITMIME"), *transaction(), *quit_session()], address="127.0.0.2"
        )
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        await engine.send(mail("m1", recipient=f"jürgen@{DOMAIN}"), mail("m2"))
        first, second = await engine.outcome("m1"), await engine.outcome("m2")
        assert (first.kind, first.last["to"]) == ("success", "127.0.0.2")
        assert (second.kind, second.last["to"], second.last["messages"]) == ("success", "127.0.0.1", 2)
        assert (plain.count, able.count) == (1, 1)
        assert "jürgen".encode() not in plain.connections[0].received


async def test_the_port_of_an_address_literal_and_no_dns() -> None:
    async with Engine() as engine:
        await engine.send(mail("m1", recipient="anna@[127.0.0.1]"))
        outcome = await engine.outcome("m1")
        assert outcome.cell == ("connect", "error")  # port 25, where nobody listens
        assert engine.resolver.questions == []


async def test_a_smarthost_gets_the_message_whatever_the_domain() -> None:
    async with Engine() as engine:
        server = await engine.serve(ACCEPT, address="127.0.0.3")
        smarthost = {"hostname": "127.0.0.3", "port": engine.port}
        await engine.send(mail("m1", recipient="anna@nowhere.test", smarthost=smarthost))
        assert (await engine.outcome("m1")).kind == "success"
        assert server.count == 1
        assert engine.resolver.questions == []


async def test_a_mail_host_behind_ehlo_extensions_and_helo_only_peers() -> None:
    async with Engine() as engine:
        helo = [*EHLO, Send(b"500 what\r\n"), Expect(rb"HELO mta\.test\r\n"), Send(b"250 mx.test\r\n")]
        server = await engine.serve([*helo, *transaction(), *transaction(), *quit_session()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).last["messages"] == 2
        assert b"SIZE=" not in server.connections[0].received


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)], ids=["lockstep", "pipelining"])
@pytest.mark.parametrize("order", [(250, 250), (550, 250), (250, 550), (450, 550)])
async def test_refusals_with_and_without_pipelining_lead_to_the_same_result(
    extensions: tuple[str, ...], order: tuple[int, int]
) -> None:
    """After a refusal comes RSET, and the next message on the same connection."""
    mail_code, rcpt_code = order
    async with Engine("ip-maxconnections=1") as engine:
        first: list[Step] = [*mailfrom(f"{mail_code} 2.1.0 first"), *rcptto(f"{rcpt_code} 2.1.5 second")]
        if extensions:
            is_accepted = order == (250, 250)
            first += data("354 go" if is_accepted else "503 no recipients")
        elif mail_code != 250:
            first = mailfrom(f"{mail_code} 2.1.0 first")
        elif rcpt_code == 250:
            first += data()
        is_refused = order != (250, 250)
        rest = [Expect(rb"RSET\r\n"), Send(b"250 2.0.0 flushed\r\n")] if is_refused else message()
        await engine.serve([*greeting(), *ehlo(*extensions), *first, *rest, *transaction(), *quit_session()])
        await engine.send(mail("m1"), mail("m2"))
        outcome = await engine.outcome("m1")
        expected = {
            (250, 250): ("message", 250), (550, 250): ("mailfrom", 550), (250, 550): ("rcptto", 550),
            (450, 550): ("mailfrom", 450),
        }  # fmt: skip
        assert (outcome.last["state"], outcome.last["code"]) == expected[order]
        second = await engine.outcome("m2")
        assert (second.kind, second.last["messages"]) == ("success", 2)


async def test_a_refused_message_whose_data_was_answered_354_sends_an_empty_mail_at_most() -> None:
    """Pipelining: the final dot alone, whatever the server says to that (spec delivery.md 12.6)."""
    async with Engine() as engine:
        server = await engine.serve(
            [
                *opening("PIPELINING"), *mailfrom(), *rcptto("550 5.1.1 no"), *data("354 go"),
                Expect(rb"\.\r\n"), Send(b"250 took nothing\r\n"),
                Expect(rb"RSET\r\n"), Send(b"250 ok\r\n"), *quit_session(),
            ]
        )  # fmt: skip
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind) == (("rcptto", "error"), "failure")
        received = server.connections[0].received
        await eventually(lambda: received.endswith(b"DATA\r\n.\r\nRSET\r\n"), "the mail is forgotten")


async def test_results_of_state_connect_name_the_pair_when_asked_to() -> None:
    async with Engine("result-connect-ips=true") as engine:
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.cell == ("connect", "error")
        assert outcome.last["to"] == "127.0.0.1"
        assert outcome.queues == {OUTBOX: 1, "retry": 1}
