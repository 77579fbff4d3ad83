"""Bodies on their way into and out of the message store while a message is published (spec storage.md 3 to 5)."""

from __future__ import annotations

import uuid
from datetime import datetime

from relayq.delivery.bodies import Bodies
from relayq.model import Message, Outcome
from relayq.policy import storage
from relayq.policy.retry import later
from relayq.policy.storage import StorageRules
from relayq.ports import Clock


class BodyMoves:
    """Carries out what `relayq.policy.storage` decides; does nothing where there is no store.

    Attributes:
        rules: Settings; may be replaced.
    """

    def __init__(self, bodies: Bodies | None, rules: StorageRules, clock: Clock) -> None:
        self._bodies = bodies
        self._clock = clock
        self.rules = rules

    async def move_for_outbox(self, message: Message, seen_at: datetime | None) -> str | None:
        """Move the content of a copy for the outbox, if it is to be; returns its key, ``None`` when it stays inline."""
        if self._bodies is None or not storage.stores_for_outbox(message, self.rules.policy):
            return None
        return await self._move(message, storage.expiry_of(message, self._clock.now(), seen_at, self.rules))

    async def move_for_results(self, message: Message, seen_at: datetime) -> str | None:
        """Move the content that results refer to; returns its key, ``None`` when it stays inline."""
        return await self._move(message, storage.expiry_for_results(message, self._clock.now(), seen_at, self.rules))

    async def _move(self, message: Message, expire_at: datetime) -> str | None:
        if self._bodies is None:
            return None
        body = storage.stored_form(message)
        if body is None:
            return None
        key = f"mta-{uuid.uuid4().hex}"
        return key if await self._bodies.save(key, body, expire_at) else None

    async def tidy(self, message: Message, outcome: Outcome, seen_at: datetime, *, is_acknowledged: bool) -> None:
        """What is left to do about a stored body once its message is settled (spec storage.md 5)."""
        bodies, key, rules = self._bodies, message.key, self.rules
        if bodies is None or key is None:
            return
        now = self._clock.now()
        if outcome is Outcome.RETRY:
            if storage.needs_longer_life(message, seen_at, rules):
                await bodies.prolong(key, storage.expiry_of(message, now, seen_at, rules))
        elif storage.keeps_body(message, rules.policy):
            await bodies.prolong(key, later(now, rules.ttl))
        elif is_acknowledged and storage.deletes_body(message, rules.policy):
            # Not acknowledged means that it will be handed out again, perhaps to somebody who then needs the body.
            await bodies.delete(key)
