"""RabbitMQ: every address of it, its version, the queues, and what AMQP does not show.

Nothing is declared, consumed or changed. One message is published that no queue can get: the broker gives it back.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from relayq.adapters.rabbitmq import Endpoint, RabbitMqOptions
from relayq.adapters.rabbitmq.comparison import compare_exchange, compare_queue, probe_publishing
from relayq.adapters.rabbitmq.connection import AmqpConnection
from relayq.adapters.rabbitmq.dialer import Dialer
from relayq.adapters.rabbitmq.errors import ChannelClosedError, ConnectionLostError, ConnectionRefusedByBrokerError
from relayq.adapters.rabbitmq.inspector import describe_broker, look_at_queue
from relayq.adapters.rabbitmq.topology import BrokerVersion, Topology, parse_version
from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.cli.doctor.management import ManagementAddress, management_checks
from relayq.cli.doctor.queue_verdicts import AREA, QueueRules, judge_exchange, judge_queue

if TYPE_CHECKING:
    from relayq.config import Settings

COMPARED_AT_ONCE: Final = 16
"""Queues, each on a channel of its own."""
MOST_DELAYS_TOLD: Final = 5
"""Findings about delay queues: they are alike, and there are dozens."""
CLOSE_PATIENCE: Final = 1.0
SLOW_ANSWER: Final = 0.5
"""Seconds to log in, beyond which something is odd."""


def rabbitmq_checks(
    settings: Settings, options: RabbitMqOptions, limit: float, management: ManagementAddress | None = None
) -> list[Check]:
    """One check over AMQP, because what follows needs the connection; one over HTTP when there is an address."""
    examination = _Examination(settings, options, limit, sees_policies=management is not None)
    fix = "see whether something between here and the broker swallows packets"
    checks = [Check(area=AREA, subject="RabbitMQ", examine=examination.examine, limit=4 * limit, fix=fix)]
    if management is not None:
        checks += management_checks(management, options.endpoints[0].vhost, options.outbox, limit)
    return checks


@dataclass(slots=True)
class _Reached:
    """What came of one address."""

    finding: Finding
    connection: AmqpConnection | None = None


class _Examination:
    def __init__(self, settings: Settings, options: RabbitMqOptions, limit: float, *, sees_policies: bool) -> None:
        self._sees_policies = sees_policies
        self._settings = settings
        self._options = options
        self._limit = limit
        self._dialer = Dialer()
        self._findings: list[Finding] = []

    async def examine(self) -> list[Finding]:
        """Look at everything, as far as one address can be reached."""
        self._findings += _settings_findings(self._settings)
        reached = await asyncio.gather(*(self._reach(endpoint) for endpoint in self._options.endpoints))
        connections = [each.connection for each in reached if each.connection is not None]
        for each in reached:
            # relayq goes on to the next address as long as there is one.
            is_spare = connections and each.finding.verdict is Verdict.WRONG
            self._findings.append(replace(each.finding, verdict=Verdict.WARNING) if is_spare else each.finding)
        try:
            if connections:
                await self._examine_connection(connections[0])
        finally:
            await asyncio.gather(*(connection.close(CLOSE_PATIENCE) for connection in connections))
        return self._findings

    async def _reach(self, endpoint: Endpoint) -> _Reached:
        subject = f"connection to {endpoint}"
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._limit):
                connection = await self._dialer.connect(endpoint, self._options.connection_name)
        except (ConnectionLostError, TimeoutError) as error:
            text = str(error) or f"{endpoint} did not answer within {self._limit:g} s"
            fix = _login_fix(endpoint) if isinstance(error, ConnectionRefusedByBrokerError) else _reach_fix(endpoint)
            return _Reached(
                Finding(
                    area=AREA,
                    subject=subject,
                    verdict=Verdict.WRONG,
                    found=text,
                    expected="a RabbitMQ broker that accepts user and virtual host",
                    fix=fix,
                )
            )
        seconds = time.monotonic() - started
        found = (
            f"{describe_broker(connection)}, virtual host {endpoint.vhost}, logged in within {seconds * 1000:.0f} ms"
        )
        if seconds <= SLOW_ANSWER:
            return _Reached(Finding(area=AREA, subject=subject, verdict=Verdict.OK, found=found), connection)
        return _Reached(
            Finding(
                area=AREA,
                subject=subject,
                verdict=Verdict.WARNING,
                found=found,
                expected=f"less than {SLOW_ANSWER * 1000:.0f} ms",
                fix="run relayq near the broker; look at the load of the broker and at the network between",
            ),
            connection,
        )

    async def _examine_connection(self, connection: AmqpConnection) -> None:
        version = parse_version(connection.server_properties)
        rules = QueueRules(
            vhost=connection.endpoint.vhost,
            outbox=self._options.outbox,
            declares=self._options.declare,
            delivery_limit=self._options.delivery_limit,
            version=version,
        )
        self._findings += _version_findings(connection, version, self._settings)
        try:
            async with asyncio.timeout(self._limit):
                await self._examine_publishing(connection, rules)
            async with asyncio.timeout(2 * self._limit):
                await self._examine_queues(connection, version, rules)
        except TimeoutError:
            self._add(Verdict.WRONG, "answers", "the broker stopped to answer", fix="look at its log and its load")
        except (ChannelClosedError, ConnectionLostError) as error:
            self._add(Verdict.WRONG, "answers", f"the connection ended: {error}", fix="look at the log of the broker")
        self._findings += _invisible(self._settings)
        if not self._sees_policies:
            self._findings.append(_invisible_policies(connection.endpoint.vhost, self._settings, version))

    def _add(self, verdict: Verdict, subject: str, found: str, *, expected: str = "", fix: str = "") -> None:
        self._findings.append(
            Finding(area=AREA, subject=subject, verdict=verdict, found=found, expected=expected, fix=fix)
        )

    async def _examine_publishing(self, connection: AmqpConnection, rules: QueueRules) -> None:
        if self._options.exchange:
            # What is sent to a named exchange may reach queues of others, whatever its routing key.
            comparison = await compare_exchange(connection, self._options.exchange, durable=self._options.durable)
            self._findings.append(judge_exchange(self._options.exchange, comparison, rules))
            return
        trouble = await probe_publishing(connection)
        if not trouble:
            self._add(Verdict.OK, "publishing", "permitted, and the broker takes messages")
            return
        self._add(
            Verdict.WRONG,
            "publishing",
            trouble,
            expected="that messages are taken",
            fix="`rabbitmq-diagnostics alarms` tells what the broker lacks; the user needs write on `amq.default`",
        )

    async def _examine_queues(self, connection: AmqpConnection, version: BrokerVersion, rules: QueueRules) -> None:
        declarations = Topology(self._options, version).configured()
        gate = asyncio.Semaphore(COMPARED_AT_ONCE)

        async def compare(number: int) -> list[Finding]:
            async with gate:
                return list(judge_queue(await compare_queue(connection, declarations[number]), rules))

        found = await asyncio.gather(*(compare(number) for number in range(len(declarations))))
        delays: list[Finding] = []
        for declaration, findings in zip(declarations, found, strict=True):
            if declaration.name.startswith(f"{rules.outbox}.delay."):
                delays += findings
            else:
                self._findings += findings
        self._findings += _sum_up_delays(delays)
        await self._examine_use(connection, rules)

    async def _examine_use(self, connection: AmqpConnection, rules: QueueRules) -> None:
        poison = await look_at_queue(connection, f"{rules.outbox}.poison")
        if poison.ready:
            self._add(
                Verdict.WARNING,
                f"queue {poison.name}",
                f"{poison.ready} messages were handed out too often and never finished",
                expected="that it is empty",
                fix=f"look with `relayq results --peek --queue {shlex.quote(poison.name)}`, then inject them again",
            )
        outbox = await look_at_queue(connection, rules.outbox)
        if outbox.exists and not outbox.trouble and not outbox.consumers and outbox.ready:
            self._add(
                Verdict.WARNING,
                "consumers",
                f"nobody consumes {rules.outbox}, and {outbox.ready} messages wait there",
                expected="a running relayq",
                fix="start one: relayq run",
            )


def _sum_up_delays(findings: Sequence[Finding]) -> Iterator[Finding]:
    problems = [finding for finding in findings if finding.verdict is not Verdict.OK]
    good = len(findings) - len(problems)
    if good:
        there = sum(1 for finding in findings if finding.verdict is Verdict.OK and "not there" not in finding.found)
        text = f"{there} as wanted, {good - there} made when relayq starts"
        yield Finding(area=AREA, subject="delay queues", verdict=Verdict.OK, found=text)
    yield from problems[:MOST_DELAYS_TOLD]
    if len(problems) > MOST_DELAYS_TOLD:
        rest = len(problems) - MOST_DELAYS_TOLD
        first = problems[0]
        yield Finding(
            area=AREA,
            subject="delay queues",
            verdict=max((each.verdict for each in problems), key=list(Verdict).index),
            found=f"{rest} more findings like these",
            expected=first.expected,
            fix="repair these, then look again",
        )


def _settings_findings(settings: Settings) -> Iterator[Finding]:
    broker = settings.broker
    if not broker.persistent:
        yield Finding(
            area=AREA,
            subject="persistence",
            verdict=Verdict.WARNING,
            found="rabbitmq-persistent is false: mail that waits is gone when the broker restarts",
            expected="true",
            fix="set rabbitmq-persistent: true",
        )
    if not broker.durable:
        yield Finding(
            area=AREA,
            subject="durability",
            verdict=Verdict.WARNING,
            found="rabbitmq-durable is false: queues made by relayq are gone when the broker restarts",
            expected="true",
            fix="set rabbitmq-durable: true, and delete the queues once they are empty",
        )
    if broker.persistent and broker.durable:
        text = "queues and messages are declared and published so that they outlive a restart of the broker"
        yield Finding(area=AREA, subject="persistence", verdict=Verdict.OK, found=text)


def _version_findings(connection: AmqpConnection, version: BrokerVersion, settings: Settings) -> Iterator[Finding]:
    product = str(connection.server_properties.get("product", ""))
    shown = f"{version.major}.{version.minor}"
    if product.lower() != "rabbitmq":
        yield Finding(
            area=AREA,
            subject="version",
            verdict=Verdict.WARNING,
            found=f"{product or 'a broker without a name'}, which relayq treats as RabbitMQ 3.13",
            expected="RabbitMQ 3.10 or newer",
            fix="test well before relying on it",
        )
    elif not version.is_supported:
        yield Finding(
            area=AREA,
            subject="version",
            verdict=Verdict.WARNING,
            found=f"RabbitMQ {shown}",
            expected="3.10 or newer",
            fix="upgrade RabbitMQ",
        )
    else:
        yield Finding(area=AREA, subject="version", verdict=Verdict.OK, found=f"RabbitMQ {shown}")
    if version >= BrokerVersion(4, 3) and not settings.broker.durable:
        yield Finding(
            area=AREA,
            subject="durability",
            verdict=Verdict.WRONG,
            found=f"RabbitMQ {shown} refuses queues that are not durable",
            expected="rabbitmq-durable: true",
            fix="set rabbitmq-durable: true",
        )
    yield _size_finding(version, settings)


def _size_finding(version: BrokerVersion, settings: Settings) -> Finding:
    usual, wanted = version.max_message_bytes, settings.broker.max_publish
    found = f"RabbitMQ {version.major}.{version.minor} takes messages up to {usual >> 20} MiB unless told otherwise"
    if wanted > usual:
        return Finding(
            area=AREA,
            subject="message size",
            verdict=Verdict.WARNING,
            found=f"{found}, rabbitmq-max-publish is {wanted} bytes",
            expected="a broker that takes what relayq publishes",
            fix=f"set max_message_size = {wanted} in rabbitmq.conf, or rabbitmq-max-publish: {usual}",
        )
    return Finding(area=AREA, subject="message size", verdict=Verdict.OK, found=found)


def _invisible(settings: Settings) -> Iterator[Finding]:
    """What no client can see."""
    limit = settings.broker.ack_limit
    yield Finding(
        area=AREA,
        subject="consumer timeout",
        verdict=Verdict.UNKNOWN,
        found="no client can see it",
        expected=f"more than {limit * 1000:.0f} ms, which is rabbitmq-ack-limit (RabbitMQ's default is 1800000)",
        fix="`rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'` on a node of the broker prints it; "
        "set consumer_timeout in rabbitmq.conf, or lower rabbitmq-max-hold and rabbitmq-ack-limit",
    )


def _invisible_policies(vhost: str, settings: Settings, version: BrokerVersion) -> Finding:
    limits = "delivery-limit, max-length, message-ttl, expires"
    return Finding(
        area=AREA,
        subject="policies",
        verdict=Verdict.UNKNOWN,
        found="cannot be seen over AMQP",
        expected=f"none that gives {settings.queues.outbox} or its delay queues one of: {limits}"
        + (f"; no delivery-limit means 20 on RabbitMQ {version.major}" if version >= BrokerVersion(4, 0) else ""),
        fix=f"look with `rabbitmqctl list_policies --vhost {shlex.quote(vhost)}`, or give --management-url",
    )


def _login_fix(endpoint: Endpoint) -> str:
    user, vhost = shlex.quote(endpoint.user), shlex.quote(endpoint.vhost)
    return (
        f"correct rabbitmq-address, or on the broker: `rabbitmqctl change_password {user}`, "
        f"`rabbitmqctl set_permissions --vhost {vhost} {user} '.*' '.*' '.*'`; guest may log in from localhost only"
    )


def _reach_fix(endpoint: Endpoint) -> str:
    return (
        f"see whether RabbitMQ runs there and listens on port {endpoint.port}: `rabbitmq-diagnostics listeners`; "
        "correct rabbitmq-address, or the firewall between"
    )
