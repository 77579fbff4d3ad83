"""Everything at once: hosts of every temper, a broker and a store that come and go; nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter

import pytest

from relayq.adapters.memory import MemoryStore
from tests.support.cells import CONTENT, DATA, EHLO, GARBAGE, HELO, MAIL, RCPT
from tests.support.engine import OUTBOX, Engine, eventually, mail
from tests.support.scripted_server import (
    Close,
    Reset,
    ScriptedServer,
    Send,
    Stall,
    Step,
    data,
    mailfrom,
    message,
    opening,
    quit_session,
    rcptto,
    transaction,
)

SEEDS = int(os.environ.get("RELAYQ_TEST_SEEDS", "4"))
HOSTS = 4
MESSAGES = 250
SHORT = tuple(f"smtp-out-timeout-{phase}=0.15" for phase in ("intro", "ehlo", "mailfrom", "rcptto", "data", "message"))
OPTIONS = (
    *SHORT, "smtp-connections=9", "ip-maxconnections=4", "connection-maxmessages=5", "connection-maxidle=50",
    "rabbitmq-qos=60", "rabbitmq-minqos=10", "smtp-max-hosts=3",
)  # fmt: skip
ENDS: list[list[Step]] = [[Close()], [Reset()], [Stall()], [Send(GARBAGE)], [Send(b"421 4.3.2 bye\r\n"), Close()]]


def script(rng: random.Random) -> list[Step]:
    """Some good dialogue, then perhaps something else."""
    extensions = ("PIPELINING",) if rng.random() < 0.5 else ()
    if rng.random() < 0.35:
        return [*rng.choice([[], EHLO, HELO, MAIL, RCPT, DATA, CONTENT]), *rng.choice(ENDS)]
    steps = opening(*extensions)
    for _ in range(rng.randrange(6)):
        steps += transaction()
    if rng.random() < 0.5:
        refusal = rng.choice(["450 4.2.0 later", "550 5.1.1 no", "421 4.7.0 slow down"])
        steps += [*mailfrom(), *rcptto(refusal)] if not extensions else mailfrom(refusal)
    elif rng.random() < 0.5:
        steps += [*mailfrom(), *rcptto(), *data(), *message(rng.choice(["554 5.6.0 no", "451 4.3.0 later"]))]
    return [*steps, *rng.choice([*ENDS, quit_session()])]


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_nothing_is_lost_doubled_or_left_over(seed: int) -> None:
    rng = random.Random(seed)
    tweaks = {"limits.host_offline_time": 0.05, "limits.host_backoff_time": 0.05}
    store = MemoryStore()
    store.before = lambda verb, key: asyncio.sleep(rng.random() * 0.02)
    async with Engine(*OPTIONS, tweaks=tweaks, store=store) as engine:
        servers = [await serve(engine, rng, number) for number in range(1, HOSTS + 1)]
        for domain in range(6):
            numbers = rng.sample(range(1, HOSTS + 1), rng.randrange(1, HOSTS))
            hosts = [(rng.choice([10, 20]), f"mx{number}.test", f"127.0.0.{number}") for number in numbers]
            engine.route(f"d{domain}.test", *hosts)
        for number in range(MESSAGES):
            members = {"ips": ["127.0.0.1", "127.0.0.2"]} if rng.random() < 0.3 else {}
            recipient = f"u@d{rng.randrange(6)}.test"
            content: dict[str, str | None] = {"mime": f"Subject: x\r\nX-Number: {number}.\r\n\r\nHello.\r\n"}
            if rng.random() < 0.3:
                store.bodies[f"k{number}"] = str(content["mime"]).encode()
                content = {"mime": None, "key": f"k{number}"}
            await engine.send(mail(f"m{number}", recipient=recipient, **content, **members))
            if rng.random() < 0.06:
                await trouble(engine, store, rng)
        store.is_down = False
        await eventually(lambda: settled(engine) and not engine.broker.ready(OUTBOX), "all are settled", 60)
        engine.check_lanes()
        await engine.stop()
        check(engine, servers)


async def serve(engine: Engine, rng: random.Random, number: int) -> ScriptedServer:
    scripts = [script(rng) for _ in range(150)]
    return await engine.serve(*scripts, address=f"127.0.0.{number}", strict=False)


async def trouble(engine: Engine, store: MemoryStore, rng: random.Random) -> None:
    """The broker and the store do what brokers and stores do."""
    kind = rng.random()
    if kind < 0.4:
        engine.broker.lose_items()
    elif kind < 0.6:
        store.is_down = not store.is_down
    else:
        engine.broker.set_blocked(blocked=True)
        await asyncio.sleep(rng.random() * 0.05)
        engine.broker.set_blocked(blocked=False)


def settled(engine: Engine) -> bool:
    return not engine.broker.unsettled


def check(engine: Engine, servers: list[ScriptedServer]) -> None:
    everything = b"".join(bytes(connection.received) for server in servers for connection in server.connections)
    sent = Counter(number for number in range(MESSAGES) for _ in range(everything.count(b"X-Number: %d.\r\n" % number)))
    assert max(sent.values(), default=0) <= 1, "content was transferred twice"
    kinds: Counter[str] = Counter()
    for number in range(MESSAGES):
        outcome = engine.published(f"m{number}")
        results = len(outcome.copies.get("results", ())) + len(outcome.copies.get("retry", ()))
        assert results <= 1, "two results for one attempt"
        assert results == 1 or OUTBOX in outcome.copies
        kinds[outcome.kind] += 1
        if outcome.kind == "success":
            assert sent[number] == 1
    assert kinds["success"] > 10, kinds
    assert kinds["retry"] + kinds["failure"] > 10, kinds
