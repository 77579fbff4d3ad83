"""Transfer encodings (RFC 2045 section 6) and charsets of text parts (spec templates.md 7).

Encoders write CRLF and never change what a decoder will see: a CRLF is a line break, any other CR or LF is an octet.
"""

from __future__ import annotations

import binascii
import codecs
import encodings.aliases
import io
import re

import msgspec
import pybase64

from relayq.compose.errors import TransferDecodingError

IDENTITY_ENCODINGS = frozenset(("7bit", "8bit", "binary"))
"""Transfer encodings under which the octets are the content."""

_COLUMNS = 76
BASE64_LINE_OCTETS = _COLUMNS // 4 * 3
_BLOCK_OCTETS = BASE64_LINE_OCTETS * 1024

_BROKEN_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*+(?:\r?\n|\Z))")
_PADDED_SOFT_BREAK = re.compile(rb"=[ \t]++(?=\r?\n|\Z)")
_NO_WORD = re.compile(r"[^a-z0-9]+")
_MAX_LABEL_CHARACTERS = 60

# Names of charsets come from outside, and Python's registry would import a module by them, remember each unknown one
# for ever, and take things for charsets that are none (idna, punycode: quadratic). So only these are ever looked up.
_CODEC_NAMES = """
    ascii utf_8 utf_7 utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le latin_1 iso8859_2 iso8859_3 iso8859_4
    iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 iso8859_10 iso8859_11 iso8859_13 iso8859_14 iso8859_15 iso8859_16
    cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp437 cp850 cp852 cp855 cp857 cp858 cp860 cp861 cp862
    cp863 cp864 cp865 cp866 cp869 cp874 koi8_r koi8_u koi8_t kz1048 ptcp154 tis_620 mac_roman mac_cyrillic mac_greek
    mac_latin2 mac_turkish mac_iceland gb2312 gbk gb18030 hz big5 big5hkscs cp950 euc_jp euc_jis_2004 shift_jis
    shift_jisx0213 cp932 iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_3 iso2022_jp_ext euc_kr cp949 johab iso2022_kr
"""
_CODECS = frozenset(_CODEC_NAMES.split())
_LABELS = {
    **{codec: codec for codec in _CODECS},
    **{label: codec for label, codec in encodings.aliases.aliases.items() if codec in _CODECS},
    **{f"windows_{page}": f"cp{page}" for page in range(1250, 1259)},
    "iso_8859_6_e": "iso8859_6",
    "iso_8859_6_i": "iso8859_6",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_8_i": "iso8859_8",
    "utf8mb4": "utf_8",
    "windows_31j": "cp932",
    "windows_874": "cp874",
    "windows_949": "cp949",
    "x_big5": "big5",
    "x_euc_jp": "euc_jp",
    "x_gbk": "gbk",
    "x_mac_roman": "mac_roman",
    "x_sjis": "cp932",
}
_WINDOWS_1252 = "".join(
    bytes((octet,)).decode("latin_1" if octet in b"\x81\x8d\x8f\x90\x9d" else "cp1252") for octet in range(256)
)


def encode_quoted_printable(octets: bytes) -> bytes:
    """Quoted-printable with lines of at most 76 characters; hard line breaks stay breaks.

    No line begins with ``From ``: mailboxes in mbox format put a ``>`` in front of it.
    """
    if b"\r" in octets or b"\n" in octets:
        broken = octets.replace(b"\r\n", b"")
        if b"\r" in broken or b"\n" in broken:
            return b"\r\n".join(map(_encode_line, octets.split(b"\r\n")))
        encoded = binascii.b2a_qp(octets, istext=True)
    else:
        encoded = binascii.b2a_qp(octets, istext=True).replace(b"\n", b"\r\n")
    if b"\nFrom " in encoded or encoded.startswith(b"From "):
        encoded = b"\r\n".join(map(_hide_from, encoded.split(b"\r\n")))
    return encoded


def _encode_line(line: bytes) -> bytes:
    """One line in which CR and LF are not line breaks; the soft breaks of the C function depend on what it finds."""
    encoded = binascii.b2a_qp(line, istext=False).replace(b"\r\n", b"\n")
    return b"\r\n".join(map(_hide_from, encoded.split(b"\n")))


def _hide_from(line: bytes) -> bytes:
    """An encoded line that does not begin with ``From ``, broken once more where it gets too long."""
    if not line.startswith(b"From "):
        return line
    if len(line) <= _COLUMNS - 2:
        return b"=46" + line[1:]
    return b"=46rom =\r\n" + _hide_from(line[5:])


