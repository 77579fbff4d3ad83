"""Generated messages are usable, harmless and repeatable."""

from __future__ import annotations

import email
import email.policy
import json
import random
from collections import Counter
from statistics import median

import pytest

from relayq.model import parse_address
from relayq.trial.generate import (
    DROPPING_DOMAIN,
    GREYLISTING_DOMAIN,
    ID_PROPERTY,
    ORDINARY_DOMAINS,
    TROUBLE_SCRIPT,
    UNKNOWN_USER_DOMAIN,
    GeneratedMessage,
    generate_messages,
)
from relayq.trial.script import ActionKind, Counters, Step, parse_script


@pytest.fixture(scope="module")
def messages() -> list[GeneratedMessage]:
    return list(generate_messages(400, seed=7))


def test_same_seed_same_octets() -> None:
    assert list(generate_messages(30, seed=3)) == list(generate_messages(30, seed=3))
    assert list(generate_messages(30, seed=3)) != list(generate_messages(30, seed=4))
    assert list(generate_messages(0)) == []


def test_every_message_is_an_object_the_outbox_takes(messages: list[GeneratedMessage]) -> None:
    for message in messages:
        value = json.loads(message.body)
        assert value["recipient"] == message.recipient
        assert value[ID_PROPERTY] == message.trial_id
        assert parse_address(value["recipient"]).domain.endswith(".test")
        assert parse_address(value["envelope"]).domain.endswith(".test")


def test_ids_and_recipients_are_unique(messages: list[GeneratedMessage]) -> None:
    assert len({message.trial_id for message in messages}) == len(messages)
    assert len({message.recipient for message in messages}) == len(messages)


def test_content_is_valid_mail_with_short_lines(messages: list[GeneratedMessage]) -> None:
    for message in messages:
        octets = json.loads(message.body)["mime"].encode()
        assert max(map(len, octets.split(b"\r\n"))) <= 998
        assert octets.count(b"\n") == octets.count(b"\r\n")
        parsed = email.message_from_bytes(octets, policy=email.policy.default)
        assert not any(part.defects for part in parsed.walk())
        assert all(parsed[name] for name in ("From", "To", "Subject", "Date", "Message-ID"))
        body = parsed.get_body(("plain",))
        assert body is not None
        assert body.get_content().startswith("Dear ")


def test_sizes_are_mixed(messages: list[GeneratedMessage]) -> None:
    sizes = [len(message.body) for message in messages]
    assert min(sizes) < 2_000
    assert 2_000 < median(sizes) < 15_000
    assert max(sizes) > 50_000


def test_about_a_tenth_meets_trouble(messages: list[GeneratedMessage]) -> None:
    domains = Counter(message.recipient.partition("@")[2] for message in messages)
    troubled = sum(domains[domain] for domain in (GREYLISTING_DOMAIN, UNKNOWN_USER_DOMAIN, DROPPING_DOMAIN))
    assert 0.05 < troubled / len(messages) < 0.16
    assert set(domains) <= {*ORDINARY_DOMAINS, GREYLISTING_DOMAIN, UNKNOWN_USER_DOMAIN, DROPPING_DOMAIN}


def test_even_three_messages_meet_every_kind_of_trouble() -> None:
    domains = [message.recipient.partition("@")[2] for message in generate_messages(3)]
    assert domains == [GREYLISTING_DOMAIN, UNKNOWN_USER_DOMAIN, DROPPING_DOMAIN]


def test_trouble_can_be_left_out() -> None:
    domains = {message.recipient.partition("@")[2] for message in generate_messages(60, trouble=False)}
    assert domains <= set(ORDINARY_DOMAINS)


def test_the_script_fits_the_domains() -> None:
    script = parse_script(TROUBLE_SCRIPT)
    counters, rng = Counters(), random.Random(1)
    greylisted, refused, dropped = (message.recipient for message in generate_messages(3))
    assert script.decide(Step.RCPTTO, greylisted, counters, rng).code == 450
    assert script.decide(Step.RCPTTO, greylisted, counters, rng).kind is ActionKind.ACCEPT
    assert script.decide(Step.RCPTTO, refused, counters, rng).code == 550
    assert script.decide(Step.MESSAGE, dropped, counters, rng).kind is ActionKind.DROP
    assert script.decide(Step.RCPTTO, "a@orchard.test", counters, rng).kind is ActionKind.ACCEPT
