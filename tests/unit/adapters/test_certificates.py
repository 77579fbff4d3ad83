"""What is told about a certificate, and that no certificate can do harm."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from relayq.adapters.certificates import MAX_CHARACTERS, MAX_NAMES, _read_certificate, describe_session
from tests.support.tls import self_signed, shake_hands, trusted

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def certificate(
    *extensions: x509.ExtensionType, subject: x509.Name | None = None, issuer: x509.Name | None = None
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name if subject is None else subject)
        .issuer_name(name if issuer is None else issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_session() -> None:
    (cipher_name, cipher), (certificate_name, shown) = describe_session(shake_hands(trusted()), is_verified=True)
    assert (cipher_name, certificate_name) == ("cipher", "certificate")
    assert cipher == {
        "name": "TLS_AES_256_GCM_SHA384", "bits": 256, "algbits": 256, "version": "TLSv1.3", "id": 4866,
    }  # fmt: skip
    assert isinstance(shown, dict)
    assert list(shown) == [
        "notbefore", "notafter", "version", "verified", "result", "self-signed", "subject", "issuer", "altnames",
    ]  # fmt: skip
    assert (shown["verified"], shown["result"]) == (True, "ok")


def test_the_verdict_is_that_of_the_session_not_of_the_cache() -> None:
    session = shake_hands(self_signed())
    for verdict in (True, False, True):
        _, (_, shown) = describe_session(session, is_verified=verdict)
        assert isinstance(shown, dict)
        assert shown["verified"] is verdict


def test_long_values_are_cut() -> None:
    names = [x509.DNSName(f"{'x' * 50}.{number}." + "y" * 250) for number in range(300)]
    _, after = _read_certificate(certificate(x509.SubjectAlternativeName(names)))
    shown = after["altnames"]
    assert isinstance(shown, list)
    assert len(shown) == MAX_NAMES
    assert max(map(len, shown)) == MAX_CHARACTERS


def test_all_kinds_of_names() -> None:
    names: list[x509.GeneralName] = [
        x509.DNSName("a.test"), x509.IPAddress(ipaddress.ip_address("2001:db8::1")), x509.RFC822Name("a@b.test"),
    ]  # fmt: skip
    _, after = _read_certificate(certificate(x509.SubjectAlternativeName(names)))
    assert after["altnames"] == ["a.test", "2001:db8::1"]
    assert _read_certificate(certificate())[1]["altnames"] == []


def test_parts_of_a_name_and_their_absence() -> None:
    parts = [
        (NameOID.ORGANIZATION_NAME, "Bücher"), (NameOID.LOCALITY_NAME, "Delft"), (NameOID.STATE_OR_PROVINCE_NAME, "ZH"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "ignored"),
    ]  # fmt: skip
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    _, after = _read_certificate(certificate(subject=subject, issuer=x509.Name([])))
    assert after["subject"] == {"locality": "Delft", "state": "ZH", "organization": "Bücher"}
    assert after["issuer"] == {}


def test_its_own_name_alone_does_not_make_a_certificate_self_signed() -> None:
    own, other = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.test")])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key()).serial_number(1)
        .not_valid_before(START).not_valid_after(START + datetime.timedelta(days=1))
    )  # fmt: skip
    by_itself = builder.sign(own, hashes.SHA256()).public_bytes(Encoding.DER)
    by_another = builder.sign(other, None).public_bytes(Encoding.DER)
    assert _read_certificate(by_itself)[1]["self-signed"] is True
    assert _read_certificate(by_another)[1]["self-signed"] is False


def test_what_is_no_certificate_tells_nothing() -> None:
    assert _read_certificate(b"") == ({}, {})
    assert _read_certificate(b"\x30\x03abc") == ({}, {})


WHOLE = certificate(x509.SubjectAlternativeName([x509.DNSName("a.test")]))


@given(st.data())
def test_no_damage_to_a_certificate_does_any_harm(data: st.DataObject) -> None:
    octets = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    before, after = _read_certificate(bytes(octets))
    assert set(before) | set(after) <= {
        "notbefore", "notafter", "version", "self-signed", "subject", "issuer", "altnames",
    }  # fmt: skip
