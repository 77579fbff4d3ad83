"""Messages that may not go now, and time that runs out (spec delivery.md 3, 4, 8.1; amqp.md 11, 16)."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relayq.delivery.composer import Composer, Content
from relayq.delivery.pipeline import Pipeline
from relayq.delivery.publisher import Publisher
from relayq.delivery.waiting import PARKED_SECONDS, NotNowError
from relayq.model import Message
from relayq.model.message_json import Members, parse_message
from relayq.ports import Parking
from tests.support.engine import DOMAIN, OUTBOX, Engine, eventually, mail, parse_at
from tests.support.scripted_server import (
    Close,
    Expect,
    Send,
    Stall,
    Wait,
    data,
    greeting,
    mailfrom,
    opening,
    rcptto,
    transaction,
)


def stamp(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


async def test_a_message_that_is_not_due_goes_back_until_its_time_and_stays_as_it_was() -> None:
    async with Engine() as engine:
        due = stamp(3600)
        await engine.send(mail("m1", delayed=due))
        outcome = await engine.waiting("m1")
        assert outcome.queues == {OUTBOX: 1}
        assert outcome.copies[OUTBOX][0].due_at == parse_at(due)
        assert outcome.body(OUTBOX) == mail("m1", delayed=due), "no seen: it has never been due"
        assert not engine.observer.attempts


async def test_a_message_due_within_a_second_waits_in_the_process() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction()])
        due = stamp(1)
        await engine.send(mail("m1", delayed=due))
        outcome = await engine.outcome("m1")
        assert outcome.queues == {"results": 1, "success": 1}
        assert parse_at(outcome.last["time"]) >= parse_at(due)


async def test_a_message_delayed_until_yesterday_goes_at_once() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction()])
        await engine.send(mail("m1", delayed=stamp(-86400)))
        assert (await engine.outcome("m1")).kind == "success"


async def test_a_retry_that_would_come_after_the_deadline_is_a_failure() -> None:
    async with Engine() as engine:
        await engine.serve(greeting("421 later"))
        await engine.send(mail("m1", maxdelivertime=stamp(300)), mail("m2", maxdelivertime=stamp(900)))
        first, second = await engine.outcome("m1"), await engine.outcome("m2")
        assert (first.kind, first.cell) == ("failure", ("intro", "error"))
        assert second.kind == "retry"


async def test_the_first_due_pick_up_is_remembered_once() -> None:
    async with Engine() as engine:
        await engine.serve(greeting("421 later"))
        seen = stamp(-60)
        await engine.send(mail("m1", seen=seen), mail("m2"))
        assert (await engine.outcome("m1")).body("retry")["seen"] == seen
        again = await engine.outcome("m2")
        assert again.body("retry")["seen"] == again.last["time"]


async def test_a_deadline_that_passes_while_the_message_waits_for_a_connection() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        go = asyncio.Event()
        await engine.serve([*opening(), *mailfrom(), Wait(go), *rcptto(), *data(), Expect(rb"\.\r\n"),
                            Send(b"250 ok\r\n"), *transaction()])  # fmt: skip
        deadline = stamp(2)
        await engine.send(mail("m1"), mail("m2", maxdelivertime=deadline))
        await eventually(lambda: datetime.now(UTC) >= parse_at(deadline), "the deadline passes")
        go.set()
        assert (await engine.outcome("m1")).kind == "success"
        outcome = await engine.outcome("m2")
        assert (outcome.cell, outcome.kind) == (("amqp", "timeout"), "failure")
        assert set(outcome.last) == {"state", "result", "time"}


async def test_a_message_held_for_too_long_goes_back_without_a_result() -> None:
    async with Engine("ip-maxconnections=1", tweaks={"broker.max_hold": 0.5}) as engine:
        go = asyncio.Event()
        await engine.serve([*opening(), *mailfrom(), Wait(go), *rcptto(), *data(), Expect(rb"\.\r\n"),
                            Send(b"250 ok\r\n")])  # fmt: skip
        await engine.send(mail("m1"), mail("m2"))
        outcome = await engine.waiting("m2")
        copy = outcome.copies[OUTBOX][0]
        assert (copy.due_at, copy.parking) == (None, Parking("domain", DOMAIN, 900))
        body = outcome.body(OUTBOX)
        assert list(body) == [*mail("m2"), "seen"]
        assert "delayed" not in body
        assert engine.observer.waits == ["held too long"]
        go.set()
        assert (await engine.outcome("m1")).kind == "success"
        assert not engine.published("m2").copies.get("results")


async def test_whoever_opens_a_connection_is_not_sent_away_but_those_behind_it_are() -> None:
    async with Engine("smtp-out-timeout-intro=1.5", tweaks={"broker.max_hold": 0.3}) as engine:
        await engine.serve([Stall()])
        await engine.send(*(mail(f"m{number}") for number in range(8)))
        outcomes = [await engine.outcome(f"m{number}", attempts=0) for number in range(8)]
        kinds = sorted(outcome.kind for outcome in outcomes)
        assert kinds == ["retry"] * 5 + ["waiting"] * 3


@pytest.mark.parametrize(
    ("script", "cell"),
    [
        ([Stall()], ("intro", "timeout")),
        ([*greeting(), Stall()], ("ehlo", "timeout")),
        ([*opening(), Stall()], ("mailfrom", "timeout")),
        ([*opening(), *mailfrom(), Stall()], ("rcptto", "timeout")),
        ([*opening(), *mailfrom(), *rcptto(), Stall()], ("data", "timeout")),
    ],
)
async def test_an_attempt_ends_with_the_time_to_acknowledge_and_no_other_host_is_tried(
    script: list[object], cell: tuple[str, str]
) -> None:
    async with Engine(tweaks={"broker.ack_limit": 1.1, "timeouts.message": 0.1}) as engine:
        engine.route(DOMAIN, (10, "mx1.test", "127.0.0.1"), (20, "mx2.test", "127.0.0.2"))
        await engine.serve(script)  # type: ignore[arg-type]
        other = await engine.serve([*opening(), *transaction()], address="127.0.0.2")
        before = time.monotonic()
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.kind) == (cell, "retry")
        assert time.monotonic() - before > 0.9
        assert other.count == 0


async def test_the_time_to_acknowledge_bounds_the_tcp_connection_too() -> None:
    async with Engine(tweaks={"broker.ack_limit": 0.5, "timeouts.message": 0.1}) as engine:
        await engine.serve_silence()
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).cell == ("connect", "timeout")


async def test_content_is_not_begun_when_its_reply_might_come_too_late() -> None:
    """Nothing has been transferred, so nothing is said about the mail."""
    async with Engine(tweaks={"broker.ack_limit": 3.0, "timeouts.message": 2.0}) as engine:
        go = asyncio.Event()
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), Expect(rb"DATA\r\n"), Wait(go),
                                     Send(b"354 go\r\n")])  # fmt: skip
        await engine.send(mail("m1"))
        connection = await server.connection(0)
        await connection.reached.wait()
        await asyncio.sleep(1.1)
        go.set()
        outcome = await engine.waiting("m1")
        assert outcome.queues == {OUTBOX: 1}
        assert engine.observer.waits == ["no time left to send content"]
        await connection.ended.wait()
        assert b"Hello." not in connection.received


async def test_a_transaction_is_not_begun_when_content_could_not_be_sent_any_more() -> None:
    async with Engine("ip-maxconnections=1", tweaks={"broker.ack_limit": 3.0, "timeouts.message": 2.0}) as engine:
        go = asyncio.Event()
        server = await engine.serve([*opening(), *transaction()[:-1], Wait(go), Send(b"250 ok\r\n")])
        await engine.send(mail("m1"), mail("m2"))
        connection = await server.connection(0)
        await connection.reached.wait()
        await asyncio.sleep(1.1)
        go.set()
        assert (await engine.outcome("m1")).kind == "success"
        await engine.waiting("m2")
        assert connection.received.count(b"MAIL FROM") == 1


async def test_a_message_on_its_way_back_is_not_sent_away_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies in the outbox would be two mails."""
    give_back = Publisher.give_back

    def too_late(*_: object) -> None:
        raise NotNowError(PARKED_SECONDS, "no time")

    async with Engine() as engine:

        async def slowly(*arguments: Any) -> None:
            engine.broker._is_blocked = True  # the copy waits for the broker, and the engine does not know why
            next_day = engine.clock.monotonic() + 86_400
            asyncio.get_running_loop().call_soon(engine.worker._admission.sweep, next_day, 0, lambda _: 0)
            await give_back(*arguments)

        monkeypatch.setattr(Pipeline, "_check_again", too_late)
        monkeypatch.setattr(Publisher, "give_back", slowly)
        await engine.serve(opening())
        await engine.send(mail("m1"))
        await eventually(lambda: bool(engine.broker._waiting), "the copy waits")
        for _ in range(5):
            await asyncio.sleep(0)
        engine.broker.set_blocked(blocked=False)
        await eventually(lambda: not engine.worker.scheduler.held, "it is settled")
        assert len((await engine.waiting("m1")).copies[OUTBOX]) == 1


