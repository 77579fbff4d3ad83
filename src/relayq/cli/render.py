"""``relayq render``: what a message becomes, without sending it.

The JSON of one message goes through everything a delivery does with it, signatures included. Nothing is published, and
no connection is made but to the database of rules, whose keys sign too, unless ``--download`` asks for it.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click
import msgspec

from relayq.cli.answers import read_answers
from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings, takes_settings
from relayq.cli.endings import CommandFailed, Ending, say
from relayq.cli.loop import run, until_stopped
from relayq.config import ExitCode

if TYPE_CHECKING:
    from relayq.compose import SigningKey
    from relayq.config import Settings
    from relayq.delivery.composer import Composer
    from relayq.model import Message
    from relayq.model.message_json import Members

View = Literal["mime", "html", "text", "page"]

STANDARD_INPUT: Final = "-"
SOMEBODY: Final = b'"recipient@example.org"'
"""Recipient of a message that has none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """What the command line says.

    Attributes:
        file: Path, ``-`` for standard input.
        data: Path of a file with more template variables, ``None`` = none.
        view: What to print.
        has_web: Downloads are made, and a page may show images from elsewhere.
        answers: Path of a file with what downloads give, ``None`` = none.
        is_signed: Signatures are made, with the keys of the message and those of the database.
    """

    file: str
    data: str | None
    view: View
    has_web: bool
    answers: str | None
    is_signed: bool


