"""Finding and editing header fields in octets."""

from __future__ import annotations

from typing import Any

import pytest

from relayq.compose import HeaderEdits, HeaderError, edit_headers, parse_header_edits
from relayq.compose.headers import (
    MAX_SIGNED_OCTETS,
    HeaderSpan,
    field_name,
    field_value,
    find_fields,
    find_header,
    has_huge_header,
    replace_fields,
    split_fields,
)

EXAMPLE = b"From: old@example.com\r\nDummy: 1\r\nSubject: Hi\r\nfrom: second@example.com\r\n"


@pytest.mark.parametrize(
    ("mime", "span"),
    [
        (b"", (0, 0, 0)),
        (b"\r\n", (0, 0, 2)),
        (b"\nx", (0, 0, 1)),
        (b"no field\r\n\r\nx", (0, 0, 0)),
        (b" folded: first\r\n", (0, 0, 0)),
        (b": no name\r\n", (0, 0, 0)),
        (b"A: 1", (0, 4, 4)),
        (b"A: 1\r\n", (0, 6, 6)),
        (b"A: 1\r\n\r\n", (0, 6, 8)),
        (b"A: 1\r\n\r\nx: y\r\n", (0, 6, 8)),
        (b"A: 1\n\nx\n", (0, 5, 6)),
        (b"A: 1\n\r\nx\n", (0, 5, 7)),
        (b"A: 1\r\n b\r\n\tc\r\nB: 2\r\n\r\nx", (0, 20, 22)),
        (b"A: 1\r\n \r\n\r\nx", (0, 9, 11)),
        (b"A: 1\r\nbody at once\r\n\r\nx", (0, 6, 6)),
        (b"A: 1\r\n--boundary:x\r\n", (0, 6, 6)),
        (b"--A: 1\r\n", (0, 0, 0)),
        (b"A \t: 1\r\n\r\n", (0, 8, 10)),
        (b"A: 1\r\nB\xc3\xbc: 2\r\n\r\n", (0, 6, 6)),
        (b"From x@y Sat\r\nA: 1\r\n\r\nx", (14, 20, 22)),
        (b">From x@y Sat\r\nA: 1\r\n\r\nx", (15, 21, 23)),
        (b"From now on\r\n\r\nx", (0, 0, 0)),
        (b"From here", (0, 0, 0)),
        (b"From : x\r\n\r\ny", (0, 10, 12)),
        (b"A: 1\r\n\rB: 2\r\n", (0, 6, 6)),
    ],
)
def test_find_header(mime: bytes, span: tuple[int, int, int]) -> None:
    assert find_header(mime) == span
    assert find_header(b"X: y\r\n\r\n" + mime, 8) == tuple(8 + offset for offset in span)
    assert find_header(mime + b"Z: 1\r\n\r\nz", 0, len(mime)) == span


def test_a_span_knows_whether_it_is_separated() -> None:
    assert HeaderSpan(0, 6, 8).has_separator
    assert not HeaderSpan(0, 6, 6).has_separator


def test_fields() -> None:
    block = b"A: 1\r\n two\r\nb : x\nCC:\r\n\tz: y\r\na:9"
    fields = split_fields(block)
    assert fields == [b"A: 1\r\n two\r\n", b"b : x\n", b"CC:\r\n\tz: y\r\n", b"a:9"]
    assert [field_name(field) for field in fields] == [b"a", b"b", b"cc", b"a"]
    assert [field_value(field) for field in fields] == [b"1 two", b"x", b"z: y", b"9"]
    assert find_fields(block, b"a") == [fields[0], fields[3]]
    assert find_fields(block, b"z") == []
    assert find_fields(block, b"c") == []
    assert find_fields(block, b"b") == [fields[1]]
    assert split_fields(b"") == []


