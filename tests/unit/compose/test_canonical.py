"""Canonical forms of headers and bodies (RFC 6376 section 3.4, spec html-css-dkim.md 4.3)."""

from __future__ import annotations

import base64
import hashlib
import itertools
import tracemalloc

import pytest

from relayq.compose import canonical
from relayq.compose.canonical import body_hash, relaxed_body, relaxed_field, simple_body, simple_field


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n", b"\r\n", b""),
        (b"\r\n\r\n\r\n", b"\r\n", b""),
        (b" ", b" \r\n", b""),
        (b" \t\r\n\r\n", b" \t\r\n", b""),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a\r\n", b"a\r\n", b"a\r\n"),
        (b"a\r\n\r\n\r\n", b"a\r\n", b"a\r\n"),
        (b"a\r\n \r\n\t\r\n", b"a\r\n \r\n\t\r\n", b"a\r\n"),
        (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
        (b"a \t b\t\r\n", b"a \t b\t\r\n", b"a b\r\n"),
        (b"a  ", b"a  \r\n", b"a\r\n"),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),  # RFC 6376 section 3.4.5
        (b"a\0b\r\n\0\r\n", b"a\0b\r\n\0\r\n", b"a\0b\r\n\0\r\n"),
        (b"a\x0b \x0c\r\n", b"a\x0b \x0c\r\n", b"a\x0b \x0c\r\n"),
        # A CR or LF that stands alone is an ordinary octet; the wire never has one.
        (b"a\n", b"a\n\r\n", b"a\n\r\n"),
        (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        (b"a\n\r\n\r\n", b"a\n\r\n", b"a\n\r\n"),
        (b"a\r\r\n\r\n", b"a\r\r\n", b"a\r\r\n"),
        (b"\n\n\r\n\r\n", b"\n\n\r\n", b"\n\n\r\n"),
    ],
)
def test_bodies(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert simple_body(body) == simple
    assert relaxed_body(body) == relaxed


@pytest.mark.parametrize(
    ("body", "canonicalization", "digest"),
    [
        (b"", "simple", "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
        (b"", "relaxed", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        (b"Dear Ann,\r\nthank you.\r\n\r\n\r\n", "simple", "BhJ9o2DlxZxDUDTWnQ8SB6opkE+BoCw0U/dlOWMPD7A="),
        (b"Dear Ann,\r\nthank you.\r\n\r\n\r\n", "relaxed", "BhJ9o2DlxZxDUDTWnQ8SB6opkE+BoCw0U/dlOWMPD7A="),
        (b"Dear Ann,\r\nthank you.\r\n", "simple", "BhJ9o2DlxZxDUDTWnQ8SB6opkE+BoCw0U/dlOWMPD7A="),
        (b"Dear Ann,\r\nthank you.", "simple", "BhJ9o2DlxZxDUDTWnQ8SB6opkE+BoCw0U/dlOWMPD7A="),
    ],
)
def test_hashes_of_the_specification(body: bytes, canonicalization: str, digest: str) -> None:
    message = b"From: a@example.com\r\n\r\n" + body
    assert base64.b64encode(body_hash(message, len(message) - len(body), canonicalization)) == digest.encode()


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b"x\r\n", b"x"])
def test_the_header_in_front_never_takes_part_in_the_body(body: bytes) -> None:
    message = b"From: a@example.com\r\n\r\n" + body
    for canonicalization in ("simple", "relaxed"):
        start = len(message) - len(body)
        assert body_hash(message, start, canonicalization) == body_hash(body, 0, canonicalization)


@pytest.mark.parametrize(
    ("field", "relaxed"),
    [
        (b"A: X\r\n", b"a:X\r\n"),
        (b"A:X\r\n", b"a:X\r\n"),
        (b"A : Y\t\r\n\tZ  \r\n", b"a:Y Z\r\n"),  # RFC 6376 section 3.4.5
        (b"A: \r\n b\r\n", b"a:b\r\n"),
        (b"A:\r\n", b"a:\r\n"),
        (b"A: x:y  z", b"a:x:y z\r\n"),
        (b"A: \xc3\xbc\t\tx \r\n", b"a:\xc3\xbc x\r\n"),
    ],
)
def test_relaxed_fields(field: bytes, relaxed: bytes) -> None:
    assert relaxed_field(b"a", field) == relaxed


def test_simple_fields_stay_as_they_are() -> None:
    assert simple_field(b"A : Y\t\r\n\tZ  \r\n") == b"A : Y\t\r\n\tZ  \r\n"
    assert simple_field(b"A: x") == b"A: x\r\n"


@pytest.mark.parametrize("octets", [3, 4, 7])
def test_a_large_body_has_the_same_hash_wherever_it_is_cut(monkeypatch: pytest.MonkeyPatch, octets: int) -> None:
    monkeypatch.setattr(canonical, "_LARGE_OCTETS", octets)
    pieces = (b"\r\n", b"a", b" \t", b"\r", b"\n", b"")
    for parts in itertools.product(pieces, repeat=5):
        body = b"".join(parts)
        for whole in (body, b"\r\n" + body, b"ab\r\n\r\n" + body + b"\r\n\r\n"):
            expected = hashlib.sha256(relaxed_body(whole)).digest()
            assert body_hash(b"From: x\r\n\r\n" + whole, 11, "relaxed") == expected, whole


def test_a_large_body_is_not_copied_as_a_whole() -> None:
    body = b"From: x\r\n\r\n" + b"some words  in a line\r\n" * 200_000
    tracemalloc.start()
    try:
        body_hash(body, 11, "relaxed")
        assert tracemalloc.get_traced_memory()[1] < len(body) // 2
    finally:
        tracemalloc.stop()