@click.command(
    "render",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq render message.json                           the message as it would be sent
  relayq render --html --data anna.json mailing.json   only its HTML, with other template variables
  relayq render --page message.json > page.html        for a browser, also for screenshots:
  chromium --headless --screenshot=mail.png --window-size=800,1200 page.html
  producer | relayq render --text
  relayq render --answers web.json mailing.json        with feeds and imports from a file instead of the web
  relayq render --unsigned message.json                without signatures; the database of rules is left alone

What is left out or looks wrong is told on standard error, with field and place. Exit code 65: the message cannot be
composed; 69: the keys in the database cannot be read; 75: a download failed that may succeed later. {SETTINGS_NOTE}""",
)
@click.option("--html", "view", flag_value="html", help="Print only the HTML part.")
@click.option("--text", "view", flag_value="text", help="Print only the text part.")
@click.option("--page", "view", flag_value="page", help="Print a page for a browser: centred, embedded images inside.")
@click.option("--data", metavar="FILE", help="JSON object of template variables; replaces those of the same name.")
@click.option("--download", is_flag=True, help="Download what the message names by address.")
@click.option(
    "--answers", metavar="FILE", help='What downloads give instead: {"https://…": {"body": …, "type": "text/html"}}.'
)
@click.option("--unsigned", is_flag=True, help="Make no DKIM signature and no ARC set.")
@takes_settings("[FILE] [--SETTING=VALUE]...")
def command(
    words: Sequence[str],
    no_default_config: bool,
    view: View | None,
    data: str | None,
    download: bool,
    answers: str | None,
    unsigned: bool,
) -> int:
    """Print what the JSON of a message becomes, without sending it.

    Reads standard input when no FILE is given or FILE is "-". Prints the MIME message unless told otherwise, signed as
    a delivery would sign it: with the keys it brings along, and those the database of rules has for its author.
    """
    settings, files = load_settings(words, no_default_config=no_default_config)
    if len(files) > 1:
        raise click.UsageError(f"one message at a time: unexpected argument {files[1]!r}")
    file = files[0] if files else STANDARD_INPUT
    if file == STANDARD_INPUT and data == STANDARD_INPUT:
        raise click.UsageError("message and data cannot both come from standard input")
    if file == STANDARD_INPUT and sys.stdin.isatty():
        say("reading standard input; end it with Ctrl-D")
    if download and answers is not None:
        raise click.UsageError("--download and --answers: downloads come from one of them")
    options = RenderOptions(
        file=file, data=data, view=view or "mime", has_web=download, answers=answers, is_signed=not unsigned
    )
    message = read_message(settings, options)
    code = run(functools.partial(_render, settings, options, message))
    return Ending.INTERRUPTED if code is None else code


def read_message(settings: Settings, options: RenderOptions) -> Message:
    """The message of the file, with the data of the other one.

    Raises:
        CommandFailed: One of them is not usable; exit code 65 names it.
        OSError: One of them cannot be read.
    """
    from relayq.app.rules import parse_rules
    from relayq.model.message_json import InvalidMessageError, parse_message
    from relayq.policy.storage import has_content

    shown = _name(options.file)
    members = _read_object(options.file)
    if options.data is not None:
        members["data"] = _merged(members, shown, options.data)
    if members.get("recipient", b"null") == b"null":
        members["recipient"] = msgspec.Raw(SOMEBODY)
        say(f"{shown}: no recipient; rendered for {SOMEBODY.decode()}")
    try:
        message = parse_message(members, parse_rules(settings))
    except InvalidMessageError as error:
        raise CommandFailed(ExitCode.BAD_INPUT, f"{shown}: {error}") from None
    if not has_content(message):
        raise CommandFailed(ExitCode.BAD_INPUT, f"{shown}: mime: missing; what lies in the message store is not read")
    return message


def _name(path: str) -> str:
    return "standard input" if path == STANDARD_INPUT else path


def _read_object(path: str) -> Members:
    from relayq.model.message_json import InvalidBodyError, decode_members

    octets = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    try:
        return decode_members(octets)
    except InvalidBodyError as error:
        raise CommandFailed(ExitCode.BAD_INPUT, f"{_name(path)}: {error}") from None


def _merged(members: Members, shown: str, path: str) -> msgspec.Raw:
    """Template variables of the message, those of another file over them."""
    from relayq.model.message_json import InvalidBodyError, decode_members, encode_members

    given = bytes(members.get("data", b"null"))
    try:
        own = {} if given in {b"null", b"[]"} else decode_members(given)
    except InvalidBodyError as error:
        raise CommandFailed(ExitCode.BAD_INPUT, f"{shown}: data: {error}") from None
    return msgspec.Raw(encode_members({**own, **_read_object(path)}))


async def _render(settings: Settings, options: RenderOptions, message: Message, stop: asyncio.Event) -> int | None:
    from relayq.app import NoFetcher, open_composer

    def warn(component: str, text: str) -> None:
        say(f"{component}: {text}")

    known = None if options.answers is None else read_answers(options.answers)
    nobody = None if options.has_web else NoFetcher(known)
    try:
        async with AsyncExitStack() as opened:
            keys = None
            # Nobody sees signatures in the other views.
            if options.is_signed and options.view == "mime" and settings.database.address is not None:
                keys = await until_stopped(_enter_keys(settings, warn, opened), stop)
                if keys is None:
                    return None
            composer = await opened.enter_async_context(open_composer(settings, warn, nobody, keys))
            mime = await until_stopped(_compose(composer, message, options), stop)
    finally:
        for url in sorted(nobody.urls) if nobody is not None else ():
            say(f"not downloaded without --download: {url}")
    if mime is None:
        return None
    sys.stdout.buffer.write(_view(mime, options))
    sys.stdout.buffer.flush()
    return ExitCode.OK


async def _enter_keys(
    settings: Settings, warn: Callable[[str, str], None], opened: AsyncExitStack
) -> Callable[[bytes], tuple[SigningKey, ...]] | None:
    """Keys of the database of rules, which is closed with ``opened``."""
    from relayq.adapters.store import UnusableAddressError
    from relayq.app import database_keys
    from relayq.ports import DatabaseError

    try:
        return await opened.enter_async_context(database_keys(settings, warn))
    except UnusableAddressError as error:
        raise CommandFailed(ExitCode.CONFIGURATION, f"database-address: {error}") from None
    except DatabaseError as error:
        raise CommandFailed(ExitCode.UNAVAILABLE, f"{error}; --unsigned does without the keys in it") from None


async def _compose(composer: Composer, message: Message, options: RenderOptions) -> bytes:
    """The message as it goes to a server that takes 8-bit content."""
    from relayq.delivery.composer import Draft
    from relayq.model import DeliveryError, TimedOut
    from relayq.smtp import Capabilities

    if not options.is_signed:
        message = msgspec.structs.replace(message, dkim=None)
    try:
        content = await composer.prepare(message, message.seen_at or datetime.now(UTC))
        if isinstance(content, Draft):
            content = await composer.complete(content)
        if not options.is_signed:
            content = msgspec.structs.replace(content, keys=())  # those in the object
        return (await composer.finish(content, Capabilities(eight_bit_mime=True))).whole
    except DeliveryError as error:
        code = ExitCode.TRY_AGAIN if isinstance(error, TimedOut) else ExitCode.BAD_INPUT
        raise CommandFailed(code, f"{_name(options.file)}: {error}") from None


def _view(mime: bytes, options: RenderOptions) -> bytes:
    from relayq.cli.message_views import find_text, make_page

    match options.view:
        case "mime":
            return mime
        case "page":
            return _line(make_page(mime, has_web=options.has_web))
        case "html" | "text" as kind:
            text = find_text(mime, "text/html" if kind == "html" else "text/plain")
            if text is None:
                name = "HTML" if kind == "html" else "text"
                raise CommandFailed(ExitCode.BAD_INPUT, f"{_name(options.file)}: the message has no {name} part")
            return _line(text)


def _line(text: str) -> bytes:
    """Octets that leave a terminal at the start of a line."""
    return (text if text.endswith("\n") else f"{text}\n").encode("utf-8", "replace")
