"""What messages of a campaign will need."""

from __future__ import annotations

import pytest

from relayq.compose.responsive import Download, DownloadKind
from relayq.delivery import expectations as module
from relayq.delivery.expectations import Expectations

A, B = (Download(DownloadKind.ATTACHMENT, f"https://x.test/{name}") for name in "ab")


def test_what_was_needed_is_expected_until_it_varies() -> None:
    expectations = Expectations()
    assert expectations.of(b"1") == ()
    expectations.learn(b"1", (A, B))
    assert expectations.of(b"1") == (A, B)
    assert expectations.of(b"2") == ()
    expectations.learn(b"1", (A, B))
    assert expectations.of(b"1") == (A, B)
    expectations.learn(b"1", (A,))
    assert expectations.of(b"1") == ()
    expectations.learn(b"1", (A,))
    assert expectations.of(b"1") == ()


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DESCRIPTIONS", 2)
    expectations = Expectations()
    for description in (b"1", b"2", b"1", b"3"):
        expectations.learn(description, (A,))
    assert [expectations.of(description) for description in (b"1", b"2", b"3")] == [(A,), (), (A,)]
