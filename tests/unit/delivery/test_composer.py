"""Content for the wire (spec messages.md 6)."""

from __future__ import annotations

import email

import msgspec
import pytest

from relayq.delivery.composer import Composer, ComposerRules, Content
from relayq.delivery.waiting import NotNowError
from relayq.model import DeliveryState, Message, Refused, Scope, parse_address
from relayq.smtp import Capabilities

COMPOSER = Composer(ComposerRules())
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
    assert COMPOSER.prepare(with_facts(mime=mime)).octets == octets


def test_nul_needs_force() -> None:
    with pytest.raises(Refused) as caught:
        COMPOSER.prepare(with_facts(mime=b"a\0b"))

    assert (caught.value.state, caught.value.scope) == (DeliveryState.RESPONSIVE, Scope.MESSAGE)
    assert COMPOSER.prepare(with_facts(mime=b"a\0b\0\r\n", force=True)).octets == b"ab\r\n"


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
        COMPOSER.prepare(with_facts(force=force, **facts))

    assert caught.value.state is DeliveryState.RESPONSIVE


def test_a_message_that_has_to_wait_says_how_long_and_why() -> None:
    wait = NotNowError(60.0, "destination over capacity")

    assert (wait.seconds, wait.reason, str(wait)) == (60.0, "destination over capacity", "destination over capacity")


EIGHT_BIT = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode()
SEALED = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xff\r\n"
LONG = b"Subject: x\r\n\r\n" + b"y" * 1200 + b"\r\n"
TAKES_8BIT, TAKES_7BIT = Capabilities(eight_bit_mime=True), Capabilities()


def test_8bit_content_goes_out_as_it_is_where_it_is_taken() -> None:
    content = COMPOSER.prepare(with_facts(mime=EIGHT_BIT))

    assert content == Content(octets=EIGHT_BIT, has_8bit=True)
    assert COMPOSER.finish(content, TAKES_8BIT) is content


def test_8bit_content_is_converted_for_others() -> None:
    final = COMPOSER.finish(COMPOSER.prepare(with_facts(mime=EIGHT_BIT)), TAKES_7BIT)

    assert (final.has_8bit, final.octets.isascii()) == (False, True)
    parsed = email.message_from_bytes(final.octets)
    payload = parsed.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode("utf-8").rstrip() == "Grüße"


def test_8bit_send_leaves_it_alone() -> None:
    composer = Composer(ComposerRules(eight_bit="send"))
    content = composer.prepare(with_facts(mime=EIGHT_BIT))

    assert composer.finish(content, TAKES_7BIT) is content


def test_what_cannot_be_converted_is_refused_unless_forced() -> None:
    with pytest.raises(Refused, match="no 8-bit content"):
        COMPOSER.finish(COMPOSER.prepare(with_facts(mime=SEALED)), TAKES_7BIT)

    content = COMPOSER.prepare(with_facts(mime=SEALED, force=True))
    assert COMPOSER.finish(content, TAKES_7BIT) is content


def test_raw_utf8_in_the_header_is_told_to_the_dialogue() -> None:
    mime = "Subject: Grüße\r\n\r\nx\r\n".encode()

    assert COMPOSER.prepare(with_facts(mime=mime)) == Content(octets=mime, has_8bit=True, has_utf8_headers=True)


def test_long_lines_are_kept_wrapped_or_refused() -> None:
    assert COMPOSER.prepare(with_facts(mime=LONG)).octets == LONG
    wrapped = Composer(ComposerRules(long_lines="wrap")).prepare(with_facts(mime=LONG)).octets
    assert max(map(len, wrapped.split(b"\r\n"))) <= 998
    strict = Composer(ComposerRules(long_lines="fail"))
    with pytest.raises(Refused, match="998"):
        strict.prepare(with_facts(mime=LONG))
    assert strict.prepare(with_facts(mime=LONG, force=True)).octets == LONG
