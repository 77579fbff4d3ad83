"""A configuration that travels to another process is the same there."""

from __future__ import annotations

from pathlib import Path

from relayq.config.settings import Settings
from relayq.config.transfer import decode_settings, encode_settings
from tests.unit.config.loading import load_text
from tests.unit.config.test_records import EVERYTHING


def same(one: Settings, other: Settings) -> None:
    for key, item in one.effective.items():
        twin = other.effective[key]
        assert (twin.value, twin.text, twin.where, twin.source) == (item.value, item.text, item.where, item.source), key
    for name in Settings.__slots__:
        if name not in {"warnings", "effective"}:
            assert getattr(one, name) == getattr(other, name)


def test_everything_arrives(tmp_path: Path) -> None:
    for text in (EVERYTHING, "", "rabbitmq-results:\nretry-interval: 1,2\nmax-connections: 7\nconnection-secure: 1\n"):
        settings = load_text(tmp_path, text)
        same(settings, decode_settings(encode_settings(settings)))
