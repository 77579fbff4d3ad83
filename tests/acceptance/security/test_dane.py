"""Certificates against TLSA records that DNSSEC vouches for (RFC 7672)."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relayq.adapters.memory import TlsFailed
from relayq.model import TlsaRecord
from relayq.ports import DnsFailureKind
from tests.support.engine import DOMAIN, Engine, mail
from tests.support.scripted_server import Expect, Send, Step, opening, transaction
from tests.support.secure import secure_engine, starttls
from tests.support.tls import MX, authority, certificate_of, expired, from_stranger, self_signed, trusted, with_root


def tlsa(certificate: x509.Certificate, usage: int, selector: int, matching_type: int) -> TlsaRecord:
    """The record that names this certificate."""
    octets = (
        certificate.public_bytes(Encoding.DER)
        if selector == 0
        else certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    digest = {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}[matching_type]
    return TlsaRecord(usage, selector, matching_type, digest)


def root() -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority().cert_pem.bytes())


def publish(engine: Engine, *records: TlsaRecord, mx: bool = True, address: bool = True, tlsa_: bool = True) -> None:
    """Give the domain signed records, except those that are not to be."""
    engine.resolver.set_mx(DOMAIN, [(10, MX)], authentic=mx)
    engine.resolver.set_addresses(MX, "127.0.0.1", authentic=address)
    engine.resolver.set_tlsa(f"_{engine.port}._tcp.{MX}", *records, authentic=tlsa_)


WRONG = TlsaRecord(3, 1, 1, bytes(32))
KINDS = [(selector, matching_type) for selector in (0, 1) for matching_type in (0, 1, 2)]
ANY_LEVEL = ("optional", "opportunistic", "required", "verified")


@pytest.mark.parametrize(("selector", "matching_type"), KINDS)
@pytest.mark.parametrize("server", [self_signed, expired, from_stranger, lambda: trusted("other.test")])
async def test_the_certificate_that_is_named_is_good(
    server: Callable[[], ssl.SSLContext], selector: int, matching_type: int
) -> None:
    """Whoever signed it, whatever name and dates it has."""
    async with secure_engine() as engine:
        publish(engine, WRONG, tlsa(certificate_of(server()), 3, selector, matching_type))
        peer = await engine.serve([*starttls(server()), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert peer.count == 1


@pytest.mark.parametrize("level", ANY_LEVEL)
async def test_another_certificate_stops_the_mail_at_every_level(level: str) -> None:
    async with secure_engine(f"smtp-out-security={level}") as engine:
        publish(engine, tlsa(certificate_of(self_signed()), 3, 1, 1))
        peer = await engine.serve([*starttls(trusted()), *transaction()], strict=False)
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("retry", ("starttls", "error"))
        assert b"MAIL" not in peer.connections[0].received
        assert engine.observer.all_of(TlsFailed) == [TlsFailed(DOMAIN, MX, "tlsa", "validation-failure")]


async def test_a_host_without_tls_gets_no_mail() -> None:
    async with secure_engine() as engine:
        publish(engine, tlsa(certificate_of(trusted()), 3, 1, 1))
        peer = await engine.serve([*opening("PIPELINING"), *transaction()], strict=False)
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")
        assert b"MAIL" not in peer.connections[0].received
        assert [event.kind for event in engine.observer.all_of(TlsFailed)] == ["starttls-not-supported"]


async def test_a_failed_handshake_is_not_followed_by_clear_text() -> None:
    async with secure_engine("smtp-out-security=opportunistic") as engine:
        publish(engine, tlsa(certificate_of(trusted()), 3, 1, 1))
        peer = await engine.serve(
            [*opening("STARTTLS"), Expect(rb"STARTTLS"), Send(b"220 go\r\nno TLS\r\n")], strict=False
        )
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).cell == ("starttls", "invalid")
        assert peer.count == 1


@pytest.mark.parametrize(("selector", "matching_type"), KINDS[1:3] + KINDS[4:])
async def test_a_trust_anchor_is_good_for_what_it_signed(selector: int, matching_type: int) -> None:
    async with secure_engine() as engine:
        publish(engine, tlsa(root(), 2, selector, matching_type))
        await engine.serve([*starttls(with_root(MX)), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"


async def test_a_trust_anchor_may_be_given_whole() -> None:
    """Then the host need not present it."""
    async with secure_engine() as engine:
        publish(engine, tlsa(root(), 2, 0, 0))
        await engine.serve([*starttls(trusted(DOMAIN)), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"


@pytest.mark.parametrize("server", [lambda: with_root("other.test"), expired, from_stranger, self_signed])
async def test_a_trust_anchor_is_not_good_for_anything_else(server: Callable[[], ssl.SSLContext]) -> None:
    async with secure_engine() as engine:
        publish(engine, tlsa(root(), 2, 0, 0))
        peer = await engine.serve([*starttls(server()), *transaction()], strict=False)
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")
        assert b"MAIL" not in peer.connections[0].received


async def test_a_trust_anchor_that_is_nowhere_in_the_chain_is_no_help() -> None:
    async with secure_engine() as engine:
        publish(engine, tlsa(root(), 2, 1, 1))
        await engine.serve([*starttls(trusted()), *transaction()], strict=False)
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")


@pytest.mark.parametrize("unsigned", ["mx", "address", "tlsa_"])
async def test_records_without_dnssec_mean_nothing(unsigned: str) -> None:
    async with secure_engine("smtp-out-security=opportunistic") as engine:
        publish(engine, WRONG, **{unsigned: False})
        await engine.serve([*opening("SIZE"), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"


UNUSABLE = [
    TlsaRecord(0, 0, 1, bytes(32)),
    TlsaRecord(1, 1, 1, bytes(32)),
    TlsaRecord(3, 2, 1, bytes(32)),
    TlsaRecord(3, 1, 3, bytes(32)),
    TlsaRecord(3, 1, 1, bytes(31)),
    TlsaRecord(3, 1, 0, b""),
    TlsaRecord(255, 255, 255, b"x"),
]


@pytest.mark.parametrize(
    ("script", "kind"),
    [([*starttls(self_signed()), *transaction()], "success"), ([*opening("SIZE"), *transaction()], "retry")],
    ids=["with TLS", "without"],
)
@pytest.mark.parametrize(
    "record", UNUSABLE, ids=lambda record: f"{record.usage} {record.selector} {record.matching_type}"
)
async def test_records_that_cannot_be_used_still_demand_tls(record: TlsaRecord, script: list[Step], kind: str) -> None:
    async with secure_engine("smtp-out-security=optional") as engine:
        publish(engine, record)
        await engine.serve(script, strict=False)
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == kind


async def test_they_do_not_lower_the_level() -> None:
    async with secure_engine("smtp-out-security=verified") as engine:
        publish(engine, UNUSABLE[0])
        await engine.serve([*starttls(self_signed()), *transaction()], strict=False)
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")


@pytest.mark.parametrize("kind", [DnsFailureKind.TIMEOUT, DnsFailureKind.UNUSABLE])
async def test_without_an_answer_about_records_the_host_is_left_alone(kind: DnsFailureKind) -> None:
    """Somebody may suppress them; the mail waits (RFC 7672 section 2.1)."""
    async with secure_engine() as engine:
        publish(engine)
        engine.resolver.fail_tlsa(f"_{engine.port}._tcp.{MX}", kind)
        peer = await engine.serve([*opening("SIZE"), *transaction()])
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.cell) == ("retry", ("dns", "timeout"))
        assert peer.count == 0


async def test_no_records_ask_for_nothing() -> None:
    async with secure_engine("smtp-out-security=opportunistic") as engine:
        publish(engine)
        engine.resolver.fail_tlsa(f"_{engine.port}._tcp.{MX}", DnsFailureKind.NXDOMAIN)
        await engine.serve([*opening("SIZE"), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"


async def test_the_operator_may_switch_it_off() -> None:
    async with secure_engine("dane=never") as engine:
        publish(engine, WRONG)
        await engine.serve([*opening("SIZE"), *transaction()])
        await engine.send(mail("m1"))

        assert (await engine.outcome("m1")).kind == "success"
        assert not [kind for kind, _ in engine.resolver.questions if kind == "TLSA"]


async def test_the_next_host_may_meet_its_records() -> None:
    async with secure_engine() as engine:
        good, bad = "mx.example.test", "mx1.example.test"
        engine.resolver.set_mx(DOMAIN, [(10, bad), (20, good)], authentic=True)
        engine.resolver.set_addresses(bad, "127.0.0.1", authentic=True)
        engine.resolver.set_addresses(good, "127.0.0.2", authentic=True)
        engine.resolver.set_tlsa(f"_{engine.port}._tcp.{bad}", WRONG)
        engine.resolver.set_tlsa(f"_{engine.port}._tcp.{good}", tlsa(certificate_of(trusted()), 3, 1, 1))
        await engine.serve([*starttls(trusted()), *transaction()], strict=False)
        await engine.serve([*starttls(trusted()), *transaction()], address="127.0.0.2")
        await engine.send(mail("m1"))
        outcome = await engine.outcome("m1")

        assert (outcome.kind, outcome.last["to"]) == ("success", "127.0.0.2")


async def test_a_smarthost_may_have_records() -> None:
    async with secure_engine() as engine:
        engine.resolver.set_addresses("relay.test", "127.0.0.1", authentic=True)
        engine.resolver.set_tlsa(f"_{engine.port}._tcp.relay.test", WRONG)
        await engine.serve([*starttls(trusted("relay.test")), *transaction()], strict=False)
        await engine.send(mail("m1", smarthost={"hostname": "relay.test", "port": engine.port}))

        assert (await engine.outcome("m1")).cell == ("starttls", "error")


async def test_a_session_opened_under_one_hosts_records_serves_no_other_host() -> None:
    async with secure_engine() as engine:
        for domain, host in (("one.test", "mx.one.test"), ("two.test", "mx.two.test")):
            engine.resolver.set_mx(domain, [(10, host)], authentic=True)
            engine.resolver.set_addresses(host, "127.0.0.1", authentic=True)
        engine.resolver.set_tlsa(f"_{engine.port}._tcp.mx.one.test", tlsa(certificate_of(trusted()), 3, 1, 1))
        engine.resolver.set_tlsa(f"_{engine.port}._tcp.mx.two.test", WRONG)
        peer = await engine.serve([*starttls(trusted()), *transaction(), *transaction()], strict=False)
        await engine.send(mail("m1", recipient="a@one.test"))
        assert (await engine.outcome("m1")).kind == "success"
        await engine.send(mail("m2", recipient="b@two.test"))

        assert (await engine.outcome("m2")).cell == ("starttls", "error")
        assert b"two.test" not in peer.connections[0].received