def decode_quoted_printable(body: bytes) -> bytes:
    """Content of a quoted-printable body; raw 8-bit octets in it are taken as they are.

    Raises:
        TransferDecodingError: An ``=`` that is neither an escape nor a soft line break.
    """
    if b"=" not in body:
        return body
    if _BROKEN_ESCAPE.search(body):
        raise TransferDecodingError("broken quoted-printable")
    if b"= " in body or b"=\t" in body:
        body = _PADDED_SOFT_BREAK.sub(b"=", body)
    return binascii.a2b_qp(body)


def encode_base64(octets: bytes) -> bytes:
    """Base64 in lines of 76 characters; no line break behind the last one."""
    if len(octets) <= _BLOCK_OCTETS:
        return _encode_lines(octets)
    # The lines of a large content, as objects, would take more memory than the content.
    whole, blocks = io.BytesIO(), memoryview(octets)
    for at in range(0, len(octets), _BLOCK_OCTETS):
        if at:
            whole.write(b"\r\n")
        whole.write(_encode_lines(blocks[at : at + _BLOCK_OCTETS]))
    return whole.getvalue()


def _encode_lines(octets: bytes | memoryview) -> bytes:
    encoded = pybase64.b64encode(octets)
    return b"\r\n".join([encoded[at : at + _COLUMNS] for at in range(0, len(encoded), _COLUMNS)])


def decode_base64(body: bytes) -> bytes:
    """Content of a base64 body; white space is ignored, padding may be missing.

    Raises:
        TransferDecodingError: Any other octet, padding in the middle, or an impossible length.
    """
    compact = body.translate(None, b" \t\r\n")
    try:
        return pybase64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise TransferDecodingError("broken base64") from None


def base64_size(size: int) -> int:
    """Octets `encode_base64` makes of ``size`` octets."""
    lines = -(-size // BASE64_LINE_OCTETS)
    return -(-size // 3) * 4 + 2 * max(lines - 1, 0)


def decode_body(body: bytes, transfer_encoding: str) -> bytes:
    """Content of a leaf part.

    Raises:
        TransferDecodingError: The body is broken, or the transfer encoding is unknown.
    """
    if transfer_encoding in IDENTITY_ENCODINGS:
        return body
    if transfer_encoding == "quoted-printable":
        return decode_quoted_printable(body)
    if transfer_encoding == "base64":
        return decode_base64(body)
    raise TransferDecodingError("unknown transfer encoding")


def find_codec(label: str) -> str | None:
    """Python's codec for the name of a charset, ``None`` for one that is unknown."""
    if len(label) > _MAX_LABEL_CHARACTERS:
        return None
    return _LABELS.get(_NO_WORD.sub("_", label.lower()).strip("_"))


class CharsetText(msgspec.Struct, frozen=True):
    """Text of a part, and how to get back to octets.

    Attributes:
        text: The text; octets that are invalid in the charset are lone surrogates, which `to_octets` turns back.
        codec: Codec it was read with.
        is_labelled: The part named that charset; without that, text beyond ASCII needs a name when it is written.
    """

    text: str
    codec: str
    is_labelled: bool

    def to_octets(self, text: str) -> tuple[bytes, str | None]:
        """Octets of a changed text, and the new name of its charset, ``None`` where the part can keep what it has."""
        if self.is_labelled or text.isascii():
            try:
                return text.encode(self.codec, "surrogateescape"), None
            except UnicodeEncodeError:
                pass
        return text.encode("utf-8", "replace"), "utf-8"


def decode_charset(octets: bytes, charset: str | None) -> CharsetText:
    """Text of a part by the charset it names, with the fallbacks of spec templates.md 7.

    No charset or ``us-ascii``: UTF-8 if valid, else windows-1252. An unknown one: iso-8859-1. A known one that does not
    fit: its own invalid octets survive.
    """
    codec = find_codec(charset) if charset else "ascii"
    if codec == "ascii":
        return CharsetText(decode_unlabelled(octets), codec, is_labelled=False)
    if codec is None:
        return CharsetText(octets.decode("latin_1"), "latin_1", is_labelled=True)
    try:
        return CharsetText(octets.decode(codec, "surrogateescape"), codec, is_labelled=True)
    except UnicodeError:
        return CharsetText(octets.decode("latin_1"), "latin_1", is_labelled=True)


def decode_unlabelled(octets: bytes) -> str:
    """Text of octets whose charset nobody named: UTF-8 if valid, else windows-1252 with its gaps as in iso-8859-1."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return codecs.charmap_decode(octets, "strict", _WINDOWS_1252)[0]
