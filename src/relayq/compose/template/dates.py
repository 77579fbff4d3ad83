"""Dates of ``date_format``: understood in the spellings mail and JSON use, written by the letters of strftime.

Always UTC and English: neither the zone nor the language of the machine may show in somebody's mail.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

MAX_CHARACTERS = 255
"""Longest result (spec templates.md 5.1), and longest text that can be a date."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_MONTH_NUMBERS = {name[:3].lower(): number for number, name in enumerate(_MONTHS, 1)}
_ZONE_HOURS = {"est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}

_TIME = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?"
_ZONE = (
    r"(?:\s*(?P<zone>z|ut|utc|gmt|[ecmp][sd]t|(?P<sign>[+-])(?P<zone_hours>[0-9]{2}):?(?P<zone_minutes>[0-9]{2})?))?"
)
_COMMENT = r"(?:\s+\([^()]*\))?"
_DAY_NAME = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_MONTH_NAME = r"(?P<month_name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_YEAR = r"(?P<year>[0-9]{4}|[0-9]{2})"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        rf"(?P<year>[0-9]{{4}})-(?P<month>[0-9]{{1,2}})-(?P<day>[0-9]{{1,2}})(?:(?:t|\s+){_TIME}{_ZONE})?",
        rf"{_DAY_NAME}(?P<day>[0-9]{{1,2}})[ -]+{_MONTH_NAME}[ -]+{_YEAR}(?:\s+{_TIME}{_ZONE})?{_COMMENT}",
        rf"{_DAY_NAME}{_MONTH_NAME}\s+(?P<day>[0-9]{{1,2}})\s+{_TIME}\s+(?P<year>[0-9]{{4}})",
    )
)
_RELATIVE = re.compile(
    r"(?P<count>[+-]\s*[0-9]{1,9})\s*(?P<unit>second|minute|hour|day|week|month|year)s?", re.IGNORECASE
)
_WORDS = {"now": 0, "today": 0, "yesterday": -1, "tomorrow": 1}
_DIRECTIVE = re.compile(r"%([-_0^#]?)[EO]?([A-Za-z%+])")


def format_date(text: str, form: str, now: int) -> str | None:
    """A date in another form, ``None`` when it is no date or the result is empty or too long.

    Args:
        text: The date; empty for now, digits for Unix time.
        form: Format in the letters of POSIX strftime.
        now: Unix time in seconds.
    """
    try:
        moment = _parse(text, datetime.fromtimestamp(now, UTC))
        return None if moment is None else _format(moment.astimezone(UTC), form)
    except (ValueError, OverflowError, OSError):
        return None  # no day of the calendar, or one outside the years 1 to 9999


def _parse(text: str, now: datetime) -> datetime | None:
    if len(text) > MAX_CHARACTERS:
        return None
    text = text.strip()
    if not text:
        return now
    if text.isascii() and text.isdigit():
        return datetime.fromtimestamp(int(text), UTC)
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return _from_parts(match)
    if text.lower() in _WORDS:
        return now + timedelta(days=_WORDS[text.lower()])
    match = _RELATIVE.fullmatch(text)
    return None if match is None else _shifted(now, int("".join(match["count"].split())), match["unit"].lower())


def _from_parts(match: re.Match[str]) -> datetime:
    parts = match.groupdict()
    month_name = parts.get("month_name")
    month = _MONTH_NUMBERS[month_name.lower()] if month_name else int(parts["month"])
    year = int(parts["year"])
    if len(parts["year"]) == 2:
        year += 1900 if year >= 50 else 2000  # RFC 5322 section 4.3
    second = int(parts["second"] or 0)
    if second == 60:
        second = 59  # a leap second
    return datetime(
        year, month, int(parts["day"]), int(parts["hour"] or 0), int(parts["minute"] or 0), second, tzinfo=_zone(parts)
    )


def _zone(parts: dict[str, str | None]) -> timezone:
    name = (parts.get("zone") or "z").lower()
    if parts.get("sign"):
        offset = timedelta(hours=int(parts["zone_hours"] or 0), minutes=int(parts["zone_minutes"] or 0))
        return timezone(-offset if parts["sign"] == "-" else offset)
    return timezone(timedelta(hours=_ZONE_HOURS.get(name, 0)))


