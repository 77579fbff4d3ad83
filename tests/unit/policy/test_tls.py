"""Levels, names and memories of TLS."""

from __future__ import annotations

import pytest

from relayq.model import TlsaRecord
from relayq.policy.tls import (
    LEVELS,
    ClearMemory,
    PolicySource,
    SecurityLevel,
    TlsPolicy,
    choose_level,
    demand_tls,
    matching_name,
    raise_for_dane,
    raise_for_sts,
    report_type,
    usable_tlsa,
)

RECORD = TlsaRecord(3, 1, 1, bytes(32))


def test_a_higher_level_is_more() -> None:
    assert [level.name.lower() for level in sorted(SecurityLevel)] == [*LEVELS, "dane"]
    assert list(LEVELS) == ["optional", "opportunistic", "required", "verified"]


@pytest.mark.parametrize("configured", LEVELS.values())
def test_the_message_decides_before_the_configuration(configured: SecurityLevel) -> None:
    assert choose_level(None, configured) is configured
    for word, level in LEVELS.items():
        assert choose_level(word, configured) is level


@pytest.mark.parametrize("level", [SecurityLevel.OPTIONAL, SecurityLevel.OPPORTUNISTIC, SecurityLevel.REQUIRED])
def test_hosts_share_sessions_where_no_certificate_is_checked(level: SecurityLevel) -> None:
    one, two = demand_tls(level, "mx1.test", "a.test"), demand_tls(level, "mx2.test", "b.test")
    assert one.policy is two.policy
    assert (one.host, one.names) == ("mx1.test", ())


def test_verified_sessions_belong_to_a_host() -> None:
    one, two = (demand_tls(SecurityLevel.VERIFIED, host, "a.test") for host in ("mx1.test", "mx2.test"))
    assert one.policy == TlsPolicy(SecurityLevel.VERIFIED, "mx1.test") != two.policy
    assert one.names == ("mx1.test", "a.test")
    assert demand_tls(SecurityLevel.VERIFIED, "mx1.test", None).names == ("mx1.test",)
    assert demand_tls(SecurityLevel.VERIFIED, "a.test", "a.test").names == ("a.test",)


def test_a_policy_says_what_it_is_in_logs() -> None:
    assert str(TlsPolicy(SecurityLevel.REQUIRED)) == "required"
    assert str(TlsPolicy(SecurityLevel.DANE, "mx.test")) == "dane mx.test"


NAMES = {
    ("mx.test", "mx.test"): True,
    ("mx.test", "MX.Test."): True,
    ("Mx.Test", "mx.test"): True,
    ("mx.test", "mx.test.evil"): False,
    ("mx.test", "amx.test"): False,
    ("mx.a.test", "*.a.test"): True,
    ("a.test", "*.a.test"): False,
    ("x.mx.a.test", "*.a.test"): False,
    ("mx.a.test", "m*.a.test"): False,
    ("mx.a.test", "mx.*.test"): False,
    ("mx.test", "*.test"): False,
    ("mx.test", "*"): False,
    ("mx.test", ""): False,
    ("", "*.test"): False,
    ("xn--bcher-kva.test", "*.kva.test"): False,
    ("192.0.2.1", "192.0.2.1"): True,
    ("192.0.2.1", "*.0.2.1"): False,
    ("192.0.2.1", "192.0.2.10"): False,
    ("2001:db8::1", "2001:DB8:0:0:0:0:0:1"): True,
    ("2001:db8::1", "2001:db8::2"): False,
    ("mx.test", "192.0.2.1"): False,
    ("1.2.3.4.5", "1.2.3.4.5"): True,
}


@pytest.mark.parametrize(("name", "pattern"), NAMES)
def test_which_names_a_certificate_is_for(name: str, pattern: str) -> None:
    assert (matching_name((name,), (pattern,)) == name) is NAMES[name, pattern]


def test_the_first_of_several_names_that_fits_counts() -> None:
    assert matching_name(("mx.test", "a.test"), ("b.test", "a.test", "mx.test")) == "mx.test"
    assert matching_name(("mx.test", "a.test"), ("b.test", "a.test")) == "a.test"
    assert matching_name((), ("a.test",)) is None


