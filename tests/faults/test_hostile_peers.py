"""Mail hosts that lie, stall, flood and die in every state: one result per message, in bounded time and memory."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.cells import CONTENT, DATA, EHLO, HELO, MAIL, RCPT
from tests.support.engine import Engine, eventually, mail
from tests.support.scripted_server import (
    Close,
    Expect,
    Flood,
    Reset,
    Send,
    Stall,
    Step,
    StopReading,
    Trickle,
    data,
    ehlo,
    greeting,
    mailfrom,
    opening,
    quit_session,
    rcptto,
    transaction,
)

STATES: dict[str, Sequence[Step]] = {
    "intro": [],
    "ehlo": EHLO,
    "helo": HELO,
    "mailfrom": MAIL,
    "rcptto": RCPT,
    "data": DATA,
    "message": CONTENT,
}
PHASES = ("intro", "ehlo", "mailfrom", "rcptto", "data", "message")
MEMORY_KILOBYTES = 48 * 1024

INVALID: dict[str, list[Step]] = {
    "10 MB on one line": [Flood(b"2" * 100_000, 100), Stall()],
    "10 MB on one line of good form": [Send(b"250-"), Flood(b"x" * 100_000, 100), Stall()],
    "10,000 lines": [Flood(b"250-line\r\n" * 100, 100), Send(b"250 end\r\n")],
    "10 MB of lines": [Flood(b"250-" + b"x" * 2000 + b"\r\n", 5000)],
    "10 MB of line ends": [Flood(b"\r\n" * 50_000, 100)],
    "NULs": [Send(b"\0" * 500 + b"\r\n")],
    "a reply behind a NUL": [Send(b"\x00250 ok\r\n")],
    "a NUL in the code": [Send(b"2\x0050 ok\r\n")],
    "a TLS alert": [Send(b"\x15\x03\x01\x00\x02\x02\x28\r\n")],
    "a code of two digits": [Send(b"25 ok\r\n")],
    "a code of letters": [Send(b"2SO ok\r\n")],
    "a code out of range": [Send(b"666 no\r\n")],
    "a preliminary reply": [Send(b"150 wait\r\n")],
    "an empty line": [Send(b"\r\n")],
    "a web server": [Send(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n<html>\r\n")],
}


def short(*phases: str, seconds: float = 0.3) -> list[str]:
    """Options for the phases a peer is silent in; in others a busy machine shall not meet a limit."""
    # One limit is for EHLO, which is answered, and for HELO.
    return [f"smtp-out-timeout-{phase}={seconds}" for phase in phases if phase != "helo"] + [
        f"smtp-out-timeout-ehlo={3 * seconds:g}" for phase in phases if phase == "helo"
    ]


def peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("attack", INVALID)
@pytest.mark.parametrize("state", STATES)
async def test_what_is_no_reply_is_invalid_in_every_state(state: str, attack: str) -> None:
    async with Engine() as engine:
        before = peak_kilobytes()
        await engine.serve([*STATES[state], *INVALID[attack]], strict=False)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind) == ((state, "invalid"), "retry")
        assert len(outcome.last["description"]) <= 4096
        assert outcome.last["description"].isprintable()
        assert peak_kilobytes() - before < MEMORY_KILOBYTES


@pytest.mark.parametrize("end", [Stall(), Close(), Reset()], ids=["stall", "close", "reset"])
@pytest.mark.parametrize("part", [b"", b"2", b"250", b"250-", b"250-a\r\n", b"250 ok", b"250 ok\r"], ids=repr)
@pytest.mark.parametrize("state", STATES)
async def test_a_reply_that_never_ends(state: str, part: bytes, end: Step) -> None:
    async with Engine(*(short(state) if isinstance(end, Stall) else ())) as engine:
        await engine.serve([*STATES[state], *([Send(part)] if part else []), end])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        expected = "timeout" if isinstance(end, Stall) else "lost"
        assert (outcome.cell, outcome.kind) == ((state, expected), "retry")
        assert "description" not in outcome.last


@pytest.mark.parametrize("state", STATES)
async def test_octets_that_trickle_in_buy_no_time(state: str) -> None:
    async with Engine(*short(state)) as engine:
        await engine.serve([*STATES[state], Trickle(b"250-" + b"x" * 2000, 0.05)], strict=False)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.cell == (state, "timeout")


@pytest.mark.parametrize("state", STATES)
async def test_lines_that_trickle_in_buy_no_time(state: str) -> None:
    async with Engine(*short(state)) as engine:
        await engine.serve([*STATES[state], Trickle(b"250-x\r\n" * 60, 0.2)], strict=False)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.cell == (state, "timeout")


async def test_a_whole_dialogue_one_octet_at_a_time() -> None:
    def slow(steps: Sequence[Step]) -> list[Step]:
        return [Trickle(step.octets) if isinstance(step, Send) else step for step in steps]

    async with Engine() as engine:
        await engine.serve(slow([*opening("PIPELINING", "SIZE 1000000"), *transaction() * 2, *quit_session()]))
        for number in (1, 2):
            await engine.send(mail(f"m{number}"))
            last = (await engine.outcome(f"m{number}")).last
            assert (last["result"], last["messages"]) == ("accepted", number)


@pytest.mark.parametrize(
    ("script", "cell"),
    [
        ([Send(b"220 a\r\n220 b\r\n")], ("ehlo", "invalid")),
        ([*greeting(), Expect(rb"EHLO[^\r\n]+\r\n"), Send(b"250 mx\r\n250 mx\r\n")], None),
        ([*opening(), Expect(rb"MAIL[^\r\n]+\r\n"), Send(b"250 ok\r\n250 ok\r\n")], ("rcptto", "invalid")),
        ([*opening(), *mailfrom(), Expect(rb"RCPT[^\r\n]+\r\n"), Send(b"250 ok\r\n250 ok\r\n")], ("data", "invalid")),
        ([*DATA, Send(b"354 go\r\n250 queued\r\n")], ("message", "invalid")),
        ([*DATA, Send(b"354 go\r\n354 go\r\n")], ("message", "invalid")),
    ],
    ids=["greeting", "ehlo", "mail", "rcpt", "data-250", "data-354"],
)
async def test_replies_that_come_twice_are_never_taken_for_acceptance(
    script: Any, cell: tuple[str, str] | None
) -> None:
    async with Engine(*(short(*PHASES) if cell is None else ())) as engine:
        server = await engine.serve([*script, Stall()])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.kind == "retry"
        if cell is not None:
            assert outcome.cell == cell
        assert outcome.last["result"] != "accepted"
        assert server.count >= 1


async def test_all_replies_before_any_command() -> None:
    async with Engine(*short(*PHASES)) as engine:
        server = await engine.serve([Send(b"220 a\r\n250 b\r\n250 c\r\n250 d\r\n354 e\r\n250 f\r\n"), Stall()])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert outcome.kind == "retry"
        assert b"Hello." not in server.connections[0].received


@pytest.mark.parametrize(
    "words", [b"250 flushed\r\n", b"250 flushed\r\n250 ok\r\n", b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n"]
)
async def test_an_answer_to_rset_that_comes_too_early_hands_no_session_out_twice(words: bytes) -> None:
    async with Engine(*short(*PHASES, seconds=1), "ip-maxconnections=1") as engine:
        refused = [
            *opening(),
            *mailfrom(),
            Expect(rb"RCPT[^\r\n]+\r\n"),
            Send(b"550 5.1.1 no\r\n"),
            Send(words),
            Stall(),
        ]
        server = await engine.serve(refused, [*opening(), *transaction() * 20, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(6)))
        first = await engine.outcome("m0")
        assert first.kind == "failure"
        for number in range(1, 6):
            await engine.outcome(f"m{number}")
        assert server.connections[0].received.count(b"Hello.") <= 1
        assert server.count >= 2


async def test_acceptance_of_content_that_was_not_transferred_yet_is_no_acceptance() -> None:
    large = "Subject: x\r\n\r\n" + ("x" * 76 + "\r\n") * 200_000
    async with Engine("smtp-out-timeout-block=5") as engine:
        await engine.serve(
            [*DATA, Send(b"354 go\r\n"), Expect(rb"Subject"), Send(b"250 2.0.0 queued\r\n"), StopReading()]
        )
        await engine.send(mail("m1", mime=large))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind) == (("message", "invalid"), "retry")
        assert outcome.last["code"] == 250


async def test_a_refusal_of_content_that_was_not_transferred_yet_is_a_verdict() -> None:
    large = "Subject: x\r\n\r\n" + ("x" * 76 + "\r\n") * 200_000
    async with Engine("smtp-out-timeout-block=5") as engine:
        refusal = b"552 5.3.4 Message too big\r\n"
        await engine.serve([*DATA, Send(b"354 go\r\n"), Expect(rb"Subject"), Send(refusal), StopReading()])
        await engine.send(mail("m1", mime=large))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind, outcome.last["code"]) == (("message", "error"), "failure", 552)


async def test_a_server_that_stops_reading_is_given_up_after_the_block_limit() -> None:
    large = "Subject: x\r\n\r\n" + ("x" * 76 + "\r\n") * 300_000
    async with Engine("smtp-out-timeout-block=0.3") as engine:
        await engine.serve([*DATA, Send(b"354 go\r\n"), StopReading()])
        await engine.send(mail("m1", mime=large))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind) == (("message", "timeout"), "retry")


async def test_large_content_may_take_longer_than_the_block_limit_as_long_as_it_moves() -> None:
    """The limit is for a write without progress, not for all of them."""
    large = "Subject: x\r\n\r\n" + ("x" * 76 + "\r\n") * 150_000
    async with Engine("smtp-out-timeout-block=2") as engine:
        server = await asyncio.start_server(_sip, "127.0.0.1", engine.port, limit=1 << 16)
        async with server:
            before = time.monotonic()
            await engine.send(mail("m1", mime=large))
            outcome = await engine.outcome("m1")
            assert outcome.kind == "success", outcome.last
            assert time.monotonic() - before > 2.0
            await engine.stop()


async def _sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that takes content in small portions."""
    writer.write(b"220 mx.test\r\n")
    for reply in (b"250 mx.test\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        await reader.readline()
        writer.write(reply)
    last = b""
    while not last.endswith(b"\r\n.\r\n"):
        await asyncio.sleep(0.008)
        octets = await reader.read(1 << 15)
        if not octets:
            break
        last = last[-5:] + octets
    writer.write(b"250 2.0.0 ok\r\n")
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    "keyword",
    ["SIZE", "SIZE " + "9" * 500, "SIZE -1", "SIZE x", "SIZE 0", "AUTH", "AUTH=", "X" * 2000, "8bitmime", "\0", "ü"],
)
async def test_strange_ehlo_keywords_do_no_harm(keyword: str) -> None:
    async with Engine() as engine:
        await engine.serve([*greeting(), *ehlo(keyword, "X"), *transaction(), *quit_session()])
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == "success"


