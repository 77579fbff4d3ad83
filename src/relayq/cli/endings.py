"""How a command can end: exit codes and what is said on standard error (spec config.md 4)."""

from __future__ import annotations

import enum
import sys
import traceback
from typing import Final

PROGRAM: Final = "relayq"


class Ending(enum.IntEnum):
    """Exit codes of the shell's side; those of our own are ``relayq.config.ExitCode``."""

    INTERRUPTED = 130
    """128 + SIGINT, as shells report it."""


class CommandFailed(Exception):
    """A command cannot go on, and says so itself.

    Attributes:
        exit_code: One of spec config.md 4.
        lines: For people, at least one.
    """

    def __init__(self, exit_code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.exit_code = exit_code
        self.lines = lines


def say(*lines: str) -> None:
    """Write lines to standard error, each with the name of the program in front; control characters are escaped."""
    for line in lines:
        sys.stderr.write(f"{PROGRAM}: {printable(line)}\n")
    sys.stderr.flush()


def say_broker_trouble(level: str, text: str) -> None:
    """Log of a broker for a command that is no server: only what is wrong reaches the terminal."""
    if level in {"warning", "error", "critical"}:
        say(text)


def printable(text: str) -> str:
    """Text of unknown origin for a terminal: control characters and line ends escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def ending_of(error: Exception) -> tuple[int, tuple[str, ...]]:
    """Exit code and message of an exception nobody else handled."""
    if isinstance(error, CommandFailed):
        return error.exit_code, error.lines
    from relayq.config import ConfigurationError, ExitCode, UsageError
    from relayq.ports import BrokerError

    match error:
        case ConfigurationError() | UsageError():
            return error.exit_code, tuple(map(str, error.problems))
        case BrokerError():
            return _broker_exit_code(error), (str(error),)
        case OSError():
            return ExitCode.OS_REFUSED, (": ".join(filter(None, (error.filename, error.strerror or str(error)))),)
        case _:
            return ExitCode.INTERNAL, (f"internal error: {_describe(error)}",)


def _broker_exit_code(error: Exception) -> int:
    from relayq.config import ExitCode
    from relayq.ports import (
        BrokerRefusedError,
        BrokerStorageError,
        BrokerUnavailableError,
        PublicationTooLargeError,
        TopologyError,
    )

    match error:
        case BrokerRefusedError():
            return ExitCode.NO_PERMISSION
        case TopologyError():
            return ExitCode.CONFIGURATION
        case BrokerStorageError():
            return error.exit_code
        case BrokerUnavailableError():
            return ExitCode.UNAVAILABLE
        case PublicationTooLargeError():
            return ExitCode.BAD_INPUT
    return ExitCode.INTERNAL


def _describe(error: Exception) -> str:
    """One line for a bug report instead of a trace: kind, text and place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
