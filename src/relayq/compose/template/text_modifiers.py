"""Modifiers that make one text of another (spec templates.md 5). Lengths and positions count characters.

Each function gets the rendering, the printed value and the arguments that were given, as many as its entry in the table
of ``relayq.compose.template.modifiers`` demands. Whatever it returns is checked for its size there; a function only has
to see to it that it does not make something huge first.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterator, Sequence

from relayq.compose.template.context import Rendering
from relayq.compose.template.dates import format_date
from relayq.compose.template.errors import TemplateError
from relayq.compose.template.escaping import ESCAPERS, unescape_base64
from relayq.compose.template.limits import MAX_OCTETS, check_growth, octets_of
from relayq.compose.template.regexes import replace_matches
from relayq.compose.template.values import number_of, text_of, truth_of, whole_number_of

Arguments = Sequence[object]

_SLICE = 1 << 16
_BLANK = re.compile(r"\s")
_WORD = re.compile(r"\S+")
_DIGIT = re.compile(r"\d")
_COUNTED_WORD = re.compile(r"[^\W_]\S*+")
_BLANK_CHARACTERS = {point: None for point in range(0x3001) if chr(point).isspace()}
_TRIMMED = " \t\n\r\0\v"
_LINE_BREAK = re.compile(r"\r?\n")
_MAX_DECIMALS = 20
# A double has up to 309 digits before the point.
_DECIMALS = decimal.Context(prec=400, rounding=decimal.ROUND_HALF_UP)
_QUANTA = tuple(decimal.Decimal(1).scaleb(-places) for places in range(_MAX_DECIMALS + 1))
_WORDS_LENGTH = 80


def _argument(arguments: Arguments, at: int, default: object) -> object:
    return arguments[at] if at < len(arguments) else default


def _slices(rendering: Rendering, text: str) -> Iterator[str]:
    """A text in pieces that end behind white space, so that a long one takes neither much memory nor unseen time."""
    at = 0
    while at < len(text):
        match = _BLANK.search(text, at + _SLICE)
        end = len(text) if match is None else match.end()
        rendering.spend((end - at) * 8)
        yield text[at:end]
        at = end


# Counting


def count_characters(rendering: Rendering, text: str, arguments: Arguments) -> int:
    """Characters, white space only if asked for."""
    return len(text) if truth_of(_argument(arguments, 0, False)) else len(text.translate(_BLANK_CHARACTERS))


def count_paragraphs(rendering: Rendering, text: str, arguments: Arguments) -> int:
    """Line breaks."""
    return text.count("\n")


def count_words(rendering: Rendering, text: str, arguments: Arguments) -> int:
    """Pieces between white space that have a letter or digit in them."""
    return sum(1 for piece in _slices(rendering, text) for _ in _COUNTED_WORD.finditer(piece))


def strlen(rendering: Rendering, text: str, arguments: Arguments) -> int:
    """Length."""
    return len(text)


def strpos(rendering: Rendering, text: str, arguments: Arguments) -> int:
    """Where the needle begins, -1 if nowhere."""
    return text.find(text_of(arguments[0]))


# Case


def capitalize(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """First letter of every word, of words with digits only if asked for."""
    with_digits = truth_of(_argument(arguments, 0, False))

    def capital(match: re.Match[str]) -> str:
        word = match[0]
        return word if not with_digits and _DIGIT.search(word) else word[0].upper() + word[1:]

    return "".join([_WORD.sub(capital, piece) for piece in _slices(rendering, text)])


def tolower(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Lower case."""
    return text.lower()


