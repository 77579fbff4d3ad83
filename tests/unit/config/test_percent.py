from __future__ import annotations

import pytest

from relayq.config.percent import decode_part
from relayq.config.problems import BadValueError


@pytest.mark.parametrize(
    ("text", "decoded"), [("", ""), ("a%2Fb", "a/b"), ("%C3%A9", "é"), ("100%25", "100%"), ("a+b", "a+b")]
)
def test_a_part_is_decoded(text: str, decoded: str) -> None:
    assert decode_part(text, "path") == decoded


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("100%", "has a % without two hexadecimal digits in the password: write it as %25"),
        ("%4", "has a % without two hexadecimal digits in the password: write it as %25"),
        ("%FF", "has a password that is not UTF-8"),
        ("a%0Ab", "has a control character in the password"),
    ],
)
def test_what_cannot_be_decoded_is_told_without_its_value(text: str, problem: str) -> None:
    with pytest.raises(BadValueError) as caught:
        decode_part(text, "password")
    assert str(caught.value) == problem
