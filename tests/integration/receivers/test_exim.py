"""Delivery to Exim, in clear, under TLS, after a login, and in chunks."""

from __future__ import annotations

import pytest

from tests.integration.receivers.contents import BODIES, SEVEN_BIT, as_stored, compose
from tests.integration.receivers.deliveries import SMALL, arrived, deliver, publish_hosts
from tests.support.receivers import exim
from tests.support.receivers.exim import INTERNATIONAL, LOGIN, Exim
from tests.support.receivers.sender import Sender

PLACES = {
    "full": exim.PLAIN,
    "bare": exim.BARE,
    "tls": exim.TLS,
    "other": exim.OTHER,
    "no-connections": exim.REFUSES_CONNECTIONS,
    "no-names": exim.REFUSES_NAMES,
}
CONTENTS = [(place, body) for place in ("full", "tls") for body in BODIES] + [("bare", body) for body in SEVEN_BIT]


@pytest.fixture(scope="module", autouse=True)
def _records(sender: Sender, exim_server: Exim) -> None:
    publish_hosts(sender, "exim.test", PLACES)


def log_line(server: Exim, added: dict[str, str]) -> str:
    """What Exim has logged about the arrival of a message."""
    message_id = added["received"].split("id ")[1].split()[0].rstrip(";")
    (line,) = [line for line in server.log.splitlines() if f" {message_id} <= " in line]
    return line


@pytest.mark.parametrize(("place", "body"), CONTENTS)
def test_what_arrives_is_what_was_meant(place: str, body: str, sender: Sender, exim_server: Exim) -> None:
    case = f"exim-{place}-{body}"
    mime = compose(case, BODIES[body])
    recipient = f"u-{case}@{place}.exim.test"
    result = sender.send(recipient=recipient, mime=mime)
    assert (result.queue, result.end, result.last["to"]) == ("success", "message/accepted 250", PLACES[place])
    added, content = arrived(exim_server, case)
    assert content == as_stored(mime)
    assert set(added) == {"return-path", "envelope-to", "received"}
    assert (added["return-path"], added["envelope-to"]) == ("<sender@shop.test>", recipient)
    assert (" X=TLS1.3:" in log_line(exim_server, added)) == (place == "tls")


@pytest.mark.parametrize("body", BODIES)
def test_in_chunks(body: str, daring_sender: Sender, exim_server: Exim) -> None:
    """BDAT: nothing is stuffed, and the length alone says where the content ends."""
    publish_hosts(daring_sender, "exim.test", PLACES)
    case = f"exim-chunks-{body}"
    mime = compose(case, BODIES[body])
    assert daring_sender.send(recipient=f"u-{body}@full.exim.test", mime=mime).end == "message/accepted 250"
    added, content = arrived(exim_server, case)
    assert content == as_stored(mime)
    assert " K " in log_line(exim_server, added)


@pytest.mark.parametrize(
    ("members", "queue", "end", "status"),
    [
        ({"recipient": "nobody@full.exim.test"}, "failure", "rcptto/error 550", "5.1.1"),
        ({"recipient": "u-later@full.exim.test"}, "retry", "rcptto/error 451", "4.2.0"),
        ({"recipient": "u@relayed-by-exim.test"}, "failure", "rcptto/error 550", "5.7.1"),
        ({"envelope": "refused@shop.test"}, "failure", "mailfrom/error 550", "5.7.1"),
        ({"envelope": "no-content@shop.test"}, "retry", "data/error 451", "4.3.1"),
        ({"mime": compose("exim-refused", SMALL)}, "failure", "message/error 550", "5.7.1"),
        ({"recipient": "u@no-connections.exim.test"}, "failure", "intro/error 550", "5.0.0"),
        ({"recipient": "u@no-names.exim.test"}, "failure", "helo/error 550", "5.0.0"),
    ],
    ids=["user", "greylisting", "relaying", "sender", "data", "content", "connection", "name"],
)
def test_refusals(
    members: dict[str, str], queue: str, end: str, status: str, sender: Sender, exim_server: Exim
) -> None:
    sender.add_records({("relayed-by-exim.test", "MX"): ["10 full.mx.exim.test."]})
    result = sender.send(**{"recipient": "u@full.exim.test", "mime": compose("exim-x", SMALL), **members})
    assert (result.queue, result.end, result.last["status"]) == (queue, end, status)


def test_too_big(sender: Sender) -> None:
    body = ("x" * 78 + "\r\n") * (exim.SIZE_LIMIT // 80 + 1)
    result = sender.send(recipient="u-big@full.exim.test", mime=compose("exim-big", body))
    assert (result.queue, result.end) == ("failure", "mailfrom/error 552")


def test_international_recipient(sender: Sender, exim_server: Exim) -> None:
    assert deliver(sender, "u-jürgen@full.exim.test", "exim-utf8").end == "message/accepted 250"
    added, _ = arrived(exim_server, "exim-utf8")
    assert added["envelope-to"] == "u-jürgen@full.exim.test"
    result = deliver(sender, "u-jürgen@bare.exim.test", "exim-no-utf8")
    assert (result.queue, result.end) == ("failure", "rcptto/error")


@pytest.mark.parametrize(
    ("address", "login", "mechanism"),
    [
        (exim.LOGIN_CRAM, LOGIN, "cram"),
        (exim.LOGIN_CRAM, INTERNATIONAL, "cram"),
        (exim.LOGIN_PLAIN, LOGIN, "plain"),
        (exim.LOGIN_PLAIN, INTERNATIONAL, "plain"),
        (exim.LOGIN_LOGIN, LOGIN, "login"),
        (exim.LOGIN_LOGIN, INTERNATIONAL, "login"),
    ],
)
def test_smarthost_with_login(
    address: str, login: tuple[str, str], mechanism: str, sender: Sender, exim_server: Exim
) -> None:
    case = f"exim-{mechanism}-{login[0].encode().hex()}"
    smarthost = {"hostname": address, "port": exim_server.port, "username": login[0], "password": login[1]}
    result = deliver(sender, "anybody@elsewhere.test", case, smarthost=smarthost)
    assert (result.queue, result.end) == ("success", "message/accepted 250")
    added, content = arrived(exim_server, case)
    assert content == as_stored(compose(case, SMALL))
    assert f" A={mechanism}:{login[0]} " in log_line(exim_server, added)


@pytest.mark.parametrize(
    ("address", "end"),
    [
        (exim.LOGIN_CRAM, "authresponse/error 535"),
        (exim.LOGIN_PLAIN, "authplain/error 535"),
        (exim.LOGIN_LOGIN, "authpassword/error 535"),
        (exim.PLAIN, "authplain/error"),
    ],
)
def test_login_fails(address: str, end: str, sender: Sender, exim_server: Exim) -> None:
    smarthost = {"hostname": address, "port": exim_server.port, "username": "mallory", "password": "wrong"}
    result = deliver(sender, "anybody@elsewhere.test", "exim-login", smarthost=smarthost)
    assert (result.queue, result.end) == ("retry", end)


def test_connection_is_reused(sender: Sender, exim_server: Exim) -> None:
    results = [deliver(sender, f"u-{number}@other.exim.test", f"exim-reuse-{number}") for number in range(20)]
    assert [result.last["messages"] for result in results] == list(range(1, 21))
    for number in range(20):
        assert arrived(exim_server, f"exim-reuse-{number}")[0]["envelope-to"] == f"u-{number}@other.exim.test"
