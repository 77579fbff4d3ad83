"""How many connections there are, from which local address, and who gets them (spec delivery.md 7 and 8.2)."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from relayq.adapters.memory import SessionClosed, SessionOpened
from relayq.trial import ReceivedMessage
from tests.support.engine import DOMAIN, Engine, eventually, mail
from tests.support.scripted_server import Wait, opening, quit_session, transaction

LOCAL = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]


async def test_no_more_than_ip_maxconnections_to_one_host() -> None:
    async with Engine("ip-maxconnections=3") as engine:
        go = asyncio.Event()
        server = await engine.serve([Wait(go), *opening(), *transaction() * 30])
        await engine.send(*(mail(f"m{number}") for number in range(20)))
        for index in range(3):
            await (await server.connection(index)).reached.wait()
        go.set()
        for number in range(20):
            await engine.outcome(f"m{number}")
        assert server.count == 3


async def test_connections_to_an_unknown_host_start_few_at_a_time() -> None:
    async with Engine() as engine:
        go = asyncio.Event()
        server = await engine.serve([Wait(go), *opening(), *transaction() * 30])
        await engine.send(*(mail(f"m{number}") for number in range(50)))
        for index in range(5):
            await (await server.connection(index)).reached.wait()
        await asyncio.sleep(0.05)
        assert server.count == 5
        go.set()
        for number in range(50):
            assert (await engine.outcome(f"m{number}")).kind == "success"


async def test_no_more_than_smtp_connections_altogether_and_nobody_starves() -> None:
    most = 0
    async with Engine("smtp-connections=3") as engine:
        sinks = [await engine.sink(f"127.0.0.{number}") for number in range(1, 5)]
        domains = [f"d{number}.test" for number in range(1, 5)]
        for number, domain in enumerate(domains, 1):
            engine.route(domain, (10, f"mx.{domain}", f"127.0.0.{number}"))
        messages = [mail(f"{domain} {number}", recipient=f"u@{domain}") for number in range(150) for domain in domains]
        await engine.send(*messages)
        while len(engine.observer.attempts) < len(messages):
            await asyncio.sleep(0.001)
            most = max(most, sum(sink.open_connections for sink in sinks))
        finished = [event.message.recipient.domain for event in engine.observer.attempts if event.message]
        assert most <= 2 * 3, "three, and those whose end the server has not noticed yet"
        early = Counter(finished[: len(finished) // 2])
        assert min(early[domain] for domain in domains) > 0, early


async def test_an_idle_connection_makes_room_for_another_host() -> None:
    async with Engine("smtp-connections=1", "connection-maxidle=60000") as engine:
        script = [*opening(), *transaction(), *quit_session()]
        first = await engine.serve(script)
        second = await engine.serve(script, address="127.0.0.2")
        engine.route("other.test", (10, "mx.other.test", "127.0.0.2"))
        await engine.send(mail("m1"))
        await engine.outcome("m1")
        await engine.send(mail("m2", recipient="anna@other.test"))
        assert (await engine.outcome("m2")).kind == "success"
        assert (first.count, second.count) == (1, 1)
        assert first.connections[0].received.endswith(b"QUIT\r\n")


async def test_a_busy_host_makes_room_for_one_without_any_connection() -> None:
    async with Engine("smtp-connections=1") as engine:
        for address in ("127.0.0.1", "127.0.0.2"):
            await engine.sink(address)
        engine.route("other.test", (10, "mx.other.test", "127.0.0.2"))
        await engine.send(*(mail(f"m{number}") for number in range(400)), mail("x", recipient="anna@other.test"))
        outcome = await engine.outcome("x")
        assert outcome.kind == "success"
        assert not engine.published("m399").copies, "it did not have to wait for all of the others"
        await engine.outcome("m399")


async def test_messages_leave_from_their_own_addresses() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening(), *transaction() * 20])
        await engine.send(*(mail(f"m{number}", ips=LOCAL) for number in range(30)))
        used: Counter[str] = Counter()
        for number in range(30):
            used[(await engine.outcome(f"m{number}")).last["from"]] += 1
        assert set(used) == set(LOCAL)
        assert {connection.peer[0] for connection in server.connections} == set(LOCAL)


async def test_ips_that_are_no_list_are_told_of_once_and_the_default_is_used() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction(), *transaction(), *quit_session()])
        await engine.send(mail("m1", ips="127.0.0.3"), mail("m2", ips="127.0.0.3"))
        for ident in ("m1", "m2"):
            assert (await engine.outcome(ident)).last["from"] == "127.0.0.1"
        assert [warning.text for warning in engine.observer.warnings] == [
            "ips is no array, the default address is used"
        ]


async def test_messages_without_ips_leave_from_the_default_addresses() -> None:
    async with Engine("smtp-default-ips=127.0.0.3") as engine:
        await engine.serve([*opening(), *transaction() * 2])
        await engine.send(mail("m1"))
        assert (await engine.outcome("m1")).last["from"] == "127.0.0.3"


async def test_an_address_that_is_not_here_is_skipped() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction() * 20])
        for number in range(10):
            await engine.send(mail(f"m{number}", ips=["203.0.113.99", "203.0.113.98", "127.0.0.2", "::1"]))
            outcome = await engine.outcome(f"m{number}")
            assert (outcome.kind, outcome.last["from"]) == ("success", "127.0.0.2")


async def test_a_retry_leaves_from_the_address_of_the_attempt_before() -> None:
    """Greylisting is keyed on it."""
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction() * 20])
        before = [{"state": "rcptto", "result": "error", "time": "2031-03-01 09:00:04", "from": "127.0.0.3"}]
        for number in range(10):
            await engine.send(mail(f"m{number}", ips=LOCAL, results=before))
            assert (await engine.outcome(f"m{number}", attempts=2)).last["from"] == "127.0.0.3"


async def test_a_retry_from_an_address_that_is_no_longer_allowed_uses_another() -> None:
    async with Engine() as engine:
        await engine.serve([*opening(), *transaction()])
        before = [{"state": "rcptto", "result": "error", "time": "2031-03-01 09:00:04", "from": "127.0.0.3"}]
        await engine.send(mail("m1", ips=["127.0.0.2"], results=before))
        assert (await engine.outcome("m1", attempts=2)).last["from"] == "127.0.0.2"


async def test_an_address_with_an_idle_connection_is_preferred() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening(), *transaction() * 20])
        await engine.send(mail("m0", ips=["127.0.0.3"]))
        await engine.outcome("m0")
        for number in range(1, 8):
            await engine.send(mail(f"m{number}", ips=LOCAL))
            assert (await engine.outcome(f"m{number}")).last["from"] == "127.0.0.3"
        assert server.count == 1


async def test_connections_are_never_shared_between_local_addresses() -> None:
    async with Engine() as engine:
        server = await engine.serve([*opening(), *transaction() * 2])
        for number, local in enumerate(LOCAL):
            await engine.send(mail(f"m{number}", ips=[local]))
            assert (await engine.outcome(f"m{number}")).last["messages"] == 1
        assert server.count == 3


@pytest.mark.parametrize("address", ["::1"])
async def test_ipv6_end_to_end(address: str) -> None:
    async with Engine() as engine:
        engine.route(DOMAIN, (10, "mx6.test", address))
        try:
            await engine.serve([*opening(), *transaction()], address=address)
        except OSError:
            pytest.skip("no IPv6 on this host")
        await engine.send(mail("m1", ips=["127.0.0.1", "::1"]))
        last = (await engine.outcome("m1")).last
        assert (last["result"], last["from"], last["to"]) == ("accepted", "::1", "::1")


async def test_a_thousand_messages_over_twenty_connections_each_exactly_once() -> None:
    received: Counter[bytes | None] = Counter()

    def note(message: ReceivedMessage) -> None:
        received[message.content] += 1

    async with Engine() as engine:
        await engine.sink(on_message=note)
        messages = [mail(f"m{number}", mime=f"Subject: {number}\r\n\r\n{number}\r\n") for number in range(1000)]
        await engine.send(*messages)
        await eventually(lambda: len(engine.observer.attempts) == 1000, "all are done")
        await engine.stop()
        assert len(received) == 1000
        assert set(received.values()) == {1}
        assert len(engine.observer.all_of(SessionOpened)) == len(engine.observer.all_of(SessionClosed)) <= 20
