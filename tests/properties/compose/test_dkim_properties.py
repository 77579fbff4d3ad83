"""Any message: our canonical forms are those of dkimpy, and what is signed verifies there (RFC 6376 section 3.4)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import dkim  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from relayq.compose.canonical import relaxed_body, relaxed_field, simple_body, simple_field
from relayq.compose.dkim import MessageHeader, places, sign_message
from relayq.compose.signing_keys import (
    PrivateKeys,
    SigningKey,
    SigningKeyError,
    UnusableKeyError,
    load_private_key,
    parse_signing_keys,
)
from relayq.smtp import normalise_line_ends

Simple, Relaxed = dkim.canonicalization.Simple, dkim.canonicalization.Relaxed
NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)
SEED = base64.b64encode(bytes(range(32))).decode()
PRIVATE_KEYS = PrivateKeys()

pieces = st.sampled_from(
    [b"\r\n", b" ", b"\t", b"  ", b" \r\n", b"\r\n\r\n", b"a", b"\0", b".", b"\x0b", b"\x85", b"\xff"]
)
bodies = st.one_of(st.lists(pieces, max_size=30).map(b"".join), st.binary(max_size=100)).map(normalise_line_ends)
names = st.sampled_from([b"Subject", b"subject", b"To", b"Cc", b"Date", b"X-A", b"x-a", b"Received", b"Feedback-ID"])
words = st.text("ab \tü:;=", max_size=8).map(lambda text: text.encode())
values = st.lists(words.filter(bytes.strip), min_size=1, max_size=4).map(b"\r\n\t".join)
headers = st.lists(st.tuples(names, values), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("domain", "selector", "key", "expire", "headers", "canonicalization", "protocols", "report", "priority")
entries = st.dictionaries(st.sampled_from([*MEMBERS, "algorithm", "oversign", "identity"]), json_values, max_size=12)


@given(bodies)
@example(b"\r\n")
@example(b" \r\n\r\n")
def test_bodies_are_those_of_the_oracle(body: bytes) -> None:
    assert simple_body(body) == Simple.canonicalize_body(body)
    assert relaxed_body(body) == Relaxed.canonicalize_body(body)


@given(st.binary(max_size=60) | st.lists(st.sampled_from([b"\r", b"\n", b" ", b"x"]), max_size=12).map(b"".join))
def test_any_octets_give_a_body_that_is_its_own_canonical_form(body: bytes) -> None:
    for canonical in (simple_body, relaxed_body):
        once = canonical(body)
        assert canonical(once) == once
        assert not once.endswith(b"\r\n\r\n")


@given(names, values)
def test_fields_are_those_of_the_oracle(name: bytes, value: bytes) -> None:
    field = name + b": " + value + b"\r\n"
    [(relaxed_name, relaxed_value)] = Relaxed.canonicalize_headers([(name, b" " + value + b"\r\n")])
    assert relaxed_field(name.lower(), field) == relaxed_name + b":" + relaxed_value
    assert simple_field(field) == field


@given(
    headers,
    bodies,
    st.sampled_from(["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]),
    st.booleans(),
    st.lists(st.sampled_from(["X-A", "Received", "Date", "x-none"]), max_size=4),
)
def test_whatever_is_signed_verifies(
    fields: list[tuple[bytes, bytes]], body: bytes, pair: str, oversign: bool, extra: list[str]
) -> None:
    header = b"".join(name + b": " + value + b"\r\n" for name, value in [*fields, (b"From", b"a@example.com")])
    entry = {"domain": "example.com", "selector": "s1", "key": SEED, "canonicalization": pair, "headers": extra}
    keys = parse_signing_keys(entry | {"oversign": oversign})
    signed = sign_message(header + b"\r\n" + body, keys, NOW, PRIVATE_KEYS)
    record = PRIVATE_KEYS.load(SEED).dns_record().encode()
    with mock.patch("dkim.time", SimpleNamespace(time=NOW.timestamp)):
        assert dkim.DKIM(signed).verify(dnsfunc=lambda name, timeout=5: record)


@given(st.binary(max_size=200))
def test_any_octets_can_be_signed(message: bytes) -> None:
    keys = parse_signing_keys({"domain": "example.com", "selector": "s1", "key": SEED})
    assert sign_message(message, keys, NOW, PRIVATE_KEYS, force=True).endswith(message)


@given(entries | json_values | st.lists(entries, max_size=2))
def test_any_json_is_read_or_refused(value: Any) -> None:
    try:
        keys = parse_signing_keys(value)
    except SigningKeyError:
        return
    assert all(isinstance(key, SigningKey) for key in keys)


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda octets: base64.b64encode(octets).decode()))
def test_any_text_is_a_key_or_none(text: str) -> None:
    try:
        key = load_private_key(text)
    except UnusableKeyError:
        return
    assert key.dns_record().startswith("v=DKIM1; ")


header_pieces = st.sampled_from(
    [b"A", b"Subject", b":", b" ", b"\t", b"\r\n", b"\r\n ", b"\r\n\t", b"\r", b"\n", b"\n ", b"x: y\r\n", b"x :\tz"]
)


@given(st.lists(header_pieces, max_size=30).map(b"".join))
def test_a_header_made_canonical_at_once_is_what_its_fields_are(rest: bytes) -> None:
    header = MessageHeader(b"First: 1\r\n" + rest)
    for name in set(header.names):
        fields = header.fields(name)
        assert len(fields) == header.count(name)
        names = [name] * (len(fields) + 1)
        assert header.canonical(names, "relaxed") == b"".join(relaxed_field(name, field) for field in reversed(fields))
        assert header.canonical(names, "simple") == b"".join(simple_field(field) for field in reversed(fields))


def test_an_instance_is_taken_once_from_the_bottom_up_however_long_the_header() -> None:
    message = b"From: a@x.test\r\nSubject: y\r\n" + b"X-Pad: zz\r\n" * 2000 + b"\r\nx\r\n"
    header = MessageHeader(message)
    assert not header.is_usual
    assert places(header.names, (b"subject", b"subject", b"from", b"to")) == (1, 0)
