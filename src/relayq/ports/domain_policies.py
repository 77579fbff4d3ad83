"""What the engine asks about the policies recipient domains publish."""

from __future__ import annotations

from typing import Protocol

from relayq.policy.mta_sts import StsPolicy


class DomainPolicies(Protocol):
    """MTA-STS policies by domain, cached. Never fails: a domain whose policy cannot be had has none."""

    def cached(self, domain: str) -> StsPolicy | None:
        """The policy of a domain, ``NO_POLICY`` if it has none; ``None`` when that has to be found out first."""
        ...

    async def fetch(self, domain: str) -> StsPolicy:
        """The same, found out."""
        ...

    async def close(self) -> None:
        """Give up what is under way. Idempotent."""
        ...
