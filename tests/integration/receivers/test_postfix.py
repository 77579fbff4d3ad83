"""Delivery to Postfix, in clear."""

from __future__ import annotations

import email
import email.policy

import pytest

from tests.integration.receivers.contents import BODIES, SEVEN_BIT, as_stored, compose
from tests.integration.receivers.deliveries import SMALL, arrived, deliver, publish_hosts
from tests.support.receivers import postfix
from tests.support.receivers.addresses import has_ipv6
from tests.support.receivers.mailbox import await_log, await_stored
from tests.support.receivers.postfix import Postfix
from tests.support.receivers.sender import Sender

PLACES = {
    "full": postfix.PLAIN,
    "bare": postfix.BARE,
    "pause": postfix.GREET_PAUSE,
    "other": postfix.OTHER,
    "crowded": postfix.CROWDED,
    "strict": postfix.STRICT,
    "impatient": postfix.IMPATIENT,
    "dead": "127.0.11.99",
}
REPORTS = "u-reports@full.postfix.test"
CONTENTS = [("full", name) for name in BODIES] + [("bare", name) for name in SEVEN_BIT]


@pytest.fixture(scope="module", autouse=True)
def _records(sender: Sender, postfix_server: Postfix) -> None:
    publish_hosts(sender, "postfix.test", PLACES)


@pytest.mark.parametrize(("place", "body"), CONTENTS)
def test_what_arrives_is_what_was_meant(place: str, body: str, sender: Sender, postfix_server: Postfix) -> None:
    case = f"postfix-{place}-{body}"
    mime = compose(case, BODIES[body])
    recipient = f"u-{case}@{place}.postfix.test"
    result = sender.send(recipient=recipient, mime=mime)
    assert (result.queue, result.end) == ("success", "message/accepted 250")
    assert result.last["to"] == PLACES[place]
    added, content = arrived(postfix_server, case)
    assert content == as_stored(mime)
    assert set(added) == {"return-path", "x-original-to", "delivered-to", "received"}
    assert (added["return-path"], added["delivered-to"]) == ("<sender@shop.test>", recipient)


@pytest.mark.parametrize("body", BODIES)
def test_in_chunks(body: str, daring_sender: Sender, postfix_server: Postfix) -> None:
    """BDAT: nothing is stuffed, and the length alone says where the content ends."""
    publish_hosts(daring_sender, "postfix.test", PLACES)
    case = f"postfix-chunks-{body}"
    mime = compose(case, BODIES[body])
    assert daring_sender.send(recipient="u@full.postfix.test", mime=mime).end == "message/accepted 250"
    assert arrived(postfix_server, case)[1] == as_stored(mime)


def test_chunks_were_used(daring_sender: Sender, postfix_server: Postfix) -> None:
    publish_hosts(daring_sender, "postfix.test", PLACES)
    deliver(daring_sender, "u@other.postfix.test", "postfix-chunks")
    await_log(lambda: postfix_server.log, " mail=1 rcpt=1 bdat=1 quit=1 ")


def test_eight_bit_content_is_converted(sender: Sender, postfix_server: Postfix) -> None:
    """A peer without 8BITMIME gets the same text in seven bits."""
    head = 'MIME-Version: 1.0\r\nContent-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit\r\n'
    case, text = "postfix-convert", BODIES["8-bit"]
    mime = compose(case, text).replace("\r\n\r\n", f"\r\n{head}\r\n", 1)
    assert sender.send(recipient="u@bare.postfix.test", mime=mime).end == "message/accepted 250"
    _, content = arrived(postfix_server, case)
    assert content.isascii()
    received = email.message_from_bytes(content, policy=email.policy.default)
    assert received.get_content().splitlines() == text.splitlines()
    assert (received["X-Case"], received["Subject"]) == (case, case)


def test_null_sender(sender: Sender, postfix_server: Postfix) -> None:
    assert deliver(sender, "u-null@full.postfix.test", "postfix-null", envelope="").queue == "success"
    added, _ = arrived(postfix_server, "postfix-null")
    assert added["return-path"] == "<>"


def test_unknown_user(sender: Sender) -> None:
    result = deliver(sender, "nobody@full.postfix.test", "postfix-unknown")
    assert (result.queue, result.end, result.last["status"]) == ("failure", "rcptto/error 550", "5.1.1")
    assert "User unknown" in result.last["description"]


