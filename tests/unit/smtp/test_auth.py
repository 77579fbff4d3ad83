"""Mechanisms and their messages."""

from __future__ import annotations

import base64

import pytest

from relayq.smtp import Capabilities, Credentials, LocalProtocolError
from relayq.smtp.auth import answer_challenge, choose_mechanisms, encode_plain, encode_secret, prepare

RELAY_USER = Credentials("relay-user", "s3cret-pass")


@pytest.mark.parametrize(
    ("announced", "is_encrypted", "allow_clear", "expected"),
    [
        ({"LOGIN", "PLAIN", "CRAM-MD5", "SCRAM-SHA-256"}, True, False, ("CRAM-MD5", "PLAIN", "LOGIN")),
        ({"LOGIN", "PLAIN", "CRAM-MD5"}, False, False, ("CRAM-MD5",)),
        ({"LOGIN", "PLAIN"}, False, True, ("PLAIN", "LOGIN")),
        ({"LOGIN", "PLAIN"}, False, False, ()),
        (set(), True, True, ()),
    ],
)
def test_choice(announced: set[str], is_encrypted: bool, allow_clear: bool, expected: tuple[str, ...]) -> None:
    capabilities = Capabilities(auth=frozenset(announced))
    assert choose_mechanisms(capabilities, is_encrypted=is_encrypted, allow_clear=allow_clear) == expected


def test_plain() -> None:
    assert encode_plain(RELAY_USER) == b"AHJlbGF5LXVzZXIAczNjcmV0LXBhc3M="


@pytest.mark.parametrize("credentials", [Credentials("a\0b", "c"), Credentials("a", "b\0c")])
def test_plain_takes_no_nul(credentials: Credentials) -> None:
    with pytest.raises(LocalProtocolError, match="NUL"):
        encode_plain(credentials)


def test_cram_md5_example_of_rfc_2195() -> None:
    challenge = base64.b64encode(b"<1896.697170952@postoffice.reston.mci.net>")
    response = answer_challenge(Credentials("tim", "tanstaaftanstaaf"), challenge)
    assert response is not None
    assert base64.b64decode(response) == b"tim b913a602c7eda7a495b4e6e7334d3890"


@pytest.mark.parametrize("challenge", [b"PDQ3MTE=", b" PDQ3MTE= ", b""])
def test_challenges(challenge: bytes) -> None:
    assert answer_challenge(RELAY_USER, challenge) is not None


@pytest.mark.parametrize("challenge", [b"?", b"PDQ3MTE", b"PDQ3\x00MTE=", b"PD Q3", b"\xff"])
def test_challenges_that_are_not_base64(challenge: bytes) -> None:
    assert answer_challenge(RELAY_USER, challenge) is None


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("user", "user"),
        ("ascii\tcontrol", "ascii\tcontrol"),
        ("I\u00adX\u00fc", "IX\u00fc"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("u\u0308", "\u00fc"),
        ("\u00fc\u0007", "\u00fc\u0007"),
        ("\ue000", "\ue000"),
    ],
)
def test_preparation(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


def test_secret_is_utf8_in_base64() -> None:
    assert base64.b64decode(encode_secret("pässword")) == "pässword".encode()
    assert base64.b64decode(encode_secret("\udc80")) == b"?"


def test_the_password_is_not_shown() -> None:
    assert "s3cret" not in repr(RELAY_USER)
    assert "relay-user" in repr(RELAY_USER)
