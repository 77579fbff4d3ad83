"""What ``relayq queue`` shows, as a table for people and as JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import click
import msgspec

from relayq.cli.durations import show_duration
from relayq.cli.endings import printable
from relayq.cli.queue_roles import DELAY
from relayq.model.timestamp import format_timestamp
from relayq.ports import DomainState, QueueState

AGES: Final = (300.0, 3600.0, 21_600.0, 86_400.0)
"""Bounds of the columns of ages, in seconds."""
SHOWN_DOMAINS: Final = 50
"""Lines of the table for people; JSON has all."""
UNKNOWN: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One queue and what it is for."""

    roles: tuple[str, ...]
    state: QueueState


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """One look.

    Attributes:
        broker: Product and place.
        at: When.
        rows: Queues, known ones first.
        domains: One queue and its messages by domain, ``None`` when it was not asked for.
    """

    broker: str
    at: datetime
    rows: tuple[QueueRow, ...]
    domains: tuple[str, tuple[DomainState, ...]] | None = None


def render_json(report: QueueReport) -> str:
    """One object on one line; null is what the broker does not tell, ages are seconds."""
    described: dict[str, object] = {
        "time": format_timestamp(report.at),
        "broker": report.broker,
        "queues": [_describe_row(row, report.at) for row in report.rows],
    }
    if report.domains is not None:
        name, states = report.domains
        described["domains"] = {
            "queue": name,
            "ages": AGES,
            "domains": [_describe_domain(state, report.at) for state in states],
        }
    return msgspec.json.encode(described).decode("utf-8")


def _describe_row(row: QueueRow, at: datetime) -> dict[str, object]:
    state = row.state
    return {
        "queue": state.name,
        "roles": row.roles,
        "exists": state.exists,
        "ready": state.ready,
        "delayed": state.delayed,
        "unsettled": state.unsettled,
        "consumers": state.consumers,
        "oldest": _age(state.oldest_at, at),
        "newest": _age(state.newest_at, at),
        **({"trouble": state.trouble} if state.trouble else {}),
    }


def _describe_domain(state: DomainState, at: datetime) -> dict[str, object]:
    return {
        "domain": state.domain,
        "ready": state.ready,
        "delayed": state.delayed,
        "unsettled": state.unsettled,
        "by-age": state.by_age,
        "oldest": _age(state.oldest_at, at),
    }


def _age(instant: datetime | None, at: datetime) -> float | None:
    return None if instant is None else max(0.0, round((at - instant).total_seconds(), 3))


def print_text(report: QueueReport) -> None:
    """Print tables to standard output."""
    head = ("queue", "for", "ready", "delayed", "in hand", "consumers", "oldest")
    click.echo(f"{format_timestamp(report.at)} UTC, {printable(report.broker)}")
    print_table(head, [_row_cells(row, report.at) for row in _summed_up(report.rows)], numbers_from=2)
    if report.domains is not None:
        _print_domains(*report.domains, report.at)


def _summed_up(rows: Sequence[QueueRow]) -> list[QueueRow]:
    """Dozens of delay queues exist for a few messages: one row for all of them, then those that hold some."""
    delays = [row for row in rows if DELAY in row.roles]
    if not delays:
        return list(rows)
    first = rows.index(delays[0])
    shared = delays[0].state.name.rpartition(".")[0]
    there = [row.state for row in delays if row.state.exists and not row.state.trouble]
    total = QueueState(
        name=f"{shared}.* ({len(delays)})",
        exists=bool(there),
        ready=sum(state.ready for state in there),
        consumers=sum(state.consumers or 0 for state in there),
    )
    telling = [row for row in delays if row.state.messages or row.state.trouble]
    others = [row for row in rows if DELAY not in row.roles]
    return [*others[:first], QueueRow(roles=(DELAY,), state=total), *telling, *others[first:]]


def _row_cells(row: QueueRow, at: datetime) -> tuple[str, ...]:
    state = row.state
    name, roles = printable(state.name), ", ".join(row.roles)
    if state.trouble:
        return name, roles, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, printable(state.trouble)
    if not state.exists:
        return name, roles, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, "not there"
    counts = (state.ready, state.delayed, state.unsettled, state.consumers)
    shown = (UNKNOWN if count is None else str(count) for count in counts)
    return name, roles, *shown, _shown_age(state.oldest_at, at)


def _shown_age(instant: datetime | None, at: datetime) -> str:
    age = _age(instant, at)
    return UNKNOWN if age is None else show_duration(age)


def _print_domains(name: str, states: Sequence[DomainState], at: datetime) -> None:
    bounds = [show_duration(age) for age in AGES]
    head = (
        "domain", "messages", "ready", "delayed", "in hand", *(f"< {bound}" for bound in bounds), f"> {bounds[-1]}",
        "oldest",
    )  # fmt: skip
    rows = [
        (
            printable(state.domain),
            str(state.ready + state.delayed + state.unsettled),
            *map(str, (state.ready, state.delayed, state.unsettled, *state.by_age)),
            show_duration(_age(state.oldest_at, at) or 0.0),
        )
        for state in states[:SHOWN_DOMAINS]
    ]
    click.echo(f"\n{printable(name)} by domain, and by the time since it was put there:")
    print_table(head, rows, numbers_from=1)
    if len(states) > SHOWN_DOMAINS:
        rest = sum(state.ready + state.delayed + state.unsettled for state in states[SHOWN_DOMAINS:])
        click.echo(f"and {rest} messages for {len(states) - SHOWN_DOMAINS} further domains; --json has all of them")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int) -> None:
    """Print cells under their heads: with lines around them on a terminal, else as plain columns.

    Args:
        head: Names of the columns.
        rows: Cells in printable characters.
        numbers_from: Columns from here on are right-aligned.
    """
    if sys.stdout.isatty():
        _print_rich_table(head, rows, numbers_from)
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = (
            f"{cell:>{width}}" if column >= numbers_from else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


def _print_rich_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column, name in enumerate(head):
        table.add_column(Text(name), justify="right" if column >= numbers_from else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)
