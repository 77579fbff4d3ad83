"""What the engine asks of a message store: keep bodies by key outside the broker (spec storage.md).

A body is octets and nothing else: whether they are a finished mail or a JSON source is the engine's business, how they
are compressed, split and laid out is the adapter's. Nothing is ever cached: the store is the only copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

LARGEST_BODY_BYTES = 512 * 1024 * 1024
"""More than any broker or server takes; what unpacks to more is damaged, so that memory has a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """Where a store is and how it is used, read from its address (spec storage.md 2).

    Which fields an engine has, besides ``compress`` that all have: directory: path, depth · sqlite: path · mongodb:
    hosts, credentials, replica_set, database, collection, read_attempts, max_query_size, parameters · postgresql: hosts
    (one), credentials, database, parameters · mysql: the same · couchbase: hosts, credentials, database (the bucket),
    parameters · s3: hosts (one, the region), credentials, database (the bucket), endpoint, prefix, path_style · redis:
    hosts (one), credentials, database (its number), prefix, parameters.

    Attributes:
        engine: ``directory``, ``sqlite``, ``mongodb``, ``postgresql``, ``mysql``, ``couchbase``, ``s3`` or ``redis``.
        scheme: As written, in lower case: ``rediss`` and ``mongodb+srv`` tell more than the engine.
        path: Absolute path in the file system.
        hosts: Host and port in the order of the address; the port is ``None`` when not given; IPv6 without brackets.
        username: Percent-decoded, ``None`` when not given.
        password: Percent-decoded, ``None`` when not given; never shown.
        replica_set: Name of the replica set.
        database: Database or bucket.
        collection: Collection.
        compress: Write bodies as gzip where that makes them smaller; reading goes by what is stored.
        depth: Levels of directories.
        read_attempts: How often a key is asked for before it counts as unknown.
        max_query_size: Most keys in one query, ``None`` = no limit.
        prefix: In front of every key.
        endpoint: URL of a compatible server.
        path_style: The bucket is part of the path instead of the host.
        parameters: Options of the driver's own, name and value, in order; not shown, some are secret.
    """

    engine: str
    scheme: str
    path: str = ""
    hosts: tuple[tuple[str, int | None], ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    replica_set: str | None = None
    database: str = ""
    collection: str = ""
    compress: bool = False
    depth: int = 4
    read_attempts: int = 1
    max_query_size: int | None = None
    prefix: str = ""
    endpoint: str | None = None
    path_style: bool = False
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Return what a log or report may show: engine and place, no credentials, no options."""
        hosts = ";".join(show_host(host, port) for host, port in self.hosts)
        names = "/".join(name for name in (self.replica_set, self.database, self.collection) if name)
        return f"{self.scheme}://{self.path}" if self.path else f"{self.scheme}://{hosts}/{names}"


def show_host(host: str, port: int | None) -> str:
    """Return ``host:port`` as addresses spell it, IPv6 in brackets; without a port only the host."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


class MessageStore(Protocol):
    """One store of one process. All methods belong to one event loop.

    Connecting happens with the first operation and again after every loss, so that the process starts while the store
    is down. A store is made for so many operations at the same time; further ones wait their turn in it, which lets it
    do several in one go. The caller limits how long each may take, waiting included: every one may be cancelled at any
    point, after which the store must be usable; whether a cancelled write took place is then unknown.

    Keys are any text of 1 to `MAX_KEY_BYTES` octets in UTF-8; different texts are different keys, also those that
    differ only in case, blanks at the end or Unicode composition. Engines with narrower rules encode them. Texts of
    errors contain no credentials.

    Every method but `close` raises `StoreUnavailableError` when the store cannot be used now.
    """

    async def load(self, key: str) -> bytes | None:
        """Octets exactly as they were saved, or as another program put them there; ``None`` when the key is unknown.

        An entry that has expired but was not removed yet may or may not be found.

        Raises:
            StoreDamagedError: There is an entry, and its body cannot be restored.
        """
        ...

    async def save(self, key: str, body: bytes, expire_at: datetime) -> None:
        """Keep ``body``, in place of what the key had; returns once it would survive a crash of both sides.

        Args:
            key: The key.
            body: Any octets, also none.
            expire_at: Aware UTC instant after which the entry may go away by itself.
        """
        ...

    async def refresh(self, key: str, expire_at: datetime) -> None:
        """Let an entry live until ``expire_at`` if that is later than now planned; the body is not rewritten.

        An unknown key and an entry of another program without an expiry are left alone.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove an entry with all its parts, whoever wrote it; an unknown key is fine."""
        ...

    async def sweep(self, now: datetime) -> bool:
        """Remove some entries that expired before ``now``, at most 1,000 at a time; true when there may be more.

        Several processes may do so at once. Nothing to do where the server expires entries by itself.
        """
        ...

    async def probe(self) -> None:
        """Read a random key, only to see whether the store can be used."""
        ...

    async def close(self) -> None:
        """Close connections and threads. Idempotent; no operation may be running or follow."""
        ...


class StoreError(Exception):
    """Base of what a store can refuse; texts are for the log and never contain credentials."""


class StoreUnavailableError(StoreError):
    """It cannot be reached, refused access, is full or read-only, or its driver failed: temporary by nature."""


class StoreDamagedError(StoreError):
    """The body of a key cannot be restored: a part is missing, its compression is broken or its size differs."""
