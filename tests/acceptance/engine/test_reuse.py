"""Connections that carry several messages, and what ends them (spec delivery.md 8.2, 12.7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relayq.adapters.memory import SessionClosed, SessionOpened
from tests.support.engine import DOMAIN, OUTBOX, PATIENCE, Engine, eventually, mail
from tests.support.scripted_server import (
    Close,
    Expect,
    Reset,
    Send,
    Stall,
    Step,
    Wait,
    mailfrom,
    opening,
    quit_session,
    rcptto,
    transaction,
)

ONE = [*opening(), *transaction()]
FRESH = [*opening(), *transaction() * 5, *quit_session()]


async def test_messages_in_a_row_share_a_connection_and_are_numbered() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening(), *transaction() * 5, *quit_session()])
        for number in range(1, 6):
            await engine.send(mail(f"m{number}"))
            assert (await engine.outcome(f"m{number}")).last["messages"] == number
        assert server.count == 1
        assert server.connections[0].received.count(b"EHLO") == 1
        assert b"RSET" not in server.connections[0].received


async def test_domains_with_the_same_mail_host_share_connections() -> None:
    async with Engine() as engine:
        engine.route("other.test", (10, "mx.other.test", "127.0.0.1"))
        server = await engine.serve([*opening(), *transaction() * 2, *quit_session()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2", recipient="anna@other.test"))
        assert (await engine.outcome("m2")).last["messages"] == 2
        assert server.count == 1


async def test_an_idle_connection_ends_with_quit_after_connection_maxidle() -> None:
    async with Engine("connection-maxidle=100") as engine:
        server = await engine.serve([*ONE, *quit_session()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await asyncio.wait_for(server.connections[0].ended.wait(), PATIENCE)
        assert server.connections[0].received.endswith(b"QUIT\r\n")
        await eventually(lambda: len(engine.observer.all_of(SessionClosed)) == 1, "its end is reported")
        assert engine.observer.all_of(SessionClosed)[0].messages == 1


async def test_a_connection_carries_no_more_than_connection_maxmessages() -> None:
    async with Engine("connection-maxmessages=2", "ip-maxconnections=1") as engine:
        server = await engine.serve([*opening(), *transaction() * 2, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(6)))
        ordinals = sorted([(await engine.outcome(f"m{number}")).last["messages"] for number in range(6)])
        assert ordinals == [1, 1, 1, 2, 2, 2]
        assert server.count == 3


async def test_a_server_that_never_answers_quit_is_left_after_the_limit() -> None:
    async with Engine("connection-maxmessages=1", "ip-maxconnections=1", "smtp-out-timeout-quit=0.1") as engine:
        server = await engine.serve([*ONE, Stall()])
        await engine.send(mail("m1"), mail("m2"))
        await engine.outcome("m1")
        assert (await engine.outcome("m2")).kind == "success"
        assert server.count == 2
        assert server.connections[0].peer_closed


async def test_an_answer_to_quit_that_never_ends_buys_no_time() -> None:
    async with Engine("connection-maxmessages=1", "ip-maxconnections=1", "smtp-out-timeout-quit=0.2") as engine:
        drip = [Expect(rb"QUIT\r\n"), *[step for _ in range(40) for step in (Send(b"2"), Expect(rb"^"))]]
        server = await engine.serve([*ONE, *drip, Stall()])
        await engine.send(mail("m1"), mail("m2"))
        assert (await engine.outcome("m2")).kind == "success"
        assert server.count == 2


DEATHS: dict[str, list[Step]] = {
    "closed": [Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Close()],
    "reset": [Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Reset()],
    "421": [Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Send(b"421 4.4.2 Idle too long\r\n"), Close()],
    "503": [Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Send(b"503 5.5.1 EHLO first\r\n")],
    "silent": [Stall()],
}


@pytest.mark.parametrize("death", DEATHS)
async def test_a_reused_connection_that_turns_out_dead_is_replaced_once_without_a_result(death: str) -> None:
    async with Engine("smtp-out-timeout-mailfrom=1") as engine:
        server = await engine.serve([*ONE, *DEATHS[death]], FRESH)
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2"))
        outcome = await engine.outcome("m2")
        assert (outcome.kind, outcome.last["messages"], len(outcome.attempts)) == ("success", 1, 1)
        assert outcome.queues == {"results": 1, "success": 1}
        assert server.count == 2
        assert len(engine.observer.attempts) == 2


async def test_several_idle_connections_closed_at_once_say_nothing_about_the_host() -> None:
    async with Engine() as engine:
        go = asyncio.Event()
        dying = [Wait(go), *opening(), *transaction(), Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Reset()]
        server = await engine.serve(*[dying] * 4, FRESH)
        await engine.send(*(mail(f"m{number}") for number in range(4)))
        for index in range(4):
            await (await server.connection(index)).reached.wait()
        go.set()
        for number in range(4):
            await engine.outcome(f"m{number}")
        await engine.send(*(mail(f"n{number}") for number in range(4)))
        for number in range(4):
            outcome = await engine.outcome(f"n{number}")
            assert (outcome.kind, len(outcome.attempts)) == ("success", 1)
        assert server.count > 4


async def test_a_connection_closed_while_idle_is_forgotten_at_once() -> None:
    async with Engine() as engine:
        server = await engine.serve([*ONE, Close()], FRESH)
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await eventually(lambda: len(engine.observer.all_of(SessionClosed)) == 1, "the end is noticed")
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).last["messages"] == 1
        assert server.count == 2


@pytest.mark.parametrize("words", [b"421 4.4.2 Idle too long\r\n", b"250 ok\r\n", b"\0\0\0", b"4"])
async def test_whatever_a_server_says_while_idle_ends_the_connection_without_a_result(words: bytes) -> None:
    async with Engine() as engine:
        go = asyncio.Event()
        server = await engine.serve([*ONE, Wait(go), Send(words), Stall()], FRESH)
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await server.connections[0].reached.wait()
        go.set()
        await eventually(lambda: len(engine.observer.all_of(SessionClosed)) == 1, "the connection is closed")
        assert len(engine.observer.attempts) == 1
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).kind == "success"
        assert server.count == 2


async def test_a_dead_connection_replaced_by_a_refused_one_is_an_ordinary_failure() -> None:
    async with Engine() as engine:
        await engine.serve([*ONE, *DEATHS["closed"]], [Send(b"421 4.3.2 Not now\r\n")])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2"))
        outcome = await engine.outcome("m2")
        assert (outcome.cell, outcome.kind, outcome.last["code"]) == (("intro", "error"), "retry", 421)


async def test_a_connection_that_dies_twice_is_an_ordinary_failure() -> None:
    async with Engine() as engine:
        first = [*ONE, *DEATHS["closed"]]
        second = [*opening(), *DEATHS["closed"]]
        server = await engine.serve(first, second)
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2"))
        outcome = await engine.outcome("m2")
        assert (outcome.cell, outcome.kind, outcome.last["messages"]) == (("mailfrom", "lost"), "retry", 1)
        assert server.count == 2


@pytest.mark.parametrize(
    ("after", "cell"),
    [
        ([*mailfrom(), Close()], ("rcptto", "lost")),
        ([*mailfrom(), Expect(rb"RCPT[^\r\n]+\r\n"), Send(b"421 bye\r\n"), Close()], ("rcptto", "error")),
        ([Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Send(b"garbage\r\n")], ("mailfrom", "invalid")),
        ([Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Send(b"451 later\r\n")], ("mailfrom", "error")),
        ([Expect(rb"MAIL FROM:[^\r\n]+\r\n"), Send(b"550 no\r\n")], ("mailfrom", "error")),
    ],
    ids=["answered-then-lost", "answered-then-421", "garbage", "451", "550"],
)
async def test_a_sign_of_life_for_the_message_makes_it_an_ordinary_failure(after: Any, cell: tuple[str, str]) -> None:
    async with Engine() as engine:
        server = await engine.serve([*ONE, *after], FRESH)
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2"))
        outcome = await engine.outcome("m2")
        assert outcome.cell == cell
        assert outcome.last["messages"] == 2
        assert server.count == 1


@pytest.mark.parametrize(
    "reset",
    [
        [Send(b"250 2.0.0 flushed\r\n")],
        [Send(b"200 fine\r\n")],
    ],
    ids=["250", "2xx"],
)
async def test_a_refusal_is_followed_by_rset_and_the_connection_is_used_again(reset: Any) -> None:
    async with Engine() as engine:
        refused = [*mailfrom(), *rcptto("550 5.1.1 no"), Expect(rb"RSET\r\n"), *reset]
        server = await engine.serve([*opening(), *refused, *transaction(), *quit_session()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await eventually(lambda: server.connections[0].sent.count(b"\r\n") == 5, "RSET is answered")
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).last["messages"] == 2
        assert server.count == 1


@pytest.mark.parametrize(
    "answer",
    [[Send(b"550 no\r\n")], [Send(b"421 bye\r\n")], [Send(b"what\r\n")], [Close()], [Reset()], [Stall()]],
    ids=["550", "421", "garbage", "closed", "reset", "silent"],
)
async def test_a_reset_that_goes_wrong_ends_the_connection_and_nothing_else(answer: Any) -> None:
    async with Engine("smtp-out-timeout-ehlo=1") as engine:
        refused = [*opening(), *mailfrom(), *rcptto("550 5.1.1 no"), Expect(rb"RSET\r\n"), *answer]
        server = await engine.serve(refused, FRESH)
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == "failure"
        await eventually(lambda: len(engine.observer.all_of(SessionClosed)) == 1, "the connection is closed")
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).kind == "success"
        assert (len(engine.observer.attempts), server.count) == (2, 2)


async def test_messages_wait_for_a_connection_that_is_being_reset_without_opening_beyond_the_limit() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        go = asyncio.Event()
        reset = [*mailfrom("550 no"), Expect(rb"RSET\r\n"), Wait(go), Send(b"250 ok\r\n")]
        server = await engine.serve([*opening(), *reset, *transaction() * 3, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(4)))
        await (await server.connection(0)).reached.wait()
        await engine.outcome("m0")
        go.set()
        assert [(await engine.outcome(f"m{number}")).last["messages"] for number in (1, 2, 3)] == [2, 3, 4]
        assert server.count == 1


async def test_sessions_opened_and_closed_are_reported_in_pairs() -> None:
    async with Engine("connection-maxmessages=1") as engine:
        await engine.serve([*ONE, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(10)))
        for number in range(10):
            await engine.outcome(f"m{number}")
        await engine.stop()
        assert len(engine.observer.all_of(SessionOpened)) == 10
        assert len(engine.observer.all_of(SessionClosed)) == 10
        assert engine.published("m0").queues[OUTBOX] == 0
        assert engine.published("m0").last["to"] == "127.0.0.1"
        assert DOMAIN in engine.published("m0").body("results")["recipient"]
