"""The message store: can it be reached, and does what was written come back and go away."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from relayq.adapters.store import MissingLibraryError, open_store
from relayq.cli.doctor.finding import Check, Finding, Verdict
from relayq.ports import MessageStore, StoreAddress, StoreError

if TYPE_CHECKING:
    from relayq.config import Settings

AREA: Final = "store"

_finding = partial(Finding, AREA)
PROBE_LIFE: Final = 60
"""Seconds after which an entry goes away that could not be deleted."""
_CLOSE_PATIENCE: Final = 2.0


def store_checks(settings: Settings, limit: float) -> list[Check]:
    """One check when there is a store."""
    address, policy = settings.store.address, settings.store.policy
    if address is None:
        return []
    writes = policy in {"all", "out"}
    fix = "see whether it runs and can be reached, then storage-address"

    async def examine() -> Iterable[Finding]:
        return await look_at_store(address, writes=writes, limit=limit)

    return [Check(area=AREA, subject=str(address), examine=examine, limit=limit + _CLOSE_PATIENCE + 1, fix=fix)]


async def look_at_store(address: StoreAddress, *, writes: bool, limit: float) -> list[Finding]:
    """Open, and when relayq may write there: put, get and delete one small entry."""
    subject = str(address)
    try:
        store = open_store(address)
    except MissingLibraryError as error:
        return [_finding(subject, Verdict.WRONG, str(error), "its library", "install it, or use dir:// or sqlite://")]
    try:
        async with asyncio.timeout(limit):
            trouble = await (_write_and_read(store) if writes else _read(store))
    except TimeoutError:
        trouble = f"no answer within {limit:g} s"
    except StoreError as error:
        trouble = str(error)
    finally:
        try:
            async with asyncio.timeout(_CLOSE_PATIENCE):
                await store.close()
        except TimeoutError:
            trouble = trouble or "did not close in time"
    if not trouble:
        found = "an entry was written, read and deleted" if writes else "can be read; storage-policy never writes there"
        return [_finding(subject, Verdict.OK, found)]
    fix = "see whether it runs, can be reached, has space and permits this user; then correct storage-address"
    return [_finding(subject, Verdict.WRONG, trouble, "a store that works", fix)]


async def _read(store: MessageStore) -> str:
    await store.probe()
    return ""


async def _write_and_read(store: MessageStore) -> str:
    """What went wrong, empty when nothing did."""
    key, body = f"relayq-doctor-{secrets.token_hex(8)}", secrets.token_bytes(1000)
    await store.save(key, body, datetime.now(UTC) + timedelta(seconds=PROBE_LIFE))
    found = await store.load(key)
    await store.delete(key)
    if found != body:
        return "what was written does not come back"
    return "" if await store.load(key) is None else "what was deleted is still there"
