from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from relayq.model import Message
from relayq.model.message_json import ParseRules, decode_members, parse_message
from relayq.policy.retry import RetryRules
from relayq.policy.storage import (
    StoragePolicy,
    StorageRules,
    deletes_body,
    expiry_for_results,
    expiry_of,
    has_content,
    is_generated,
    keeps_body,
    members_left_out,
    needs_longer_life,
    parse_source,
    stored_form,
    stores_for_outbox,
    stores_for_results,
    with_body,
)

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
OURS = "mta-" + "0" * 32
ALL, OUT, IN, NONE = StoragePolicy.ALL, StoragePolicy.OUT, StoragePolicy.IN, StoragePolicy.NONE


def message(**members: Any) -> Message:
    body = msgspec.json.encode({"envelope": "b@shop.test", "recipient": "anna@example.test", **members})
    return parse_message(decode_members(body), ParseRules())


def raw_message(mime: bytes) -> Message:
    body = b'{"envelope":"b@shop.test","recipient":"anna@example.test","mime":' + mime + b"}"
    return parse_message(decode_members(body), ParseRules())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (OURS, True),
        ("mta-" + "0123456789abcdef" * 2, True),
        ("mta-" + "0" * 31, False),
        ("mta-" + "0" * 33, False),
        ("mta-" + "A" * 32, False),
        ("mta-" + "0" * 32 + "\n", False),
        ("MTA-" + "0" * 32, False),
        ("campaign", False),
        (None, False),
    ],
)
def test_keys_of_ours(key: str | None, expected: bool) -> None:
    assert is_generated(key) is expected


@pytest.mark.parametrize(
    ("body", "is_source"),
    [
        (b'{"a":1}', True),
        (b' \r\n\t{"a":1}\n', True),
        (b"{}", True),
        (b'{"a":"\\ud800"}', True),
        (b"[]", False),
        (b'"text"', False),
        (b'{"a":1} x', False),
        (b'{"a":1', False),
        (b'{"a":"\xff"}', False),
        (b"{" * 10_000, False),
        (b"From: x\r\n\r\n{}", False),
        (b'\xef\xbb\xbf{"a":1}', False),
        (b"", False),
    ],
)
def test_what_is_a_source(body: bytes, is_source: bool) -> None:
    assert (parse_source(body) is not None) is is_source
    loaded = with_body(message(key="k"), body)
    assert (loaded.mime_object is not None) is is_source
    assert loaded.mime == (None if is_source else body)


@pytest.mark.parametrize(
    ("mime", "stored"),
    [
        (b'"Subject: \xc3\xa9\\r\\n\\r\\n.x\\n"', "Subject: \u00e9\r\n\r\n.x\n".encode()),
        (b'{ "a" : [ 1.50, 1e400, "\\u00e9" ] }', b'{"a":[1.50,1e400,"\\u00e9"]}'),
        (b'"{\\"a\\":1}"', None),
        (b'{"a":"\\ud800"}', None),
    ],
)
def test_what_is_stored_comes_back_the_same(mime: bytes, stored: bytes | None) -> None:
    given = raw_message(mime)
    assert stored_form(given) == stored
    if stored is not None:
        loaded = with_body(message(key="k"), stored)
        assert loaded.mime == given.mime
        assert (loaded.mime_object is None) == (given.mime_object is None)


@pytest.mark.parametrize("members", [{"mime": "x"}, {"mime": {"subject": "x"}}])
@pytest.mark.parametrize(
    ("policy", "to_outbox", "to_results"),
    [(ALL, True, True), (OUT, True, False), (IN, False, False), (NONE, False, False)],
)
def test_where_content_in_the_json_goes(
    members: dict[str, Any], policy: StoragePolicy, to_outbox: bool, to_results: bool
) -> None:
    assert stores_for_outbox(message(**members), policy) is to_outbox
    assert stores_for_outbox(message(**members, keepmime=True), policy) is to_outbox
    assert stores_for_results(message(**members, keepmime=True), policy) is to_results
    assert not stores_for_results(message(**members), policy)
    both = message(**members, key="k", keepmime=True)
    assert not stores_for_outbox(both, policy)
    assert not stores_for_results(both, policy)
    assert not deletes_body(message(**members, key="k"), policy)
    assert not keeps_body(both, policy)


