"""Hosts known to be down, and the messages behind them (spec delivery.md 8.4)."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.support.engine import DOMAIN, OUTBOX, Engine, Outcome, eventually, mail
from tests.support.scripted_server import (
    Close,
    Expect,
    Reset,
    Send,
    Stall,
    Wait,
    greeting,
    mailfrom,
    opening,
    quit_session,
    rcptto,
    transaction,
)

COPY_MEMBERS = {"state", "result", "time", "code", "status", "description"}


async def test_messages_waiting_for_a_host_that_fails_get_copies_without_a_connection() -> None:
    async with Engine() as engine:
        go = asyncio.Event()
        server = await engine.serve([Wait(go), Send(b"554 5.7.1 Your address is blocked\r\n")])
        await engine.send(*(mail(f"m{number}") for number in range(12)))
        for index in range(5):
            await (await server.connection(index)).reached.wait()
        go.set()
        tried: list[Outcome] = []
        copied: list[Outcome] = []
        for number in range(12):
            outcome = await engine.outcome(f"m{number}")
            assert outcome.cell == ("intro", "error")
            assert (outcome.last["code"], outcome.last["status"]) == (554, "5.7.1")
            assert outcome.last["description"] == "Your address is blocked"
            (tried if "to" in outcome.last else copied).append(outcome)
        assert server.count == len(tried) <= 5
        for outcome in tried:
            assert outcome.kind == "failure"
        for outcome in copied:
            assert outcome.kind == "retry", "a copy is transient, whatever the code"
            assert set(outcome.last) == COPY_MEMBERS


async def test_a_copy_counts_as_an_attempt() -> None:
    async with Engine() as engine:
        engine.route("other.test", (10, "mx.example.test", "127.0.0.1"))
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2", recipient="anna@other.test", maxattempts=1))
        outcome = await engine.outcome("m2")
        assert (outcome.cell, outcome.kind) == (("connect", "error"), "failure")


async def test_a_host_marked_down_is_left_alone_by_every_domain_behind_it_and_by_no_other() -> None:
    async with Engine() as engine:
        down = await engine.serve([Close()])
        up = await engine.serve([*opening(), *transaction(), *quit_session()], address="127.0.0.2")
        engine.route("same.test", (10, "mx.example.test", "127.0.0.1"))
        engine.route("other.test", (10, "mx.other.test", "127.0.0.2"))
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2", recipient="anna@same.test"), mail("m3", recipient="anna@other.test"))
        copied, sent = await engine.outcome("m2"), await engine.outcome("m3")
        assert (copied.cell, copied.kind, "to" in copied.last) == (("intro", "lost"), "retry", False)
        assert sent.kind == "success"
        assert (down.count, up.count) == (1, 1)


async def test_messages_behind_a_host_marked_down_take_the_next_host_at_once() -> None:
    async with Engine() as engine:
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        down = await engine.serve([Close()])
        await engine.serve([*opening(), *transaction() * 5], address="127.0.0.2")
        for number in range(5):
            await engine.send(mail(f"m{number}"))
            outcome = await engine.outcome(f"m{number}")
            assert (outcome.kind, outcome.last["to"]) == ("success", "127.0.0.2")
        assert down.count == 1


async def test_when_a_mark_expires_one_probe_decides_for_all() -> None:
    async with Engine("host-offline-time=1") as engine:
        go = asyncio.Event()
        server = await engine.serve(
            [Close()], [Wait(go), *opening(), *transaction() * 10], [*opening(), *transaction() * 10]
        )
        await engine.send(mail("m0"))
        await engine.outcome("m0")
        await asyncio.sleep(1.1)  # the mark is a matter of real time
        await engine.send(*(mail(f"m{number}") for number in range(1, 9)))
        await (await server.connection(1)).reached.wait()
        await asyncio.sleep(0.05)
        assert server.count == 2, "nobody else tries while the probe is under way"
        go.set()
        for number in range(1, 9):
            assert (await engine.outcome(f"m{number}")).kind == "success"
        assert server.count > 2, "once it is through, more are opened"


async def test_a_probe_that_fails_renews_the_mark() -> None:
    async with Engine("host-offline-time=1") as engine:
        server = await engine.serve([Close()])
        await engine.send(mail("m0"))
        await engine.outcome("m0")
        await asyncio.sleep(1.1)
        await engine.send(*(mail(f"m{number}") for number in range(1, 9)))
        for number in range(1, 9):
            assert (await engine.outcome(f"m{number}")).cell == ("intro", "lost")
        assert server.count == 2


async def test_too_many_connections_never_fails_waiting_mail_while_one_works() -> None:
    async with Engine("host-backoff-time=60") as engine:
        busy = greeting("421 4.7.0 Too many connections")
        server = await engine.serve([*opening(), *transaction() * 30], busy)
        await engine.send(*(mail(f"m{number}") for number in range(20)))
        outcomes = [await engine.outcome(f"m{number}") for number in range(20)]
        kinds = Counter(outcome.kind for outcome in outcomes)
        refused = server.count - 1
        assert kinds == {"success": 20 - refused, "retry": refused}
        assert all("to" in outcome.last for outcome in outcomes), "only those that opened a connection met the refusal"
        assert kinds["success"] >= 10


async def test_too_many_connections_is_not_judged_before_the_others_that_are_opening() -> None:
    """The refusals come first, the connection that is let in last."""
    async with Engine() as engine:
        go = asyncio.Event()
        busy = greeting("421 4.7.0 Too many connections")
        server = await engine.serve([Wait(go), *opening(), *transaction() * 30], busy)
        await engine.send(*(mail(f"m{number}") for number in range(12)))
        await eventually(lambda: len(engine.observer.attempts) == 4, "four openings are refused")
        go.set()
        outcomes = [await engine.outcome(f"m{number}") for number in range(12)]
        assert Counter(outcome.kind for outcome in outcomes) == {"success": 8, "retry": 4}
        assert server.count == 5


async def test_after_a_refusal_no_connection_is_opened_until_the_backoff_ends() -> None:
    async with Engine("host-backoff-time=0.3", "ip-maxconnections=2") as engine:
        go = asyncio.Event()
        accept = [*opening(), *transaction() * 10]
        server = await engine.serve([*opening(), *transaction(), Wait(go), *transaction() * 10],
                                    greeting("421 4.7.0 Too many connections"), accept)  # fmt: skip
        await engine.send(mail("m0"))
        await engine.outcome("m0")
        await engine.send(mail("m1"))  # takes the idle session, whose server is slow now
        await (await server.connection(0)).reached.wait()
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).cell == ("intro", "error")
        refused_at = asyncio.get_running_loop().time()
        await engine.send(mail("m3"))
        assert (await engine.outcome("m3")).kind == "success"
        assert asyncio.get_running_loop().time() - refused_at >= 0.25
        assert server.count == 3
        go.set()
        assert (await engine.outcome("m1")).kind == "success"


async def test_421_to_the_first_message_of_a_connection_slows_down_the_opening_of_more() -> None:
    async with Engine("host-backoff-time=0.3") as engine:
        server = await engine.serve(
            [*opening(), *mailfrom("421 4.7.0 Slow down"), Close()], [*opening(), *transaction() * 10]
        )
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind) == (("mailfrom", "error"), "retry")
        before = asyncio.get_running_loop().time()
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).kind == "success"
        assert asyncio.get_running_loop().time() - before >= 0.2
        assert server.count == 2


async def test_three_losses_in_a_row_after_the_greeting_mark_a_host_down() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        server = await engine.serve([*opening(), Expect(rb"MAIL[^\r\n]+\r\n"), Reset()])
        for number in range(3):
            await engine.send(mail(f"m{number}"))
            assert (await engine.outcome(f"m{number}")).last["to"] == "127.0.0.1"
        await engine.send(mail("m3"))
        outcome = await engine.outcome("m3")
        assert (outcome.cell, outcome.kind, set(outcome.last)) == (
            ("mailfrom", "lost"), "retry", {"state", "result", "time"}
        )  # fmt: skip
        assert server.count == 3


async def test_an_answer_between_losses_clears_the_count() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        lost = [*opening(), Expect(rb"MAIL[^\r\n]+\r\n"), Reset()]
        refused = [*opening(), *mailfrom(), *rcptto("550 no"), Close()]
        server = await engine.serve(lost, lost, refused, lost, lost, [*opening(), *transaction()])
        for number in range(6):
            await engine.send(mail(f"m{number}"))
            await engine.outcome(f"m{number}")
        assert server.count == 6
        assert engine.published("m5").kind == "success"


async def test_a_silent_host_does_not_hold_up_messages_for_others() -> None:
    async with Engine("smtp-out-timeout-intro=1000") as engine:
        await engine.serve([Stall()])
        await engine.serve([*opening(), *transaction() * 50], address="127.0.0.2")
        engine.route("other.test", (10, "mx.other.test", "127.0.0.2"))
        await engine.send(*(mail(f"s{number}") for number in range(50)))
        await engine.send(*(mail(f"m{number}", recipient="anna@other.test") for number in range(20)))
        for number in range(20):
            assert (await engine.outcome(f"m{number}")).kind == "success"
        assert not engine.published("s0").copies


async def test_bind_failures_mark_nobody_down() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction() * 2])
        await engine.send(mail("m1", ips=["203.0.113.99"]))
        assert (await engine.outcome("m1")).cell == ("bind", "error")
        await engine.send(mail("m2", ips=["203.0.113.99", "127.0.0.2"]))
        outcome = await engine.outcome("m2")
        assert (outcome.kind, outcome.last["from"]) == ("success", "127.0.0.2")


async def test_what_cannot_be_bound_fails_again_in_the_same_way() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction()])
        for name in ("m1", "m2"):
            await engine.send(mail(name, ips=["203.0.113.99"]))
            outcome = await engine.outcome(name)
            assert (outcome.kind, outcome.cell) == ("failure", ("bind", "error"))


async def test_marks_are_per_local_address() -> None:
    async with Engine() as engine:
        server = await engine.serve([Close()], [*opening(), *transaction()])
        await engine.send(mail("m1", ips=["127.0.0.2"]))
        assert (await engine.outcome("m1")).cell == ("intro", "lost")
        await engine.send(mail("m2", ips=["127.0.0.3"]))
        outcome = await engine.outcome("m2")
        assert (outcome.kind, outcome.last["from"], server.connections[1].peer[0]) == (
            "success", "127.0.0.3", "127.0.0.3"
        )  # fmt: skip
        assert outcome.queues[OUTBOX] == 0
