"""The life of a greylisted message against Postfix and Postgrey, compared with spec results.md 11.2."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from relayq.model.timestamp import parse_timestamp
from tests.integration.receivers.contents import as_stored, compose
from tests.integration.receivers.deliveries import arrived, publish_hosts
from tests.support.receivers import postfix
from tests.support.receivers.postfix import Postfix
from tests.support.receivers.postgrey import DELAY_SECONDS
from tests.support.receivers.sender import Sender

EGRESS_IPS = ("127.0.0.1", "127.0.0.2")
INTERVAL = DELAY_SECONDS + 1
MESSAGES = 6
RESULT = ["state", "result", "time", "from", "to", "messages", "code", "status", "description"]


@pytest.fixture(scope="module", autouse=True)
def _records(sender: Sender, postfix_server: Postfix) -> None:
    publish_hosts(sender, "postfix.test", {"grey": postfix.GREYLISTED})


def of_11_2(attempt: dict[str, Any]) -> dict[str, Any]:
    """What the example says of an attempt, without what differs from server to server."""
    return {name: attempt[name] for name in ("state", "result", "code", "status", "to")}


def test_greylisted_then_accepted(sender: Sender, postfix_server: Postfix) -> None:
    given = {"ips": list(EGRESS_IPS), "retries": [INTERVAL], "order": 7781}
    mimes = [compose(f"grey-{number}", "Hello\r\n") for number in range(MESSAGES)]
    numbers = sender.inject([
        {"recipient": f"u-grey-{number}@grey.postfix.test", "mime": mime, **given} for number, mime in enumerate(mimes)
    ])  # fmt: skip
    used: set[str] = set()
    for index, number in enumerate(numbers):
        retry, success = sender.result(number), sender.result(number)
        assert (retry.queue, success.queue) == ("retry", "success")

        [first] = retry.message["results"]
        assert list(first) == RESULT
        assert of_11_2(first) == {
            "state": "rcptto", "result": "error", "code": 450, "status": "4.2.0", "to": postfix.GREYLISTED,
        }  # fmt: skip
        assert "Greylisted" in first["description"]
        assert first["from"] in EGRESS_IPS
        own = ["envelope", "recipient", "ips", "retries", "order", "number"]
        assert list(retry.message) == [*own, "results", "delayed", "seen"], "all of the original but mime, then ours"
        waited = parse_timestamp(retry.message["delayed"]) - parse_timestamp(first["time"])
        assert timedelta(seconds=INTERVAL) <= waited <= timedelta(seconds=INTERVAL + 1)
        assert parse_timestamp(retry.message["seen"]) <= parse_timestamp(first["time"])

        unchanged = {name: value for name, value in retry.message.items() if name != "results"}
        assert {name: value for name, value in success.message.items() if name != "results"} == unchanged
        assert list(success.message) == list(retry.message)
        again, second = success.message["results"]
        assert json.dumps(again) == json.dumps(first), "an entry once written stays as it is"
        assert list(second) == RESULT
        assert of_11_2(second) == {
            "state": "message", "result": "accepted", "code": 250, "status": "2.0.0", "to": postfix.GREYLISTED,
        }  # fmt: skip
        assert second["from"] == first["from"], "greylisting knows the client by its address"
        assert parse_timestamp(second["time"]) >= parse_timestamp(retry.message["delayed"])
        used.add(second["from"])
        assert arrived(postfix_server, f"grey-{index}")[1] == as_stored(mimes[index])
    assert used <= set(EGRESS_IPS)


def test_another_local_address_would_begin_anew(sender: Sender) -> None:
    """The server tells clients apart: without that, the test above would prove nothing about the address."""
    for ip in EGRESS_IPS:
        message = {"recipient": "u-anew@grey.postfix.test", "mime": compose("anew", ""), "retries": [3600]}
        result = sender.send(**message, ips=[ip])
        assert (result.queue, result.end) == ("retry", "rcptto/error 450")