@pytest.mark.parametrize("level", list(LEVELS.values()))
def test_usable_records_take_the_place_of_everything_else(level: SecurityLevel) -> None:
    demand = raise_for_dane(demand_tls(level, "mx.test", "a.test"), (RECORD, TlsaRecord(0, 0, 0, b"x")), "a.test")
    assert demand.policy == TlsPolicy(SecurityLevel.DANE, "mx.test")
    assert demand.tlsa == (RECORD,)
    assert (demand.source, demand.domain) == (PolicySource.DANE, "a.test")


@pytest.mark.parametrize("level", list(LEVELS.values()))
def test_unusable_records_demand_tls_and_lower_nothing(level: SecurityLevel) -> None:
    demand = raise_for_dane(demand_tls(level, "mx.test", "a.test"), (TlsaRecord(0, 0, 0, b"x"),), "a.test")
    assert demand.policy.level is max(level, SecurityLevel.REQUIRED)
    assert demand.tlsa == ()


def test_what_makes_a_record_usable() -> None:
    good = [TlsaRecord(usage, selector, 0, b"x") for usage in (2, 3) for selector in (0, 1)]
    good += [TlsaRecord(3, 1, 1, bytes(32)), TlsaRecord(3, 1, 2, bytes(64))]
    bad = [
        TlsaRecord(0, 1, 1, bytes(32)), TlsaRecord(1, 1, 1, bytes(32)), TlsaRecord(4, 1, 1, bytes(32)),
        TlsaRecord(3, 2, 1, bytes(32)), TlsaRecord(3, 1, 3, bytes(32)), TlsaRecord(3, 1, 1, bytes(64)),
        TlsaRecord(3, 1, 2, bytes(32)), TlsaRecord(3, 1, 0, b""),
    ]  # fmt: skip
    assert usable_tlsa([*bad, *good, *bad]) == tuple(good)


def test_an_enforced_policy_asks_for_the_hosts_own_name() -> None:
    demand = raise_for_sts(demand_tls(SecurityLevel.OPTIONAL, "mx.test", "a.test"), "a.test")
    assert demand.policy == TlsPolicy(SecurityLevel.VERIFIED, "mx.test")
    assert demand.names == ("mx.test",)


@pytest.mark.parametrize(
    ("source", "cause", "kind"),
    [
        (PolicySource.STS, "starttls-missing", "starttls-not-supported"),
        (PolicySource.STS, "tls-name", "certificate-host-mismatch"),
        (PolicySource.STS, "tls-expired", "certificate-expired"),
        (PolicySource.STS, "tls-certificate", "certificate-not-trusted"),
        (PolicySource.STS, None, "validation-failure"),
        (PolicySource.STS, "tls-failed", "validation-failure"),
        (PolicySource.DANE, "starttls-missing", "starttls-not-supported"),
        (PolicySource.DANE, "tls-certificate", "validation-failure"),
    ],
)
def test_the_words_of_reports(source: PolicySource, cause: str | None, kind: str) -> None:
    assert report_type(source, cause) == kind


def test_an_address_is_remembered_for_its_time() -> None:
    memory = ClearMemory(lifetime=10.0)
    memory.remember(("192.0.2.1", 25), 100.0)
    assert memory.is_known(("192.0.2.1", 25), 109.9)
    assert not memory.is_known(("192.0.2.1", 587), 109.9)
    assert not memory.is_known(("192.0.2.2", 25), 109.9)
    assert not memory.is_known(("192.0.2.1", 25), 110.0)
    assert len(memory) == 0


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = ClearMemory(limit=3)
    for number in range(5):
        memory.remember((f"192.0.2.{number}", 25), float(number))
        memory.remember(("192.0.2.0", 25), float(number))  # seen again and again
    assert len(memory) == 3
    assert memory.is_known(("192.0.2.0", 25), 5.0)
    assert not memory.is_known(("192.0.2.2", 25), 5.0)
