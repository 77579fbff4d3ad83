"""Lines of more than 998 octets."""

from __future__ import annotations

import pytest

from relayq.compose import LongLineError, analyse, treat_long_lines
from tests.support.mime_oracle import leaves_by_stdlib, leaves_by_tree
from tests.support.torture import (
    BASE64_LINES,
    FILE,
    INNER,
    MESSAGES,
    PIXEL,
    TOP,
    TortureMessage,
    crlf,
    mime_part,
    multipart,
)

LONG = "x" * 999 + "\n"
WRAPPED = b"=\r\nxxxx"
HEADER = "MIME-Version: 1.0\n"


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.name)
def test_real_shapes(message: TortureMessage) -> None:
    mime = message.mime
    assert treat_long_lines(mime, "keep") is mime
    if not analyse(mime).has_long_lines:
        assert treat_long_lines(mime, "fail") is mime
        assert treat_long_lines(mime, "wrap") is mime
        return
    with pytest.raises(LongLineError, match="998"):
        treat_long_lines(mime, "fail")
    wrapped = treat_long_lines(mime, "wrap")
    assert leaves_by_tree(wrapped) == leaves_by_tree(mime)
    if message.has_oracle:
        assert leaves_by_stdlib(wrapped) == leaves_by_stdlib(mime)
    if "header" not in message.name:
        assert not analyse(wrapped).has_long_lines
        assert treat_long_lines(wrapped, "wrap") is wrapped


def test_the_longest_line_allowed_is_kept() -> None:
    mime = crlf(f"{HEADER}\n{'x' * 998}\n")
    assert treat_long_lines(mime, "fail") is treat_long_lines(mime, "wrap") is mime


@pytest.mark.parametrize(
    ("mime", "wrapped"),
    [
        (f"{HEADER}\n{LONG}", f"{HEADER}Content-Transfer-Encoding: quoted-printable\n\n"),
        (f"A: 1\n\n{LONG}", f"A: 1\n{HEADER}Content-Transfer-Encoding: quoted-printable\n\n"),
        (f"{HEADER}Content-Type: a/b\n\n{LONG}", f"{HEADER}Content-Type: a/b\nContent-Transfer-Encoding: base64\n\n"),
        (
            f"DKIM-Signature: x\n{HEADER}\n{LONG}",
            f"DKIM-Signature: x\n{HEADER}Content-Transfer-Encoding: quoted-printable\n\n",
        ),
    ],
)
def test_wrap(mime: str, wrapped: str) -> None:
    treated = treat_long_lines(crlf(mime), "wrap")
    assert treated.startswith(crlf(wrapped))
    assert leaves_by_tree(treated) == leaves_by_tree(crlf(mime))
    assert not analyse(treated).has_long_lines


def test_base64_in_one_line_is_broken_into_lines() -> None:
    header = f"{TOP}Content-Type: a/b\nContent-Transfer-Encoding: base64\n\n"
    assert treat_long_lines(crlf(header + PIXEL[:-4] * 6 + "\n"), "wrap") == crlf(
        header + "".join((PIXEL[:-4] * 6)[at : at + 76] + "\n" for at in range(0, len(PIXEL[:-4]) * 6, 76))
    )


def test_only_the_part_that_needs_it_is_wrapped() -> None:
    mime = crlf(multipart("mixed", mime_part("text/plain", "short\n"), mime_part("text/plain", LONG), FILE))
    wrapped = treat_long_lines(mime, "wrap")
    before, after = leaves_by_tree(mime), leaves_by_tree(wrapped)
    assert before == after
    assert crlf(mime_part("text/plain", "short\n")) in wrapped
    assert crlf(BASE64_LINES) in wrapped


@pytest.mark.parametrize(
    "mime",
    [
        f"Subject: {LONG}\nbody\n",
        multipart("signed", mime_part("text/plain", LONG), mime_part("application/pgp-signature", "x\n")),
        multipart("mixed", multipart("signed", mime_part("text/plain", LONG), header="")),
        multipart("mixed", mime_part("text/plain", "x\n"), preamble=LONG),
        f"{TOP}Content-Type: application/pkcs7-mime\n\n{LONG}",
        f"{TOP}Content-Type: multipart/mixed\n\n{LONG}",
        f"{TOP}Content-Type: message/partial\n\n{LONG}",
        f"{TOP}Content-Transfer-Encoding: base64\n\n!!{LONG}",
        f"{TOP}Content-Transfer-Encoding: x-strange\n\n{LONG}",
    ],
)
def test_what_cannot_be_wrapped_is_kept(mime: str) -> None:
    assert treat_long_lines(crlf(mime), "wrap") == crlf(mime)


def test_messages_inside_are_wrapped_too() -> None:
    wrapped = treat_long_lines(crlf(multipart("mixed", mime_part("message/rfc822", f"{INNER}\n{LONG}"))), "wrap")
    assert not analyse(wrapped).has_long_lines
    assert crlf(f"{INNER}MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n") in wrapped
    assert WRAPPED in wrapped
