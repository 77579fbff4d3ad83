"""Modifiers that look at values as they are, arrays and objects among them (spec templates.md 5)."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator

from relayq.compose.template.context import Rendering
from relayq.compose.template.escaping import escape_json, octets
from relayq.compose.template.limits import check_growth
from relayq.compose.template.text_modifiers import Arguments
from relayq.compose.template.values import is_collection, is_empty, text_of, whole_number_of

ValueModifier = Callable[[Rendering, object, Arguments], object]


def cat(rendering: Rendering, value: object, arguments: Arguments) -> str:
    """The value and the arguments in a row."""
    texts = [text_of(value), *map(text_of, arguments)]
    check_growth(sum(map(len, texts)))
    return "".join(texts)


def count(rendering: Rendering, value: object, arguments: Arguments) -> int:
    """Number of members."""
    return len(value) if isinstance(value, list | dict) else 0


def default(rendering: Rendering, value: object, arguments: Arguments) -> object:
    """Something else for an empty value."""
    return arguments[0] if is_empty(value) else value


def empty(rendering: Rendering, value: object, arguments: Arguments) -> bool:
    """It prints as nothing, or has no members."""
    return is_empty(value)


def jsonencode(rendering: Rendering, value: object, arguments: Arguments) -> str:
    """A text for the inside of a JSON string; an array or object as compact JSON."""
    if not is_collection(value):
        text = text_of(value)
        rendering.weigh(text)
        return escape_json(text)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def member_range(rendering: Rendering, value: object, arguments: Arguments) -> object:
    """Members from a position up to, not including, another one; of an object with their keys."""
    start, end = (0, arguments[0]) if len(arguments) == 1 else (whole_number_of(arguments[0]), arguments[1])
    first, last = max(start, 0), max(whole_number_of(end), 0)
    if isinstance(value, list):
        rendering.spend(len(value))
        return value[first:last]
    if isinstance(value, dict):
        rendering.spend(len(value))
        last = min(last, len(value))
        return dict(itertools.islice(value.items(), min(first, last), last))
    return value


def digest(algorithm: str) -> ValueModifier:
    """Modifier that gives the digest of a text, or of all texts in an array or object, in hexadecimal digits."""

    def modifier(rendering: Rendering, value: object, arguments: Arguments) -> str:
        state = hashlib.new(algorithm, usedforsecurity=False)
        for text in _leaves(value):
            rendering.weigh(text)
            rendering.spend(8)
            state.update(octets(text))
        return state.hexdigest()

    return modifier


def _leaves(value: object) -> Iterator[str]:
    """Printed form of everything inside, depth first, keys left out."""
    waiting = [iter((value,))]
    while waiting:
        for member in waiting[-1]:
            if isinstance(member, list):
                waiting.append(iter(member))
                break
            if isinstance(member, dict):
                waiting.append(iter(member.values()))
                break
            yield text_of(member)
        else:
            waiting.pop()
