"""Content encodings of a consumed body (spec messages.md 1, amqp.md 6)."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from relayq.model.body import UndecodableBodyError, decode_body

JSON = b'{"recipient":"a@x.test"}'
LIMIT = 1000


@pytest.mark.parametrize("encoding", [None, "", " ", "identity", "utf-8", "UTF8", "Binary", " utf-8 "])
def test_plain_encodings_leave_the_body_alone(encoding: str | None) -> None:
    assert decode_body(JSON, encoding, LIMIT) is JSON


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " Gzip "])
def test_gzip_is_undone(encoding: str) -> None:
    assert decode_body(gzip.compress(JSON), encoding, LIMIT) == JSON


def test_gzip_is_recognised_without_being_announced() -> None:
    assert decode_body(gzip.compress(JSON), None, LIMIT) == JSON


def test_the_members_of_a_gzip_stream_are_joined() -> None:
    assert decode_body(gzip.compress(JSON[:7]) + gzip.compress(b"") + gzip.compress(JSON[7:]), "gzip", LIMIT) == JSON


def test_a_body_larger_than_one_chunk_is_undone_as_a_whole() -> None:
    body = b"".join(b"%d," % (number * 7919) for number in range(100_000))
    packed = gzip.compress(body[:400_000], 1) + gzip.compress(body[400_000:], 1)

    assert len(packed) > 200_000
    assert decode_body(packed, "gzip", len(body)) == body


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "base64", "latin-1"])
def test_an_unknown_encoding_is_malformed(encoding: str) -> None:
    with pytest.raises(UndecodableBodyError, match="unknown"):
        decode_body(JSON, encoding, LIMIT)


def test_gzip_that_is_none_is_malformed() -> None:
    with pytest.raises(UndecodableBodyError, match="damaged"):
        decode_body(JSON, "gzip", LIMIT)


@pytest.mark.parametrize("cut", [0, 2, 10, -9, -8, -1])
def test_gzip_that_ends_too_early_is_malformed(cut: int) -> None:
    with pytest.raises(UndecodableBodyError, match="too early"):
        decode_body(gzip.compress(JSON)[:cut], "gzip", LIMIT)


@pytest.mark.parametrize("tail", [b"x", b"\0", b"\x1f\x8b", JSON])
def test_gzip_with_something_behind_it_is_malformed(tail: bytes) -> None:
    with pytest.raises(UndecodableBodyError, match=r"damaged|too early"):
        decode_body(gzip.compress(JSON) + tail, "gzip", LIMIT)


def test_a_wrong_checksum_is_malformed() -> None:
    packed = bytearray(gzip.compress(JSON))
    packed[-8] ^= 1

    with pytest.raises(UndecodableBodyError, match="damaged"):
        decode_body(bytes(packed), "gzip", LIMIT)


def test_the_limit_is_inclusive_for_both_forms() -> None:
    body = b"x" * LIMIT

    assert decode_body(body, None, LIMIT) == body
    assert decode_body(gzip.compress(body), "gzip", LIMIT) == body
    for larger, encoding in ((body + b"x", None), (gzip.compress(body + b"x"), "gzip")):
        with pytest.raises(UndecodableBodyError, match="larger than 1000"):
            decode_body(larger, encoding, LIMIT)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(20_000_000))

    tracemalloc.start()
    with pytest.raises(UndecodableBodyError, match="larger"):
        decode_body(bomb, "gzip", LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1_000_000


def test_the_limit_counts_all_members() -> None:
    with pytest.raises(UndecodableBodyError, match="larger"):
        decode_body(gzip.compress(b"x" * 600) * 2, "gzip", LIMIT)


def test_a_flood_of_empty_members_is_refused_early() -> None:
    with pytest.raises(UndecodableBodyError, match="more than 1000"):
        decode_body(gzip.compress(b"") * 200_000, "gzip", LIMIT)
