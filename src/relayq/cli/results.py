"""``relayq results``: print result messages, one JSON line or table row each (spec operations.md 15).

A message is acknowledged after its line was written, so a pager that is closed, a full disk or a crash leaves what was
not shown in the queue; what was on its way at that moment may be shown twice. A signal lets lines that are on their way
get there.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings_alone, takes_settings
from relayq.cli.endings import CommandFailed, printable, say_broker_trouble
from relayq.cli.loop import run, until_stopped
from relayq.cli.pipes import BlockingCalls, write_all
from relayq.config import ExitCode
from relayq.model.body import UndecodableBodyError, decode_body
from relayq.model.message_json import InvalidBodyError, decode_members
from relayq.ports import Broker, Consumption, OutboxItem

if TYPE_CHECKING:
    from relayq.config import Settings

TIME_LIMIT: Final = 30.0
"""Seconds for reaching the broker."""
GRACE_TIME: Final = 2.0
"""Seconds that a signal leaves to lines on their way to be written and acknowledged."""
IDLE_TIME: Final = 1.0
"""Seconds without a message after which the queues count as empty: brokers do not tell."""
PREFETCH: Final = 500
PEEK_LIMIT: Final = 20_000
"""Most messages ``--peek`` holds at once; the broker has to take all of them back."""
MAX_BODY_OCTETS: Final = 256 * 1024 * 1024
SHOWN_OCTETS: Final = 65_536  # of a body that is no JSON, as in spec results.md 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsOptions:
    """What the command line says.

    Attributes:
        queues: Queues to read; not empty.
        follow: Go on waiting when they are empty.
        count: Messages to print at most, ``None`` = all.
        peek: Give everything back at the end.
        render: One message as octets to write, with its line end.
        idle_time: Seconds after which empty queues end the command.
        grace_time: Seconds that lines on their way have when the command is ended.
    """

    queues: tuple[str, ...]
    follow: bool
    count: int | None
    peek: bool
    render: Callable[[OutboxItem], bytes]
    idle_time: float = IDLE_TIME
    grace_time: float = GRACE_TIME


@click.command(
    "results",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq results                      print and remove what is there
  relayq results --follow --table     watch
  relayq results --queue failure --count 10 --peek

Without --queue: the configured results queue, or else the success and failure queues. {SETTINGS_NOTE}""",
)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Read this queue instead; repeatable.")
@click.option("--follow", is_flag=True, help="Go on waiting for more.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages.")
@click.option("--table", is_flag=True, help="Time, recipient, state, result, code and description instead of JSON.")
@click.option("--peek", is_flag=True, help=f"Put them back at the end (at most {PEEK_LIMIT:,}).")
@takes_settings()
def command(
    words: Sequence[str],
    no_default_config: bool,
    queues: tuple[str, ...],
    follow: bool,
    count: int | None,
    table: bool,
    peek: bool,
) -> None:
    """Print result messages and remove them from their queue."""
    if peek and follow:
        raise click.UsageError("--peek gives everything back at the end, and --follow has none")
    settings = load_settings_alone(words, no_default_config=no_default_config)
    options = ResultsOptions(
        queues=queues or _configured_queues(settings),
        follow=follow,
        count=min(count or PEEK_LIMIT, PEEK_LIMIT) if peek else count,
        peek=peek,
        render=render_row if table else render_json,
    )
    if table:
        click.echo(TABLE_HEAD)
    sys.stdout.flush()
    run(lambda stop: _print_results(settings, options, stop))


def _configured_queues(settings: Settings) -> tuple[str, ...]:
    queues = settings.queues
    names = (queues.results,) if queues.results else (queues.success, queues.failure)
    found = tuple(dict.fromkeys(name for name in names if name))
    if not found:
        raise CommandFailed(ExitCode.CONFIGURATION, "no result queue is configured; name one with --queue")
    return found


async def _print_results(settings: Settings, options: ResultsOptions, stop: asyncio.Event) -> None:
    from relayq.app import open_broker

    broker = open_broker(settings, time_limit=TIME_LIMIT, log=say_broker_trouble, purpose="results")
    writer = BlockingCalls("output")
    descriptor = sys.stdout.fileno()

    async def write(octets: bytes) -> None:
        await writer.run(functools.partial(write_all, descriptor, octets))

    async def work() -> None:
        await broker.open()
        await ResultPrinter(broker, options, write).print()

    try:
        await until_stopped(work(), stop)
    finally:
        await broker.close()


