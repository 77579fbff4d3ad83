"""Compressed bodies: every way to pack one is undone, everything else is refused (spec amqp.md 6)."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st

from relayq.model.body import UndecodableBodyError, decode_body


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(0, 9), st.integers(-2, 2))
def test_any_members_are_joined_up_to_the_limit(parts: list[bytes], level: int, slack: int) -> None:
    body = b"".join(parts)
    packed = b"".join(gzip.compress(part, level) for part in parts)
    limit = max(len(body) + slack, 0)

    try:
        assert decode_body(packed, "gzip", limit) == body
    except UndecodableBodyError:
        assert limit < len(body)
    else:
        assert limit >= len(body)


@given(st.binary(max_size=100), st.data())
def test_a_cut_body_is_refused(body: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(body)
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]

    try:
        decode_body(cut, "gzip", 1000)
    except UndecodableBodyError:
        return
    raise AssertionError("half a body was taken for a whole one")


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=10), st.sampled_from(["gzip", "X-GZIP"])))
def test_any_octets_are_taken_or_refused(body: bytes, encoding: str | None) -> None:
    try:
        decoded = decode_body(body, encoding, 150)
    except UndecodableBodyError:
        return
    assert len(decoded) <= 150