@pytest.mark.parametrize("text", ["\r", "\x1b[31mred", "a\x00b", "line one\\r\\nline two", "\u202egnp.exe", "\x85next"])
async def test_whatever_a_reply_says_the_description_is_one_printable_line(text: str) -> None:
    async with Engine() as engine:
        await engine.serve([*RCPT, Send(f"550 5.1.1 {text}\r\n".encode())])
        await engine.send(mail("m1"))
        last = (await engine.outcome("m1")).last
        assert last["code"] == 550
        assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in last["description"])


async def test_a_server_that_accepts_and_dies_before_saying_so_makes_a_retry() -> None:
    async with Engine() as engine:
        await engine.serve([*CONTENT, Reset()])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind) == (("message", "lost"), "retry")


async def test_a_server_that_accepts_says_so_and_dies_at_once_is_a_success() -> None:
    async with Engine() as engine:
        for end in (Close(), Reset()):
            await engine.serve(
                [*CONTENT, Send(b"250 2.0.0 ok\r\n"), end], address=f"127.0.0.{1 + isinstance(end, Close)}"
            )
        engine.route("other.test", (10, "mx.other.test", "127.0.0.2"))
        await engine.send(mail("m1"), mail("m2", recipient="anna@other.test"))
        assert (await engine.outcome("m2")).kind == "success"
        await engine.outcome("m1")


