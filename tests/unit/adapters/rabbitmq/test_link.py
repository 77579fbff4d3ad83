"""Starting, refusing and coming back."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial

import pytest
from pamqp import commands

from relayq.adapters.rabbitmq import Endpoint, RabbitMqBroker, RabbitMqOptions, Timings
from relayq.adapters.rabbitmq.declarer import Declarer
from relayq.adapters.rabbitmq.link import Backoff, RareLog
from relayq.ports import BrokerRefusedError, BrokerUnavailableError, Properties, Publication, QueueRole, TopologyError
from tests.support.ports import free_port
from tests.unit.adapters.rabbitmq.conftest import QUICK, MovableClock, Recorder, Rig, soon, until
from tests.unit.adapters.rabbitmq.fake_broker import FakeSession, running_broker

DENIED = (403, "ACCESS_REFUSED - Login was refused")


def test_the_waits_grow_and_spread_and_start_anew() -> None:
    backoff = Backoff(Timings())
    waits = [backoff.next_wait() for _ in range(9)]
    for wait, nominal in zip(waits, (1, 2, 4, 8, 16, 30, 30, 30, 30), strict=True):
        assert nominal * 0.8 <= wait <= nominal * 1.2
    assert len({wait / 30 for wait in waits[5:]}) == 4
    backoff.reset()
    assert backoff.next_wait() <= 1.2


def test_the_same_trouble_is_logged_once_a_minute() -> None:
    clock, recorder = MovableClock(), Recorder()
    complain = RareLog(clock, recorder.log, 60)
    complain("one")
    complain("two")
    clock.ahead = 61
    complain("three")
    complain.reset()
    complain("four")
    assert [text for _, text in recorder.lines] == ["one", "three", "four"]


async def test_the_next_address_is_tried_each_time(rig: Rig) -> None:
    nobody = Endpoint(host="127.0.0.1", port=free_port())
    async with running_broker() as other:
        broker, _ = await rig.open(endpoints=(nobody, rig.server.endpoint(), other.endpoint()))
        assert rig.server.attempts == 1
        await rig.server.stop()
        await other.session()
        assert other.attempts == 1
        await until(lambda: str(other.endpoint()) in rig.recorder.text("info"))
        await broker.close()


async def test_one_address_that_refuses_is_not_the_end(rig: Rig) -> None:
    async with running_broker() as other:
        other.script.refuse_login = DENIED
        await rig.open(endpoints=(other.endpoint(), rig.server.endpoint()))
    assert "ACCESS_REFUSED" in rig.recorder.text("warning")


async def test_all_addresses_refuse(rig: Rig) -> None:
    rig.server.script.refuse_login = DENIED
    async with running_broker() as other:
        other.script.refuse_vhost = (530, "NOT_ALLOWED - vhost mail not found")
        broker = rig.make(endpoints=(rig.server.endpoint(password="secret"), other.endpoint(password="secret")))
        with pytest.raises(BrokerRefusedError, match=r"ACCESS_REFUSED.*vhost mail not found") as caught:
            await soon(broker.open())
    assert "secret" not in str(caught.value) + rig.recorder.text()


async def test_a_refusal_counts_only_while_it_is_the_last_answer(rig: Rig) -> None:
    """One address refuses, the other is away; when the first one recovers, the broker opens."""
    rig.server.script.refuse_login = DENIED
    nobody = Endpoint(host="127.0.0.1", port=free_port())
    broker = rig.make(endpoints=(rig.server.endpoint(), nobody))
    opening = asyncio.create_task(broker.open())
    await until(lambda: rig.server.attempts >= 3)
    assert not opening.done()
    rig.server.script.refuse_login = None
    await soon(opening)


async def test_starting_waits_for_the_broker(rig: Rig) -> None:
    await rig.server.stop()
    port = free_port()
    broker = rig.make(endpoints=(Endpoint(host="127.0.0.1", port=port),))
    opening = asyncio.create_task(broker.open())
    await until(lambda: bool(rig.recorder.lines))
    rig.server.port = port
    await rig.server.start()
    await soon(opening)
    assert rig.recorder.text("warning").count("cannot connect") == 1


async def test_a_one_shot_command_waits_no_longer_than_it_may(rig: Rig) -> None:
    broker = rig.make(endpoints=(Endpoint(host="127.0.0.1", port=free_port()),), time_limit=0.1)
    with pytest.raises(BrokerUnavailableError, match=r"within 0\.1 s"):
        await soon(broker.open())


INEQUIVALENT = "PRECONDITION_FAILED - inequivalent arg '{}' for {} '{}' in vhost '/': received none but current is 'x'"


@pytest.mark.parametrize(
    ("name", "answer", "kind"),
    [
        ("outbox", (406, INEQUIVALENT.format("durable", "queue", "outbox")), TopologyError),
        ("outbox.delay.7", (406, INEQUIVALENT.format("x-message-ttl", "queue", "outbox.delay.7")), TopologyError),
        ("results", (403, "ACCESS_REFUSED - access to queue 'results' refused"), BrokerRefusedError),
        ("outbox", (541, "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated."), TopologyError),
        ("mail", (406, INEQUIVALENT.format("type", "exchange", "mail")), TopologyError),
    ],
)
async def test_a_refused_declaration_ends_the_start(
    rig: Rig, name: str, answer: tuple[int, str], kind: type[Exception]
) -> None:
    rig.server.script.refuse[name] = [answer]
    broker = rig.make(queues=("results",), exchange="mail")
    with pytest.raises(kind):
        await soon(broker.open())


async def test_a_refused_declaration_is_tried_again_while_running(rig: Rig) -> None:
    _, session = await rig.open(queues=("results",))
    rig.server.script.refuse["results"] = [(403, "ACCESS_REFUSED - no"), (406, "PRECONDITION_FAILED - inequivalent")]
    session.cut()
    for _ in range(3):
        session = await rig.server.session()
    await session.until(lambda: bool(session.of(commands.Confirm.Select)))
    assert "no permission to declare 'results'" in rig.recorder.text("warning")


async def test_a_locked_queue_at_start_is_waited_for(rig: Rig) -> None:
    rig.server.script.refuse["outbox"] = [(405, "RESOURCE_LOCKED - exclusive"), (541, "INTERNAL_ERROR")]
    await rig.open()
    assert rig.server.attempts == 3


async def test_a_lazy_argument_is_removed_when_the_queue_has_none(rig: Rig) -> None:
    rig.server.script.refuse["results"] = [(406, INEQUIVALENT.format("x-queue-mode", "queue", "results"))]
    _, session = await rig.open(lazy=True, queues=("results", "failure"))
    modes = [(queue.queue, "x-queue-mode" in queue.arguments) for queue in session.declared()]
    assert [mode for mode in modes if ".delay." not in mode[0]] == [
        ("outbox", True),
        ("results", True),
        ("failure", True),
        ("results", False),
        ("failure", True),
    ]


async def test_a_lazy_argument_is_toggled_only_once(rig: Rig) -> None:
    rig.server.script.refuse["outbox"] = [(406, INEQUIVALENT.format("x-queue-mode", "queue", "outbox"))] * 2
    with pytest.raises(TopologyError, match="x-queue-mode"):
        await soon(rig.make().open())


async def test_without_declaring_everything_is_only_looked_at(rig: Rig) -> None:
    rig.server.script.refuse["results"] = [(404, "NOT_FOUND - no queue 'results'")]
    _, session = await rig.open(declare=False, exchange="mail", queues=("results",))
    assert all(queue.passive for queue in session.declared())
    assert all(exchange.passive for _, exchange in session.of(commands.Exchange.Declare))
    assert not session.of(commands.Queue.Bind)
    assert "'results' does not exist" in rig.recorder.text("warning")


@pytest.mark.parametrize("name", ["outbox", "outbox.delay.86400", "mail"])
async def test_without_declaring_what_is_needed_must_exist(rig: Rig, name: str) -> None:
    rig.server.script.refuse[name] = [(404, f"NOT_FOUND - no '{name}'")]
    with pytest.raises(TopologyError, match=name):
        await soon(rig.make(declare=False, exchange="mail").open())


async def test_a_binding_that_is_refused_is_not_overlooked(rig: Rig) -> None:
    """The queue exists, but it must not be bound."""
    script = rig.server.script
    script.refuse["bind results"] = [(403, "ACCESS_REFUSED - access to exchange 'mail' refused")]
    with pytest.raises(BrokerRefusedError, match="results"):
        await soon(rig.make(queues=("results",), exchange="mail").open())


async def test_a_broker_that_does_not_answer_declarations_is_left(rig: Rig) -> None:
    rig.server.script.unanswered.add("outbox")
    timings = dataclasses.replace(QUICK, prepare_timeout=0.1)
    opening = asyncio.create_task(rig.make(timings=timings).open())
    session = await rig.server.session()
    await session.until(lambda: bool(session.declared()))
    rig.server.script.unanswered.clear()
    await soon(opening)
    assert "did not prepare" in rig.recorder.text("warning")


async def test_an_old_broker_is_warned_about(rig: Rig) -> None:
    rig.server.script.server_properties["version"] = "3.8.9"
    await rig.open()
    assert "older than RabbitMQ 3.10" in rig.recorder.text("warning")


async def test_certificates_that_are_not_checked_are_warned_about(rig: Rig) -> None:
    broker = rig.make(endpoints=(rig.server.endpoint(tls=True, verify=False, connection_timeout=1),), time_limit=0.1)
    with pytest.raises(BrokerUnavailableError):
        await soon(broker.open())
    assert "rabbitmq-verify" in rig.recorder.text("warning")


async def test_a_stable_connection_starts_the_waits_anew(rig: Rig) -> None:
    timings = dataclasses.replace(QUICK, reconnect_waits=(0.001, 60), reconnect_spread=0)
    _, session = await rig.open(timings=timings)
    for connected in (1, 2, 3):
        await until(lambda connected=connected: rig.recorder.text("info").count("connected") == connected)  # type: ignore[misc]
        rig.clock.ahead += 61
        session.cut()
        session = await rig.server.session()
    assert rig.server.attempts == 4


async def test_failing_tries_are_logged_once_a_minute(rig: Rig) -> None:
    _, session = await rig.open(endpoints=(rig.server.endpoint(),))
    rig.server.script.refuse_login = DENIED
    session.cut()
    await until(lambda: rig.server.attempts >= 6)
    rig.server.script.refuse_login = None
    await rig.server.session()
    assert rig.recorder.text("warning").count("cannot connect") == 1


async def test_whether_it_is_connected_can_be_seen(rig: Rig) -> None:
    broker = rig.make()
    seen = [broker.is_connected]
    await soon(broker.open())
    seen.append(broker.is_connected)
    session = await rig.server.session()
    rig.server.script.refuse_login = DENIED
    session.cut()
    await until(lambda: not broker.is_connected)
    rig.server.script.refuse_login = None
    await until(lambda: broker.is_connected)
    assert seen == [False, True]


async def test_close_while_the_broker_is_away(rig: Rig) -> None:
    broker, _ = await rig.open()
    await rig.server.stop()
    await soon(broker.close())
    await soon(broker.close())


async def test_a_failed_start_can_be_closed(rig: Rig) -> None:
    rig.server.script.refuse_login = DENIED
    broker = rig.make()
    with pytest.raises(BrokerRefusedError):
        await soon(broker.open())
    await soon(broker.close())


async def test_a_consumer_that_cannot_connect_within_the_limit(rig: Rig) -> None:
    broker, _ = await rig.open(time_limit=0.1)
    await rig.server.stop()
    with pytest.raises(BrokerUnavailableError):
        await soon(broker.consume("outbox", 1, lambda _: None))


async def test_close_ends_an_opening(rig: Rig) -> None:
    broker = rig.make(endpoints=(Endpoint(host="127.0.0.1", port=free_port()),))
    opening = asyncio.create_task(broker.open())
    await until(lambda: bool(rig.recorder.lines))
    await soon(broker.close())
    with pytest.raises(BrokerUnavailableError, match="closed before it was open"):
        await soon(opening)


async def test_an_opening_can_be_cancelled(rig: Rig) -> None:
    broker = rig.make(endpoints=(Endpoint(host="127.0.0.1", port=free_port()),))
    opening = asyncio.create_task(broker.open())
    await until(lambda: bool(rig.recorder.lines))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(opening)
    assert not [task for task in asyncio.all_tasks() if "rabbitmq" in task.get_name()]


async def test_an_internal_error_while_connecting_is_logged_and_survived(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, session = await rig.open(queues=("results",))
    prepare = Declarer.prepare
    failures = [RuntimeError("a bug"), RuntimeError("the same bug")]

    async def failing(declarer: Declarer) -> None:
        if failures:
            raise failures.pop()
        await prepare(declarer)

    monkeypatch.setattr(Declarer, "prepare", failing)
    session.cut()
    for _ in range(3):
        session = await rig.server.session()
    await soon(publish_one(broker, b"x"))
    assert rig.recorder.text("error").count("bug") == 2


def test_options_show_no_password() -> None:
    options = RabbitMqOptions(endpoints=(Endpoint(password="secret"),))
    assert "secret" not in repr(options)


async def test_nothing_is_lost_through_many_restarts(rig: Rig) -> None:
    """Publishes go on while the broker is cut at random moments; each arrives at least once."""
    broker, session = await rig.open(queues=("results",), throttle=7)
    bodies = {b"%d" % number for number in range(300)}
    tasks = [asyncio.create_task(publish_one(broker, body)) for body in sorted(bodies)]
    sessions = [session]
    for _ in range(5):
        await session.until(partial(is_busy, session))
        session.cut()
        session = await rig.server.session()
        sessions.append(session)
    await soon(asyncio.gather(*tasks))
    arrived = {one.body for session in sessions for one in session.all_published()}
    assert arrived == bodies


def is_busy(session: FakeSession) -> bool:
    return session.published.qsize() > 20


async def publish_one(broker: RabbitMqBroker, body: bytes) -> None:
    publication = Publication(queue="results", body=body, properties=Properties(), role=QueueRole.RESULT)
    await broker.publish([publication])