async def test_the_reply_to_content_is_waited_for_beyond_the_time_to_acknowledge() -> None:
    """Breaking off there could only send the mail twice."""
    # Content has to begin within the difference, which a busy machine must be able to keep.
    async with Engine(tweaks={"broker.ack_limit": 4.5, "timeouts.message": 3.0}) as engine:
        go = asyncio.Event()
        server = await engine.serve([*opening(), *transaction()[:-1], Wait(go), Send(b"250 ok\r\n")])
        await engine.send(mail("m1"))
        async with asyncio.timeout(60):
            await (await server.connection(0)).reached.wait()
        # The limit for the reply runs anew with the content.
        await asyncio.sleep(0.5)
        go.set()
        assert (await engine.outcome("m1")).kind == "success"


async def test_a_crash_while_handling_one_message_sends_it_back_and_spares_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare = Composer.prepare_plain

    def fragile(self: Composer, message: Message) -> Content | None:
        if message.mime == b"poison\r\n":
            raise RuntimeError("a bug")
        return prepare(self, message)

    monkeypatch.setattr(Composer, "prepare_plain", fragile)
    async with Engine() as engine:
        engine.may_crash = True
        await engine.serve([*opening(), *transaction()])
        await engine.send(mail("bad", mime="poison\r\n"), mail("good"))
        assert (await engine.outcome("good")).kind == "success"
        outcome = await engine.waiting("bad")
        copy = outcome.copies[OUTBOX][0]
        assert copy.due_at is not None
        assert 200 < (copy.due_at - datetime.now(UTC)).total_seconds() <= 300
        assert list(outcome.body(OUTBOX)) == [*mail("bad"), "seen"]
        assert [crash.component for crash in engine.observer.crashes] == ["pipeline"]


