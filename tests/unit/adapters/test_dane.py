"""Chains of certificates against TLSA records (RFC 7672 section 3.1)."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from relayq.adapters.dane import match_chain
from relayq.model import TlsaRecord
from relayq.policy.tls import SecurityLevel, TlsDemand, TlsPolicy
from relayq.ports import TlsError, TlsFailureKind

HOST, DOMAIN = "mx.test", "a.test"
NOW = datetime.datetime(2031, 3, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Maker:
    """A certificate that can sign others."""

    def __init__(
        self,
        name: str,
        issuer: Maker | None = None,
        *,
        is_ca: bool = True,
        names: Sequence[str] = (),
        until: datetime.datetime = NOW + DAY,
    ) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        signer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 100 * DAY)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
        self.certificate = builder.sign(signer.key, hashes.SHA256())
        self.der = self.certificate.public_bytes(Encoding.DER)
        self.key_der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


ROOT = Maker("root")
MIDDLE = Maker("middle", ROOT)
LEAF = Maker("leaf", MIDDLE, is_ca=False, names=(HOST,))
CHAIN = (LEAF.der, MIDDLE.der, ROOT.der)


def record(maker: Maker, usage: int, selector: int = 1, matching_type: int = 1) -> TlsaRecord:
    octets = maker.key_der if selector else maker.der
    digests = (octets, hashlib.sha256(octets).digest(), hashlib.sha512(octets).digest())
    return TlsaRecord(usage, selector, matching_type, digests[matching_type])


def match(chain: Sequence[bytes], *records: TlsaRecord, names: tuple[str, ...] = (HOST, DOMAIN)) -> str:
    return match_chain(chain, TlsDemand(TlsPolicy(SecurityLevel.DANE, HOST), HOST, names, records), NOW)


def refused(chain: Sequence[bytes], *records: TlsaRecord) -> TlsFailureKind:
    with pytest.raises(TlsError) as caught:
        match(chain, *records)
    return caught.value.kind


@pytest.mark.parametrize("matching_type", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
def test_the_hosts_own_certificate(selector: int, matching_type: int) -> None:
    own = record(LEAF, 3, selector, matching_type)
    assert match(CHAIN, own) == HOST
    assert match(CHAIN[:1], own) == HOST
    assert refused((MIDDLE.der, LEAF.der), own) is TlsFailureKind.CERTIFICATE


def test_neither_names_nor_dates_of_it_matter() -> None:
    old = Maker("old", is_ca=False, names=("other.test",), until=NOW - DAY)
    assert match((old.der,), record(old, 3)) == HOST


@pytest.mark.parametrize("matching_type", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("anchor", [ROOT, MIDDLE], ids=["root", "middle"])
def test_a_trust_anchor_in_the_chain(anchor: Maker, selector: int, matching_type: int) -> None:
    named = record(anchor, 2, selector, matching_type)
    assert match(CHAIN, named) == HOST
    assert match((LEAF.der, ROOT.der, MIDDLE.der), named) == HOST  # in any order


def test_a_whole_trust_anchor_need_not_be_presented() -> None:
    assert match((LEAF.der, MIDDLE.der), record(ROOT, 2, 0, 0)) == HOST
    assert refused((LEAF.der, MIDDLE.der), record(ROOT, 2, 0, 1)) is TlsFailureKind.CERTIFICATE


def test_the_hosts_own_certificate_may_be_the_anchor() -> None:
    assert match(CHAIN[:1], record(LEAF, 2)) == HOST


def test_a_certificate_for_the_domain_is_told_from_one_for_the_host() -> None:
    leaf = Maker("leaf", ROOT, is_ca=False, names=(DOMAIN,))
    assert match((leaf.der, ROOT.der), record(ROOT, 2)) == DOMAIN


def test_under_an_anchor_names_matter() -> None:
    leaf = Maker("leaf", ROOT, is_ca=False, names=("other.test",))
    assert refused((leaf.der, ROOT.der), record(ROOT, 2)) is TlsFailureKind.NAME
    nameless = Maker("leaf", ROOT, is_ca=False)
    assert refused((nameless.der, ROOT.der), record(ROOT, 2)) is TlsFailureKind.NAME


def test_under_an_anchor_dates_matter() -> None:
    old_middle = Maker("middle", ROOT, until=NOW - DAY)
    leaf = Maker("leaf", old_middle, is_ca=False, names=(HOST,))
    assert refused((leaf.der, old_middle.der, ROOT.der), record(ROOT, 2)) is TlsFailureKind.CERTIFICATE
    old_leaf = Maker("leaf", ROOT, is_ca=False, names=(HOST,), until=NOW - DAY)
    assert refused((old_leaf.der, ROOT.der), record(ROOT, 2)) is TlsFailureKind.CERTIFICATE


def test_an_anchor_that_only_lies_beside_the_chain_vouches_for_nothing() -> None:
    """Anybody may present a certificate of somebody else."""
    leaf = Maker("leaf", Maker("impostor"), is_ca=False, names=(HOST,))
    assert refused((leaf.der, ROOT.der), record(ROOT, 2)) is TlsFailureKind.CERTIFICATE
    same_name = Maker("leaf", Maker("root"), is_ca=False, names=(HOST,))
    assert refused((same_name.der, ROOT.der), record(ROOT, 2)) is TlsFailureKind.CERTIFICATE


def test_who_is_no_authority_signs_nothing() -> None:
    customer = Maker("customer", ROOT, is_ca=False)
    leaf = Maker("leaf", customer, is_ca=False, names=(HOST,))
    assert refused((leaf.der, customer.der, ROOT.der), record(ROOT, 2)) is TlsFailureKind.CERTIFICATE


def test_a_chain_in_circles_ends() -> None:
    one, two = Maker("one"), Maker("two")
    one_by_two, two_by_one = Maker("one", two), Maker("two", one)
    leaf = Maker("leaf", one, is_ca=False, names=(HOST,))
    chain = (leaf.der, one.der, two_by_one.der, one_by_two.der, two.der)
    assert refused(chain, record(ROOT, 2)) is TlsFailureKind.CERTIFICATE
    assert refused(chain * 30, record(ROOT, 2)) is TlsFailureKind.CERTIFICATE


def test_one_good_record_is_enough() -> None:
    assert match(CHAIN, TlsaRecord(3, 1, 1, bytes(32)), TlsaRecord(2, 0, 0, b"nonsense"), record(LEAF, 3)) == HOST


def test_nothing_presented_matches_nothing() -> None:
    assert refused((), record(LEAF, 3)) is TlsFailureKind.CERTIFICATE
    assert refused((b"nonsense",), record(LEAF, 3)) is TlsFailureKind.CERTIFICATE


@given(st.lists(st.binary(max_size=100), max_size=4), st.integers(0, len(LEAF.der) - 1), st.integers(1, 255))
def test_no_chain_does_any_harm(rest: list[bytes], at: int, change: int) -> None:
    octets = bytearray(LEAF.der)
    octets[at] ^= change
    kind = refused((bytes(octets), *rest), record(ROOT, 2, 0, 0), TlsaRecord(3, 0, 1, bytes(32)))
    assert kind in {TlsFailureKind.CERTIFICATE, TlsFailureKind.NAME}
