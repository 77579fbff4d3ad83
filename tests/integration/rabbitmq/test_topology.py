"""Declaring against a real broker: arguments, conflicts, permissions (spec amqp.md 4)."""

from __future__ import annotations

import asyncio
import re

import pytest

from relayq.adapters.rabbitmq import Endpoint
from relayq.ports import BrokerRefusedError, Parking, Properties, Publication, QueueRole, TopologyError
from tests.contract.broker.conftest import PATIENCE, message
from tests.integration.rabbitmq.conftest import Place, consume, endpoint, publish, result


def arguments(row: dict[str, object]) -> dict[str, object]:
    """Arguments as ``rabbitmqctl`` lists them: triples of name, type and value."""
    listed = row["arguments"]
    assert isinstance(listed, list | dict)
    return dict(listed) if isinstance(listed, dict) else {name: value for name, _, value in listed}


async def test_all_queues_with_their_arguments(place: Place) -> None:
    await place.open(max_priority=4, lazy=True, delay_intervals=(1800, 3600, 7200))
    queues = await place.queues("durable", "arguments")
    assert len(queues) == 1 + 48 + 1
    assert all(row["durable"] for row in queues.values())
    assert arguments(queues["outbox"]) == {"x-max-priority": 4, "x-queue-mode": "lazy"}
    assert arguments(queues["results"]) == {"x-max-priority": 4, "x-queue-mode": "lazy"}
    assert arguments(queues["outbox.delay.7200"]) == {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "outbox",
        "x-message-ttl": 7_200_000,
    }
    await place.open(max_priority=4, lazy=True)  # the same again is no conflict


async def test_another_argument_is_named(place: Place) -> None:
    await place.open(max_priority=4)
    with pytest.raises(TopologyError) as caught:
        await place.open(max_priority=0)
    assert re.match(
        r"queue 'outbox': argument x-max-priority exists as the value '4'.*, wanted is none; ", str(caught.value)
    )
    await place.open(max_priority=0, declare=False)  # as advised


async def test_durability_is_named(place: Place) -> None:
    await place.open(durable=False)
    with pytest.raises(TopologyError, match="argument durable exists as 'false', wanted is 'true'"):
        await place.open()


async def test_queues_made_lazy_before_stay_usable_and_the_other_way_round(place: Place) -> None:
    await place.open(lazy=True, outbox="lazy", queues=(), delay_intervals=())
    await place.open(lazy=False, outbox="lazy", queues=("plain",), delay_intervals=())
    await place.open(lazy=True, outbox="lazy", queues=("plain",), delay_intervals=())
    queues = await place.queues("arguments")
    assert arguments(queues["lazy"]) == {"x-queue-mode": "lazy"}
    assert arguments(queues["plain"]) == {}


async def test_quorum(place: Place) -> None:
    broker = await place.open(queue_type="quorum", max_priority=4)
    queues = await place.queues("type", "arguments")
    assert {row["type"] for row in queues.values()} == {"quorum"}
    assert "outbox.poison" in queues
    assert arguments(queues["outbox"])["x-delivery-limit"] == 1000
    received = await consume(broker, "outbox")
    await publish(broker, message(b"mail"))
    assert (await received.next()).body == b"mail"


async def test_checking_only(place: Place) -> None:
    with pytest.raises(TopologyError, match="queue 'outbox' does not exist"):
        await place.open(declare=False)
    await place.open()
    await place.delete_queue("results")
    await place.open(declare=False)
    assert "queue 'results' does not exist" in place.text("warning")
    assert "results" not in await place.queues()
    await place.delete_queue("outbox.delay.5")
    with pytest.raises(TopologyError, match=r"outbox\.delay\.5"):
        await place.open(declare=False)


async def test_a_named_exchange(place: Place) -> None:
    broker = await place.open(exchange="mail")
    results = await consume(broker, "results")
    other = await consume(broker, "customer")
    await publish(broker, result(b"a"), result(b"b", "customer"))
    assert (await results.next()).body == b"a"
    assert (await other.next()).body == b"b"
    exchanges = {row["name"]: row for row in await place.listed("exchanges", "name", "type", "durable")}
    assert (exchanges["mail"]["type"], exchanges["mail"]["durable"]) == ("direct", True)


async def test_an_exchange_of_another_kind_is_named(place: Place) -> None:
    await place.open(exchange="mail")
    with pytest.raises(TopologyError, match="exchange 'mail': argument durable exists as 'true', wanted is 'false'"):
        await place.open(exchange="mail", durable=False, outbox="", queues=())
    with pytest.raises(TopologyError, match="exchange 'other' does not exist"):
        await place.open(exchange="other", declare=False)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"password": "wrong-secret"}, "ACCESS_REFUSED"), ({"vhost": "missing"}, "vhost missing not found")],
)
async def test_refusals_at_start(place: Place, changes: dict[str, str], text: str) -> None:
    with pytest.raises(BrokerRefusedError, match=text) as caught:
        await place.open(endpoints=(endpoint(place, **changes),))
    assert "wrong-secret" not in str(caught.value) + place.text()


