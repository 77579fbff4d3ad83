"""The whole configuration of a process: records per consumer, and what each key came out as."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from relayq.config import records
from relayq.config.broker_address import EmbeddedAddress
from relayq.config.entry import Source
from relayq.config.problems import MASK, escape, mask_credentials
from relayq.config.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relayq.config.problems import Problem
    from relayq.config.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The value of one key and why it has it.

    Attributes:
        setting: The row of the table.
        value: Typed value; may be a secret.
        text: As somebody wrote it, or the text of the default; may be a secret.
        where: ``default``, ``FILE:LINE``, ``environment NAME`` or ``option --key``.
        source: Kind of that place.
    """

    setting: Setting
    value: Any = field(repr=False)
    text: str = field(repr=False)
    where: str
    source: Source

    @property
    def shown(self) -> str:
        """The value for reports: secrets masked, also passwords inside addresses."""
        if not self.text:
            return ""
        if isinstance(self.value, EmbeddedAddress):
            return escape(str(self.value))
        if isinstance(self.value, tuple) and self.setting.key.endswith("-address"):
            return ",".join(map(str, self.value))
        return MASK if self.setting.secret else escape(mask_credentials(self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the composition root hands out in parts; no component gets all of it.

    Attributes:
        warnings: What the owner should know, to be logged once at the start.
        effective: Every key of the table, in its order.
    """

    process: records.ProcessSettings
    broker: records.BrokerSettings
    queues: records.QueueSettings
    delivery: records.DeliverySettings
    route: records.RouteSettings
    smarthost: records.SmarthostSettings
    session: records.SessionSettings
    composing: records.ComposingSettings
    timeouts: records.SmtpTimeouts
    limits: records.SessionLimits
    dns: records.DnsSettings
    results: records.ResultSettings
    reports: records.ReportSettings
    store: records.StoreSettings
    journal: records.JournalSettings
    web: records.WebSettings
    downloads: records.DownloadSettings
    database: records.DatabaseSettings
    log: records.LogSettings
    warnings: tuple[Problem, ...]
    effective: Mapping[str, Effective] = field(repr=False)


_BORROWED = {"rabbitmq-inbox": "rabbitmq-outbox", "download-proxy": "proxy-server"}
"""Key → the one whose value is its default."""


def with_borrowed(effective: Mapping[str, Effective]) -> dict[str, Effective]:
    """Give keys that no source sets the value of another one."""
    filled = dict(effective)
    for key, lender in _BORROWED.items():
        if filled[key].source is Source.DEFAULT:
            filled[key] = replace(filled[key], value=filled[lender].value, text=filled[lender].text)
    return filled


def build_settings(effective: Mapping[str, Effective], warnings: tuple[Problem, ...]) -> Settings:
    """Sort checked values, one for every key of the table, into records."""
    values = {key: item.value for key, item in effective.items()}
    return Settings(
        process=records.ProcessSettings.of(values),
        broker=records.BrokerSettings.of(values),
        queues=records.QueueSettings.of(values),
        delivery=records.DeliverySettings.of(values),
        route=records.RouteSettings.of(values),
        smarthost=records.SmarthostSettings.of(values),
        session=records.SessionSettings.of(values),
        composing=records.ComposingSettings.of(values),
        timeouts=records.SmtpTimeouts.of(values),
        limits=records.SessionLimits.of(values),
        dns=records.DnsSettings.of(values),
        results=records.ResultSettings.of(values),
        reports=records.ReportSettings.of(values),
        store=records.StoreSettings.of(values),
        journal=records.JournalSettings.of(values),
        web=records.WebSettings.of(values),
        downloads=records.DownloadSettings.of(values),
        database=records.DatabaseSettings.of(values),
        log=records.LogSettings.of(values),
        warnings=warnings,
        effective=effective,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSetting:
    """One line of ``relayq check-config --show``; ``value`` has its secrets masked."""

    key: str
    value: str
    where: str


def show(settings: Settings) -> tuple[ShownSetting, ...]:
    """Every key with its value and source, in the order of the table."""
    return tuple(
        ShownSetting(key=key, value=settings.effective[key].shown, where=settings.effective[key].where) for key in TABLE
    )
