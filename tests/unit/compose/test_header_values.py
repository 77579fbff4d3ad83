"""Text to header fields and back."""

from __future__ import annotations

import email.header

import pytest

from relayq.compose import HeaderError, encode_field
from relayq.compose.header_values import (
    decode_octets,
    decode_words,
    encode_display_name,
    encode_mailbox,
    encode_words,
    fold_field,
)

RUSSIAN = "Привет, как дела? Это письмо "


def unfold(field: bytes) -> str:
    return field.decode().replace("\r\n", "").partition(": ")[2]


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("Subject", "Hi", "Subject: Hi"),
        ("Subject", "", "Subject: "),
        ("Subject", "  a  b\t", "Subject:   a  b\t"),
        ("Subject", "Bestelling nº 42 – verzonden", "Subject: =?utf-8?q?Bestelling_n=C2=BA_42_=E2=80=93_verzonden?="),
        ("Subject", "Dag Łukasz, nieuws", "Subject: =?utf-8?q?Dag_=C5=81ukasz,_nieuws?="),
        ("X-End", "ü", "X-End: =?utf-8?b?w7w=?="),
        ("X", "bell\x07", "X: =?utf-8?q?bell=07?="),
        ("X", "ab\x7f", "X: =?utf-8?b?YWJ/?="),
        ("X", "a_b?c=d é", "X: =?utf-8?b?YV9iP2M9ZCDDqQ==?="),
        ("X", "\ud83d broken pair", "X: =?utf-8?q?=3F_broken_pair?="),
        ("X", "=?utf-8?q?given?=", "X: =?utf-8?q?given?="),
        ("X", "x" * 75, "X: " + "x" * 75),
        ("X", "x" * 76, "X:\r\n " + "x" * 76),
        ("X", "x" * 78, "X: " + "x" * 78),
        ("X", "a " + "x" * 90 + " b", "X: a\r\n " + "x" * 90 + "\r\n b"),
        ("X", "a" * 74 + " b", "X: " + "a" * 74 + "\r\n b"),
        ("X", "a" * 73 + " b", "X: " + "a" * 73 + " b"),
        ("X", "a" * 73 + "  b", "X: " + "a" * 73 + "\r\n  b"),
        ("X", "a" * 75 + "    ", "X: " + "a" * 75 + "    "),
        ("X", " " * 100 + "a", "X: " + " " * 100 + "a"),
        ("X", "a\t" * 50, ("X: " + "a\t" * 37 + "a\r\n\t" + "a\t" * 12)),
        ("From", "Müller <m@bücher.example>", "From: =?utf-8?q?M=C3=BCller?= <m@xn--bcher-kva.example>"),
        ("to", '"Müller, Jörg" <j@x.test>, b@x.test', "to: =?utf-8?b?TcO8bGxlciwgSsO2cmc=?= <j@x.test>, b@x.test"),
        ("Cc", "Bob <b@x.test>, Zoë <z@x.test>", "Cc: Bob <b@x.test>, =?utf-8?q?Zo=C3=AB?= <z@x.test>"),
        ("Cc", '"B. Ob" <b@x.test>, Zoë <z@x.test>', 'Cc: "B. Ob" <b@x.test>, =?utf-8?q?Zo=C3=AB?= <z@x.test>'),
        ("From", "jörg@x.test", "From: jörg@x.test"),
        ("From", "Zoë z@x.test", "From: =?utf-8?q?Zo=C3=AB_z@x.test?="),
        ("From", "Zoë (a) <z@x.test>", "From: =?utf-8?q?Zo=C3=AB_(a)_<z@x.test>?="),
        ("From", "=?utf-8?q?Zo=C3=AB?= ü <z@x.test>", "From: =?utf-8?b?Wm/DqyDDvA==?= <z@x.test>"),
    ],
)
def test_encode_field(name: str, value: str, field: str) -> None:
    assert encode_field(name, value) == field.encode() + b"\r\n"


@pytest.mark.parametrize(
    "value",
    [
        "x" * 999,
        "word " * 10 + "x" * 1000,
        "ü" * 500,
        RUSSIAN * 20,
        "😀" * 60,
        "a" * 60 + "é",
        " " * 2000,
        " " * 998 + "x",
    ],
)
@pytest.mark.parametrize("name", ["X", "Subject", "X-" + "Long" * 60, "To"])
def test_long_values_come_back(name: str, value: str) -> None:
    field = encode_field(name, value)
    lines = field.removesuffix(b"\r\n").split(b"\r\n")
    assert all(line.strip() for line in lines)
    assert all(line.startswith(b" ") for line in lines[1:])
    assert max(map(len, lines)) <= (78 if "=?" in field.decode() and len(name) < 70 else 998)
    words = unfold(field).split(" ") if b"=?" in field else []
    assert all(len(word) <= 75 for word in words)
    assert decode_words(unfold(field)).strip(" ") == value.strip(" ")


def test_words_that_fit_the_first_line_use_it() -> None:
    lines = encode_field("Subject", RUSSIAN * 3).split(b"\r\n")
    assert lines[0].startswith(b"Subject: =?utf-8?b?")
    assert len(lines[0]) > 70


def test_words_behind_a_long_name_begin_on_the_next_line() -> None:
    name = "X-" + "y" * 58
    assert encode_field(name, "ü").startswith(name.encode() + b": =?utf-8?b?w7w=?=")
    assert encode_field(name, "ü" * 10).startswith(name.encode() + b":\r\n =?")


