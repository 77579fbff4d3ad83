"""How long answers may be used again (RFC 9111 section 4.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from relayq.policy.freshness import UNSAID_SECONDS, fresh_seconds

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, UNSAID_SECONDS),
        ({"cache-control": "max-age=600"}, 600),
        ({"cache-control": "public, MAX-AGE=600"}, 600),
        ({"cache-control": 'max-age="600"'}, 600),
        ({"cache-control": "max-age=600, s-maxage=60"}, 60),
        ({"cache-control": "max-age=600, max-age=5"}, 600),
        ({"cache-control": "max-age=600", "age": "100"}, 500),
        ({"cache-control": "max-age=600", "age": "700"}, 0),
        ({"cache-control": "max-age=600", "age": "old"}, 600),
        ({"cache-control": "max-age=0"}, 0),
        ({"cache-control": "max-age=-5"}, 0),
        ({"cache-control": "max-age=soon"}, 0),
        ({"cache-control": "max-age=99999999999"}, 0),
        ({"cache-control": "max-age"}, 0),
        ({"cache-control": "no-store"}, 0),
        ({"cache-control": "max-age=600, private"}, 0),
        ({"cache-control": 'private="set-cookie", max-age=600'}, 0),
        ({"cache-control": "no-cache"}, 0),
        ({"cache-control": "max-age=600", "vary": "*"}, 0),
        ({"cache-control": "max-age=600", "vary": "accept-encoding"}, 600),
        ({"cache-control": "max-age=600", "expires": at(5)}, 600),
        ({"expires": at(300), "date": at(0)}, 300),
        ({"expires": at(300)}, 300),
        ({"expires": at(300), "date": at(100)}, 200),
        ({"expires": at(-300)}, 0),
        ({"expires": "0"}, 0),
        ({"expires": "-1"}, 0),
        ({"last-modified": at(-36_000)}, 3600),
        ({"last-modified": at(-10)}, UNSAID_SECONDS),
        ({"last-modified": at(10)}, UNSAID_SECONDS),
        ({"last-modified": "Sat, 21 Nov 2026 10:00:00 -0000"}, 3600),
        ({"last-modified": "x" * 2000}, UNSAID_SECONDS),
        ({"date": "yesterday"}, UNSAID_SECONDS),
        ({"cache-control": ",,;;= =," * 1000}, UNSAID_SECONDS),
    ],
)
def test_seconds(headers: dict[str, str], seconds: float) -> None:
    assert fresh_seconds(headers, NOW) == seconds
