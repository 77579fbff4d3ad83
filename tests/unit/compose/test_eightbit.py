"""8-bit content for peers without 8BITMIME."""

from __future__ import annotations

import pytest

from relayq.compose import ConversionImpossibleError, to_seven_bit
from relayq.compose.mime_tree import parse_tree
from tests.support.mime_oracle import leaves_by_stdlib, leaves_by_tree
from tests.support.torture import (
    BASE64_LINES,
    FILE,
    GERMAN,
    GERMAN_PARTS,
    INNER,
    MESSAGES,
    TOP,
    TortureMessage,
    crlf,
    mime_part,
    multipart,
    with_body,
)


def of_kind(*kinds: str) -> list[TortureMessage]:
    return [message for message in MESSAGES.values() if message.seven_bit in kinds]


def name(message: TortureMessage) -> str:
    return message.name


@pytest.mark.parametrize("message", of_kind("clean", "headers"), ids=name)
def test_without_8bit_octets_in_bodies_nothing_changes(message: TortureMessage) -> None:
    assert to_seven_bit(message.mime) is message.mime


@pytest.mark.parametrize("message", of_kind("convertible"), ids=name)
def test_converted_messages_decode_to_the_same_octets(message: TortureMessage) -> None:
    converted = to_seven_bit(message.mime)
    assert converted != message.mime
    assert leaves_by_tree(converted) == leaves_by_tree(message.mime)
    if message.has_oracle:
        assert leaves_by_stdlib(converted) == leaves_by_stdlib(message.mime)


@pytest.mark.parametrize("message", of_kind("convertible"), ids=name)
def test_converted_messages_are_seven_bit_but_for_headers(message: TortureMessage) -> None:
    converted = to_seven_bit(message.mime)
    octets = bytearray(converted)
    for part in parse_tree(converted).walk():
        if not part.children:
            lines = converted[part.body_start : part.body_end].split(b"\r\n")
            assert max(map(len, lines)) <= 998
        octets[part.start : part.header_end] = b"x" * (part.header_end - part.start)
    assert bytes(octets).isascii()
    assert to_seven_bit(converted) is converted
    assert converted.replace(b"\r\n", b"").find(b"\r") == -1
    assert converted.endswith(b"\r\n")


@pytest.mark.parametrize("message", of_kind("convertible"), ids=name)
def test_parts_without_8bit_octets_stay_octet_identical(message: TortureMessage) -> None:
    converted = to_seven_bit(message.mime)
    before, after = (
        [mime[part.start : part.body_end] for part in parse_tree(mime).walk() if not part.children]
        for mime in (message.mime, converted)
    )
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        if old.isascii():
            assert new == old


@pytest.mark.parametrize("message", of_kind("impossible"), ids=name)
def test_what_must_not_be_touched_is_refused(message: TortureMessage) -> None:
    with pytest.raises(ConversionImpossibleError, match="8-bit"):
        to_seven_bit(message.mime)


@pytest.mark.parametrize(
    ("torture", "reason"),
    [
        ("dkim-8bit", "covered by a DKIM signature"),
        ("signed-8bit", "signed or encrypted part"),
        ("smime-binary", "signed or encrypted part"),
        ("encrypted-8bit", "signed or encrypted part"),
        ("boundary-8bit", "boundary"),
        ("no-boundary-8bit", "cannot be looked into"),
        ("too-many-parts", "cannot be looked into"),
        ("nested-too-deep", "cannot be looked into"),
        ("report-8bit-status", "cannot be looked into"),
        ("base64-raw-8bit", "broken base64"),
        ("quoted-printable-broken-8bit", "broken quoted-printable"),
        ("unknown-encoding-8bit", "unknown transfer encoding"),
    ],
)
def test_the_reason_says_where(torture: str, reason: str) -> None:
    with pytest.raises(ConversionImpossibleError, match=reason):
        to_seven_bit(MESSAGES[torture].mime)


MIME = "MIME-Version: 1.0\n"
UTF8_TEXT = "Content-Type: text/plain; charset=utf-8\n"
MIXED = "Content-Type: multipart/mixed; boundary=b\n"
FORWARDED = f"{MIME}Content-Type: message/rfc822\n"
SEVEN, EIGHT, BINARY, QUOTED, BASE64 = (
    f"Content-Transfer-Encoding: {encoding}\n" for encoding in ("7bit", "8bit", "binary", "quoted-printable", "base64")
)
RAW = "Köln am Rhein\n"
DONE = f"{QUOTED}\nK=C3=B6ln am Rhein\n"
BARE = MIME + UTF8_TEXT + DONE

