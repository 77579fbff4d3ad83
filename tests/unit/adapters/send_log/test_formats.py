"""What stands in a line: never a second line, never a secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from relayq.adapters.send_log.formats import LONGEST_LINE, LineFormat, line_format, write_fields, write_json
from relayq.compose.template import TemplateError
from relayq.model import Attempt, Message, Outcome
from relayq.model.attempt import DeliveryState, ResultType
from relayq.model.message_json import ParseRules, decode_members, parse_message

BODY: dict[str, Any] = {
    "envelope": "news@shop.example",
    "recipient": "anna@customer.example",
    "tags": ["spring", 'a "b"'],
    "mime": "From: x\r\n\r\nsecret content",
    "order-id": 7781,
    "dkim": {"domain": "shop.example", "selector": "s", "key": "private"},
    "smarthost": {"hostname": "relay.example", "username": "u", "password": "private"},
}
EARLIER = [{"state": "rcptto", "result": "error", "time": "2031-03-01 08:00:00", "code": 450}]


def message(**changes: Any) -> Message:
    return parse_message(decode_members(msgspec.json.encode(BODY | changes)), ParseRules())


def attempt(**changes: Any) -> Attempt:
    given: dict[str, Any] = {
        "state": DeliveryState.MESSAGE,
        "result": ResultType.ACCEPTED,
        "at": datetime(2031, 3, 1, 9, 0, 5, 999_999, tzinfo=UTC),
        "egress_ip": "192.0.2.10",
        "remote_ip": "2001:db8::25",
        "ordinal": 1,
        "code": 250,
        "status": "2.0.0",
        "description": "Ok: queued as 4F2A9",
    }
    return Attempt(**(given | changes))


NOTHING = {"egress_ip": None, "remote_ip": None, "code": None, "status": None, "description": None}


def ignore(level: str, text: str) -> None:
    raise AssertionError(f"{level}: {text}")


def test_the_usual_fields() -> None:
    assert write_fields(message(), attempt(), Outcome.SUCCESS) == (
        "[2031-03-01 09:00:05] message:accepted 1 <news@shop.example> <anna@customer.example> [192.0.2.10] "
        '[2001:db8::25] ["spring","a \\"b\\""] 250 2.0.0 Ok: queued as 4F2A9'
    )
    line = write_fields(message(envelope=None, tags=None, results=EARLIER), attempt(**NOTHING), Outcome.RETRY)
    assert line == "[2031-03-01 09:00:05] message:accepted 2 <> <anna@customer.example> [] [] []"
    line = write_fields(None, attempt(state=DeliveryState.AMQP, result=ResultType.INVALID, **NOTHING), Outcome.FAILURE)
    assert line == "[2031-03-01 09:00:05] amqp:invalid 1 <> <> [] [] []"


def test_json() -> None:
    line = write_json(message(tags=[]), attempt(code=550), Outcome.FAILURE)
    assert list(json.loads(line).items()) == [
        ("date", "2031-03-01 09:00:05"),
        ("state", "message"),
        ("result", "accepted"),
        ("outcome", "failure"),
        ("attempt", 1),
        ("envelope", "news@shop.example"),
        ("recipient", "anna@customer.example"),
        ("from", "192.0.2.10"),
        ("to", "2001:db8::25"),
        ("code", 550),
        ("status", "2.0.0"),
        ("description", "Ok: queued as 4F2A9"),
    ]
    assert json.loads(write_json(message(envelope=None), attempt(), Outcome.SUCCESS))["envelope"] == ""
    assert "recipient" not in json.loads(write_json(None, attempt(), Outcome.FAILURE))


TEMPLATES = [
    ("{$date} {$time}", "2031-03-01 09:00:05 1930122005"),
    ("{$email.recipient}/{$email.order_id}/{$attempt}", "anna@customer.example/7781/1"),
    ("{$result.from} {$result.to} {$result.messages}", "192.0.2.10 2001:db8::25 1"),
    ("[{$email.nothing}{$nothing.at.all}{$result.nothing}]", "[]"),
    ("{if $result.code == 250}sent{else}{$result.code}{/if}", "sent"),
    ("{if $result.result != 'accepted'}bad{/if}{$outcome}", "success"),
    ("{$email.tags|jsonencode}", '["spring","a \\"b\\""]'),
    ("{$email.dkim} {$email.smarthost} [{$email.mime}]", "*** *** []"),
    ("plain", "plain"),
]


@pytest.mark.parametrize(("text", "line"), TEMPLATES)
def test_templates(text: str, line: str) -> None:
    assert line_format(text, ignore)(message(), attempt(), Outcome.SUCCESS) == line


def test_no_way_leads_to_secrets() -> None:
    for text in (
        "{$email|jsonencode}",
        "{foreach $x in $email}{$x|jsonencode}{/foreach}",
        "{$email.smarthost.password}",
    ):
        line = line_format(text, ignore)(message(), attempt(), Outcome.SUCCESS)
        assert "private" not in line
        assert "secret content" not in line


def test_templates_without_a_message() -> None:
    assert line_format("<{$email.recipient}> {$attempt}", ignore)(None, attempt(), Outcome.FAILURE) == "<> 1"


@pytest.mark.parametrize("text", ["{if}", "{$a", "{/if}"])
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(TemplateError):
        line_format(text, ignore)


def test_a_template_that_takes_too_long_is_told_once() -> None:
    told: list[str] = []
    text = "{foreach $x in $email.numbers}{foreach $y in $email.numbers}{$y|upper|lower}{/foreach}{/foreach}"
    write = line_format(text, lambda _level, line: told.append(line))
    slow = message(numbers=list(range(400)))
    assert write(slow, attempt(), Outcome.SUCCESS) == write_fields(slow, attempt(), Outcome.SUCCESS)
    write(slow, attempt(), Outcome.SUCCESS)
    assert len(told) == 1
    assert told[0].startswith("send-log-format: ")


FORMATS = [write_fields, write_json, line_format("{$result.description} {$email.note}", ignore)]


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("evil", ["a\r\nb", "a\nb", "a\x0bb\x0cb", "a\x85b", "a\u2028b\u2029", "a\x1b[2Jb", "\x00"])
def test_one_line_whatever_is_in_it(write: LineFormat, evil: str) -> None:
    """Spec operations.md 26, check 15."""
    line = write(message(note=evil, tags=[evil]), attempt(description=evil), Outcome.SUCCESS)
    assert len(line.splitlines()) == 1
    assert not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in line)


@pytest.mark.parametrize("write", FORMATS)
def test_lines_are_bounded(write: LineFormat) -> None:
    huge = message(tags=["x" * 10_000] * 1000, note="y" * 1_000_000)
    assert len(write(huge, attempt(), Outcome.SUCCESS)) <= LONGEST_LINE


def test_unpaired_surrogates_in_members() -> None:
    odd = parse_message(decode_members(b'{"recipient":"a@b.test","mime":"x","note":"\\ud800"}'), ParseRules())
    assert line_format("[{$email.note}]", ignore)(odd, attempt(), Outcome.SUCCESS) == "[]"
