"""What a template may use up (spec templates.md 10), and the texts that say so."""

from __future__ import annotations

from collections.abc import Callable

from relayq.compose.template.errors import TemplateError

MAX_OCTETS = 10 * 1024 * 1024
"""Template source, output and any single value, in octets of UTF-8."""
MAX_NESTING = 100
"""Blocks inside blocks; parentheses, brackets and prefix operators inside each other."""
MAX_MODIFIERS = 1000
"""Modifiers in one chain."""
MAX_TURNS = 100_000
"""Turns of all loops of one field."""
MAX_KEPT = 6 * MAX_OCTETS
"""Characters and members in all variables a template sets; ours, against a thousand variables of 10 MiB each."""
MAX_PATTERN_CHARACTERS = 1000
PATTERN_SECONDS = 0.1
"""One evaluation of a regular expression."""

LONG_TEXT = 1024
"""Characters from which on an operation on a text is worth counting."""

TIME_CAUSE = "takes too long"
NESTING_CAUSE = "nested too deeply"

TimeLeft = Callable[[], float]
"""Seconds left for the message; zero or less means that its time is up."""


def unlimited() -> float:
    """Time that never runs out, for templates the caller trusts."""
    return 1.0


def octets_of(text: str) -> int:
    """Size of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def check_size(text: str, what: str) -> None:
    """Raise `TemplateError` when a text is over the limit; ``what`` begins the cause."""
    # No character has more than four octets, so nearly no text has to be encoded to be measured.
    if len(text) * 4 > MAX_OCTETS and octets_of(text) > MAX_OCTETS:
        raise TemplateError(f"{what} larger than {MAX_OCTETS} octets")


def check_growth(characters: int) -> None:
    """Raise `TemplateError` before a text of so many characters is made."""
    if characters > MAX_OCTETS:
        raise TemplateError(f"value larger than {MAX_OCTETS} octets")


def check_time(time_left: TimeLeft) -> None:
    """Raise `TemplateError` when the time of the message is up."""
    if time_left() <= 0:
        raise TemplateError(TIME_CAUSE)
