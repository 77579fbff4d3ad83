"""Any text into headers and parameters and back."""

from __future__ import annotations

import email
import email.header
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.compose import HeaderError, encode_field, parse_header_edits
from relayq.compose.header_values import decode_octets, decode_words, encode_display_name, encode_words, fold_field
from relayq.compose.headers import find_header, split_fields
from relayq.compose.parameters import encode_parameter_field, parse_parameters

clean = st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")
values = st.one_of(
    st.text(clean, max_size=300),
    st.lists(
        st.sampled_from([" ", "  ", "\t", "word", "x" * 80, "ü", "=?utf-8?q?x?=", "=?", '"', ",", "<a@b.test>"])
    ).map("".join),
)
names = st.sampled_from(["X", "Subject", "From", "To", "X-" + "y" * 60, "z" * 200])


def unfold(field: bytes) -> str:
    return field.decode().replace("\r\n", "").partition(":")[2].removeprefix(" ")


@given(names, values)
def test_a_field_is_one_field_and_says_what_was_given(name: str, value: str) -> None:
    field = encode_field(name, value)
    span = find_header(field)
    assert span == (0, len(field), len(field))
    assert split_fields(field) == [field]
    lines = field.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) <= 998 for line in lines)
    assert all(line.strip(b" \t") for line in lines)
    if name == "X" and "=?" not in value:
        assert decode_words(unfold(field)) == value


@given(st.text(max_size=50), names)
def test_what_could_break_out_is_refused(value: str, name: str) -> None:
    if any(character in value for character in "\r\n\0"):
        with pytest.raises(HeaderError):
            encode_field(name, value)
        with pytest.raises(HeaderError):
            parse_header_edits({"append": {name: value}})
    else:
        assert encode_field(name, value).count(b"\r\n ") + 1 >= encode_field(name, value).count(b"\r\n") - value.count(
            "\t"
        )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200), st.integers(0, 90), st.booleans())
def test_encoded_words_say_what_was_given(text: str, column: int, is_phrase: bool) -> None:
    words = encode_words(text, column=column, is_phrase=is_phrase)
    assert all(len(word) <= 75 for word in words)
    joined = " ".join(words)
    assert decode_words(joined) == text
    assert "".join(part.decode("utf-8") for part, _ in email.header.decode_header(joined)) == text
    assert all(word.encode().decode("ascii") for word in words)


@given(st.text(clean, max_size=100))
def test_display_names_are_read_by_the_standard_library(name: str) -> None:
    written = encode_display_name(name) + " <a@b.test>"
    read, address = email.utils.parseaddr(written)
    assert address == "a@b.test"
    if name.isascii() and name.isprintable():
        assert read.split() == name.split()


@given(st.lists(st.sampled_from(["word", " ", "  ", "\t", "x" * 77, "y" * 78, "z" * 90])).map("".join))
def test_folding_loses_no_blank(value: str) -> None:
    assert unfold(fold_field("X", value).encode()) == value


@given(st.binary(max_size=200))
def test_any_octets_have_a_header_text(value: bytes) -> None:
    assert isinstance(decode_octets(value), str)


@given(
    st.lists(
        st.sampled_from(["=?", "?=", "?", "utf-8", "q", "b", "=C3", "YQ", " ", "x", "iso-2022-jp", "utf-16", "*", "="])
    ).map("".join)
)
def test_anything_like_encoded_words_can_be_read(text: str) -> None:
    assert isinstance(decode_words(text), str)
    assert isinstance(decode_words(f"=?utf-7?q?{text}?= =?hz?b?{text}?="), str)


@given(values)
def test_parameters_come_back(value: str) -> None:
    field = encode_parameter_field("Content-Disposition", "attachment", [("filename", value), ("x", "1")])
    assert split_fields(field) == [field]
    unfolded = field.replace(b"\r\n", b"").partition(b": ")[2]
    assert parse_parameters(unfolded) == ("attachment", {"filename": value, "x": "1"})


@given(st.binary(max_size=300))
def test_any_octets_can_be_parsed_as_parameters(value: bytes) -> None:
    main, parameters = parse_parameters(value)
    assert main == main.lower()
    assert all(name == name.lower() for name in parameters)
