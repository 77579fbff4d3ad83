"""The parts of a worker between a message and a server: which addresses, on which terms, over which session."""

from __future__ import annotations

import asyncio
import random

from relayq.adapters.sockets import SocketNetwork
from relayq.app import rules
from relayq.app.world import Links
from relayq.config import Settings
from relayq.delivery.names import EhloNames
from relayq.delivery.opening import SessionOpener
from relayq.delivery.router import Router
from relayq.delivery.session_pool import SessionPool
from relayq.delivery.terms import SessionTerms
from relayq.policy.tls import LEVELS
from relayq.ports import Clock, DomainPolicies, Network, Observer, Resolver


class Sending:
    """Built, started, reconfigured and closed together.

    Attributes:
        router: Finds the servers of a domain.
        terms: What each of them has to offer.
        pool: Every connection; closed by who drains it.
    """

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        network: Network | None,
        clock: Clock,
        rng: random.Random,
        observer: Observer,
        links: Links,
    ) -> None:
        """Nothing is connected yet; ``network`` is ``None`` for real sockets."""
        loop = asyncio.get_running_loop()
        self._resolver = resolver
        self._clock = clock
        self._names = EhloNames(settings.session.ehlo_name or "", settings.session.hostname, resolver, clock.monotonic)
        self._network = network or SocketNetwork(loop, rules.tls_options(settings))
        self._opener = SessionOpener(
            self._network, self._names, rules.timeouts(settings), loop, rules.dialogue_rules(settings), observer
        )
        self.pool = SessionPool(
            rules.lane_limits(settings),
            rules.max_connections(settings),
            self._opener.open,
            loop,
            rng.random,
            observer,
            lender=links.lender,
            marks=links.marks,
        )
        self.router = Router(resolver, rules.routing_rules(settings), clock, rng)
        self._sts = _domain_policies(settings, resolver, clock)
        session = settings.session
        self.terms = SessionTerms(
            LEVELS[session.security], observer,
            sink=rules.sink(settings), dane=resolver if session.dane == "auto" else None, sts=self._sts,
        )  # fmt: skip

    async def start(self) -> None:
        """Find what is only looked up once.

        Raises:
            SinkNotFoundError: ``smtp-sink-address`` is a name without address.
        """
        await self._opener.find_sink()

    def reconfigure(self, settings: Settings) -> None:
        """Take over what can be changed while it runs."""
        session = settings.session
        self._names.reconfigure(session.ehlo_name or "")
        self._opener.reconfigure(rules.timeouts(settings), rules.dialogue_rules(settings))
        self.pool.reconfigure(rules.lane_limits(settings), rules.max_connections(settings))
        self.router.reconfigure(rules.routing_rules(settings))
        if self._sts is None:
            self._sts = _domain_policies(settings, self._resolver, self._clock)
        self.terms.reconfigure(
            LEVELS[session.security],
            self._resolver if session.dane == "auto" else None,
            self._sts if session.mta_sts != "never" else None,
        )
        if isinstance(self._network, SocketNetwork):
            self._network.reconfigure(rules.tls_options(settings))

    async def close(self) -> None:
        """Stop looking for policies of domains; what the pool has is closed already."""
        if self._sts is not None:
            await self._sts.close()


def _domain_policies(settings: Settings, resolver: Resolver, clock: Clock) -> DomainPolicies | None:
    if settings.session.mta_sts == "never" or settings.route.sink_address is not None:
        return None
    from relayq.adapters.mta_sts import HttpsPolicies
    from relayq.adapters.policy_fetcher import PolicyFetcher

    return HttpsPolicies(resolver, PolicyFetcher(resolver), clock)
