"""``relayq doctor`` on a real RabbitMQ whose queues are not as they should be; nothing may change there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pamqp import commands

from relayq.adapters.rabbitmq import Endpoint
from relayq.adapters.rabbitmq.comparison import compare_queue, probe_publishing
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.dialer import Dialer
from relayq.adapters.rabbitmq.frames import encode_method, encode_queue_declare
from relayq.adapters.rabbitmq.inspector import look_at_queues, on_channel
from relayq.adapters.rabbitmq.topology import QueueDeclaration
from relayq.app import rabbitmq_options
from relayq.cli.doctor.examination import examine
from relayq.cli.doctor.finding import Finding, Verdict, worst
from relayq.cli.doctor.rabbitmq import rabbitmq_checks
from relayq.config import load, parse_options
from tests.contract.broker.conftest import endpoint_of
from tests.support.ports import free_port

pytestmark = pytest.mark.server

LIMIT = 90.0
"""Seconds each check has: nothing takes that long on the slowest machine."""


class Broker:
    """A virtual host with queues somebody else has made."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.endpoint: Endpoint = endpoint_of(address)

    def declare(self, name: str, *, durable: bool = True, auto_delete: bool = False, **arguments: Any) -> None:
        """Make a queue; ``_`` in arguments stands for ``-``."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}

        async def work(connection: AmqpConnection) -> None:
            await on_channel(
                connection,
                lambda channel: _answer(
                    channel,
                    encode_queue_declare(
                        channel.number,
                        name,
                        passive=False,
                        durable=durable,
                        arguments=named,
                        auto_delete=auto_delete,
                    ),
                    commands.Queue.DeclareOk,
                ),
            )

        self._run(work)

    def declare_exchange(self, name: str, kind: str) -> None:
        async def work(connection: AmqpConnection) -> None:
            await on_channel(
                connection,
                lambda channel: _answer(
                    channel,
                    encode_method(channel.number, commands.Exchange.Declare(0, name, kind, False, True)),
                    commands.Exchange.DeclareOk,
                ),
            )

        self._run(work)

    def existing(self, *names: str) -> list[str]:
        """Which of these queues there are."""

        async def work(connection: AmqpConnection) -> list[str]:
            return [state.name for state in await look_at_queues(connection, names) if state.exists]

        found: list[str] = self._run(work)
        return found

    def _run(self, work: Any) -> Any:
        async def connected() -> Any:
            async with asyncio.timeout(LIMIT):
                connection = await Dialer().connect(self.endpoint, "test")
                try:
                    return await work(connection)
                finally:
                    await connection.close(1)

        return asyncio.run(connected())


async def _answer(channel: Any, request: bytes, expected: Any) -> Any:
    return await channel.call(request, expected)


@pytest.fixture
def broker(rabbitmq_vhost: str) -> Broker:
    return Broker(rabbitmq_vhost)


class Doctor:
    """Examines the broker; findings by subject."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __call__(self, *options: str, wrong: bool) -> dict[str, list[Finding]]:
        words = [f"--rabbitmq-address={self._broker.address}", "--hostname=host.example", *options]
        settings = load(parse_options(words), no_default_config=True)
        assert isinstance(settings.broker.address, tuple)
        wanted = rabbitmq_options(settings, settings.broker.address, LIMIT, "doctor", is_worker=True)
        findings = asyncio.run(examine(rabbitmq_checks(settings, wanted, LIMIT)))
        assert (worst(findings) is Verdict.WRONG) is wrong, findings
        found: dict[str, list[Finding]] = {}
        for finding in findings:
            found.setdefault(finding.subject, []).append(finding)
        return found


@pytest.fixture
def doctor(broker: Broker) -> Doctor:
    return Doctor(broker)


def test_a_wrong_argument_a_queue_that_is_not_durable_and_a_low_delivery_limit(broker: Broker, doctor: Doctor) -> None:
    """The three that lose mail, or keep relayq from starting: each is named, with what was wanted and its fix."""
    broker.declare("outbox", x_queue_type="quorum", x_delivery_limit=5)
    broker.declare("results", durable=False)
    broker.declare("failure", x_queue_type="quorum", x_max_length=1000)
    found = doctor(
        "--rabbitmq-queue-type=quorum", "--rabbitmq-results=results", "--rabbitmq-failure=failure", wrong=True
    )
    (limit,) = [each for each in found["queue outbox"] if "delivery" in each.found]
    assert limit.verdict is Verdict.WRONG
    assert limit.found.startswith("x-delivery-limit is 5: ")
    assert limit.expected == "x-delivery-limit 1000"
    vhost = broker.endpoint.vhost
    assert f"`rabbitmqctl delete_queue --vhost {vhost} --if-empty outbox`" in limit.fix
    assert "rabbitmq-delivery-limit: 1000" in limit.fix

    durable, kind = found["queue results"]
    assert durable.found == "durable is false: its messages are gone when the broker restarts"
    assert (durable.expected, durable.verdict) == ("durable true", Verdict.WRONG)
    assert f"`rabbitmqctl delete_queue --vhost {vhost} --if-empty results`" in durable.fix
    assert (kind.found, kind.expected) == ("x-queue-type is not set", "x-queue-type quorum")

    (length,) = found["queue failure"]
    assert length.found.startswith("x-max-length is 1000: ")
    assert (length.expected, length.verdict) == ("x-max-length not set", Verdict.WRONG)