async def test_a_flood_of_dying_connections_leaves_nothing_behind() -> None:
    async with Engine(tweaks={"limits.host_offline_time": 0.0, "limits.host_backoff_time": 0.0}) as engine:
        scripts: list[list[Step]] = [
            [Close()], [Reset()], [Send(b"421 x\r\n"), Close()], [*opening(), Reset()],
            [*MAIL, Reset()], [*RCPT, Close()], [*DATA, Reset()], [*CONTENT, Reset()],
        ]  # fmt: skip
        server = await engine.serve(*[script for _ in range(30) for script in scripts], strict=False)
        for batch in range(25):
            await engine.send(*(mail(f"m{batch} {number}") for number in range(8)))
            await eventually(lambda: len(engine.observer.attempts) == 8 * batch + 8, "all have a result")  # noqa: B023
        engine.check_lanes()
        assert server.count >= 25


async def test_injected_lines_never_reach_the_wire() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening("DSN"), *transaction() * 9])
        evil = "x\r\nRCPT TO:<victim@evil.test>"
        tries = [
            mail("m1", envelope=f"a@b.test>{evil}"), mail("m2", recipient=f"{evil}@example.test"),
            mail("m3", dsn={"envid": evil}), mail("m4", dsn={"orcpt": evil}), mail("m5", dsn={"ret": evil}),
            mail("m6", envelope='"a\r\nb"@shop.test'), mail("m7", recipient="anna@example.test\nDATA"),
        ]  # fmt: skip
        await engine.send(*tries)
        for number in range(1, 8):
            await engine.outcome(f"m{number}")
        received = b"".join(bytes(connection.received) for connection in server.connections)
        assert b"\r\nRCPT TO:<victim" not in received
        assert b"\nDATA" not in received.replace(b"\r\nDATA\r\n", b"")


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
async def test_dots_and_line_ends_of_the_content_never_end_it_early(extensions: tuple[str, ...]) -> None:
    content = "Subject: x\r\n\r\n.\r\n..\n.\rQUIT\r\n.\n\r\n.x"
    async with Engine() as engine:
        ending: list[Step] = [Expect(rb"\.\.x\r\n\.\r\n"), Send(b"250 2.0.0 ok\r\n")]
        server = await engine.serve([*opening(*extensions), *mailfrom(), *rcptto(), *data(), *ending, *quit_session()])
        await engine.send(mail("m1", mime=content))
        assert (await engine.outcome("m1")).kind == "success"
        body = bytes(server.connections[0].received).split(b"DATA\r\n", 1)[1]
        assert body.startswith(b"Subject: x\r\n\r\n..\r\n...\r\n..\r\nQUIT\r\n..\r\n\r\n..x\r\n.\r\n")