EXAMPLES = {
    "field replaced in place": (
        f"From: a@b.example\n{MIME}{UTF8_TEXT}{EIGHT}X: y\n\n{RAW}",
        f"From: a@b.example\n{MIME}{UTF8_TEXT}{QUOTED}X: y\n{DONE.removeprefix(QUOTED)}",
    ),
    "no MIME at all": (f"From: a@b.example\n\n{RAW}", f"From: a@b.example\n{BARE}"),
    "no header": (RAW, BARE),
    "empty header": (f"\n{RAW}", BARE),
    "no separator": (f"Subject: x\n{RAW}", f"Subject: x\n{BARE}"),
    "base64 because shorter": (f"{MIME}{UTF8_TEXT}\nКёльн\n", f"{MIME}{UTF8_TEXT}{BASE64}\n0JrRkdC70YzQvQ0K\n"),
    "stale sizes go": (f"{MIME}{UTF8_TEXT}Lines: 1\ncontent-length: 4\n\n{RAW}", f"{MIME}{UTF8_TEXT}{DONE}"),
    "the digest of the content stays": (
        f"{MIME}{UTF8_TEXT}Content-MD5: x\n\n{RAW}",
        f"{MIME}{UTF8_TEXT}Content-MD5: x\n{DONE}",
    ),
    "not text": (
        f"{MIME}Content-Type: application/x\n{BINARY}\n{RAW}",
        f"{MIME}Content-Type: application/x\n{BASE64}\nS8O2bG4gYW0gUmhlaW4NCg==\n",
    ),
    "message in a message": (
        f"{FORWARDED}{EIGHT}\nSubject: x\n\n{RAW}",
        f"{FORWARDED}{SEVEN}\nSubject: x\n{BARE}",
    ),
    "a header inside stays as it is, so the label does": (
        f"{FORWARDED}{EIGHT}\nSubject: ü\n\n{RAW}",
        f"{FORWARDED}{EIGHT}\nSubject: ü\n{BARE}",
    ),
    "multipart": (
        f"{MIXED}{BINARY}\nfür alte\n--b\n\n{RAW}--b\n{UTF8_TEXT}{EIGHT}\nascii\n--b--\nSchluß\n",
        f"{MIXED}{SEVEN}{MIME}\nf??r alte\n--b\n{UTF8_TEXT}{DONE}--b\n{UTF8_TEXT}{EIGHT}\nascii\n--b--\nSchlu??\n",
    ),
    "one label is enough": (
        f"{UTF8_TEXT}{EIGHT}{SEVEN}{MIME}\n{RAW}",
        f"{UTF8_TEXT}{QUOTED}{MIME}{DONE.removeprefix(QUOTED)}",
    ),
}


@pytest.mark.parametrize(("mime", "converted"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples(mime: str, converted: str) -> None:
    assert to_seven_bit(crlf(mime)) == crlf(converted)


def test_text_that_is_not_utf8_is_not_labelled() -> None:
    converted = to_seven_bit(with_body("From: a@b.example\n", b"K\xf6ln am Rhein\r\n"))
    assert converted == crlf(
        "From: a@b.example\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nK=F6ln am Rhein\n"
    )


def test_only_the_parts_that_need_it_are_converted() -> None:
    signed = multipart(
        "signed", mime_part("text/plain", "ascii\n"), mime_part("application/pgp-signature", "x\n"), header=""
    )
    mime = crlf(multipart("mixed", signed, GERMAN_PARTS[0], FILE, mime_part("message/rfc822", f"{INNER}\nascii\n")))
    converted = to_seven_bit(mime)
    for untouched in (signed, FILE, f"{INNER}\nascii", TOP, BASE64_LINES):
        assert crlf(untouched).strip() in converted
    assert crlf(GERMAN) not in converted


def test_a_signature_inside_a_forwarded_message_does_not_hold_it_back() -> None:
    forwarded = mime_part("message/rfc822", f"DKIM-Signature: v=1; b=x\n{INNER}\n{GERMAN}", "8bit")
    converted = to_seven_bit(crlf(multipart("mixed", forwarded)))
    assert b"DKIM-Signature: v=1; b=x\r\n" in converted
    assert converted.isascii()


def test_a_message_that_forwards_something_signed_is_refused() -> None:
    inner = multipart("signed", *GERMAN_PARTS, header=INNER)
    with pytest.raises(ConversionImpossibleError, match="signed or encrypted"):
        to_seven_bit(crlf(multipart("mixed", mime_part("message/rfc822", inner, "8bit"))))
