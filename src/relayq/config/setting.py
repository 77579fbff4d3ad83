"""What one row of the settings table says; the rows themselves are in ``table``."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relayq.config.problems import BadValueError
from relayq.config.value_types import Empty, ValueType


class Tier(enum.StrEnum):
    """How early a setting matters: needed for the promised behaviour, in production, or later."""

    A = "A"
    B = "B"
    C = "C"


class Supported(enum.Enum):
    """Whether values other than the default are accepted."""

    YES = enum.auto()
    NOT_YET = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row.

    Attributes:
        key: Name as in files; ``_`` and capitals are other spellings of it.
        type: How its text is read.
        default: Text that means the default.
        default_note: What the default is when the text does not say it ("the value of ``rabbitmq-outbox``").
        tier: How early it matters.
        reloadable: A reload applies it.
        secret: Its value never appears in a report.
        sentence: What it does, for the reference page.
        supported: Which values work besides the default: all, none, or the texts listed.
    """

    key: str
    type: ValueType
    default: str
    default_note: str = ""
    tier: Tier
    reloadable: bool
    secret: bool = False
    sentence: str
    supported: Supported | tuple[str, ...]

    def read(self, text: str) -> object:
        """Return the value of ``text``.

        Raises:
            BadValueError: It is no value of this setting.
        """
        if text.strip():
            return self.type.parse(text)
        if self.type.empty is Empty.USE_DEFAULT:
            return self.default_value()
        if self.type.empty is Empty.REFUSED:
            raise BadValueError("is empty")
        return self.type.empty

    def default_value(self) -> object:
        """Return the value used when no source names the setting."""
        return self.type.parse(self.default) if self.default else self.type.empty

    def accepts(self, value: object) -> bool:
        """Whether what ``value`` asks for exists already."""
        if self.supported is Supported.YES or value == self.default_value():
            return True
        return isinstance(self.supported, tuple) and any(value == self.read(text) for text in self.supported)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Settings that belong together on the reference page."""

    title: str
    settings: tuple[Setting, ...]
