"""What values mean: as text, number and condition; looking members up; arithmetic (spec templates.md 3 and 4).

A value is what JSON has: string, integer, double, boolean, null, list or dict. Nothing else is ever looked into, and
looking up means indexing a dict or list: there are no attributes to reach.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping

from relayq.compose.template.errors import TemplateError

Number = int | float

MIN_INTEGER = -(1 << 63)
MAX_INTEGER = (1 << 63) - 1

_NUMBER = re.compile(r"[ \t\n\r\v\f]*+([+-]?(?:[0-9]++(?:\.[0-9]++)?+|\.[0-9]++)(e[+-]?[0-9]++)?+)", re.IGNORECASE)
_NUMBER_CHARACTERS = 4096
"""How far into a text a number is looked for; a double has 309 digits before the point at most."""
_PRINTABLE_BITS = 4096
"""Integers of JSON can be longer than the interpreter is willing to print."""


def text_of(value: object) -> str:
    """Printed form; empty for null, arrays and objects."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value] # the check above is the fast form of isinstance
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _PRINTABLE_BITS else _double_text(_double(value))
    if isinstance(value, float):
        return _double_text(value)
    return ""


def _double_text(value: float) -> str:
    if not math.isfinite(value):
        return ""
    text = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def number_of(value: object) -> Number:
    """The value as a number; of a string the number it begins with.

    An integer outside 64 bits is a double; one outside the range of doubles is infinite.
    """
    if isinstance(value, int):
        if MIN_INTEGER <= value <= MAX_INTEGER:
            return int(value)
        return _double(value)
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        match = _NUMBER.match(value, 0, _NUMBER_CHARACTERS)
        return 0 if match is None else _parsed_number(match)
    return 0


def _parsed_number(match: re.Match[str]) -> Number:
    digits = match[1]
    if match[2] is None and "." not in digits:
        number = int(digits)
        if MIN_INTEGER <= number <= MAX_INTEGER:
            return number
    return float(digits)


def whole_number_of(value: object) -> int:
    """The value as a 64-bit integer, fraction dropped, clamped."""
    number = number_of(value)
    if number >= MAX_INTEGER:
        return MAX_INTEGER
    if number <= MIN_INTEGER:
        return MIN_INTEGER
    return int(number)


def truth_of(value: object) -> bool:
    """The value as a condition."""
    if isinstance(value, str):
        return value not in {"", "0"}
    return bool(value)


def is_collection(value: object) -> bool:
    """An array or object."""
    return isinstance(value, list | dict)


def is_empty(value: object) -> bool:
    """It prints as nothing; an array or object: it has no members."""
    if isinstance(value, list | dict):
        return not value
    return text_of(value) == ""


# Looking up


def spellings(name: str) -> tuple[str, ...]:
    """Keys a name stands for, in the order in which they are tried (spec templates.md 3.1)."""
    return tuple(dict.fromkeys((name, name.replace("_", "-"), name.replace("-", "_"))))


def look_up(members: Mapping[str, object], keys: tuple[str, ...]) -> object:
    """Value of the first of the keys that is there, null without one."""
    for key in keys:
        if key in members:
            return members[key]
    return None


def indexed(value: object, index: object) -> object:
    """``value[index]``; null for whatever is not there."""
    if index is None or isinstance(index, list | dict):
        return None
    if isinstance(value, dict):
        return _member_at(value, index)
    if isinstance(value, list):
        position = _position(index)
        return value[position] if position is not None and position < len(value) else None
    return None


def _member_at(members: dict[str, object], index: object) -> object:
    if isinstance(index, str):
        return look_up(members, spellings(index))
    key = text_of(index)
    if key in members:
        return members[key]
    position = _position(index)
    if position is None or position >= len(members):
        return None
    return next(itertools.islice(members.values(), position, None))


def _position(index: object) -> int | None:
    """Zero-based position, ``None`` for a negative one and for a string that is no number."""
    if isinstance(index, str):
        match = _NUMBER.match(index, 0, _NUMBER_CHARACTERS)
        if match is None or match.end() != len(index):
            return None
    number = number_of(index)
    return None if number < 0 else whole_number_of(number)


# Arithmetic


def _checked(result: Number) -> Number:
    if isinstance(result, int):
        return result if MIN_INTEGER <= result <= MAX_INTEGER else float(result)
    if not math.isfinite(result):
        raise TemplateError("result is not a finite number")
    return result


def _divided(left: Number, right: Number) -> Number:
    if right == 0:
        raise TemplateError("division by zero")
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) is (right < 0) else -quotient
    return left / right


def _remainder(left: Number, right: Number) -> Number:
    if not (math.isfinite(left) and math.isfinite(right)):
        raise TemplateError("result is not a finite number")
    left, right = int(left), int(right)
    if right == 0:
        raise TemplateError("division by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def calculate(operation: Callable[[Number, Number], Number], left: Number, right: Number) -> Number:
    """Result of an operation, as an integer of 64 bits or a finite double.

    Raises:
        TemplateError: It is neither, or a division by zero.
    """
    return _checked(operation(left, right))


def negated(number: Number) -> Number:
    """``-number`` by the same rules."""
    return _checked(-number)


OPERATIONS: dict[str, Callable[[Number, Number], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
    "%": _remainder,
}
COMPARISONS: dict[str, Callable[[Number, Number], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
