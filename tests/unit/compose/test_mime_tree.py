"""Where parts lie, and replacing some of them."""

from __future__ import annotations

import time

import pytest

from relayq.compose.mime_tree import (
    MAX_DEPTH,
    MAX_PARTS,
    Part,
    Splice,
    apply_splices,
    body_splice,
    header_splice,
    parse_tree,
    text_candidates,
)
from tests.support.mime_oracle import leaves_by_stdlib, leaves_by_tree
from tests.support.torture import FILE, GERMAN_PARTS, MESSAGES, TOP, TortureMessage, crlf, mime_part, multipart

ALL = pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.name)

NESTED = crlf("""\
From: a@b.example
Content-Type: multipart/mixed; boundary="=_1"

preamble
--=_1
Content-Type: multipart/alternative; boundary=alt

--alt
Content-Type: text/plain; charset=utf-8

hello
--alt
Content-Type: text/html

<p>x
--alt--
--=_1
Content-Type: message/rfc822

Subject: inside

inner

--=_1--
epilogue
""")


def slices(mime: bytes, part: Part) -> tuple[bytes, bytes]:
    return mime[part.start : part.header_end], mime[part.body_start : part.body_end]


def test_tree_of_a_nested_message() -> None:
    root = parse_tree(NESTED)
    assert root.media_type == "multipart/mixed"
    assert root.is_message
    assert root.is_closed
    assert root.parameters == {"boundary": "=_1"}
    alternative, attached = root.children
    plain, html = alternative.children
    assert slices(NESTED, plain) == (b"Content-Type: text/plain; charset=utf-8\r\n", b"hello")
    assert slices(NESTED, html) == (b"Content-Type: text/html\r\n", b"<p>x")
    assert not plain.is_message
    assert NESTED[alternative.body_start : alternative.body_end].endswith(b"<p>x\r\n--alt--")
    (inner,) = attached.children
    assert inner.is_message
    assert slices(NESTED, inner) == (b"Subject: inside\r\n", b"inner\r\n")
    assert [NESTED[start:end] for start, end in root.delimiters] == [b"--=_1", b"--=_1", b"--=_1--"]
    assert [NESTED[start:end] for start, end in alternative.delimiters] == [b"--alt", b"--alt", b"--alt--"]
    assert [part.media_type for part in root.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "message/rfc822",
        "text/plain",
    ]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ("text/plain", False, "7bit", "", False)),
        ("Content-Type: TEXT/HTML\n", ("text/html", True, "7bit", "", False)),
        ("Content-Type: text\n", ("text/plain", True, "7bit", "", False)),
        ("Content-Type: a/b/c\n", ("text/plain", True, "7bit", "", False)),
        ("Content-Type: /b\n", ("text/plain", True, "7bit", "", False)),
        ("Content-Type:\n", ("text/plain", True, "7bit", "", False)),
        ("Content-Type: a/b; NAME=x\n", ("a/b", True, "7bit", "", True)),
        ("content-transfer-encoding : BASE64 (x)\n", ("text/plain", False, "base64", "", False)),
        ('Content-Transfer-Encoding: "8bit"\n', ("text/plain", False, "8bit", "", False)),
        ("Content-Transfer-Encoding:\n", ("text/plain", False, "7bit", "", False)),
        ("Content-Disposition: Attachment\n", ("text/plain", False, "7bit", "attachment", False)),
        ("Content-Disposition: inline; filename*=utf-8''x\n", ("text/plain", False, "7bit", "inline", True)),
        ("Content-Type: a/b\nContent-Type: c/d\n", ("a/b", True, "7bit", "", False)),
        ("X-Content-Type: a/b\nX: y\n content-type: c/d\n", ("text/plain", False, "7bit", "", False)),
    ],
)
def test_what_a_header_says(header: str, expected: tuple[str, bool, str, str, bool]) -> None:
    part = parse_tree(crlf(header + "\nbody\n"))
    found = (part.media_type, part.has_content_type, part.transfer_encoding, part.disposition, part.has_file_name)
    assert found == expected


@ALL
def test_leaves(message: TortureMessage) -> None:
    leaves = [part for part in parse_tree(message.mime).walk() if not part.children]
    assert tuple(part.media_type for part in leaves) == message.leaves


@ALL
def test_the_standard_library_sees_the_same(message: TortureMessage) -> None:
    if message.has_oracle:
        assert leaves_by_tree(message.mime) == leaves_by_stdlib(message.mime)


@ALL
def test_places_are_nested_and_in_order(message: TortureMessage) -> None:
    check_places(parse_tree(message.mime), 0, len(message.mime))


def check_places(part: Part, first: int, last: int) -> None:
    assert first <= part.start <= part.header_end <= part.body_start <= part.body_end <= last
    at = part.body_start
    for child in part.children:
        check_places(child, at, part.body_end)
        at = child.body_end
    for start, end in part.delimiters:
        assert part.body_start <= start < end <= part.body_end


@ALL
def test_line_feeds_alone_are_understood(message: TortureMessage) -> None:
    mime = message.mime.replace(b"\r\n", b"\n")
    assert [kind for kind, _ in leaves_by_tree(mime)] == [kind for kind, _ in leaves_by_tree(message.mime)]


@ALL
def test_splicing_in_what_is_there_changes_nothing(message: TortureMessage) -> None:
    mime = message.mime
    splices: list[Splice] = []
    for part in parse_tree(mime).walk():
        header, body = slices(mime, part)
        splices.append(header_splice(part, header))
        if not part.children and part.body_start > part.header_end:
            splices.append(body_splice(mime, part, body))
    assert apply_splices(mime, splices) == mime


