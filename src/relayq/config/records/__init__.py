"""The typed configuration: one record per consumer, so a component gets what it uses and nothing else.

Fields are named like their keys, ``_`` for ``-``, without the prefix common to a record; ``Record.keys_by_field``
tells which is which. Durations are seconds, sizes bytes. Values that are secret are left out of every ``repr``.
Part of layer 5.
"""

from relayq.config.records.broker import BrokerSettings, QueueSettings
from relayq.config.records.delivery import (
    ComposingSettings,
    DeliverySettings,
    DnsSettings,
    ReportSettings,
    ResultSettings,
    RouteSettings,
    SessionLimits,
    SessionSettings,
    SmarthostSettings,
    SmtpTimeouts,
)
from relayq.config.records.process import LogSettings, ProcessSettings, WebSettings
from relayq.config.records.record import Record
from relayq.config.records.storage import DatabaseSettings, DownloadSettings, JournalSettings, StoreSettings

__all__ = [
    "BrokerSettings",
    "ComposingSettings",
    "DatabaseSettings",
    "DeliverySettings",
    "DnsSettings",
    "DownloadSettings",
    "JournalSettings",
    "LogSettings",
    "ProcessSettings",
    "QueueSettings",
    "Record",
    "ReportSettings",
    "ResultSettings",
    "RouteSettings",
    "SessionLimits",
    "SessionSettings",
    "SmarthostSettings",
    "SmtpTimeouts",
    "StoreSettings",
    "WebSettings",
]
