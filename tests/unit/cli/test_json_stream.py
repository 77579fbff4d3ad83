"""Objects are cut out of a stream byte for byte, whatever the pieces it arrives in."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.cli.json_stream import JsonObject, JsonObjectScanner, JsonStreamError

LIMIT = 1_000_000


def scan(octets: bytes, piece: int = 1 << 20, limit: int = LIMIT) -> list[JsonObject]:
    scanner = JsonObjectScanner(limit)
    found: list[JsonObject] = []
    for at in range(0, len(octets), piece):
        found += scanner.feed(octets[at : at + piece])
    scanner.finish()
    return found


TRICKY = (
    b'{}',
    b'{ "a" : 1.10, "b": [ {}, [], {"c": "}"} ] }',
    b'{"text":"quote \\" brace { backslash \\\\"}',
    b'{"lines":\n  {"x"\t:\r\n "y"}\n}',
    '{"name":"Zoë \\ud83d"}'.encode(),
    b'{"n":12345678901234567890123,"e":1e400}',
)  # fmt: skip


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("separator", [b"\n", b"", b" \r\n\t "])
def test_objects_come_out_as_they_went_in(piece: int, separator: bytes) -> None:
    assert [found.octets for found in scan(separator.join(TRICKY), piece)] == list(TRICKY)


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_lines_are_those_on_which_objects_begin(piece: int) -> None:
    found = scan(b'\n\n{"a":\n1}\n{}\n\n {"b":1} {}\n', piece)
    assert [each.line for each in found] == [3, 5, 7, 7]


@pytest.mark.parametrize("octets", [b"", b" \n\t\r ", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_nothing_is_nothing(octets: bytes) -> None:
    if octets == b"\xef\xbb\xbf":
        with pytest.raises(JsonStreamError):
            scan(octets, 1)
    else:
        assert scan(octets, 1) == []


@pytest.mark.parametrize("piece", [1, 2, 100])
def test_a_byte_order_mark_is_skipped(piece: int) -> None:
    assert scan(b"\xef\xbb\xbf{}", piece) == [JsonObject(b"{}", 1)]


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    "damage",
    [
        b'{"a":1',
        b'{"a":1,',
        b'{"a":',
        b'{"a',
        b'{"a\\',
        b'{"a":"x',
        b'{"a":1}}',
        b'{"a":[1}',
        b'{"a":}',
        b'{"a":01}',
        b'{"a":nan}',
        b'{"a":"\xff"}',
        b'{"a":"\\x"}',
        b'{a:1}',
        b"[1]",
        b'"text"',
        b"17",
        b"null",
        b"}",
        b"Subject: x",
    ],
)  # fmt: skip
def test_damage_is_reported_on_its_own_line_and_what_came_before_is_kept(damage: bytes, piece: int) -> None:
    stream = b'{"n":1}\n{"n":2}\n' + damage + b'\n{"n":4}\n{"n":5}\n'
    scanner = JsonObjectScanner(LIMIT)
    found: list[bytes] = []
    with pytest.raises(JsonStreamError) as caught:  # noqa: PT012 - which of the calls raises depends on the pieces
        for at in range(0, len(stream), piece):
            for each in scanner.feed(stream[at : at + piece]):
                found.append(each.octets)  # noqa: PERF401 - extend would lose what came before the error
        scanner.finish()
    assert caught.value.line == 3
    assert found[:2] == [b'{"n":1}', b'{"n":2}']
    assert len(found) <= 3


def test_an_incomplete_end_is_damage() -> None:
    with pytest.raises(JsonStreamError, match="ends inside an object") as caught:
        scan(b'{}\n{"a":1')
    assert caught.value.line == 2


@pytest.mark.parametrize("piece", [100, 1 << 20])
@pytest.mark.parametrize(
    "octets", [b'{"a":"' + b"x" * 2000 + b'"}', b'{"a":[' + b"1," * 1000 + b"1]}", b'{"a":"' + b"x" * 2000]
)
def test_size_is_bounded(octets: bytes, piece: int) -> None:
    with pytest.raises(JsonStreamError, match="larger than 1000 octets"):
        scan(octets, piece, limit=1000)


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(JsonStreamError, match="nested deeper"):
        scan(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_a_large_string_in_small_pieces_takes_linear_time() -> None:
    octets = b'{"a":"' + b"x" * 8_000_000 + b'\\n"}'
    started = time.process_time()
    assert len(scan(octets, 65_536, limit=10_000_000)) == 1
    assert time.process_time() - started < 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=4), max_size=5),
    st.booleans(),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
def test_any_objects_survive_any_pieces(values: list[object], ascii_only: bool, piece: int, indent: int | None) -> None:
    texts = [
        json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass") for value in values
    ]
    assert [found.octets for found in scan(b"\n".join(texts), piece)] == texts


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_octets_give_objects_or_an_error(octets: bytes, piece: int) -> None:
    try:
        found = scan(b'{"' + octets, piece)
    except JsonStreamError:
        return
    assert all(isinstance(json.loads(each.octets), dict) for each in itertools.islice(found, 3))
