"""What only the file of the embedded broker tells: domains, ages, all queues."""

from __future__ import annotations

import asyncio
import gzip
import os
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relayq.adapters.embedded import EmbeddedBroker, EmbeddedInspector, EmbeddedOptions
from relayq.adapters.embedded.inspector import NO_JSON, NO_RECIPIENT
from relayq.adapters.memory import ManualClock
from relayq.app import SilentListener
from relayq.ports import (
    BrokerStorageError,
    BrokerUnavailableError,
    Properties,
    Publication,
    QueueRole,
    TopologyError,
)

START = datetime(2031, 3, 1, 9, tzinfo=UTC)


def message(body: bytes, queue: str = "outbox", due_at: datetime | None = None, **properties: str) -> Publication:
    return Publication(
        queue=queue,
        body=body,
        properties=Properties(**properties),  # type: ignore[arg-type]
        role=QueueRole.OUTBOX,
        due_at=due_at,
        is_verbatim=True,
    )


class Bench:
    def __init__(self, path: Path) -> None:
        self.clock = ManualClock(START)
        self.broker = EmbeddedBroker(
            EmbeddedOptions(path=str(path)), SilentListener(), self.clock, lambda _level, _text: None
        )
        self.inspector = EmbeddedInspector(str(path), self.clock, 5.0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "q.db")
    await bench.broker.open()
    await bench.inspector.open()
    yield bench
    await bench.inspector.close()
    await bench.broker.close()


async def test_domains_and_ages(bench: Bench) -> None:
    await bench.broker.publish((message(b'{"recipient": "A@Example.ORG"}'), message(b'{"recipient": "b@example.org"}')))
    bench.clock.advance(100)
    await bench.broker.publish(
        (
            message(gzip.compress(b'{"recipient": "c@\xc3\xa4.example"}'), content_encoding="gzip"),
            message(b'{"recipient": "d@example.org"}', due_at=START + timedelta(seconds=500)),
            message(b'{"recipient": "e@elsewhere.example"}', queue="results"),
            message(b"[1]"),
            message(b"no json"),
            message(b'{"recipient": 7}'),
            message(b'{"recipient": "nobody"}'),
        )
    )
    bench.clock.advance(30)
    states = await bench.inspector.look_into("outbox", (60.0, 600.0))
    assert states is not None
    shown = [(state.domain, state.ready, state.delayed, state.by_age) for state in states]
    assert shown == [
        ("example.org", 2, 1, (1, 2, 0)),
        (NO_JSON, 2, 0, (2, 0, 0)),
        (NO_RECIPIENT, 2, 0, (2, 0, 0)),
        ("xn--4ca.example", 1, 0, (1, 0, 0)),
    ]
    assert states[0].oldest_at == START


async def test_delayed_messages_become_ready_with_time(bench: Bench) -> None:
    await bench.broker.publish((message(b'{"recipient": "a@b.test"}', due_at=START + timedelta(seconds=60)),))
    (state,) = await bench.inspector.look(("outbox",))
    assert (state.ready, state.delayed, state.oldest_at) == (0, 1, START)
    bench.clock.advance(60)
    (state,) = await bench.inspector.look(("outbox",))
    assert (state.ready, state.delayed) == (1, 0)
    domains = await bench.inspector.look_into("outbox", ())
    assert domains is not None
    assert (domains[0].ready, domains[0].by_age) == (1, (1,))
    assert await bench.inspector.purge("outbox") == 1


async def test_other_queues_follow_the_named_ones(bench: Bench) -> None:
    await bench.broker.publish((message(b"{}", queue="b"), message(b"{}", queue="a"), message(b"{}", queue="outbox")))
    assert [state.name for state in await bench.inspector.look(("results", "outbox"))] == [
        "results",
        "outbox",
        "a",
        "b",
    ]


async def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    inspector = EmbeddedInspector(str(path), ManualClock(START), 1.0)
    await inspector.open()
    (state,) = await inspector.look(("outbox",))
    assert (state.messages, await inspector.look_into("outbox", ()), await inspector.purge("outbox")) == (0, (), 0)
    await inspector.close()
    assert os.listdir(tmp_path) == []


async def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(TopologyError):
        await EmbeddedInspector(str(path), ManualClock(START), 1.0).open()
    assert path.read_bytes() == b"something else" * 100
    assert os.listdir(tmp_path) == [path.name]


async def test_a_damaged_file_is_told(tmp_path: Path, bench: Bench) -> None:
    await bench.inspector.close()
    await bench.broker.close()
    path = tmp_path / "q.db"
    path.write_bytes(path.read_bytes()[:8192] + b"\xff" * 8192 * 8)
    with pytest.raises(BrokerStorageError):
        await EmbeddedInspector(str(path), ManualClock(START), 1.0).open()


async def test_purging_waits_for_others_no_longer_than_its_limit(tmp_path: Path, bench: Bench) -> None:
    await bench.broker.publish((message(b"{}"),))
    impatient = EmbeddedInspector(str(tmp_path / "q.db"), bench.clock, 0.2)
    await impatient.open()
    intruder = sqlite3.connect(tmp_path / "q.db", isolation_level=None)
    try:
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailableError, match="locked"):
            await impatient.purge("outbox")
        (state,) = await impatient.look(("outbox",))
        assert state.ready == 1
    finally:
        intruder.close()
    assert await impatient.purge("outbox") == 1
    await impatient.close()


async def test_a_cancelled_look_ends_at_once(bench: Bench) -> None:
    await bench.broker.publish([message(b'{"recipient": "a@b.test"}') for _ in range(20_000)])
    looking = asyncio.ensure_future(bench.inspector.look_into("outbox", (60.0,)))
    await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    async with asyncio.timeout(60):
        await bench.inspector.close()