def _shifted(now: datetime, count: int, unit: str) -> datetime:
    if unit not in {"month", "year"}:
        return now + timedelta(**{f"{unit}s": count})
    months = now.year * 12 + now.month - 1 + (count * 12 if unit == "year" else count)
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise ValueError("outside the calendar")
    # The last day of a shorter month, not one of the month behind it.
    return now.replace(year=year, month=month + 1, day=min(now.day, calendar.monthrange(year, month + 1)[1]))


def _format(moment: datetime, form: str) -> str | None:
    pieces: list[str] = []
    length = at = 0
    for match in _DIRECTIVE.finditer(form):
        piece = form[at : match.start()] + _field(moment, match)
        at = match.end()
        pieces.append(piece)
        length += len(piece)
        if length > MAX_CHARACTERS:
            return None
    pieces.append(form[at:])
    length += len(form) - at
    return "".join(pieces) if 0 < length <= MAX_CHARACTERS else None


def _field(moment: datetime, match: re.Match[str]) -> str:
    flag, letter = match.groups()
    if letter in _COMPOSED:
        text = _format(moment, _COMPOSED[letter]) or ""
    elif letter in _NUMBERS:
        value, width, padding = _NUMBERS[letter]
        padding = {"_": " ", "0": "0"}.get(flag, padding)
        text = str(value(moment)) if flag == "-" else str(value(moment)).rjust(width, padding)
    elif letter in _TEXTS:
        text = _TEXTS[letter](moment)
    else:
        return match[0]
    return text.upper() if flag in {"^", "#"} else text


# Letter → value, width, padding.
_NUMBERS: dict[str, tuple[Callable[[datetime], int], int, str]] = {
    "C": (lambda moment: moment.year // 100, 2, "0"),
    "d": (lambda moment: moment.day, 2, "0"),
    "e": (lambda moment: moment.day, 2, " "),
    "g": (lambda moment: moment.isocalendar().year % 100, 2, "0"),
    "G": (lambda moment: moment.isocalendar().year, 4, "0"),
    "H": (lambda moment: moment.hour, 2, "0"),
    "I": (lambda moment: moment.hour % 12 or 12, 2, "0"),
    "j": (lambda moment: moment.timetuple().tm_yday, 3, "0"),
    "k": (lambda moment: moment.hour, 2, " "),
    "l": (lambda moment: moment.hour % 12 or 12, 2, " "),
    "m": (lambda moment: moment.month, 2, "0"),
    "M": (lambda moment: moment.minute, 2, "0"),
    "s": (lambda moment: int(moment.timestamp()), 1, "0"),
    "S": (lambda moment: moment.second, 2, "0"),
    "u": (lambda moment: moment.isoweekday(), 1, "0"),
    "U": (lambda moment: (moment.timetuple().tm_yday + 6 - moment.isoweekday() % 7) // 7, 2, "0"),
    "V": (lambda moment: moment.isocalendar().week, 2, "0"),
    "w": (lambda moment: moment.isoweekday() % 7, 1, "0"),
    "W": (lambda moment: (moment.timetuple().tm_yday + 6 - moment.weekday()) // 7, 2, "0"),
    "y": (lambda moment: moment.year % 100, 2, "0"),
    "Y": (lambda moment: moment.year, 4, "0"),
}
_TEXTS: dict[str, Callable[[datetime], str]] = {
    "a": lambda moment: _DAYS[moment.weekday()][:3],
    "A": lambda moment: _DAYS[moment.weekday()],
    "b": lambda moment: _MONTHS[moment.month - 1][:3],
    "B": lambda moment: _MONTHS[moment.month - 1],
    "h": lambda moment: _MONTHS[moment.month - 1][:3],
    "n": lambda moment: "\n",
    "p": lambda moment: "AM" if moment.hour < 12 else "PM",
    "P": lambda moment: "am" if moment.hour < 12 else "pm",
    "t": lambda moment: "\t",
    "z": lambda moment: "+0000",
    "Z": lambda moment: "UTC",
    "%": lambda moment: "%",
}
_COMPOSED = {
    "c": "%a %b %e %H:%M:%S %Y",
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "r": "%I:%M:%S %p",
    "R": "%H:%M",
    "T": "%H:%M:%S",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
}