def toupper(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Upper case."""
    return text.upper()


def ucfirst(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """First letter in upper case."""
    return text[:1].upper() + text[1:]


# Parts


def strstr(rendering: Rendering, text: str, arguments: Arguments) -> str | None:
    """From the needle on, or what is before it; null without it."""
    position = text.find(text_of(arguments[0]))
    if position < 0:
        return None
    return text[:position] if truth_of(_argument(arguments, 1, False)) else text[position:]


def substr(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """So many characters from a position on; all of it for a position outside."""
    start = whole_number_of(arguments[0])
    if not 0 <= start <= len(text):
        return text
    length = whole_number_of(_argument(arguments, 1, -1))
    return text[start:] if length < 0 else text[start : start + length]


def trim(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Without these characters at both ends."""
    return text.strip(text_of(_argument(arguments, 0, _TRIMMED)))


def truncate(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """At most so long, with a tail where something was cut off (spec templates.md 5.2)."""
    length = whole_number_of(_argument(arguments, 0, _WORDS_LENGTH))
    tail = text_of(_argument(arguments, 1, "..."))
    if length <= 0:
        return ""
    if len(text) <= length:
        return text
    kept = length - min(length, len(tail))
    if not truth_of(_argument(arguments, 2, False)):
        text = _without_last_word(text[: kept + 1])
    return text[:kept] + tail


def _without_last_word(text: str) -> str:
    """Without the last run of white space and the word behind it, all of it where there is none."""
    if text[-1:].isspace():
        return text.rstrip()
    pieces = text.rsplit(None, 1)
    if len(pieces) == 2:
        return pieces[0]
    return "" if text[:1].isspace() else text


# Changes


def indent(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Something in front of every line, as often as fits into the limits."""
    count = whole_number_of(_argument(arguments, 0, 4))
    unit = text_of(_argument(arguments, 1, " "))
    lines = text.count("\n") + 1
    room = (MAX_OCTETS - octets_of(text)) // lines // max(octets_of(unit), 1)
    prefix = unit * max(min(count, room), 0)
    return prefix + text.replace("\n", "\n" + prefix)


def nl2br(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Line breaks of HTML instead of those of the text."""
    check_growth(len(text) + 4 * text.count("\n"))
    return text.replace("\r\n", "\n").replace("\n", "<br />")


def regex_replace(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Another text for every match."""
    return replace_matches(rendering, text, text_of(arguments[0]), text_of(arguments[1]))


def replace(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Another text for every occurrence."""
    search, replacement = text_of(arguments[0]), text_of(arguments[1])
    if not search:
        return text
    check_growth(len(text) + text.count(search) * (len(replacement) - len(search)))
    return text.replace(search, replacement)


def spacify(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Something between all characters."""
    separator = text_of(_argument(arguments, 0, " "))
    check_growth(len(text) + (len(text) - 1) * len(separator))
    return separator.join(text)


# Formats


def base64_decode(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Text that base64 stands for."""
    decoded = unescape_base64(text)
    return text if decoded is None else decoded


def escape(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """Escaped for HTML or another place."""
    escaper = ESCAPERS.get(text_of(_argument(arguments, 0, "html")))
    return text if escaper is None else escaper(text)


def date_format(rendering: Rendering, text: str, arguments: Arguments) -> str:
    """A date in the given format (spec templates.md 5.1)."""
    formatted = format_date(text, text_of(_argument(arguments, 0, "%b %e, %Y")), rendering.now)
    return text if formatted is None else formatted


def number_format(value: object, arguments: Arguments) -> str:
    """A number with so many decimals, rounded half away from zero.

    Raises:
        TemplateError: It is infinite, or not a number.
    """
    number = number_of(value)
    decimals = min(max(whole_number_of(arguments[0]), 0), _MAX_DECIMALS)
    point = text_of(_argument(arguments, 1, "."))[:1]
    separator = text_of(_argument(arguments, 2, ""))[:1]
    exact = decimal.Decimal(number) if isinstance(number, int) else decimal.Decimal(repr(number))
    if not exact.is_finite():
        raise TemplateError("result is not a finite number")
    rounded = exact.quantize(_QUANTA[decimals], context=_DECIMALS)
    if rounded.is_zero():
        rounded = abs(rounded)
    if not separator:
        plain = f"{rounded:f}"
        return plain if point == "." else plain.replace(".", point)
    return f"{rounded:,f}".translate({ord(","): separator, ord("."): point})
