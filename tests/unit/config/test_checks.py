from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from relayq.config.checks import find_conflicts, find_doubts
from relayq.config.table import TABLE
from tests.unit.config.loading import refused, warned

TOO_LATE = "content could never be sent in time"


def values(**changed: str) -> dict[str, object]:
    """Every default, with some values changed, whether they are supported yet or not."""
    texts = {name.replace("_", "-"): text for name, text in changed.items()}
    return {key: row.read(texts[key]) if key in texts else row.default_value() for key, row in TABLE.items()}


def test_the_defaults_fit_together() -> None:
    assert list(find_conflicts(values())) == []


@pytest.mark.parametrize(
    ("changed", "key", "text"),
    [
        *(
            (
                {f"rabbitmq_{name}": "outbox"},
                f"rabbitmq-{name}",
                "is the outbox: its messages would be mailed, for ever",
            )
            for name in ("results", "success", "failure", "retry", "invalid", "local", "reports", "refused")
        ),
        *(
            (
                {"rabbitmq_outbox": "o", f"rabbitmq_{name}": queue},
                f"rabbitmq-{name}",
                f'is a name reserved for queues that belong to the outbox: "{queue}"',
            )
            for name, queue in (("inbox", "o.delay.x"), ("dsn", "o.park.x"), ("results", "o.poison"))
        ),
        ({"rabbitmq_minqos": "2", "rabbitmq_qos": "1"}, "rabbitmq-minqos", "is 2, above rabbitmq-qos, which is 1"),
        (
            {"rabbitmq_max_hold": "901"},
            "rabbitmq-ack-limit",
            f"is 1500 s, below rabbitmq-max-hold + smtp-out-timeout-message = 1501 s: {TOO_LATE}",
        ),
        (
            {"rabbitmq_queue_type": "quorum", "rabbitmq_durable": "no"},
            "rabbitmq-durable",
            "is false, but the queues of rabbitmq-queue-type: quorum are always durable",
        ),
        ({"smtp_connections_out": "1001"}, "smtp-connections-out", "is 1001, above smtp-connections, which is 1000"),
        ({"smtp_connections_in": "1001"}, "smtp-connections-in", "is 1001, above smtp-connections, which is 1000"),
        ({"smtp_certificate": "/c"}, "smtp-certificate", "is set without smtp-key"),
        ({"smtp_key": "/k"}, "smtp-key", "is set without smtp-certificate"),
        ({"www_certificate": "/c"}, "www-certificate", "is set without www-privatekey"),
        ({"www_privatekey": "/k"}, "www-privatekey", "is set without www-certificate"),
        ({"smarthost": "h", "smarthost_password": "p"}, "smarthost-password", "is set without smarthost-username"),
        ({"smtp_sink_password": "p"}, "smtp-sink-password", "is set without smtp-sink-username"),
        ({"smarthost_port": "26"}, "smarthost-port", "is set without smarthost"),
        ({"smarthost_username": "u"}, "smarthost-username", "is set without smarthost"),
    ],
)
def test_conflict(changed: Mapping[str, str], key: str, text: str) -> None:
    assert list(find_conflicts(values(**changed))) == [(key, text)]


@pytest.mark.parametrize(
    "changed",
    [
        {"rabbitmq_inbox": "outbox", "rabbitmq_dsn": "outbox"},
        {
            "rabbitmq_outbox": "o",
            "rabbitmq_results": "x.delay.1",
            "rabbitmq_success": "o.delay",
            "rabbitmq_retry": "o.poisoned",
        },
        {"rabbitmq_minqos": "1000"},
        {"rabbitmq_max_hold": "900"},
        {"rabbitmq_queue_type": "quorum"},
        {"rabbitmq_durable": "no"},
        {"smtp_connections_out": "1000", "smtp_connections_in": "1000"},
        {"smtp_certificate": "/c", "smtp_key": "/k", "www_certificate": "/c", "www_privatekey": "/k"},
        {"smarthost": "h", "smarthost_port": "26", "smarthost_username": "u", "smarthost_password": "p"},
        {"smtp_sink_username": "u"},
        {"storage_policy": "in"},
    ],
)
def test_no_conflict(changed: Mapping[str, str]) -> None:
    assert list(find_conflicts(values(**changed))) == []


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        ({}, ["rabbitmq-results"]),
        ({"rabbitmq_retry": "q"}, []),
        ({"rabbitmq_retry": "q", "rabbitmq_verify": "no"}, ["rabbitmq-verify"]),
        ({"rabbitmq_retry": "q", "smtp_auth": "hardcoded://u:p"}, ["smtp-auth"]),
        ({"rabbitmq_retry": "q", "smtp_auth": "hardcoded://u:p", "smtp_secure_port": "465"}, []),
        ({"rabbitmq_retry": "q", "smtp_auth": "hardcoded://u:p", "smtp_certificate": "/c"}, []),
        ({"rabbitmq_retry": "q", "www_auth": "hardcoded://u:p"}, ["www-auth"]),
        ({"rabbitmq_retry": "q", "www_auth": "hardcoded://u:p", "www_secure_port": "443"}, []),
    ],
)
def test_doubts(changed: Mapping[str, str], keys: list[str]) -> None:
    assert [key for key, _ in find_doubts(values(**changed))] == keys


def test_checks_leave_out_what_is_wrong_by_itself() -> None:
    partial = {key: value for key, value in values(rabbitmq_minqos="2").items() if key != "rabbitmq-qos"}

    assert list(find_conflicts(partial)) == []
    assert list(find_conflicts({})) == []


def test_a_conflict_is_reported_where_the_key_is_set(tmp_path: Path) -> None:
    assert refused(tmp_path, "rabbitmq-results: outbox\nrabbitmq-qos: 10\n") == [
        "config.txt:1: rabbitmq-results: is the outbox: its messages would be mailed, for ever",
        "default: rabbitmq-minqos: is 100, above rabbitmq-qos, which is 10",
    ]


def test_a_doubt_is_reported_where_the_key_is_set(tmp_path: Path) -> None:
    assert warned(tmp_path, "rabbitmq-verify: no\n") == [
        "config.txt:2: rabbitmq-verify: certificates of brokers are not checked"
    ]
