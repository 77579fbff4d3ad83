"""The table of x-mq-* headers."""

from __future__ import annotations

import pytest

from relayq.cli.mq_headers import read_mq_headers


@pytest.mark.parametrize(
    ("headers", "properties"),
    [
        (
            [("x-mq-ip", "192.0.2.1"), ("x-mq-ip", "192.0.2.2; 2001:db8::1")],
            {"ips": ["192.0.2.1", "192.0.2.2", "2001:db8::1"]},
        ),
        ([("x-mq-pool", "news")], {"pool": "news"}),
        ([("x-mq-tag", "a"), ("x-mq-tag", "b c")], {"tags": ["a", "b c"]}),
        ([("x-mq-delayed", "2031-03-01 09:00:00")], {"delayed": "2031-03-01 09:00:00"}),
        ([("x-mq-maxdelivertime", "2031-03-01 09:00:00")], {"maxdelivertime": "2031-03-01 09:00:00"}),
        ([("x-mq-maxattempts", "0")], {"maxattempts": 0}),
        ([("x-mq-retries", "60, 300,3600")], {"retries": [60, 300, 3600]}),
        ([("x-mq-priority", "7")], {"priority": 7}),
        (
            [("x-mq-inlinecss", "1"), ("x-mq-keepmime", "True"), ("x-mq-force", "no")],
            {"inlinecss": True, "keepmime": True, "force": False},
        ),
        ([("x-mq-security", "required")], {"security": "required"}),
        ([("x-mq-results-queue", "r"), ("x-mq-dsn-queue", "d")], {"queues": {"results": "r", "dsn": "d"}}),
        (
            [("x-mq-failure-queue", "f"), ("x-mq-success-queue", "s"), ("x-mq-retry-queue", "t")],
            {"queues": {"failure": "f", "success": "s", "retry": "t"}},
        ),
        (
            [("x-mq-smarthost-port", "587"), ("x-mq-smarthost-name", "mx.test")],
            {"smarthost": {"port": 587, "hostname": "mx.test"}},
        ),
        (
            [
                ("x-mq-smarthost-hostname", "mx.test"),
                ("x-mq-smarthost-username", "u"),
                ("x-mq-smarthost-password", "p"),
            ],
            {"smarthost": {"hostname": "mx.test", "username": "u", "password": "p"}},
        ),
        (
            [
                ("x-mq-dsn-notify", "FAILURE,DELAY"),
                ("x-mq-dsn-ret", "hdrs"),
                ("x-mq-dsn-orcpt", "a@b.test"),
                ("x-mq-dsn-envid", "e1"),
            ],
            {"dsn": {"notify": "FAILURE,DELAY", "ret": "hdrs", "orcpt": "a@b.test", "envid": "e1"}},
        ),
        ([("x-mq-order", "17")], {"order": "17"}),
        ([("x-mq-item", "a"), ("x-mq-item", "b"), ("x-mq-item", "c")], {"item": ["a", "b", "c"]}),
    ],
)
def test_properties(headers: list[tuple[str, str]], properties: dict[str, object]) -> None:
    found = read_mq_headers(headers)
    assert found.properties == properties
    assert found.problems == []


@pytest.mark.parametrize(
    "header",
    [
        ("x-mq-ip", "example.org"),
        ("x-mq-ip", ""),
        ("x-mq-delayed", "tomorrow"),
        ("x-mq-maxdelivertime", "2031-03-01T09:00:00Z"),
        ("x-mq-maxattempts", "-1"),
        ("x-mq-maxattempts", "9" * 19),
        ("x-mq-retries", "60,,1"),
        ("x-mq-retries", "0"),
        ("x-mq-priority", "256"),
        ("x-mq-force", "perhaps"),
        ("x-mq-security", "some"),
        ("x-mq-results-queue", "q" * 256),
        ("x-mq-dsn-notify", "SOMETIMES"),
        ("x-mq-dsn-ret", "half"),
        ("x-mq-dsn-envid", "é"),
        ("x-mq-smarthost-port", "587"),
        ("x-mq-smarthost-port", "smtp"),
        ("x-mq-smarthost-username", "u"),
        ("x-mq-queues", "x"),
        ("x-mq-dsn", "x"),
        ("x-mq-smarthost", "x"),
        ("x-mq-", "x"),
        *((f"x-mq-{name}", "x") for name in ("mime", "key", "recipient", "results", "dkim", "data", "seen")),
    ],
)
def test_a_bad_header_is_dropped_and_told_without_its_value(header: tuple[str, str]) -> None:
    found = read_mq_headers([("x-mq-pool", "news"), header])
    assert found.properties == {"pool": "news"}
    (problem,) = found.problems
    assert "dropped" in problem
    assert "587" not in problem


def test_one_bad_member_does_not_spoil_the_others() -> None:
    found = read_mq_headers([("x-mq-dsn-ret", "half"), ("x-mq-dsn-envid", "e1"), ("x-mq-dsn-notify", "NEVER")])
    assert found.properties == {"dsn": {"envid": "e1", "notify": "NEVER"}}
    assert len(found.problems) == 1


def test_envelope_is_not_a_property() -> None:
    found = read_mq_headers([("x-mq-envelope", "a@b.test")])
    assert (found.envelope, found.properties) == ("a@b.test", {})


def test_the_number_of_headers_is_bounded() -> None:
    found = read_mq_headers([("x-mq-item", str(number)) for number in range(5000)])
    assert len(found.properties["item"]) == 1000
    assert len(found.problems) == 1