@ALL
def test_a_new_body_lands_in_its_part_and_nowhere_else(message: TortureMessage) -> None:
    mime = message.mime
    before = [part for part in parse_tree(mime).walk() if not part.children][:50]
    for number, part in enumerate(before):
        if part.is_opaque or part.media_type.startswith("message/"):
            continue
        spliced = apply_splices(mime, [body_splice(mime, part, b"new body")])
        after = [part for part in parse_tree(spliced).walk() if not part.children][:50]
        assert len(after) == len(before)
        for position, (old, new) in enumerate(zip(before, after, strict=True)):
            old_header, old_body = slices(mime, old)
            new_header, new_body = slices(spliced, new)
            assert new_header == old_header
            assert new_body == (b"new body" if position == number else old_body)


def test_a_body_is_kept_apart_from_what_follows() -> None:
    mime = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b\nA: 1\n--b--\n")
    first, second = parse_tree(mime).children
    spliced = apply_splices(mime, [body_splice(mime, first, b"one"), body_splice(mime, second, b"two")])
    assert spliced == crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\nA: 1\n\ntwo\n--b--\n")
    assert apply_splices(mime, [body_splice(mime, first, b""), body_splice(mime, second, b"")]) == mime


def test_splices_at_one_place_keep_their_order() -> None:
    assert apply_splices(b"ab", [Splice(1, 1, b"2"), Splice(1, 1, b"1"), Splice(0, 1, b"A")]) == b"A21b"


@pytest.mark.parametrize("splices", [[(0, 2), (1, 3)], [(2, 1)], [(0, 3), (1, 1)]])
def test_splices_must_not_overlap(splices: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="overlap"):
        apply_splices(b"abc", [Splice(start, end, b"") for start, end in splices])


def test_text_candidates() -> None:
    parts = [
        mime_part("text/plain", "yes 1\n"),
        mime_part("text/html", "yes 2\n", "", "inline"),
        mime_part("", "yes 3\n"),
        mime_part("text/plain", "no\n", "", "attachment"),
        mime_part("text/plain; name=a.txt", "no\n"),
        mime_part("text/plain", "no\n", "", "inline; filename=x"),
        mime_part("text/calendar", "no\n"),
        mime_part("message/rfc822", "Subject: x\n\nno\n"),
        multipart("signed", mime_part("text/plain", "no\n"), header=""),
        multipart("encrypted", mime_part("text/plain", "no\n"), header=""),
        mime_part("application/pgp", "no\n"),
        multipart("alternative", mime_part("text/plain", "yes 4\n"), header=""),
    ]
    mime = crlf(multipart("mixed", *parts))
    found = [mime[part.body_start : part.body_end] for part in text_candidates(parse_tree(mime))]
    assert found == [b"yes 1", b"yes 2", b"yes 3", b"yes 4"]
    assert text_candidates(parse_tree(crlf(TOP + FILE))) == []
    assert len(text_candidates(parse_tree(crlf(TOP + GERMAN_PARTS[0])))) == 1


def test_depth_and_number_are_bounded() -> None:
    deep = "".join(f"Content-Type: multipart/mixed; boundary=b{n}.\n\n--b{n}.\n" for n in range(200))
    assert len(list(parse_tree(crlf(deep)).walk())) == MAX_DEPTH + 1
    deep = "Content-Type: message/rfc822\n\n" * 200
    assert len(list(parse_tree(crlf(deep)).walk())) == MAX_DEPTH + 1
    header = "Content-Type: multipart/mixed; boundary=b\n\n"
    fitting = parse_tree(crlf(header + "--b\n\n" * (MAX_PARTS - 1)))
    assert len(list(fitting.walk())) == MAX_PARTS
    box = parse_tree(crlf(header + "--b\n\n" * MAX_PARTS))
    assert (box.is_opaque, box.children, box.delimiters, box.is_closed) == (True, (), (), False)


@pytest.mark.parametrize("size", [199, 200, 201, 5000])
def test_boundaries_have_a_longest_length(size: int) -> None:
    boundary = "b" * size
    mime = crlf(f"Content-Type: multipart/mixed; boundary={boundary}\n\n--{boundary}\n\nx\n--{boundary}--\n")
    assert bool(parse_tree(mime).children) is (size <= 200)


def test_a_line_too_long_for_a_delimiter_is_none() -> None:
    header = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n"
    mime = crlf(header + "--b" + " " * 1000 + "\n--b" + "b" * 100 + "\n--b--\n")
    assert [slices(mime, part)[1] for part in parse_tree(mime).children] == [
        crlf("one\n--b" + " " * 1000 + "\n--b" + "b" * 100)
    ]


def test_a_delimiter_at_the_very_end_opens_an_empty_part() -> None:
    mime = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b")
    assert [slices(mime, part)[1] for part in parse_tree(mime).children] == [b"one", b""]


@pytest.mark.parametrize(
    "unit",
    [
        *(b"--", b"--b", b"--bb", b"", b"--b--", b"x:y", b" ", b"--b\r\nx:y", b"--c:d\r\nx:y"),
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b",
        b"Content-Type: message/rfc822\r\n",
    ],
)
@pytest.mark.parametrize("boundary", ["b", "c:d"])
def test_hostile_messages_take_linear_time(unit: bytes, boundary: str) -> None:
    nested = "".join(f"Content-Type: multipart/mixed; boundary=n{n}:\n\n--n{n}:\n" for n in range(40))
    mime = crlf(f"{nested}Content-Type: multipart/mixed; boundary={boundary}\n\n") + (unit + b"\r\n") * (
        400_000 // (len(unit) + 2)
    )
    started = time.process_time()
    parse_tree(mime)
    assert time.process_time() - started < 20
