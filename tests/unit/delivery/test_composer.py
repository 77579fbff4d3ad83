"""Content for the wire (spec messages.md 6)."""

from __future__ import annotations

import msgspec
import pytest

from relayq.delivery.composer import compose
from relayq.delivery.waiting import NotNowError
from relayq.model import DeliveryState, Message, Refused, Scope, parse_address

PLAIN = Message(members={}, sender=None, recipient=parse_address("a@x.test"), mime=b"x")


def with_facts(**facts: object) -> Message:
    return msgspec.structs.replace(PLAIN, **facts)


@pytest.mark.parametrize(
    ("mime", "octets"),
    [
        (b"A: b\r\n\r\ntext\r\n", b"A: b\r\n\r\ntext\r\n"),
        (b"A: b\n\ntext\n", b"A: b\r\n\r\ntext\r\n"),
        (b"a\rb\r\nc\nd", b"a\r\nb\r\nc\r\nd\r\n"),
        (b".\r\n..x", b".\r\n..x\r\n"),
        (b"x\r\n\r\n\r\n", b"x\r\n\r\n\r\n"),
        ("é\u2028\u0085\x0b\x0c".encode(), "é\u2028\u0085\x0b\x0c\r\n".encode()),
    ],
)
def test_line_ends_are_made_right_and_nothing_else(mime: bytes, octets: bytes) -> None:
    assert compose(with_facts(mime=mime)) == octets


def test_nul_needs_force() -> None:
    with pytest.raises(Refused) as caught:
        compose(with_facts(mime=b"a\0b"))

    assert (caught.value.state, caught.value.scope) == (DeliveryState.RESPONSIVE, Scope.MESSAGE)
    assert compose(with_facts(mime=b"a\0b\0\r\n", force=True)) == b"ab\r\n"


@pytest.mark.parametrize(
    ("facts", "wish"),
    [
        ({"mime": None, "mime_object": msgspec.Raw(b'{"text":"x"}')}, "mime as an object"),
        ({"data": msgspec.Raw(b"{}")}, "data"),
        ({"inline_css": True}, "inlinecss"),
        ({"dkim": msgspec.Raw(b"[{}]")}, "dkim"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_is_asked_for_and_cannot_be_done_is_not_left_out_silently(
    facts: dict[str, object], wish: str, force: bool
) -> None:
    with pytest.raises(Refused, match=f"^responsive/error: {wish} is not supported") as caught:
        compose(with_facts(force=force, **facts))

    assert caught.value.state is DeliveryState.RESPONSIVE


def test_a_message_that_has_to_wait_says_how_long_and_why() -> None:
    wait = NotNowError(60.0, "destination over capacity")

    assert (wait.seconds, wait.reason, str(wait)) == (60.0, "destination over capacity", "destination over capacity")
