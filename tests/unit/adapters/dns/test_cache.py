"""Expiry and bounds of the cache."""

from __future__ import annotations

from relayq.adapters.dns.cache import Cache, Failure
from relayq.ports import DnsAnswer, DnsFailureKind, MxRecord, TlsaRecord


def answer(*records: str, expires_at: float = 10.0) -> DnsAnswer:
    return DnsAnswer(records, expires_at)


def test_entries_live_until_they_expire() -> None:
    cache = Cache(10)
    failure = Failure(DnsFailureKind.TIMEOUT, "no answer", 5.0)
    cache.put(("a", 1), answer("x"))
    cache.put(("b", 1), failure)
    assert cache.get(("a", 1), 9.9) == answer("x")
    assert cache.get(("b", 1), 4.9) is failure
    assert cache.get(("b", 1), 5.0) is None
    assert cache.get(("a", 1), 10.0) is None
    assert cache.get(("a", 2), 0.0) is None
    assert len(cache) == 0


def test_those_not_asked_for_longest_go_first() -> None:
    cache = Cache(3)
    for name in "abc":
        cache.put((name, 1), answer())
    cache.get(("a", 1), 0.0)
    cache.put(("d", 1), answer())
    assert [name for name in "abcd" if cache.get((name, 1), 0.0)] == ["a", "c", "d"]


def test_replacing_takes_no_more_room() -> None:
    cache = Cache(2)
    for _ in range(5):
        cache.put(("a", 1), answer("x" * 400))
    cache.put(("b", 1), answer())
    assert len(cache) == 2


def test_large_answers_count_as_several() -> None:
    cache = Cache(20)
    for number in range(10):
        cache.put((f"small{number}", 1), answer("192.0.2.1"))
    cache.put(("text", 16), answer("x" * 5000))
    assert len(cache) == 11
    cache.put(("mx", 15), DnsAnswer(tuple(MxRecord(n, "h" * 200) for n in range(20)), 10.0))
    cache.put(("tlsa", 52), DnsAnswer((TlsaRecord(3, 1, 1, b"x" * 5000),), 10.0))
    assert len(cache) == 2
    cache.put(("huge", 16), answer("x" * 50_000))
    assert len(cache) == 1
