"""Keys of the database, and whose messages they sign (spec html-css-dkim.md 4.5)."""

from __future__ import annotations

import base64

import pytest

from relayq.compose.domain_keys import (
    NO_DOMAIN_KEYS,
    DomainKey,
    DomainKeys,
    Pattern,
    author_domain,
    read_domain_keys,
)
from relayq.compose.signing_keys import PrivateKeys, parse_signing_keys

SEED = base64.b64encode(bytes(32)).decode()
ROW = {"id": 1, "domain": "shop.example", "selector": "s1", "private_key": SEED}


@pytest.mark.parametrize(
    ("author", "domain"),
    [
        ("a@shop.example", "shop.example"),
        ("Shop <a@SHOP.example>", "shop.example"),
        ('"Doe, John <x@y.example>" <a@shop.example>', "shop.example"),
        ("a@shop.example, b@other.example", "shop.example"),
        ("a@grüße.example", "xn--gre-6ka8l.example"),
        ("(b@other.example) a@shop.example (c@third.example)", "shop.example"),
        ("(nested (b@other.example)) <a@shop.example>", "shop.example"),
        ("Team: a@shop.example, b@other.example;", "shop.example"),
        ("undisclosed:;, a@shop.example", "shop.example"),
        (",, a@shop.example", "shop.example"),
        ('"a@b"@shop.example', "shop.example"),
        ("Shop", None),
        ("", None),
        ("<>", None),
        ("a@", None),
        ("a@-bad-.example", None),
        ("a@[192.0.2.1]", None),
        (") a@shop.example", "shop.example"),
        ('"never closed a@shop.example', None),
        ("(" * 5000 + "a@shop.example", None),
    ],
)
def test_domain_of_the_first_author(author: str, domain: str | None) -> None:
    assert author_domain(f"Subject: x\r\nFrom: {author}\r\nFrom: z@last.example\r\n\r\n".encode()) == domain


def test_a_message_without_an_author() -> None:
    assert author_domain(b"Subject: x\r\n\r\nFrom: a@shop.example\r\n") is None
    assert author_domain(b"From: a@shop.example\r\n" + b"X: y\r\n" * 50_000) is None  # nobody signs that


@pytest.mark.parametrize(
    ("kind", "text", "domain", "fits"),
    [
        ("exact", "Shop.example", "shop.example", True),
        ("exact", "shop.example", "a.shop.example", False),
        ("substr", "SHOP", "my-shop.example", True),
        ("substr", "shop", "other.example", False),
        ("fnmatch", "*.shop.example", "a.shop.example", True),
        ("fnmatch", "sho[pq].example", "shoq.example", True),
        ("fnmatch", "?hop.example", "shop.example", True),
        ("fnmatch", "*.shop.example", "shop.example", False),
        ("regex", r"^(a|b)\.SHOP\.example$", "a.shop.example", True),
        ("regex", r"^shop$", "shop.example", False),
        ("regex", "(", "shop.example", False),
        ("regex", r"^(a+)+$", "a" * 60 + "!", False),
        ("global", "", "anything.example", True),
    ],
)
def test_patterns(kind: str, text: str, domain: str, fits: bool) -> None:
    assert Pattern(kind, text).matches(domain) is fits


def test_keys_of_an_author() -> None:
    (own,) = parse_signing_keys({"domain": "shop.example", "selector": "own", "key": SEED}, is_required=False)
    (shared,) = parse_signing_keys({"domain": "service.example", "selector": "all", "key": SEED}, is_required=False)
    keys = DomainKeys([DomainKey(own, ()), DomainKey(shared, (Pattern("exact", "x"), Pattern("fnmatch", "*.example")))])
    assert keys.of_author(b"From: a@shop.example\r\n\r\n") == (own, shared)
    assert keys.of_author(b"From: a@b.example\r\n\r\n") == (shared,)
    assert keys.of_author(b"From: a@b.test\r\n\r\n") == ()
    assert keys.of_author(b"Subject: x\r\n\r\n") == ()
    assert NO_DOMAIN_KEYS.of_author(b"From: a@shop.example\r\n\r\n") == ()
    assert (len(keys), len(NO_DOMAIN_KEYS)) == (2, 0)


def test_rows_become_keys() -> None:
    full = {
        **ROW, "expire": "2027-01-01 00:00:00", "headers": "X-A, X-B", "canonicalization": "simple/relaxed",
        "protocols": "dkim arc", "report": 1, "priority": -3, "oversign": 0, "identity": "a@shop.example",
        "match_dns": 1,
    }  # fmt: skip
    usual = {**ROW, "id": 2, "expire": None, "headers": "", "priority": None, "oversign": None, "match_dns": 0}
    patterns = [
        {"id": 1, "key_id": 1, "kind": "Exact", "pattern": " shop.example "},
        {"id": 2, "key_id": 1, "kind": "global", "pattern": None},
    ]
    found, notes = read_domain_keys([full, usual], patterns, PrivateKeys(), oversign=True)
    assert notes == ()
    assert found[0].patterns == (Pattern("exact", "shop.example"), Pattern("global", ""))
    assert found[0].is_bound_to_dns
    key = found[0].key
    assert (key.headers, key.protocols, key.report) == ((b"x-a", b"x-b"), frozenset(("dkim", "arc")), True)
    assert (key.priority, key.oversign, key.identity) == (-3, False, "a@shop.example")
    assert (key.header_canonicalization, key.body_canonicalization) == ("simple", "relaxed")
    assert key.expire_at is not None
    assert not key.is_required
    assert found[1].patterns == ()
    assert not found[1].is_bound_to_dns
    assert found[1].key.oversign


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({**ROW, "domain": None}, "dkim_keys 1: dkim.domain: missing, skipped"),
        ({**ROW, "private_key": "AAAA"}, "dkim_keys 1: not a private key, skipped"),
        ({**ROW, "protocols": "smtp"}, "dkim_keys 1: dkim.protocols: expected an array of dkim, arc, skipped"),
        ({}, "dkim_keys None: dkim.domain: missing, skipped"),
    ],
)
def test_rows_that_are_no_keys(row: dict[str, object], note: str) -> None:
    assert read_domain_keys([row], [], PrivateKeys(), oversign=True) == ((), (note,))


@pytest.mark.parametrize(
    ("pattern", "note"),
    [
        ({"kind": "like", "pattern": "x"}, "dkim_patterns 7: unknown kind 'like', skipped"),
        ({"kind": None, "pattern": None}, "dkim_patterns 7: unknown kind '', skipped"),
        ({"kind": "exact", "pattern": " "}, "dkim_patterns 7: no pattern, skipped"),
        ({"kind": "regex", "pattern": "("}, "dkim_patterns 7: not a regular expression, skipped"),
    ],
)
def test_rows_that_are_no_patterns_do_not_make_a_key_sign_more(pattern: dict[str, object], note: str) -> None:
    found, notes = read_domain_keys([ROW], [{"id": 7, "key_id": 1, **pattern}], PrivateKeys(), oversign=True)
    assert notes == (note,)
    assert not found[0].signs("shop.example")


def test_patterns_without_a_key() -> None:
    found, notes = read_domain_keys([], [{"id": 1, "key_id": 9, "kind": "global"}], PrivateKeys(), oversign=True)
    assert (found, notes) == ((), ("dkim_patterns: no key 9, skipped",))
