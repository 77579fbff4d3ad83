"""What each level of security does with each kind of certificate, and what can be read on the wire meanwhile."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Sequence

import pytest

from tests.support.engine import DOMAIN, mail
from tests.support.scripted_server import (
    Close,
    Expect,
    ScriptedServer,
    Send,
    StartTls,
    Step,
    ehlo,
    opening,
    transaction,
)
from tests.support.secure import secure_engine, starttls
from tests.support.tap import Tap
from tests.support.tls import MX, OldTlsServer, expired, from_stranger, self_signed, trusted

SECRET = "Nobody on the wire may read this"
MIME = f"From: n@shop.test\r\nSubject: {SECRET}\r\n\r\n{SECRET}\r\n"
CERTIFICATES: dict[str, Callable[[], ssl.SSLContext]] = {
    "of the mail host": trusted,
    "of the recipient domain": lambda: trusted(DOMAIN),
    "of all hosts of the domain": lambda: trusted(f"*.{DOMAIN}"),
    "of another name": lambda: trusted("other.test"),
    "of an address": lambda: trusted("127.0.0.1"),
    "of all hosts, one label too high": lambda: trusted("*.test"),
    "expired": expired,
    "self-signed": self_signed,
    "of a stranger": from_stranger,
}
GOOD = {"of the mail host", "of the recipient domain", "of all hosts of the domain"}
INSISTENT = ("required", "verified")


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.parametrize("level", ["opportunistic", "required"])
async def test_below_verified_any_certificate_will_do(level: str, name: str) -> None:
    async with secure_engine(f"smtp-out-security={level}") as engine:
        server = await engine.serve([*starttls(CERTIFICATES[name]()), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert server.count == 1


@pytest.mark.parametrize("name", CERTIFICATES)
async def test_verified_takes_trusted_certificates_of_the_host_or_the_domain_only(name: str) -> None:
    async with secure_engine("smtp-out-security=verified") as engine:
        server = await engine.serve([*starttls(CERTIFICATES[name]()), *transaction()], strict=name in GOOD)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        if name in GOOD:
            assert outcome.kind == "success"
        else:
            assert (outcome.kind, outcome.cell) == ("retry", ("starttls", "error"))
            assert not {"code", "status", "description"} & outcome.last.keys()
            assert b"MAIL" not in server.connections[0].received


async def test_a_smarthost_is_verified_by_its_own_name_only() -> None:
    async with secure_engine() as engine:
        engine.resolver.set_addresses("relay.test", "127.0.0.1")
        await engine.serve([*starttls(trusted(DOMAIN)), *transaction()], strict=False)
        relay = {"hostname": "relay.test", "port": engine.port}
        await engine.send(mail("m1", smarthost=relay, security="verified"))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")


@pytest.mark.parametrize(("certificate", "kind"), [("127.0.0.1", "success"), (MX, "retry")])
async def test_an_address_literal_is_verified_by_the_address(certificate: str, kind: str) -> None:
    async with secure_engine("smtp-out-security=verified", ports={}) as engine:
        await engine.serve([*starttls(trusted(certificate)), *transaction()], strict=False)
        relay = {"hostname": "127.0.0.1", "port": engine.port}
        await engine.send(mail("m1", smarthost=relay))

        assert (await engine.outcome("m1")).kind == kind


async def test_the_level_of_a_message_stands_above_that_of_the_configuration() -> None:
    async with secure_engine("smtp-out-security=required") as engine:
        server = await engine.serve([*opening("STARTTLS"), *transaction()])
        await engine.send(mail("m1", security="optional"))

        assert (await engine.outcome("m1")).kind == "success"
        assert b"STARTTLS" not in server.connections[0].received


REFUSING: dict[str, Sequence[Step]] = {
    "not offered": opening("PIPELINING"),
    "refused": [*opening("STARTTLS", "PIPELINING"), Expect(rb"STARTTLS\r\n"), Send(b"454 4.7.0 Not now\r\n")],
    "refused for ever": [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n"), Send(b"554 5.7.0 Never\r\n")],
    "answered with nonsense": [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n"), Send(b"hello?\r\n")],
    "answered in clear": [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n"), Send(b"220 go\r\n"), Expect(rb"\x16\x03"),
                          Send(b"250 fine\r\n" * 3)],
    "cut": [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n"), Send(b"220 go\r\n"), Close()],
    "only in the first EHLO": [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n"), Send(b"220 go\r\n250 2.1.0 ok\r\n")],
}  # fmt: skip


@pytest.mark.parametrize("how", REFUSING)
@pytest.mark.parametrize("level", INSISTENT)
async def test_no_octet_of_the_mail_goes_out_where_tls_is_demanded_and_fails(level: str, how: str) -> None:
    accepting = [*transaction(), *transaction()]
    async with (
        secure_engine(f"smtp-out-security={level}") as engine,
        ScriptedServer([*REFUSING[how], *accepting], strict=False) as server,
        Tap("127.0.0.1", engine.port, server.port) as tap,
    ):
        await engine.send(mail("m1", mime=MIME))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "retry"
        assert outcome.last["state"] == "starttls"
        assert len(tap.sent) == 1
        for word in (b"MAIL", b"RCPT", b"DATA", b"anna@", b"b@shop.test", SECRET.encode()):
            assert word not in tap.in_clear


@pytest.mark.parametrize("level", ["opportunistic", *INSISTENT])
async def test_what_goes_out_under_tls_cannot_be_read(level: str) -> None:
    async with (
        secure_engine(f"smtp-out-security={level}") as engine,
        ScriptedServer([*starttls(trusted()), *transaction()]) as server,
        Tap("127.0.0.1", engine.port, server.port) as tap,
    ):
        await engine.send(mail("m1", mime=MIME))

        assert (await engine.outcome("m1")).kind == "success"
        assert SECRET.encode() in server.connections[0].received
        for word in (b"MAIL", b"RCPT", b"DATA", b"anna@", SECRET.encode()):
            assert word not in tap.in_clear
        assert tap.in_clear.startswith(b"EHLO mta.test\r\nSTARTTLS\r\n\x16\x03")


@pytest.mark.parametrize(("level", "kind"), [("required", "retry"), ("opportunistic", "success")])
async def test_a_server_of_tls_1_0_is_too_old(level: str, kind: str) -> None:
    async with secure_engine(f"smtp-out-security={level}") as engine:
        with OldTlsServer("127.0.0.1", engine.port) as server:
            await engine.send(mail("m1"))
            outcome = await engine.outcome("m1")
            await engine.stop()

    assert outcome.kind == kind
    assert (b"MAIL" in server.received) == (kind == "success")
    if kind == "retry":
        assert outcome.cell == ("starttls", "error")


async def test_a_server_of_tls_1_0_will_do_when_the_operator_says_so() -> None:
    async with secure_engine("smtp-out-security=required", tls_min="1.0", details=True) as engine:
        with OldTlsServer("127.0.0.1", engine.port) as server:
            await engine.send(mail("m1"))
            outcome = await engine.outcome("m1")
            await engine.stop()

    assert outcome.kind == "success"
    assert server.received.count(b"STARTTLS") == 1


async def test_the_second_ehlo_replaces_the_first() -> None:
    """What was announced in clear, perhaps by somebody in between, is forgotten."""
    async with secure_engine("smtp-out-security=required") as engine:
        server = await engine.serve([
            *opening("STARTTLS", "SMTPUTF8", "SIZE 10", "DSN"), Expect(rb"STARTTLS\r\n"), Send(b"220 go\r\n"),
            StartTls(trusted()), *ehlo("PIPELINING"), *transaction(),
        ])  # fmt: skip
        await engine.send(mail("m1", dsn={"notify": "FAILURE"}))

        assert (await engine.outcome("m1")).kind == "success"
        assert b"MAIL FROM:<b@shop.test>\r\nRCPT TO:<anna@example.test>\r\n" in server.connections[0].received


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_instead_of_a_handshake_ends_in_one_of_the_results(seed: int) -> None:
    """Random octets, some of them dressed up as a TLS record, in pieces of any size."""
    rng = random.Random(seed)
    octets = rng.randbytes(rng.randrange(1, 3000))
    if seed % 2:
        body = octets[:1000]
        octets = bytes((rng.choice((20, 21, 22, 23)), 3, rng.choice((1, 3)))) + len(body).to_bytes(2, "big") + body
    cut = rng.randrange(len(octets))
    asked = [*opening("STARTTLS"), Expect(rb"STARTTLS\r\n"), Send(b"220 go\r\n"), Expect(rb"\x16\x03")]
    async with secure_engine("smtp-out-security=required") as engine:
        server = await engine.serve([*asked, Send(octets[:cut]), Send(octets[cut:]), Close()], strict=False)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert outcome.kind == "retry"
        assert outcome.cell in {("starttls", "error"), ("starttls", "invalid"), ("starttls", "lost")}
        assert b"MAIL" not in server.connections[0].received


async def test_a_newer_version_may_be_demanded() -> None:
    old = trusted("tls12.example.test")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for tls_min, kind in (("1.3", "retry"), ("1.2", "success")):
        async with secure_engine("smtp-out-security=required", tls_min=tls_min) as engine:
            await engine.serve([*starttls(old), *transaction()], strict=False)
            await engine.send(mail("m1"))

            assert (await engine.outcome("m1")).kind == kind
