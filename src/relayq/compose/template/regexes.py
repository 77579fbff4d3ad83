"""Regular expressions of templates: untrusted patterns on untrusted texts, within limits (spec templates.md 10).

The library has a timeout, but looks at the clock only between steps, and writes out the least count of a repeat when it
compiles: ``((a{1000}){1000}){1000}`` takes all memory there is. So two more things are bounded here: the size a pattern
can grow to, and the text it runs on, because one step takes time in proportion to the text (measured: of 5 million
characters with 100 ms allowed, 5.5 s).
"""

from __future__ import annotations

import contextlib
import re
from collections import OrderedDict
from collections.abc import Iterator

import regex

from relayq.compose.template.context import Rendering
from relayq.compose.template.errors import TemplateError
from relayq.compose.template.limits import MAX_OCTETS, MAX_PATTERN_CHARACTERS, PATTERN_SECONDS, TIME_CAUSE

MAX_SUBJECT_CHARACTERS = 256 * 1024
"""Longest text an expression is applied to."""

_MAX_UNROLLED = 20_000
"""Steps of a pattern with its counted repeats written out: some ten megabytes while it is compiled."""
_CACHED_PATTERNS = 128
_MAX_CACHED_UNROLLED = 2_000
_COMPILATIONS_PER_PURGE = 256

_REPEAT = re.compile(r"\{([0-9]+)(?:,[0-9]*)?\}")
# In verbose mode blanks and comments may stand inside a repeat, where they would have to be understood first.
_VERBOSE = re.compile(r"\(\?[A-Za-z0-9-]*x")
_REFERENCE = re.compile(r"(\$&|[$\\][1-9])")


class _InvalidPatternError(Exception):
    """Text that is no regular expression."""


def matches(rendering: Rendering, text: str, pattern: str) -> bool:
    """The pattern is found somewhere in the text.

    Raises:
        TemplateError: Invalid pattern, or a limit was exceeded.
    """
    try:
        compiled = _PATTERNS.get(pattern)
    except _InvalidPatternError:
        raise TemplateError("invalid regular expression") from None
    with _limited(text):
        return compiled.search(text, timeout=rendering.seconds_for(PATTERN_SECONDS)) is not None


def replace_matches(rendering: Rendering, text: str, pattern: str, replacement: str) -> str:
    r"""Text with all matches replaced; unchanged when the pattern is invalid.

    Args:
        rendering: Whose limits count.
        text: Text.
        pattern: Pattern.
        replacement: ``$&`` is the match, ``$1`` … ``$9`` or ``\1`` … ``\9`` a group of it.

    Raises:
        TemplateError: A limit was exceeded.
    """
    try:
        compiled = _PATTERNS.get(pattern)
    except _InvalidPatternError:
        return text
    write = _Replacement(replacement, compiled.groups)
    with _limited(text):
        return compiled.sub(write, text, timeout=rendering.seconds_for(PATTERN_SECONDS))


@contextlib.contextmanager
def _limited(text: str) -> Iterator[None]:
    if len(text) > MAX_SUBJECT_CHARACTERS:
        raise TemplateError("value too long for a regular expression")
    try:
        yield
    except TimeoutError:
        raise TemplateError(f"regular expression {TIME_CAUSE}") from None
    except MemoryError:
        raise TemplateError("regular expression needs too much memory") from None


class _Replacement:
    """Writes the replacement of a match, and counts what has been written."""

    def __init__(self, replacement: str, groups: int) -> None:
        # The odd parts are references; one to a group that the pattern does not have stands for nothing.
        self._parts = _REFERENCE.split(replacement)
        self._parts[1::2] = ["0" if part == "$&" else part[1] for part in self._parts[1::2]]
        self._groups = groups
        self._written = 0

    def __call__(self, match: regex.Match[str]) -> str:
        parts = list(self._parts)
        for at in range(1, len(parts), 2):
            group = int(parts[at])
            parts[at] = (match[group] or "") if group <= self._groups else ""
        text = "".join(parts)
        self._written += len(text)
        if self._written > MAX_OCTETS:
            raise TemplateError(f"value larger than {MAX_OCTETS} octets")
        return text


class _Patterns:
    """Compiled patterns, the least recently used ones are forgotten."""

    def __init__(self) -> None:
        self._by_text: OrderedDict[str, regex.Pattern[str] | None] = OrderedDict()
        self._compilations = 0

    def get(self, pattern: str) -> regex.Pattern[str]:
        """Compiled pattern.

        Raises:
            _InvalidPatternError: It is none.
            TemplateError: It is too long or unrolls to too much.
        """
        if len(pattern) > MAX_PATTERN_CHARACTERS:
            raise TemplateError(f"regular expression longer than {MAX_PATTERN_CHARACTERS} characters")
        if pattern in self._by_text:
            self._by_text.move_to_end(pattern)
            compiled = self._by_text[pattern]
        else:
            unrolled = _unrolled_size(pattern)
            if unrolled > _MAX_UNROLLED:
                raise TemplateError("regular expression repeats too much")
            compiled = self._compile(pattern)
            if unrolled <= _MAX_CACHED_UNROLLED:
                self._by_text[pattern] = compiled
                if len(self._by_text) > _CACHED_PATTERNS:
                    self._by_text.popitem(last=False)
        if compiled is None:
            raise _InvalidPatternError
        return compiled

    def _compile(self, pattern: str) -> regex.Pattern[str] | None:
        self._compilations += 1
        if self._compilations % _COMPILATIONS_PER_PURGE == 0:
            regex.purge()  # the library remembers something of every pattern, even of those it is told not to keep
        try:
            return regex.compile(pattern, cache_pattern=False)
        except Exception:  # the library fails in many ways, RecursionError and MemoryError among them
            return None


def _unrolled_size(pattern: str) -> int:
    """Upper bound of the steps a pattern has once its repeats are written out.

    Without telling groups from sets: a repeat behind a parenthesis may repeat everything in front of it.
    """
    repeats = list(_REPEAT.finditer(pattern))
    if repeats and _VERBOSE.search(pattern):
        return MAX_OCTETS
    atoms = len(pattern)
    factor = 1
    for repeat in repeats:
        digits = repeat[1].lstrip("0")
        count = int(digits or "0") if len(digits) < 10 else MAX_OCTETS
        if pattern[repeat.start() - 1] == ")":
            factor *= max(count, 1)
        else:
            atoms += count
    return min(atoms * factor, MAX_OCTETS)


_PATTERNS = _Patterns()