async def limited_user(place: Place, configure: str, write: str = ".*", read: str = ".*") -> Endpoint:
    name = f"limited-{place.endpoint.vhost}"
    await place.ctl("add_user", name, "secret")
    await place.ctl("set_permissions", "-p", place.endpoint.vhost, name, configure, write, read)
    return endpoint(place, user=name, password="secret")


async def test_no_permission_for_a_configured_queue(place: Place) -> None:
    limited = await limited_user(place, "^outbox.*$")
    with pytest.raises(BrokerRefusedError, match="results"):
        await place.open(endpoints=(limited,))


async def test_no_permission_for_the_queue_of_a_message(place: Place) -> None:
    limited = await limited_user(place, "^(outbox.*|results)$")
    broker = await place.open(endpoints=(limited,))
    await publish(broker, result(b"one", "forbidden"), result(b"two"))
    assert place.listener.unroutables.get_nowait().body == b"one"
    assert "forbidden" in place.text("error")
    assert (await (await consume(broker, "results")).next()).body == b"two"


async def test_no_permission_at_all_in_the_virtual_host(place: Place) -> None:
    name = f"nobody-{place.endpoint.vhost}"
    await place.ctl("add_user", name, "secret")
    with pytest.raises(BrokerRefusedError, match="refused for user"):
        await place.open(endpoints=(endpoint(place, user=name, password="secret"),))


@pytest.mark.parametrize("name", ["amq.reserved", "", "x" * 300])
async def test_names_no_queue_can_have(place: Place, name: str) -> None:
    broker = await place.open()
    await publish(broker, result(b"x", name))
    assert place.listener.unroutables.get_nowait().queue == name


async def test_missing_queues_without_declaring(place: Place) -> None:
    await place.open()
    broker = await place.open(declare=False)
    await publish(broker, result(b"x", "nowhere"))
    assert place.listener.unroutables.get_nowait().queue == "nowhere"
    with pytest.raises(TopologyError, match="nowhere"):
        async with asyncio.timeout(PATIENCE):
            await broker.consume("nowhere", 1, lambda _: None)


async def test_connections_have_names(place: Place) -> None:
    broker = await place.open(connection_name="relayq mail-1 worker 1")
    await consume(broker, "results")
    rows = await place.listed("connections", "vhost", "client_properties")
    names = [
        str(dict_of(row["client_properties"]).get("connection_name"))
        for row in rows
        if row["vhost"] == place.endpoint.vhost
    ]
    assert sorted(names) == ["relayq mail-1 worker 1 consumer 1", "relayq mail-1 worker 1 publisher 1"]


def dict_of(listed: object) -> dict[str, object]:
    assert isinstance(listed, list | dict)
    return dict(listed) if isinstance(listed, dict) else {name: value for name, _, value in listed}


@pytest.mark.parametrize("queue_type", ["auto", "quorum"])
async def test_parking_queues_and_their_arguments(place: Place, queue_type: str) -> None:
    broker = await place.open(queue_type=queue_type, delay_intervals=())
    parked = Publication(
        queue="outbox",
        body=b"mail",
        properties=Properties(),
        role=QueueRole.OUTBOX,
        parking=Parking("domain", "slow.test", 900),
    )
    await publish(broker, parked)
    queues = await place.queues("type", "durable", "arguments", "messages")
    row = queues["outbox.park.domain.slow.test"]
    assert (row["type"], row["durable"], row["messages"]) == ("classic", True, 1)
    assert arguments(row) == {
        "x-queue-type": "classic",
        "x-message-ttl": 900_000,
        "x-expires": 86_400_000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "outbox",
    }


async def test_a_parking_queue_made_otherwise_is_not_used(place: Place) -> None:
    broker = await place.open(delay_intervals=())
    await publish(broker, result(b"", "outbox.park.domain.slow.test"))  # declared without a time to live
    place_of = Parking("domain", "slow.test", 900)
    again = await place.open(delay_intervals=())
    parked = Publication(queue="outbox", body=b"mail", properties=Properties(), role=QueueRole.OUTBOX, parking=place_of)
    await publish(again, parked)
    queues = await place.queues("messages")
    assert queues["outbox.delay.60"]["messages"] == 1
    assert "x-message-ttl" in place.text("warning") or "x-expires" in place.text("warning")
