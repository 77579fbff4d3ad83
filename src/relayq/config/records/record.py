"""What all records share: they are filled from values by key."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class Record:
    """A frozen dataclass whose fields are named after settings."""

    __slots__ = ()

    PREFIX: ClassVar[str] = ""
    RENAMED: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def keys_by_field(cls) -> dict[str, str]:
        """Field name → key of the setting."""
        names = [item.name for item in fields(cls)]  # type: ignore[arg-type] # every subclass is a dataclass
        return {name: cls.RENAMED.get(name, cls.PREFIX + name.replace("_", "-")) for name in names}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Pick the fields out of ``values``, which has every key."""
        return cls(**{name: values[key] for name, key in cls.keys_by_field().items()})
