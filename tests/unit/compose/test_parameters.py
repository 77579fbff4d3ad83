"""Parameters of Content-Type and Content-Disposition."""

from __future__ import annotations

import email
import email.utils
import time

import pytest

from relayq.compose import HeaderError
from relayq.compose.parameters import encode_parameter, encode_parameter_field, parse_parameters, with_charset


@pytest.mark.parametrize(
    ("value", "main", "parameters"),
    [
        ("", "", {}),
        ("Text/Plain", "text/plain", {}),
        ("text/plain;", "text/plain", {}),
        (" text/plain (a comment) ; charset=utf-8", "text/plain", {"charset": "utf-8"}),
        ("text/plain; CharSet = utf-8 ", "text/plain", {"charset": "utf-8"}),
        ("text/plain; charset=us-ascii (Plain text)", "text/plain", {"charset": "us-ascii"}),
        ('text/plain; charset="utf-8" (c); x=1', "text/plain", {"charset": "utf-8", "x": "1"}),
        (r'a/b; n="q\"u\\o;te"; m=1', "a/b", {"n": 'q"u\\o;te', "m": "1"}),
        ("a/b; filename=my file.pdf; x=1", "a/b", {"filename": "my file.pdf", "x": "1"}),
        ("a/b; x; y=; =z; ;; u=1", "a/b", {"y": "", "u": "1"}),
        ('a/b; x="open; y=1', "a/b", {"x": "open; y=1"}),
        ('a/b; x="open\\', "a/b", {"x": "open"}),
        ("a/b; x=1; X=2", "a/b", {"x": "1"}),
        ("a/b x=1; y=2", "a/b x=1", {"y": "2"}),
        ("a/b; n*=utf-8'de'Gr%C3%BC%C3%9Fe", "a/b", {"n": "Grüße"}),
        ("a/b; n*=utf-8''%C3%BC; n=plain", "a/b", {"n": "ü"}),
        ("a/b; n=plain; n*=utf-8''%C3%BC", "a/b", {"n": "ü"}),
        ('a/b; n*0=ab; n*1="c d"; n*2=e', "a/b", {"n": "abc de"}),
        ("a/b; n*1=b; n*0=a; n*3=d", "a/b", {"n": "ab"}),
        ("a/b; n*0*=utf-8''%C3; n*1*=%BC; n*2=%C3", "a/b", {"n": "ü%C3"}),
        ("a/b; n*=x-unknown''%C3%BC", "a/b", {"n": "ü"}),
        ("a/b; n*=iso-8859-1''%FC", "a/b", {"n": "ü"}),
        ("a/b; n*=%FC", "a/b", {"n": "\ufffd"}),
        ("a/b; n*1=only", "a/b", {}),
        ("a/b; *=1; n*x=2; **=3", "a/b", {"*": "1", "n*x": "2", "**": "3"}),
        ("a/b; n*0*0=1", "a/b", {"n*0*0": "1"}),
        ("a/b; n*9999=1", "a/b", {"n*9999": "1"}),
    ],
)
def test_parse_parameters(value: str, main: str, parameters: dict[str, str]) -> None:
    assert parse_parameters(value.encode()) == (main, parameters)


def test_octets_that_are_not_utf8_survive() -> None:
    assert parse_parameters(b"a/b; boundary=x\xff")[1]["boundary"].encode("utf-8", "surrogateescape") == b"x\xff"


def test_number_and_length_are_bounded() -> None:
    many = b"a/b" + b"".join(b"; p%d=1" % number for number in range(1000))
    assert len(parse_parameters(many)[1]) == 100
    assert len(parse_parameters(b"a/b; x=" + b"y" * 100_000)[1]["x"]) < 10_000


