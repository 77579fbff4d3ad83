"""Content that lies in the message store until it is needed (spec delivery.md 12.3)."""

from __future__ import annotations

from datetime import datetime

from relayq.delivery.bodies import Bodies
from relayq.delivery.composer import Composer, Content, Draft
from relayq.model import DeliveryState, Message, Refused, Scope
from relayq.policy.storage import with_body


class UnfinishedError(Refused):
    """Stored content that needs downloads: not a failure, but no peer should have to wait for them.

    Attributes:
        draft: The message as far as it was composed.
    """

    def __init__(self, draft: Draft) -> None:
        super().__init__(DeliveryState.RESPONSIVE, Scope.MESSAGE, "something has to be downloaded first")
        self.draft = draft


class StoredContent:
    """The content of one attempt: loaded at most once, also when the attempt moves on to another host.

    Attributes:
        loaded: The content, ``None`` before `load`.
    """

    __slots__ = ("_bodies", "_composer", "_message", "_seen_at", "loaded")

    def __init__(self, message: Message, seen_at: datetime, bodies: Bodies, composer: Composer) -> None:
        self.loaded: Content | None = None
        self._message = message
        self._seen_at = seen_at
        self._bodies = bodies
        self._composer = composer

    @property
    def is_out_of_reach(self) -> bool:
        """It is not loaded, and the store is left alone for now."""
        return self.loaded is None and self._bodies.is_paused

    async def load(self) -> Content:
        """Load and compose, as if the body had come in the JSON.

        Raises:
            DeliveryError: State ``storage`` or ``responsive``.
            UnfinishedError: Something has to be downloaded first.
        """
        assert self._message.key is not None
        body = await self._bodies.load(self._message.key)
        if not body:
            raise Refused(DeliveryState.STORAGE, Scope.MESSAGE, "the entry is empty")
        prepared = await self._composer.prepare(with_body(self._message, body), self._seen_at)
        if isinstance(prepared, Draft):
            raise UnfinishedError(prepared)
        self.loaded = prepared
        return prepared
