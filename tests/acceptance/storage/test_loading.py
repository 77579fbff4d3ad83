"""When stored content is read, and what happens when it is not there (spec storage.md 5, delivery.md 12.3)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from relayq.adapters.memory import MemoryStore
from relayq.ports import DnsFailureKind
from relayq.trial import ReceivedMessage
from tests.support.engine import DOMAIN, MIME, OUTBOX, Engine, eventually, mail, parse_at
from tests.support.scripted_server import (
    Close,
    Expect,
    ScriptedConnection,
    Send,
    Step,
    Wait,
    data,
    ehlo,
    greeting,
    mailfrom,
    message,
    opening,
    rcptto,
    transaction,
)

KEY = "campaign-77/anna"
RESET: list[Step] = [Expect(rb"RSET\r\n"), Send(b"250 2.0.0 fine\r\n")]
REFUSED_RCPT = [*opening(), *mailfrom(), *rcptto("550 5.1.1 no such user"), *RESET]


class HeldStore(MemoryStore):
    """A store that answers a load only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.before = self._hold

    async def _hold(self, verb: str, key: str) -> None:
        if verb == "load":
            self.asked.set()
            await self.answer.wait()


def keyed(ident: str = "m1", **members: Any) -> dict[str, Any]:
    """A message whose content lies in the store."""
    return mail(ident, **{"mime": None, "key": KEY, **members})


def stored(body: bytes | str = MIME) -> MemoryStore:
    """A store with one body."""
    store = MemoryStore()
    store.bodies[KEY] = body.encode() if isinstance(body, str) else body
    return store


def asked(store: MemoryStore) -> list[tuple[str, str]]:
    """What the store was asked about messages."""
    return [(verb, key) for verb, key in store.operations if verb not in ("probe", "sweep")]


def commands(connection: ScriptedConnection) -> list[bytes]:
    """Verbs the server received, content left out."""
    outside = re.sub(rb"(?s)DATA\r\n.*?\r\n\.\r\n", b"DATA\r\n", bytes(connection.received))
    return [line.split(b" ")[0] for line in outside.split(b"\r\n") if line]


# --- check 1, 2 -----------------------------------------------------------------------------------------------------


async def test_a_stored_body_is_delivered_octet_by_octet_and_gone_afterwards() -> None:
    body = b"From: a@shop.test\r\nSubject: x\r\n\r\n.dot\r\n..two\r\n" + bytes(range(128, 256)) + b"\r\nend\r\n"
    store, received = stored(body), list[ReceivedMessage]()
    async with Engine(store=store) as engine:
        await engine.sink(on_message=received.append)
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert outcome.kind == "success"
        assert outcome.body("success")["key"] == KEY
        assert "mime" not in outcome.body("success")
        assert received[0].content == body
        await eventually(lambda: KEY not in store.bodies, "the body is deleted")
    assert asked(store) == [("load", KEY), ("delete", KEY)]


async def test_keepmime_keeps_the_body_and_lets_its_readers_have_time() -> None:
    store = stored()
    async with Engine("storage-ttl=1h", store=store) as engine:
        store.expiries[KEY] = engine.clock.now() + timedelta(minutes=1)
        await engine.sink()
        await engine.send(keyed(keepmime=True))
        outcome = await engine.outcome("m1")
        assert outcome.body("results")["key"] == KEY
        at_least = engine.clock.now() + timedelta(minutes=59)
        await eventually(lambda: store.expiries[KEY] > at_least, "the expiry is moved")
        assert store.expiries[KEY] <= engine.clock.now() + timedelta(hours=1)
    assert store.bodies[KEY] == MIME.encode()


# --- check 3 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["unknown", "damaged", "empty"])
async def test_missing_content_is_final_and_the_connection_goes_on(trouble: str) -> None:
    store = stored()
    if trouble == "unknown":
        store.bodies.clear()
    elif trouble == "damaged":
        store.damage(KEY)
    else:
        store.bodies[KEY] = b""
    async with Engine("smtp-connections-out=1", store=store) as engine:
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), *RESET, *transaction()])
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("failure", ("storage", "error"))
        assert outcome.last.keys() == {"state", "result", "time", "from", "to", "messages"}
        assert outcome.body("failure")["key"] == KEY
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).last["messages"] == 2
        assert server.count == 1
        assert commands(server.connections[0])[:7] == [
            b"EHLO", b"MAIL", b"RCPT", b"RSET", b"MAIL", b"RCPT", b"DATA",
        ]  # fmt: skip


