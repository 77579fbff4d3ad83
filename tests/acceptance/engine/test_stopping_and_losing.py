"""Stopping, a broker that blocks, a connection to it that breaks (spec delivery.md 2.4, 17; amqp.md 13, 14)."""

from __future__ import annotations

import asyncio

from relayq.ports import Properties
from tests.support.engine import OUTBOX, Engine, eventually, mail
from tests.support.scripted_server import (
    Expect,
    Send,
    Stall,
    Wait,
    data,
    mailfrom,
    opening,
    quit_session,
    rcptto,
    transaction,
)

TO_THE_DOT = [*opening(), *mailfrom(), *rcptto(), *data(), Expect(rb"\r\n\.\r\n")]
TAKEN = [Send(b"250 2.0.0 taken\r\n")]


# --- stopping -------------------------------------------------------------------------------------------------------


async def test_stopping_lets_running_transactions_end_and_requeues_the_rest_untouched() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        go = asyncio.Event()
        server = await engine.serve([*TO_THE_DOT, Wait(go), *TAKEN, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(5)))
        await (await server.connection(0)).reached.wait()
        stopping = asyncio.ensure_future(engine.stop())
        await eventually(lambda: len(engine.broker.ready(OUTBOX)) == 4, "what was not started is back")
        assert not stopping.done()
        go.set()
        await stopping
        assert engine.published("m0").kind == "success"
        assert [item.body for item in engine.broker.ready(OUTBOX)] == [engine.given(f"m{n}").body for n in range(1, 5)]
        assert engine.broker.delayed(OUTBOX) == []
        assert engine.observer.waits == []
        assert server.connections[0].received.endswith(b"QUIT\r\n")


async def test_stopping_while_connections_are_being_opened_requeues_at_once() -> None:
    async with Engine("shutdown-timeout=1000") as engine:
        server = await engine.serve([Stall()])
        await engine.send(*(mail(f"m{number}") for number in range(5)))
        await server.connection(0)
        await engine.stop()
        assert len(engine.broker.ready(OUTBOX)) == 5
        assert not engine.observer.attempts


async def test_stopping_cuts_transactions_that_outlive_the_limit_without_a_result() -> None:
    async with Engine("shutdown-timeout=0.2") as engine:
        server = await engine.serve([*TO_THE_DOT, Stall()])
        await engine.send(mail("m1"))
        await server.connection(0)
        await eventually(lambda: b"Hello." in server.connections[0].received, "the content is out")
        await engine.stop()
        assert [item.body for item in engine.broker.ready(OUTBOX)] == [engine.given("m1").body]
        assert not engine.published("m1").copies


async def test_stopping_requeues_what_waits_for_its_time_in_the_process() -> None:
    from tests.acceptance.engine.test_waiting import stamp

    async with Engine() as engine:
        await engine.send(mail("m1", delayed=stamp(1)))
        await eventually(lambda: len(engine.broker.unsettled) == 1, "it is picked up")
        await engine.stop()
        assert len(engine.broker.ready(OUTBOX)) == 1