@pytest.mark.parametrize("policy", StoragePolicy)
@pytest.mark.parametrize("key", ["k", OURS])
def test_where_content_in_the_store_goes(policy: StoragePolicy, key: str) -> None:
    stored, kept = message(key=key), message(key=key, keepmime=True)
    assert not has_content(stored)
    for one in (stored, kept):
        assert not stores_for_outbox(one, policy)
        assert not stores_for_results(one, policy)
    assert deletes_body(stored, policy) is (policy is not NONE)
    assert keeps_body(kept, policy) is (policy is not NONE)
    assert not deletes_body(kept, policy)
    assert not keeps_body(stored, policy)


@pytest.mark.parametrize(
    ("members", "is_stored", "left_out"),
    [
        ({"mime": "x"}, False, {"mime"}),
        ({"mime": "x", "keepmime": True}, False, set()),
        ({"mime": "x", "keepmime": True}, True, {"mime"}),
        ({"key": "k"}, False, {"mime"}),
        ({"key": OURS}, False, {"mime", "key"}),
        ({"key": OURS, "keepmime": True}, False, set()),
        ({"key": "k", "mime": "x"}, False, {"mime"}),
        ({"key": OURS, "mime": "x"}, False, {"mime", "key"}),
    ],
)
def test_what_results_leave_out(members: dict[str, Any], is_stored: bool, left_out: set[str]) -> None:
    assert set(members_left_out(message(**members), is_stored=is_stored)) == left_out


DAY = timedelta(days=1)
TTL = timedelta(hours=1)


@pytest.mark.parametrize(
    ("members", "seen_at", "max_delivertime", "expected"),
    [
        ({"maxdelivertime": "2026-11-05 00:00:00"}, NOW, 86400.0, datetime(2026, 11, 5, 1, 0, tzinfo=UTC)),
        ({}, NOW - timedelta(hours=3), 86400.0, NOW - timedelta(hours=3) + DAY + TTL),
        ({}, None, 86400.0, NOW + DAY + TTL),
        ({"delayed": "2026-11-03 12:00:00"}, None, 86400.0, NOW + 3 * DAY + TTL),
        ({"delayed": "2026-10-03 12:00:00"}, None, 86400.0, NOW + DAY + TTL),
        ({}, NOW, 0.0, NOW + 30 * DAY + TTL),
        ({"maxdelivertime": "9999-12-31 23:59:59"}, NOW, 0.0, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_expiry(members: dict[str, Any], seen_at: datetime | None, max_delivertime: float, expected: datetime) -> None:
    rules = StorageRules(ttl=3600.0, schedule=RetryRules(max_delivertime=max_delivertime))
    given = message(mime="x", **members)
    assert expiry_of(given, NOW, seen_at, rules) == expected
    assert expiry_for_results(given, NOW, seen_at, rules) == max(expected, NOW + TTL)


def test_readers_of_a_late_result_have_time() -> None:
    rules = StorageRules(ttl=3600.0)
    late = message(mime="x", maxdelivertime="2026-10-01 00:00:00")
    assert expiry_of(late, NOW, NOW, rules) < NOW
    assert expiry_for_results(late, NOW, NOW, rules) == NOW + TTL


@pytest.mark.parametrize(
    ("members", "max_delivertime", "policy", "expected"),
    [
        ({"key": OURS}, 0.0, ALL, True),
        ({"key": OURS}, 86400.0, ALL, False),
        ({"key": OURS, "maxdelivertime": "2027-01-01 00:00:00"}, 0.0, ALL, False),
        ({"key": OURS}, 0.0, NONE, False),
        ({"key": "theirs"}, 0.0, ALL, False),
        ({"key": OURS, "mime": "x"}, 0.0, ALL, False),
        ({"mime": "x"}, 0.0, ALL, False),
    ],
)
def test_retries_move_the_expiry_only_where_no_deadline_fixed_it(
    members: dict[str, Any], max_delivertime: float, policy: StoragePolicy, expected: bool
) -> None:
    rules = StorageRules(policy=policy, schedule=RetryRules(max_delivertime=max_delivertime))
    assert needs_longer_life(message(**members), NOW, rules) is expected
