"""Transfer encodings and charsets."""

from __future__ import annotations

import base64
import codecs
import encodings.aliases
import quopri

import pytest

from relayq.compose import TransferDecodingError
from relayq.compose.encodings import (
    base64_size,
    decode_base64,
    decode_body,
    decode_charset,
    decode_quoted_printable,
    decode_unlabelled,
    encode_base64,
    encode_quoted_printable,
    find_codec,
)


@pytest.mark.parametrize(
    ("octets", "encoded"),
    [
        (b"", b""),
        (b"plain\r\n", b"plain\r\n"),
        ("Grüße=\r\n".encode(), b"Gr=C3=BC=C3=9Fe=3D\r\n"),
        (b"blank \r\ntab\t\r\nend ", b"blank=20\r\ntab=09\r\nend=20"),
        (b"a  b\tc", b"a  b\tc"),
        (b"\0\x07\x0c\x7f", b"=00=07=0C=7F"),
        (b"x" * 76, b"x" * 76),
        (b"x" * 77, b"x" * 75 + b"=\r\nxx"),
        (b"x" * 77 + b"\r\ny", b"x" * 75 + b"=\r\nxx\r\ny"),
        (b"x" * 75 + b"\xff", b"x" * 75 + b"=\r\n=FF"),
        (b"a\rb\nc\r\nd", b"a=0Db=0Ac\r\nd"),
        (b"a\nb", b"a=0Ab"),
        (b"a\r", b"a=0D"),
        (b"\r\r\n\n", b"=0D\r\n=0A"),
        (b"x" * 80 + b"\r" + b"\r\n", b"x" * 75 + b"=\r\n" + b"xxxxx=0D\r\n"),
        (b".\r\n..\r\n", b"=2E\r\n..\r\n"),
        (b"From a\r\n From b\r\nFrom", b"=46rom a\r\n From b\r\nFrom"),
        (b"a\r\nFrom b\r\n", b"a\r\n=46rom b\r\n"),
        (b"From b\n", b"=46rom b=0A"),
        (b"From " + b"y" * 69, b"=46rom " + b"y" * 69),
        (b"From " + b"y" * 70, b"=46rom =\r\n" + b"y" * 70),
        (b"From From " + b"y" * 66, b"=46rom =\r\n=46rom " + b"y" * 66),
    ],
)
def test_quoted_printable(octets: bytes, encoded: bytes) -> None:
    assert encode_quoted_printable(octets) == encoded
    assert decode_quoted_printable(encoded) == octets
    assert quopri.decodestring(encoded) == octets


@pytest.mark.parametrize(
    ("body", "octets"),
    [
        (b"a=3db=3D", b"a=b="),
        (b"a=\r\nb=\nc=", b"abc"),
        (b"a=  \t\r\nb= ", b"ab"),
        (b"raw \xc3\xbc", b"raw \xc3\xbc"),
        (b"raw \xc3\xbc=20", b"raw \xc3\xbc "),
    ],
)
def test_lenient_quoted_printable(body: bytes, octets: bytes) -> None:
    assert decode_quoted_printable(body) == octets


@pytest.mark.parametrize("body", [b"a=ZZ", b"a=4", b"a=4\r\n", b"a==3D", b"a=\rb", b"a= b", b"=x" + b"=20" * 9])
def test_broken_quoted_printable(body: bytes) -> None:
    with pytest.raises(TransferDecodingError, match="quoted-printable"):
        decode_quoted_printable(body)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 56, 57, 58, 59, 114, 115, 1000])
def test_base64(size: int) -> None:
    octets = bytes(range(256)) * 4
    octets = octets[:size]
    encoded = encode_base64(octets)
    assert encoded.replace(b"\r\n", b"\n") == base64.encodebytes(octets).rstrip(b"\n")
    assert decode_base64(encoded) == octets
    assert base64_size(size) == len(encoded)


@pytest.mark.parametrize(
    ("body", "octets"), [(b" YQ=\r\n=\t", b"a"), (b"YQ", b"a"), (b"YWI", b"ab"), (b"", b""), (b"\r\n", b"")]
)
def test_lenient_base64(body: bytes, octets: bytes) -> None:
    assert decode_base64(body) == octets


@pytest.mark.parametrize("body", [b"Y", b"YQ==YQ==", b"Y!Q=", b"YQ\xff=", b"====", b"YWJjY"])
def test_broken_base64(body: bytes) -> None:
    with pytest.raises(TransferDecodingError, match="base64"):
        decode_base64(body)