async def test_stopping_an_idle_engine_says_goodbye() -> None:
    async with Engine("connection-maxidle=60000") as engine:
        server = await engine.serve([*opening(), *transaction(), *quit_session()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.stop()
        assert server.connections[0].received.endswith(b"QUIT\r\n")


async def test_stopping_with_thousands_of_messages_in_the_outbox_loses_none() -> None:
    async with Engine(is_started=False) as engine:
        await engine.sink()
        await engine.send(*(mail(f"m{number}") for number in range(3000)))
        await engine.start()
        await eventually(lambda: len(engine.observer.attempts) > 500, "it is in full swing")
        await engine.stop()
        done = len(engine.observer.attempts)
        assert done < 3000
        # On a busy machine some are parked meanwhile.
        assert done + len(engine.broker.ready(OUTBOX)) + len(engine.broker.parked()) == 3000


# --- a broker that blocks -------------------------------------------------------------------------------------------


async def test_while_the_broker_is_blocked_running_transactions_end_and_nothing_new_starts() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        go = asyncio.Event()
        server = await engine.serve([*TO_THE_DOT, Wait(go), *TAKEN, *transaction() * 5, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(4)))
        connection = await server.connection(0)
        await connection.reached.wait()
        engine.broker.set_blocked(blocked=True)
        go.set()
        await eventually(lambda: connection.sent.endswith(b"taken\r\n"), "the running one ends")
        await asyncio.sleep(0.1)
        assert connection.received.count(b"MAIL FROM") == 1
        assert server.count == 1
        assert not engine.published().copies
        assert len(engine.broker.unsettled) == 4
        engine.broker.set_blocked(blocked=False)
        for number in range(4):
            assert (await engine.outcome(f"m{number}")).kind == "success"
        assert server.count == 1
        assert [engine.published(f"m{n}").queues for n in range(4)] == [{"results": 1, "success": 1}] * 4


async def test_messages_that_arrive_while_the_broker_is_blocked_are_not_started() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening(), *transaction() * 3, *quit_session()])
        sending = asyncio.ensure_future(engine.send(mail("m1")))
        await sending
        engine.broker.set_blocked(blocked=True)
        await asyncio.sleep(0.05)
        assert server.count == 0
        engine.broker.set_blocked(blocked=False)
        assert (await engine.outcome("m1")).kind == "success"


async def test_an_opening_is_broken_off_when_the_broker_blocks() -> None:
    async with Engine() as engine:
        server = await engine.serve([Stall()], [*opening(), *transaction(), *quit_session()])
        await engine.send(mail("m1"))
        connection = await server.connection(0)
        engine.broker.set_blocked(blocked=True)
        await connection.ended.wait()
        engine.broker.set_blocked(blocked=False)
        assert (await engine.outcome("m1")).kind == "success"
        assert len(engine.observer.attempts) == 1


async def test_a_broker_blocked_for_long_gets_back_what_was_not_started() -> None:
    async with Engine(tweaks={"broker.max_hold": 0.3}) as engine:
        server = await engine.serve([*opening(), *transaction() * 3, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(3)))
        engine.broker.set_blocked(blocked=True)
        await eventually(lambda: len(engine.broker.ready(OUTBOX)) == 3, "they are given back")
        assert engine.broker.unsettled == []
        assert server.count == 0
        engine.broker.set_blocked(blocked=False)
        for number in range(3):
            assert (await engine.outcome(f"m{number}")).kind == "success"


async def test_blocking_on_and_off_loses_and_doubles_nothing() -> None:
    async with Engine(is_started=False) as engine:
        sink = await engine.sink()
        await engine.send(*(mail(f"m{number}") for number in range(1500)))
        await engine.start()
        for step in range(12):
            await eventually(lambda: len(engine.observer.attempts) >= min(100 * step, 1400), "it goes on")  # noqa: B023
            engine.broker.set_blocked(blocked=True)
            await asyncio.sleep(0.01)
            engine.broker.set_blocked(blocked=False)
        await eventually(lambda: len(engine.observer.attempts) == 1500, "all are done")
        assert sink.counters.messages == 1500


async def test_stopping_while_the_broker_is_blocked() -> None:
    async with Engine("shutdown-timeout=0.3") as engine:
        server = await engine.serve([*opening(), *transaction()])
        await engine.send(mail("m1"))
        engine.broker.set_blocked(blocked=True)
        await asyncio.sleep(0.02)
        await engine.stop()
        assert len(engine.broker.ready(OUTBOX)) + len(engine.published("m1").copies) >= 1
        assert server.count <= 1


# --- a connection to the broker that breaks -------------------------------------------------------------------------