def test_replace_fields() -> None:
    block = b"A: 1\r\nB: 2\r\na: 3\r\nC: 4\r\n"
    assert replace_fields(block, {}) == block
    assert replace_fields(block, {b"a": b"A: x\r\n"}) == b"A: x\r\nB: 2\r\nC: 4\r\n"
    assert replace_fields(block, {b"a": None, b"d": b"D: y\r\n", b"e": None}) == b"B: 2\r\nC: 4\r\nD: y\r\n"
    assert replace_fields(b"A: 1", {b"b": b"B: 2\r\n"}) == b"A: 1\r\nB: 2\r\n"
    assert replace_fields(b"", {b"b": b"B: 2\r\n"}) == b"B: 2\r\n"


@pytest.mark.parametrize("rest", [b"", b"\r\n", b"\r\nbody: x\r\nfrom: body\r\n", b"no field\r\n"])
def test_worked_example_of_the_specification(rest: bytes) -> None:
    edits = parse_header_edits(
        {
            "remove": ["dummy", "bcc"],
            "replace": {"from": "New <n@example.com>"},
            "update": {"x-none": "1"},
            "prepend": {"X-Batch": ["7", "8"]},
            "append": {"X-End": "ü"},
        }
    )
    assert edit_headers(EXAMPLE + rest, edits) == (
        b"X-Batch: 7\r\nX-Batch: 8\r\nfrom: New <n@example.com>\r\nSubject: Hi\r\nX-End: =?utf-8?b?w7w=?=\r\n" + rest
    )


@pytest.mark.parametrize(
    ("edits", "header"),
    [
        ({}, EXAMPLE),
        (None, EXAMPLE),
        ([], EXAMPLE),
        ({"remove": "FROM"}, b"Dummy: 1\r\nSubject: Hi\r\n"),
        ({"remove": ["x"], "unknown": 1, "replace": [], "update": None}, EXAMPLE),
        ({"remove": ["from", "dummy", "subject"]}, b""),
        ({"append": {"A": 1}, "add": {"B": True}}, EXAMPLE + b"A: 1\r\nB: true\r\n"),
        ({"prepend": {"B": 1.5, "A": 12345678901234567890123}}, b"B: 1.5\r\nA: 12345678901234567890123\r\n" + EXAMPLE),
        ({"update": {"FROM": "x"}}, b"FROM: x\r\nDummy: 1\r\nSubject: Hi\r\n"),
        ({"replace": {"X": ["1", "2"]}}, EXAMPLE + b"X: 1\r\nX: 2\r\n"),
        ({"replace": {"dummy": ["1", "2"]}}, EXAMPLE.replace(b"Dummy: 1\r\n", b"dummy: 1\r\ndummy: 2\r\n")),
        ({"replace": {"dummy": []}}, EXAMPLE.replace(b"Dummy: 1\r\n", b"")),
        ({"replace": {"A": "1"}, "update": {"a": "2"}}, EXAMPLE + b"a: 2\r\n"),
        ({"remove": "dummy", "prepend": {"Dummy": "2"}}, b"Dummy: 2\r\n" + EXAMPLE.replace(b"Dummy: 1\r\n", b"")),
        ({"remove": "x", "append": {"X": "1"}}, EXAMPLE + b"X: 1\r\n"),
        ({"replace": {"A": "1", "a": "2"}}, EXAMPLE + b"a: 2\r\n"),
        ({"append": {"X": ""}}, EXAMPLE + b"X: \r\n"),
        ({"append": {"X": "{$name}"}}, EXAMPLE + b"X: {$name}\r\n"),
    ],
)
def test_edits(edits: Any, header: bytes) -> None:
    body = b"\r\nFrom: not a header\r\n"
    assert edit_headers(EXAMPLE + body, parse_header_edits(edits)) == header + body


