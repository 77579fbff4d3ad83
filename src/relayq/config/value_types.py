"""The types of values a setting can have: how text becomes a value, and what the report says when it does not.

A type is a value itself (``integer(1, 64)``, ``one_of("strict", "loose")``), so a row of the table is data. Texts are
short and read a few hundred times per start: clarity goes before speed here (spec config.md 3).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relayq.config.problems import BadValueError

if TYPE_CHECKING:
    from collections.abc import Callable

# Ten years: longer than anything here can mean, and sums of durations stay exact and finite.
MAX_SECONDS = 315_360_000
MAX_INTEGER = 2**31 - 1
MAX_SIZE_BYTES = 2**50

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([smhd]?)", re.IGNORECASE | re.ASCII)
_SECONDS_PER = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"([0-9]{1,18})\s*([KMG]?)(?:(?<=[KMG])I?B)?", re.IGNORECASE | re.ASCII)
# MailerQ writes "100MB" without saying which; 1024 is what mail programs mean.
_BYTES_PER = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_SEPARATORS = re.compile(r"[,;\s]+")


class Empty(enum.Enum):
    """What blank text means where it is not simply "none"."""

    USE_DEFAULT = enum.auto()
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """How the text of a setting is read.

    Attributes:
        name: One or two words for the reference page.
        expected: What is accepted, for reports and the reference page.
        parse: Turns text that is not blank into the value; raises ``BadValueError``.
        empty: Value of blank text, or what else blank text means.
        unit: Unit of a bare number, empty when it has none.
        is_flag: The bare option means true on the command line.
    """

    name: str
    expected: str
    parse: Callable[[str], object]
    empty: object = Empty.USE_DEFAULT
    unit: str = ""
    is_flag: bool = False


def boolean() -> ValueType:
    """Return the type of switches: ``bool``."""

    def parse(text: str) -> bool:
        if not is_truth_value(text):
            raise BadValueError("is neither true nor false")
        return text.strip().lower() in _TRUE

    return ValueType(name="bool", expected="true, false, yes, no, on, off, 1 or 0", parse=parse, is_flag=True)


def is_truth_value(text: str) -> bool:
    """Whether a switch understands this word."""
    return text.strip().lower() in _TRUE | _FALSE


def integer(lowest: int = 0, highest: int = MAX_INTEGER, *, unit: str = "") -> ValueType:
    """Return the type of whole numbers within a range: ``int``."""
    expected = f"a whole number, {lowest} or more"
    if highest != MAX_INTEGER:
        expected = f"a whole number from {lowest} to {highest}"

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text.strip()):
            raise BadValueError("is not a whole number")
        if not lowest <= int(text) <= highest:
            raise BadValueError(f"is outside {lowest} to {highest}")
        return int(text)

    return ValueType(name="int", expected=expected, parse=parse, unit=unit)


def seconds(lowest: float = 0, highest: float = MAX_SECONDS) -> ValueType:
    """Return the type of durations, bare numbers in seconds: ``float`` seconds."""
    limits = f", at least {lowest:g} seconds" if lowest else ""
    if highest != MAX_SECONDS:
        limits = f", from {lowest:g} to {highest:g} seconds"
    return ValueType(
        name="seconds",
        expected=f"seconds, or a number with s, m, h or d{limits}",
        parse=lambda text: parse_duration(text, lowest, highest),
        unit="seconds",
    )


def timeout() -> ValueType:
    """Return the type of durations that cannot be zero: ``float`` seconds."""
    return seconds(0.001)


def milliseconds() -> ValueType:
    """Return the type of durations, bare numbers in milliseconds: ``float`` seconds."""
    return ValueType(
        name="milliseconds",
        expected="milliseconds, or a number with s, m, h or d",
        parse=lambda text: parse_duration(text, 0, MAX_SECONDS, bare=0.001),
        unit="milliseconds",
    )


def parse_duration(text: str, lowest: float, highest: float = MAX_SECONDS, *, bare: float = 1) -> float:
    """Seconds that ``text`` stands for; ``bare`` is what one of a number without suffix is worth.

    Raises:
        BadValueError: No duration, or outside the limits.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadValueError("is not a duration")
    value = float(match[1]) * (_SECONDS_PER[match[2].lower()] if match[2] else bare)
    if value < lowest:
        raise BadValueError(f"is below {lowest:g} seconds")
    if value > highest:
        raise BadValueError(f"is above {highest:g} seconds")
    return value


def durations() -> ValueType:
    """Return the type of a list of intervals of one second or more: ``tuple[float, ...]`` seconds, never empty."""
    many = list_of(lambda item: parse_duration(item, 1), "a list of seconds, each 1 or more")
    return replace(not_empty(many), unit="seconds")


def size() -> ValueType:
    """Return the type of sizes: ``int`` bytes."""

    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise BadValueError("is not a size")
        value = int(match[1]) * _BYTES_PER[match[2].upper()]
        if value > MAX_SIZE_BYTES:
            raise BadValueError("is above 2^50 bytes")
        return value

    return ValueType(
        name="size", expected="bytes, or a number with K, M, G, KB, MB, GB, KiB, MiB or GiB", parse=parse, unit="bytes"
    )


def one_of(*allowed: str, empty: object = Empty.USE_DEFAULT) -> ValueType:
    """Return the type of one word of several, any case: ``str`` as spelled here."""
    return ValueType(name="enum", expected=_join(allowed), parse=lambda text: _word(text.strip(), allowed), empty=empty)


def words(*allowed: str) -> ValueType:
    """Return the type of a list of known words, any case: ``tuple[str, ...]`` as spelled here."""
    return list_of(lambda item: _word(item, allowed), f"a list of {_join(allowed)}")


def list_of(parse_item: Callable[[str], object], expected: str) -> ValueType:
    """Return the type of lists separated by commas, semicolons or white space: a tuple, empty = none."""

    def parse(text: str) -> tuple[object, ...]:
        values = []
        for item in filter(None, _SEPARATORS.split(text)):
            try:
                values.append(parse_item(item))
            except BadValueError as error:
                raise BadValueError(error.predicate, item) from None
        return tuple(values)

    return ValueType(name="list", expected=expected, parse=parse, empty=())


def not_empty(value_type: ValueType) -> ValueType:
    """Return the same type without "none": blank text, or a list without items, is an error."""

    def parse(text: str) -> object:
        value = value_type.parse(text)
        if value == value_type.empty:
            raise BadValueError("has no item")
        return value

    return replace(value_type, parse=parse, empty=Empty.REFUSED)


def _word(text: str, allowed: tuple[str, ...]) -> str:
    for word in allowed:
        if text.lower() == word.lower():
            return word
    raise BadValueError("is not one of the words allowed")


def _join(allowed: tuple[str, ...]) -> str:
    return allowed[0] if len(allowed) == 1 else f"{', '.join(allowed[:-1])} or {allowed[-1]}"
