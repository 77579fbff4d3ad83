"""Where TLS is not insisted on, mail goes through without it, once it is known not to work (spec delivery.md 10)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.engine import mail
from tests.support.scripted_server import Close, Expect, Reset, Send, Stall, Step, opening, transaction
from tests.support.secure import secure_engine, starttls
from tests.support.tls import trusted

ASKED = [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n")]
SHAKING = [*ASKED, Send(b"220 go\r\n"), Expect(rb"\x16\x03")]
BROKEN: dict[str, Sequence[Step]] = {
    "nonsense for an answer": [*ASKED, Send(b"HTTP/1.1 400 Bad Request\r\n")],
    "no answer": [*ASKED, Stall()],
    "closed after the command": [*ASKED, Close()],
    "421 and closed": [*ASKED, Send(b"421 4.7.0 Enough\r\n"), Close()],
    "closed during the handshake": [*SHAKING, Close()],
    "reset during the handshake": [*SHAKING, Reset()],
    "an alert": [*SHAKING, Send(b"\x15\x03\x03\x00\x02\x02\x28")],
    "clear text for a handshake": [*SHAKING, Send(b"250 what do you mean?\r\n")],
    "a handshake without end": [*SHAKING, Stall()],
    "clear text behind the 220": [*ASKED, Send(b"220 go\r\n250 2.1.0 injected\r\n"), Stall()],
}
IN_CLEAR = [*opening("STARTTLS"), *transaction(), *transaction()]


@pytest.mark.parametrize("how", BROKEN)
async def test_a_failed_handshake_leads_to_a_second_connection_without_tls(how: str) -> None:
    async with secure_engine("smtp-out-security=opportunistic", "smtp-out-timeout-starttls=0.2") as engine:
        server = await engine.serve(BROKEN[how], IN_CLEAR, strict=False)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "success"
        assert outcome.last["messages"] == 1
        assert server.count == 2
        assert b"STARTTLS" not in server.connections[1].received
        assert b"MAIL" not in server.connections[0].received


async def test_it_is_remembered_that_tls_does_not_work_there() -> None:
    async with secure_engine("smtp-out-security=opportunistic", "connection-maxmessages=1") as engine:
        server = await engine.serve([*SHAKING, Close()], IN_CLEAR, IN_CLEAR)
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2"))

        assert (await engine.outcome("m2")).kind == "success"
        assert server.count == 3
        assert b"STARTTLS" not in server.connections[2].received


async def test_what_is_remembered_does_not_weaken_those_who_insist() -> None:
    async with secure_engine("smtp-out-security=opportunistic") as engine:
        server = await engine.serve([*SHAKING, Close()], IN_CLEAR, [*starttls(trusted()), *transaction()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2", security="required"))

        assert (await engine.outcome("m2")).kind == "success"
        assert server.count == 3
        assert b"STARTTLS" in server.connections[2].received


@pytest.mark.parametrize("reply", [b"454 4.7.0 Not now\r\n", b"501 5.5.4 No\r\n"])
async def test_a_refused_starttls_goes_on_in_clear_on_the_same_connection(reply: bytes) -> None:
    async with secure_engine("smtp-out-security=opportunistic") as engine:
        server = await engine.serve([*ASKED, Send(reply), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert server.count == 1


async def test_a_second_failure_is_the_result() -> None:
    async with secure_engine("smtp-out-security=opportunistic") as engine:
        await engine.serve([*SHAKING, Close()], [Send(b"554 5.7.1 Go away\r\n")])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert outcome.cell == ("intro", "error")
        assert outcome.last["code"] == 554


async def test_a_fresh_connection_has_nothing_of_the_old_one() -> None:
    """The reply injected behind the 220 answers no command of the connection that follows."""
    async with secure_engine("smtp-out-security=opportunistic") as engine:
        server = await engine.serve(
            [*ASKED, Send(b"220 go\r\n250 2.0.0 injected\r\n"), Stall()],
            [*opening(), Expect(rb"MAIL FROM"), Send(b"550 5.1.0 No\r\n")],
            strict=False,
        )
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("failure", ("mailfrom", "error"))
        assert server.count == 2


@pytest.mark.parametrize("level", ["required", "verified"])
async def test_those_who_insist_try_the_next_host(level: str) -> None:
    async with secure_engine(f"smtp-out-security={level}") as engine:
        engine.route("example.test", (10, "mx1.example.test", "127.0.0.1"), (20, "mx.example.test", "127.0.0.2"))
        first = await engine.serve([*SHAKING, Close()])
        await engine.serve([*starttls(trusted()), *transaction()], address="127.0.0.2")
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "success"
        assert outcome.last["to"] == "127.0.0.2"
        assert first.count == 1
