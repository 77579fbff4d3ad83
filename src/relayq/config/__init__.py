"""File, environment and command line become frozen, typed settings. Layer 5."""

from relayq.config.broker_address import BrokerAddress, BrokerOptions, EmbeddedAddress, parse_broker_addresses
from relayq.config.entry import Source
from relayq.config.environment import Leftover, leftover_variables
from relayq.config.load import DEFAULT_FILE, load
from relayq.config.name_types import AUTOMATIC
from relayq.config.network_types import IpNetwork
from relayq.config.options import parse_options
from relayq.config.problems import BadValueError, ConfigurationError, ExitCode, Problem, UsageError
from relayq.config.records import (
    BrokerSettings,
    ComposingSettings,
    DeliverySettings,
    DnsSettings,
    DownloadSettings,
    JournalSettings,
    LogSettings,
    ProcessSettings,
    QueueSettings,
    ReportSettings,
    ResultSettings,
    RouteSettings,
    SessionLimits,
    SessionSettings,
    SmarthostSettings,
    SmtpTimeouts,
    StoreSettings,
)
from relayq.config.reload import Reload, decide_reload
from relayq.config.settings import Settings, ShownSetting, show
from relayq.config.table import TABLE

__all__ = [
    "AUTOMATIC",
    "DEFAULT_FILE",
    "TABLE",
    "BadValueError",
    "BrokerAddress",
    "BrokerOptions",
    "BrokerSettings",
    "ComposingSettings",
    "ConfigurationError",
    "DeliverySettings",
    "DnsSettings",
    "DownloadSettings",
    "EmbeddedAddress",
    "ExitCode",
    "IpNetwork",
    "JournalSettings",
    "Leftover",
    "LogSettings",
    "Problem",
    "ProcessSettings",
    "QueueSettings",
    "Reload",
    "ReportSettings",
    "ResultSettings",
    "RouteSettings",
    "SessionLimits",
    "SessionSettings",
    "Settings",
    "ShownSetting",
    "SmarthostSettings",
    "SmtpTimeouts",
    "Source",
    "StoreSettings",
    "UsageError",
    "decide_reload",
    "leftover_variables",
    "load",
    "parse_broker_addresses",
    "parse_options",
    "show",
]
