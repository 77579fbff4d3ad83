"""STARTTLS and TLS from the first octet, with Postfix."""

from __future__ import annotations

import pytest

from tests.integration.receivers.contents import BODIES, as_stored, compose, first_line
from tests.integration.receivers.deliveries import SMALL, arrived, deliver, publish_hosts
from tests.support.receivers import postfix
from tests.support.receivers.dovecot import LOGIN
from tests.support.receivers.postfix import Postfix
from tests.support.receivers.sender import Result, Sender

PLACES = {
    "none": postfix.BARE,
    "good": postfix.TLS,
    "other": postfix.TLS_OTHER,
    "demanding": postfix.TLS_REQUIRED,
    "expired": postfix.TLS_EXPIRED,
    "wrong-name": postfix.TLS_WRONG_NAME,
    "untrusted": postfix.TLS_UNTRUSTED,
    "old": postfix.TLS_OLD,
}
BAD_CERTIFICATES = ("expired", "wrong-name", "untrusted")


@pytest.fixture(scope="module", autouse=True)
def _records(sender: Sender, postfix_server: Postfix) -> None:
    publish_hosts(sender, "tls.postfix.test", PLACES)
    sender.add_records({("submissions.mx.tls.postfix.test", "A"): [postfix_server.submissions]})


def deliver_to(sender: Sender, place: str, security: str | None, case: str) -> Result:
    members = {} if security is None else {"security": security}
    return deliver(sender, f"u@{place}.tls.postfix.test", case, maxattempts=1, **members)


def was_encrypted(server: Postfix, case: str) -> bool:
    """What Postfix says about the connection a message came over."""
    added, content = arrived(server, case)
    assert content == as_stored(compose(case, SMALL))
    by_protocol = {"ESMTPS": True, "ESMTP": False}
    encrypted = by_protocol[added["received"].split(" with ")[-1].split()[0]]
    assert encrypted == ("using TLSv1." in added["received"])
    return encrypted


@pytest.mark.parametrize(
    ("security", "place", "encrypted"),
    [
        ("optional", "good", False),
        (None, "good", True),
        (None, "none", False),
        (None, "demanding", True),
        (None, "old", False),
        ("opportunistic", "expired", True),
        ("opportunistic", "wrong-name", True),
        ("opportunistic", "untrusted", True),
        ("required", "good", True),
        ("required", "demanding", True),
        ("required", "expired", True),
        ("required", "wrong-name", True),
        ("required", "untrusted", True),
        ("verified", "good", True),
    ],
)
def test_accepted(security: str | None, place: str, encrypted: bool, sender: Sender, postfix_server: Postfix) -> None:
    case = f"tls-{security}-{place}"
    result = deliver_to(sender, place, security, case)
    assert (result.queue, result.end) == ("success", "message/accepted 250")
    assert was_encrypted(postfix_server, case) is encrypted


@pytest.mark.parametrize(
    ("security", "place"),
    [("required", "none"), ("required", "old"), ("verified", "none"), ("verified", "old")]
    + [("verified", place) for place in BAD_CERTIFICATES],
)
def test_refused_by_us(security: str, place: str, sender: Sender, postfix_server: Postfix) -> None:
    case = f"tls-{security}-{place}"
    result = deliver_to(sender, place, security, case)
    assert (result.queue, result.end, result.last.get("to")) == ("failure", "starttls/error", PLACES[place])
    assert "description" not in result.last
    deliver_to(sender, "good", None, f"after-{case}")
    was_encrypted(postfix_server, f"after-{case}")
    assert first_line(case).encode() not in b"".join(postfix_server.messages())


def test_refused_by_us_is_tried_again(sender: Sender) -> None:
    mime = compose("tls-retry", "")
    result = sender.send(recipient="u@none.tls.postfix.test", mime=mime, security="required")
    assert (result.queue, result.end) == ("retry", "starttls/error")


def test_clear_refused_by_postfix(sender: Sender) -> None:
    result = deliver_to(sender, "demanding", "optional", "tls-optional-demanding")
    assert (result.queue, result.end, result.last["status"]) == ("failure", "mailfrom/error 530", "5.7.0")


def test_verified_for_the_recipient_domain(sender: Sender, postfix_server: Postfix) -> None:
    """A certificate may be for the domain instead of the mail host (spec delivery.md 10)."""
    host = {("cheap-hosting.test", "A"): [postfix.TLS_OTHER]}
    sender.add_records({("own.mx.tls.postfix.test", "MX"): ["10 cheap-hosting.test."], **host})
    case = "tls-own-domain"
    result = deliver(sender, "u@own.mx.tls.postfix.test", case, security="verified", maxattempts=1)
    assert result.queue == "success"
    assert was_encrypted(postfix_server, case)


@pytest.mark.parametrize("body", ["one-megabyte", "bare-line-feeds", "8-bit"])
def test_content_under_tls(body: str, sender: Sender, postfix_server: Postfix) -> None:
    case, mime = f"tls-{body}", compose(f"tls-{body}", BODIES[body])
    assert sender.send(recipient="u@good.tls.postfix.test", mime=mime, security="required").queue == "success"
    assert arrived(postfix_server, case)[1] == as_stored(mime)


def test_connection_under_tls_is_reused(sender: Sender) -> None:
    results = [deliver_to(sender, "other", "required", f"tls-reuse-{number}") for number in range(5)]
    first = results[0].last["messages"]
    assert [result.last["messages"] for result in results] == list(range(first, first + 5))


@pytest.mark.parametrize("security", ["optional", "verified"])
def test_tls_from_the_first_octet(security: str, sender: Sender, postfix_server: Postfix) -> None:
    smarthost = {"hostname": "submissions.mx.tls.postfix.test", "port": 465, "username": LOGIN[0], "password": LOGIN[1]}
    case = f"submissions-{security}"
    result = deliver(sender, "u@anywhere.postfix.test", case, smarthost=smarthost, security=security)
    assert (result.queue, result.last["to"]) == ("success", postfix_server.submissions)
    assert " with ESMTPSA id " in arrived(postfix_server, case)[0]["received"].replace("\t", " ")
