"""Sink scripts from files, for the commands ``sink`` and ``demo``."""

from __future__ import annotations

from pathlib import Path

from relayq.cli.endings import CommandFailed
from relayq.config import ExitCode
from relayq.trial import Script, ScriptError, parse_script

MAX_OCTETS = 16 * 1024 * 1024


def load_script(path: str) -> Script:
    """Read a script.

    Raises:
        CommandFailed: It cannot be read, or has mistakes; each is told with its line.
    """
    try:
        with Path(path).open("rb") as file:
            octets = file.read(MAX_OCTETS)
            is_complete = not file.read(1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise CommandFailed(ExitCode.CONFIGURATION, f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not is_complete:
        raise CommandFailed(ExitCode.CONFIGURATION, f"{path}: larger than {MAX_OCTETS} octets")
    try:
        return parse_script(octets.decode("utf-8"))
    except ScriptError as error:
        raise CommandFailed(ExitCode.CONFIGURATION, *(f"{path}, {problem}" for problem in error.problems)) from None
    except UnicodeDecodeError:
        raise CommandFailed(ExitCode.CONFIGURATION, f"{path}: not UTF-8") from None
