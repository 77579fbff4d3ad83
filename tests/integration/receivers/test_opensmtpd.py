"""Delivery to OpenSMTPD, which announces no PIPELINING: in clear, under TLS, after a login."""

from __future__ import annotations

import pytest

from tests.integration.receivers.contents import BODIES, as_stored, compose
from tests.integration.receivers.deliveries import SMALL, arrived, deliver, publish_hosts
from tests.support.receivers import opensmtpd
from tests.support.receivers.opensmtpd import LOGIN, OpenSmtpd
from tests.support.receivers.sender import Sender

PLACES = {"full": opensmtpd.PLAIN, "tls": opensmtpd.TLS, "other": opensmtpd.OTHER, "busy": opensmtpd.BUSY}
CONTENTS = [(place, body) for place in ("full", "tls") for body in BODIES]


@pytest.fixture(scope="module", autouse=True)
def _records(sender: Sender, opensmtpd_server: OpenSmtpd) -> None:
    publish_hosts(sender, "opensmtpd.test", PLACES)


@pytest.mark.parametrize(("place", "body"), CONTENTS)
def test_what_arrives_is_what_was_meant(place: str, body: str, sender: Sender, opensmtpd_server: OpenSmtpd) -> None:
    case = f"opensmtpd-{place}-{body}"
    mime = compose(case, BODIES[body])
    recipient = f"u+{case}@{place}.opensmtpd.test"
    result = sender.send(recipient=recipient, mime=mime)
    assert (result.queue, result.end, result.last["to"]) == ("success", "message/accepted 250", PLACES[place])
    added, content = arrived(opensmtpd_server, case)
    assert content == as_stored(mime)
    assert set(added) == {"return-path", "delivered-to", "received"}
    assert (added["return-path"], added["delivered-to"]) == ("<sender@shop.test>", recipient)
    assert ("(TLSv1.3:" in added["received"]) == (place == "tls")


@pytest.mark.parametrize(
    ("members", "queue", "end"),
    [
        # A code that no RFC knows: its first digit counts.
        ({"recipient": "nobody@full.opensmtpd.test"}, "failure", "rcptto/error 524"),
        ({"recipient": "u+later@full.opensmtpd.test"}, "retry", "rcptto/error 451"),
        ({"recipient": "u@relayed-by-opensmtpd.test"}, "failure", "rcptto/error 550"),
        ({"envelope": "refused@shop.test"}, "failure", "mailfrom/error 550"),
        ({"recipient": "u@busy.opensmtpd.test"}, "retry", "intro/error 421"),
        ({"recipient": "u@full.opensmtpd.test", "security": "required"}, "retry", "starttls/error"),
        ({"recipient": "u+jürgen@full.opensmtpd.test"}, "failure", "rcptto/error"),
    ],
    ids=["user", "greylisting", "relaying", "sender", "busy", "tls", "smtputf8"],
)
def test_refusals(members: dict[str, str], queue: str, end: str, sender: Sender, opensmtpd_server: OpenSmtpd) -> None:
    sender.add_records({("relayed-by-opensmtpd.test", "MX"): ["10 full.mx.opensmtpd.test."]})
    result = sender.send(**{"recipient": "u@full.opensmtpd.test", "mime": compose("opensmtpd-x", SMALL), **members})
    assert (result.queue, result.end) == (queue, end)


def test_too_big(sender: Sender) -> None:
    """It takes no notice of ``SIZE=`` and counts what comes."""
    body = ("x" * 78 + "\r\n") * (opensmtpd.SIZE_LIMIT // 70)
    result = sender.send(recipient="u+big@full.opensmtpd.test", mime=compose("opensmtpd-big", body))
    assert (result.queue, result.end) == ("failure", "message/error 554")


def test_verified(sender: Sender, opensmtpd_server: OpenSmtpd) -> None:
    result = deliver(sender, "u+verified@tls.opensmtpd.test", "opensmtpd-verified", security="verified")
    assert result.queue == "success"
    assert "(TLSv1.3:" in arrived(opensmtpd_server, "opensmtpd-verified")[0]["received"]


def test_smarthost_with_login(sender: Sender, opensmtpd_server: OpenSmtpd) -> None:
    place = {"hostname": opensmtpd.LOGIN_PLACE, "port": opensmtpd_server.port}
    login = {"username": LOGIN[0], "password": LOGIN[1]}
    result = deliver(sender, "anybody@elsewhere.test", "opensmtpd-login", smarthost={**place, **login})
    assert (result.queue, result.end) == ("success", "message/accepted 250")
    added, content = arrived(opensmtpd_server, "opensmtpd-login")
    assert content == as_stored(compose("opensmtpd-login", SMALL))
    assert " with ESMTPSA id " in added["received"]
    assert LOGIN[1] not in sender.relayq.log


@pytest.mark.parametrize(
    ("login", "end"),
    [({"username": "mallory", "password": "wrong"}, "authplain/error 535"), ({}, "mailfrom/error 530")],
    ids=["wrong", "none"],
)
def test_login_fails(login: dict[str, str], end: str, sender: Sender, opensmtpd_server: OpenSmtpd) -> None:
    place = {"hostname": opensmtpd.LOGIN_PLACE, "port": opensmtpd_server.port}
    result = deliver(sender, "anybody@elsewhere.test", "opensmtpd-no-login", smarthost={**place, **login})
    assert result.end == end


def test_connection_is_reused(sender: Sender, opensmtpd_server: OpenSmtpd) -> None:
    results = [deliver(sender, f"u+{count}@other.opensmtpd.test", f"opensmtpd-reuse-{count}") for count in range(20)]
    assert [result.last["messages"] for result in results] == list(range(1, 21))
    for count in range(20):
        assert arrived(opensmtpd_server, f"opensmtpd-reuse-{count}")
