"""ARC chains and sets (RFC 8617, spec html-css-dkim.md 5); what others think of them is in tests/integration/dkim."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relayq.compose.arc import NEW, Arrival, prepare_seal
from relayq.compose.arc_chain import (
    MAX_INSTANCES,
    SIGNATURE,
    BrokenChainError,
    ChainValue,
    chain_keys,
    judge_chain,
    read_chain,
    seal_digest,
)
from relayq.compose.dkim import MessageHeader, SigningFailedError, fold_signature, header_digest
from relayq.compose.public_keys import decode_tag, parse_public_key, parse_tags
from relayq.compose.signing_keys import PrivateKey, PrivateKeys, parse_signing_keys

NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)
BODY = b"Hello\r\n"
MESSAGE = b"From: a@example.com\r\nSubject: x\r\nX-A: 1\r\n\r\n" + BODY
PRIVATE_KEYS = PrivateKeys()
NAME = "s1._domainkey.example.com"


@functools.cache
def pem(bits: int = 2048) -> str:
    key = rsa.generate_private_key(65537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@functools.cache
def records() -> dict[str, str]:
    return {NAME: PRIVATE_KEYS.load(pem()).dns_record()}


def seal(message: bytes = MESSAGE, arrival: Arrival = NEW, **entry: object) -> bytes:
    keys = parse_signing_keys({"domain": "example.com", "selector": "s1", "key": pem(), "protocols": ["arc"], **entry})
    prepared, notes = prepare_seal(message, keys, arrival, "mx.example.com", NOW, PRIVATE_KEYS)
    assert prepared is not None, notes
    return prepared.sign() + message


def judge(message: bytes, *, at: datetime = NOW, known: dict[str, str] | None = None) -> ChainValue:
    header = MessageHeader(message)
    return judge_chain(message, header, read_chain(header), records() if known is None else known, at)


def chain(message: bytes) -> int:
    return len(read_chain(MessageHeader(message)))


def refusal(message: bytes, arrival: Arrival = NEW, **entry: object) -> tuple[str, ...]:
    keys = parse_signing_keys({"domain": "example.com", "selector": "s1", "key": pem(), "protocols": ["arc"], **entry})
    prepared, notes = prepare_seal(message, keys, arrival, "mx.example.com", NOW, PRIVATE_KEYS)
    assert prepared is None
    return notes


def test_what_a_set_looks_like() -> None:
    sealed = seal(headers=["X-A", "ARC-Seal", "DKIM-Signature"])
    header = sealed[: -len(MESSAGE)].decode()
    shown = re.sub(r" b=[A-Za-z0-9+/=]{72}(\r\n  [A-Za-z0-9+/=]*)*", " b=…", header)
    assert shown.replace("\r\n", "\n") == (
        "ARC-Seal: i=1; a=rsa-sha256; t=1795291200; cv=none;\n"
        " d=example.com; s=s1;\n"
        " b=…\n"
        "ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/simple; d=example.com;\n"
        " s=s1; t=1795291200;\n"
        " h=from:subject:x-a;\n"
        f" bh={base64.b64encode(hashlib.sha256(BODY).digest()).decode()};\n"
        " b=…\n"
        "ARC-Authentication-Results: i=1; mx.example.com; none\n"
    )
    assert max(map(len, header.split("\r\n"))) <= 78
    assert judge(sealed) is ChainValue.PASS


def test_a_message_without_a_chain() -> None:
    assert judge(MESSAGE) is ChainValue.NONE
    assert chain_keys(read_chain(MessageHeader(MESSAGE))) == ()


def test_keys_of_a_chain_are_named_once() -> None:
    twice = seal(seal(), Arrival(1, ChainValue.PASS))
    assert chain_keys(read_chain(MessageHeader(twice))) == (NAME,)
    odd = seal().replace(b"ARC-Seal: i=1;", b"ARC-Seal: i=1; s=a/b;", 1).replace(b"; s=s1;\r\n b=", b";\r\n b=", 1)
    assert chain_keys(read_chain(MessageHeader(odd))) == (NAME,)
    assert judge(odd) is ChainValue.FAIL
    no_domain = seal().replace(b"d=example.com", b"d=exa mple")
    assert chain_keys(read_chain(MessageHeader(no_domain))) == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda sealed: sealed.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=2"),
        lambda sealed: sealed.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=0"),
        lambda sealed: sealed.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=51"),
        lambda sealed: sealed.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=x"),
        lambda sealed: sealed.replace(b"ARC-Seal: i=1", "ARC-Seal: i=²".encode()),
        lambda sealed: sealed.replace(b"ARC-Seal: i=1", b"ARC-Seal: i"),
        lambda sealed: sealed.replace(b"Results: i=1;", b"Results: i=1"),
        lambda sealed: sealed.replace(b"ARC-Seal:", b"X-Seal:"),
        lambda sealed: sealed.replace(b"ARC-Message-Signature:", b"X:"),
        lambda sealed: sealed.replace(b"ARC-Authentication-Results:", b"X:"),
        lambda sealed: b"ARC-Authentication-Results: i=1; x; none\r\n" + sealed,
        lambda sealed: b"ARC-Authentication-Results: i=3; x; none\r\n" + sealed,
    ],
)
def test_chains_nobody_can_go_on_with(damage: object) -> None:
    damaged = damage(seal())  # type: ignore[operator]
    with pytest.raises(BrokenChainError):
        chain(damaged)
    assert refusal(damaged)[0].startswith("no ARC set: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello", b"Hallo"),
        (b"Subject: x", b"Subject: y"),
        (b"cv=none", b"cv=pass"),
        (b"cv=none", b"cv=fail"),
        (b"cv=none", b"cv=none; h=from"),
        (b"cv=none;", b""),
        (b"mx.example.com; none", b"mx.example.com; spf=pass"),
        (b"c=relaxed/simple", b"c=relaxed/other"),
        (b"c=relaxed/simple", b"c=other/simple"),
        (b"c=relaxed/simple;", b""),
        (b"h=from:subject;", b"h=subject;"),
        (b"h=from:subject;", b"h=from:subject:" + b"a:" * 1000 + b"b;"),
        (b"h=from:subject;", b"h=from:subject; l=3;"),
        (b"h=from:subject;", b"h=from:subject; l=1000;"),
        (b"h=from:subject;", b"h=from:subject; l=x;"),
        (b"h=from:subject;", b"h=from:subject; x=1;"),
        (b"h=from:subject;", b"h=from:subject; x=never;"),
        (b"bh=", b"bh=!"),
        (b"d=example.com", b"d=other.example"),
        (b"Signature: i=1; a=rsa-sha256", b"Signature: i=1; a=rsa-sha1"),
        (b"Signature: i=1; a=rsa-sha256", b"Signature: i=1; a=ed25519-sha256"),
    ],
)
def test_chains_that_do_not_hold(old: bytes, new: bytes) -> None:
    sealed = seal()
    assert old in sealed
    assert judge(sealed.replace(old, new)) is ChainValue.FAIL


def test_a_seal_without_a_signature() -> None:
    sealed = seal()
    assert judge(re.sub(rb"(ARC-Seal:[^b]*;\r\n b=)[^:]*\r\nARC", rb"\1\r\nARC", sealed)) is ChainValue.FAIL


def test_keys_that_are_not_there() -> None:
    assert judge(seal(), known={}) is ChainValue.FAIL


@pytest.mark.parametrize("pair", ["simple/simple", "simple", "relaxed", "relaxed/relaxed"])
def test_chains_that_hold(pair: str) -> None:
    sealed = seal(canonicalization=pair)
    assert judge(sealed) is ChainValue.PASS
    again = seal(b"Received: here\r\n" + sealed, Arrival(1, ChainValue.PASS), canonicalization=pair)
    assert judge(b"Received: there\r\n" + again) is ChainValue.PASS


def test_signatures_of_others_may_expire_and_cover_a_part() -> None:
    """Written by hand: we write neither ``l=`` nor ``x=``."""
    later = int((NOW + timedelta(days=1)).timestamp())
    sealed = resealed(f"x={later}; l=5")
    assert judge(sealed) is ChainValue.PASS
    assert judge(sealed.replace(b"Hello\r\n", b"Hello\r\nmore\r\n")) is ChainValue.PASS
    assert judge(sealed, at=NOW + timedelta(days=2)) is ChainValue.FAIL


def resealed(more: str) -> bytes:
    key = PRIVATE_KEYS.load(pem())
    body = base64.b64encode(hashlib.sha256(b"Hello").digest()).decode()
    tags = f"i=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s1; {more}; h=from:subject; bh={body}; b="
    field = f"ARC-Message-Signature: {tags}".encode()
    digest = header_digest(MessageHeader(MESSAGE), [b"from", b"subject"], "relaxed", SIGNATURE, field)
    signature = field + fold_signature(key.sign(digest)) + b"\r\n"
    results = b"ARC-Authentication-Results: i=1; x; none\r\n"
    unsealed = b"ARC-Seal: b=; i=1; a=rsa-sha256; cv=none; d=example.com; s=s1\r\n"
    sealing = base64.b64encode(key.sign(seal_digest((), (results, signature), unsealed)))
    return unsealed.replace(b"b=;", b"b=" + sealing + b";") + signature + results + MESSAGE


def test_a_chain_that_broke_is_sealed_alone() -> None:
    broken = seal().replace(b"Hello", b"Hallo")
    sealed = seal(broken, Arrival(1, ChainValue.FAIL))
    assert b"i=2; a=rsa-sha256; t=1795291200; cv=fail;" in sealed
    prepared, _ = prepare_seal(
        broken,
        parse_signing_keys({"domain": "example.com", "selector": "s1", "key": pem(), "protocols": ["arc"]}),
        Arrival(1, ChainValue.FAIL),
        "x",
        NOW,
        PRIVATE_KEYS,
    )
    assert prepared is not None
    assert prepared.below == ()


@pytest.mark.parametrize(
    ("message", "arrival", "note"),
    [
        (b"Subject: x\r\n\r\n", NEW, "no ARC set: no From field"),
        (MESSAGE, Arrival(1, ChainValue.PASS), "no ARC set: the chain was edited"),
    ],
)
def test_messages_that_get_no_set(message: bytes, arrival: Arrival, note: str) -> None:
    assert refusal(message, arrival) == (note,)


def test_a_chain_ends_at_fifty_sets() -> None:
    sets = b"".join(
        b"ARC-Seal: i=%d; cv=pass\r\nARC-Message-Signature: i=%d\r\nARC-Authentication-Results: i=%d; x; none\r\n"
        % (number, number, number)
        for number in range(1, MAX_INSTANCES + 1)
    )
    assert refusal(sets + MESSAGE, Arrival(MAX_INSTANCES, ChainValue.PASS)) == ("no ARC set: the chain has 50 sets",)


def test_the_first_key_that_can_seal_does() -> None:
    ed25519 = base64.b64encode(bytes(32)).decode()
    entries: list[dict[str, object]] = [
        {"selector": "dkim", "key": pem()},
        {"selector": "bad", "key": "AAAA", "protocols": ["arc"], "priority": -2},
        {"selector": "ed", "key": ed25519, "protocols": ["arc"], "priority": -1},
        {"selector": "old", "key": pem(), "protocols": ["arc"], "priority": -1, "expire": "2026-01-01 00:00:00"},
        {"selector": "second", "key": pem(), "protocols": ["arc", "dkim"], "priority": 5},
        {"selector": "first", "key": pem(), "protocols": ["arc"], "priority": 4},
    ]
    keys = parse_signing_keys([{"domain": "example.com", **entry} for entry in entries])
    prepared, notes = prepare_seal(MESSAGE, keys, NEW, "x", NOW, PRIVATE_KEYS)
    assert prepared is not None
    assert b"s=first;" in prepared.seal
    assert [note.split(":")[0].split(".")[0] for note in notes] == ["old", "bad", "ed"]
    assert refusal(MESSAGE, key=ed25519) == (f"{NAME}: ARC is sealed with RSA only, skipped",)


def test_a_key_that_fails_while_sealing(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = parse_signing_keys({"domain": "example.com", "selector": "s1", "key": pem(), "protocols": ["arc"]})
    prepared, _ = prepare_seal(MESSAGE, keys, NEW, "x", NOW, PRIVATE_KEYS)
    assert prepared is not None

    def fail(self: PrivateKey, digest: bytes) -> bytes:
        raise ValueError("broken")

    monkeypatch.setattr(PrivateKey, "sign", fail)
    with pytest.raises(SigningFailedError):
        prepared.sign()


# --- tags and public keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (b"a=1; b = 2 ;c=", {"a": "1", "b": "2", "c": ""}),
        (b"a=x=y;", {"a": "x=y"}),
        (b"", {}),
        (b" ; ", None),
        (b"a", None),
        (b"a=1; a=2", None),
        (b"1=2", None),
        (b"=2", None),
        (b"\xff=2", None),
        (b"a=" + b"x" * 70_000, None),
    ],
)
def test_tags(text: bytes, tags: dict[str, str] | None) -> None:
    assert parse_tags(text) == tags


def test_base64_of_tags() -> None:
    assert decode_tag(" SGVs\r\n bG8= ") == b"Hello"
    assert decode_tag("a") is None
    assert decode_tag("ä") is None


def test_public_keys() -> None:
    record = PRIVATE_KEYS.load(pem()).dns_record()
    small = pem(1024)
    edwards = PRIVATE_KEYS.load(base64.b64encode(bytes(32)).decode())
    for good in (
        record, record.replace("k=rsa; ", ""), record.replace("v=DKIM1; ", ""), record + "; s=email; h=sha1:sha256",
        PRIVATE_KEYS.load(small).dns_record(), edwards.dns_record(),
    ):  # fmt: skip
        assert parse_public_key(good) is not None, good
    der = base64.b64encode(b"nonsense").decode()
    for bad in (
        "", "nonsense", record.replace("DKIM1", "DKIM2"), record + "; s=other", record + "; h=sha1", "v=DKIM1; p=",
        "v=DKIM1; p=!", f"v=DKIM1; p={der}", record.replace("k=rsa", "k=dsa"), record.replace("k=rsa", "k=ed25519"),
        edwards.dns_record().replace("ed25519", "rsa"),
    ):  # fmt: skip
        assert parse_public_key(bad) is None, bad


def test_what_a_public_key_verifies() -> None:
    digest = bytes(32)
    edwards = PRIVATE_KEYS.load(base64.b64encode(bytes(32)).decode())
    for private, algorithm, other in (
        (PRIVATE_KEYS.load(pem()), "rsa-sha256", "ed25519-sha256"),
        (edwards, "ed25519-sha256", "rsa-sha256"),
    ):
        public = parse_public_key(private.dns_record())
        assert public is not None
        assert public.verifies(algorithm, private.sign(digest), digest)
        assert not public.verifies(other, private.sign(digest), digest)
        assert not public.verifies(algorithm, private.sign(digest), b"x" * 32)
        assert not public.verifies(algorithm, b"x", digest)