@pytest.mark.parametrize(
    ("encoding", "octets"),
    [("7bit", b"YQ=="), ("8bit", b"YQ=="), ("binary", b"YQ=="), ("base64", b"a"), ("quoted-printable", b"YQ==")],
)
def test_decode_body(encoding: str, octets: bytes) -> None:
    if encoding == "quoted-printable":
        with pytest.raises(TransferDecodingError):
            decode_body(b"YQ==x", encoding)
    else:
        assert decode_body(b"YQ==", encoding) == octets


def test_unknown_transfer_encoding() -> None:
    with pytest.raises(TransferDecodingError, match="unknown"):
        decode_body(b"x", "x-uuencode")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-8", "utf_8"),
        ("UTF8", "utf_8"),
        (" utf-8 ", "utf_8"),
        ("'utf-8'", "utf_8"),
        ("us-ascii", "ascii"),
        ("ANSI_X3.4-1968", "ascii"),
        ("ISO-8859-1", "latin_1"),
        ("iso-8859-8-i", "iso8859_8"),
        ("Windows-1252", "cp1252"),
        ("windows-874", "cp874"),
        ("ks_c_5601-1987", "euc_kr"),
        ("GB2312", "gb2312"),
        ("x-sjis", "cp932"),
        ("", None),
        ("idna", None),
        ("punycode", None),
        ("unicode_escape", None),
        ("rot13", None),
        ("os", None),
        ("utf-8\0", "utf_8"),
        ("x" * 1000, None),
    ],
)
def test_find_codec(label: str, codec: str | None) -> None:
    assert find_codec(label) == codec


def test_every_codec_exists_and_is_one_for_text() -> None:
    for label in encodings.aliases.aliases:
        codec = find_codec(label)
        if codec is not None:
            assert codecs.lookup(codec).name
            assert codecs.decode(b"\x1b-", codec, "replace")


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"abc", None, "abc"),
        ("ü".encode(), None, "ü"),
        ("ü".encode(), "", "ü"),
        ("ü".encode(), "us-ascii", "ü"),
        (b"\xfc\x80\x81", None, "ü€\x81"),
        (b"\xfc", "iso-8859-1", "ü"),
        (b"\xfc", "x-unknown", "ü"),
        (b"a\xfcb", "utf-8", "a\udcfcb"),
        (b"\x81", "windows-1252", "\udc81"),
        ("こ".encode("iso-2022-jp"), "iso-2022-jp", "こ"),
        (b"\x1b$B", "utf-16", "⑂䈤"),
        (b"a\xd8", "utf-16-le", "aØ"),
        (b"abc", "utf-16", "abc"),
    ],
)
def test_decode_charset(octets: bytes, charset: str | None, text: str) -> None:
    decoded = decode_charset(octets, charset)
    if charset not in {"utf-16", "utf-16-le"}:
        assert decoded.text == text
    if charset is not None and decoded.is_labelled:
        assert decoded.to_octets(decoded.text) == (octets, None)


@pytest.mark.parametrize(
    ("charset", "text", "octets", "named"),
    [
        (None, "x", b"x", None),
        (None, "ü", "ü".encode(), "utf-8"),
        ("us-ascii", "ü", "ü".encode(), "utf-8"),
        ("us-ascii", "x", b"x", None),
        ("iso-8859-1", "ü", b"\xfc", None),
        ("iso-8859-1", "Ł", "Ł".encode(), "utf-8"),
        ("x-unknown", "ü", b"\xfc", None),
        ("x-unknown", "€", "€".encode(), "utf-8"),
        ("utf-8", "\udcff\ud800", b"??", "utf-8"),
        ("utf-8", "a\udcff", b"a\xff", None),
    ],
)
def test_to_octets(charset: str | None, text: str, octets: bytes, named: str | None) -> None:
    assert decode_charset(b"", charset).to_octets(text) == (octets, named)


def test_unlabelled_octets_are_utf8_or_windows_1252() -> None:
    assert decode_unlabelled("ü€".encode()) == "ü€"
    assert decode_unlabelled(bytes(range(128, 256))).encode("latin-1", "replace").count(b"?") == 27


@pytest.mark.parametrize("size", [58_367, 58_368, 58_369, 116_736, 116_737, 200_000])
def test_large_base64_has_the_lines_of_the_whole(size: int) -> None:
    octets = (bytes(range(256)) * (size // 256 + 1))[:size]
    expected = base64.encodebytes(octets).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    assert encode_base64(octets) == expected
    assert len(expected) == base64_size(size)