@pytest.mark.parametrize("value", ["a\r", "a\n b", "\0", "ü\r\n x", "x" * 999 + "\n"])
@pytest.mark.parametrize("name", ["X", "From"])
def test_no_value_breaks_out(name: str, value: str) -> None:
    with pytest.raises(HeaderError, match="CR, LF or NUL"):
        encode_field(name, value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "ü", "a\n", "a\0"])
def test_no_name_breaks_out(name: str) -> None:
    with pytest.raises(HeaderError, match="field name"):
        encode_field(name, "x")


def test_address_list_that_is_too_long_for_a_line_is_encoded_completely() -> None:
    field = encode_field("From", '"' + "x" * 999 + '" <a@b.test>, ü <c@d.test>')
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert b"@b.test" not in field.replace(b"\r\n", b"") or b"<a@b.test>?=" in field


@pytest.mark.parametrize(
    ("name", "address", "mailbox"),
    [
        ("", "a@b.test", "a@b.test"),
        ("Ann", "a@b.test", "Ann <a@b.test>"),
        ("Ann B Cee", "a@b.test", "Ann B Cee <a@b.test>"),
        ("Doe, John", "j@b.test", '"Doe, John" <j@b.test>'),
        ("Dr. Who", "j@b.test", '"Dr. Who" <j@b.test>'),
        (' "x\\y" ', "j@b.test", '" \\"x\\\\y\\" " <j@b.test>'),
        ("=?utf-8?q?x?=", "j@b.test", "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <j@b.test>"),
        ("Zoë, B", "j@bücher.example", "=?utf-8?b?Wm/DqywgQg==?= <j@xn--bcher-kva.example>"),
        ("a\x01", "j@b.test", "=?utf-8?q?a=01?= <j@b.test>"),
    ],
)
def test_encode_mailbox(name: str, address: str, mailbox: str) -> None:
    assert encode_mailbox(name, address) == mailbox


@pytest.mark.parametrize(
    ("name", "address"), [("x", "no address"), ("x", "a@b.test>\r\n"), ("a\nb", "a@b.test"), ("", "")]
)
def test_bad_mailboxes(name: str, address: str) -> None:
    with pytest.raises(HeaderError):
        encode_mailbox(name, address)


def test_a_phrase_lets_fewer_characters_stand_for_themselves() -> None:
    assert encode_words("a,(é)aaaaaaaaa")[0] == "=?utf-8?q?a,(=C3=A9)aaaaaaaaa?="
    name = "a,(é)" + "a" * 40
    assert encode_display_name(name) == f"=?utf-8?q?a=2C=28=C3=A9=29{'a' * 40}?="


def test_fold_field_without_a_value() -> None:
    assert fold_field("X", "") == "X: \r\n"


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain = ? text", "plain = ? text"),
        ("=?iso-8859-1?q?Dag_=7B=24name=7D=2C_nieuws?=", "Dag {$name}, nieuws"),
        ("=?UTF-8?Q?a?= =?utf-8?b?Yg==?=", "ab"),
        ("=?utf-8?q?a?= \t =?utf-8?q?_b?=", "a b"),
        ("=?utf-8?q?a?= x =?utf-8?q?b?= ", "a x b "),
        ("x=?utf-8?q?a?=y", "xay"),
        (" =?utf-8?q?a?=", " a"),
        ("=?utf-8*de?q?Gr=C3=BC?=", "Grü"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
        ("=?utf-8?b?w7w?=", "ü"),
        ("=?iso-8859-1?q?=FC?= =?utf-8?q?=C3=BC?=", "üü"),
        ("=?utf-8?q?=FF?=", "\ufffd"),
        ("=?utf-8?q?a b?=", "a b"),
        ("=?utf-8?q??=", ""),
        ("=?x-unknown?q?a?=", "=?x-unknown?q?a?="),
        ("=?utf-8?q?=ZZ?=", "=?utf-8?q?=ZZ?="),
        ("=?utf-8?b?!!!?=", "=?utf-8?b?!!!?="),
        ("=?utf-8?b?A?=", "=?utf-8?b?A?="),
        ("=?utf-8?q?ü?=", "=?utf-8?q?ü?="),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?utf-8?q?a?= =?x-unknown?q?b?= =?utf-8?q?c?=", "a =?x-unknown?q?b?= c"),
        ("=?iso-2022-jp?b?GyRCJDMbKEI=?=", "こ"),
        ("=?utf-8?q?a?", "=?utf-8?q?a?"),
    ],
)
def test_decode_words(text: str, decoded: str) -> None:
    assert decode_words(text) == decoded


def test_decode_octets() -> None:
    assert decode_octets(b"K\xc3\xb6ln =?utf-8?q?=C3=BC?=") == "Köln ü"
    assert decode_octets(b"5 \x80 \x81") == "5 € \x81"


@pytest.mark.parametrize("text", ["Grüße", RUSSIAN * 3, "a = b? _c_ ü", "😀" * 20])
def test_the_standard_library_reads_the_words(text: str) -> None:
    words = " ".join(encode_words(text))
    parts = email.header.decode_header(words)
    assert "".join(part.decode(charset) for part, charset in parts) == text
