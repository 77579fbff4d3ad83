"""What is kept or fetched besides messages: bodies, notes of outcomes, downloads, rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from relayq.config.records.record import Record

if TYPE_CHECKING:
    from relayq.config.network_types import IpNetwork
    from relayq.ports import ProxyAddress, StoreAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings(Record):
    """The message store.

    Attributes:
        address: Where it is, ``None`` = there is none.
        policy: When bodies are stored and deleted.
        ttl: Seconds added to the last delivery time of a message.
        timeout: Seconds for one operation.
        reschedule: Seconds until a retry after a failure of the store.
        threads: Operations at the same time.
    """

    PREFIX: ClassVar[str] = "storage-"

    address: StoreAddress | None
    policy: Literal["all", "out", "in", "none"]
    ttl: float
    timeout: float
    reschedule: float
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings(Record):
    """The outcome journal.

    Attributes:
        directory: Its folder, ``auto`` = the usual one, ``None`` = there is no journal.
        sync: When notes are safe from a power cut.
        max_size: Bytes of the notes of one worker.
        failure: Whether mail is sent while nothing can be noted.
    """

    PREFIX: ClassVar[str] = "journal-"

    directory: str | None
    sync: Literal["always", "second", "never"]
    max_size: int
    failure: Literal["continue", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings(Record):
    """Downloads for messages built from JSON.

    Attributes:
        cache: Store that keeps resources, ``None`` = only memory does.
        ttl: Longest time in seconds a resource is used again.
        user_agent: Header of requests.
        blacklist: Networks never connected to.
        whitelist: Exceptions: network and port, ``None`` = every port.
        timeout: Seconds for one resource.
        maxsize: Bytes of one resource.
        proxy: What everything goes through, ``None`` = nothing.
    """

    PREFIX: ClassVar[str] = "download-"

    cache: StoreAddress | None
    ttl: float
    user_agent: str | None
    blacklist: tuple[IpNetwork, ...]
    whitelist: tuple[tuple[IpNetwork, int | None], ...]
    timeout: float
    maxsize: int
    proxy: ProxyAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings(Record):
    """The database of rules.

    Attributes:
        address: Where it is, ``None`` = there is none.
        ttl: Seconds after which it is read again.
        validate: Tables and columns that are missing stop the start.
    """

    PREFIX: ClassVar[str] = "database-"

    address: StoreAddress | None
    ttl: float
    validate: bool
