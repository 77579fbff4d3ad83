"""``relayq queue``: what lies in which queue, and emptying one (spec operations.md 15).

Nothing is consumed to find out: RabbitMQ tells counts of queues whose names are known, the file of the embedded broker
everything.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings_alone, takes_settings
from relayq.cli.durations import show_duration
from relayq.cli.endings import CommandFailed, Ending, say, say_broker_trouble
from relayq.cli.loop import run, until_stopped
from relayq.cli.pipes import READ_OCTETS, BlockingCalls
from relayq.cli.queue_report import AGES, QueueReport, QueueRow, print_text, render_json
from relayq.cli.queue_roles import DELAY, Place, find_places, places_of, roles_of
from relayq.config import ExitCode

if TYPE_CHECKING:
    from relayq.config import Settings
    from relayq.ports import QueueInspector, QueueState

TIME_LIMIT: Final = 30.0
"""Seconds for reaching the broker, and for each of its answers."""
CLEAR_SCREEN: Final = "\x1b[H\x1b[2J"
NO_INSIGHT: Final = (
    "not available: RabbitMQ does not show domains and ages without handing messages out, and asking the running "
    "server instead needs a REST API, which this version does not have"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """What the command line says.

    Attributes:
        domains: Word or name of the queue to be shown by domain, ``None`` = none.
        watch: Seconds between two looks, ``None`` = one look only.
        purge: Word or name of the queue to be emptied, ``None`` = none.
        is_confirmed: Empty it without a question.
        as_json: For programs.
    """

    domains: str | None
    watch: float | None
    purge: str | None
    is_confirmed: bool
    as_json: bool


@click.command(
    "queue",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq queue                        how much lies where
  relayq queue --watch 5              the same, again and again
  relayq queue --domains outbox       also by recipient domain and age (embedded broker)
  relayq queue --purge failure        delete what lies there, after a question

A QUEUE is a full name, or one of the words outbox, delay, parking, results, success, failure, retry, dsn, invalid,
inbox, poison. {SETTINGS_NOTE}""",
)
@click.option("--domains", metavar="QUEUE", help="Also show this queue by domain and age; reads all of it.")
@click.option("--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Look again and again.")
@click.option("--purge", metavar="QUEUE", help="Delete the messages of this queue.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON per look, for programs.")
@takes_settings()
def command(
    words: Sequence[str],
    no_default_config: bool,
    domains: str | None,
    watch: float | None,
    purge: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Show how many messages lie in which queue, without touching any."""
    if purge is not None and (watch is not None or domains is not None):
        raise click.UsageError("--purge goes with neither --watch nor --domains")
    if yes and purge is None:
        raise click.UsageError("--yes is the answer to --purge, which is not there")
    settings = load_settings_alone(words, no_default_config=no_default_config)
    options = QueueOptions(domains=domains, watch=watch, purge=purge, is_confirmed=yes, as_json=as_json)
    work = QueueCommand(settings, options)
    return run(functools.partial(_inspect, settings, work.show if purge is None else work.purge))


async def _inspect(
    settings: Settings, work: Callable[[QueueInspector], Coroutine[Any, Any, int]], stop: asyncio.Event
) -> int:
    from relayq.app import open_inspector

    inspector = open_inspector(settings, time_limit=TIME_LIMIT, log=say_broker_trouble)

    async def open_and_work() -> int:
        await inspector.open()
        return await work(inspector)

    try:
        # Nothing to say when it was stopped: watching ends like that.
        return await until_stopped(open_and_work(), stop) or 0
    finally:
        await inspector.close()


class QueueCommand:
    """What the command does with an open inspector; both ways return the exit code."""

    def __init__(self, settings: Settings, options: QueueOptions) -> None:
        self._settings = settings
        self._options = options

    async def show(self, inspector: QueueInspector) -> int:
        """Look once, or until cancelled."""
        options = self._options
        while True:
            report = await self._look(inspector)
            if options.as_json:
                click.echo(render_json(report))
            else:
                if options.watch is not None and sys.stdout.isatty():
                    click.echo(CLEAR_SCREEN, nl=False)
                print_text(report)
            if options.watch is None:
                return ExitCode.OK
            sys.stdout.flush()
            await asyncio.sleep(options.watch)

    async def _look(self, inspector: QueueInspector) -> QueueReport:
        states = await inspector.look(self._known_names())
        report = QueueReport(
            broker=inspector.broker,
            at=datetime.now(UTC),
            rows=tuple(QueueRow(roles=roles_of(self._settings, state.name), state=state) for state in states),
        )
        if self._options.domains is None:
            return report
        (place, *_) = find_places(self._settings, self._options.domains, states)
        domains = await inspector.look_into(place.name, AGES)
        if domains is None:
            raise CommandFailed(ExitCode.UNAVAILABLE, f"--domains: {NO_INSIGHT}")
        return QueueReport(broker=report.broker, at=report.at, rows=report.rows, domains=(place.name, domains))

    def _known_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place.name for place in places_of(self._settings)))

    async def purge(self, inspector: QueueInspector) -> int:
        """Tell what would go, ask, delete."""
        text = self._options.purge
        assert text is not None
        places = find_places(self._settings, text, await inspector.look(()))
        states = await inspector.look(tuple(place.name for place in places))
        chosen = list(zip(places, states, strict=False))
        self._check(chosen, inspector.broker)
        lines = [describe_purge(place, state) for place, state in chosen if count_of(place, state)]
        if not lines:
            say(f"{text}: there is nothing to delete")
            self._tell_deleted({place.name: 0 for place in places})
            return ExitCode.OK
        say(*lines)
        if not self._options.is_confirmed and not await self._ask():
            say("nothing was deleted")
            return Ending.INTERRUPTED
        deleted = {
            place.name: await inspector.purge(place.name, delayed=place.is_delayed)
            for place, state in chosen
            if count_of(place, state)
        }
        self._tell_deleted(deleted)
        return ExitCode.OK

    def _check(self, chosen: Sequence[tuple[Place, QueueState]], broker: str) -> None:
        for place, state in chosen:
            if state.trouble:
                raise CommandFailed(ExitCode.NO_PERMISSION, f"queue {place.name!r}: {state.trouble}")
            if not state.exists and not place.word:
                raise CommandFailed(ExitCode.USAGE, f"there is no queue {place.name!r}: {broker}")

    async def _ask(self) -> bool:
        """Whether somebody at the terminal agrees.

        Raises:
            CommandFailed: There is no terminal.
        """
        if not sys.stdin.isatty():
            raise CommandFailed(ExitCode.USAGE, "nothing was deleted: without a terminal --purge needs --yes")
        sys.stderr.write("Delete them for good? [y/N] ")
        sys.stderr.flush()
        read = functools.partial(os.read, sys.stdin.fileno(), READ_OCTETS)
        answer = await BlockingCalls("question").run(read)
        return answer.strip().lower() in {b"y", b"yes"}

    def _tell_deleted(self, deleted: dict[str, int]) -> None:
        if self._options.as_json:
            rows = [{"queue": name, "deleted": count} for name, count in deleted.items()]
            click.echo(msgspec.json.encode({"deleted": sum(deleted.values()), "queues": rows}).decode("utf-8"))
            return
        for name, count in deleted.items():
            if count:
                click.echo(f"{count} messages deleted from {name}")


def count_of(place: Place, state: QueueState) -> int:
    """Messages a purge would delete."""
    return (state.delayed or 0) if place.is_delayed else state.ready


def describe_purge(place: Place, state: QueueState) -> str:
    """What would go, how old it is, and what would stay."""
    count = count_of(place, state)
    what = f"{count} message{'s' if count > 1 else ''}" + (" that wait for their time" if place.is_delayed else "")
    parts = [f"{place.name}: {what} would be deleted", _describe_age(place, state)]
    if state.unsettled:
        parts.append(f"{state.unsettled} in hand would stay")
    elif state.consumers:
        parts.append(f"consumers: {state.consumers}, and what they have in hand would stay")
    return "; ".join(parts)


def _describe_age(place: Place, state: QueueState) -> str:
    if state.oldest_at is not None and state.newest_at is not None:
        now = datetime.now(UTC)
        oldest, newest = (
            show_duration((now - instant).total_seconds()) for instant in (state.oldest_at, state.newest_at)
        )
        return f"the oldest message of the queue has been there for {oldest}, the newest for {newest}"
    if place.word == DELAY:
        return f"each has been there for at most {show_duration(int(place.name.rpartition('.')[2]))}"
    return "how old they are RabbitMQ does not tell"
