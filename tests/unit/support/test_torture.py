"""The torture messages are what they claim to be."""

from __future__ import annotations

import pytest

from relayq.smtp import normalise_line_ends
from tests.support.torture import MESSAGES, TortureMessage


def test_there_are_many_of_every_kind() -> None:
    kinds = [message.seven_bit for message in MESSAGES.values()]
    assert {kind: kinds.count(kind) >= 3 for kind in ("clean", "convertible", "impossible", "headers")} == {
        "clean": True,
        "convertible": True,
        "impossible": True,
        "headers": True,
    }
    assert len(MESSAGES) >= 100


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.name)
def test_lines_end_with_crlf(message: TortureMessage) -> None:
    assert normalise_line_ends(message.mime) == message.mime
    assert message.mime.isascii() is (message.seven_bit == "clean")
