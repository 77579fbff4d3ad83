"""One name and its text, wherever it was found; what it means is the business of ``load.py``."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Source(enum.IntEnum):
    """Where a value came from; a higher number replaces a lower one."""

    DEFAULT = 0
    DEFAULT_FILE = 1
    FILE = 2
    ENVIRONMENT = 3
    COMMAND_LINE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name and its text, somewhere.

    Attributes:
        name: As written, for reports.
        key: The same in the table's spelling; it may be unknown.
        text: The value, never interpreted; may be a secret, so it is not shown.
        where: For reports: ``FILE:LINE``, ``environment NAME``, ``option --key``.
        source: Kind of the place.
    """

    name: str
    key: str
    text: str
    where: str
    source: Source

    def __repr__(self) -> str:
        return f"Entry({self.where}: {self.name})"