async def test_stored_content_that_cannot_be_composed_fails_on_the_open_connection() -> None:
    async with Engine(store=stored(b"Subject: x\r\n\r\na\0b\r\n")) as engine:
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), *RESET, *transaction()])
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell, outcome.last["messages"]) == ("failure", ("responsive", "error"), 1)
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).last["messages"] == 2
        assert server.count == 1


@pytest.mark.parametrize(
    ("members", "cell"),
    [
        ({"dkim": {"domain": "shop.test", "selector": "a", "key": "no key"}}, ("responsive", "error")),
        ({"headers": 17}, ("amqp", "invalid")),
    ],
)
async def test_what_is_wrong_beside_the_content_is_found_before_connecting(
    members: dict[str, Any], cell: tuple[str, str]
) -> None:
    store = stored()
    async with Engine(store=store) as engine:
        server = await engine.serve(opening())
        await engine.send(keyed(**members))
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("failure", cell)
        assert outcome.last.keys() == {"state", "result", "time"}
        assert server.count == 0
    assert not [verb for verb, _ in asked(store) if verb == "load"]


# --- check 14 -------------------------------------------------------------------------------------------------------


async def test_a_stored_source_is_composed_as_if_it_were_inline() -> None:
    source = {"from": "news@shop.test", "subject": "Hi {$name}", "text": "Dear {$name}\u00e9"}
    members = {"data": {"name": "Anna"}, "delayed": "2026-01-01 00:00:00", "seen": "2026-01-01 00:00:00"}
    received = list[ReceivedMessage]()
    async with Engine("max-delivertime=0", store=stored(" " + json.dumps(source))) as engine:
        await engine.sink(on_message=received.append)
        await engine.send(keyed("stored", **members))
        assert (await engine.outcome("stored")).kind == "success"
        await engine.send(mail("inline", **{**members, "mime": source}))
        assert (await engine.outcome("inline")).kind == "success"
    first, second = (re.sub(rb"=_[0-9a-f]{32}", b"=_", message.content or b"") for message in received)
    assert b"Anna" in first
    assert first == second


# --- check 4 --------------------------------------------------------------------------------------------------------


async def test_a_slow_store_is_tried_again_after_the_time_for_that() -> None:
    store = HeldStore()
    async with Engine("storage-timeout=1", "storage-reschedule=77", "retry-interval=600", store=store) as engine:
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), *RESET, *transaction()])
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("retry", ("storage", "timeout"))
        due = parse_at(outcome.body(OUTBOX)["delayed"]) - parse_at(outcome.last["time"])
        assert 77 <= due.total_seconds() <= 78
        assert outcome.body(OUTBOX)["key"] == KEY
        assert outcome.body("retry")["key"] == KEY
        await engine.send(mail("m2"))
        assert (await engine.outcome("m2")).last["messages"] == 2
        assert server.count == 1


async def test_a_store_that_is_down_is_a_timeout_as_well() -> None:
    store = stored()
    store.is_down = True
    async with Engine(store=store) as engine:
        await engine.serve([*opening(), *mailfrom(), *rcptto(), *RESET])
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("retry", ("storage", "timeout"))
        assert "code" not in outcome.last
    assert store.bodies[KEY]


# --- check 5 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "cell", "told"),
    [
        ([Close()], ("storage", "lost"), {}),
        ([Send(b"421 4.4.2 Bye\r\n"), Close()], ("storage", "invalid"), {"code": 421, "description": "Bye"}),
        ([Send(b"250 2.0.0 what?\r\n")], ("storage", "invalid"), {"code": 250, "description": "what?"}),
        ([Send(b"nonsense\r\n")], ("storage", "invalid"), {"description": "nonsense"}),
    ],
    ids=["closes", "421", "250", "nonsense"],
)
async def test_the_peer_comes_before_the_store(end: list[Step], cell: tuple[str, str], told: dict[str, Any]) -> None:
    store, is_asked = HeldStore(), asyncio.Event()
    store.bodies[KEY] = MIME.encode()
    async with Engine(store=store) as engine:
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), Wait(is_asked), *end])
        await engine.send(keyed())
        await store.asked.wait()
        is_asked.set()
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("retry", cell)
        assert outcome.last["messages"] == 1
        assert {name: outcome.last[name] for name in told} == told
        assert ("code" in outcome.last) == ("code" in told)
        store.answer.set()
        await server.connections[0].ended.wait()
        assert b"DATA" not in commands(server.connections[0])


