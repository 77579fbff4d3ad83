from __future__ import annotations

import gzip
import random

import pytest

from relayq.adapters.store import encoding
from relayq.adapters.store.encoding import join, pack, pack_aside, part_keys, split, unpack, unpack_aside
from relayq.ports import StoreDamagedError

TEXT = b"text " * 100
NOISE = random.Random(1).randbytes(1000)


@pytest.mark.parametrize(
    ("body", "compress", "expected"),
    [(TEXT, True, "gzip"), (TEXT, False, "identity"), (NOISE, True, "identity"), (b"", True, "identity")],
)
def test_a_body_is_packed_where_that_makes_it_smaller(body: bytes, compress: bool, expected: str) -> None:
    value, name = pack(body, compress=compress)
    assert name == expected
    assert len(value) <= len(body)
    assert unpack(value, name) == body


def test_what_is_packed_is_a_gzip_file() -> None:
    assert gzip.decompress(pack(TEXT, compress=True)[0]) == TEXT


@pytest.mark.parametrize("name", [None, "", "identity"])
def test_without_an_encoding_a_value_is_as_it_is(name: str | None) -> None:
    assert unpack(b"\x1f\x8b", name) == b"\x1f\x8b"


@pytest.mark.parametrize(
    "value",
    [b"", b"no gzip", gzip.compress(TEXT)[:-1], gzip.compress(TEXT)[:20], gzip.compress(TEXT) + b"x",
     gzip.compress(TEXT)[:-8] + b"\0" * 8],
)  # fmt: skip
def test_what_is_no_whole_gzip_is_damaged(value: bytes) -> None:
    with pytest.raises(StoreDamagedError):
        unpack(value, "gzip")


def test_an_encoding_nobody_knows_is_damage() -> None:
    with pytest.raises(StoreDamagedError, match="unknown"):
        unpack(TEXT, "zstd")


def test_a_small_value_that_becomes_huge_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "LARGEST_BODY_BYTES", 1000)
    assert unpack(gzip.compress(b"x" * 1000), "gzip") == b"x" * 1000
    with pytest.raises(StoreDamagedError, match="more than 1000"):
        unpack(gzip.compress(b"x" * 1001), "gzip")


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_large_bodies_are_packed_beside_the_loop(size: int) -> None:
    body = b"ab" * size
    value, name = await pack_aside(body, compress=True)
    assert name == "gzip"
    assert await unpack_aside(value, name) == body
    assert await unpack_aside(body, None) == body


def test_parts() -> None:
    assert split(b"12345678", 8) == []
    assert split(b"123456789", 4) == [b"1234", b"5678", b"9"]
    assert part_keys("a", 3) == ["a.part0", "a.part1", "a.part2"]
    assert join([b"1234", b"5678", b"9"], 9) == b"123456789"


@pytest.mark.parametrize(
    ("parts", "size"),
    [([b"12", None], 4), ([b"12", b"3"], 4), ([b"12", b"345"], 4), ([], 1)],
)
def test_parts_that_do_not_make_up_the_body(parts: list[bytes | None], size: int) -> None:
    with pytest.raises(StoreDamagedError):
        join(parts, size)


def test_parts_are_not_read_beyond_the_size_announced() -> None:
    read = 0

    def endless() -> object:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 10

    with pytest.raises(StoreDamagedError):
        join(endless(), 25)  # type: ignore[arg-type]
    assert read == 3
