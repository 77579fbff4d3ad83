"""Reading decoded JSON: leniently typed values by name, each with its path (spec responsive.md 2)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn

import msgspec

from relayq.compose.responsive.errors import Faults, LeftOut
from relayq.model.values import as_bool

MAX_NUMBER = 1_000_000.0
"""Larger lengths mean nothing in a mail; the bound keeps arithmetic and output small."""

_MAX_NESTING = 128  # spec messages.md 1
_MAX_DIGITS = 400
_NUMBER = re.compile(r"[ \t]*+([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?)[ \t]*+(?:px)?[ \t]*+")
_STRING_OR_BLANKS = re.compile(rb'("(?:[^"\\]++|\\.)*+")|[ \t\r\n]++', re.DOTALL)


def decode_json(raw: bytes | msgspec.Raw) -> object:
    """Decoded JSON; numbers beyond a double become infinite, halves of surrogate pairs stay what they are.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    octets = bytes(raw)
    try:
        decoded = msgspec.json.decode(octets)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.DecodeError:
        # Half a surrogate pair and numbers of any size are legal JSON that the decoder refuses.
        decoded = _decode_unusual(octets)
    if octets.count(b"[") + octets.count(b"{") > _MAX_NESTING:
        _check_nesting(decoded)
    return decoded


def _decode_unusual(raw: bytes) -> object:
    try:
        return json.loads(raw.decode("utf-8"), parse_int=_parse_integer, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None


def _check_nesting(decoded: object) -> None:
    """Everything behind this follows the structure of a document by calling itself."""
    level: list[object] = [decoded]
    for _ in range(_MAX_NESTING + 1):
        level = [
            member
            for value in level
            if isinstance(value, dict | list)
            for member in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError("nested too deeply")


def _parse_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("not JSON")


def compact_json(raw: bytes | msgspec.Raw) -> bytes:
    """JSON without white space between its tokens; the tokens stay as they are written."""
    try:
        return msgspec.json.format(bytes(raw), indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return _STRING_OR_BLANKS.sub(lambda match: match[1] or b"", bytes(raw))


def as_number(value: object) -> float | None:
    """Number, or a string that is one, ``px`` behind it allowed; ``None`` for anything else."""
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        return float(match[1]) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # The comparison comes first: a huge integer cannot become a float, and infinity is no length.
    return float(value) if -MAX_NUMBER <= value <= MAX_NUMBER else None


def as_mapping(value: object) -> Mapping[str, object] | None:
    """JSON object; an empty array counts as an empty object (spec messages.md 3)."""
    if isinstance(value, dict):
        return value
    return {} if value == [] else None


class Node:
    """One JSON object on the way from the document to its leaves.

    A property that is null counts as absent. One of a wrong type is a fault, and under ``force`` counts as absent too.
    """

    __slots__ = ("faults", "path", "values")

    def __init__(self, values: Mapping[str, object], path: str, faults: Faults) -> None:
        self.values = values
        self.path = path
        self.faults = faults

    def find(self, *names: str) -> tuple[str, object]:
        """First of these names that has a value, and the value; the first name and ``None`` where none has."""
        for name in names:
            value = self.values.get(name)
            if value is not None:
                return name, value
        return names[0], None

    def text(self, *names: str) -> str | None:
        """A string; further names are aliases."""
        name, value = self.find(*names)
        if value is None or isinstance(value, str):
            return value
        self._wrong(name, "expected a string")
        return None

    def number(self, *names: str) -> float | None:
        """A number of at most `MAX_NUMBER`."""
        name, value = self.find(*names)
        number = as_number(value)
        if number is None and value is not None:
            self._wrong(name, "expected a number")
        return number

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """A boolean in one of the spellings of spec messages.md 3."""
        value = self.values.get(name)
        if value is None:
            return default
        try:
            return as_bool(value)
        except ValueError as error:
            self._wrong(name, str(error))
            return default

    def node(self, *names: str) -> Node | None:
        """An object."""
        name, value = self.find(*names)
        if value is None:
            return None
        mapping = as_mapping(value)
        if mapping is None:
            self._wrong(name, "expected an object")
            return None
        return Node(mapping, f"{self.path}.{name}", self.faults)

    def mapping(self, *names: str) -> Mapping[str, object]:
        """An object as it is; empty where there is none."""
        node = self.node(*names)
        return {} if node is None else node.values

    def entries(self, *names: str, one_allowed: bool = False) -> list[tuple[str, object]] | None:
        """Elements of an array with their paths; ``None`` where there is none.

        Args:
            names: Name and aliases.
            one_allowed: An object stands for an array of one.
        """
        name, value = self.find(*names)
        path = f"{self.path}.{name}"
        if isinstance(value, list):
            return [(f"{path}[{index}]", element) for index, element in enumerate(value)]
        if one_allowed and isinstance(value, dict):
            return [(path, value)]
        if value is not None:
            self._wrong(name, "expected an array")
        return None

    def objects(self, *names: str, one_allowed: bool = False) -> Iterator[Node]:
        """Elements of an array of objects."""
        for path, value in self.entries(*names, one_allowed=one_allowed) or ():
            mapping = as_mapping(value)
            if mapping is None:
                self.faults.fail(path, "expected an object")
            else:
                yield Node(mapping, path, self.faults)

    def missing(self, name: str) -> LeftOut:
        """A required property is not there: raise what this returns."""
        return self.faults.leave_out(self.path, f"{name} needed")

    def _wrong(self, name: str, cause: str) -> None:
        self.faults.fail(f"{self.path}.{name}", cause)
