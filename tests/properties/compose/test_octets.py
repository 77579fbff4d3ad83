"""Whatever the octets: nothing but our own errors, and changes only where they must be."""

from __future__ import annotations

import contextlib
import quopri

from hypothesis import given, settings
from hypothesis import strategies as st

from relayq.compose import (
    ComposeError,
    ConversionImpossibleError,
    TransferDecodingError,
    analyse,
    edit_headers,
    parse_header_edits,
    to_seven_bit,
    treat_long_lines,
)
from relayq.compose.encodings import (
    base64_size,
    decode_base64,
    decode_body,
    decode_charset,
    decode_quoted_printable,
    encode_base64,
    encode_quoted_printable,
)
from relayq.compose.headers import field_name, field_value, find_fields, find_header, split_fields
from relayq.compose.mime_tree import Part, apply_splices, body_splice, parse_tree
from relayq.compose.text_parts import read_texts, write_texts
from tests.support.mime_oracle import leaves_by_tree
from tests.support.torture import MESSAGES

FRAGMENTS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"--", b"--b", b"--b--", b"--b\r\n", b"\r\n--b\r\n", b"\r\n--c--\r\n", b"\0"),
    *(b"Content-Type: multipart/mixed; boundary=b\r\n", b'Content-Type: multipart/digest; boundary="c"\r\n'),
    *(b"Content-Type: message/rfc822\r\n", b"Content-Type: text/html; charset=utf-8\r\n", b"Content-Type: ", b"a/b;"),
    *(b"Content-Type: multipart/signed; boundary=b\r\n", b"DKIM-Signature: x\r\n", b"MIME-Version: 1.0\r\n"),
    *(
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"=3D",
        b"=\r\n",
        b"=",
    ),
    *(
        b"Content-Transfer-Encoding: 8bit\r\n",
        b"Content-Disposition: attachment; filename=x\r\n",
        b"Content-Length: 1\r\n",
    ),
    *(
        b"Subject: =?utf-8?q?=C3=BC?=\r\n",
        b"From a@b\r\n",
        b"From ",
        b" fold\r\n",
        b"\t",
        b":",
        b";",
        b'"',
        b"x",
        b"x" * 1000,
    ),
    *("ü".encode(), b"\xff", b"\x80", "Ж".encode() * 40, b"YQ==", b"charset*=utf-8''%FF", b"; charset=gb2312\r\n"),
]
octets = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join),
    st.builds(
        lambda message, at, fragment: message[: at % len(message)] + fragment + message[at % len(message) :],
        st.sampled_from([message.mime for message in MESSAGES.values() if len(message.mime) < 4000]),
        st.integers(0, 4000),
        st.sampled_from(FRAGMENTS),
    ),
)
mimes = octets.map(lambda content: b"\r\n".join(content.splitlines()) + b"\r\n")
texts = st.text(max_size=200)


def leaves(root: Part) -> list[Part]:
    return [part for part in root.walk() if not part.children]


@given(octets)
def test_a_header_block_is_made_of_its_fields(mime: bytes) -> None:
    span = find_header(mime)
    assert 0 <= span.start <= span.end <= span.body_start <= len(mime)
    assert mime[span.end : span.body_start] in {b"", b"\r\n", b"\n"}
    block = mime[span.start : span.end]
    fields = split_fields(block)
    assert b"".join(fields) == block
    for field in fields:
        assert field in find_fields(block, field_name(field))
        assert b"\n" not in field_value(field)


@given(octets)
def test_a_tree_can_be_made_of_anything(mime: bytes) -> None:
    root = parse_tree(mime)
    for part in root.walk():
        assert 0 <= part.start <= part.header_end <= part.body_start <= part.body_end <= len(mime)
        at = part.body_start
        for child in part.children:
            assert at <= child.start
            assert child.body_end <= part.body_end
            at = child.body_end
    splices = [body_splice(mime, part, b"") for part in leaves(root)]
    assert len(apply_splices(mime, splices)) == len(mime) - sum(splice.end - splice.start for splice in splices)


@given(mimes)
def test_conversion_never_fails_otherwise_and_keeps_content(mime: bytes) -> None:
    try:
        converted = to_seven_bit(mime)
    except ConversionImpossibleError:
        assert not mime.isascii()
        return
    assert leaves_by_tree(converted) == leaves_by_tree(mime)
    assert to_seven_bit(converted) == converted
    remaining = bytearray(converted)
    for part in parse_tree(converted).walk():
        remaining[part.start : part.header_end] = b"x" * (part.header_end - part.start)
    assert bytes(remaining[find_header(converted).start :]).isascii()