@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_peer_that_says_more_than_it_was_asked(pipelined: bool) -> None:
    both = Send(b"250 2.1.5 ok\r\n421 4.3.2 Shutting down\r\n")
    extensions = ("PIPELINING",) if pipelined else ()
    async with Engine(store=stored()) as engine:
        await engine.serve([*greeting(), *ehlo(*extensions), *mailfrom(), Expect(rb"RCPT TO:[^\r\n]*\r\n"), both])
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.last["code"]) == (("storage", "invalid"), 421)


async def test_half_a_line_while_loading_is_more_than_the_peer_was_asked() -> None:
    store = HeldStore()
    store.bodies[KEY] = MIME.encode()
    async with Engine(store=store) as engine:
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), Send(b"250 no en")])
        await engine.send(keyed())
        await store.asked.wait()
        await eventually(lambda: server.connections[0].sent.endswith(b"no en"), "half a line is sent")
        store.answer.set()
        outcome = await engine.outcome("m1")
        assert (outcome.cell, outcome.last["description"]) == (("storage", "invalid"), "250 no en")


async def test_the_attempt_ends_when_its_time_is_up() -> None:
    store = HeldStore()
    tweaks = {"broker.ack_limit": 1.0, "timeouts.message": 0.1}
    async with Engine("storage-timeout=60", tweaks=tweaks, store=store) as engine:
        await engine.serve([*opening(), *mailfrom(), *rcptto()])
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("retry", ("storage", "timeout"))


# --- check 6 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["dns", "connect", "rcpt", "mail"])
async def test_the_store_is_not_asked_for_what_does_not_get_that_far(reason: str) -> None:
    store = stored()
    scripts: dict[str, Sequence[Step]] = {
        "rcpt": [*opening(), *mailfrom(), *rcptto("450 4.2.0 greylisted"), *RESET],
        "mail": [*opening(), *mailfrom("451 4.3.0 not now"), *RESET],
    }
    async with Engine(store=store) as engine:
        if reason == "dns":
            engine.resolver.fail_mx(DOMAIN, DnsFailureKind.TIMEOUT)
        if reason in scripts:
            await engine.serve(scripts[reason])
        await engine.send(keyed())
        assert (await engine.outcome("m1")).kind == "retry"
    assert asked(store) == []


async def test_the_body_of_a_refused_mail_is_deleted_without_having_been_read() -> None:
    store = stored()
    async with Engine(store=store) as engine:
        await engine.serve(REFUSED_RCPT)
        await engine.send(keyed())
        assert (await engine.outcome("m1")).cell == ("rcptto", "error")
        await eventually(lambda: KEY not in store.bodies, "the body is deleted")
    assert asked(store) == [("delete", KEY)]


async def test_the_body_of_an_expired_message_is_deleted_too() -> None:
    store = stored()
    async with Engine(store=store) as engine:
        await engine.send(keyed(maxdelivertime="2001-01-01 00:00:00"))
        assert (await engine.outcome("m1")).cell == ("amqp", "timeout")
        await eventually(lambda: KEY not in store.bodies, "the body is deleted")


# --- dialogue -------------------------------------------------------------------------------------------------------


async def test_the_store_is_asked_only_after_the_recipient_was_accepted() -> None:
    store, go_on = stored(), asyncio.Event()
    async with Engine(store=store) as engine:
        server = await engine.serve(
            [*opening(), *mailfrom(), Expect(rb"RCPT TO:[^\r\n]*\r\n"), Wait(go_on), Send(b"250 ok\r\n"), *data(),
             *message()]
        )  # fmt: skip
        await engine.send(keyed())
        connection = await server.connection(0)
        await connection.reached.wait()
        assert asked(store) == []
        go_on.set()
        assert (await engine.outcome("m1")).kind == "success"
        assert asked(store)[0] == ("load", KEY)


async def test_parameters_do_without_the_content() -> None:
    async with Engine(store=stored("Subject: \xe9\r\n\r\nx\r\n")) as engine:
        server = await engine.serve([*opening("SIZE 1000000", "8BITMIME", "PIPELINING"), *transaction()])
        await engine.send(keyed())
        assert (await engine.outcome("m1")).kind == "success"
        mail_line = next(line for line in server.connections[0].received.split(b"\r\n") if line.startswith(b"MAIL"))
        assert mail_line == b"MAIL FROM:<b@shop.test> BODY=8BITMIME"