async def test_a_crash_after_the_acknowledgement_publishes_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    async with Engine("max-attempts=1") as engine:
        engine.may_crash = True
        monkeypatch.setattr(engine.observer, "attempt_finished", broken)
        await engine.serve([*opening(), *transaction()])
        await engine.send(mail("m1"), mail("m2", delayed="2026-03-01 09:00:00", maxdelivertime="2026-03-01 09:00:00"))
        await eventually(lambda: len(engine.observer.crashes) == 2, "both crash")
        await eventually(lambda: not engine.worker.scheduler.held, "both are done")
        assert engine.published("m1").kind == "success"
        assert engine.published("m2").kind == "failure"
        assert not engine.published("m1").copies.get(OUTBOX)
        assert not engine.published("m2").copies.get(OUTBOX)


async def test_a_crash_after_the_mail_was_accepted_sends_a_copy_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("a bug")

    async with Engine() as engine:
        engine.may_crash = True
        monkeypatch.setattr("relayq.delivery.publisher.append_attempt", broken)
        await engine.serve([*opening(), *transaction()])
        await engine.send(mail("m1"))
        assert (await engine.waiting("m1")).body(OUTBOX)["possible-duplicate"] is True


async def test_a_crash_before_a_message_is_understood_sends_it_back_as_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fragile(members: Members, *rest: Any) -> Message:
        if b"poison" in bytes(members["mime"]):
            raise RuntimeError("a bug")
        return parse_message(members, *rest)

    monkeypatch.setattr("relayq.delivery.scheduler.parse_message", fragile)
    async with Engine() as engine:
        engine.may_crash = True
        await engine.serve([*opening(), *transaction()])
        await engine.send(mail("bad", mime="poison\r\n"), mail("good"))
        assert (await engine.outcome("good")).kind == "success"
        copy = (await engine.waiting("bad")).copies[OUTBOX][0]
        assert copy.is_verbatim
        assert copy.body == engine.given("bad").body
        assert copy.due_at is not None
        assert 200 < (copy.due_at - datetime.now(UTC)).total_seconds() <= 300


async def test_a_crash_while_settling_a_failure_sends_the_message_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr("relayq.delivery.publisher.encode_invalid_body", broken)
    async with Engine() as engine:
        engine.may_crash = True
        await engine.send(b"not json")
        await eventually(lambda: len(engine.broker.delayed(OUTBOX)) == 1, "the body goes back")
        assert engine.broker.delayed(OUTBOX)[0].body == b"not json"


async def test_a_host_that_closes_at_once_is_lost_not_awaited() -> None:
    async with Engine() as engine:
        await engine.serve([Close()])
        for number in range(20):
            await engine.send(mail(f"m{number}", ips=[f"127.0.1.{number + 1}"]))
        for number in range(20):
            assert (await engine.outcome(f"m{number}")).cell == ("intro", "lost")
