"""The one form in which JSON carries instants: ``YYYY-MM-DD HH:MM:SS`` in UTC (spec messages.md 3)."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_CHARACTERS = 19
_NOT_OF_THE_FORM = "not of the form YYYY-MM-DD HH:MM:SS"
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} (?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}")


def parse_timestamp(text: str) -> datetime:
    """Aware UTC instant.

    Raises:
        ValueError: Not exactly of that form, or no real date and time.
    """
    # The bound keeps arbitrary text out of the cache.
    if len(text) != _CHARACTERS:
        raise ValueError(_NOT_OF_THE_FORM)
    return _parse(text)


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> datetime:
    """Thousands of messages are due in the same second, or were first seen in it."""
    if _FORM.fullmatch(text) is None:
        raise ValueError(_NOT_OF_THE_FORM)
    return datetime.fromisoformat(text + "+00:00")  # half the time of building it from numbers


def format_timestamp(at: datetime) -> str:
    """Text of an aware UTC instant; fractions of a second are cut off."""
    return _format_second((at - _EPOCH) // _SECOND)


@functools.lru_cache(maxsize=64)
def _format_second(seconds: int) -> str:
    """Text of a second since the epoch; thousands of results are of the same one."""
    at = _EPOCH + timedelta(seconds=seconds)
    # isoformat takes three times as long: it also asks for the offset from UTC.
    date = (at.year, at.month, at.day, at.hour, at.minute, at.second)
    return "%04d-%02d-%02d %02d:%02d:%02d" % date  # noqa: UP031 - a quarter of the time of an f-string