async def test_content_larger_than_announced_starts_over_with_its_size() -> None:
    async with Engine(store=stored(MIME + "x" * 70 * 20 + "\r\n")) as engine:
        server = await engine.serve(
            [*opening("SIZE 1000"), *mailfrom(), *rcptto(), *RESET, *mailfrom("552 5.3.4 too big"), *RESET]
        )
        await engine.send(keyed())
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell, outcome.last["code"]) == ("failure", ("mailfrom", "error"), 552)
        assert b"SIZE=" in server.connections[0].received


async def test_loads_do_not_hold_up_others() -> None:
    store = HeldStore()
    store.bodies[KEY] = MIME.encode()
    async with Engine(store=store) as engine:
        await engine.sink()
        await engine.send(keyed("slow"))
        await store.asked.wait()
        await engine.send(mail("quick"))
        assert (await engine.outcome("quick")).kind == "success"
        assert not engine.published("slow").copies
        store.answer.set()
        assert (await engine.outcome("slow")).kind == "success"


async def test_a_body_stays_loaded_while_the_attempt_moves_to_another_host() -> None:
    store = stored()
    async with Engine("failover-on-4xx=yes", store=store) as engine:
        engine.route(DOMAIN, (10, "a.example.test", "127.0.0.1"), (20, "b.example.test", "127.0.0.2"))
        await engine.serve([*opening("SIZE 10000"), *mailfrom(), *rcptto(), *data("451 4.3.0 not now"), *RESET])
        second = await engine.serve([*opening("SIZE 10000"), *transaction()], address="127.0.0.2")
        await engine.send(keyed())
        assert (await engine.outcome("m1")).kind == "success"
        assert b"SIZE=" in second.connections[0].received  # by now it is known
    assert [verb for verb, _ in asked(store)] == ["load", "delete"]


async def test_the_next_attempt_loads_again() -> None:
    store = stored()
    async with Engine("retry-interval=1", store=store) as engine:
        await engine.serve([*opening(), *mailfrom(), *rcptto(), *data("451 not now"), *RESET, *transaction()])
        await engine.send(keyed())
        assert (await engine.outcome("m1", attempts=2)).kind == "success"
        await eventually(lambda: not store.bodies, "the body is deleted")
    assert [verb for verb, _ in asked(store)] == ["load", "load", "delete"]


# --- check 15, 16 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["250 2.0.0 queued", "550 5.7.1 no", "450 4.2.0 later"])
async def test_mime_beside_a_key_is_sent_and_the_entry_left_alone(reply: str) -> None:
    store, received = stored("theirs"), list[bytes]()
    async with Engine(store=store) as engine:
        server = await engine.serve([*opening(), *mailfrom(), *rcptto(), *data(), *message(reply)])
        await engine.send(mail("m1", key=KEY))
        outcome = await engine.outcome("m1")
        received.append(bytes(server.connections[0].received))
        if outcome.kind == "retry":
            assert (outcome.body(OUTBOX)["mime"], outcome.body(OUTBOX)["key"]) == (MIME, KEY)
        assert "mime" not in outcome.body(outcome.kind)
        assert outcome.body(outcome.kind)["key"] == KEY
    assert b"Hello." in received[0]
    assert asked(store) == []
    assert store.bodies == {KEY: b"theirs"}


@pytest.mark.parametrize("members", [{"key": KEY}, {}, {"key": KEY, "delayed": "2091-01-01 00:00:00"}])
async def test_a_key_without_a_store_is_found_before_connecting(members: dict[str, Any]) -> None:
    async with Engine() as engine:
        server = await engine.serve(opening())
        await engine.send(mail("m1", mime=None, **members))
        outcome = await engine.outcome("m1")
        assert (outcome.kind, outcome.cell) == ("failure", ("storage", "error"))
        assert outcome.last.keys() == {"state", "result", "time"}
        assert server.count == 0
        assert outcome.body("failure").get("key") == members.get("key")


async def test_stopping_while_content_is_loaded_loses_nothing() -> None:
    store = HeldStore()
    store.bodies[KEY] = MIME.encode()
    async with Engine("shutdown-timeout=1", store=store) as engine:
        await engine.serve([*opening(), *mailfrom(), *rcptto()])
        await engine.send(keyed())
        await store.asked.wait()
        await engine.stop()
        assert not engine.published("m1").copies
        assert store.is_closed
    assert store.bodies
