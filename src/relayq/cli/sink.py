"""``relayq sink``: the scripted SMTP server of ``relayq.trial`` as a command (spec operations.md 15)."""

from __future__ import annotations

import asyncio
import functools
import ssl
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

from relayq.cli.endings import CommandFailed, say
from relayq.cli.loop import run
from relayq.cli.pipes import BlockingCalls, write_all
from relayq.cli.script_file import load_script
from relayq.config import ExitCode
from relayq.model.timestamp import format_timestamp
from relayq.trial import EMPTY_SCRIPT, ReceivedMessage, Script, Sink

DEFAULT_LISTEN: Final = "127.0.0.1:2525"
LAST_LINES_PATIENCE: Final = 1.0
MAX_WAITING_LINES: Final = 100_000
"""Lines kept for a reader of the output that is slower than the mail; further ones are left out and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """What the command line says."""

    host: str
    port: int
    script: Script
    tls: ssl.SSLContext | None
    prints: bool


@click.command(
    "sink",
    epilog="""\b
Examples:
  relayq sink
  relayq sink --listen 127.0.0.2:25 --script examples/greylisting.sink --print
  relayq sink --certificate cert.pem --key key.pem

\b
Lines of a script: STEP PATTERN [first=N] [share=P%] [slow=SECONDS] ACTION
  rcptto *@example.org first=1 450 4.2.0 come back later
  message *            share=5% drop
The first line that matches counts; what no line matches is accepted. docs/reference/commands.md has the rest.""",
)
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option("--script", metavar="FILE", help="What is not simply accepted.")
@click.option("--certificate", metavar="FILE", help="Offer STARTTLS with this certificate chain (PEM).")
@click.option("--key", metavar="FILE", help="Its private key, when it is not in the same file.")
@click.option("--print", "prints", is_flag=True, help="Print a JSON line per message.")
def command(listen: str, script: str | None, certificate: str | None, key: str | None, prints: bool) -> None:
    """Accept mail and forget it: an SMTP server for trials, with scripted replies."""
    host, port = parse_listen(listen)
    if key and not certificate:
        raise click.UsageError("--key needs --certificate")
    options = SinkOptions(
        host=host,
        port=port,
        script=load_script(script) if script else EMPTY_SCRIPT,
        tls=_load_certificate(certificate, key) if certificate else None,
        prints=prints,
    )
    run(lambda stop: _serve(options, stop))


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``; no host means 127.0.0.1.

    Raises:
        click.BadParameter: It is none of these.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--listen")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    return host or DEFAULT_LISTEN.partition(":")[0], int(port)


def _load_certificate(certificate: str, key: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandFailed(ExitCode.CONFIGURATION, f"certificate {certificate}: {reason}") from None
    return context


async def _serve(options: SinkOptions, stop: asyncio.Event) -> None:
    printer = LinePrinter() if options.prints else None
    sink = Sink(
        options.host,
        options.port,
        script=options.script,
        tls=options.tls,
        on_message=printer.add if printer else None,
        keep_content=False,
    )
    try:
        await sink.start()
    except OSError as error:
        raise CommandFailed(
            ExitCode.OS_REFUSED, f"cannot listen on {options.host}:{options.port}: {error.strerror or error}"
        ) from None
    say(f"listening on {options.host}:{sink.port}")
    try:
        await _until(stop, printer)
    finally:
        await sink.close()
        left_out = f", {printer.left_out} lines left out" if printer and printer.left_out else ""
        say(f"{sink.counters.messages} messages over {sink.counters.connections} connections{left_out}")


async def _until(stop: asyncio.Event, printer: LinePrinter | None) -> None:
    """Wait for the end: a signal, or an output nobody reads any more."""
    if printer is None:
        await stop.wait()
        return
    stopping = asyncio.ensure_future(stop.wait())
    printing = asyncio.ensure_future(printer.print())
    try:
        await asyncio.wait((stopping, printing), return_when=asyncio.FIRST_COMPLETED)
        if printing.done():
            printing.result()
        else:
            printer.finish()
            await asyncio.wait((printing,), timeout=LAST_LINES_PATIENCE)
    finally:
        stopping.cancel()
        printing.cancel()


class LinePrinter:
    """Writes a line per message to standard output without making the sink wait.

    Attributes:
        left_out: Lines that were not written because the reader was too slow.
    """

    def __init__(self) -> None:
        self.left_out = 0
        self._is_finishing = False
        self._lines: list[bytes] = []
        self._something = asyncio.Event()
        self._writer = BlockingCalls("output")

    def add(self, message: ReceivedMessage) -> None:
        """Note one message."""
        if len(self._lines) >= MAX_WAITING_LINES:
            self.left_out += 1
            return
        self._lines.append(describe(message, datetime.now(UTC)))
        self._something.set()

    def finish(self) -> None:
        """Let :meth:`print` end once everything noted is written."""
        self._is_finishing = True
        self._something.set()

    async def print(self) -> None:
        """Write until told to finish.

        Raises:
            BrokenPipeError: Nobody reads the output any more.
        """
        while self._lines or not self._is_finishing:
            await self._something.wait()
            self._something.clear()
            octets = b"".join(self._lines)
            self._lines.clear()
            await self._writer.run(functools.partial(write_all, sys.stdout.fileno(), octets))


def describe(message: ReceivedMessage, at: datetime) -> bytes:
    """Return one JSON line."""
    described = {
        "time": format_timestamp(at),
        "client": message.client,
        "ehlo": message.ehlo_name,
        "tls": message.is_tls,
        "user": message.user,
        "envelope": message.sender,
        "recipients": message.recipients,
        "size": message.size_bytes,
        "code": message.code,
        "messages": message.ordinal,
    }
    return msgspec.json.encode({name: value for name, value in described.items() if value is not None}) + b"\n"
