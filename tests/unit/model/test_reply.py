"""Replies as values (spec results.md 2)."""

from __future__ import annotations

import pytest

from relayq.model import Reply, describe_octets


@pytest.mark.parametrize(
    ("code", "enhanced", "status"),
    [
        (250, None, "2.0.0"),
        (451, None, "4.0.0"),
        (554, None, "5.0.0"),
        (354, None, "4.5.0"),
        (451, "5.0.0", "5.0.0"),
        (550, "5.1.1", "5.1.1"),
    ],
)
def test_the_status_is_copied_or_made_of_the_first_digit(code: int, enhanced: str | None, status: str) -> None:
    reply = Reply(code, enhanced, (b"x",))

    assert reply.status == status
    assert reply.severity == code // 100


def test_lines_are_joined_by_one_blank() -> None:
    assert Reply(550, None, (b"No", b"such user", b"here")).description == "No such user here"
    assert Reply(250, None, (b"",)).description == ""


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9!", "caf\ufffd!"),
        (b"a\tb\x00c\x7fd", "a b c d"),
        (b"\xc2\x85x\xe2\x80\xa8y\xe2\x80\xa9z", "x y z"),
        (b" \r\n x \r\n", "x"),
        ("a\u00a0b".encode(), "a\u00a0b"),
    ],
)
def test_what_a_peer_said_is_safe_on_one_line(octets: bytes, text: str) -> None:
    assert describe_octets(octets) == text


@pytest.mark.parametrize("character", ["x", "é", "例", "\U0001f600"])
def test_a_description_has_at_most_4096_characters(character: str) -> None:
    assert describe_octets((character * 5000).encode()) == character * 4096


@pytest.mark.parametrize("shift", range(4))
def test_the_cut_does_not_damage_a_character(shift: int) -> None:
    text = describe_octets(("x" * shift + "\U0001f600" * 5000).encode())

    assert text == "x" * shift + "\U0001f600" * (4096 - shift)
