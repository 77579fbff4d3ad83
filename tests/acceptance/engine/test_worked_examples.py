"""The worked examples of the results (spec results.md 11), as far as no store, TLS or login takes part in them.

Addresses and times differ from those of the text, members and their order do not.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from relayq.adapters.memory import ManualClock, SessionClosed
from relayq.ports import DnsFailureKind
from tests.support.engine import DOMAIN, MIME, OUTBOX, Engine, eventually
from tests.support.scripted_server import (
    Close,
    Expect,
    Send,
    Stall,
    data,
    greeting,
    mailfrom,
    message,
    opening,
    quit_session,
    rcptto,
    transaction,
)

START = datetime(2031, 3, 1, 9, 0, 2, tzinfo=UTC)
T = "2031-03-01 09:00:02"
PAIR: dict[str, Any] = {"from": "127.0.0.1", "to": "127.0.0.1"}
SECOND: dict[str, Any] = {"from": "127.0.0.1", "to": "127.0.0.2"}


def example(**members: Any) -> dict[str, Any]:
    given = {"envelope": "b@shop.test", "recipient": f"anna@{DOMAIN}", "order": 7781, "mime": MIME, **members}
    return {name: value for name, value in given.items() if value is not None}


def engine_at_nine(*options: str) -> tuple[Engine, ManualClock]:
    clock = ManualClock(START, monotonic=time.monotonic())
    return Engine(*options, clock=clock, ident="order"), clock


def check(body: bytes, expected: dict[str, Any]) -> None:
    """Equal in members, values and order, at every level."""
    assert json.dumps(json.loads(body)) == json.dumps(expected)


async def check_final(engine: Engine, kind: str, expected: dict[str, Any]) -> None:
    outcome = await engine.outcome(7781)
    assert outcome.queues == {"results": 1, kind: 1}
    check(outcome.copies["results"][0].body, expected)


async def check_retry(engine: Engine, expected: dict[str, Any], *, mime: str = MIME) -> None:
    """``expected`` is the copy for the retry queue; the outbox gets the content too."""
    outcome = await engine.outcome(7781)
    assert outcome.queues == {OUTBOX: 1, "retry": 1}
    check(outcome.copies["retry"][0].body, expected)
    with_mime: dict[str, Any] = {}
    for name, value in expected.items():
        if name == "results":
            with_mime["mime"] = mime
        with_mime[name] = value
    check(outcome.copies[OUTBOX][0].body, with_mime)


def retried(attempt: dict[str, Any], delayed: str = "2031-03-01 09:10:02") -> dict[str, Any]:
    return {**example(mime=None), "results": [attempt], "delayed": delayed, "seen": T}


async def test_11_1_accepted_at_once_as_the_third_message_on_the_connection() -> None:
    engine, _ = engine_at_nine("ip-maxconnections=1")
    async with engine:
        last = [*mailfrom(), *rcptto(), *data(), *message("250 2.0.0 Ok: queued as 4F2A9")]
        server = await engine.serve([*opening(), *transaction(), *transaction(), *last, *quit_session()])
        await engine.send(example(order=1), example(order=2), example())
        attempt = {"state": "message", "result": "accepted", "time": T, **PAIR, "messages": 3}
        attempt |= {"code": 250, "status": "2.0.0", "description": "Ok: queued as 4F2A9"}
        await check_final(engine, "success", {**example(mime=None), "results": [attempt]})
        assert server.count == 1


async def test_11_2_greylisted_then_accepted() -> None:
    engine, clock = engine_at_nine()
    async with engine:
        grey = rcptto("450 4.2.0 Greylisted, try again in 5 minutes")
        later = message("250 2.6.0 Message accepted for delivery")
        await engine.serve(
            [*opening(), *mailfrom(), *grey, Expect(rb"RSET\r\n"), Send(b"250 ok\r\n"), Close()],
            [*opening(), *mailfrom(), *rcptto(), *data(), *later, *quit_session()],
        )
        await engine.send(example())
        first = {"state": "rcptto", "result": "error", "time": T, **PAIR, "messages": 1}
        first |= {"code": 450, "status": "4.2.0", "description": "Greylisted, try again in 5 minutes"}
        await check_retry(engine, retried(first))

        await eventually(lambda: len(engine.observer.all_of(SessionClosed)) == 1, "the first connection ends")
        clock.advance(599)
        assert engine.broker.ready(OUTBOX) == []
        clock.advance(5)
        outcome = await engine.outcome(7781, attempts=2)
        assert outcome.queues == {OUTBOX: 1, "retry": 1, "results": 1, "success": 1}
        second = {"state": "message", "result": "accepted", "time": "2031-03-01 09:10:06", **PAIR, "messages": 1}
        second |= {"code": 250, "status": "2.6.0", "description": "Message accepted for delivery"}
        expected = {**example(mime=None), "results": [first, second], "delayed": "2031-03-01 09:10:02", "seen": T}
        check(outcome.copies["results"][0].body, expected)


async def test_11_3_550_at_rcpt_to() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        await engine.serve([*opening(), *mailfrom(), *rcptto("550 5.1.1 No such user here")])
        await engine.send(example())
        attempt = {"state": "rcptto", "result": "error", "time": T, **PAIR, "messages": 1}
        attempt |= {"code": 550, "status": "5.1.1", "description": "No such user here"}
        await check_final(engine, "failure", {**example(mime=None), "results": [attempt]})


async def test_11_4_4xx_at_data_without_enhanced_status() -> None:
    engine, _ = engine_at_nine("ip-maxconnections=1")
    async with engine:
        full = data("452 Disk full, later please")
        await engine.serve([*opening(), *transaction(), *mailfrom(), *rcptto(), *full])
        await engine.send(example(order=1), example())
        attempt = {"state": "data", "result": "error", "time": T, **PAIR, "messages": 2}
        attempt |= {"code": 452, "status": "4.0.0", "description": "Disk full, later please"}
        await check_retry(engine, retried(attempt))


async def test_11_5_no_greeting_and_no_other_host() -> None:
    engine, _ = engine_at_nine("smtp-out-timeout-intro=0.1")
    async with engine:
        await engine.serve([Stall()])
        await engine.send(example())
        await check_retry(engine, retried({"state": "intro", "result": "timeout", "time": T, **PAIR, "messages": 1}))


async def test_11_6_connection_lost_after_the_final_dot() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        server = await engine.serve(
            [*opening(), *mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n"), Close()],
        )
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        other = await engine.serve([*opening(), *transaction()], address="127.0.0.2")
        await engine.send(example())
        await check_retry(engine, retried({"state": "message", "result": "lost", "time": T, **PAIR, "messages": 1}))
        assert (server.count, other.count) == (1, 0)


async def test_11_7_garbage_as_answer_to_ehlo_on_every_host() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        garbage = [*greeting(), Expect(rb"EHLO [^\r\n]+\r\n"), Send(b"HTTP/1.1 400 Bad Request\r\n")]
        await engine.serve(garbage)
        await engine.serve(garbage, address="127.0.0.2")
        await engine.send(example())
        attempt = {"state": "ehlo", "result": "invalid", "time": T, **SECOND}
        attempt |= {"messages": 1, "description": "HTTP/1.1 400 Bad Request"}
        await check_retry(engine, retried(attempt))


async def test_11_8_domain_does_not_exist() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        await engine.send(example(recipient="anna@nowhere.test"))
        attempt = {"state": "dns", "result": "error", "time": T}
        expected = {**example(mime=None, recipient="anna@nowhere.test"), "results": [attempt]}
        await check_final(engine, "failure", expected)


@pytest.mark.parametrize("has_codes", [False, True])
async def test_11_9_null_mx(has_codes: bool) -> None:
    engine, _ = engine_at_nine(f"result-local-codes={str(has_codes).lower()}")
    async with engine:
        engine.resolver.set_mx(DOMAIN, [(0, "")])
        await engine.send(example())
        attempt: dict[str, Any] = {"state": "dns", "result": "error", "time": T}
        if has_codes:
            attempt |= {"code": 556, "status": "5.1.10", "description": "domain accepts no mail"}
        await check_final(engine, "failure", {**example(mime=None), "results": [attempt]})


async def test_11_10_name_servers_do_not_answer() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        engine.resolver.fail_mx(DOMAIN, DnsFailureKind.TIMEOUT)
        await engine.send(example())
        await check_retry(engine, retried({"state": "dns", "result": "timeout", "time": T}))


async def test_11_11_body_is_not_json() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        body = '{"recipient": "anna@example.org", "mime": '
        await engine.send(body.encode())
        outcome = await engine.outcome()
        assert outcome.queues == {"results": 1, "failure": 1}
        attempt = {"state": "amqp", "result": "invalid", "time": T}
        check(outcome.copies["failure"][0].body, {"invalid-body": body, "results": [attempt]})


async def test_11_12_attempts_used_up() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        first = {"state": "connect", "result": "timeout", "time": "2031-03-01 08:50:02"}
        times = {"delayed": "2031-03-01 09:00:02", "seen": "2031-03-01 08:49:02"}
        await engine.serve([Send(b"451 4.3.2 System not accepting mail now\r\n")])
        await engine.send(example(maxattempts=2, results=[first], **times))
        second = {"state": "intro", "result": "error", "time": T, **PAIR, "messages": 1}
        second |= {"code": 451, "status": "4.3.2", "description": "System not accepting mail now"}
        expected = {**example(mime=None, maxattempts=2), "results": [first, second], **times}
        await check_final(engine, "failure", expected)


async def test_11_12_attempts_used_up_on_arrival() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        before = [
            {"state": "connect", "result": "timeout", "time": f"2031-03-01 08:{minute}:02"} for minute in (30, 40)
        ]
        await engine.send(example(maxattempts=2, results=before))
        third = {"state": "amqp", "result": "timeout", "time": T}
        await check_final(engine, "failure", {**example(mime=None, maxattempts=2), "results": [*before, third]})


@pytest.mark.parametrize("deadline", ["2031-03-01 09:00:02", "2031-03-01 08:00:00"])
async def test_11_13_deadline_passed_while_queued(deadline: str) -> None:
    engine, _ = engine_at_nine()
    async with engine:
        await engine.send(example(maxdelivertime=deadline))
        expected = example(mime=None, maxdelivertime=deadline)
        attempt = {"state": "amqp", "result": "timeout", "time": T}
        await check_final(engine, "failure", {**expected, "results": [attempt]})


async def test_11_19_no_local_address_bound() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        await engine.send(example(ips=["203.0.113.99"]))
        attempt = {"state": "bind", "result": "error", "time": T}
        expected = {**example(mime=None, ips=["203.0.113.99"]), "results": [attempt]}
        await check_final(engine, "failure", expected)


@pytest.mark.parametrize("queues", [None, {"failure": "shop-bounces", "results": "shop-results"}])
async def test_11_20_recipient_missing(queues: dict[str, str] | None) -> None:
    engine, _ = engine_at_nine()
    async with engine:
        await engine.send(example(recipient=None, queues=queues))
        outcome = await engine.outcome(7781)
        assert outcome.queues == dict.fromkeys(queues.values() if queues else ("results", "failure"), 1)
        attempt = {"state": "amqp", "result": "invalid", "time": T}
        expected = {**example(recipient=None, mime=None, queues=queues), "results": [attempt]}
        for copies in outcome.copies.values():
            check(copies[0].body, expected)


async def test_11_21_all_hosts_refuse_the_tcp_connection() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        await engine.send(example())
        await check_retry(engine, retried({"state": "connect", "result": "error", "time": T}))


async def test_11_22_every_host_greets_with_554() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        for address in ("127.0.0.1", "127.0.0.2"):
            await engine.serve(greeting("554 5.7.1 Your address is blocked"), address=address)
        await engine.send(example())
        attempt = {"state": "intro", "result": "error", "time": T, **SECOND}
        attempt |= {"messages": 1, "code": 554, "status": "5.7.1", "description": "Your address is blocked"}
        await check_final(engine, "failure", {**example(mime=None), "results": [attempt]})


async def test_11_24_own_queues() -> None:
    engine, _ = engine_at_nine()
    engine.may_lose = True
    async with engine:
        queues = {"queues": {"failure": "shop-bounces"}}
        domains = ("ok.test", "grey.test", "no.test")
        replies = ("250 2.1.5 ok", "450 4.2.0 later", "550 5.1.1 No such user here")
        for number, (domain, reply) in enumerate(zip(domains, replies, strict=True), 1):
            engine.route(domain, (10, f"mx.{domain}", f"127.0.0.{number}"))
            script = [*opening(), *mailfrom(), *rcptto(reply), *data(), *message()]
            await engine.serve(script, address=f"127.0.0.{number}", strict=False)
            await engine.send(example(order=number, recipient=f"anna@{domain}", **queues))
        await eventually(lambda: len(engine.observer.attempts) == 3, "all three are done")
        assert engine.published(1).queues == {}
        assert engine.published(2).queues == {OUTBOX: 1}
        refused = engine.published(3)
        assert refused.queues == {"shop-bounces": 1}
        assert refused.body("shop-bounces")["queues"] == {"failure": "shop-bounces"}


async def test_11_25_keepmime() -> None:
    engine, _ = engine_at_nine()
    async with engine:
        await engine.serve([*opening(), *transaction()])
        await engine.send(example(keepmime=True))
        attempt = {"state": "message", "result": "accepted", "time": T, **PAIR, "messages": 1}
        attempt |= {"code": 250, "status": "2.0.0", "description": "queued"}
        await check_final(engine, "success", {**example(keepmime=True), "results": [attempt]})
