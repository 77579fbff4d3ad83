"""A whole configuration as octets, for a process that shall run with the very same one.

A worker that read the sources itself might find other ones: they may have been edited since, or be readable by root
only. Values travel as the text they were made from, and are made again.
"""

from __future__ import annotations

import msgspec

from relayq.config.entry import Source
from relayq.config.settings import Effective, Settings, build_settings
from relayq.config.table import TABLE


class _Item(msgspec.Struct, frozen=True, array_like=True):
    key: str
    text: str
    where: str
    source: int


def encode_settings(settings: Settings) -> bytes:
    """All keys of ``settings``; secrets are readable in it. Warnings are not: they were reported already."""
    items = [_Item(key, item.text, item.where, int(item.source)) for key, item in settings.effective.items()]
    return msgspec.msgpack.encode(items)


def decode_settings(encoded: bytes) -> Settings:
    """The configuration that ``encoded`` was made of, by the same version of this program."""
    effective: dict[str, Effective] = {}
    for item in msgspec.msgpack.decode(encoded, type=list[_Item]):
        setting = TABLE[item.key]
        value = setting.default_value() if item.text == setting.default else setting.read(item.text)
        effective[item.key] = Effective(
            setting=setting, value=value, text=item.text, where=item.where, source=Source(item.source)
        )
    return build_settings(effective, ())
