"""Which queues are declared, and what the broker's answers mean (spec amqp.md 4, 10, 16)."""

from __future__ import annotations

from typing import Any

import pytest

from relayq.adapters.rabbitmq.options import RabbitMqOptions
from relayq.adapters.rabbitmq.topology import (
    BrokerVersion,
    QueueDeclaration,
    Topology,
    declaration_error,
    delay_ladder,
    parse_version,
)
from relayq.ports import BrokerRefusedError, TopologyError

OLD, MIDDLE, NEW, NEWEST = (BrokerVersion(*version) for version in ((3, 10), (3, 13), (4, 1), (4, 3)))


def declared(version: BrokerVersion = OLD, **options: Any) -> dict[str, QueueDeclaration]:
    return {queue.name: queue for queue in Topology(RabbitMqOptions(**options), version).configured()}


def test_the_ladder_has_45_steps_and_the_intervals() -> None:
    assert len(delay_ladder(())) == 45
    assert delay_ladder(())[:10] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert delay_ladder(())[-2:] == (80_000, 86_400)
    assert len(delay_ladder((1800, 3600, 7200, 600, 0, -5))) == 48


def test_outbox_delay_queues_and_configured_queues_are_declared_once() -> None:
    queues = declared(queues=("results", "failure", "results", "outbox"))
    assert len(queues) == 1 + 48 + 2
    assert queues["outbox"] == QueueDeclaration("outbox", True, {}, is_required=True)
    assert queues["results"] == QueueDeclaration("results", True, {})
    assert queues["outbox.delay.1800"] == QueueDeclaration(
        "outbox.delay.1800",
        True,
        {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "outbox", "x-message-ttl": 1_800_000},
        is_required=True,
    )


def test_without_an_outbox_there_are_no_delay_queues() -> None:
    assert list(declared(outbox="", queues=("results",))) == ["results"]


def test_priorities_are_for_all_but_delay_queues() -> None:
    queues = declared(max_priority=4, queues=("results",))
    assert queues["outbox"].arguments == queues["results"].arguments == {"x-max-priority": 4}
    assert all("x-max-priority" not in queue.arguments for name, queue in queues.items() if ".delay." in name)


@pytest.mark.parametrize(("version", "is_sent"), [(OLD, True), (BrokerVersion(3, 12), False), (NEWEST, False)])
def test_lazy_is_only_sent_before_3_12(version: BrokerVersion, is_sent: bool) -> None:
    queues = declared(version, lazy=True, queues=("results",))
    assert ("x-queue-mode" in queues["outbox"].arguments) is is_sent
    assert ("x-queue-mode" in queues["results"].arguments) is is_sent
    assert "x-queue-mode" not in queues["outbox.delay.1"].arguments


def test_lazy_can_be_toggled_both_ways() -> None:
    queue = QueueDeclaration("outbox", True, {"x-max-priority": 4}, is_required=True)
    lazy = queue.with_lazy_toggled()
    assert lazy.arguments == {"x-max-priority": 4, "x-queue-mode": "lazy"}
    assert lazy.with_lazy_toggled() == queue


def test_transient_queues() -> None:
    assert not any(queue.durable for queue in declared(durable=False).values())


def test_classic_is_named() -> None:
    queues = declared(queue_type="classic", queues=("results",))
    assert {queue.arguments["x-queue-type"] for queue in queues.values()} == {"classic"}


def test_quorum() -> None:
    queues = declared(queue_type="quorum", durable=False, max_priority=4, lazy=True, queues=("results",))
    assert queues["outbox"].arguments == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "outbox.poison",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    assert queues["outbox.poison"].arguments == {"x-queue-type": "quorum"}
    assert queues["results"].arguments == {"x-queue-type": "quorum"}
    assert queues["outbox.delay.9"].arguments == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "outbox",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-message-ttl": 9000,
    }
    assert all(queue.durable for queue in queues.values())


def test_any_queue_has_a_declaration() -> None:
    topology = Topology(RabbitMqOptions(max_priority=2), OLD)
    assert topology.find("outbox.delay.5").arguments["x-message-ttl"] == 5000
    assert topology.find("customer").arguments == {"x-max-priority": 2}


@pytest.mark.parametrize(
    ("properties", "version"),
    [
        ({"product": "RabbitMQ", "version": "3.10.8"}, OLD),
        ({"product": "RabbitMQ", "version": "4.3.0-rc.1"}, NEWEST),
        ({"product": "LavinMQ", "version": "2.1.0"}, MIDDLE),
        ({"product": "RabbitMQ", "version": "unknown"}, MIDDLE),
        ({}, MIDDLE),
    ],
)
def test_versions(properties: dict[str, Any], version: BrokerVersion) -> None:
    assert parse_version(properties) == version


def test_what_depends_on_the_version() -> None:
    versions = [BrokerVersion(*version) for version in ((3, 9), (3, 11), (3, 12), (4, 0), (4, 2), (4, 3), (5, 0))]
    assert [version.is_supported for version in versions] == [False, True, True, True, True, True, True]
    assert [version.wants_lazy_argument for version in versions] == [True, True, False, False, False, False, False]
    assert [version.max_message_bytes >> 20 for version in versions] == [128, 128, 128, 16, 16, 16, 16]
    assert [version.has_two_priority_classes for version in versions] == [
        False, False, False, True, True, False, False,
    ]  # fmt: skip


def test_an_inequivalent_argument_is_explained() -> None:
    text = (
        "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'outbox' in vhost '/': received none but "
        "current is the value '5' of type 'signedint'"
    )
    error = declaration_error(406, text, "outbox")
    assert isinstance(error, TopologyError)
    assert str(error) == (
        "queue 'outbox': argument x-max-priority exists as the value '5' of type 'signedint', wanted is none; "
        "align the setting, or delete the queue when it is empty, or set rabbitmq-declare: false"
    )


def test_any_other_precondition_is_quoted() -> None:
    error = declaration_error(406, "PRECONDITION_FAILED - something new", "outbox")
    assert isinstance(error, TopologyError)
    assert "something new" in str(error)


def test_no_permission() -> None:
    assert isinstance(declaration_error(403, "ACCESS_REFUSED", "outbox"), BrokerRefusedError)


def test_a_deprecated_feature_is_a_configuration_error() -> None:
    text = "INTERNAL_ERROR - Feature `transient_nonexcl_queues` is deprecated."
    error = declaration_error(541, text, "outbox")
    assert isinstance(error, TopologyError)
    assert "rabbitmq-durable" in str(error)


@pytest.mark.parametrize(
    ("code", "text"), [(541, "INTERNAL_ERROR"), (404, "NOT_FOUND"), (405, "RESOURCE_LOCKED"), (0, "")]
)
def test_the_rest_may_pass(code: int, text: str) -> None:
    assert declaration_error(code, text, "outbox") is None
