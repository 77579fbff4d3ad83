"""``relayq inject``: JSON or MIME from files or standard input into the outbox, done when confirmed.

Spec operations.md 15. JSON objects are published byte for byte while the input is still being read, a bounded number of
them unconfirmed; a MIME message is read whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings, takes_settings
from relayq.cli.endings import CommandFailed, Ending, say, say_broker_trouble
from relayq.cli.loop import run, until_stopped
from relayq.cli.pipes import READ_OCTETS, BlockingCalls
from relayq.config import ExitCode
from relayq.ports import Broker, BrokerUnavailableError, Properties, Publication, QueueRole

if TYPE_CHECKING:
    from relayq.cli.mime_input import Injected, Injection
    from relayq.config import Settings

TIME_LIMIT: Final = 30.0
"""Seconds for reaching the broker, and again for each confirm."""
BATCHES_IN_FLIGHT: Final = 8
_PROPERTIES: Final = Properties()
STANDARD_INPUT: Final = "-"
PROGRESS_INTERVAL: Final = 1.0
_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectOptions:
    """What the command line says.

    Attributes:
        files: Paths, ``-`` for standard input; not empty.
        format: ``json``, ``mime``, or ``None`` to look at each file.
        injection: What MIME messages need beside themselves.
    """

    files: tuple[str, ...]
    format: str | None
    injection: Injection


@click.command(
    "inject",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq inject message.json more.json
  producer | relayq inject
  relayq inject -t letter.eml
  relayq inject --recipient anna@example.org --envelope bounces@shop.example letter.eml

JSON: one or more objects separated by white space, published exactly as given. Anything else: one MIME message per
file. Exit code 65: input not usable (file, line and number already confirmed are told); 75: not confirmed, try
again. {SETTINGS_NOTE}""",
)
@click.option("--format", "format_", type=click.Choice(["json", "mime"]), help="Do not guess what the input is.")
@click.option("--recipient", "recipients", multiple=True, metavar="ADDRESS", help="MIME: send to it; repeatable.")
@click.option("--extract-recipients", "-t", "extract", is_flag=True, help="MIME: send to To, Cc, Bcc; remove Bcc.")
@click.option("--envelope", "-f", metavar="ADDRESS", help="MIME: sender for bounces; default from the header.")
@takes_settings("[FILE]... [--SETTING=VALUE]...")
def command(
    words: Sequence[str],
    no_default_config: bool,
    format_: str | None,
    recipients: tuple[str, ...],
    extract: bool,
    envelope: str | None,
) -> int:
    """Publish messages, JSON or MIME, and wait until the broker has them.

    Reads standard input when no FILE is given or FILE is "-".
    """
    settings, files = load_settings(words, no_default_config=no_default_config)
    if not files and sys.stdin.isatty():
        say("reading standard input; end it with Ctrl-D")
    arguments = [*(f"--recipient={each}" for each in recipients), *(["--extract-recipients"] if extract else [])]
    arguments += [f"--envelope={envelope}"] if envelope is not None else []
    options = InjectOptions(
        files=tuple(files) or (STANDARD_INPUT,),
        format=format_,
        injection=_describe_injection(settings, recipients, extract, envelope, (*arguments, *files)),
    )
    return run(lambda stop: _inject(settings, options, stop))


def _describe_injection(
    settings: Settings, recipients: tuple[str, ...], extract: bool, envelope: str | None, arguments: tuple[str, ...]
) -> Injection:
    import getpass
    import secrets
    from datetime import UTC, datetime

    from relayq.cli.mime_input import Injection

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        user = str(os.getuid())
    return Injection(
        recipients=recipients,
        extract=extract,
        envelope=envelope,
        command="relayq inject",
        arguments=arguments,
        user=user,
        hostname=settings.process.hostname,
        server_id=settings.process.server_id,
        now=datetime.now(UTC).astimezone(),
        random_octets=secrets.token_bytes,
    )


async def _inject(settings: Settings, options: InjectOptions, stop: asyncio.Event) -> int:
    from relayq.app import open_broker

    broker = open_broker(settings, time_limit=TIME_LIMIT, log=say_broker_trouble, purpose="inject")
    injector = Injector(broker, settings.queues.inbox, shows_progress=sys.stderr.isatty())

    async def work() -> int:
        await broker.open()
        await injector.inject(options)
        return ExitCode.OK

    try:
        code = await until_stopped(work(), stop)
    except BrokerUnavailableError as error:
        raise CommandFailed(ExitCode.TRY_AGAIN, str(error)) from error
    finally:
        await broker.close()
    if code is None:
        say(f"interrupted; {injector.confirmed} messages were confirmed")
        return Ending.INTERRUPTED
    return code


