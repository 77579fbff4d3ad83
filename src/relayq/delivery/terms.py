"""What a session has to offer before it may carry a message: protection and login (spec delivery.md 6, 10, 11).

What message and configuration demand is known at once. What the recipient's domain demands besides has to be looked up:
TLSA records of each mail host whose addresses DNSSEC vouches for (RFC 7672), and the domain's MTA-STS policy (RFC
8461). A domain's policy only ever raises a demand; DANE has the last word about a host, because it names the very
certificate (RFC 8461 section 2).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import msgspec

from relayq.model import DeliveryError, DeliveryState, Message, Refused, Scope, Smarthost, TimedOut, TlsaRecord
from relayq.policy.mta_sts import NO_POLICY, StsMode, StsPolicy
from relayq.policy.routing import Candidate, Target, TargetKind
from relayq.policy.tls import (
    PolicySource,
    SecurityLevel,
    TlsDemand,
    choose_level,
    demand_tls,
    raise_for_dane,
    raise_for_sts,
)
from relayq.ports import DnsError, DnsFailureKind, DomainPolicies, Observer, Resolver
from relayq.smtp import Credentials


class Sink(msgspec.Struct, frozen=True, kw_only=True):
    """The server every connection goes to instead, for trials (``smtp-sink-…``).

    Attributes:
        address: Its name or IP address.
        port: Its port.
        credentials: Login there, ``None`` for none.
    """

    address: str
    port: int
    credentials: Credentials | None = None


Terms = TlsDemand | DeliveryError
"""What a session to a candidate has to show, or why there is to be none."""


class SessionTerms:
    """Decides about protection and login, per message and candidate."""

    def __init__(
        self,
        level: SecurityLevel,
        observer: Observer,
        *,
        sink: Sink | None = None,
        dane: Resolver | None = None,
        sts: DomainPolicies | None = None,
    ) -> None:
        """Keep the settings.

        Args:
            level: ``smtp-out-security``.
            observer: Told about hosts that their domain's policy rules out.
            sink: Gets every connection, with its own login and without demands.
            dane: Asked for TLSA records; ``None`` switches DANE off.
            sts: Asked for MTA-STS policies; ``None`` switches them off.
        """
        self._level = level
        self._observer = observer
        self._sink = sink
        self._dane = dane if sink is None else None
        self._sts = sts if sink is None else None

    def reconfigure(self, level: SecurityLevel, dane: Resolver | None, sts: DomainPolicies | None) -> None:
        """Other demands from the next message on."""
        self._level = level
        self._dane = dane if self._sink is None else None
        self._sts = sts if self._sink is None else None

    def credentials(self, target: Target) -> Credentials | None:
        """Login of a message: that of its smarthost, which no other server ever gets to see."""
        if self._sink is not None:
            return self._sink.credentials
        return None if target.smarthost is None else _login(target.smarthost)

    def are_general(self, target: Target) -> bool:
        """Whether what :meth:`try_decide` says depends on message and target alone, and on no policy of the domain."""
        domain = _domain(target)
        return self._sts is None or domain is None or self._sts.cached(domain) is NO_POLICY

    def try_decide(self, message: Message, target: Target, candidates: Sequence[Candidate]) -> list[Terms] | None:
        """Terms of each candidate, ``None`` if something has to be looked up first."""
        level = choose_level(message.security, self._level)
        if self._sink is not None:
            demand = demand_tls(min(level, SecurityLevel.OPPORTUNISTIC), self._sink.address, None)
            return [demand] * len(candidates)
        domain = _domain(target)
        if self._dane is not None and any(candidate.is_authentic for candidate in candidates):
            return None
        policy: StsPolicy | None = NO_POLICY
        if self._sts is not None and domain is not None:
            policy = self._sts.cached(domain)
        if policy is None:
            return None
        demands = [demand_tls(level, candidate.host, domain) for candidate in candidates]
        if policy is NO_POLICY:
            return list[Terms](demands)
        return [self._under_sts(demand, policy, domain) for demand in demands]

    async def decide(self, message: Message, target: Target, candidates: Sequence[Candidate]) -> list[Terms]:
        """Terms of each candidate."""
        level = choose_level(message.security, self._level)
        domain = _domain(target)
        policy = NO_POLICY
        if self._sts is not None and domain is not None:
            policy = self._sts.cached(domain) or await self._sts.fetch(domain)
        terms: list[Terms] = []
        for candidate in candidates:
            demand = demand_tls(level, candidate.host, domain)
            records: tuple[TlsaRecord, ...] | DeliveryError = ()
            if self._dane is not None and candidate.is_authentic:
                records = await self._tlsa(self._dane, candidate)
            if isinstance(records, DeliveryError):
                terms.append(records)
                continue
            if records:
                demand = raise_for_dane(demand, records, domain)
            if demand.policy.level is SecurityLevel.DANE:
                terms.append(demand)
            else:
                terms.append(self._under_sts(demand, policy, domain))
        return terms

    async def _tlsa(self, resolver: Resolver, candidate: Candidate) -> tuple[TlsaRecord, ...] | DeliveryError:
        """Records that DNSSEC vouches for; empty if there are none. No answer means: not now (RFC 7672 section 2.1)."""
        name = f"_{candidate.port}._tcp.{candidate.host}"
        try:
            answer = await resolver.fetch_tlsa(name)
        except DnsError as error:
            if error.kind is DnsFailureKind.NXDOMAIN:
                return ()
            return TimedOut(DeliveryState.DNS, Scope.HOST, str(error), is_final=False)
        return cast("tuple[TlsaRecord, ...]", answer.records) if answer.is_authentic else ()

    def _under_sts(self, demand: TlsDemand, policy: StsPolicy, domain: str | None) -> Terms:
        """A demand under the policy of the domain (RFC 8461 sections 4 and 5)."""
        if policy.mode is StsMode.NONE or domain is None:
            return demand
        is_allowed = policy.allows(demand.host)
        if not is_allowed:
            self._observer.tls_failed(domain, demand.host, PolicySource.STS.value, "validation-failure")
        if policy.mode is StsMode.TESTING:
            return demand
        if is_allowed:
            return raise_for_sts(demand, domain)
        text = f"{demand.host} is none of the mail hosts in the MTA-STS policy of {domain}"
        return Refused(DeliveryState.STARTTLS, Scope.HOST, text, cause="tls-failed")


def _domain(target: Target) -> str | None:
    """Recipient domain if its mail hosts are looked up: nothing else has a policy or a certificate of its own."""
    return target.name if target.kind is TargetKind.DOMAIN else None


@functools.lru_cache(maxsize=1024)
def _login(smarthost: Smarthost) -> Credentials | None:
    if smarthost.username is None:
        return None
    return Credentials(smarthost.username, smarthost.password or "")