@pytest.mark.parametrize("unit", [b';a="', b";", b" ", b"\\", b'"', b";a=", b"(", b"; \t", b"a", b'="\\'])
def test_hostile_values_take_no_time(unit: bytes) -> None:
    started = time.process_time()
    parse_parameters(b"a/b" + unit * 100_000)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("name", "value", "pieces"),
    [
        ("charset", "utf-8", ["charset=utf-8"]),
        ("charset", "a b", ['charset="a b"']),
        ("x", "", ['x=""']),
        ("filename", "a.pdf", ['filename="a.pdf"']),
        ("name", 'a"\\b', [r'name="a\"\\b"']),
        ("filename", "Größe.pdf", ['filename="Gr__e.pdf"', "filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf"]),
        ("filename", "a\tb", ['filename="a_b"', "filename*=utf-8''a%09b"]),
        ("filename", "ü'(*)%\ud800", ['filename="_\'(*)%_"', "filename*=utf-8''%C3%BC%27%28%2A%29%25%3F"]),
        ("boundary", "=_1", ['boundary="=_1"']),
    ],
)
def test_encode_parameter(name: str, value: str, pieces: list[str]) -> None:
    assert encode_parameter(name, value) == pieces


@pytest.mark.parametrize(
    "value", ["Größe" * 30, "ü" * 200, "a b" * 60 + "é", "short.pdf", "name with blanks.pdf", "x" * 200]
)
def test_a_file_name_comes_back(value: str) -> None:
    field = encode_parameter_field("Content-Disposition", "attachment", [("filename", value)])
    lines = field.split(b"\r\n")
    assert lines[-1] == b""
    assert all(line.startswith(b" ") for line in lines[1:-1])
    assert all(len(line) <= 78 for line in lines if b"filename*" in line)
    unfolded = field.replace(b"\r\n", b"").partition(b": ")[2]
    assert parse_parameters(unfolded) == ("attachment", {"filename": value})
    message = email.message_from_bytes(field + b"\r\n")
    names = [given for name, given in message.get_params([], "content-disposition") if name == "filename"]
    assert value in [email.utils.collapse_rfc2231_value(given) for given in names]


def test_a_field_is_folded_between_parameters_only() -> None:
    field = encode_parameter_field("Content-Type", "application/pdf", [("name", "a b " * 20), ("x", "1")])
    assert field.decode() == 'Content-Type: application/pdf;\r\n name="' + "a b " * 20 + '";\r\n x=1\r\n'


@pytest.mark.parametrize(
    ("main", "parameters"),
    [
        ("attachment", [("filename", "a\r\nBcc: x")]),
        ("attachment", [("filename", "ü\0")]),
        ("attachment", [("a b", "x")]),
        ("attachment", [("", "x")]),
        ("text/plain\r\nX: y", []),
        ("tëxt/plain", []),
    ],
)
def test_nothing_breaks_out(main: str, parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(HeaderError):
        encode_parameter_field("Content-Type", main, parameters)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        (b"", b"Content-Type: text/html; charset=utf-8\r\n"),
        (b"Content-Type: text/html\r\n", b"Content-Type: text/html; charset=utf-8\r\n"),
        (b"content-type:Text/HTML ;\r\n", b"content-type:Text/HTML; charset=utf-8\r\n"),
        (b"Content-Type: text/html; charset=iso-8859-1; format=flowed\r\n",) * 2,
        (
            b'Content-Type: text/html;\r\n\tCharset = "x y" (c);\r\n a=b\r\n',
            b"Content-Type: text/html;\r\n\tCharset = utf-8 (c);\r\n a=b\r\n",
        ),
        (b"Content-Type: text/html; charset*=us-ascii''x; a=b\r\n", b"Content-Type: text/html; charset=utf-8; a=b\r\n"),
        (b"Content-Type: text\r\n", b"Content-Type: text/html; charset=utf-8\r\n"),
        (b'Content-Type: text/html; x="open\r\n', b"Content-Type: text/html; charset=utf-8; x=open\r\n"),
    ],
)
def test_with_charset(field: bytes, changed: bytes) -> None:
    expected = changed.replace(b"iso-8859-1", b"utf-8")
    assert with_charset(field, "text/html", "utf-8") == expected
    value = expected.replace(b"\r\n", b"").partition(b":")[2]
    assert parse_parameters(value)[1]["charset"] == "utf-8"
