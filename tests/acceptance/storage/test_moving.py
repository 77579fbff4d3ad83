"""What goes to the store, what is published in its place, what is deleted (spec storage.md 3 to 5, results.md 7)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from relayq.adapters.memory import MemoryStore
from relayq.ports import DnsFailureKind, Publication
from relayq.trial import ReceivedMessage
from tests.support.engine import MIME, OUTBOX, Engine, eventually, mail, parse_at
from tests.support.scripted_server import Expect, Send, Step, mailfrom, opening, quit_session, rcptto, transaction

PRODUCERS = "campaign-77/anna"
OURS = "mta-" + "0123456789abcdef" * 2
GENERATED = re.compile(r"mta-[0-9a-f]{32}")
ENDS: dict[str, Sequence[Step]] = {
    "success": [*opening(), *transaction()],
    "failure": [*opening(), *mailfrom(), *rcptto("550 5.1.1 no such user"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")],
    "retry": [*opening(), *mailfrom(), *rcptto("450 4.2.0 greylisted"), Expect(rb"RSET\r\n"), Send(b"250 ok\r\n")],
}
POLICIES = ("all", "out", "in", "none")


async def run(engine: Engine, end: str, message: dict[str, Any]) -> None:
    """One attempt that ends as wanted."""
    await engine.serve([*ENDS[end], *quit_session()])
    await engine.send(message)
    assert (await engine.outcome("m1")).kind == end
    await eventually(lambda: not engine.worker.scheduler.held, "the message is done with")


def content(publication: Publication) -> tuple[bool, str | None]:
    """Whether a copy has its ``mime``, and the kind of its ``key``."""
    body = json.loads(publication.body)
    assert body.get("mime") in (None, MIME)
    key = body.get("key")
    if key is None:
        return "mime" in body, None
    kinds = {PRODUCERS: "producer's", OURS: "ours"}
    return "mime" in body, kinds.get(key) or ("new" if GENERATED.fullmatch(key) else "?")


INLINE = (True, None)
NOTHING = (False, None)
NEW = (False, "new")


# Row of results.md 7: policy, keepmime → copies for results and success or failure; for retry; for the outbox.
MIME_ROWS = [
    *[(policy, False, NOTHING, NOTHING, NEW if policy in ("all", "out") else INLINE) for policy in POLICIES],
    ("all", True, NEW, NEW, NEW),
    ("out", True, INLINE, INLINE, NEW),
    ("in", True, INLINE, INLINE, INLINE),
    ("none", True, INLINE, INLINE, INLINE),
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("policy", "keep", "final", "retry", "outbox"), MIME_ROWS)
async def test_content_in_the_json(
    end: str, policy: str, keep: bool, final: object, retry: object, outbox: object
) -> None:
    store = MemoryStore()
    async with Engine(f"storage-policy={policy}", store=store) as engine:
        await run(engine, end, mail("m1", keepmime=True) if keep else mail("m1"))
        copies = engine.published("m1").copies
        expected = (
            {OUTBOX: outbox, "retry": retry} if end == "retry" else {"results": final, end: final}
        )  # fmt: skip
        assert {queue: content(found[0]) for queue, found in copies.items()} == expected
        keys = {json.loads(found[0].body).get("key") for found in copies.values()} - {None}
        assert store.bodies == dict.fromkeys(keys, MIME.encode())
        assert len(keys) == (NEW in expected.values())
        order = ["id", "mime", "key", "keepmime", "results", "delayed", "seen"]
        for found in copies.values():
            names = [name for name in json.loads(found[0].body) if name in order and name != "key"]
            assert names == [name for name in order if name in names]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("key", [PRODUCERS, OURS])
async def test_content_in_the_store(end: str, policy: str, keep: bool, key: str) -> None:
    store = MemoryStore()
    store.bodies[key] = MIME.encode()
    async with Engine(f"storage-policy={policy}", store=store) as engine:
        members = {"keepmime": True} if keep else {}
        await run(engine, end, mail("m1", mime=None, key=key, **members))
        copies = engine.published("m1").copies
        kind = "ours" if key == OURS else "producer's"
        shown = None if key == OURS and not keep else kind
        expected = {OUTBOX: kind, "retry": shown} if end == "retry" else {"results": shown, end: shown}
        assert {queue: content(found[0]) for queue, found in copies.items()} == {
            queue: (False, name) for queue, name in expected.items()
        }
        is_deleted = end != "retry" and not keep and policy != "none"
        assert store.bodies == ({} if is_deleted else {key: MIME.encode()})
        assert not [verb for verb, _ in store.operations if verb == "save"]
        if policy == "none":
            assert {verb for verb, _ in store.operations} <= {"probe", "sweep", "load"}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("end", ENDS)
async def test_keepmime_with_both_keeps_both(end: str, policy: str) -> None:
    store = MemoryStore()
    async with Engine(f"storage-policy={policy}", store=store) as engine:
        await run(engine, end, mail("m1", key=PRODUCERS, keepmime=True))
        assert {content(found[0]) for found in engine.published("m1").copies.values()} == {(True, "producer's")}
    assert not [key for _, key in store.operations if key]


async def test_without_a_store_the_policy_changes_nothing() -> None:
    async with Engine("storage-policy=all") as engine:
        await run(engine, "retry", mail("m1", keepmime=True))
        assert {content(found[0]) for found in engine.published("m1").copies.values()} == {INLINE}


async def test_a_moved_message_is_delivered_by_a_later_attempt() -> None:
    store, received = MemoryStore(), list[ReceivedMessage]()
    async with Engine("retry-interval=1", store=store) as engine:
        await engine.serve([*ENDS["retry"], *transaction()])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1", attempts=2)
        assert outcome.kind == "success"
        assert content(outcome.copies["success"][0]) == NOTHING
        assert content(outcome.copies["results"][0]) == NOTHING
        await eventually(lambda: not store.bodies, "the body is deleted")
    assert [verb for verb, key in store.operations if key] == ["save", "load", "delete"]
    assert not received


async def test_the_same_content_comes_out_as_went_in() -> None:
    text = "From: a@shop.test\nSubject: \u00e9\r\n\r\n.dot\r\nbare\nend"
    store, received = MemoryStore(), list[ReceivedMessage]()
    async with Engine("retry-interval=1", store=store) as engine:
        engine.resolver.fail_mx("example.test", DnsFailureKind.TIMEOUT)
        await engine.send(mail("m1", mime=text))
        await engine.outcome("m1")
        assert list(store.bodies.values()) == [text.encode()]
        engine.route("example.test", (10, "mx.example.test", "127.0.0.1"))
        await engine.sink(on_message=received.append)
        assert (await engine.outcome("m1", attempts=2)).kind == "success"
        await engine.send(mail("m2", mime=text))
        await engine.outcome("m2")
    assert received[0].content == received[1].content


async def test_a_source_is_stored_as_compact_json() -> None:
    source = b'{ "subject" : "Hi",\n "n": 1.50, "big": 123456789012345678901234567890 }'
    store = MemoryStore()
    async with Engine(store=store) as engine:
        body = b'{"envelope":"b@shop.test","recipient":"anna@example.test","id":"m1","delayed":"2091-01-01 00:00:00",'
        await engine.send(body + b'"maxdelivertime":"2092-01-01 00:00:00","mime":' + source + b"}")
        outcome = await engine.waiting("m1")
        assert content(outcome.copies[OUTBOX][0]) == NEW
    assert list(store.bodies.values()) == [b'{"subject":"Hi","n":1.50,"big":123456789012345678901234567890}']


@pytest.mark.parametrize("mime", ['{"subject":"no header, but JSON"}', " \r\n{}\r\n"])
async def test_a_text_that_would_come_back_as_a_source_stays_inline(mime: str) -> None:
    store = MemoryStore()
    async with Engine(store=store) as engine:
        await engine.send(mail("m1", mime=mime, delayed="2091-01-01 00:00:00", maxdelivertime="2092-01-01 00:00:00"))
        assert (await engine.waiting("m1")).body(OUTBOX)["mime"] == mime
    assert not store.bodies


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_message_that_is_not_due_leaves_its_content_behind(policy: str) -> None:
    store = MemoryStore()
    async with Engine(f"storage-policy={policy}", store=store) as engine:
        await engine.send(mail("m1", delayed="2091-01-01 00:00:00"))
        outcome = await engine.waiting("m1")
        assert content(outcome.copies[OUTBOX][0]) == (NEW if policy in ("all", "out") else INLINE)
        assert outcome.body(OUTBOX)["delayed"] == "2091-01-01 00:00:00"


# --- expiry ---------------------------------------------------------------------------------------------------------


async def expiry_of(*options: str, **members: Any) -> tuple[Engine, MemoryStore]:
    """What is stored by one retry, or by a message that has to wait."""
    store = MemoryStore()
    async with Engine("storage-ttl=1h", *options, store=store) as engine:
        if "delayed" in members:
            await engine.send(mail("m1", **members))
            await engine.waiting("m1")
        else:
            await run(engine, "retry", mail("m1", **members))
    return engine, store


def only_expiry(store: MemoryStore) -> Any:
    [expire_at] = store.expiries.values()
    return expire_at


async def test_the_body_outlives_the_deadline() -> None:
    _, store = await expiry_of(maxdelivertime="2031-01-01 00:00:00")
    assert only_expiry(store) == parse_at("2031-01-01 01:00:00")


async def test_the_deadline_counts_from_the_first_pick_up() -> None:
    engine, store = await expiry_of("max-delivertime=24h")
    seen = parse_at(engine.published("m1").body(OUTBOX)["seen"])
    assert seen + timedelta(hours=25) <= only_expiry(store) < seen + timedelta(hours=25, seconds=1)


async def test_a_message_that_was_never_due_counts_from_its_delay() -> None:
    _, store = await expiry_of("max-delivertime=24h", delayed="2091-01-01 00:00:00")
    assert only_expiry(store) == parse_at("2091-01-02 01:00:00")


async def test_without_a_deadline_every_retry_gives_another_thirty_days() -> None:
    store = MemoryStore()
    options = ("max-delivertime=0", "retry-interval=1", "storage-ttl=1h")
    async with Engine(*options, store=store) as engine:
        await engine.serve([*ENDS["retry"], *ENDS["retry"][len(opening()) :]])
        await engine.send(mail("m1"))
        await engine.outcome("m1", attempts=1)
        first = only_expiry(store)
        assert timedelta(days=30, minutes=59) < first - engine.clock.now() <= timedelta(days=30, hours=1)
        await eventually(lambda: only_expiry(store) > first, "the expiry moves")


async def test_an_endless_deadline_ends_with_the_calendar() -> None:
    _, store = await expiry_of(maxdelivertime="9999-12-31 23:59:59")
    assert only_expiry(store).year == 9999


async def test_results_of_an_expired_message_can_be_read_for_a_while() -> None:
    store = MemoryStore()
    async with Engine("storage-ttl=1h", store=store) as engine:
        await engine.send(mail("m1", keepmime=True, maxdelivertime="2001-01-01 00:00:00"))
        outcome = await engine.outcome("m1")
        assert content(outcome.copies["failure"][0]) == NEW
        assert timedelta(minutes=59) < only_expiry(store) - engine.clock.now() <= timedelta(hours=1)