@given(octets)
def test_conversion_of_content_that_was_not_normalised_fails_only_as_it_may(mime: bytes) -> None:
    with contextlib.suppress(ComposeError):
        treat_long_lines(to_seven_bit(mime), "wrap")
    with contextlib.suppress(ComposeError):
        treat_long_lines(mime, "fail")


@given(mimes)
def test_wrapping_keeps_content(mime: bytes) -> None:
    wrapped = treat_long_lines(mime, "wrap")
    assert leaves_by_tree(wrapped) == leaves_by_tree(mime)
    assert treat_long_lines(wrapped, "wrap") == wrapped


@given(octets)
def test_analysis(mime: bytes) -> None:
    found = analyse(mime)
    assert found.has_8bit is not mime.isascii()
    assert found.has_nul is (b"\0" in mime)
    assert found.has_utf8_headers <= found.has_8bit


@given(mimes)
def test_long_lines_are_counted_as_the_slow_way_counts_them(mime: bytes) -> None:
    assert analyse(mime).has_long_lines is any(len(line) > 998 for line in mime.split(b"\r\n"))


@given(mimes)
def test_texts_that_stay_what_they_are_change_nothing(mime: bytes) -> None:
    root = parse_tree(mime)
    assert write_texts(mime, root, [(text, text.text) for text in read_texts(mime, root)]) == mime


@settings(max_examples=200)
@given(mimes, texts)
def test_a_new_text_is_read_back(mime: bytes, text: str) -> None:
    root = parse_tree(mime)
    sources = read_texts(mime, root)
    changed = write_texts(mime, root, [(source, text) for source in sources])
    line_feeds = text.replace("\r\n", "\n").replace("\r", "\n")
    found = read_texts(changed, parse_tree(changed))
    assert len(found) >= len(sources)
    if "\n--" not in f"\n{line_feeds}" and sources:
        assert [one.text.rstrip("\n") for one in found] == [line_feeds.rstrip("\n")] * len(sources)


@given(octets, st.dictionaries(st.sampled_from(["From", "X-A", "subject"]), texts, max_size=3))
def test_header_edits_leave_the_rest_alone(mime: bytes, values: dict[str, str]) -> None:
    values = {name: value.translate({13: " ", 10: " ", 0: " "}) for name, value in values.items()}
    edited = edit_headers(mime, parse_header_edits({"append": values}))
    span = find_header(mime)
    if not values:
        assert edited == mime
        return
    assert edited.startswith(mime[: span.end])
    assert edited.endswith(mime[span.end :])
    after = find_header(edited)
    if span.end:
        added = edited[after.start : after.end][len(mime[span.start : span.end]) :]
        assert [field_name(field) for field in split_fields(added.lstrip(b"\r\n"))] == [
            name.lower().encode() for name in values
        ]


@given(octets)
def test_quoted_printable_comes_back(content: bytes) -> None:
    encoded = encode_quoted_printable(content)
    assert encoded.isascii()
    assert decode_quoted_printable(encoded) == content
    assert quopri.decodestring(encoded) == content
    for line in encoded.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.startswith(b"From ")
        assert line[-1:] not in {b" ", b"\t"}
        assert b"\r" not in line
        assert b"\n" not in line


@given(octets)
def test_base64_comes_back(content: bytes) -> None:
    encoded = encode_base64(content)
    assert len(encoded) == base64_size(len(content))
    assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))
    assert decode_base64(encoded) == content


@given(octets, st.sampled_from(["base64", "quoted-printable", "8bit", "", "x"]))
def test_decoding_anything_fails_only_as_it_may(body: bytes, encoding: str) -> None:
    with contextlib.suppress(TransferDecodingError):
        decode_body(body, encoding)


@given(
    octets, st.one_of(st.none(), st.sampled_from(["utf-8", "gb2312", "utf-16", "iso-2022-jp", "utf-7", "hz"]), texts)
)
def test_any_octets_have_a_text_in_any_charset(content: bytes, charset: str | None) -> None:
    decoded = decode_charset(content, charset)
    decoded.to_octets(decoded.text)
