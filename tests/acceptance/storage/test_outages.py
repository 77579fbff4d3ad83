"""What a store that cannot be used does to messages (spec storage.md 5 and 9, delivery.md 17)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from relayq.adapters.memory import MemoryStore
from relayq.delivery import bodies
from relayq.delivery.bodies import OUTAGES_IN_A_ROW, STORE_IS_DOWN
from tests.support.engine import MIME, OUTBOX, Engine, eventually, mail
from tests.support.scripted_server import Expect, Send, mailfrom, opening, rcptto, transaction

REFUSED = [*mailfrom(), *rcptto("450 4.2.0 greylisted"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")]
RESET = [*mailfrom(), *rcptto(), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")]


def store_warnings(engine: Engine) -> list[str]:
    return [warning.text for warning in engine.observer.warnings if warning.component == bodies.COMPONENT]


async def hang(verb: str, key: str) -> None:
    """What makes a store answer nothing about messages."""
    if key:
        await asyncio.get_running_loop().create_future()


# --- check 12 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["down", "hanging"])
async def test_content_that_cannot_be_stored_stays_in_the_message(trouble: str) -> None:
    store = MemoryStore()
    async with Engine("storage-timeout=1", store=store) as engine:
        if trouble == "down":
            store.is_down = True
        else:
            store.before = hang
        await engine.serve([*opening(), *REFUSED])
        await engine.send(mail("m1", keepmime=True))
        outcome = await engine.outcome("m1")
        assert outcome.kind == "retry"
        for queue in (OUTBOX, "retry"):
            assert outcome.body(queue)["mime"] == MIME
            assert "key" not in outcome.body(queue)
        assert any("content stays in the message" in text for text in store_warnings(engine))
    assert not store.bodies


async def test_a_store_that_takes_nothing_is_left_alone_for_a_while() -> None:
    store = MemoryStore()
    async with Engine(store=store) as engine:
        store.is_down = True
        await engine.serve([*opening(), *REFUSED * 8])
        for number in range(8):
            await engine.send(mail(f"m{number}"))
            outcome = await engine.outcome(f"m{number}")
            assert outcome.body(OUTBOX)["mime"] == MIME
    assert [verb for verb, key in store.operations if key] == ["save"] * OUTAGES_IN_A_ROW


async def test_one_that_can_only_be_read_is_still_read() -> None:
    store = MemoryStore()
    store.bodies["k1"] = MIME.encode()

    async def refuse(verb: str, key: str) -> None:
        store.is_down = verb != "load"

    store.before = refuse
    async with Engine(store=store) as engine:
        await engine.serve([*opening(), *REFUSED * 5, *transaction()])
        for number in range(5):
            await engine.send(mail(f"m{number}"))
            assert (await engine.outcome(f"m{number}")).kind == "retry"
        await engine.send(mail("keyed", mime=None, key="k1"))
        assert (await engine.outcome("keyed")).kind == "success"


# --- three outages in a row -----------------------------------------------------------------------------------------


async def test_after_three_outages_nothing_with_a_key_is_started_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STORE_PAUSE_SECONDS", 1.0)
    store = MemoryStore()
    store.bodies["k"] = MIME.encode()
    async with Engine(store=store) as engine:
        store.is_down = True
        server = await engine.serve([*opening(), *RESET * 3, *transaction() * 2])
        for number in range(OUTAGES_IN_A_ROW):
            await engine.send(mail(f"m{number}", mime=None, key="k"))
            assert (await engine.outcome(f"m{number}")).cell == ("storage", "timeout")
        await engine.send(mail("parked", mime=None, key="k"), mail("inline"))
        outcome = await engine.waiting("parked")
        assert outcome.queues == {OUTBOX: 1}
        assert outcome.body(OUTBOX)["key"] == "k"
        assert "delayed" not in outcome.body(OUTBOX)
        assert "seen" in outcome.body(OUTBOX)
        assert engine.observer.waits == [STORE_IS_DOWN]
        assert (await engine.outcome("inline")).kind == "success"
        assert len([text for text in store_warnings(engine) if "wait" in text]) == 1
        store.is_down = False
        await eventually(lambda: not engine.worker._bodies.is_paused, "the pause ends")  # type: ignore[union-attr]
        await engine.send(mail("later", mime=None, key="k"))
        assert (await engine.outcome("later")).kind == "success"
        assert server.count == 1


async def test_a_message_that_waited_for_a_connection_meanwhile_is_not_started_either() -> None:
    store = MemoryStore()
    async with Engine("ip-maxconnections=1", store=store) as engine:
        store.is_down = True
        await engine.serve([*opening(), *RESET * 3])
        await engine.send(*[mail(f"m{number}", mime=None, key="k") for number in range(8)])
        for number in range(3):
            assert (await engine.outcome(f"m{number}")).cell == ("storage", "timeout")
        for number in range(3, 8):
            await engine.waiting(f"m{number}")
        assert engine.observer.waits == [STORE_IS_DOWN] * 5


# --- deleting -------------------------------------------------------------------------------------------------------


async def test_the_message_is_acknowledged_before_its_body_is_deleted() -> None:
    """Check 13: whatever ends the process between the two leaves nothing but a body that expires."""
    store = MemoryStore()
    store.bodies["k1"] = MIME.encode()
    is_asked = asyncio.Event()

    async def hang_deleting(verb: str, key: str) -> None:
        if verb == "delete":
            is_asked.set()
            await asyncio.get_running_loop().create_future()

    store.before = hang_deleting
    async with Engine("shutdown-timeout=0", store=store) as engine:
        await engine.sink()
        await engine.send(mail("m1", mime=None, key="k1"))
        await is_asked.wait()
        assert not engine.broker.unsettled
        assert engine.published("m1").queues == {"results": 1, "success": 1}
        await engine.stop()
    assert engine.published("m1").queues == {"results": 1, "success": 1}
    assert store.bodies


async def test_a_body_that_cannot_be_deleted_is_left_to_its_expiry() -> None:
    store = MemoryStore()
    store.bodies["k1"] = MIME.encode()

    async def refuse(verb: str, key: str) -> None:
        store.is_down = verb == "delete"

    store.before = refuse
    async with Engine(store=store) as engine:
        await engine.sink()
        await engine.send(mail("m1", mime=None, key="k1"))
        assert (await engine.outcome("m1")).kind == "success"
        await eventually(lambda: bool(store_warnings(engine)), "a warning")
        assert "left to its expiry" in store_warnings(engine)[0]
        await eventually(lambda: not engine.worker.scheduler.held, "the message is done with")
    assert engine.published("m1").queues == {"results": 1, "success": 1}


async def test_a_driver_that_raises_something_unexpected_does_not_send_the_mail_again() -> None:
    store = MemoryStore()
    store.bodies["k1"] = MIME.encode()

    async def break_down(verb: str, key: str) -> None:
        if verb == "delete":
            raise RuntimeError("a bug")

    store.before = break_down
    async with Engine(store=store) as engine:
        engine.may_crash = True
        await engine.sink()
        await engine.send(mail("m1", mime=None, key="k1"))
        await eventually(lambda: bool(engine.observer.crashes), "the bug is reported")
        await eventually(lambda: not engine.worker.scheduler.held, "the message is done with")
    assert engine.published("m1").queues == {"results": 1, "success": 1}


async def test_a_redelivery_that_is_acknowledged_here_needs_the_body_no_more() -> None:
    store = MemoryStore()
    store.bodies["k1"] = MIME.encode()
    async with Engine(store=store) as engine:

        async def lose(verb: str, key: str) -> None:
            if verb == "load":
                engine.broker.lose_items()

        store.before = lose
        await engine.sink()
        await engine.send(mail("m1", mime=None, key="k1"))
        await eventually(lambda: not store.bodies, "the body is deleted")
        await eventually(lambda: not engine.worker.scheduler.held, "the message is done with")
    assert engine.published("m1").queues == {"results": 1, "success": 1}


async def test_the_body_stays_for_whoever_gets_the_message_again() -> None:
    store = MemoryStore()
    store.bodies["k1"] = MIME.encode()
    async with Engine(store=store) as engine:

        async def lose(verb: str, key: str) -> None:
            if verb == "load":
                engine.broker._channel.is_lost = True  # and the broker gave it to another worker
                engine.worker.scheduler._ledger.channel_lost()

        store.before = lose
        await engine.sink()
        await engine.send(mail("m1", mime=None, key="k1"))
        assert (await engine.outcome("m1")).kind == "success"
        await eventually(lambda: not engine.worker.scheduler.held, "the message is done with")
    assert store.bodies


# --- start ----------------------------------------------------------------------------------------------------------


async def test_a_store_that_is_down_at_the_start_is_a_warning() -> None:
    store = MemoryStore()
    store.is_down = True
    async with Engine(store=store) as engine:
        await engine.sink()
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).kind == "success"
        await eventually(lambda: bool(store_warnings(engine)), "a warning")
        assert store_warnings(engine)[0] == "cannot be used now: down on purpose"
    assert store.operations[0] == ("probe", "")
    assert store.is_closed


@pytest.mark.parametrize("engine_name", ["dir", "sqlite"])
async def test_the_address_of_the_configuration_is_used(tmp_path: Path, engine_name: str) -> None:
    path = tmp_path / "store" / "bodies"
    async with Engine(f"storage-address={engine_name}://{path}", "retry-interval=1") as engine:
        await engine.serve([*opening(), *REFUSED, *transaction()])
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        key = engine.published("m1").body(OUTBOX)["key"]
        if engine_name == "dir":
            assert [found.read_bytes() for found in path.glob(f"?/?/?/?/{key}")] == [MIME.encode()]
        else:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                assert connection.execute("SELECT id FROM messages").fetchall() == [(key,)]
        assert (await engine.outcome("m1", attempts=2)).kind == "success"
        await eventually(lambda: not engine.worker.scheduler.held, "the message is done with")
    if engine_name == "dir":
        assert not [found for found in path.rglob("*") if found.is_file()]
