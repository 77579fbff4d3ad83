"""The object as raw slices: strict syntax, nothing lost (spec messages.md 1)."""

from __future__ import annotations

import json

import msgspec
import pytest

from relayq.model.members import (
    InvalidBodyError,
    decode_members,
    decode_octets,
    decode_some,
    decode_text,
    decode_value,
    encode_members,
    encode_name,
    slice_array,
    slice_object,
)


def nested(levels: int) -> bytes:
    """An object with that many levels, itself included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    "value",
    [
        b"12345678901234567890",
        b"9" * 6000,
        b"-0",
        b"1.10",
        b"0.1e-7",
        b"1E5",
        b"1e400",
        b"-1.0E+400",
        b"3.0",
        b'"2525"',
        rb'"\u00e9\/\"\\\b\f\n\r\t"',
        rb'"\ud83d\ude00"',
        rb'"\ud83d"',
        rb'"\uDC00 and \uD83D"',
        rb'"\udc00\ud83d\ude00\ud83d"',
        rb'"\\ud83d \\\ud83d \\\\udc00"',
        rb'["\ud83d",{"\udead":"\uDEAD"}]',
        '"é 例 \u2028 \U0001f600"'.encode(),
        b'"\x7f"',
        b"[ 1 ,\t2\r\n, [ ] ]",
        b'{ "b" : 1.10 , "b" : 2, "a" : null }',
        b"null",
        b"true",
        b"false",
        b'""',
        b"[]",
        b"{}",
    ],
)
def test_a_value_leaves_as_it_came(value: bytes) -> None:
    members = decode_members(b' { "first" : 1, "kept" :\t' + value + b' , "last":2 } \r\n')

    assert bytes(members["kept"]) == value
    assert encode_members(members) == b'{"first":1,"kept":' + value + b',"last":2}'


def test_the_order_of_members_is_kept() -> None:
    names = [f"name{number * 7919 % 100}" for number in range(100)]
    body = json.dumps(dict.fromkeys(names, 1), separators=(",", ":")).encode()

    assert list(decode_members(body)) == names
    assert encode_members(decode_members(body)) == body


def test_a_name_given_twice_keeps_its_first_place_and_its_last_value() -> None:
    members = decode_members(b'{"a":1,"b":{"x":1,"x":2},"a":[3]}')

    assert encode_members(members) == b'{"a":[3],"b":{"x":1,"x":2}}'


def test_a_name_is_the_same_however_it_is_escaped() -> None:
    assert list(decode_members(rb'{"recip\u0069ent":1,"\/":2}')) == ["recipient", "/"]


def test_names_are_told_apart_by_case_and_blanks() -> None:
    assert list(decode_members(b'{"mime":1,"Mime":2,"MIME":3,"mime ":4,"":5}')) == ["mime", "Mime", "MIME", "mime ", ""]


@pytest.mark.parametrize(
    "name", [r"\ud83d", r"\udc00", r"a\udc00b", r"\udc00\ud83d", r"\ud83dx\\ud83d", r"\ud83d\ud83d"]
)
def test_a_name_may_hold_half_a_surrogate_pair(name: str) -> None:
    body = b'{"a":"\\udfff","' + name.encode() + b'":[1, 2],"z":1}'

    members = decode_members(body)

    assert list(members) == ["a", json.loads(f'"{name}"'), "z"]
    assert encode_members(members) == body


def test_names_with_half_a_pair_that_are_equal_are_one() -> None:
    assert encode_members(decode_members(rb'{"\ud83d":1,"b":2,"\uD83D":3}')) == rb'{"\ud83d":3,"b":2}'


def test_a_whole_pair_in_a_name_is_one_character() -> None:
    assert list(decode_members(rb'{"\ud83d\ude00":"\udead"}')) == ["\U0001f600"]


def test_a_byte_order_mark_is_skipped_once() -> None:
    assert encode_members(decode_members(b'\xef\xbb\xbf{"a":1}')) == b'{"a":1}'
    with pytest.raises(InvalidBodyError):
        decode_members(b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf",
        b"[]",
        b'"text"',
        b"1",
        b"true",
        b"null",
        b"{",
        b"}",
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1,',
        b'{"a":1,}',
        b'{,"a":1}',
        b'{"a":1,,"b":2}',
        b'{"a":[1,]}',
        b'{"a":{"b":1,}}',
        b'{"a":[1 2]}',
        b'{"a" 1}',
        b'{"a":{"b" 1}}',
        b"{a:1}",
        b"{1:1}",
        b"{'a':1}",
        b"{\"a\":'x'}",
        b'{"a":1 /* comment */}',
        b'{"a":1} // comment',
        b'# {"a":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":[NaN]}',
        b'{"a":nul}',
        b'{"a":True}',
        b'{"a":undefined}',
        b'{"a":01}',
        b'{"a":-01}',
        b'{"a":[00]}',
        b'{"a":1.}',
        b'{"a":.5}',
        b'{"a":-}',
        b'{"a":+1}',
        b'{"a":1e}',
        b'{"a":1e+}',
        b'{"a":0x10}',
        b'{"a":1_000}',
        b'{"a":"x}',
        b'{"a":"\n"}',
        b'{"a":"\t"}',
        b'{"a":["\x00"]}',
        b'{"\x1f":1}',
        rb'{"a":"\q"}',
        rb'{"a":"\x41"}',
        rb'{"a":"\u12"}',
        rb'{"a":"\u12G4"}',
        rb'{"a":"\u+123"}',
        rb'{"a":{"\q":1}}',
        b'{"a":"x\\',
        b'{"a":1}{"a":1}',
        b'{"a":1} x',
        b'{"a":1},',
        b'{"a":1}\x00',
        b'{"a":1}\x0c',
        b'\x0b{"a":1}',
        b'{"a":1}\xc2\xa0',
        b'{"a":1}\xef\xbb\xbf',
    ],
)
def test_what_is_no_json_object_is_refused_with_and_without_half_a_pair(body: bytes) -> None:
    with_half_a_pair = body.replace(b'"a"', rb'"\udc00a"')

    for text in (body, with_half_a_pair):
        with pytest.raises(InvalidBodyError):
            decode_members(text)


@pytest.mark.parametrize(
    "body",
    [rb'{"a":"\ud83d"', rb'{"a":1\ud83d}', rb'{"a":\ud83d}', rb'\ud83d{"a":1}', rb'{"\ud83d":1}x', rb'{"a":tru\ud83d}'],
)
def test_half_a_pair_excuses_nothing_else(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        decode_members(body)


@pytest.mark.parametrize(
    ("octets", "place"),
    [(b"\xff", 6), (b"\xed\xa0\xbd", 6), (b"\xc0\xaf", 6), (b"\xf5\x80\x80\x80", 6), (b"ok \xe9", 9), (b"\xe2\x82", 6)],
)
def test_what_is_not_utf8_is_refused_wherever_it_is(octets: bytes, place: int) -> None:
    with pytest.raises(InvalidBodyError, match=f"not UTF-8 at octet {place}"):
        decode_members(b'{"a":"' + octets + b'"}')


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_another_charset_is_never_guessed(charset: str) -> None:
    with pytest.raises(InvalidBodyError):
        decode_members('{"a":"é"}'.encode(charset))


def test_128_levels_are_allowed() -> None:
    assert encode_members(decode_members(nested(128))) == nested(128)
    with pytest.raises(InvalidBodyError, match="deeper than 128"):
        decode_members(nested(129))


def test_levels_of_objects_and_arrays_count_alike() -> None:
    inside = b'{"x":[' * 63
    closing = b"]}" * 63

    assert decode_members(b'{"a":' + inside + b"1" + closing + b"}")
    assert decode_members(b'{"a":[' + inside + b"1" + closing + b"]}")
    with pytest.raises(InvalidBodyError, match="deeper than 128"):
        decode_members(b'{"a":[{"y":' + inside + b"1" + closing + b"}]}")


@pytest.mark.parametrize(
    "body",
    [
        nested(1_000_000),
        b'{"a":' * 1_000_000,
        b'{"a":' + b"[" * 1_000_000,
        rb'{"\ud83d":' + nested(1000) + b"}",
        rb'{"\ud83d":' + nested(1_000_000) + b"}",
    ],
)
def test_nesting_that_no_parser_could_follow_is_refused_in_the_same_way(body: bytes) -> None:
    with pytest.raises(InvalidBodyError, match="deeper than 128"):
        decode_members(body)


def test_brackets_in_strings_and_side_by_side_are_no_levels() -> None:
    value = b'["' + b"[{" * 500 + rb"\"[[\\" + b'",' + b"[]," * 500 + b'{"[":"["}]'

    assert bytes(decode_members(b'{"a":' + value + b"}")["a"]) == value


def test_a_megabyte_with_half_a_pair_is_cut_as_well() -> None:
    value = b'"' + b"x" * 1_000_000 + rb"\udc00" + b'"'

    assert bytes(decode_members(b'{"a":' + value + b"}")["a"]) == value


def test_members_are_changed_in_place_dropped_and_added_in_order() -> None:
    members = decode_members(b'{"a":1,"mime":"x","results":[],"z":2}')
    changes = {"results": b"[1]", "delayed": b'"d"', "seen": b'"s"', "key": b'"k"'}

    assert encode_members(members, changes, ("mime",)) == (
        b'{"a":1,"results":[1],"z":2,"delayed":"d","seen":"s","key":"k"}'
    )
    assert encode_members(members, {}, ("a", "mime", "results", "z")) == b"{}"
    assert encode_members({}, {"a": b"1"}) == b'{"a":1}'
    assert list(members) == ["a", "mime", "results", "z"]


def test_names_are_written_as_utf8_with_the_escapes_json_needs() -> None:
    assert encode_name('é"\\\n\x00') == '"é\\"\\\\\\n\\u0000":'.encode()
    assert encode_name("x" * 10_000) == b'"' + b"x" * 10_000 + b'":'
    assert encode_name("\ud83dé") == b'"\\ud83d\\u00e9":'


def test_names_beyond_the_cache_are_written_all_the_same() -> None:
    names = {f"flood{number}": msgspec.Raw(b"1") for number in range(5000)}

    for _ in range(2):
        assert list(json.loads(encode_members(names))) == list(names)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"1", 1),
        (b"9" * 40, int("9" * 40)),
        (b"9" * 6000, float("inf")),
        (b"-1e400", float("-inf")),
        (b"1e-400", 0.0),
        (b'"\\u00e9"', "é"),
        (b"[1,null]", [1, None]),
        (
            b'[{"a":1e400},"\\ud83d\\ude00",' + b"9" * 6000 + b',-2.5,"\xc3\xa9"]',
            [{"a": float("inf")}, "😀", float("inf"), -2.5, "é"],
        ),
        (b'{"a":true}', {"a": True}),
    ],
)
def test_a_slice_becomes_a_plain_value(raw: bytes, value: object) -> None:
    assert decode_value(msgspec.Raw(raw)) == value


def test_what_cannot_be_decoded_is_named_without_its_text() -> None:
    with pytest.raises(ValueError, match=r"^holds half a surrogate pair$"):
        decode_value(msgspec.Raw(rb'"secret\udc00"'))
    with pytest.raises(ValueError, match=r"^holds half a surrogate pair$"):
        decode_value(msgspec.Raw(rb'[1e400,"\\\udc00"]'))
    with pytest.raises(ValueError, match=r"^expected a string$"):
        decode_text(msgspec.Raw(b"4711"))
    with pytest.raises(ValueError, match=r"^holds half a surrogate pair$"):
        decode_text(msgspec.Raw(rb'"\ud83d"'))
    with pytest.raises(ValueError, match=r"^expected an array$"):
        slice_array(msgspec.Raw(b"{}"))


def test_an_inner_array_is_cut_like_the_outer_object() -> None:
    entries = slice_array(msgspec.Raw(rb'["\udc00", {"a":"\ud83d\ude00\\ud83d"},1e400,[ 1 ]]'))

    assert [bytes(raw) for raw in entries] == [rb'"\udc00"', rb'{"a":"\ud83d\ude00\\ud83d"}', b"1e400", b"[ 1 ]"]


def test_some_members_of_an_object_are_decoded_and_others_are_not_looked_at() -> None:
    raw = msgspec.Raw(rb'{"a":[1e400],"b":"\udc00","c":null}')

    assert decode_some(raw, ("c", "a", "x")) == {"c": None, "a": [float("inf")]}
    with pytest.raises(ValueError, match=r"^holds half a surrogate pair$"):
        decode_some(raw, ("b",))


def test_an_inner_object_is_cut_like_the_outer_one() -> None:
    members = slice_object(msgspec.Raw(rb'{"a":"\udc00","b":1e400}'))

    assert {name: bytes(raw) for name, raw in members.items()} == {"a": rb'"\udc00"', "b": b"1e400"}


@pytest.mark.parametrize(
    "line",
    [
        "Hello.\r\n",
        "Grüße, 你好, 📰\r\n",
        "a backslash at the end \\\n",
        "two \\\\\n",
        "\\n is no line end, \\\\n neither",
        "no line end at all ",
        '"quoted" \t\x01\n',
    ],
)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_large_string_decodes_like_a_small_one(line: str, is_ascii: bool) -> None:
    text = line * (900_000 // len(line))
    raw = msgspec.Raw(json.dumps(text, ensure_ascii=is_ascii).encode())
    assert decode_octets(raw) == text.encode()


def test_half_a_pair_in_a_large_string_is_told_as_in_a_small_one() -> None:
    raw = msgspec.Raw(json.dumps("line\n" * 200_000 + "\ud800" + "line\n" * 10).encode())
    with pytest.raises(ValueError, match="surrogate") as small:
        decode_text(raw)
    with pytest.raises(ValueError, match="surrogate") as large:
        decode_octets(raw)
    assert str(large.value) == str(small.value)


def test_what_is_no_string_is_no_octets() -> None:
    with pytest.raises(ValueError, match="expected a string"):
        decode_octets(msgspec.Raw(b"[" + b"1," * 300_000 + b"1]"))
