"""Well-formed messages of any structure: a foreign reader sees the same parts before and after."""

from __future__ import annotations

import base64
import quopri

from hypothesis import assume, given
from hypothesis import strategies as st

from relayq.compose import analyse, to_seven_bit, treat_long_lines
from relayq.compose.mime_tree import apply_splices, body_splice, parse_tree
from tests.support.mime_oracle import leaves_by_stdlib, leaves_by_tree

LINES = [b"ascii", "schön".encode(), b"\xe4\xf6", b"", b" ", b"trailing ", b"From x", b".", b"=", b"--", b"y" * 1100]
lines = st.lists(st.sampled_from(LINES), max_size=6)
bodies = lines.map(lambda given: b"".join(line + b"\r\n" for line in given))
text_types = st.sampled_from(["", "Content-Type: text/plain; charset=utf-8\r\n", "Content-Type: text/html\r\n"])
other_types = st.sampled_from(["Content-Type: application/octet-stream\r\n", "Content-Type: image/x; name=ab\r\n"])
labels = st.sampled_from(["", "7bit", "8bit", "binary", "base64", "quoted-printable"])
counters = st.integers(0, 10**6)


def leaf(kind: str, label: str, content: bytes) -> bytes:
    if label == "base64":
        content = base64.encodebytes(content).replace(b"\n", b"\r\n")
    elif label == "quoted-printable":
        content = quopri.encodestring(content.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    field = f"Content-Transfer-Encoding: {label}\r\n" if label else ""
    return kind.encode() + field.encode() + b"\r\n" + content


def multipart(number: int, label: str, parts: list[bytes], preamble: bytes, subtype: str) -> bytes:
    boundary = f"=_{number}_{len(parts)}"
    while any(boundary.encode() in part for part in parts):
        boundary += "x"
    header = (
        f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"\r\nContent-Transfer-Encoding: {label}\r\n\r\n'
    )
    inner = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts)
    return header.encode() + preamble + inner + f"--{boundary}--\r\n".encode()


def forwarded(label: str, message: bytes) -> bytes:
    return (
        f"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: {label}\r\n\r\nSubject: in\r\n".encode() + message
    )


leaves = st.one_of(st.builds(leaf, text_types, labels, bodies), st.builds(leaf, other_types, labels, bodies))
identity = st.sampled_from(["7bit", "8bit", "binary"])
structures = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            multipart,
            counters,
            identity,
            st.lists(inner, min_size=1, max_size=3),
            st.sampled_from([b"", b"ascii\r\n", "für alte\r\n".encode()]),
            st.sampled_from(["mixed", "alternative", "related"]),
        ),
        st.builds(forwarded, identity, inner),
    ),
    max_leaves=6,
)
messages = structures.map(lambda body: b"From: a@b.example\r\nMIME-Version: 1.0\r\n" + body)


@given(messages)
def test_the_tree_is_what_the_standard_library_sees(mime: bytes) -> None:
    assert leaves_by_tree(mime) == leaves_by_stdlib(mime)


@given(messages)
def test_conversion_to_seven_bits(mime: bytes) -> None:
    converted = to_seven_bit(mime)
    assert converted.isascii()
    assert leaves_by_stdlib(converted) == leaves_by_stdlib(mime)
    assert to_seven_bit(converted) is converted
    before = [part.transfer_encoding for part in parse_tree(mime).walk() if part.children]
    after = [part.transfer_encoding for part in parse_tree(converted).walk() if part.children]
    assert all(new in {old, "7bit"} for old, new in zip(before, after, strict=True))


@given(messages)
def test_wrapping(mime: bytes) -> None:
    wrapped = treat_long_lines(mime, "wrap")
    assert not analyse(wrapped).has_long_lines
    assert leaves_by_stdlib(wrapped) == leaves_by_stdlib(mime)
    assert treat_long_lines(wrapped, "fail") is wrapped


@given(messages, st.data())
def test_splicing_one_part_changes_that_part_only(mime: bytes, data: st.DataObject) -> None:
    parts = [part for part in parse_tree(mime).walk() if not part.children]
    number = data.draw(st.integers(0, len(parts) - 1))
    part = parts[number]
    assume(part.transfer_encoding != "base64")
    spliced = apply_splices(mime, [body_splice(mime, part, b"other")])
    before, after = leaves_by_stdlib(mime), leaves_by_stdlib(spliced)
    assert after == [*before[:number], (part.media_type, b"other"), *before[number + 1 :]]
    assert spliced.startswith(mime[: part.body_start])
    assert spliced.endswith(mime[part.body_end :])
