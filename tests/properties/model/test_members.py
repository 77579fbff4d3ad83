"""What was not understood is kept, whatever it looks like (spec messages.md 1)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relayq.model import Attempt, DeliveryState, ResultType
from relayq.model.body import UndecodableBodyError, decode_body
from relayq.model.members import InvalidBodyError, decode_members, encode_members
from relayq.model.message_json import InvalidMessageError, ParseRules, append_attempt, parse_message
from relayq.model.properties import PARSERS
from relayq.model.result_json import encode_invalid_body

LOST = Attempt(state=DeliveryState.MESSAGE, result=ResultType.LOST, at=datetime(2031, 3, 1, tzinfo=UTC))
KNOWN_NAMES = [*PARSERS, "queues", "recipient", "envelope"]

blanks = st.text(" \t\r\n", max_size=2)
integers = st.integers(-(10**30), 10**30).map(str)
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,6})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
escapes = st.sampled_from(
    [r"\"", r"\\", r"\/", r"\b", r"\n", r"\u00e9", r"\uD83D\uDE00", r"\ud83d", r"\uDC00", r"\\ud83d", r"\u0000"]
)
pieces = (
    escapes
    | st.sampled_from("é\U0001f600")
    | st.text(st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]), max_size=4)
)
strings = st.lists(pieces, max_size=5).map(lambda parts: '"' + "".join(parts) + '"')
scalars = st.sampled_from(["null", "true", "false", '""', "[]", "{}", '"a@x.test"']) | integers | numbers | strings


def padded(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(blanks, values, blanks).map("".join)


def containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(padded(strings), padded(values)).map(":".join)
    arrays = st.lists(padded(values), max_size=4).map(lambda parts: "[" + ",".join(parts) + "]")
    objects = st.lists(member, max_size=4).map(lambda parts: "{" + ",".join(parts) + "}")
    return arrays | objects


values = st.recursive(scalars, containers, max_leaves=12)
names = strings | st.sampled_from(KNOWN_NAMES).map(lambda name: f'"{name}"')


def join(pairs: list[tuple[str, str]], space: str = "") -> bytes:
    return ("{" + ",".join(f"{space}{name}{space}:{space}{value}{space}" for name, value in pairs) + "}").encode()


def expected(pairs: list[tuple[str, str]]) -> dict[str, bytes]:
    """Last value at the first place of each name."""
    return {json.loads(name): value.encode() for name, value in pairs}


@given(st.lists(st.tuples(names, values), max_size=6), blanks)
def test_untouched_members_leave_byte_for_byte(pairs: list[tuple[str, str]], space: str) -> None:
    members = decode_members(join(pairs, space))
    again = decode_members(encode_members(members))

    for found in (members, again):
        assert list(found) == list(expected(pairs))
        assert {name: bytes(raw) for name, raw in found.items()} == expected(pairs)


@given(st.lists(st.tuples(names, values), max_size=6), st.sets(st.sampled_from(KNOWN_NAMES)), st.sets(names))
def test_changes_touch_nothing_else(pairs: list[tuple[str, str]], changed: set[str], dropped_names: set[str]) -> None:
    before = expected(pairs)
    dropped = {json.loads(name) for name in dropped_names} - changed
    changes = dict.fromkeys(sorted(changed), b'"changed"')

    after = decode_members(encode_members(decode_members(join(pairs)), changes, dropped))

    kept = {name: changes.get(name, value) for name, value in before.items() if name not in dropped}
    assert list(after) == list({**kept, **changes})
    assert {name: bytes(raw) for name, raw in after.items()} == {**kept, **changes}


def is_strict_object(body: bytes) -> bool:
    """What Python's own parser says, without its liberties."""

    def refuse(_: str) -> None:
        raise ValueError

    try:
        text = body.decode("utf-8").removeprefix("\ufeff")
        return isinstance(json.loads(text, parse_constant=refuse, parse_int=str, parse_float=str), dict)
    except ValueError:
        return False


@given(st.lists(st.tuples(names, values), max_size=4).map(join), st.data())
def test_damaged_objects_are_judged_as_another_parser_does(body: bytes, data: st.DataObject) -> None:
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=1) | st.sampled_from([b'"', b",", b"\\", b"}", b"{", b"\\ud83d"])
        )
        if not damaged:
            break
    judge(bytes(damaged))


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0dD8123e.- ntf', max_size=40).map(str.encode))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"\\ud83d":1}')
@example(b'{"a":"\\udc00\\ud83d"}')
def test_any_octets_are_judged_as_another_parser_does(body: bytes) -> None:
    judge(body)


def judge(body: bytes) -> None:
    try:
        members = decode_members(body)
    except InvalidBodyError:
        assert not is_strict_object(body)
        json.loads(encode_invalid_body(body, LOST, is_encoded=False))
    else:
        assert is_strict_object(body)
        assert is_strict_object(encode_members(members))


odd_values = values | st.sampled_from(
    [
        "1e400",
        "-1e999",
        "9" * 5000,
        r'"\ud83d"',
        r'["\udc00"]',
        '"2031-05-01 07:30:00"',
        "[[]]",
        '[{"from":1e400}]',
        '"x"',
        "{}",
    ]
)
inner_names = st.sampled_from(
    ["results", "dsn", "hostname", "port", "username", "password", "domain", "selector", "key", "expire", "headers",
     "notify", "ret", "orcpt", "envid", "time", "from"]
)  # fmt: skip
inner_objects = st.lists(st.tuples(inner_names.map(lambda name: f'"{name}"'), odd_values), max_size=5).map(
    lambda pairs: join(pairs).decode()
)


@given(
    st.dictionaries(st.sampled_from(KNOWN_NAMES), odd_values | inner_objects | inner_objects.map(lambda o: f"[{o}]")),
    st.booleans(),
)
def test_any_value_of_a_known_property_gives_a_message_or_says_what_is_wrong(
    given_values: dict[str, str], loose: bool
) -> None:
    pairs = [('"recipient"', '"a@x.test"'), ('"mime"', '"x"')]
    pairs += [(f'"{name}"', value) for name, value in given_values.items()]
    members = decode_members(join(pairs))
    try:
        message = parse_message(members, ParseRules(loose_envelope=loose, loose_recipient=loose))
    except InvalidMessageError as error:
        wrong = error.property_name
    else:
        wrong = ""
        assert message.mime or message.mime_object or message.key
    assert wrong in {"", *KNOWN_NAMES}
    results = encode_members(members, {"results": append_attempt(members, LOST)}, ("mime",))
    written: dict[str, Any] = json.loads(results, parse_int=str)
    assert written["results"][-1] == {"state": "message", "result": "lost", "time": "2031-03-01 00:00:00"}


@given(st.binary(max_size=80), st.sampled_from([None, "gzip", "", "utf-8", "deflate"]))
@example(b"\x1f\x8b\x08\x00", None)
def test_a_consumed_body_only_fails_in_three_ways(body: bytes, encoding: str | None) -> None:
    try:
        parse_message(decode_members(decode_body(body, encoding, 1000)), ParseRules())
    except (UndecodableBodyError, InvalidBodyError, InvalidMessageError):
        return
    pytest.fail("random octets were a message")


@given(values)
def test_a_raw_slice_is_the_value_another_decoder_reads(value: str) -> None:
    raw = decode_members(f'{{"a":{value}}}'.encode())["a"]

    assert isinstance(raw, msgspec.Raw)
    assert json.loads(bytes(raw), parse_float=str, parse_int=str) == json.loads(value, parse_float=str, parse_int=str)
