"""The table of modifiers, and what they have in common: how they treat arrays, missing arguments and large values.

An unknown modifier changes nothing, nor does one with too few arguments (spec templates.md 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from relayq.compose.template import text_modifiers as texts
from relayq.compose.template import value_modifiers as values
from relayq.compose.template.context import Evaluate, Rendering
from relayq.compose.template.escaping import (
    escape_base64,
    escape_url,
    unescape_json,
    unescape_url,
)
from relayq.compose.template.text_modifiers import Arguments
from relayq.compose.template.value_modifiers import ValueModifier
from relayq.compose.template.values import is_collection, text_of

Step = Callable[[Rendering, object], object]
TextModifier = Callable[[Rendering, str, Arguments], object]

_UNCHANGED = object()


class Argument(NamedTuple):
    """A constant, or a variable and how to look it up."""

    constant: object
    evaluate: Evaluate | None


class Modifier(NamedTuple):
    """Entry of the table.

    Attributes:
        apply: Makes the new value.
        least: Arguments it needs.
    """

    apply: ValueModifier
    least: int = 0


def _on_text(apply: TextModifier, least: int = 0, *, of_collection: object = _UNCHANGED) -> Modifier:
    """Works on the printed form; an array or object gives ``of_collection``, or stays as it is."""

    def modifier(rendering: Rendering, value: object, arguments: Arguments) -> object:
        if is_collection(value):
            return value if of_collection is _UNCHANGED else of_collection
        text = text_of(value)
        rendering.weigh(text)
        return apply(rendering, text, arguments)

    return Modifier(modifier, least)


def _plain(convert: Callable[[str], str]) -> Modifier:
    """Works on the printed form and needs nothing else."""
    return _on_text(lambda rendering, text, arguments: convert(text))


def _number_format(rendering: Rendering, value: object, arguments: Arguments) -> str:
    return texts.number_format(value, arguments)


MODIFIERS: dict[str, Modifier] = {
    "base64_decode": _on_text(texts.base64_decode),
    "base64_encode": _plain(escape_base64),
    "capitalize": _on_text(texts.capitalize),
    "cat": Modifier(values.cat, 1),
    "count": Modifier(values.count),
    "count_characters": _on_text(texts.count_characters, of_collection=0),
    "count_paragraphs": _on_text(texts.count_paragraphs, of_collection=0),
    "count_words": _on_text(texts.count_words, of_collection=0),
    "date_format": _on_text(texts.date_format),
    "default": Modifier(values.default, 1),
    "empty": Modifier(values.empty),
    "escape": _on_text(texts.escape),
    "indent": _on_text(texts.indent),
    "jsondecode": _plain(unescape_json),
    "jsonencode": Modifier(values.jsonencode),
    **{algorithm: Modifier(values.digest(algorithm)) for algorithm in ("md5", "sha1", "sha256", "sha512")},
    "nl2br": _on_text(texts.nl2br),
    "number_format": Modifier(_number_format, 1),
    "range": Modifier(values.member_range, 1),
    "regex_replace": _on_text(texts.regex_replace, 2),
    "replace": _on_text(texts.replace, 2),
    "spacify": _on_text(texts.spacify),
    "strlen": _on_text(texts.strlen, of_collection=0),
    "strpos": _on_text(texts.strpos, 1, of_collection=-1),
    "strstr": _on_text(texts.strstr, 1),
    "substr": _on_text(texts.substr, 1),
    **dict.fromkeys(("tolower", "lower"), _on_text(texts.tolower)),
    **dict.fromkeys(("toupper", "upper"), _on_text(texts.toupper)),
    "trim": _on_text(texts.trim),
    "truncate": _on_text(texts.truncate),
    "ucfirst": _on_text(texts.ucfirst),
    "urldecode": _plain(unescape_url),
    "urlencode": _plain(escape_url),
}
"""By the names templates use; ``raw``, which changes no value, is understood by the compiler."""


def prepare_modifier(name: str, arguments: Sequence[Argument]) -> Step | None:
    """The modifier with these arguments as a step of a chain, ``None`` for one that changes nothing."""
    modifier = MODIFIERS.get(name)
    if modifier is None or len(arguments) < modifier.least:
        return None
    apply = modifier.apply
    if any(argument.evaluate is not None for argument in arguments):
        given = tuple(arguments)

        def step(rendering: Rendering, value: object) -> object:
            evaluated = [
                argument.constant if argument.evaluate is None else argument.evaluate(rendering) for argument in given
            ]
            return _checked(rendering, apply(rendering, value, evaluated))

        return step
    constants = tuple(argument.constant for argument in arguments)
    return lambda rendering, value: _checked(rendering, apply(rendering, value, constants))


def _checked(rendering: Rendering, value: object) -> object:
    if isinstance(value, str):
        rendering.weigh(value)
    return value
