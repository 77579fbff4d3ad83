"""What the engine asks of the world, as small protocols. Layer 3."""

from relayq.model import TlsaRecord
from relayq.ports.broker import (
    Broker,
    BrokerError,
    BrokerListener,
    BrokerRefusedError,
    BrokerStorageError,
    BrokerUnavailableError,
    Consumption,
    Origin,
    OutboxItem,
    Parking,
    Properties,
    Publication,
    PublicationTooLargeError,
    QueueRole,
    TopologyError,
)
from relayq.ports.clock import Clock
from relayq.ports.database import (
    Column,
    ColumnKind,
    DatabaseError,
    DatabaseUnavailableError,
    Row,
    RulesDatabase,
    SchemaError,
    Table,
)
from relayq.ports.domain_policies import DomainPolicies
from relayq.ports.fetcher import DownloadError, Fetched, Fetcher
from relayq.ports.journal import JournalEntry, JournalError, OutcomeJournal, Recollection, RecollectionKind
from relayq.ports.network import (
    BindError,
    ConnectError,
    LocalShortageError,
    Network,
    Secured,
    TlsError,
    TlsFailureKind,
)
from relayq.ports.observer import Observer
from relayq.ports.permits import Borrower, Lender, LimitKey, PairKey
from relayq.ports.proxy import ProxyAddress
from relayq.ports.queues import DomainState, QueueInspector, QueueState
from relayq.ports.resolver import DnsAnswer, DnsError, DnsFailureKind, MxRecord, Resolver
from relayq.ports.store import MessageStore, StoreAddress, StoreDamagedError, StoreError, StoreUnavailableError
from relayq.ports.workshop import Workshop, WorkshopUnavailableError

__all__ = [
    "BindError",
    "Borrower",
    "Broker",
    "BrokerError",
    "BrokerListener",
    "BrokerRefusedError",
    "BrokerStorageError",
    "BrokerUnavailableError",
    "Clock",
    "Column",
    "ColumnKind",
    "ConnectError",
    "Consumption",
    "DatabaseError",
    "DatabaseUnavailableError",
    "DnsAnswer",
    "DnsError",
    "DnsFailureKind",
    "DomainPolicies",
    "DomainState",
    "DownloadError",
    "Fetched",
    "Fetcher",
    "JournalEntry",
    "JournalError",
    "Lender",
    "LimitKey",
    "LocalShortageError",
    "MessageStore",
    "MxRecord",
    "Network",
    "Observer",
    "Origin",
    "OutboxItem",
    "OutcomeJournal",
    "PairKey",
    "Parking",
    "Properties",
    "ProxyAddress",
    "Publication",
    "PublicationTooLargeError",
    "QueueInspector",
    "QueueRole",
    "QueueState",
    "Recollection",
    "RecollectionKind",
    "Resolver",
    "Row",
    "RulesDatabase",
    "SchemaError",
    "Secured",
    "StoreAddress",
    "StoreDamagedError",
    "StoreError",
    "StoreUnavailableError",
    "Table",
    "TlsError",
    "TlsFailureKind",
    "TlsaRecord",
    "TopologyError",
    "Workshop",
    "WorkshopUnavailableError",
]