@pytest.mark.parametrize(
    ("mime", "edited"),
    [
        (b"", b"X: 1\r\n\r\n"),
        (b"just text\r\n", b"X: 1\r\n\r\njust text\r\n"),
        (b"\r\ntext\r\n", b"X: 1\r\n\r\ntext\r\n"),
        (b"A: 1\r\ntext\r\n", b"A: 1\r\nX: 1\r\ntext\r\n"),
        (b"A: 1", b"A: 1\r\nX: 1\r\n"),
        (b"From a@b\r\nA: 1\r\n\r\n", b"From a@b\r\nA: 1\r\nX: 1\r\n\r\n"),
    ],
)
def test_messages_with_odd_headers(mime: bytes, edited: bytes) -> None:
    assert edit_headers(mime, parse_header_edits({"append": {"X": "1"}})) == edited
    assert edit_headers(mime, parse_header_edits({"replace": {"X": "1"}})) == edited
    assert edit_headers(mime, HeaderEdits()) == mime


def test_only_what_was_asked_for_changes() -> None:
    odd = b"A :1\r\nB:\t\x80 \r\n   x \r\nC:\n y\r\n"
    assert edit_headers(odd + b"\r\nx", parse_header_edits({"append": {"D": "1"}})) == odd + b"D: 1\r\n\r\nx"


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ("x", "headers: expected an object"),
        ([1], "headers: expected an object"),
        ({"remove": 1}, "headers.remove: expected a name or an array of names"),
        ({"remove": [1]}, "headers.remove: not a field name"),
        ({"remove": "a b"}, "headers.remove: not a field name"),
        ({"remove": ""}, "headers.remove: not a field name"),
        ({"replace": "x"}, "headers.replace: expected an object"),
        ({"update": {"X": None}}, "headers.update.X: expected a string, a number or a boolean"),
        ({"update": {"X": [["y"]]}}, "headers.update.X: expected a string, a number or a boolean"),
        ({"prepend": {"X": {}}}, "headers.prepend.X: expected a string, a number or a boolean"),
        ({"append": {"X:": "y"}}, "headers.append.X:: not a field name"),
        ({"append": {"Ü": "y"}}, r"headers.append.\xdc: not a field name"),
        ({"append": {"X" * 256: "y"}}, f"headers.append.{'X' * 60}: not a field name"),
        ({"add": {"X": "a\rb"}}, "headers.add.X: CR, LF or NUL in a value"),
        ({"append": {"X": "a\nb"}}, "headers.append.X: CR, LF or NUL in a value"),
        ({"append": {"X": "ü\r\nBcc: x"}}, "headers.append.X: CR, LF or NUL in a value"),
        ({"append": {"X": "a\0b"}}, "headers.append.X: CR, LF or NUL in a value"),
        ({"append": {"X": float("inf")}}, "headers.append.X: expected a string, a number or a boolean"),
    ],
)
def test_bad_edits(edits: Any, reason: str) -> None:
    with pytest.raises(HeaderError) as caught:
        parse_header_edits(edits)
    assert str(caught.value) == reason


M = MAX_SIGNED_OCTETS
FIELDS = b"X: y\r\n" * (M // 6)


@pytest.mark.parametrize(
    ("mime", "is_huge"),
    [
        (b"", False),
        (FIELDS + b"\r\n", False),
        (FIELDS + b"\r\n" + b"body\r\n" * M, False),
        (FIELDS + b"X: y\r\n\r\n", True),
        (FIELDS + b"no field", False),
        (FIELDS + b"X" * M + b": y\r\n", True),
        (FIELDS + b"X" * M + b" y\r\n", False),
        (FIELDS[:-60] + b"X" * M + b": y\r\n", True),
        (b"X" * M + b"X: y\r\n", True),
        (b"From x\r\n" + b"X" * M + b": y\r\n", True),
        (b"x" * 2 * M, False),
        (b"body\r\n" * M, False),
        (b"X: y" + b"\r\n y" * M, True),
    ],
)
def test_a_huge_header_is_told_without_reading_it(mime: bytes, *, is_huge: bool) -> None:
    assert has_huge_header(mime) is is_huge
    assert (find_header(mime).end > M) is is_huge