class Injector:
    """Publishes what files contain.

    Attributes:
        confirmed: Messages the broker has confirmed.
    """

    def __init__(self, broker: Broker, queue: str | None, *, shows_progress: bool = False) -> None:
        self.confirmed = 0
        self._broker = broker
        self._queue = queue
        self._in_flight: deque[tuple[int, asyncio.Task[None]]] = deque()
        self._reader = BlockingCalls("input")
        self._shows_progress = shows_progress
        self._progress_at = time.monotonic() + PROGRESS_INTERVAL

    async def inject(self, options: InjectOptions) -> None:
        """Publish every file; returns when all is confirmed.

        Raises:
            CommandFailed: Input that is not usable, or no confirm in time. What was published before is confirmed, or
                has failed as well.
        """
        try:
            for path in options.files:
                await self._inject_file(path, options)
            await self._confirm_all()
        finally:
            for _, task in self._in_flight:
                task.cancel()
            await asyncio.gather(*(task for _, task in self._in_flight), return_exceptions=True)
            if self._shows_progress:
                sys.stderr.write("\r\x1b[K")

    async def _inject_file(self, path: str, options: InjectOptions) -> None:
        shown = "standard input" if path == STANDARD_INPUT else path
        async with contextlib.aclosing(self._read(path, shown)) as pieces:
            first = await _first_piece(pieces)
            if options.format is None and not first.lstrip(_BLANKS):
                raise await self._bad_input(f"{shown}: there is no message")
            is_json = options.format == "json" if options.format else first.lstrip(_BLANKS)[:1] == b"{"
            if is_json:
                await self._inject_json(first, pieces, shown)
            else:
                await self._inject_mime(first, pieces, shown, options.injection)

    async def _inject_json(self, first: bytes, pieces: AsyncIterator[bytes], shown: str) -> None:
        from relayq.cli.json_stream import JsonObjectScanner, JsonStreamError

        scanner = JsonObjectScanner(self._broker.max_publish_bytes)
        piece: bytes | None = first
        while True:
            batch: list[bytes] = []
            damage: JsonStreamError | None = None
            try:
                if piece is None:
                    scanner.finish()
                    return
                for found in scanner.feed(piece):
                    batch.append(found.octets)  # noqa: PERF401 - extend would lose what came before the damage
            except JsonStreamError as error:
                damage = error
            await self._publish(batch)
            if damage is not None:
                raise await self._bad_input(f"{shown}, line {damage.line}: {damage}")
            piece = await anext(pieces, None)

    async def _inject_mime(self, first: bytes, pieces: AsyncIterator[bytes], shown: str, injection: Injection) -> None:
        from relayq.cli.mime_input import UnusableMailError

        mime = bytearray(first)
        async for piece in pieces:
            mime += piece
            if len(mime) > self._broker.max_publish_bytes:
                raise await self._bad_input(f"{shown}: larger than {self._broker.max_publish_bytes} octets")
        try:
            injected = _compose(bytes(mime), injection, self._broker.max_publish_bytes)
        except UnusableMailError as error:
            raise await self._bad_input(f"{shown}: {error}") from None
        say(*(f"{shown}: {warning}" for warning in injected.warnings))
        await self._publish(injected.bodies)

    async def _read(self, path: str, shown: str) -> AsyncGenerator[bytes, None]:
        """Pieces of a file; the event loop goes on while they are waited for."""
        try:
            descriptor = 0 if path == STANDARD_INPUT else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while piece := await self._reader.run(lambda: os.read(descriptor, READ_OCTETS)):
                    yield piece
            finally:
                if descriptor:
                    os.close(descriptor)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise await self._bad_input(f"{shown}: {getattr(error, 'strerror', None) or error}") from None

    async def _bad_input(self, text: str) -> CommandFailed:
        """The error for input that is not usable, once it is known how much before it is confirmed."""
        await self._confirm_all()
        return CommandFailed(ExitCode.BAD_INPUT, text, f"{self.confirmed} messages were confirmed before")

    async def _publish(self, bodies: Sequence[bytes]) -> None:
        """Put a batch on its way; waits while too many are unconfirmed."""
        if not bodies:
            return
        if self._queue is None:  # rabbitmq-inbox is explicitly empty: thrown away
            self.confirmed += len(bodies)
            return
        publications = [
            Publication(queue=self._queue, body=body, properties=_PROPERTIES, role=QueueRole.OUTBOX) for body in bodies
        ]
        while len(self._in_flight) >= BATCHES_IN_FLIGHT:
            await self._confirm_oldest()
        task = asyncio.ensure_future(self._broker.publish(publications))
        self._in_flight.append((len(bodies), task))
        self._show_progress()

    async def _confirm_all(self) -> None:
        while self._in_flight:
            await self._confirm_oldest()

    async def _confirm_oldest(self) -> None:
        count, task = self._in_flight[0]
        try:
            async with asyncio.timeout(TIME_LIMIT):
                await task
        except TimeoutError:
            raise CommandFailed(
                ExitCode.TRY_AGAIN,
                f"the broker did not confirm within {TIME_LIMIT:g} s",
                f"{self.confirmed} messages were confirmed before",
            ) from None
        self._in_flight.popleft()
        self.confirmed += count
        self._show_progress()

    def _show_progress(self) -> None:
        if self._shows_progress and time.monotonic() >= self._progress_at:
            self._progress_at = time.monotonic() + PROGRESS_INTERVAL
            sys.stderr.write(f"\r\x1b[K{self.confirmed} confirmed")
            sys.stderr.flush()


def _compose(mime: bytes, injection: Injection, max_octets: int) -> Injected:
    from relayq.cli.mime_input import UnusableMailError, compose_messages

    injected = compose_messages(mime, injection)
    if any(len(body) > max_octets for body in injected.bodies):
        raise UnusableMailError(f"as JSON it is larger than {max_octets} octets")
    return injected


async def _first_piece(pieces: AsyncIterator[bytes]) -> bytes:
    """Octets up to the first that tells what the input is; all of it when none does."""
    first = b""
    async for piece in pieces:
        first += piece
        if first.lstrip(_BLANKS) or len(first) > READ_OCTETS:
            break
    return first
