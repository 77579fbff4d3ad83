"""Line ends, dots and sizes of content."""

from __future__ import annotations

import itertools

import pytest

from relayq.smtp import final_size, normalise_line_ends, normalised_parts, normalised_slices
from relayq.smtp.data import SLICE_OCTETS, stuff_dots, unstuff_dots


@pytest.mark.parametrize(
    ("mime", "normal"),
    [
        (b"", b"\r\n"),
        (b"x", b"x\r\n"),
        (b"x\n", b"x\r\n"),
        (b"x\r", b"x\r\n"),
        (b"x\r\n", b"x\r\n"),
        (b"a\nb\rc\r\nd", b"a\r\nb\r\nc\r\nd\r\n"),
        (b"a\r\n\r\n\r\n", b"a\r\n\r\n\r\n"),
        (b"a\n\r\n\rb", b"a\r\n\r\n\r\nb\r\n"),
        (b"a\r\r\nb", b"a\r\n\r\nb\r\n"),
        (b"a\x0bb\x0cc\x1cd\x85e\xe2\x80\xa8f", b"a\x0bb\x0cc\x1cd\x85e\xe2\x80\xa8f\r\n"),
        (b"x\n.\nMAIL FROM:<a@b.test>\n", b"x\r\n.\r\nMAIL FROM:<a@b.test>\r\n"),
        (b"x\r.\r\n", b"x\r\n.\r\n"),
    ],
)
@pytest.mark.parametrize("missing", [None, 0, 1, 2, 3])
def test_normalise_line_ends(mime: bytes, normal: bytes, missing: int | None) -> None:
    padding = b"" if missing is None else b"y" * (SLICE_OCTETS - missing)  # line ends on both sides of a slice's end
    assert normalise_line_ends(padding + mime) == padding + normal
    assert final_size(padding + mime) == len(padding + normal)


@pytest.mark.parametrize(
    "mime", [b"", b"x", b"\r", b"\n", b"\r\n", b"a\r\nb\rc\nd", b"a\n\r\n\rb\r", b"\r\r\n\n\r", b"a\r\r\nb\n"]
)
def test_parts_are_normalised_wherever_they_are_cut(mime: bytes) -> None:
    for one, two in itertools.combinations_with_replacement(range(len(mime) + 1), 2):
        parts = (mime[:one], mime[one:two], mime[two:])
        assert b"".join(normalised_parts(parts)) == normalise_line_ends(mime)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_a_large_message_is_normalised_in_slices(line_end: bytes) -> None:
    mime = (b"y" * 1000 + line_end) * 400
    slices = list(normalised_slices(mime))

    assert len(slices) > 3
    assert max(map(len, slices)) <= SLICE_OCTETS + 200
    assert b"".join(slices) == (b"y" * 1000 + b"\r\n") * 400


@pytest.mark.parametrize(
    ("content", "stuffed"),
    [
        (b"x\r\n", b"x\r\n"),
        (b".\r\n", b"..\r\n"),
        (b".x\r\n..\r\nx.\r\n", b"..x\r\n...\r\nx.\r\n"),
        (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n"),
    ],
)
def test_dots(content: bytes, stuffed: bytes) -> None:
    assert stuff_dots(content) == stuffed
    assert unstuff_dots(stuffed) == content


def test_content_without_leading_dots_is_not_copied() -> None:
    content = b"x\r\n" * 100
    assert stuff_dots(content) is content
    assert unstuff_dots(content) is content


def test_dots_of_a_client_that_does_not_stuff_are_lost() -> None:
    assert unstuff_dots(b".x\r\n.y\r\n") == b"x\r\ny\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"", b"\r\n\r\n"])
@pytest.mark.parametrize("place", [0, SLICE_OCTETS - 1, SLICE_OCTETS, SLICE_OCTETS + 1, 2 * SLICE_OCTETS])
@pytest.mark.parametrize("what", [b"", b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r"])
def test_a_large_content_is_the_same_as_its_lines(place: int, what: bytes, end: bytes) -> None:
    line = b"x" * 62 + b"\r\n"
    mime = (line * (3 * SLICE_OCTETS // len(line)))[:place] + what + line * 3000 + end
    expected = b"\r\n".join(mime.splitlines()) + b"\r\n"
    assert normalise_line_ends(mime) == expected


def test_a_large_content_that_is_right_already_is_not_copied() -> None:
    mime = b"a line of a mail\r\n" * 20_000
    assert normalise_line_ends(mime) is mime
    assert normalise_line_ends(mime[:-1]) == mime
