"""Dates: what is understood, and every letter of the format (spec templates.md 5.1)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from relayq.compose.template.dates import format_date
from tests.unit.compose.template.rendering import NOW_UNIX, render

ISO = "%Y-%m-%dT%H:%M:%S"


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """A machine that is not in UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Auckland"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", "2026-11-21T20:00:00"),
        ("  ", "2026-11-21T20:00:00"),
        ("0", "1970-01-01T00:00:00"),
        ("1533081600", "2018-08-01T00:00:00"),
        ("2018-08-01", "2018-08-01T00:00:00"),
        ("2018-8-1", "2018-08-01T00:00:00"),
        (" 2018-08-01 13:14 ", "2018-08-01T13:14:00"),
        ("2018-08-01 13:14:15", "2018-08-01T13:14:15"),
        ("2018-08-01T13:14:15Z", "2018-08-01T13:14:15"),
        ("2018-08-01t13:14:15z", "2018-08-01T13:14:15"),
        ("2018-08-01T13:14:15.678Z", "2018-08-01T13:14:15"),
        ("2018-08-01T13:14:15+02:00", "2018-08-01T11:14:15"),
        ("2018-08-01T13:14:15-0530", "2018-08-01T18:44:15"),
        ("2018-08-01 13:14 +02", "2018-08-01T11:14:00"),
        ("2018-08-01 13:14:15 UTC", "2018-08-01T13:14:15"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59"),
        ("Wed, 01 Aug 2018 13:14:15 +0200", "2018-08-01T11:14:15"),
        ("Wed, 1 Aug 2018 13:14 GMT", "2018-08-01T13:14:00"),
        ("1 Aug 18 13:14:15 EST", "2018-08-01T18:14:15"),
        ("1 August 1998", "1998-08-01T00:00:00"),
        ("01 Aug 50 00:00 UT", "1950-08-01T00:00:00"),
        ("Wed, 01 Aug 2018 13:14:15 +0200 (CEST)", "2018-08-01T11:14:15"),
        ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37"),
        ("Sun Nov  6 08:49:37 1994", "1994-11-06T08:49:37"),
        ("now", "2026-11-21T20:00:00"),
        ("TODAY", "2026-11-21T20:00:00"),
        ("yesterday", "2026-11-20T20:00:00"),
        ("tomorrow", "2026-11-22T20:00:00"),
        ("+30 seconds", "2026-11-21T20:00:30"),
        ("+1 minute", "2026-11-21T20:01:00"),
        ("-2 hours", "2026-11-21T18:00:00"),
        ("+ 3 Days", "2026-11-24T20:00:00"),
        ("+1week", "2026-11-28T20:00:00"),
        ("+1 month", "2026-12-21T20:00:00"),
        ("-11 months", "2025-12-21T20:00:00"),
        ("+2 years", "2028-11-21T20:00:00"),
        ("253402300799", "9999-12-31T23:59:59"),
    ],
)
def test_understood(text: str, result: str) -> None:
    assert format_date(text, ISO, NOW_UNIX) == result


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "true",
        "-5",
        "1.5",
        "١٢٣",
        "253402300800",
        "9" * 100,
        "2018-13-01",
        "2018-02-30",
        "2018-08-01 24:00",
        "2018-08-01 12:60",
        "2018-08-01 12:00:61",
        "2018-08-01 12:00 +99:00",
        "2018-08-01 12:00 CET",
        "0000-01-01",
        "31 Foo 2018",
        "31 Feb 2018",
        "1 day",
        "+1 fortnight",
        "+999999999 years",
        "-999999999 weeks",
        "-3000 years",
        " " * 300,
        "2018-08-01" + " " * 300,
    ],
)
def test_not_understood(text: str) -> None:
    assert format_date(text, ISO, NOW_UNIX) is None


def test_value_stays_when_it_is_not_understood() -> None:
    assert render("{'soon'|date_format} {$n|date_format} {true|date_format}", {"n": 1.5}) == "soon 1.5 true"


def test_numbers_and_nothing() -> None:
    assert render("{$n|date_format:'%F'} {$none|date_format:'%F'}", {"n": 86400}) == "1970-01-02 2026-11-21"


def test_last_day_of_a_shorter_month() -> None:
    january = int(datetime(2027, 1, 31, tzinfo=UTC).timestamp())
    leap_day = int(datetime(2028, 2, 29, tzinfo=UTC).timestamp())
    assert format_date("+1 month", "%F", january) == "2027-02-28"
    assert format_date("+1 year", "%F", leap_day) == "2029-02-28"
    assert format_date("-1 month", "%F", january) == "2026-12-31"


LETTERS = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%"


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2018, 8, 1, 0, 4, 5, tzinfo=UTC),
        datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC),
        datetime(2021, 1, 3, 13, 59, 59, tzinfo=UTC),
        datetime(2024, 12, 30, 23, 0, 0, tzinfo=UTC),
        datetime(2023, 1, 1, 9, 0, 0, tzinfo=UTC),
    ],
    ids=str,
)
def test_letters_are_those_of_the_c_locale(letter: str, moment: datetime) -> None:
    # The process of the tests has not called setlocale, and the fields are those of UTC.
    expected = time.strftime(f"<%{letter}>", moment.timetuple())
    if letter == "s":
        expected = f"<{int(moment.timestamp())}>"
    elif letter == "z":
        expected = "<+0000>"
    elif letter == "Z":
        expected = "<UTC>"
    assert format_date(str(int(moment.timestamp())), f"<%{letter}>", 0) == expected


@pytest.mark.parametrize(
    ("form", "result"),
    [
        ("%-d.%-m.%Y", "1.8.2018"),
        ("%_d|%0e|%_H", " 1|01| 0"),
        ("%^a %^B %#b", "WED AUGUST AUG"),
        ("%Ey %Od", "18 01"),
        ("%Q %", "%Q %"),
        ("%%d", "%d"),
        ("plain", "plain"),
        ("%^D", "08/01/18"),
    ],
)
def test_formats(form: str, result: str) -> None:
    assert format_date("1533081600", form, 0) == result


def test_length_of_the_result() -> None:
    assert format_date("0", "x" * 255, 0) == "x" * 255
    assert format_date("0", "x" * 256, 0) is None
    assert format_date("0", "%A" * 10_000, 0) is None
    assert format_date("0", "", 0) is None
    assert render("{0|date_format:''}") == "0"