def test_a_setting_that_would_fit_is_named(broker: Broker, doctor: Doctor) -> None:
    broker.declare("outbox", x_max_priority=5)
    (finding,) = doctor(wrong=True)["queue outbox"]
    assert (finding.found, finding.expected) == ("x-max-priority is 5", "x-max-priority not set")
    assert finding.fix.startswith("set rabbitmq-maxpriority: 5, or ")
    assert doctor("--rabbitmq-maxpriority=5", wrong=False)["queue outbox"][0].verdict is Verdict.OK


def test_nothing_is_made_or_changed(broker: Broker, doctor: Doctor) -> None:
    broker.declare("results", durable=False, auto_delete=True, x_message_ttl=1000)
    names = ("outbox", "results", "outbox.delay.1", "outbox.delay.600", "outbox.poison")
    found = doctor("--rabbitmq-results=results", wrong=True)
    assert broker.existing(*names) == ["results"]
    assert [each.found.partition(":")[0] for each in found["queue results"]] == [
        "durable is false",
        "auto_delete is true",
        "x-message-ttl is 1000",
    ]
    broker.declare("results", durable=False, auto_delete=True, x_message_ttl=1000)  # still the same
    assert found["queue outbox"][0].found == "not there yet; made when relayq starts"
    assert found["delay queues"][0].verdict is Verdict.OK


def test_delay_queues_with_a_priority(broker: Broker, doctor: Doctor) -> None:
    for seconds in range(1, 8):
        broker.declare(
            f"outbox.delay.{seconds}",
            x_max_priority=5,
            x_message_ttl=seconds * 1000,
            x_dead_letter_exchange="",
            x_dead_letter_routing_key="outbox",
        )
    found = doctor(wrong=True)
    assert found["queue outbox.delay.1"][0].found == "x-max-priority is 5"
    assert "setting" not in found["queue outbox.delay.1"][0].fix
    assert [each.found for each in found["delay queues"]] == [
        "0 as wanted, 41 made when relayq starts",
        "2 more findings like these",
    ]


def test_without_declaring_only_what_loses_mail_counts(broker: Broker, doctor: Doctor) -> None:
    broker.declare("outbox", x_max_priority=5)
    broker.declare("results", durable=False)
    found = doctor("--rabbitmq-declare=false", "--rabbitmq-results=results", "--rabbitmq-success=gone", wrong=True)
    assert found["queue outbox"][0].verdict is Verdict.OK
    assert found["queue results"][0].verdict is Verdict.WARNING
    assert found["queue gone"][0].verdict is Verdict.WARNING
    assert found["queue outbox.delay.1"][0].verdict is Verdict.WRONG


def test_an_exchange_of_another_type(broker: Broker, doctor: Doctor) -> None:
    broker.declare_exchange("mail", "fanout")
    (finding,) = doctor("--rabbitmq-exchange=mail", wrong=True)["exchange mail"]
    assert (finding.found, finding.expected) == ("type is fanout", "type direct")
    (finding,) = doctor("--rabbitmq-exchange=none", wrong=False)["exchange none"]
    assert finding.found == "not there yet; made when relayq starts"


def test_what_is_well_is_told(broker: Broker, doctor: Doctor) -> None:
    found = doctor(wrong=False)
    (connection,) = (findings[0] for subject, findings in found.items() if subject.startswith("connection to "))
    assert "RabbitMQ 3." in connection.found
    assert found["publishing"][0].verdict is Verdict.OK
    assert found["version"][0].verdict is Verdict.OK
    assert found["consumer timeout"][0].verdict is Verdict.UNKNOWN
    assert "rabbitmqctl eval" in found["consumer timeout"][0].fix


def test_one_address_of_several_that_does_not_answer(broker: Broker, doctor: Doctor) -> None:
    port = free_port()
    broker.address = f"amqp://127.0.0.1:{port}/,{broker.address}"
    found = doctor(wrong=False)
    gone = found[f"connection to 127.0.0.1:{port}"][0]
    assert gone.verdict is Verdict.WARNING
    assert f"port {port}" in gone.fix
    assert found["publishing"][0].verdict is Verdict.OK


def test_wrong_credentials(broker: Broker, doctor: Doctor) -> None:
    scheme, _, rest = broker.address.partition("://")
    broker.address = f"{scheme}://nobody:secret@{rest.partition('@')[2]}"
    found = doctor(wrong=True)
    (connection,) = (findings[0] for subject, findings in found.items() if subject.startswith("connection to "))
    assert "403" in connection.found
    assert "change_password nobody" in connection.fix
    assert "secret" not in str(found)


async def test_a_blocked_broker_is_told(rabbitmq_vhost: str, rabbitmq: Any) -> None:
    await asyncio.to_thread(rabbitmq.rabbitmqctl, "set_vm_memory_high_watermark", "0.0000001")
    try:
        async with asyncio.timeout(LIMIT):
            connection = await Dialer().connect(endpoint_of(rabbitmq_vhost), "test")
            assert "alarm" in await probe_publishing(connection)
            await connection.close(1)
    finally:
        await asyncio.to_thread(rabbitmq.rabbitmqctl, "set_vm_memory_high_watermark", "absolute", "1GB")


async def test_comparing_does_not_revive_a_queue_that_is_gone(rabbitmq_vhost: str) -> None:
    async with asyncio.timeout(LIMIT):
        connection = await Dialer().connect(endpoint_of(rabbitmq_vhost), "test")
        comparison = await compare_queue(connection, QueueDeclaration("gone", True, {}))
        assert not comparison.state.exists
        assert not (await look_at_queues(connection, ("gone",)))[0].exists
        await connection.close(1)
