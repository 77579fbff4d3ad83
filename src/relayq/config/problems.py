"""What can be wrong with the configuration, how it is printed, and all exit codes (spec config.md 4)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MASK = "***"

MAX_LINES = 1000

_LONGEST_QUOTE = 120


class ExitCode(enum.IntEnum):
    """How a process of ours ends; the numbers are those of sysexits (spec config.md 4)."""

    OK = 0
    USAGE = 64
    BAD_INPUT = 65
    UNAVAILABLE = 69
    INTERNAL = 70
    OS_REFUSED = 71
    CANNOT_CREATE = 73
    TRY_AGAIN = 75
    NO_PERMISSION = 77
    CONFIGURATION = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One line of an error or warning report.

    Attributes:
        where: ``FILE:LINE``, ``environment NAME`` or ``option --key``.
        key: The setting as its owner wrote it, empty when there is none.
        text: What is wrong, with the offending value when it is no secret.
        expected: The allowed values, range or form; may be empty.
    """

    where: str
    key: str
    text: str
    expected: str = ""

    def __str__(self) -> str:
        """Return the whole report line, without line end."""
        parts = [self.where]
        if self.key:
            parts.append(self.key)
        parts.append(f"{self.text}; expected {self.expected}" if self.expected else self.text)
        return ": ".join(parts)


class BadValueError(ValueError):
    """Text that is no value of its type.

    Attributes:
        predicate: What is wrong, to be put behind the quoted text: ``is not a whole number``. Free of secrets.
        item: The one item of a list that is meant, ``None`` = the whole text.
    """

    def __init__(self, predicate: str, item: str | None = None) -> None:
        self.predicate = predicate
        self.item = item
        super().__init__(predicate)


class ConfigurationError(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: Everything that is wrong, in the order of the sources; never empty.
        warnings: What would have been warned about had it been usable.
    """

    exit_code = ExitCode.CONFIGURATION

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(map(str, self.problems)))


class UsageError(Exception):
    """The command line cannot be understood.

    Attributes:
        problems: Everything that is wrong, in the order of the words; never empty.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Report:
    """Problems and warnings found so far, in the order they were found.

    It takes a bounded number: whoever feeds a whole disk to the program gets an answer, not a second disk.

    Attributes:
        problems: What the program cannot run with.
        warnings: What the owner should know.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    @property
    def is_full(self) -> bool:
        """Whether reading on would not be reported."""
        return max(len(self.problems), len(self.warnings)) >= MAX_LINES

    def error(self, where: str, key: str, text: str, expected: str = "") -> None:
        """Note something the program cannot run with."""
        self._add(self.problems, Problem(where=where, key=key, text=text, expected=expected))

    def warn(self, where: str, key: str, text: str, expected: str = "") -> None:
        """Note something the owner should know."""
        self._add(self.warnings, Problem(where=where, key=key, text=text, expected=expected))

    def _add(self, lines: list[Problem], problem: Problem) -> None:
        if len(lines) + 1 < MAX_LINES:
            lines.append(problem)
        elif len(lines) < MAX_LINES:
            lines.append(Problem(where=problem.where, key="", text="too much is wrong, the rest was not looked at"))


def escape(text: str) -> str:
    """Text of unknown origin without characters that move the cursor or end a line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def one_line(text: str) -> str:
    """The same, cut to a bounded length."""
    return escape(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def quote(text: str) -> str:
    """Text of unknown origin on one line, in double quotes."""
    return f'"{one_line(text)}"'


def mask_credentials(text: str) -> str:
    """Hide whatever may be a user name or password in text that contains an address.

    Everything from the first ``//`` to the last ``@`` goes: an address that could not be parsed does not say where
    its password ends.
    """
    start = text.find("//")
    end = text.rfind("@")
    if start < 0 or end < start:
        return text
    return f"{text[: start + 2]}{MASK}{text[end:]}"
