"""Octets of strangers: chains, public keys, authors and header fields of web servers fail in known ways only."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from relayq.adapters.content_coding import PIECE_OCTETS, CodingError, Decoder
from relayq.compose.arc_chain import NAMES, BrokenChainError, chain_keys, judge_chain, read_chain, without_signature
from relayq.compose.dkim import MessageHeader
from relayq.compose.domain_keys import Pattern, author_domain
from relayq.compose.public_keys import decode_tag, parse_public_key, parse_tags
from relayq.policy.freshness import fresh_seconds
from tests.unit.compose.test_arc import NAME, NOW, judge, records, seal

octets = st.binary(max_size=200)
values = st.text(alphabet=st.sampled_from('aibchdstvlx=;:/+ \t\r\n10.,"<>@()é\0'), max_size=120)


@settings(max_examples=300)
@given(fields=st.lists(st.tuples(st.sampled_from([*NAMES, b"from"]), values), max_size=8), body=octets)
def test_chains_of_anybody(fields: list[tuple[bytes, str]], body: bytes) -> None:
    folded = [value.encode().replace(b"\r", b"").replace(b"\n", b"\r\n ") for _, value in fields]
    header = b"".join(name + b": " + value + b"\r\n" for (name, _), value in zip(fields, folded, strict=True))
    message = header + b"\r\n" + body
    parsed = MessageHeader(message)
    with contextlib.suppress(BrokenChainError):
        sets = read_chain(parsed)
        known = dict.fromkeys(chain_keys(sets), "v=DKIM1; p=AAAA")
        judge_chain(message, parsed, sets, known, NOW)


SEALED = seal()


@settings(max_examples=300)
@given(at=st.integers(0, len(SEALED) - 1), by=octets)
def test_changed_chains(at: int, by: bytes) -> None:
    changed = SEALED[:at] + by + SEALED[at + len(by) :]
    with contextlib.suppress(BrokenChainError):
        judge(changed)


@given(record=st.one_of(values, st.text(max_size=100)), field=octets)
def test_records_of_anybody(record: str, field: bytes) -> None:
    parse_public_key(record)
    parse_public_key(f"{records()[NAME][: len(record)]}{record}")
    parse_tags(field)
    decode_tag(record)
    without_signature(field)


@given(author=st.one_of(values, st.text(max_size=100)))
def test_authors_of_anybody(author: str) -> None:
    domain = author_domain(f"From: {author}\r\n\r\n".encode("utf-8", "replace"))
    assert domain is None or (domain.isascii() and domain == domain.lower())


@given(kind=st.sampled_from(["exact", "fnmatch", "regex", "substr", "global"]), text=values, domain=values)
def test_patterns_of_anybody(kind: str, text: str, domain: str) -> None:
    Pattern(kind, text).matches(domain)


@given(
    st.dictionaries(
        st.sampled_from(["cache-control", "expires", "date", "age", "last-modified", "vary"]),
        st.one_of(values, st.text(max_size=60)),
    )
)
def test_freshness_of_anything_is_a_number(headers: dict[str, str]) -> None:
    assert fresh_seconds(headers, datetime(2026, 11, 21, tzinfo=UTC)) >= 0


@given(body=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 3000), max_size=5), coding=st.sampled_from("gd"))
def test_encodings_are_undone_however_they_arrive(body: bytes, cuts: list[int], coding: str) -> None:
    encoded = gzip.compress(body) if coding == "g" else zlib.compress(body)
    decoder = Decoder("gzip" if coding == "g" else "deflate")
    marks = [0, *sorted(min(cut, len(encoded)) for cut in cuts), len(encoded)]
    pieces = [piece for start, end in itertools.pairwise(marks) for piece in decoder.feed(encoded[start:end])]
    decoder.finish()
    assert b"".join(pieces) == body
    assert max(map(len, pieces), default=0) <= PIECE_OCTETS


@given(data=st.lists(octets, max_size=5), coding=st.sampled_from(["gzip", "deflate"]))
def test_damaged_encodings_are_said_to_be(data: list[bytes], coding: str) -> None:
    decoder = Decoder(coding)
    with contextlib.suppress(CodingError):
        for piece in data:
            list(decoder.feed(piece))
        decoder.finish()
