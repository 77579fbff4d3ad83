"""Rules of the database in memory: read before anything is delivered, then again and again (spec operations.md 25)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from relayq.compose import PrivateKeys, SigningKey
from relayq.compose.domain_keys import NO_DOMAIN_KEYS, DomainKey, DomainKeys, read_domain_keys
from relayq.compose.public_keys import parse_tags
from relayq.ports import (
    DatabaseError,
    DatabaseUnavailableError,
    DnsError,
    DnsFailureKind,
    Observer,
    Resolver,
    Row,
    RulesDatabase,
    SchemaError,
    Table,
)

READ_SECONDS = 60.0
"""For all tables together."""
TRY_AGAIN_SECONDS = 10.0
MAX_CACHED_KEYS = 10_000
LOOKUPS = 20
"""Public keys looked up at the same time."""
COMPONENT = "database"
REPAIR = "relayq database --repair"


class RuleKeeperRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings.

    Attributes:
        ttl: Seconds from one look to the next.
        is_validated: A table or column that is missing stops the start; otherwise it counts as empty.
        oversign: Value of ``oversign`` where a signing key has none (``dkim-oversign``).
    """

    ttl: float = 600.0
    is_validated: bool = True
    oversign: bool = True


class RuleKeeper:
    """Reads the tables of rules."""

    def __init__(
        self,
        database: RulesDatabase,
        tables: Sequence[Table],
        rules: RuleKeeperRules,
        resolver: Resolver,
        observer: Observer,
    ) -> None:
        self._domain_keys: DomainKeys = NO_DOMAIN_KEYS
        self._database = database
        self._tables = tuple(tables)
        self._rules = rules
        self._resolver = resolver
        self._observer = observer
        self._private_keys = PrivateKeys(MAX_CACHED_KEYS)
        self._published: set[tuple[str, str]] = set()
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._told: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read everything once, however long the database takes to come up, and go on reading.

        Nothing may be delivered before: it would go out without its signatures.

        Raises:
            SchemaError: A table or column is missing, and that matters.
        """
        while True:
            try:
                await self._read()
                break
            except DatabaseUnavailableError as error:
                self._observer.warn(COMPONENT, f"nothing is delivered before rules were read: {error}")
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        self._task = asyncio.create_task(self._keep())

    async def read_once(self) -> None:
        """Read everything now, for who needs the rules for a moment.

        Raises:
            DatabaseError: It cannot be read.
        """
        await self._read()

    def reconfigure(self, rules: RuleKeeperRules) -> None:
        """Other rules from the next look on, which is soon."""
        self._rules = rules
        self._wake.set()

    async def close(self) -> None:
        """End, and close the database. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._database.close()

    def keys_of_author(self, message: bytes) -> tuple[SigningKey, ...]:
        """Keys that sign a message because of its author, as last read."""
        return self._domain_keys.of_author(message)

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rules.ttl):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._read()
            except DatabaseError as error:
                self._observer.warn(COMPONENT, f"rules stay as they were: {error}")
            except Exception as error:  # the top of a task
                self._observer.crash(COMPONENT, error)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await self._read_tables()
        except TimeoutError:
            raise DatabaseUnavailableError("no answer in time") from None
        # In a thread: every key that was not seen before is tried with a signature.
        keys, notes = await asyncio.to_thread(
            read_domain_keys,
            found["dkim_keys"],
            found["dkim_patterns"],
            self._private_keys,
            oversign=self._rules.oversign,
        )
        self._tell(notes)
        published = await asyncio.gather(*(self._is_published(key) for key in keys))
        self._published = {_identity(key) for key, is_published in zip(keys, published, strict=True) if is_published}
        self._domain_keys = DomainKeys([key for key in keys if _identity(key) in self._published])

    async def _read_tables(self) -> dict[str, tuple[Row, ...]]:
        if self._rules.is_validated:
            try:
                return await self._database.read(self._tables)
            except SchemaError as error:
                raise SchemaError(f"{error}; {REPAIR} creates it") from None
        found: dict[str, tuple[Row, ...]] = {}
        for table in self._tables:
            try:
                found |= await self._database.read((table,))
            except SchemaError as error:
                self._tell((f"{error}: taken as empty",))
                found[table.name] = ()
        return found

    async def _is_published(self, one: DomainKey) -> bool:
        """Whether DNS has the public key, for those that sign only then; as before if DNS does not tell."""
        if not one.is_bound_to_dns:
            return True
        name = one.key.name
        own = _public_part(self._private_keys.load(one.key.key).dns_record())
        try:
            async with self._lookups:
                records = (await self._resolver.fetch_txt(name)).records
        except DnsError as error:
            if error.kind is not DnsFailureKind.NXDOMAIN and _identity(one) in self._published:
                return True
            self._observer.warn(COMPONENT, f"{name}: does not sign before it is found in DNS: {error}")
            return False
        if own in {_public_part(str(record)) for record in records}:
            return True
        self._observer.warn(COMPONENT, f"{name}: does not sign, because DNS has another public key")
        return False

    def _tell(self, notes: Sequence[str]) -> None:
        """What was not told at the last look."""
        for note in notes:
            if note not in self._told:
                self._observer.warn(COMPONENT, note)
        self._told = frozenset(notes) | (self._told if len(self._told) < 1000 else frozenset())


def _identity(one: DomainKey) -> tuple[str, str]:
    """The same for the same private key at the same name."""
    return one.key.name, one.key.key


def _public_part(record: str) -> str:
    """The key in a record, without white space; empty without one."""
    tags = parse_tags(record.encode("utf-8", "replace")) or {}
    return "".join(tags.get("p", "").split())