class ResultPrinter:
    """Takes messages from queues, writes them, and only then lets go of them."""

    def __init__(self, broker: Broker, options: ResultsOptions, write: Callable[[bytes], Any]) -> None:
        self._broker = broker
        self._options = options
        self._write = write
        self._arrived: list[OutboxItem] = []
        self._something = asyncio.Event()
        self._kept: list[OutboxItem] = []

    async def print(self) -> int:
        """Print until done, return the number of messages; items that were not written go back.

        Raises:
            BrokenPipeError: Nobody reads the output any more.
        """
        prefetch = min(self._options.count or PREFETCH, PEEK_LIMIT if self._options.peek else PREFETCH)
        consumptions: list[Consumption] = []
        printed = 0
        try:
            for queue in self._options.queues:
                consumption = await self._broker.consume(queue, prefetch, self._deliver)
                consumptions.append(consumption)
            while (items := await self._next_items(printed)) is not None:
                await self._show(items)
                printed += len(items)
        finally:
            for consumption in consumptions:
                with suppress(asyncio.CancelledError):
                    await consumption.cancel()
            for item in (*self._kept, *self._arrived):
                self._broker.requeue(item)
        return printed

    def _deliver(self, item: OutboxItem) -> None:
        self._arrived.append(item)
        self._something.set()

    async def _next_items(self, printed: int) -> list[OutboxItem] | None:
        """What has arrived, as far as it is wanted; ``None`` when no more is."""
        wanted = None if self._options.count is None else self._options.count - printed
        if wanted == 0:
            return None
        try:
            async with asyncio.timeout(None if self._options.follow else self._options.idle_time):
                await self._something.wait()
        except TimeoutError:
            return None
        items, self._arrived = self._arrived[:wanted], self._arrived[wanted:] if wanted is not None else []
        if not self._arrived:
            self._something.clear()
        return items

    async def _show(self, items: list[OutboxItem]) -> None:
        showing = asyncio.ensure_future(self._write_and_let_go(items))
        try:
            await asyncio.shield(showing)
        except asyncio.CancelledError:
            # What is out already must not come again; but who does not read must not keep the command.
            await asyncio.wait((showing,), timeout=self._options.grace_time)
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            raise

    async def _write_and_let_go(self, items: list[OutboxItem]) -> None:
        try:
            await self._write(b"".join(map(self._options.render, items)))
        except BaseException:
            self._kept += items
            raise
        if self._options.peek:
            self._kept += items
            return
        await asyncio.gather(*(self._broker.settle(item, ()) for item in items))


def render_json(item: OutboxItem) -> bytes:
    """Return the message on one line, its values untouched; one that is no JSON object as in spec results.md 8."""
    try:
        body = decode_body(item.body, item.properties.content_encoding, MAX_BODY_OCTETS)
        decode_members(body)
    except (UndecodableBodyError, InvalidBodyError):
        return msgspec.json.encode(_describe_unusable(item.body)) + b"\n"
    # Line ends cannot occur inside a JSON string, only between tokens.
    return body.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b" ").replace(b"\n", b" ").strip() + b"\n"


def _describe_unusable(body: bytes) -> dict[str, object]:
    shown = body[:SHOWN_OCTETS]
    described: dict[str, object]
    try:
        described = {"invalid-body": shown.decode("utf-8")}
    except UnicodeDecodeError:
        described = {"invalid-body": base64.b64encode(shown).decode("ascii"), "invalid-encoding": "base64"}
    return described | ({"invalid-truncated": True} if len(body) > SHOWN_OCTETS else {})


_ROW: Final = "{:<19}  {:<36}  {:<12}  {:<8}  {:<4}  {}"
TABLE_HEAD: Final = _ROW.format("time (UTC)", "recipient", "state", "result", "code", "description")


def render_row(item: OutboxItem) -> bytes:
    """Return one row of the table, from the last attempt; what is missing or no text stays blank."""
    recipient, attempt = _last_attempt(item)
    cells = [attempt.get(name) for name in ("time", "state", "result", "code", "description")]
    time, state, result, code, description = (
        printable(str(cell)) if isinstance(cell, str | int) else "" for cell in cells
    )
    return _ROW.format(time, printable(recipient), state, result, code, description).rstrip().encode() + b"\n"


def _last_attempt(item: OutboxItem) -> tuple[str, dict[str, Any]]:
    try:
        body = decode_body(item.body, item.properties.content_encoding, MAX_BODY_OCTETS)
        members = decode_members(body)
        attempts = msgspec.json.decode(members["results"]) if "results" in members else []
        recipient = msgspec.json.decode(members["recipient"]) if "recipient" in members else ""
    except (UndecodableBodyError, InvalidBodyError, msgspec.DecodeError, RecursionError):
        return "(no JSON object)", {}
    last = attempts[-1] if isinstance(attempts, list) and attempts else {}
    return recipient if isinstance(recipient, str) else "", last if isinstance(last, dict) else {}