async def test_a_message_handed_out_again_during_its_transaction_is_sent_once() -> None:
    async with Engine() as engine:
        go = asyncio.Event()
        server = await engine.serve([*TO_THE_DOT, Wait(go), *TAKEN, *transaction(), *quit_session()])
        await engine.send(mail("m1"))
        connection = await server.connection(0)
        await connection.reached.wait()
        engine.broker.lose_items()
        await eventually(lambda: len(engine.broker.unsettled) == 1, "it is handed out again")
        go.set()
        assert (await engine.outcome("m1")).queues == {"results": 1, "success": 1}
        await eventually(lambda: not engine.broker.unsettled and not engine.broker.ready(OUTBOX), "both are settled")
        assert connection.received.count(b"MAIL FROM") == 1
        assert server.count == 1


async def test_a_message_handed_out_again_after_its_outcome_is_not_sent_again() -> None:
    async with Engine("rabbitmq-qos=100") as engine:
        server = await engine.serve([*opening(), *transaction() * 2, *quit_session()])
        await engine.send(mail("m1"), properties=Properties(message_id="one"))
        await engine.outcome("m1")
        # As a broker does whose connection was cut before it saw the acknowledgement.
        engine.broker.lose_items()
        engine.broker._queues.put_back(engine.broker.settled[0].message)
        engine.broker.wake()
        await eventually(lambda: len(engine.broker.settled) == 2, "it is handed out and settled again")
        await eventually(lambda: not engine.broker.unsettled and not engine.broker.ready(OUTBOX), "it is acknowledged")
        assert engine.published("m1").queues == {"results": 1, "success": 1}
        assert server.connections[0].received.count(b"MAIL FROM") == 1


async def test_two_equal_messages_are_two_mails() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening(), *transaction() * 2, *quit_session()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m1"))
        await eventually(lambda: engine.published("m1").queues["results"] == 2, "both have results")
        assert sum(connection.received.count(b"MAIL FROM") for connection in server.connections) == 2


async def test_messages_not_started_are_dropped_and_come_back() -> None:
    async with Engine("ip-maxconnections=1") as engine:
        go = asyncio.Event()
        server = await engine.serve([*TO_THE_DOT, Wait(go), *TAKEN, *transaction() * 5, *quit_session()])
        await engine.send(*(mail(f"m{number}") for number in range(4)))
        connection = await server.connection(0)
        await connection.reached.wait()
        engine.broker.lose_items()
        go.set()
        for number in range(4):
            outcome = await engine.outcome(f"m{number}")
            assert outcome.queues == {"results": 1, "success": 1}
        assert connection.received.count(b"MAIL FROM") == 4


async def test_losing_items_again_and_again_loses_and_doubles_nothing() -> None:
    async with Engine(is_started=False) as engine:
        sink = await engine.sink()
        await engine.send(*(mail(f"m{number}") for number in range(1500)))
        await engine.start()
        for step in range(1, 12):
            await eventually(lambda: len(engine.observer.attempts) >= min(100 * step, 1400), "it goes on")  # noqa: B023
            engine.broker.lose_items()
        # Not as soon as the outbox is empty: on a busy machine some are parked meanwhile.
        await eventually(lambda: len(engine.broker.bodies("results")) >= 1500, "all have results")
        await eventually(lambda: not engine.broker.ready(OUTBOX) and not engine.broker.unsettled, "all are settled")
        assert sink.counters.messages == 1500
        assert len(engine.broker.bodies("results")) == 1500


async def test_losing_items_while_connections_are_being_opened() -> None:
    async with Engine() as engine:
        go = asyncio.Event()
        server = await engine.serve([Wait(go), *opening(), *transaction() * 9])
        await engine.send(*(mail(f"m{number}") for number in range(8)))
        await (await server.connection(0)).reached.wait()
        engine.broker.lose_items()
        go.set()
        for number in range(8):
            assert (await engine.outcome(f"m{number}")).queues == {"results": 1, "success": 1}
        received = sum(connection.received.count(b"MAIL FROM") for connection in server.connections)
        assert received == 8
