"""What reports are made of, beyond what a whole worker shows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from relayq.adapters.memory import MemoryChannel
from relayq.compose import DsnFacts
from relayq.delivery.reporter import Finding, Reporter, ReporterRules, Trail, salvage_message, with_delay_sent
from relayq.model import (
    Attempt,
    DeliveryError,
    DeliveryState,
    Message,
    Outcome,
    Refused,
    Reply,
    ResultType,
    Scope,
    TimedOut,
)
from relayq.model.message_json import ParseRules, decode_members, parse_message
from relayq.policy.reporting import ReportAction, ReportingRules
from relayq.policy.retry import RetryRules
from relayq.ports import Properties

NOW = datetime(2031, 3, 1, 9, 0, 4, tzinfo=UTC)
RULES = ReporterRules(
    reporting=ReportingRules(queue="dsn"), retry=RetryRules(), author="mailer-daemon@mta.test", reporting_mta="mta.test"
)
BODY = b'{"envelope":"b@shop.test","recipient":"anna@example.test","mime":"Subject: x\\r\\n\\r\\nx\\r\\n"%s}'


class Item:
    """A consumed message."""

    properties = Properties()
    redelivered = False
    consumed_at = 0.0
    is_held = True
    origin = MemoryChannel()
    identity = b""

    def __init__(self, body: bytes) -> None:
        self.body = body


def parse(more: bytes = b"") -> Message:
    return parse_message(decode_members(BODY % more), ParseRules())


async def facts(
    error: DeliveryError | None = None,
    *,
    more: bytes = b"",
    action: ReportAction = "failed",
    trail: Trail | None = None,
) -> DsnFacts:
    state, result = (DeliveryState.MESSAGE, ResultType.ACCEPTED) if error is None else (error.state, error.result)
    made = Attempt(state=state, result=result, at=NOW)
    finding = Finding(
        message=parse(more), attempt=made, outcome=Outcome.FAILURE, error=error, seen_at=NOW, trail=trail or Trail()
    )
    return (await Reporter(RULES, None).write(Item(BODY % more), finding, action, 1_000_000)).facts


def refused(reply: Reply | None = None, *, ip: str | None = None, mta: object = None) -> Refused:
    error = Refused(DeliveryState.RCPTTO, Scope.MESSAGE, "private reason", reply=reply)
    error.remote_ip = ip
    error.details = () if mta is None else (("mta", mta),)
    return error


@pytest.mark.parametrize(
    ("ip", "mta", "expected"),
    [
        ("192.0.2.1", "mx.test", "mx.test"),
        ("192.0.2.1", None, "[192.0.2.1]"),
        ("2001:db8::1", None, "[IPv6:2001:db8::1]"),
        (None, "mx.test", None),
    ],
)
async def test_the_server_has_a_name_or_an_address(ip: str | None, mta: str | None, expected: str | None) -> None:
    assert (await facts(refused(ip=ip, mta=mta))).remote_mta == expected


async def test_a_reply_without_a_status_is_quoted_as_it_came() -> None:
    told = await facts(refused(Reply(550, None, (b"no", b"such user"))))

    assert (told.status, told.reply) == ("5.0.0", "550 no such user")


@pytest.mark.parametrize(
    ("action", "reply", "status"),
    [
        ("delayed", Reply(535, "5.7.8", (b"",)), "4.7.8"),
        ("delayed", Reply(451, "4.2.1", (b"",)), "4.2.1"),
        ("failed", Reply(451, "4.2.1", (b"",)), "4.2.1"),
    ],
)
async def test_the_status_fits_the_action(action: ReportAction, reply: Reply, status: str) -> None:
    assert (await facts(refused(reply), action=action)).status == status


async def test_success_has_a_status_of_success() -> None:
    odd = Trail(reply=Reply(250, "5.0.0", (b"ok",)), remote_mta="mx.test")

    assert (await facts(action="relayed", trail=odd)).status == "2.0.0"


async def test_the_private_reason_stays_private() -> None:
    told = await facts(TimedOut(DeliveryState.CONNECT, Scope.HOST, "private reason"))

    assert (told.status, told.reason, told.reply) == ("4.4.1", "no answer from the host", None)


@pytest.mark.parametrize(
    ("received", "hour"), [('"2031-03-01 07:00:00"', 7), ('"yesterday"', 9), ("17", 9), ("null", 9), ('"\\ud800"', 9)]
)
async def test_the_arrival(received: str, hour: int) -> None:
    told = await facts(refused(), more=b',"received":' + received.encode())

    assert told.arrived_at is not None
    assert told.arrived_at.hour == hour


async def test_what_was_sent_wins_over_what_was_published() -> None:
    assert (await facts(refused())).content == b"Subject: x\r\n\r\nx\r\n"
    assert (await facts(refused(), trail=Trail(octets=b"Sent: y\n\0\r\n"))).content == b"Sent: y\r\n\r\n"
    assert (await facts(refused(), more=b',"mime":null,"key":"k"')).content is None


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (b"", b'{"delay-sent":true}'),
        (b',"dsn":null', b'{"delay-sent":true}'),
        (b',"dsn":[]', b'{"delay-sent":true}'),
        (b',"dsn":{}', b'{"delay-sent":true}'),
        (b',"dsn":{"delay-sent":false,"a":[1.0,  2]}', b'{"delay-sent":true,"a":[1.0,  2]}'),
    ],
)
def test_the_mark_of_a_delay_report(dsn: bytes, expected: bytes) -> None:
    assert with_delay_sent(decode_members(BODY % dsn)) == expected


@pytest.mark.parametrize(
    "more",
    [b',"maxattempts":"x","retries":[],"queues":3', b',"dsn":{"notify":"?"}', b',"mime":3', b',"mime":""', b',"key":7'],
)
def test_what_an_unusable_message_still_tells(more: bytes) -> None:
    message = salvage_message(decode_members(BODY % more), ParseRules())

    assert message is not None
    assert message.sender is not None
    assert (message.sender.text, message.recipient.text) == ("b@shop.test", "anna@example.test")
    assert message.key is None


@pytest.mark.parametrize("more", [b',"recipient":3', b',"recipient":"x"', b',"envelope":"x"', b',"recipient":null'])
def test_nothing_is_told_without_usable_addresses(more: bytes) -> None:
    assert salvage_message(decode_members(BODY % more), ParseRules()) is None
