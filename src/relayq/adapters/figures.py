"""Figures about a process: which there are, how they are added up over workers, and their text for Prometheus.

A figure is a number under the name of its series, ``family{label="value"}``, as it will be printed: so adding up two
processes is adding up two dictionaries, and nothing is looked up while messages are delivered.

Text format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

Figures = dict[str, float]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class State(enum.StrEnum):
    """What a worker is doing."""

    STARTING = "starting"
    """Not there yet, or not connected to the broker yet."""
    CONSUMING = "consuming"
    """It takes messages from the outbox."""
    CONNECTING = "connecting"
    """It would, but the broker cannot be reached."""
    BLOCKED = "blocked"
    """It would, but the broker takes no publications."""
    STOPPING = "stopping"
    """It takes no more."""


FAMILIES: Final[dict[str, tuple[str, str]]] = {
    "relayq_info": ("gauge", "Always 1; the label tells the version."),
    "relayq_start_time_seconds": ("gauge", "When this instance was started, in seconds since 1970."),
    "relayq_workers": ("gauge", "Worker processes, by what they are doing."),
    "relayq_worker_restarts_total": ("counter", "Worker processes that died and were started again."),
    "relayq_process_cpu_seconds_total": ("counter", "User and system time of each process since its start."),
    "relayq_process_resident_bytes": ("gauge", "Memory of each process."),
    "relayq_process_open_fds": ("gauge", "Open files and sockets of each process."),
    "relayq_attempts_total": ("counter", "Attempts, by the state they ended in, their result and class of reply code."),
    "relayq_deliveries_total": ("counter", "Messages delivered."),
    "relayq_failures_total": ("counter", "Messages given up."),
    "relayq_retries_total": ("counter", "Attempts that are followed by another one."),
    "relayq_delivery_seconds": ("histogram", "From the outbox to the confirmed result of an attempt."),
    "relayq_queue_wait_seconds": ("histogram", "From the outbox to the beginning of the SMTP transaction."),
    "relayq_connect_seconds": ("histogram", "From the first packet to a session that is ready for mail."),
    "relayq_transaction_seconds": ("histogram", "From MAIL FROM to the answer about the content."),
    "relayq_consumed_total": ("counter", "Messages handed out by the broker."),
    "relayq_given_back_total": ("counter", "Messages that went back to the outbox without an attempt, by reason."),
    "relayq_redelivered_total": ("counter", "Messages the broker had handed out before."),
    "relayq_ledger_hits_total": ("counter", "Of these, those not sent again, for their outcome was known."),
    "relayq_messages_held": ("gauge", "Messages taken from the outbox and not settled yet."),
    "relayq_messages_held_bytes": ("gauge", "Their size."),
    "relayq_messages_waiting": ("gauge", "Of these, those that wait for a connection."),
    "relayq_connections": ("gauge", "SMTP connections, being opened or open."),
    "relayq_sessions_total": ("counter", "SMTP sessions that became ready for mail."),
    "relayq_hosts_down": ("gauge", "Hosts left alone after a failure, as the worker that knows most of them sees it."),
    "relayq_tls_failures_total": ("counter", "Sessions that policies of domains did not allow, by policy and kind."),
    "relayq_unroutable_results_total": ("counter", "Results that no queue took: they are in the log."),
    "relayq_crashes_total": ("counter", "Unexpected errors; each message concerned is tried again."),
    "relayq_broker_blocked": ("gauge", "Workers whose broker takes no publications now."),
    "relayq_store_total": ("counter", "Bodies in the message store, by what became of them."),
    "relayq_downloads_total": ("counter", "Resources that messages name, by where they came from."),
    "relayq_dns_lookups_total": ("counter", "Questions to name servers."),
    "relayq_dns_cache_hits_total": ("counter", "Questions that needed no name server."),
    "relayq_dns_failures_total": ("counter", "Lookups without an answer, by kind."),
    "relayq_download_requests_total": ("counter", "Requests to web servers, second tries included."),
    "relayq_download_reuses_total": ("counter", "Downloads that needed no request, by where they came from."),
    "relayq_download_failures_total": ("counter", "Downloads that could not be had."),
}  # fmt: skip
"""Kind and meaning of every family."""

_MAXIMA: Final = frozenset({"relayq_hosts_down"})
"""Families of which every worker knows the whole."""


def series(family: str, **labels: object) -> str:
    """Name of one series; values come out as text with what could end them escaped."""
    if not labels:
        return family
    shown = ",".join(f'{name}="{_escape(str(value))}"' for name, value in labels.items())
    return f"{family}{{{shown}}}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def family_of(name: str) -> str:
    """Family a series belongs to."""
    base = name.partition("{")[0]
    if base in FAMILIES:
        return base
    for suffix in ("_bucket", "_sum", "_count"):
        if base.endswith(suffix):
            return base.removesuffix(suffix)
    return base


def is_lasting(name: str) -> bool:
    """Whether the figure of a process that is gone still counts: true of everything that only grows."""
    return FAMILIES[family_of(name)][0] != "gauge"


def add_up(parts: Iterable[Mapping[str, float]]) -> Figures:
    """The figures of several processes together."""
    total: Figures = {}
    for part in parts:
        for name, value in part.items():
            if name in _MAXIMA:
                total[name] = max(total.get(name, 0.0), value)
            else:
                total[name] = total.get(name, 0.0) + value
    return total


def render(figures: Mapping[str, float]) -> str:
    """The text a Prometheus server reads; families in the order of the table, series in that of their names."""
    by_family: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for name in figures:
        by_family[family_of(name)].append(name)
    lines: list[str] = []
    for family, names in by_family.items():
        if not names:
            continue
        kind, meaning = FAMILIES[family]
        lines += (f"# HELP {family} {meaning}", f"# TYPE {family} {kind}")
        if kind != "histogram":
            names.sort()
        lines += (f"{name} {_number(figures[name])}" for name in names)
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


class Histogram:
    """How long something took; observing costs a bisection and two additions."""

    __slots__ = ("_bounds", "_counts", "_names", "_sum", "_sum_names")

    def __init__(self, family: str, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._names = [series(f"{family}_bucket", le=f"{bound:g}") for bound in bounds]
        self._names.append(series(f"{family}_bucket", le="+Inf"))
        self._sum_names = (f"{family}_sum", f"{family}_count")

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def write_to(self, figures: Figures) -> None:
        """Add its series, buckets in ascending order."""
        count = 0
        for name, more in zip(self._names, self._counts, strict=True):
            count += more
            figures[name] = count
        figures[self._sum_names[0]] = self._sum
        figures[self._sum_names[1]] = count
