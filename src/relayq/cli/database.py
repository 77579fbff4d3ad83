"""``relayq database``: the tables of rules, created or emptied (spec operations.md 15 and 25)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from relayq.cli.configuration import PASS_THROUGH, SETTINGS_NOTE, load_settings_alone, takes_settings
from relayq.cli.endings import CommandFailed, Ending, say
from relayq.cli.loop import run, until_stopped
from relayq.config import ExitCode

if TYPE_CHECKING:
    from relayq.ports import RulesDatabase, Table

TIME_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """What the command line says."""

    repair: bool
    purge: bool


@click.command(
    "database",
    context_settings=PASS_THROUGH,
    epilog=f"""\b
Examples:
  relayq database                     what is missing, exit 78 if something is
  relayq database --repair            create that
  relayq database --purge             drop the tables with all they hold, and create them anew

{SETTINGS_NOTE}""",
)
@click.option("--repair", is_flag=True, help="Create tables and columns that are missing; nothing else is changed.")
@click.option("--purge", is_flag=True, help="Drop all tables, and create them empty.")
@click.option("--yes", is_flag=True, help="Drop without asking.")
@takes_settings()
def command(words: Sequence[str], no_default_config: bool, repair: bool, purge: bool, yes: bool) -> int:
    """Look after the tables of rules in the database of `database-address`."""
    if repair and purge:
        raise click.UsageError("--repair and --purge exclude each other")
    if yes and not purge:
        raise click.UsageError("--yes is the answer to --purge, which is not there")
    settings = load_settings_alone(words, no_default_config=no_default_config)
    address = settings.database.address
    if address is None:
        raise CommandFailed(ExitCode.CONFIGURATION, "database-address is empty: there is no database of rules")
    from relayq.adapters.database import open_database, rule_tables
    from relayq.adapters.store import UnusableAddressError, check_engine

    try:
        check_engine(address)
    except UnusableAddressError as error:
        raise CommandFailed(ExitCode.CONFIGURATION, f"database-address: {error}") from None
    if purge and not yes and not _is_agreed(str(address)):
        say("nothing was dropped")
        return Ending.INTERRUPTED
    options = DatabaseOptions(repair, purge)
    return run(lambda stop: _work(open_database(address), rule_tables(), options, stop))


def _is_agreed(address: str) -> bool:
    """Whether somebody at the terminal agrees.

    Raises:
        CommandFailed: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise CommandFailed(ExitCode.USAGE, "nothing was dropped: without a terminal --purge needs --yes")
    sys.stderr.write(f"Drop all rules in {address} for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def _work(database: RulesDatabase, tables: Sequence[Table], options: DatabaseOptions, stop: asyncio.Event) -> int:
    from relayq.ports import DatabaseError

    async def limited(operation: Callable[[], Awaitable[int]]) -> int:
        async with asyncio.timeout(TIME_LIMIT):
            return await operation()

    async def do() -> int:
        if options.purge:
            await database.purge(tables)
            click.echo(f"created {len(tables)} empty tables")
            return ExitCode.OK
        gaps = await (database.repair(tables) if options.repair else database.find_gaps(tables))
        for gap in gaps:
            click.echo(f"{gap} {'created' if options.repair else 'is missing'}")
        if not gaps:
            click.echo(f"nothing is missing in {len(tables)} tables")
        return ExitCode.OK if options.repair or not gaps else ExitCode.CONFIGURATION

    try:
        return await until_stopped(limited(do), stop) or 0
    except TimeoutError:
        raise CommandFailed(ExitCode.UNAVAILABLE, "the database does not answer in time") from None
    except DatabaseError as error:
        raise CommandFailed(ExitCode.UNAVAILABLE, str(error)) from None
    finally:
        await database.close()
