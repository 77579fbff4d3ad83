"""Protection and login, per message and candidate."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from relayq.adapters.memory import ManualClock, MemoryResolver, RecordingObserver, TlsFailed
from relayq.delivery.terms import SessionTerms, Sink
from relayq.model import DeliveryState, Message, Refused, Smarthost, TimedOut, TlsaRecord, parse_address
from relayq.policy.mta_sts import NO_POLICY, StsMode, StsPolicy
from relayq.policy.routing import Candidate, Target, TargetKind, smarthost_target
from relayq.policy.tls import SecurityLevel, TlsDemand
from relayq.ports import DnsFailureKind
from relayq.smtp import Credentials

MX = "mx.a.test"
TO_DOMAIN = Target(TargetKind.DOMAIN, "a.test", 25, "a.test")
PLAIN = Candidate(MX, 10, "192.0.2.1", 25, is_ipv6=False)
SIGNED = Candidate(MX, 10, "192.0.2.1", 25, is_ipv6=False, is_authentic=True)
RECORD = TlsaRecord(3, 1, 1, bytes(32))
RELAY = Smarthost(hostname="relay.test", port=587, username="u", password="p")


def message(**fields: Any) -> Message:
    return Message(members={}, sender=None, recipient=parse_address("anna@a.test"), **fields)


class Policies:
    """Policies that are known at once, or only when asked for."""

    def __init__(self, policy: StsPolicy, *, is_known: bool = True) -> None:
        self.policy = policy
        self.is_known = is_known
        self.asked: list[str] = []

    def cached(self, domain: str) -> StsPolicy | None:
        self.asked.append(domain)
        return self.policy if self.is_known else None

    async def fetch(self, domain: str) -> StsPolicy:
        self.is_known = True
        return self.policy

    async def close(self) -> None:
        """Nothing is open."""


def terms(**options: Any) -> tuple[SessionTerms, RecordingObserver]:
    observer = RecordingObserver()
    return SessionTerms(options.pop("level", SecurityLevel.OPPORTUNISTIC), observer, **options), observer


def demand_of(found: object) -> TlsDemand:
    assert isinstance(found, list)
    (demand,) = found
    assert isinstance(demand, TlsDemand)
    return demand


def test_what_needs_no_look_up_is_decided_at_once() -> None:
    session_terms, _ = terms(dane=MemoryResolver(ManualClock()), sts=Policies(NO_POLICY))
    demand = demand_of(session_terms.try_decide(message(), TO_DOMAIN, [PLAIN]))
    assert (demand.policy.level, demand.host) == (SecurityLevel.OPPORTUNISTIC, MX)
    demand = demand_of(session_terms.try_decide(message(security="verified"), TO_DOMAIN, [PLAIN]))
    assert demand.names == (MX, "a.test")


def test_the_rest_is_not() -> None:
    dane = MemoryResolver(ManualClock())
    assert terms(dane=dane)[0].try_decide(message(), TO_DOMAIN, [PLAIN, SIGNED]) is None
    unknown = Policies(NO_POLICY, is_known=False)
    assert terms(sts=unknown)[0].try_decide(message(), TO_DOMAIN, [PLAIN]) is None


@pytest.mark.parametrize(
    "target", [smarthost_target(RELAY), Target(TargetKind.ADDRESS, "192.0.2.1", 25, "[192.0.2.1]")], ids=str
)
def test_only_domains_have_policies(target: Target) -> None:
    policies = Policies(StsPolicy(StsMode.ENFORCE, ("other.test",)))
    demand = demand_of(terms(sts=policies)[0].try_decide(message(), target, [PLAIN]))
    assert demand.policy.level is SecurityLevel.OPPORTUNISTIC
    assert policies.asked == []


async def test_records_of_a_host() -> None:
    dane = MemoryResolver(ManualClock())
    dane.set_tlsa(f"_25._tcp.{MX}", RECORD)
    session_terms, _ = terms(dane=dane)
    demand = demand_of(await session_terms.decide(message(), TO_DOMAIN, [SIGNED]))
    assert (demand.policy.level, demand.tlsa) == (SecurityLevel.DANE, (RECORD,))
    demand = demand_of(await session_terms.decide(message(), TO_DOMAIN, [PLAIN]))
    assert demand.policy.level is SecurityLevel.OPPORTUNISTIC


async def test_records_belong_to_a_port() -> None:
    dane = MemoryResolver(ManualClock())
    dane.set_tlsa(f"_25._tcp.{MX}", RECORD)
    other = msgspec.structs.replace(SIGNED, port=2525)
    demand = demand_of(await terms(dane=dane)[0].decide(message(), TO_DOMAIN, [other]))
    assert demand.policy.level is SecurityLevel.OPPORTUNISTIC


@pytest.mark.parametrize("kind", [DnsFailureKind.TIMEOUT, DnsFailureKind.UNUSABLE])
async def test_a_host_without_an_answer_about_its_records_is_out(kind: DnsFailureKind) -> None:
    dane = MemoryResolver(ManualClock())
    dane.fail_tlsa(f"_25._tcp.{MX}", kind)
    other = msgspec.structs.replace(SIGNED, host="mx2.a.test")
    found = await terms(dane=dane)[0].decide(message(), TO_DOMAIN, [SIGNED, other])
    assert isinstance(found[0], TimedOut)
    assert found[0].state is DeliveryState.DNS
    assert isinstance(found[1], TlsDemand)


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_enforced_policy(is_known: bool) -> None:
    policies = Policies(StsPolicy(StsMode.ENFORCE, (MX,)), is_known=is_known)
    session_terms, observer = terms(sts=policies)
    other = msgspec.structs.replace(PLAIN, host="mx2.a.test")
    found = session_terms.try_decide(message(), TO_DOMAIN, [PLAIN, other])
    assert (found is None) is not is_known
    found = found or await session_terms.decide(message(), TO_DOMAIN, [PLAIN, other])
    demand, refusal = found
    assert isinstance(demand, TlsDemand)
    assert (demand.policy.level, demand.names) == (SecurityLevel.VERIFIED, (MX,))
    assert isinstance(refusal, Refused)
    assert refusal.state is DeliveryState.STARTTLS
    assert observer.events == [TlsFailed("a.test", "mx2.a.test", "sts", "validation-failure")]


async def test_a_policy_on_trial_is_only_reported() -> None:
    session_terms, observer = terms(sts=Policies(StsPolicy(StsMode.TESTING, ("other.test",))))
    demand = demand_of(session_terms.try_decide(message(), TO_DOMAIN, [PLAIN]))
    assert demand.policy.level is SecurityLevel.OPPORTUNISTIC
    assert len(observer.events) == 1


async def test_records_go_before_a_policy() -> None:
    dane = MemoryResolver(ManualClock())
    dane.set_tlsa(f"_25._tcp.{MX}", RECORD)
    session_terms, observer = terms(dane=dane, sts=Policies(StsPolicy(StsMode.ENFORCE, ("other.test",))))
    demand = demand_of(await session_terms.decide(message(), TO_DOMAIN, [SIGNED]))
    assert demand.policy.level is SecurityLevel.DANE
    assert observer.events == []


async def test_unusable_records_leave_the_policy_in_force() -> None:
    dane = MemoryResolver(ManualClock())
    dane.set_tlsa(f"_25._tcp.{MX}", TlsaRecord(0, 0, 0, b"x"))
    session_terms, _ = terms(dane=dane, sts=Policies(StsPolicy(StsMode.ENFORCE, (MX,))))
    demand = demand_of(await session_terms.decide(message(), TO_DOMAIN, [SIGNED]))
    assert (demand.policy.level, demand.names) == (SecurityLevel.VERIFIED, (MX,))


@pytest.mark.parametrize(
    ("level", "left"),
    [("optional", "OPTIONAL"), ("opportunistic", "OPPORTUNISTIC"), ("required", "OPPORTUNISTIC"),
     ("verified", "OPPORTUNISTIC")],
)  # fmt: skip
def test_a_sink_is_asked_for_nothing(level: str, left: str) -> None:
    sink = Sink(address="127.0.0.1", port=2525)
    policies = Policies(StsPolicy(StsMode.ENFORCE, ("other.test",)), is_known=False)
    session_terms, _ = terms(sink=sink, dane=MemoryResolver(ManualClock()), sts=policies)
    demand = demand_of(session_terms.try_decide(message(security=level), TO_DOMAIN, [SIGNED]))
    assert (demand.policy.level.name, demand.host) == (left, "127.0.0.1")


def test_credentials_are_those_of_the_target() -> None:
    session_terms, _ = terms()
    assert session_terms.credentials(TO_DOMAIN) is None
    assert session_terms.credentials(smarthost_target(RELAY)) == Credentials("u", "p")
    assert session_terms.credentials(smarthost_target(Smarthost(hostname="relay.test"))) is None
    without_password = smarthost_target(Smarthost(hostname="relay.test", username="u"))
    assert session_terms.credentials(without_password) == Credentials("u", "")


def test_the_sink_sees_its_own_credentials_only() -> None:
    own = Credentials("sink", "own")
    assert terms(sink=Sink(address="s", port=1, credentials=own))[0].credentials(smarthost_target(RELAY)) is own
    assert terms(sink=Sink(address="s", port=1))[0].credentials(smarthost_target(RELAY)) is None
