"""Our signatures before other people's verifiers (spec html-css-dkim.md 7)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relayq.compose.dkim import sign_message
from relayq.compose.signing_keys import PrivateKeys, SigningKey, parse_signing_keys
from relayq.model.timestamp import parse_timestamp
from relayq.smtp import normalise_line_ends
from tests.integration.dkim.verifiers import MailDkim, Verifier, verify_with_dkimpy

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "dkim").glob("*.json"))
NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)
ED25519 = base64.b64encode(bytes(range(32))).decode()
PAIRS = ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]
PRIVATE_KEYS = PrivateKeys()


def new_pem(bits: int) -> str:
    key = rsa.generate_private_key(65537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


RSA = new_pem(2048)


def keys_of(*entries: dict[str, object]) -> tuple[SigningKey, ...]:
    return parse_signing_keys([{"domain": "example.com", "selector": "s1", "key": RSA, **entry} for entry in entries])


def records_of(keys: Sequence[SigningKey]) -> dict[str, str]:
    return {key.name: PRIVATE_KEYS.load(key.key).dns_record() for key in keys}


def sign(message: bytes, *entries: dict[str, object], at: datetime = NOW) -> tuple[bytes, dict[str, str]]:
    keys = keys_of(*entries)
    return sign_message(message, keys, at, PRIVATE_KEYS), records_of(keys)


MESSAGES = {
    "plain": b"From: a@example.com\r\nTo: b@example.org\r\nSubject: x\r\n\r\nHello\r\n",
    "bare LF": b"From: a@example.com\nTo: b@example.org\nSubject: x\n y\n\nHello\n\n\nthere\n\n",
    "no last line end": b"From: a@example.com\r\nSubject: x\r\n\r\nHello",
    "only empty lines": b"From: a@example.com\r\nSubject: x\r\n\r\n\r\n\r\n\r\n",
    "no body": b"From: a@example.com\r\nSubject: x\r\n\r\n",
    "blanks": b"From: a@example.com\r\nSubject:   x \t y  \r\n\r\n \t Hello \t there \t\r\n\t\r\n \r\n\r\n",
    "tab folds": b"From: a@example.com\r\nSubject: x\r\n\ty\r\n\t\tz \r\nTo: b@example.org\r\n\r\nHello\r\n",
    "duplicates": b"From: a@example.com\r\nSubject: 1\r\nTo: x@example.org\r\nsubject: 2\r\nTo: y\r\n\r\nHello\r\n",
    "two authors": b"From: a@example.com\r\nfrom: b@example.com\r\n\r\nHello\r\n",
    "8 bit": "From: ä@example.com\r\nSubject: ü\r\n\r\nÖ\xa0ß\r\n".encode(),
    "dots": b"From: a@example.com\r\n\r\n.\r\n..\r\n.x\r\n",
    "long": b"From: a@example.com\r\n\r\n" + (b"x" * 900 + b"\r\n") * 50,
}


@pytest.mark.parametrize("pair", PAIRS)
def test_every_kind_of_message_verifies(verify: Verifier, pair: str) -> None:
    signed: list[bytes] = []
    records: dict[str, str] = {}
    for message in MESSAGES.values():
        one, records = sign(normalise_line_ends(message), {"canonicalization": pair})
        signed.append(one)
    assert dict(zip(MESSAGES, verify(signed, records, NOW), strict=True)) == {name: [True] for name in MESSAGES}


@pytest.mark.parametrize("pair", PAIRS)
def test_ed25519_verifies(pair: str, opendkim: Verifier) -> None:
    signed: list[bytes] = []
    records: dict[str, str] = {}
    for message in MESSAGES.values():
        one, records = sign(normalise_line_ends(message), {"canonicalization": pair, "key": ED25519})
        signed.append(one)
    for verify in (verify_with_dkimpy, opendkim):
        assert dict(zip(MESSAGES, verify(signed, records, NOW), strict=True)) == {name: [True] for name in MESSAGES}


@pytest.mark.parametrize("bits", [1024, 4096])
def test_other_sizes_of_rsa_verify(verify: Verifier, bits: int) -> None:
    signed, records = sign(MESSAGES["plain"], {"key": new_pem(bits)})
    assert verify([signed], records, NOW) == [[True]]


def test_several_signatures_all_verify(verify: Verifier) -> None:
    signed, records = sign(
        MESSAGES["plain"],
        {"priority": 10},
        {"selector": "s2", "priority": -2, "report": True, "canonicalization": "simple"},
        {"selector": "s3", "domain": "other.example", "headers": ["X-None"], "oversign": False},
        {"selector": "s4", "identity": "a;b@mail.example.com", "expire": "2026-11-21 20:00:01"},
    )
    assert verify([signed], records, NOW) == [[True] * 4]


def test_a_signature_expires(mail_dkim: MailDkim) -> None:
    signed, records = sign(MESSAGES["plain"], {"expire": "2026-11-28 20:00:00"})
    for verify in (verify_with_dkimpy, mail_dkim.verify):
        assert verify([signed], records, NOW + timedelta(days=6)) == [[True]]
        assert verify([signed], records, NOW + timedelta(days=8)) == [[False]]


def test_a_blank_in_front_of_the_colon_verifies(opendkim: Verifier, mail_dkim: MailDkim) -> None:
    # RFC 5322 section 4.5.8; dkimpy takes such a line for no header at all.
    message = b"From: a@example.com\r\nSubject : x\r\n\r\nHello\r\n"
    for pair in PAIRS:
        signed, records = sign(message, {"canonicalization": pair})
        assert opendkim([signed], records, NOW) == mail_dkim.verify([signed], records, NOW) == [[True]]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.stem)
def test_golden_signatures_verify(case: Path, opendkim: Verifier, mail_dkim: MailDkim) -> None:
    given = json.loads(case.read_text("utf-8"))
    keys, now = parse_signing_keys(given["dkim"]), parse_timestamp(given["now"])
    field = case.with_suffix(".out").read_bytes() + case.with_suffix(".eml").read_bytes()
    message = field.replace(b"\n", b"\r\n")
    # One message has a signature of somebody else, at the end.
    records, expected = records_of(keys), [True] * len(keys)
    assert verify_with_dkimpy([message], records, now)[0][: len(keys)] == expected
    assert opendkim([message], records, now)[0][: len(keys)] == expected
    if all(PRIVATE_KEYS.load(key.key).effort for key in keys):
        assert mail_dkim.verify([message], records, now)[0][: len(keys)] == expected


# What a signature protects against.


def test_no_oversigned_header_can_be_added_and_others_can(verify: Verifier) -> None:
    signed, records = sign(MESSAGES["plain"], {})
    added = ["From", "Reply-To", "Subject", "To", "Cc"]
    messages = [f"{name}: x@example.net\r\n".encode() + signed for name in (*added, "X-A", "Received", "Date")]
    assert verify(messages, records, NOW) == [[False]] * len(added) + [[True]] * 3


def test_without_oversigning_they_can_be_added(verify: Verifier) -> None:
    signed, records = sign(MESSAGES["plain"], {"oversign": False})
    assert verify([b"Subject: x\r\n" + signed, b"Cc: x@example.net\r\n" + signed], records, NOW) == [[True], [True]]


@pytest.mark.parametrize("pair", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize("step", [0x02, 0x20])
def test_changing_any_octet_breaks_the_signature(verify: Verifier, pair: str, step: int) -> None:
    message = (
        b"From: Ann <a@example.com>\r\nTo: b@example.org\r\nSubject: some  more\r\n text\r\n\r\n"
        b"Hello there,  \r\nso long.\r\n\r\nEnd\r\n"
    )
    signed, records = sign(message, {"canonicalization": pair})
    # The signature value itself is decoded leniently by all of them; what it covers is everything else.
    value = range(signed.index(b" b=") + 3, signed.index(b"From: "))
    changed = {
        at: signed[:at] + bytes([signed[at] ^ step]) + signed[at + 1 :]
        for at in range(len(signed))
        if at not in value and not (pair == "relaxed/relaxed" and is_forgiven(signed, at, step))
    }
    verdicts = dict(zip(changed, verify(list(changed.values()), records, NOW), strict=True))
    assert {at: signed[at : at + 20] for at, verdict in verdicts.items() if any(verdict)} == {}
    assert len(changed) > 250


def is_forgiven(signed: bytes, at: int, step: int) -> bool:
    """Relaxed is meant not to see the case of header names."""
    line_start = signed.rfind(b"\r\n", 0, at) + 2 if b"\r\n" in signed[:at] else 0
    is_name = b":" not in signed[line_start:at] and signed[line_start : line_start + 1] not in b" \t"
    return step == 0x20 and is_name and at < signed.index(b"\r\n\r\n")
