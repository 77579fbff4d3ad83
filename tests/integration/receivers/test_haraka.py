"""Delivery to Haraka, whose plugin keeps the octets with the line ends that came over the connection."""

from __future__ import annotations

import pytest

from tests.integration.receivers.contents import BODIES, as_stored, compose, first_line
from tests.integration.receivers.deliveries import SMALL, deliver, publish_hosts
from tests.support.receivers import haraka
from tests.support.receivers.haraka import LOGIN, Haraka
from tests.support.receivers.mailbox import await_stored, split_added
from tests.support.receivers.sender import Sender

PLACES = {"full": haraka.PLAIN, "other": haraka.OTHER}


@pytest.fixture(scope="module", autouse=True)
def _records(sender: Sender, haraka_server: Haraka) -> None:
    publish_hosts(sender, "haraka.test", PLACES)


def arrived(server: Haraka, case: str) -> tuple[dict[str, str], bytes]:
    (stored,) = await_stored(server.messages, first_line(case).encode() + b"\r\n")
    return split_added(stored, first_line(case).encode())


@pytest.mark.parametrize("security", ["optional", "verified"])
@pytest.mark.parametrize("body", BODIES)
def test_what_arrives_is_what_was_meant(body: str, security: str, sender: Sender, haraka_server: Haraka) -> None:
    case = f"haraka-{security}-{body}"
    mime = compose(case, BODIES[body])
    recipient = f"u-{body}@full.haraka.test"
    result = sender.send(recipient=recipient, mime=mime, security=security)
    assert (result.queue, result.end, result.last["to"]) == ("success", "message/accepted 250", haraka.PLAIN)
    added, content = arrived(haraka_server, case)
    assert content == as_stored(mime, b"\r\n")
    assert set(added) == {"x-protocol", "x-from", "x-to", "received"}
    assert (added["x-from"], added["x-to"]) == ("<sender@shop.test>", f"<{recipient}>")
    assert added["x-protocol"].startswith("clear;" if security == "optional" else "tls;")


@pytest.mark.parametrize(
    ("members", "queue", "end"),
    [
        ({"recipient": "nobody@full.haraka.test"}, "failure", "rcptto/error 550"),
        ({"recipient": "u-later@full.haraka.test"}, "retry", "rcptto/error 450"),
        ({"recipient": "u-hang-up@full.haraka.test"}, "retry", "rcptto/error 450"),
        ({"envelope": "refused@shop.test"}, "failure", "mailfrom/error 550"),
        ({"envelope": "no-content@shop.test"}, "retry", "data/error 451"),
        ({"mime": compose("haraka-refused", SMALL)}, "failure", "message/error 550"),
    ],
    ids=["user", "greylisting", "hang-up", "sender", "data", "content"],
)
def test_refusals(members: dict[str, str], queue: str, end: str, sender: Sender, haraka_server: Haraka) -> None:
    result = sender.send(**{"recipient": "u@full.haraka.test", "mime": compose("haraka-x", SMALL), **members})
    assert (result.queue, result.end) == (queue, end)


def test_too_big(sender: Sender) -> None:
    body = ("x" * 78 + "\r\n") * (haraka.SIZE_LIMIT // 80 + 1)
    result = sender.send(recipient="u-big@full.haraka.test", mime=compose("haraka-big", body))
    assert (result.queue, result.end) == ("failure", "mailfrom/error 550")


def test_international_recipient(sender: Sender, haraka_server: Haraka) -> None:
    assert deliver(sender, "u-jürgen@full.haraka.test", "haraka-utf8").end == "message/accepted 250"
    assert arrived(haraka_server, "haraka-utf8")[0]["x-to"] == "<u-jürgen@full.haraka.test>"


def test_smarthost_with_login(sender: Sender, haraka_server: Haraka) -> None:
    smarthost = {"hostname": haraka.OTHER, "port": haraka_server.port, "username": LOGIN[0], "password": LOGIN[1]}
    assert deliver(sender, "anybody@elsewhere.test", "haraka-login", smarthost=smarthost).queue == "success"
    added, content = arrived(haraka_server, "haraka-login")
    assert content == as_stored(compose("haraka-login", SMALL), b"\r\n")
    assert added["x-protocol"] == f"tls; user={LOGIN[0]}; method=CRAM-MD5"


def test_login_fails(sender: Sender, haraka_server: Haraka) -> None:
    smarthost = {"hostname": haraka.OTHER, "port": haraka_server.port, "username": "mallory", "password": "wrong"}
    result = deliver(sender, "anybody@elsewhere.test", "haraka-wrong", smarthost=smarthost)
    assert (result.queue, result.end) == ("retry", "authresponse/error 535")


def test_connection_is_reused(sender: Sender, haraka_server: Haraka) -> None:
    results = [deliver(sender, f"u-{count}@other.haraka.test", f"haraka-reuse-{count}") for count in range(20)]
    assert [result.last["messages"] for result in results] == list(range(1, 21))
    for count in range(20):
        assert arrived(haraka_server, f"haraka-reuse-{count}")[0]["x-to"] == f"<u-{count}@other.haraka.test>"