def test_relaying_is_denied(sender: Sender) -> None:
    sender.add_records({("elsewhere.test", "MX"): ["10 full.mx.postfix.test."]})
    result = deliver(sender, "u-relay@elsewhere.test", "postfix-relay")
    assert (result.queue, result.end, result.last["status"]) == ("failure", "rcptto/error 554", "5.7.1")


@pytest.mark.parametrize(("place", "end"), [("full", "mailfrom/error 552"), ("bare", "message/error 552")])
def test_too_big(place: str, end: str, sender: Sender) -> None:
    body = ("x" * 78 + "\r\n") * (postfix.SIZE_LIMIT // 80 + 1)
    result = sender.send(recipient=f"u-big@{place}.postfix.test", mime=compose("postfix-big", body))
    assert (result.queue, result.end) == ("failure", end)


def test_greet_pause_and_greylisting(sender: Sender, postfix_server: Postfix) -> None:
    """postscreen begins its greeting, waits for clients that talk too early, and tells new ones to come back."""
    mime = compose("postfix-pause", "Hello\r\n")
    (number,) = sender.inject([{"recipient": "u-pause@pause.postfix.test", "mime": mime, "retries": [3]}])
    first = sender.result(number)
    assert (first.queue, first.end, first.last["status"]) == ("retry", "rcptto/error 450", "4.3.2")
    second = sender.result(number)
    assert (second.queue, second.end) == ("success", "message/accepted 250")
    assert len(second.message["results"]) == 2
    assert arrived(postfix_server, "postfix-pause")[1] == as_stored(mime)
    assert "PASS NEW [127.0.0.1]" in postfix_server.log
    for complaint in ("PREGREET", "COMMAND PIPELINING", "NON-SMTP COMMAND", "BARE NEWLINE"):
        assert complaint not in postfix_server.log


def test_notify_success(sender: Sender, postfix_server: Postfix) -> None:
    """Postfix writes the report asked for, and names in it what ENVID and ORCPT said."""
    dsn = {"notify": "SUCCESS,FAILURE", "envid": "order+42", "orcpt": "a+b=c@old.test"}
    result = deliver(sender, "u-dsn@full.postfix.test", "postfix-dsn", envelope=REPORTS, dsn=dsn)
    assert result.queue == "success"
    (report,) = await_stored(postfix_server.messages, b"Original-Envelope-Id: order+42\n")
    assert f"\nDelivered-To: {REPORTS}\n".encode() in report
    assert b"\nOriginal-Recipient: rfc822;a+b=c@old.test\n" in report
    assert b"\nFinal-Recipient: rfc822; u-dsn@full.postfix.test\n" in report
    assert b"\nAction: delivered\n" in report


@pytest.mark.parametrize(("ret", "part"), [("HDRS", b"text/rfc822-headers"), ("FULL", b"message/rfc822")])
def test_ret(ret: str, part: bytes, sender: Sender, postfix_server: Postfix) -> None:
    dsn = {"notify": "FAILURE", "ret": ret, "envid": f"ret-{ret}"}
    result = deliver(sender, "u-bounce@full.postfix.test", "postfix-ret", envelope=REPORTS, dsn=dsn)
    assert result.queue == "success"
    (report,) = await_stored(postfix_server.messages, f"Original-Envelope-Id: ret-{ret}\n".encode())
    assert b"\nOriginal-Recipient: rfc822;u-bounce@full.postfix.test\n" in report
    assert b"\nContent-Type: " + part + b"\n" in report
    assert (b"\nHello\n" in report) == (ret == "FULL")


def test_notify_never(sender: Sender, postfix_server: Postfix) -> None:
    dsn = {"notify": "NEVER", "envid": "never-mind"}
    deliver(sender, "u-bounce-never@full.postfix.test", "postfix-never", envelope=REPORTS, dsn=dsn)
    await_log(lambda: postfix_server.log, "to=<u-bounce-never@full.postfix.test>")
    # A message through the same queue manager afterwards: a report would have been there before it.
    deliver(sender, "u-after-never@full.postfix.test", "postfix-after-never")
    arrived(postfix_server, "postfix-after-never")
    assert b"never-mind" not in b"".join(postfix_server.messages())


def test_international_recipient(sender: Sender, postfix_server: Postfix) -> None:
    case, recipient = "postfix-utf8", "u-jürgen@full.postfix.test"
    assert deliver(sender, recipient, case, envelope="grüße@shop.test").queue == "success"
    added, _ = arrived(postfix_server, case)
    assert (added["delivered-to"], added["return-path"]) == (recipient, "<grüße@shop.test>")


@pytest.mark.parametrize(
    ("member", "address"), [("recipient", "u-jürgen@bare.postfix.test"), ("envelope", "grüße@a.test")]
)
def test_international_address_without_smtputf8(member: str, address: str, sender: Sender) -> None:
    members = {"recipient": "u-any@bare.postfix.test", "mime": compose("postfix-no-utf8", ""), member: address}
    result = sender.send(**members)
    assert (result.queue, result.end) == (
        "failure",
        {"recipient": "rcptto/error", "envelope": "mailfrom/error"}[member],
    )


def test_international_domain_needs_no_extension(sender: Sender, postfix_server: Postfix) -> None:
    sender.add_records({("xn--bcher-kva.postfix.test", "MX"): ["10 bare.mx.postfix.test."]})
    assert deliver(sender, "u-idn@bücher.postfix.test", "postfix-idn").queue == "success"
    added, _ = arrived(postfix_server, "postfix-idn")
    assert added["delivered-to"] == "u-idn@xn--bcher-kva.postfix.test"


def test_connection_is_reused(sender: Sender, postfix_server: Postfix) -> None:
    results = [deliver(sender, f"u-{number}@other.postfix.test", f"postfix-reuse-{number}") for number in range(20)]
    assert [result.last["messages"] for result in results] == list(range(1, 21))
    for number in range(20):
        added, _ = arrived(postfix_server, f"postfix-reuse-{number}")
        assert added["delivered-to"] == f"u-{number}@other.postfix.test"


def test_refusals_on_one_connection(sender: Sender) -> None:
    """Postfix answers 421 after some errors; that is about the connection, not about the message whose turn it was."""
    mime = compose("postfix-refusals", "")
    numbers = sender.inject([{"recipient": f"x{count}@strict.postfix.test", "mime": mime} for count in range(20)])
    results = [sender.result(number) for number in numbers]
    assert {(result.queue, result.end, result.last["status"]) for result in results} == {
        ("failure", "rcptto/error 550", "5.1.1")
    }
    assert max(result.last["messages"] for result in results) > 1


def test_too_many_connections(sender: Sender, postfix_server: Postfix) -> None:
    """Postfix turns away the third connection of a client; what waits goes over the other two, once each."""
    cases = [f"postfix-crowd-{count}" for count in range(60)]
    numbers = sender.inject([
        {"recipient": "u@crowded.postfix.test", "mime": compose(case, SMALL), "retries": [1]} for case in cases
    ])  # fmt: skip
    attempts = []
    for number in numbers:
        while (result := sender.result(number)).queue == "retry":
            assert result.end == "intro/error 421"
        assert (result.queue, result.end) == ("success", "message/accepted 250")
        attempts.append(len(result.message["results"]))
    assert attempts.count(1) > 40  # only those that opened a connection were told
    for case in cases:
        arrived(postfix_server, case)


def test_peer_ends_an_idle_connection(sender: Sender, postfix_server: Postfix) -> None:
    first = deliver(sender, "u-idle@impatient.postfix.test", "postfix-idle-1")
    await_log(lambda: postfix_server.log, "timeout after")
    second = deliver(sender, "u-idle@impatient.postfix.test", "postfix-idle-2")
    assert [result.end for result in (first, second)] == ["message/accepted 250"] * 2
    assert [result.last["messages"] for result in (first, second)] == [1, 1]


def test_first_mail_hosts_are_dead(sender: Sender, postfix_server: Postfix) -> None:
    hosts = ["5 gone.postfix.test.", "10 dead.mx.postfix.test.", "20 full.mx.postfix.test."]
    sender.add_records({("failover.postfix.test", "MX"): hosts})
    result = deliver(sender, "u-failover@failover.postfix.test", "postfix-failover")
    assert (result.queue, result.last["to"]) == ("success", postfix.PLAIN)
    assert arrived(postfix_server, "postfix-failover")


def test_every_mail_host_is_dead(sender: Sender) -> None:
    result = deliver(sender, "u-dead@dead.postfix.test", "postfix-dead", maxattempts=1)
    assert (result.queue, result.end) == ("failure", "connect/error")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6, not even on loopback")
def test_ipv6(sender: Sender, postfix_server: Postfix) -> None:
    records = {("v6.postfix.test", "MX"): ["10 mx-v6.postfix.test."], ("mx-v6.postfix.test", "AAAA"): ["::1"]}
    sender.add_records(records)
    result = deliver(sender, "u-v6@v6.postfix.test", "postfix-v6")
    assert (result.queue, result.last["to"], result.last["from"]) == ("success", "::1", "::1")
    assert arrived(postfix_server, "postfix-v6")
