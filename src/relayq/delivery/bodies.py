"""The message store as the engine uses it: with time limits, counted, and left alone for a while when it is down.

What a store answers becomes a result of state ``storage`` here and nowhere else (spec storage.md 5). Whatever is only
tidying up (deleting, a later expiry) never fails anything: the expiry of an entry repairs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec

from relayq.delivery.store_keeper import StoreKeeper
from relayq.model import DeliveryError, DeliveryState, Refused, Scope, TimedOut
from relayq.ports import Clock, MessageStore, Observer, StoreDamagedError, StoreError

OUTAGES_IN_A_ROW = 3
STORE_PAUSE_SECONDS = 10.0
"""How long a store that failed so often is left alone (spec delivery.md 17)."""
COMPONENT = "store"
STORE_IS_DOWN = "message store is down"
"""Why messages whose content is stored go back to the broker without an attempt."""


class BodyRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        timeout: Seconds one operation may take, waiting for its turn included.
        reschedule: Seconds until the next attempt of a message whose content could not be loaded.
    """

    timeout: float = 20.0
    reschedule: float = 120.0


class StoreCounts(msgspec.Struct, kw_only=True):
    """What was asked of the store and what came of it, since the start.

    Attributes:
        hits: Bodies loaded.
        misses: Keys it did not know.
        damaged: Bodies that could not be restored.
        outages: Loads without an answer.
        writes: Bodies saved.
        inline: Bodies that stayed in the JSON because they could not be saved.
        deletes: Entries deleted.
        untidy: Deletions and later expiries that failed.
    """

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    outages: int = 0
    writes: int = 0
    inline: int = 0
    deletes: int = 0
    untidy: int = 0


class Brake:
    """Counts failures in a row, and then calls for a pause; every further one does so again until one succeeds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._paused_until = 0.0

    @property
    def is_on(self) -> bool:
        """A pause is going on."""
        return self._failures >= OUTAGES_IN_A_ROW and self._clock.monotonic() < self._paused_until

    def succeeded(self) -> None:
        """An operation was answered."""
        self._failures = 0

    def failed(self) -> bool:
        """One was not; true when a first pause follows."""
        self._failures += 1
        if self._failures >= OUTAGES_IN_A_ROW:
            self._paused_until = self._clock.monotonic() + STORE_PAUSE_SECONDS
        return self._failures == OUTAGES_IN_A_ROW


class Bodies:
    """Bodies by key, in the store that is configured.

    Attributes:
        counts: What happened so far.
    """

    def __init__(self, store: MessageStore, rules: BodyRules, clock: Clock, observer: Observer) -> None:
        self.counts = StoreCounts()
        self._store = store
        self._rules = rules
        self._clock = clock
        self._observer = observer
        self._reading = Brake(clock)
        # A store that is full or read-only can still be read: what fails counts apart.
        self._writing = Brake(clock)
        self._tidying = Brake(clock)
        self._keeper = StoreKeeper(store, rules.timeout, clock, observer, COMPONENT)

    def reconfigure(self, rules: BodyRules) -> None:
        """Other rules from the next operation on."""
        self._rules = rules

    @property
    def is_paused(self) -> bool:
        """Too many loads failed in a row: no message whose content is stored may start."""
        return self._reading.is_on

    # --- reading ----------------------------------------------------------------------------------------------------

    async def load(self, key: str) -> bytes:
        """Body of ``key``.

        Raises:
            DeliveryError: ``storage/error`` when there is none, ``storage/timeout`` when the store does not tell.
        """
        try:
            async with asyncio.timeout(self._rules.timeout):
                body = await self._store.load(key)
        except TimeoutError:
            raise self._outage("the store does not answer") from None
        except StoreDamagedError as error:
            self._reading.succeeded()
            self.counts.damaged += 1
            raise _no_content(f"the entry is damaged: {error}") from error
        except StoreError as error:
            raise self._outage(str(error)) from error
        self._reading.succeeded()
        if body is None:
            self.counts.misses += 1
            raise _no_content("the store has nothing under the key")
        self.counts.hits += 1
        return body

    def _outage(self, reason: str) -> DeliveryError:
        self.counts.outages += 1
        if self._reading.failed():
            self._warn(f"{reason}; messages whose content is stored wait")
        return TimedOut(DeliveryState.STORAGE, Scope.MESSAGE, reason, retry_after=self._rules.reschedule)

    # --- writing ----------------------------------------------------------------------------------------------------

    async def save(self, key: str, body: bytes, expire_at: datetime) -> bool:
        """Store a body; false when that did not succeed and it has to stay in the JSON."""
        if self._writing.is_on:
            self.counts.inline += 1
            return False
        try:
            async with asyncio.timeout(self._rules.timeout):
                await self._store.save(key, body, expire_at)
        except (TimeoutError, StoreError) as error:
            self.counts.inline += 1
            self._writing.failed()
            self._warn(f"content stays in the message: {_reason(error)}")
            return False
        except Exception as error:  # the mail may be accepted already, and its outcome has to be published
            self.counts.inline += 1
            self._observer.crash(COMPONENT, error)
            return False
        self._writing.succeeded()
        self.counts.writes += 1
        return True

    async def delete(self, key: str) -> None:
        """Remove an entry that nobody needs any more."""
        if await self._tidy(lambda: self._store.delete(key), "deleting"):
            self.counts.deletes += 1

    async def prolong(self, key: str, expire_at: datetime) -> None:
        """Let an entry live until ``expire_at`` if that is later."""
        await self._tidy(lambda: self._store.refresh(key, expire_at), "a later expiry")

    async def _tidy(self, operation: Callable[[], Awaitable[None]], what: str) -> bool:
        """Do something whose failure is only counted; its message is done, so nothing may be raised any more."""
        if not self._tidying.is_on:
            try:
                async with asyncio.timeout(self._rules.timeout):
                    await operation()
            except (TimeoutError, StoreError) as error:
                self._tidying.failed()
                self._warn(f"{what} failed, the entry is left to its expiry: {_reason(error)}")
            except Exception as error:
                self._observer.crash(COMPONENT, error)
            else:
                self._tidying.succeeded()
                return True
        self.counts.untidy += 1
        return False

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """See whether the store can be used, then remove expired entries now and then; does not wait for either."""
        self._keeper.start()

    async def close(self) -> None:
        """Close the store; nothing may be asked of it any more. Idempotent."""
        await self._keeper.close()
        await self._store.close()

    def _warn(self, text: str) -> None:
        self._observer.warn(COMPONENT, text)


def _no_content(reason: str) -> DeliveryError:
    return Refused(DeliveryState.STORAGE, Scope.MESSAGE, reason)


def _reason(error: Exception) -> str:
    return str(error) or "no answer in time"
