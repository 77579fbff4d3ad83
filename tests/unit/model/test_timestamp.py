"""The one form of instants in JSON (spec messages.md 3)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from relayq.model.timestamp import format_timestamp, parse_timestamp


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2031-05-01 07:30:00", datetime(2031, 5, 1, 7, 30, tzinfo=UTC)),
        ("2016-02-29 23:59:59", datetime(2016, 2, 29, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01 00:00:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31 23:59:59", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_the_exact_form_is_read_and_written(text: str, at: datetime) -> None:
    assert parse_timestamp(text) == at
    assert format_timestamp(at) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2031-05-01T07:30:00",
        "2031-05-01 07:30:00Z",
        "2031-05-01 07:30:00+00:00",
        "2031-05-01 07:30:00.5",
        "2031-05-01 07:30",
        "2031-05-01",
        "2031-5-01 07:30:00",
        "2031-05-1 07:30:00",
        "2031-05-01 7:30:00",
        "31-05-01 07:30:00",
        " 2031-05-01 07:30:00",
        "2031-05-01 07:30:00 ",
        "2031-05-01 07:30:00\n",
        "2031-05-01  07:30:00",
        "2016-02-30 00:00:00",
        "2015-02-29 00:00:00",
        "2031-13-01 00:00:00",
        "2031-00-01 00:00:00",
        "2031-05-01 24:00:00",
        "2031-05-01 07:60:00",
        "2031-05-01 07:30:60",
        "0000-00-00 00:00:00",
        "٢٠٣١-05-01 07:30:00",
        "+031-05-01 07:30:00",
        "1935392400",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_timestamp(text)


def test_fractions_are_cut_off() -> None:
    assert format_timestamp(datetime(2031, 5, 1, 7, 30, 0, 999_999, tzinfo=UTC)) == "2031-05-01 07:30:00"
