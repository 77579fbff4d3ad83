"""What is an MTA-STS record, what a policy, and which hosts it allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayq.policy.mta_sts import (
    MAX_AGE,
    MAX_PATTERNS,
    BadPolicyError,
    StsMode,
    StsPolicy,
    find_policy_id,
    parse_policy,
)

GOOD = b"version: STSv1\nmode: enforce\nmx: mail.example.test\nmx: *.example.net\nmax_age: 604800\n"


@pytest.mark.parametrize(
    ("texts", "policy_id"),
    [
        (("v=STSv1; id=20160831085700Z;",), "20160831085700Z"),
        (("v=STSv1;id=1",), "1"),
        (("v=STSv1 ; other=x; id=abc ; more=y;",), "abc"),
        (("v=spf1 -all", "v=STSv1; id=1;"), "1"),
        ((), None),
        (("v=STSv1;",), None),
        (("v=STSv2; id=1;",), None),
        (("v=STSv1",), None),
        ((" v=STSv1; id=1;",), None),
        (("V=STSV1; id=1;",), None),
        (("v=STSv1; id=a b;",), None),
        (("v=STSv1; id=;",), None),
        (("v=STSv1; id=" + "x" * 33,), None),
        (("v=STSv1; id=1;", "v=STSv1; id=2;"), None),
    ],
)
def test_the_announcement(texts: tuple[str, ...], policy_id: str | None) -> None:
    assert find_policy_id(texts) == policy_id


def test_a_policy() -> None:
    policy = parse_policy(GOOD)
    assert policy == StsPolicy(StsMode.ENFORCE, ("mail.example.test", "*.example.net"), 604800.0)


@pytest.mark.parametrize(
    "octets",
    [
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b": ", b":\t "),
        b"\n\n" + GOOD + b"extra: field\nnonsense\n",
        GOOD + b"mode: none\nmax_age: 1\nversion: STSv2\n",
        GOOD.rstrip(b"\n"),
        GOOD.replace(b"mail.example.test", b"Mail.Example.TEST"),
    ],
    ids=["CRLF", "blanks", "unknown fields", "repeated fields", "no final newline", "upper case"],
)
def test_other_ways_to_write_it(octets: bytes) -> None:
    assert parse_policy(octets) == parse_policy(GOOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"version: STSv1\n", b""),
        (b"STSv1", b"STSv2"),
        (b"mode: enforce\n", b""),
        (b"enforce", b"Enforce"),
        (b"max_age: 604800\n", b""),
        (b"604800", b"-1"),
        (b"604800", b"1e9"),
        (b"604800", b"12345678901"),
        (b"604800", "\u0663".encode()),
        (b"mx: mail.example.test\nmx: *.example.net\n", b""),
        (b"mail.example.test", b"mail..test"),
        (b"mail.example.test", b"*.*.test"),
        (b"mail.example.test", b"*"),
        (b"mail.example.test", b""),
        (b"mail.example.test", b"a" * 300),
        (b"mail.example.test", b"\xff"),
        (b"max_age", b"mx: a.test\n" * MAX_PATTERNS + b"max_age"),
        (b"max_age", b"#" * 70_000 + b"\nmax_age"),
    ],
)
def test_what_is_no_policy(old: bytes, new: bytes) -> None:
    with pytest.raises(BadPolicyError):
        parse_policy(GOOD.replace(old, new, 1))


def test_a_domain_may_take_its_policy_back() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 86400\n").mode is StsMode.NONE


def test_no_policy_is_kept_for_more_than_a_year() -> None:
    assert parse_policy(GOOD.replace(b"604800", b"9999999999")).max_age == MAX_AGE


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.test", True),
        ("MAIL.example.test", True),
        ("mx.example.net", True),
        ("example.net", False),
        ("a.mx.example.net", False),
        ("mail.example.test.evil.test", False),
        ("", False),
    ],
)
def test_allowed_hosts(host: str, allowed: bool) -> None:
    assert parse_policy(GOOD).allows(host) is allowed


@given(st.binary(max_size=300) | st.builds(lambda octets: GOOD + octets, st.binary(max_size=100)))
def test_no_file_does_any_harm(octets: bytes) -> None:
    try:
        policy = parse_policy(octets)
    except BadPolicyError:
        return
    assert policy.mode is StsMode.NONE or policy.patterns


@given(st.lists(st.text(max_size=60), max_size=4).map(tuple))
def test_no_record_does_any_harm(texts: tuple[str, ...]) -> None:
    assert find_policy_id(texts) is None or any(text.startswith("v=STSv1") for text in texts)
